"""Intake and run on real sealed batches: every refusal with its reason, once only, nothing lost, safe to kill."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.contract import load_agreement, load_spec
from linkage.contract.agreement import Agreement
from linkage.contract.spec import digest
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import ContractError, LinkError, NotPermittedError, SealError
from linkage.exchange import (
    BatchManifest,
    Party,
    create_party,
    file_digest,
    ledger,
    load_party,
    new_batch_id,
    open_person_map,
    read_manifest,
    read_receipt,
    seal_batch,
)
from linkage.hub import intake as intake_module
from linkage.hub.intake import INTAKE_REASONS, Intake, inbox_batches, take_in
from linkage.hub.run import HubRun, run
from linkage.hub.state import StateFolder, current_batches

SPEC = load_spec("default")
TODAY = dt.date(2026, 11, 22)
SOURCES = ("mpd", "dcf", "pohsey")


@pytest.fixture(scope="session")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    folder = tmp_path_factory.mktemp("parties")
    return {name: load_party(create_party(folder, name)[0]) for name in (*SOURCES, "hub", "analysis", "stranger")}


@dataclass
class Hub:
    """A hub with trusted senders, and agencies that can send to it."""

    root: Path
    parties: dict[str, Party]
    agreements: dict[str, Agreement] = field(
        default_factory=lambda: {
            source: load_agreement(source).model_copy(update={"opening": "hub"}) for source in SOURCES
        }
    )
    serial: int = 1_795_000_000_000_000

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.root / "state")

    def send(
        self,
        source: str,
        *,
        signer: str | None = None,
        records: int = 40,
        seed: int = 0,
        common: int = 1,
        **changes: Any,
    ) -> Path:
        self.serial += 1
        spec = changes.pop("spec", SPEC)
        encodings, facts = frames(source, records, spec, seed, common)
        content: dict[str, Any] = {
            "project": "milwaukee",
            "epoch": "2026-1",
            "source": source,
            "batch_id": new_batch_id(),
            "serial": self.serial,
            "month": "2026-11",
            "spec_name": "default",
            "spec_digest": SPEC.digest,
            "rules_version": SPEC.rules,
            "fingerprint": "f" * 64,
            "mode": self.agreements[source].mode if source in self.agreements else "full",
            "agreement_digest": digest(self.agreements[source]) if source in self.agreements else "0" * 64,
            "deduplicated": True,
            "tool_version": "0.1.0",
        }
        path = self.inbox / f"{source}-{self.serial % 1000}.batch"
        sender = self.parties[signer or source]
        hub, analysis = self.parties["hub"].public, self.parties["analysis"].public
        seal_batch(path, BatchManifest(**(content | changes)), encodings, facts, sender, hub, analysis)
        return path

    def take_in(self, **changes: Any) -> Intake:
        known: dict[str, Any] = {
            "hub": self.parties["hub"],
            "senders": {source: self.parties[source].public for source in SOURCES},
            "agreements": self.agreements,
            "state": self.state.root,
            "spec": SPEC,
            "project": "milwaukee",
            "epoch": "2026-1",
            "today": TODAY,
        }
        return take_in(inbox_batches(self.inbox), **(known | changes))

    def run(self, **changes: Any) -> HubRun:
        known: dict[str, Any] = {
            "state": self.state.root,
            "hub": self.parties["hub"],
            "analysis": self.parties["analysis"].public,
            "spec": SPEC,
            "senders": {source: self.parties[source].public for source in SOURCES},
            "agreements": self.agreements,
            "project": "milwaukee",
            "epoch": "2026-1",
            "out": self.root / "runs",
            "today": TODAY,
        }
        return run(changes.pop("month", "2026-11"), **(known | changes))

    def current(self) -> dict[str, Path]:
        return current_batches(self.state.root, epoch="2026-1", spec=SPEC)

    def files(self) -> set[str]:
        """Digests of all batches, wherever they are."""
        return {file_digest(path) for path in self.root.rglob("*.batch")}


def frames(source: str, records: int, spec: Any, seed: int, common: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Half of the records' filters are the same at every source of this ``common``, the others are the source's own."""
    own, theirs = random.Random(f"{source} {seed}"), random.Random(common)
    width = spec.diffusion.bits // 8
    names = [entry.name for entry in spec.filters]
    shared = [[theirs.randbytes(width) for _ in names] for _ in range(records // 2)]
    filters = shared + [[own.randbytes(width) for _ in names] for _ in range(records - len(shared))]
    pseudonyms = [own.randbytes(16).hex() for _ in range(records)]
    columns: dict[str, Any] = {"pseudonym": pseudonyms, "variant": pl.Series([0] * records, dtype=pl.UInt8)}
    columns |= {name: [row[position] for row in filters] for position, name in enumerate(names)}
    empty = {name: pl.Series([None] * records, dtype=kind) for name, kind in FACT_SCHEMA.items()}
    facts = pl.DataFrame(empty | {"pseudonym": pseudonyms, "month": ["2014-03"] * records, "decoy": [False] * records})
    return pl.DataFrame(columns), facts


@pytest.fixture
def hub(tmp_path: Path, parties: dict[str, Party]) -> Hub:
    return Hub(tmp_path, parties)


def only_refusal(hub: Hub, intake: Intake, sent: str) -> str:
    """Check that the one file sent was refused, is kept, noted and receipted; return the reason."""
    (refused,) = intake.quarantined
    assert refused.digest == sent
    assert not inbox_batches(hub.inbox)
    assert not list(hub.state.incoming.iterdir())
    assert file_digest(hub.state.quarantine / f"{sent}.batch") == sent
    note = json.loads((hub.state.quarantine / f"{sent}.json").read_text())
    assert note["reason"] == refused.reason
    receipt = read_receipt(hub.state.receipts / f"{sent}.{refused.reason}.receipt", hub.parties["hub"].public)
    assert (receipt.batch_digest, receipt.status, receipt.reason) == (sent, "quarantined", refused.reason)
    assert sent in {entry.object for entry in ledger.entries(hub.state.ledger) if entry.action == "quarantine"}
    assert refused.reason in INTAKE_REASONS
    with pytest.raises(SealError) as raised:
        intake.require_all()
    assert raised.value.reason == refused.reason
    return refused.reason


def test_good_batches_are_accepted_and_receipted(hub: Hub) -> None:
    sent = {source: file_digest(hub.send(source)) for source in SOURCES}
    intake = hub.take_in()
    intake.require_all()
    assert {entry.source: entry.digest for entry in intake.accepted} == sent
    assert {source: path.stem for source, path in hub.current().items()} == sent
    assert not inbox_batches(hub.inbox) and not list(hub.state.incoming.iterdir())
    for source, found in sent.items():
        receipt = read_receipt(hub.state.receipts / f"{found}.accepted.receipt", hub.parties["hub"].public)
        assert (receipt.source, receipt.status, receipt.records) == (source, "accepted", None)
        assert receipt.anchor is not None
        assert not any("records" in entry.extra for entry in ledger.entries(hub.state.ledger))
        assert ledger.verify(hub.state.ledger, [receipt.anchor], [found]).entries >= receipt.anchor.entries


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-500] ^= 4
    path.write_bytes(bytes(content))


def _flip_manifest(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"month":"2026-11"', b'"month":"2026-10"'))


def _next_version(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"linkage-batch/4\n", b"linkage-batch/9\n", 1))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(_truncate, "truncated"), (_flip, "damaged"), (_flip_manifest, "bad-signature"), (_next_version, "bad-version")],
)
def test_a_damaged_file_is_refused(hub: Hub, damage: Callable[[Path], None], reason: str) -> None:
    path = hub.send("mpd")
    damage(path)
    sent = file_digest(path)
    assert only_refusal(hub, hub.take_in(), sent) == reason
    assert hub.current() == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signer": "stranger"}, "untrusted-sender"),
        ({"signer": "dcf"}, "untrusted-sender"),
        ({"project": "madison"}, "wrong-project"),
        ({"epoch": "2025-1"}, "wrong-epoch"),
        ({"spec_digest": "0" * 64}, "wrong-spec"),
        ({"rules_version": 2}, "wrong-spec"),
        ({"agreement_digest": "0" * 64}, "agreement-differs"),
        ({"mode": "consent"}, "agreement-differs"),
        ({"spec": load_spec("default").model_copy(update={"filters": SPEC.filters[:1]})}, "contents-mismatch"),
    ],
)
def test_a_batch_outside_what_was_agreed_is_refused(hub: Hub, changes: dict[str, Any], reason: str) -> None:
    sent = file_digest(hub.send("mpd", **changes))
    assert only_refusal(hub, hub.take_in(), sent) == reason


def test_a_batch_signed_anew_by_another_agency_is_refused(hub: Hub) -> None:
    """The encodings of mpd, sealed again by dcf under mpd's name."""
    path = hub.send("mpd")
    encodings, facts = frames("mpd", 40, SPEC, 0)
    to = (hub.parties["hub"].public, hub.parties["analysis"].public)
    seal_batch(path, read_manifest(path), encodings, facts, hub.parties["dcf"], *to)
    assert only_refusal(hub, hub.take_in(), file_digest_of(hub)) == "untrusted-sender"


def file_digest_of(hub: Hub) -> str:
    (found,) = hub.files()
    return found


def test_a_source_nobody_knows_is_refused(hub: Hub) -> None:
    sent = file_digest(hub.send("clinic", signer="stranger"))
    assert only_refusal(hub, hub.take_in(), sent) == "unknown-source"


def test_a_batch_for_another_hub_is_refused(hub: Hub) -> None:
    sent = file_digest(hub.send("mpd"))
    intake = hub.take_in(hub=hub.parties["stranger"])
    assert [entry.reason for entry in intake.quarantined] == ["not-for-us"]
    assert file_digest_of(hub) == sent


@pytest.mark.parametrize("day", [dt.date(2025, 12, 31), dt.date(2029, 1, 1)])
def test_no_agreement_in_force(hub: Hub, day: dt.date) -> None:
    sent = file_digest(hub.send("mpd"))
    assert only_refusal(hub, hub.take_in(today=day), sent) == "no-agreement"


def test_no_agreement_at_all_or_for_counts_only(hub: Hub) -> None:
    sent = file_digest(hub.send("mpd"))
    assert only_refusal(hub, hub.take_in(agreements={}), sent) == "no-agreement"
    counts = {"dcf": hub.agreements["dcf"].model_copy(update={"mode": "aggregate"})}
    sent = file_digest(hub.send("dcf"))
    assert only_refusal(hub, hub.take_in(agreements=counts), sent) == "no-agreement"


def test_a_refused_batch_is_good_once_the_cause_is_gone(hub: Hub) -> None:
    path = hub.send("mpd")
    sent = file_digest(path)
    hub.take_in(today=dt.date(2029, 1, 1)).quarantined[0]
    shutil.copy(hub.state.quarantine / f"{sent}.batch", path)
    hub.take_in().require_all()
    assert hub.current()["mpd"].stem == sent
    assert not list(hub.state.quarantine.iterdir())


def test_replays_and_older_batches_are_refused(hub: Hub, tmp_path: Path) -> None:
    first = hub.send("mpd")
    shutil.copy(first, tmp_path / "kept.batch")
    late = shutil.move(hub.send("mpd"), tmp_path / "late.batch")
    hub.take_in().require_all()

    shutil.copy(tmp_path / "kept.batch", hub.inbox / "again.batch")  # the current batch, sent again
    assert [entry.reason for entry in hub.take_in().quarantined] == ["replayed"]

    newest = hub.send("mpd")
    newest_digest = file_digest(newest)
    hub.take_in().require_all()
    shutil.copy(tmp_path / "kept.batch", hub.inbox / "again.batch")
    shutil.copy(late, hub.inbox / "late.batch")
    assert sorted(entry.reason for entry in hub.take_in().quarantined) == ["replayed", "stale"]
    assert hub.current()["mpd"].stem == newest_digest

    same_id = read_manifest(hub.current()["mpd"]).batch_id
    sent = file_digest(hub.send("mpd", batch_id=same_id))
    assert only_refusal(hub, hub.take_in(), sent) == "replayed"


def test_two_batches_of_one_source_are_taken_in_the_order_of_their_serials(hub: Hub) -> None:
    paths = [hub.send("mpd", records=records) for records in (10, 20, 30)]
    newest = file_digest(paths[-1])
    paths[-1].rename(hub.inbox / "a-first-by-name.batch")
    intake = hub.take_in()
    serials = [entry.manifest.serial for entry in intake.accepted]
    assert len(serials) == 3 and serials == sorted(serials)
    assert hub.current()["mpd"].stem == newest


def test_who_encodes_differently_from_most_is_refused(hub: Hub) -> None:
    for source in ("mpd", "pohsey"):
        hub.send(source)
    sent = file_digest(hub.send("dcf", fingerprint="e" * 64))
    intake = hub.take_in()
    assert sorted(entry.source for entry in intake.accepted) == ["mpd", "pohsey"]
    assert only_refusal(hub, intake, sent) == "fingerprint-differs"
    assert "(mpd, pohsey | dcf)" in intake.quarantined[0].detail


def test_two_who_encode_differently_are_both_refused_and_both_named(hub: Hub) -> None:
    hub.send("mpd")
    hub.send("dcf", fingerprint="e" * 64)
    intake = hub.take_in()
    assert not intake.accepted
    assert [entry.reason for entry in intake.quarantined] == ["fingerprint-differs"] * 2
    with pytest.raises(SealError, match=r"dcf.*\|.*mpd|mpd.*\|.*dcf"):
        intake.require_all()
    with pytest.raises(LinkError) as raised:
        hub.run()
    assert raised.value.reason == "no-batches"


def test_a_wrong_key_that_came_first_and_alone_stops_the_linking(hub: Hub) -> None:
    hub.send("mpd", fingerprint="e" * 64)
    hub.take_in().require_all()
    hub.send("dcf")
    hub.send("pohsey")
    hub.take_in().require_all()
    with pytest.raises(LinkError, match=r"mpd") as raised:
        hub.run()
    assert raised.value.reason == "fingerprint-differs"
    hub.send("mpd")
    hub.take_in().require_all()
    assert sorted(hub.run().batches) == sorted(SOURCES)


def test_a_missing_file_moves_nothing(hub: Hub) -> None:
    path = hub.send("mpd")
    with pytest.raises(SealError) as raised:
        take_in(
            [path, hub.inbox / "gone.batch"],
            hub=hub.parties["hub"],
            senders={},
            agreements={},
            state=hub.state.root,
            spec=SPEC,
            project="milwaukee",
            epoch="2026-1",
            today=TODAY,
        )
    assert raised.value.reason == "unreadable"
    assert path.exists()


def test_only_regular_files_are_picked_from_an_inbox(hub: Hub) -> None:
    path = hub.send("mpd")
    (hub.inbox / "link.batch").symlink_to(path)
    (hub.inbox / ".uploading.batch.part").write_bytes(b"half")
    (hub.inbox / "folder.batch").mkdir()
    assert inbox_batches(hub.inbox) == [path]


class Killed(BaseException):
    """Stands for a power cut: nothing in the code catches it."""


@pytest.mark.parametrize(
    "step", ["file_digest", "read_manifest", "open_encodings", "place_copy", "ledger.append", "write_receipt"]
)
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_an_intake_killed_anywhere_is_finished_by_the_next(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, step: str, call: int, after: bool
) -> None:
    sent = {source: file_digest(hub.send(source)) for source in ("mpd", "dcf")}
    bad = hub.send("pohsey", signer="stranger")
    everything = hub.files()
    assert file_digest(bad) in everything
    owner = intake_module.ledger if "." in step else intake_module
    name = step.rpartition(".")[2]
    real, calls = getattr(owner, name), []

    def cut(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == call and not after:
            raise Killed
        result = real(*arguments, **named)
        if len(calls) == call:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, cut)
        with pytest.raises(Killed):
            hub.take_in()
    assert hub.files() == everything

    intake = hub.take_in()
    assert not {entry.reason for entry in intake.quarantined} - {"untrusted-sender"}
    assert {source: path.stem for source, path in hub.current().items()} == sent
    assert hub.files() == everything
    assert not inbox_batches(hub.inbox) and not list(hub.state.incoming.glob("*.batch"))
    accepted = [entry.object for entry in ledger.entries(hub.state.ledger) if entry.action == "accept"]
    assert sorted(map(str, accepted)) == sorted(sent.values())
    receipts = {path.name for path in hub.state.receipts.iterdir()}
    assert receipts == {*(f"{d}.accepted.receipt" for d in sent.values())} | {
        f"{d}.untrusted-sender.receipt" for d in everything - set(sent.values())
    }


def test_two_intakes_at_once_do_not_meet(hub: Hub) -> None:
    hub.send("mpd")
    with hub.state.locked(), pytest.raises(LinkError) as raised:
        hub.take_in()
    assert raised.value.reason == "busy"
    hub.take_in().require_all()


def test_a_lost_batch_is_told(hub: Hub) -> None:
    hub.send("mpd")
    hub.take_in().accepted[0].path.unlink()
    with pytest.raises(SealError) as raised:
        hub.current()
    assert raised.value.reason == "lost"


def test_a_run_seals_the_map_of_the_current_batches_once(hub: Hub) -> None:
    for source in SOURCES:
        hub.send(source)
    accepted = hub.take_in().accepted
    first = hub.run()
    assert first.fresh
    opened = open_person_map(first.person_map, hub.parties["analysis"], hub.parties["hub"].public)
    assert opened.manifest.run_id == first.run_id == first.folder.name
    assert opened.manifest.batches == sorted(entry.digest for entry in accepted)
    assert opened.frame.height == 120
    assert sorted(opened.frame["source"].unique().to_list()) == sorted(SOURCES)
    # The first half of each list is one and the same 20 people, with identical filters.
    person = {(source, pseudonym): number for source, pseudonym, number in opened.frame.iter_rows()}
    same = [[person[source, name] for name in frames(source, 40, SPEC, 0)[0]["pseudonym"][:20]] for source in SOURCES]
    assert same[0] == same[1] == same[2]
    assert len(set(same[0])) == 20
    assert {file_digest(path) for path in first.batches.values()} == {entry.digest for entry in accepted}
    assert opened.quality["persons"] == first.quality["persons"] == opened.frame["person"].n_unique()
    assert opened.manifest.draws == opened.quality["draws"] == opened.draws.width - 1 > 0
    for source in SOURCES:
        ties = first.folder / f"near-ties-{source}.csv"
        assert ties.read_text().splitlines()[0] == "tie,pseudonym,other_source,band"
        if os.name == "posix":
            assert ties.stat().st_mode & 0o777 == 0o600

    written = first.person_map.stat().st_mtime_ns
    again = hub.run()
    assert (again.fresh, again.quality) == (False, first.quality)
    assert first.person_map.stat().st_mtime_ns == written

    hub.send("dcf", seed=5)
    hub.take_in()
    later = hub.run()
    assert later.fresh and later.run_id != first.run_id and first.person_map.exists()


def test_what_a_false_link_costs_goes_sealed_to_the_analysis(hub: Hub) -> None:
    for source in SOURCES:
        hub.send(source)
    hub.take_in()
    runs = [hub.run(), hub.run(cost=4.0)]
    assert runs[0].run_id != runs[1].run_id
    assert runs[1].quality["threshold"] == 0.8
    for made, cost in zip(runs, (None, 4.0), strict=True):
        opened = open_person_map(made.person_map, hub.parties["analysis"], hub.parties["hub"].public)
        assert opened.quality["cost"] == made.quality["cost"] == cost
        assert json.loads((made.folder / "quality.json").read_text())["cost"] == cost


def test_a_source_that_shares_nobody_is_told_of(hub: Hub) -> None:
    for number, source in enumerate(SOURCES):
        hub.send(source, common=1 + number // 2)
    hub.take_in()
    made = hub.run()
    (sentence,) = made.quality["warnings"]
    assert sentence.startswith("source pohsey has no link to any other: ")
    assert json.loads((made.folder / "quality.json").read_text())["warnings"] == [sentence]
    opened = open_person_map(made.person_map, hub.parties["analysis"], hub.parties["hub"].public)
    assert opened.quality["warnings"] == [sentence]
    hub.send("pohsey")
    hub.take_in()
    assert hub.run().quality["warnings"] == []


def test_a_run_that_was_killed_is_made_again(hub: Hub) -> None:
    for source in SOURCES:
        hub.send(source)
    hub.take_in()
    first = hub.run()
    (first.folder / "quality.json").unlink()
    first.person_map.write_bytes(b"half a map")
    again = hub.run()
    assert again.fresh and again.run_id == first.run_id
    opened = open_person_map(again.person_map, hub.parties["analysis"], hub.parties["hub"].public)
    assert opened.frame.height == 120


def test_a_month_nobody_or_not_everybody_reported_for_is_told_of(hub: Hub) -> None:
    hub.send("mpd")
    hub.send("dcf", month="2026-10")
    hub.take_in()
    with pytest.raises(ContractError) as raised:
        hub.run(month="2026-12")
    assert raised.value.reason == "future-month"
    assert not (hub.root / "runs").exists()
    stale = "source dcf: its newest batch is of month 2026-10, not of 2026-11"
    silent = "source pohsey: no batch of this epoch and spec has been taken in, so it is not linked"
    made = hub.run()
    assert made.quality["warnings"] == [stale, silent]
    assert json.loads((made.folder / "quality.json").read_text())["warnings"] == [stale, silent]
    nobody, *others = hub.run(month="2026-09").quality["warnings"]
    assert nobody.startswith("no batch of month 2026-09 has been taken in from any source")
    assert [sentence.split(":")[0] for sentence in others] == ["source dcf", "source mpd", "source pohsey"]


@pytest.mark.parametrize("note", ["{", "null", "7", '{"a": 1}', '[7, null, "\\u0000", []]', "\udcff"])
def test_a_malformed_note_of_unfinished_files_is_none(hub: Hub, note: str) -> None:
    for source in SOURCES:
        hub.send(source)
    hub.take_in()
    (hub.state.root / "unfinished").write_bytes(note.encode("utf-8", "surrogateescape"))
    assert hub.run().fresh
    assert not (hub.state.root / "unfinished").exists()


def test_what_a_killed_run_left_goes_and_a_folder_that_cannot_be_read_is_passed_over(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in SOURCES:
        hub.send(source)
    hub.take_in()
    shut, earlier = tmp_path / "shut", tmp_path / "earlier"
    shut.mkdir()
    earlier.mkdir()
    left = earlier / ".quality.json.0123456789ab.part"
    left.write_text("half")
    files = [str(folder / "quality.json") for folder in (shut, earlier)]
    (hub.state.root / "unfinished").write_text(json.dumps(files))
    look = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder == shut:
            raise PermissionError(13, "refused")
        return look(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert hub.run().fresh
    assert not left.exists()


def test_a_source_whose_agreement_has_ended_is_not_linked(hub: Hub) -> None:
    for source in SOURCES:
        hub.send(source)
    hub.take_in()
    with pytest.raises(NotPermittedError):
        hub.run(today=dt.date(2029, 1, 1))
    assert not (hub.root / "runs").exists()


def test_a_batch_is_not_linked_under_an_agreement_of_another_mode(hub: Hub) -> None:
    for source in SOURCES:
        hub.send(source)
    hub.take_in()
    counts = {**hub.agreements, "dcf": hub.agreements["dcf"].model_copy(update={"mode": "aggregate"})}
    with pytest.raises(NotPermittedError) as raised:
        hub.run(agreements=counts)
    assert raised.value.reason == "agreement-differs"
    assert not (hub.root / "runs").exists()


def test_batches_taken_in_for_another_project_are_not_linked(hub: Hub) -> None:
    for source in ("mpd", "dcf"):
        hub.send(source)
    hub.take_in().require_all()
    with pytest.raises(LinkError) as caught:
        hub.run(project="elsewhere")
    assert caught.value.reason == "wrong-project"
    assert caught.value.message.endswith("dcf, mpd") and "state folder" in str(caught.value.hint)
    assert not (hub.root / "runs").exists()
    assert hub.run().fresh


def test_another_good_batch_in_the_place_of_the_one_taken_in_is_not_linked(hub: Hub, tmp_path: Path) -> None:
    older = shutil.move(hub.send("dcf"), tmp_path / "older.batch")
    for source in SOURCES:
        hub.send(source)
    hub.take_in().require_all()
    place = hub.current()["dcf"]
    place.unlink()
    shutil.copy(older, place)
    with pytest.raises(SealError) as raised:
        hub.run()
    assert raised.value.reason == "damaged"
    assert not (hub.root / "runs").exists()


@pytest.mark.parametrize(("source", "reason"), [("pohsey", "untrusted-sender"), ("mpd", "damaged")])
def test_a_file_that_its_sender_changes_while_it_is_judged_is_refused(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, reason: str
) -> None:
    """An agency that holds its upload open writes another batch of its own into it, even under another's name."""
    other = shutil.move(hub.send(source, signer="mpd", seed=3), tmp_path / "other.batch")
    hub.send("mpd")
    step = "read_manifest" if source != "mpd" else "verify_batch"
    real = getattr(intake_module, step)

    def swap(path: Path, *rest: Any) -> Any:
        found = real(path, *rest)
        if found.source == "mpd" and (step == "verify_batch" or path.stem in judging):
            path.write_bytes(Path(other).read_bytes())
        judging.add(path.stem)
        return found

    judging: set[str] = set()
    monkeypatch.setattr(intake_module, step, swap)
    intake = hub.take_in()
    assert [entry.reason for entry in intake.quarantined] == [reason]
    assert hub.current() == {}


def test_batches_of_an_earlier_epoch_do_not_count(hub: Hub) -> None:
    for source in SOURCES:
        hub.send(source)
    hub.take_in()
    for source in ("mpd", "dcf"):
        hub.send(source, epoch="2027-1", fingerprint="a" * 64)
    hub.take_in(epoch="2027-1").require_all()
    assert sorted(hub.run(epoch="2027-1").batches) == ["dcf", "mpd"]
