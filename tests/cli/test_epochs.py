"""From one epoch to the next by the commands: a new linkage key, the bridge run, and what must not be kept after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linkage.exchange import create_linkage_key, create_party, ledger, load_party, load_public
from linkage.hub.register import read_registry
from linkage.hub.retire import read_destruction
from linkage.hub.state import StateFolder

Run = Callable[..., Any]
SOURCES = ("mpd", "dcf")


def submit_all(linkage: Run, sites: Any, extracts: dict[str, Path], month: str) -> None:
    for source in SOURCES:
        words = ("--source", source, "--month", month, "--settings", sites.settings(source))
        assert linkage("steward", "submit", extracts[source], *words).code == 0


def link(linkage: Run, sites: Any, month: str) -> Any:
    batches = sorted(sites.inbox.glob("*.batch"))
    named = ("--out", sites.root / "run", "--month", month, "--settings", sites.settings("hub"))
    return linkage("hub", "link", *batches, *named, "--json")


def rotate(sites: Any) -> None:
    """Put the next epoch's linkage key and name in the place of the present ones, at all sites."""
    made = create_linkage_key(sites.root / "next.key", "milwaukee", "2027-1")
    assert made.epoch == "2027-1"
    for source in SOURCES:
        shutil.copy2(sites.root / "next.key", sites.root / source / "keys" / "linkage.key")
    for name in (*SOURCES, "hub"):
        text = sites.settings(name).read_text()
        sites.settings(name).write_text(text.replace('epoch = "2026-1"', 'epoch = "2027-1"'))


def persons(sites: Any) -> dict[tuple[str, str], str]:
    records = read_registry(StateFolder(sites.root / "hub" / "state")).records
    return {(source, pseudonym): person for source, pseudonym, person, *_ in records.iter_rows()}


def test_ids_cross_from_epoch_to_epoch_and_the_old_encodings_go(
    linkage: Run, sites: Any, extracts: dict[str, Path]
) -> None:
    submit_all(linkage, sites, extracts, "2026-10")
    first = link(linkage, sites, "2026-10").json
    assert first["quality"]["registry"]["bridge"] is None
    before = persons(sites)
    rotate(sites)
    submit_all(linkage, sites, extracts, "2026-11")
    told = link(linkage, sites, "2026-11")
    assert told.code == 0, told.err
    bridge = told.json["quality"]["registry"]
    assert bridge["bridge"] == {"from": "2026-1", "to": "2027-1"}
    after = persons(sites)
    assert after.keys() == before.keys()
    # Under another key the same names link nearly alike: most keep their id, and who does not is on record.
    assert sum(after[record] == before[record] for record in after) >= 0.85 * len(after)
    assert bridge["carried"] + bridge["new"] == told.json["quality"]["persons"]

    named = ("--settings", sites.settings("hub"))
    present = linkage("hub", "retire", "2027-1", *named)
    assert (present.code, "present epoch" in present.err) == (4, True)
    assert linkage("hub", "retire", "2026-1", "--runs", sites.root / "gone", *named).code == 2
    done = linkage("hub", "retire", "2026-1", "--runs", sites.root / "run", *named, "--json").json
    old, new = ({json.dumps(batch) for batch in run["batches"].values()} for run in (first, told.json))
    assert not [path for path in old if Path(json.loads(path)).exists()]
    assert all(Path(json.loads(path)).exists() for path in new)
    hub = load_public(sites.root / "hub" / "keys" / "hub.pub")
    assert read_destruction(Path(done["certificate"]), hub).destroyed == done["destroyed"]
    assert (len(done["destroyed"]), done["missing"]) == (2, [])
    assert (
        linkage("ledger", "verify", sites.root / "hub" / "state" / "ledger", "--anchor", done["certificate"]).code == 0
    )
    assert linkage("inspect", done["certificate"]).code == 0
    words = linkage("hub", "retire", "2026-1", "--runs", sites.root / "run", *named)
    assert "2 batches destroyed, 0 files just now" in words.err
    shown = linkage("hub", "link", "--out", sites.root / "run", "--month", "2026-11", *named)
    assert "2026-1 to 2027-1" in shown.err and "with an id from before" in shown.err
    again = link(linkage, sites, "2026-11")
    assert again.json["fresh"] is False


def test_an_agency_that_changed_its_pseudonyms_unannounced_stops_the_bridge(
    linkage: Run, sites: Any, extracts: dict[str, Path]
) -> None:
    submit_all(linkage, sites, extracts, "2026-10")
    assert link(linkage, sites, "2026-10").code == 0
    rotate(sites)
    for path in create_party(sites.root / "new", "mpd"):
        path.replace(sites.root / "mpd" / "keys" / path.name)
    submit_all(linkage, sites, extracts, "2026-11")
    refused = link(linkage, sites, "2026-11")
    assert (refused.code, refused.json["reason"]) == (7, "pseudonyms-changed")
    assert "linkage steward bridge" in refused.err
    # It has lost its old key and can make no bridge file: the hub forgets its records, and goes on.
    named = ("--settings", sites.settings("hub"))
    assert linkage("hub", "forget", "mpd", *named).code == 2
    assert "records forgotten: " in linkage("hub", "forget", "mpd", "--all", *named).err
    assert link(linkage, sites, "2026-11").code == 0


def test_what_was_withdrawn_is_forgotten_by_a_list_of_pseudonyms(
    linkage: Run, sites: Any, extracts: dict[str, Path], tmp_path: Path
) -> None:
    submit_all(linkage, sites, extracts, "2026-10")
    assert link(linkage, sites, "2026-10").code == 0
    before = persons(sites)
    (_, withdrawn), *_ = (record for record in before if record[0] == "dcf")
    path = tmp_path / "withdrawn.txt"
    path.write_text(f"{withdrawn}\n{'0' * 32}\n")
    named = ("--settings", sites.settings("hub"))
    assert "records forgotten: 1" in linkage("hub", "forget", "dcf", path, *named).err
    assert before.keys() - persons(sites).keys() == {("dcf", withdrawn)}
    last = list(ledger.entries(sites.root / "hub" / "state" / "ledger"))[-1]
    assert (last.action, last.extra["records"]) == ("forget", 1)
    for wrong in ("no pseudonym\n", "\u00e9\n"):
        path.write_text(wrong, encoding="utf-8")
        assert linkage("hub", "forget", "dcf", path, *named).code == 2
    assert linkage("hub", "forget", "dcf", path, "--all", *named).code == 2
    assert load_party(sites.root / "hub" / "keys" / "hub.key").name == last.actor
