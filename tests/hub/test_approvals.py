"""Runs that the holders of the opening key approve: real batches, orders and approvals; and what opens nothing."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cryptography.exceptions import InvalidTag

from linkage.contract import load_agreement, load_spec
from linkage.contract.spec import digest
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import ContractError, KeyFileError, LinkError, NotPermittedError, SealError
from linkage.exchange import (
    BatchManifest,
    Party,
    create_party,
    file_digest,
    ledger,
    load_party,
    new_batch_id,
    new_serial,
    open_encodings,
    read_receipt,
    seal_batch,
)
from linkage.exchange.approval.orders import approve, read_order
from linkage.exchange.approval.shared import SharedOpening, create_opening, open_share, wrap_share
from linkage.exchange.canonical import encode_bytes, pack
from linkage.exchange.custody.shares import join, split
from linkage.exchange.documents import read_document, write_document
from linkage.exchange.opening import OpeningKey
from linkage.hub.approvals import Approving
from linkage.hub.intake import Intake, inbox_batches, take_in
from linkage.hub.run import HubRun, run
from linkage.hub.state import StateFolder

SPEC = load_spec("default")
TODAY = dt.date(2026, 11, 22)
SOURCES = ("mpd", "dcf", "pohsey")


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    folder = tmp_path_factory.mktemp("parties")
    return {name: load_party(create_party(folder, name)[0]) for name in (*SOURCES, "hub", "analysis", "stranger")}


@pytest.fixture(scope="module")
def opening(parties: dict[str, Party], tmp_path_factory: pytest.TempPathFactory) -> SharedOpening:
    path = tmp_path_factory.mktemp("opening") / "opening.pub"
    return create_opening(path, "milwaukee", "2026-1", [parties[source].public for source in SOURCES], 2)


class Hub:
    """A hub that opens nothing by itself, and agencies whose stewards hold shares."""

    def __init__(self, root: Path, parties: dict[str, Party], opening: SharedOpening) -> None:
        self.root, self.parties, self.opening = root, parties, opening
        self.agreements = {source: load_agreement(source) for source in SOURCES}
        self.inbox, self.state = root / "inbox", StateFolder(root / "state")
        self.told: list[str] = []
        self.inbox.mkdir()

    def send(self, source: str, *, opener: Any = None, filters: int | None = None) -> Path:
        encodings, facts = frames(source, filters)
        manifest = BatchManifest(
            project="milwaukee",
            epoch="2026-1",
            source=source,
            batch_id=new_batch_id(),
            serial=new_serial(),
            month="2026-11",
            spec_name="default",
            spec_digest=SPEC.digest,
            rules_version=SPEC.rules,
            fingerprint="f" * 64,
            mode="full",
            agreement_digest=digest(self.agreements[source]),
            deduplicated=True,
            tool_version="0.1.0",
        )
        path = self.inbox / f"{source}.batch"
        sender, analysis = self.parties[source], self.parties["analysis"].public
        seal_batch(path, manifest, encodings, facts, sender, opener or self.opening, analysis)
        return path

    def _known(self) -> dict[str, Any]:
        return {
            "hub": self.parties["hub"],
            "senders": {source: self.parties[source].public for source in SOURCES},
            "agreements": self.agreements,
            "state": self.state.root,
            "spec": SPEC,
            "project": "milwaukee",
            "epoch": "2026-1",
            "today": TODAY,
        }

    def take_in(self) -> Intake:
        return take_in(inbox_batches(self.inbox), opening=self.opening, **self._known())

    def run(self, *, life: int = 60) -> HubRun:
        holders = tuple(self.parties[source].public for source in SOURCES)
        approving = Approving(self.opening, holders, self.inbox, self.told.append, life)
        analysis = self.parties["analysis"].public
        return run("2026-11", analysis=analysis, out=self.root / "runs", approving=approving, **self._known())

    def orders(self) -> list[Path]:
        return sorted(self.state.orders.glob("*.order"))

    def answer(self, then: Callable[[Path], None]) -> threading.Thread:
        """Wait for an order that is not there yet, and answer it."""
        before = set(self.orders())

        def work() -> None:
            for _ in range(300):
                if new := [path for path in self.orders() if path not in before]:
                    then(new[0])
                    return
                time.sleep(0.1)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def approve(self, order: Path, name: str) -> Path:
        read, found = read_order(order, self.parties["hub"].public)
        path = self.inbox / f"{name}.approval"
        approve(read, found, path, opening=self.opening, party=self.parties[name])
        return path


def frames(source: str, filters: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    own, theirs = random.Random(source), random.Random(1)
    width = SPEC.diffusion.bits // 8
    names = [entry.name for entry in SPEC.filters][:filters]
    rows = [[theirs.randbytes(width) for _ in names] for _ in range(20)]
    rows += [[own.randbytes(width) for _ in names] for _ in range(20)]
    pseudonyms = [own.randbytes(16).hex() for _ in rows]
    columns: dict[str, Any] = {"pseudonym": pseudonyms, "variant": pl.Series([0] * 40, dtype=pl.UInt8)}
    columns |= {name: [row[position] for row in rows] for position, name in enumerate(names)}
    empty = {name: pl.Series([None] * 40, dtype=kind) for name, kind in FACT_SCHEMA.items()}
    facts = pl.DataFrame(empty | {"pseudonym": pseudonyms, "month": ["2014-03"] * 40, "decoy": [False] * 40})
    return pl.DataFrame(columns), facts


@pytest.fixture
def hub(tmp_path: Path, parties: dict[str, Party], opening: SharedOpening) -> Hub:
    return Hub(tmp_path, parties, opening)


def test_a_run_waits_for_enough_holders_and_then_links(hub: Hub) -> None:
    sent = {source: file_digest(hub.send(source)) for source in SOURCES}
    hub.take_in().require_all()
    thread = hub.answer(lambda order: [hub.approve(order, name) for name in ("mpd", "pohsey")] and None)
    done = hub.run()
    thread.join()
    assert done.fresh and done.quality["records"] == dict.fromkeys(sorted(SOURCES), 40)
    (path,) = hub.orders()
    order, found = read_order(path, hub.parties["hub"].public)
    assert {batch.source: batch.digest for batch in order.batches} == sent
    entries = list(ledger.entries(hub.state.ledger))
    assert [entry.object for entry in entries if entry.action == "order"] == [found]
    assert [entry.extra["holder"] for entry in entries if entry.action == "approve"] == ["mpd", "pohsey"]
    assert not list(hub.inbox.iterdir())
    assert any("2 of dcf, mpd, pohsey must approve" in line for line in hub.told)


def test_what_was_run_before_needs_no_order(hub: Hub) -> None:
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()
    thread = hub.answer(lambda order: [hub.approve(order, name) for name in ("mpd", "dcf")] and None)
    hub.run()
    thread.join()
    assert not hub.run().fresh
    assert len(hub.orders()) == 1


def test_no_key_that_the_hub_has_opens_a_batch(hub: Hub) -> None:
    path = hub.send("mpd")
    with pytest.raises(SealError) as refused:
        open_encodings(path, hub.parties["hub"], hub.parties["mpd"].public)
    assert refused.value.reason == "not-for-us"


def test_what_a_run_leaves_opens_nothing(
    hub: Hub, parties: dict[str, Party], opening: SharedOpening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief of the hub's disk has orders, approvals, batches and the hub's own key; and no one-time key, no share."""
    made: list[OpeningKey] = []
    create = OpeningKey.create.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(OpeningKey, "create", classmethod(lambda cls: made.append(create(cls)) or made[-1]))
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()
    thread = hub.answer(lambda order: [hub.approve(order, name) for name in ("mpd", "dcf")] and None)
    hub.run()
    thread.join()
    (one_time,) = made
    shares = [open_share(opening, parties[name]) for name in ("mpd", "dcf")]
    whole = join(shares)
    secrets = [form for seed in (one_time.seed, whole) for form in (seed, seed.hex().encode(), b64encode(seed))]
    secrets += [
        " ".join(words.split()[at : at + 3]).encode() for words in shares for at in range(len(words.split()) - 2)
    ]
    left = {path: path.read_bytes() for path in hub.root.rglob("*") if path.is_file()}
    assert not [path for path, content in left.items() if any(secret in content for secret in secrets)]
    approvals = sorted(hub.state.orders.glob("*.approval"))
    assert len(approvals) == 2
    for approval in approvals:
        content = read_document(approval, "approval", (1,)).content
        sealed = b64decode(content["share"])
        info = pack("linkage approval v1", content["order"], content["opening"], content["holder"])
        assert one_time.unwrap(sealed, info).decode().rstrip() in shares
        for party in parties.values():
            with pytest.raises((InvalidTag, ValueError)):
                party.unwrap(sealed, info)
    for approval in approvals:
        approval.replace(hub.inbox / approval.name)
    hub.send("mpd")  # another batch: another run, which the old approvals are not for
    hub.take_in().require_all()
    with pytest.raises(LinkError) as refused:
        hub.run(life=2)
    assert refused.value.reason == "not-approved"
    assert "0 of the 2" in str(refused.value)


def test_another_file_in_the_place_of_an_approved_batch_is_not_opened(hub: Hub) -> None:
    """Signed by the same agency, and not what was approved: swapped while the run waited."""
    named = file_digest(hub.send("mpd"))
    hub.send("dcf")
    hub.take_in().require_all()

    def answers(order: Path) -> None:
        hub.send("mpd").replace(hub.state.batch("mpd", named))
        for name in ("mpd", "dcf"):
            hub.approve(order, name)

    thread = hub.answer(answers)
    with pytest.raises(SealError) as refused:
        hub.run()
    thread.join()
    assert refused.value.reason == "damaged"
    assert not list((hub.root / "runs").rglob("*")) and not list(hub.state.quarantine.glob("*"))


def test_batches_that_come_while_a_run_waits_make_a_new_order_necessary(hub: Hub) -> None:
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()

    def answers(order: Path) -> None:
        hub.send("pohsey")
        hub.take_in().require_all()  # the wait does not hold the state folder
        for name in ("mpd", "dcf"):
            hub.approve(order, name)

    thread = hub.answer(answers)
    with pytest.raises(LinkError) as refused:
        hub.run()
    thread.join()
    assert refused.value.reason == "batches-changed"


def test_an_agreement_that_ends_while_a_run_waits_is_not_linked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.agreements["mpd"] = hub.agreements["mpd"].model_copy(update={"ends": TODAY})
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()
    passed = [0.0]
    monkeypatch.setattr("linkage.hub.run.time.monotonic", lambda: passed[0])

    def answers(order: Path) -> None:
        passed[0] = 2 * 24 * 3600.0
        for name in ("mpd", "dcf"):
            hub.approve(order, name)

    thread = hub.answer(answers)
    with pytest.raises(NotPermittedError) as refused:
        hub.run()
    thread.join()
    assert refused.value.reason == "no-agreement"


def test_shares_that_do_not_fit_are_told_and_named_at_the_end(
    hub: Hub, parties: dict[str, Party], tmp_path: Path
) -> None:
    """Holders whose shares join to something else, of another length even, bring no run down."""
    other = [words for words in split(b"\1" * 16, 2, 2)]
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()

    def answers(order: Path) -> None:
        read, found = read_order(order, parties["hub"].public)
        for name, words in zip(("mpd", "dcf"), other, strict=True):
            info = pack("linkage approval v1", found, read.opening, parties[name].key_id)
            share = encode_bytes(wrap_share(words, read.key, info))
            content = {"order": found, "opening": read.opening, "holder": parties[name].key_id, "share": share}
            write_document(hub.inbox / f"{name}.approval", "approval", 1, content, parties[name])

    thread = hub.answer(answers)
    with pytest.raises(LinkError) as refused:
        hub.run(life=4)
    thread.join()
    assert "do not fit together" in str(refused.value)
    assert len([line for line in hub.told if "do not fit together" in line]) == 1


def test_all_bad_batches_are_refused_at_once_and_nothing_older_comes_back(hub: Hub) -> None:
    kept_back = hub.send("mpd")
    kept_back = kept_back.replace(hub.root / "kept-back.batch")
    for source in ("mpd", "pohsey"):
        hub.send(source, filters=1)
    hub.send("dcf")
    hub.take_in().require_all()
    thread = hub.answer(lambda order: [hub.approve(order, name) for name in ("mpd", "dcf")] and None)
    with pytest.raises(SealError) as refused:
        hub.run()
    thread.join()
    assert "mpd, pohsey" in str(refused.value)
    kept_back.replace(hub.inbox / "mpd.batch")
    (entry,) = hub.take_in().quarantined
    assert entry.reason == "stale"
    hub.send("mpd")
    hub.take_in().require_all()


def test_one_holder_is_not_enough(hub: Hub) -> None:
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()
    thread = hub.answer(lambda order: hub.approve(order, "mpd") and None)
    with pytest.raises(LinkError) as refused:
        hub.run(life=3)
    thread.join()
    assert (refused.value.reason, "1 of the 2" in str(refused.value)) == ("not-approved", True)
    assert not (hub.root / "runs").exists() or not list((hub.root / "runs").rglob("person-map.sealed"))


def test_what_is_no_approval_is_told_and_passed_over(hub: Hub, parties: dict[str, Party]) -> None:
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()

    def answers(order: Path) -> None:
        read, found = read_order(order, parties["hub"].public)
        (hub.inbox / "noise.approval").write_bytes(b"linkage-approval/1\nnoise\n")
        wrapped = encode_bytes(wrap_share("no share at all", read.key, pack("another", "use")))
        content = {"order": found, "opening": read.opening, "share": wrapped}
        forged = hub.inbox / "forged.approval"
        write_document(forged, "approval", 1, content | {"holder": parties["mpd"].key_id}, parties["stranger"])
        stranger = hub.inbox / "stranger.approval"
        write_document(stranger, "approval", 1, content | {"holder": parties["stranger"].key_id}, parties["stranger"])
        unopened = hub.inbox / "unopened.approval"
        write_document(unopened, "approval", 1, content | {"holder": parties["pohsey"].key_id}, parties["pohsey"])
        time.sleep(1.5)
        for name in ("mpd", "dcf"):
            hub.approve(order, name)

    thread = hub.answer(answers)
    hub.run()
    thread.join()
    refused = [line for line in hub.told if "refused" in line]
    assert {line.split(":")[0] for line in refused} == {str(path) for path in hub.inbox.glob("*.approval")}
    for reason in ("malformed", "bad-signature", "untrusted-sender", "cannot-open"):
        assert any(reason in line for line in refused)


def test_a_holder_with_a_wrong_share_does_not_stop_the_others(
    hub: Hub, parties: dict[str, Party], tmp_path: Path
) -> None:
    other = create_opening(
        tmp_path / "o.pub", "milwaukee", "2026-1", [parties[name].public for name in ("mpd", "dcf")], 2
    )
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()

    def answers(order: Path) -> None:
        read, found = read_order(order, parties["hub"].public)
        info = pack("linkage approval v1", found, read.opening, parties["mpd"].key_id)
        share = encode_bytes(wrap_share(open_share(other, parties["mpd"]), read.key, info))
        content = {"order": found, "opening": read.opening, "holder": parties["mpd"].key_id, "share": share}
        write_document(hub.inbox / "mpd.approval", "approval", 1, content, parties["mpd"])
        for name in ("dcf", "pohsey"):
            hub.approve(order, name)

    thread = hub.answer(answers)
    assert hub.run().fresh
    thread.join()
    entries = ledger.entries(hub.state.ledger)
    assert [entry.extra["holder"] for entry in entries if entry.action == "approve"] == ["dcf", "pohsey"]


def test_a_batch_that_is_not_what_it_says_is_refused_when_it_is_opened(hub: Hub) -> None:
    bad = file_digest(hub.send("mpd", filters=1))
    hub.send("dcf"), hub.send("pohsey")
    hub.take_in().require_all()
    thread = hub.answer(lambda order: [hub.approve(order, name) for name in ("mpd", "dcf")] and None)
    with pytest.raises(SealError) as refused:
        hub.run()
    thread.join()
    assert refused.value.reason == "contents-mismatch"
    receipt = read_receipt(hub.state.receipts / f"{bad}.contents-mismatch.receipt", hub.parties["hub"].public)
    assert (receipt.status, receipt.source) == ("quarantined", "mpd")
    assert (hub.state.quarantine / f"{bad}.batch").is_file()
    thread = hub.answer(lambda order: [hub.approve(order, name) for name in ("mpd", "dcf")] and None)
    assert sorted(hub.run().batches) == ["dcf", "pohsey"]
    thread.join()
    (hub.state.quarantine / f"{bad}.batch").replace(hub.inbox / "again.batch")
    (again,) = hub.take_in().quarantined
    assert again.reason == "replayed"


def test_a_batch_sealed_for_another_key_than_agreed_is_not_taken_in(
    hub: Hub, parties: dict[str, Party], tmp_path: Path
) -> None:
    other = create_opening(
        tmp_path / "o.pub", "milwaukee", "2026-1", [parties[name].public for name in ("mpd", "dcf")], 2
    )
    for opener in (parties["hub"].public, other):
        hub.send("mpd", opener=opener)
        (entry,) = hub.take_in().quarantined
        assert entry.reason == "opening-differs"


def test_an_agency_that_agreed_to_it_is_opened_without_approval(hub: Hub, parties: dict[str, Party]) -> None:
    hub.agreements["dcf"] = hub.agreements["dcf"].model_copy(update={"opening": "hub"})
    hub.send("mpd"), hub.send("dcf", opener=parties["hub"].public)
    hub.take_in().require_all()
    seen: list[list[str]] = []

    def answers(order: Path) -> None:
        seen.append([batch.source for batch in read_order(order, parties["hub"].public)[0].batches])
        for name in ("mpd", "pohsey"):
            hub.approve(order, name)

    thread = hub.answer(answers)
    assert sorted(hub.run().batches) == ["dcf", "mpd"]
    thread.join()
    assert seen == [["mpd"]]


def test_without_holders_an_approved_run_cannot_begin(hub: Hub) -> None:
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()
    with pytest.raises(ContractError) as refused:
        run("2026-11", analysis=hub.parties["analysis"].public, out=hub.root / "runs", **hub._known())
    assert refused.value.reason == "no-opening-key"


def test_a_holder_approves_no_order_of_another_hub_key_or_day(
    hub: Hub, parties: dict[str, Party], tmp_path: Path
) -> None:
    hub.send("mpd"), hub.send("dcf")
    hub.take_in().require_all()
    with pytest.raises(LinkError):
        hub.run(life=1)
    (path,) = hub.orders()
    read, found = read_order(path, parties["hub"].public)
    with pytest.raises(SealError) as foreign:
        read_order(path, parties["stranger"].public)
    assert foreign.value.reason == "untrusted-sender"
    with pytest.raises(NotPermittedError) as ended:
        approve(read, found, tmp_path / "a", opening=hub.opening, party=parties["mpd"])
    assert ended.value.reason == "order-ended"
    other = create_opening(
        tmp_path / "o.pub", "milwaukee", "2026-1", [parties[name].public for name in ("mpd", "dcf")], 2
    )
    with pytest.raises(NotPermittedError) as differs:
        approve(read, found, tmp_path / "a", opening=other, party=parties["mpd"])
    assert differs.value.reason == "order-differs"
    late = read.model_copy(update={"ends": read.ends + 10**12})
    with pytest.raises(KeyFileError) as none:
        approve(late, found, tmp_path / "a", opening=hub.opening, party=parties["stranger"])
    assert none.value.reason == "no-share"
    assert not (tmp_path / "a").exists()
