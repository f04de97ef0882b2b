"""The opening key in shares by the commands: made, submitted for, waited for at the hub, approved by two agencies."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage.exchange import create_party, load_party, load_public
from linkage.exchange.approval.orders import OrderedBatch, write_order
from linkage.exchange.approval.shared import create_opening, load_opening
from linkage.exchange.opening import OpeningKey

Run = Callable[..., Any]
MONTH = "2026-11"


@pytest.fixture
def shared(sites: Any, linkage: Run) -> Any:
    """The sites, with agreements that have runs approved."""
    opening = sites.root / "board" / "opening.pub"
    public = [sites.root / name / "keys" / f"{name}.pub" for name in ("mpd", "dcf")]
    words = ("--project", "milwaukee", "--epoch", "2026-1", "--threshold", "2", "--out", opening)
    made = linkage("keys", "opening", *public, *words)
    assert made.code == 0, made.err
    assert "approval of 2 of: dcf, mpd" in made.err
    for name in ("mpd", "dcf"):
        agreement = sites.root / name / "agreement.yaml"
        agreement.write_text(agreement.read_text().replace("opening: hub", "opening: approval"))
        settings = sites.settings(name)
        settings.write_text(
            settings.read_text().replace("[steward]\n", '[steward]\nopening = "../board/opening.pub"\n')
        )
    settings = sites.settings("hub")
    holders = '[hub.holders]\nmpd = "../mpd/keys/mpd.pub"\ndcf = "../dcf/keys/dcf.pub"\n'
    settings.write_text(settings.read_text().replace("[hub]\n", '[hub]\nopening = "../board/opening.pub"\n') + holders)
    return sites


def submit(linkage: Run, sites: Any, extracts: dict[str, Path], source: str, *words: str) -> Any:
    settings = sites.settings(source)
    named = ("--source", source, "--month", MONTH, "--settings", settings)
    return linkage("steward", "submit", extracts[source], *named, *words)


def test_two_agencies_approve_a_run(shared: Any, linkage: Run, command: Run, extracts: dict[str, Path]) -> None:
    for source in ("mpd", "dcf"):
        told = submit(linkage, shared, extracts, source)
        assert told.code == 0, told.err
        assert "in a run that 2 of 2 holders approve" in told.err
    seen: dict[str, Any] = {}

    def approve() -> None:
        orders = shared.root / "hub" / "state" / "orders"
        for _ in range(600):
            if found := list(orders.glob("*.order")):
                break
            time.sleep(0.1)
        (order,) = found
        seen["inspect"] = command("inspect", order, "--json")
        seen["asked"] = command("steward", "approve", order, "--settings", shared.settings("mpd"))
        for source in ("mpd", "dcf"):
            words = ("steward", "approve", order, "--yes", "--out", shared.inbox)
            seen[source] = command(*words, "--settings", shared.settings(source))

    thread = threading.Thread(target=approve)
    thread.start()
    batches = sorted(shared.inbox.glob("*.batch"))
    named = ("--out", shared.root / "run", "--month", MONTH, "--settings", shared.settings("hub"))
    linked = command("hub", "link", *batches, *named, "--json")
    thread.join()
    assert linked.code == 0, linked.err
    assert linked.json["fresh"] is True
    assert "2 of dcf, mpd must approve this order" in linked.err
    # One look into the inbox may find both approvals, and then reports them by name.
    reported = re.findall(r"approved by (\w+): (\d) of 2", linked.err)
    assert sorted(name for name, _ in reported) == ["dcf", "mpd"]
    assert [count for _, count in reported] == ["1", "2"]
    visible = json.loads(seen["inspect"].out)
    assert (visible["kind"], visible["header"]["month"]) == ("order", MONTH)
    assert [(sorted(batch), batch["source"]) for batch in visible["header"]["batches"]] == [
        (["digest", "source"], source) for source in ("dcf", "mpd")
    ]
    assert seen["asked"].code == 4 and "--yes" in seen["asked"].err
    for source in ("mpd", "dcf"):
        assert seen[source].code == 0, seen[source].err
        assert MONTH in seen[source].err and "records" not in seen[source].err


def test_a_holder_that_is_no_agency_approves_too(
    shared: Any, linkage: Run, command: Run, extracts: dict[str, Path]
) -> None:
    opening = shared.root / "board" / "opening.pub"
    opening.unlink()
    assert linkage("keys", "party", "--name", "court", "--out", shared.root / "court" / "keys").code == 0
    public = [shared.root / name / "keys" / f"{name}.pub" for name in ("mpd", "court")]
    words = ("--project", "milwaukee", "--epoch", "2026-1", "--threshold", "2", "--out", opening)
    assert linkage("keys", "opening", *public, *words).code == 0
    (shared.root / "court" / "linkage.toml").write_text(
        'project = "milwaukee"\nepoch = "2026-1"\nprofile = "default"\n[holder]\nparty_key = "keys/court.key"\n'
        'hub = "../hub/keys/hub.pub"\nanalysis = "../analysis/keys/analysis.pub"\n'
        'opening = "../board/opening.pub"\noutbox = "outbox"\n'
    )
    settings = shared.settings("hub")
    settings.write_text(settings.read_text() + 'court = "../court/keys/court.pub"\n')
    for source in ("mpd", "dcf"):
        assert submit(linkage, shared, extracts, source).code == 0
    told: list[Any] = []

    def approve() -> None:
        orders = shared.root / "hub" / "state" / "orders"
        while not (found := list(orders.glob("*.order"))):
            time.sleep(0.1)
        for name in ("mpd", "court"):
            words = ("steward", "approve", found[0], "--yes", "--out", shared.inbox)
            told.append(command(*words, "--settings", shared.settings(name)))

    thread = threading.Thread(target=approve, daemon=True)
    thread.start()
    batches = sorted(shared.inbox.glob("*.batch"))
    linked = command("hub", "link", *batches, "--out", shared.root / "run", "--month", MONTH, "--settings", settings)
    thread.join(timeout=60)
    assert [entry.code for entry in told] == [0, 0]
    assert linked.code == 0, linked.err


def test_show_tells_who_approves(shared: Any, linkage: Run) -> None:
    path = shared.root / "board" / "opening.pub"
    told = linkage("keys", "show", path, "--json").json
    assert told == {
        "kind": "opening",
        "project": "milwaukee",
        "epoch": "2026-1",
        "key_id": load_opening(path).key_id,
        "approved_by": "2 of dcf ({dcf}), mpd ({mpd})".format(
            **{name: load_public(shared.root / name / "keys" / f"{name}.pub").key_id for name in ("dcf", "mpd")}
        ),
    }


def test_who_agreed_to_approval_seals_for_no_other_key(shared: Any, linkage: Run, extracts: dict[str, Path]) -> None:
    settings = shared.settings("mpd")
    settings.write_text(settings.read_text().replace('opening = "../board/opening.pub"\n', ""))
    told = submit(linkage, shared, extracts, "mpd")
    assert (told.code, "no opening key" in told.err) == (2, True)
    assert not shared.inbox.exists()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (('opening = "../board/opening.pub"\n', ""), 2, "no opening key"),
        (('dcf = "../dcf/keys/dcf.pub"\n[hub.agreements]', "[hub.agreements]"), 0, ""),
        (('[hub.holders]\nmpd = "../mpd/keys/mpd.pub"\n', "[hub.holders]\n"), 2, "1 holders of the opening key"),
        (('epoch = "2026-1"', 'epoch = "2026-2"'), 2, "another project's or epoch's"),
    ],
)
def test_a_hub_that_cannot_have_runs_approved_says_so(
    shared: Any, linkage: Run, change: tuple[str, str], code: int, words: str
) -> None:
    settings = shared.settings("hub")
    assert change[0] in settings.read_text()
    settings.write_text(settings.read_text().replace(change[0], change[1]))
    told = linkage("hub", "link", "--out", shared.root / "run", "--month", MONTH, "--settings", settings)
    if code:
        assert (told.code, words in told.err) == (code, True)
    else:
        assert "no opening key" not in told.err and "holders" not in told.err


def test_a_hub_holds_no_share_of_its_own_key(shared: Any, linkage: Run) -> None:
    opening = shared.root / "board" / "own.pub"
    public = [shared.root / name / "keys" / f"{name}.pub" for name in ("mpd", "hub")]
    words = ("--project", "milwaukee", "--epoch", "2026-1", "--threshold", "2", "--out", opening)
    assert linkage("keys", "opening", *public, *words).code == 0
    settings = shared.settings("hub")
    settings.write_text(settings.read_text().replace("board/opening.pub", "board/own.pub"))
    told = linkage("hub", "link", "--out", shared.root / "run", "--month", MONTH, "--settings", settings)
    assert (told.code, "holds a share" in told.err) == (4, True)


def test_an_agency_finds_its_own_key_among_the_holders_or_seals_nothing(
    shared: Any, linkage: Run, extracts: dict[str, Path], tmp_path: Path
) -> None:
    """Whoever makes the file could hold both shares under the agencies' names."""
    for number, names in enumerate((("mpd", "dcf"), ("mpd", "hub"))):
        forged = [load_public(create_party(tmp_path / f"{number}{name}", name)[1]) for name in names]
        opening = shared.root / "board" / "opening.pub"
        opening.unlink()
        create_opening(opening, "milwaukee", "2026-1", forged, 2)
        told = submit(linkage, shared, extracts, "mpd")
        assert told.code == 4
        assert ("in this party's name" in told.err) or ("holds a share" in told.err)
        assert not shared.inbox.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"analysis": "dcf"}, "another party than the analysis"),
        ({"spec_digest": "0" * 64}, "another spec"),
        ({"batches": "other"}, "none that is in the outbox"),
    ],
)
def test_an_order_for_something_else_is_not_approved(
    shared: Any, linkage: Run, extracts: dict[str, Path], tmp_path: Path, change: dict[str, str], words: str
) -> None:
    settings = shared.settings("mpd")
    settings.write_text(settings.read_text().replace('outbox = "../hub/inbox"', 'outbox = "outbox"'))
    told = submit(linkage, shared, extracts, "mpd", "--json")
    assert told.code == 0, told.err
    sent = told.json
    digest = sent["digest"] if "batches" not in change else "1" * 64
    order = tmp_path / "a.order"
    write_order(
        order,
        project="milwaukee",
        epoch="2026-1",
        month=MONTH,
        spec_digest=change.get("spec_digest", sent["manifest"]["spec_digest"]),
        opening=load_opening(shared.root / "board" / "opening.pub"),
        batches=[OrderedBatch(source="mpd", digest=digest)],
        analysis=load_public(
            shared.root / change.get("analysis", "analysis") / "keys" / f"{change.get('analysis', 'analysis')}.pub"
        ),
        key=OpeningKey.create().public,
        hub=load_party(shared.root / "hub" / "keys" / "hub.key"),
    )
    told = linkage("steward", "approve", order, "--yes", "--settings", settings)
    assert (told.code, words in told.err) == (4, True)
    assert not list((settings.parent / "outbox").glob("*.approval"))
