"""The register on disk: only what the ledger names counts, a killed run is repeated alike, a bridge carries."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.errors import LinkError, SealError
from linkage.exchange import Party, create_party, ledger, load_party
from linkage.hub import register as module
from linkage.hub.register import Registered, forget_records, read_registry, register, take_bridge
from linkage.hub.state import StateFolder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Party:
    return load_party(create_party(tmp_path_factory.mktemp("hub"), "hub")[0])


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


PSEUDONYMS = {source: [secrets.token_hex(16) for _ in range(40)] for source in ("dcf", "mpd")}


def people(count: int = 40, changed: tuple[str, ...] = ()) -> pl.DataFrame:
    """Every second record of the sources is the same person's; a changed source has other pseudonyms throughout."""
    rows = [
        (
            source,
            secrets.token_hex(16) if source in changed else pseudonym,
            number if number % 2 else number + count * at,
        )
        for at, (source, pseudonyms) in enumerate(PSEUDONYMS.items())
        for number, pseudonym in enumerate(pseudonyms[:count])
    ]
    frame = pl.DataFrame(rows, schema=["source", "pseudonym", "person"], orient="row")
    return frame.with_columns(pl.col("person").rank("dense").cast(pl.UInt32) - 1)


def registered(folder: StateFolder, hub: Party, persons: pl.DataFrame, **changes: Any) -> Registered:
    known = {"run_id": "2026-11-1", "month": "2026-11", "epoch": "2026-1"}
    with folder.locked():
        return register(persons, folder=folder, hub=hub, **(known | changes))


def files(folder: StateFolder) -> set[str]:
    return {path.name for path in (folder.root / "registry").iterdir()}


def test_ids_stay_over_runs_and_the_ledger_names_the_register(folder: StateFolder, hub: Party) -> None:
    first = registered(folder, hub, people(30))
    assert first.summary == {"carried": 0, "new": 45, "split": 0, "merged": 0, "bridge": None}
    second = registered(folder, hub, people(), run_id="2026-12-1", month="2026-12")
    assert second.summary == {"carried": 45, "new": 15, "split": 0, "merged": 0, "bridge": None}
    assert set(first.ids) < set(second.ids)
    last = list(ledger.entries(folder.ledger))[-1]
    assert (last.action, last.extra["run_id"], last.extra["new"]) == ("register", "2026-12-1", 15)
    assert files(folder) == {f"{last.object}.records", f"{last.extra['changes']}.changes"}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_it_is_for_its_owner_alone(folder: StateFolder, hub: Party) -> None:
    registered(folder, hub, people())
    place = folder.root / "registry"
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}


def test_ids_are_random_and_nothing_of_a_record(tmp_path: Path, hub: Party) -> None:
    one, two = (registered(StateFolder(tmp_path / name), hub, people()) for name in ("one", "two"))
    assert not set(one.ids) & set(two.ids)
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in one.ids)


def test_a_run_killed_before_its_entry_changed_nothing(
    folder: StateFolder, hub: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = registered(folder, hub, people(30))

    def killed(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            registered(folder, hub, people(), run_id="2026-12-1", month="2026-12")
    assert set(read_registry(folder).records["id"]) == set(first.ids)
    assert registered(folder, hub, people(), run_id="2026-12-1", month="2026-12").summary["carried"] == 45
    assert len(files(folder)) == 2


def test_a_run_killed_after_its_entry_is_repeated_with_the_same_result(
    folder: StateFolder, hub: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(folder, hub, people(30))

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "destroy", killed)
        with pytest.raises(KeyboardInterrupt):
            registered(folder, hub, people(), run_id="2027-01-1", month="2027-01", epoch="2027-1")
    entries = ledger.head(folder.ledger).entries
    again = registered(folder, hub, people(), run_id="2027-01-1", month="2027-01", epoch="2027-1")
    assert again == registered(folder, hub, people(), run_id="2027-01-1", month="2027-01", epoch="2027-1")
    assert again.summary == {
        "carried": 45,
        "new": 15,
        "split": 0,
        "merged": 0,
        "bridge": {"from": "2026-1", "to": "2027-1"},
    }
    assert ledger.head(folder.ledger).entries == entries
    assert len(files(folder)) == 2


@pytest.mark.parametrize(("harm", "reason"), [("gone", "lost"), ("changed", "damaged")])
@pytest.mark.parametrize("part", ["records", "changes"])
def test_a_register_that_is_not_the_ledgers_is_not_believed(
    folder: StateFolder, hub: Party, harm: str, reason: str, part: str
) -> None:
    registered(folder, hub, people())
    (path,) = (folder.root / "registry").glob(f"*.{part}")
    path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SealError) as refused:
        registered(folder, hub, people(), run_id="2026-12-1", month="2026-12")
    assert refused.value.reason == reason


def test_an_earlier_register_put_back_is_not_believed(folder: StateFolder, hub: Party) -> None:
    registered(folder, hub, people(30))
    (old,) = (folder.root / "registry").glob("*.records")
    content = old.read_bytes()
    registered(folder, hub, people(), run_id="2026-12-1", month="2026-12")
    (new,) = (folder.root / "registry").glob("*.records")
    new.write_bytes(content)
    with pytest.raises(SealError) as refused:
        read_registry(folder)
    assert refused.value.reason == "damaged"


def test_a_bridge_run_says_which_epochs_it_joins_once(folder: StateFolder, hub: Party) -> None:
    first = registered(folder, hub, people())
    bridge = registered(folder, hub, people(), run_id="2027-01-1", month="2027-01", epoch="2027-1")
    assert bridge.ids == first.ids
    assert bridge.summary["bridge"] == {"from": "2026-1", "to": "2027-1"}
    assert list(ledger.entries(folder.ledger))[-1].extra["bridged_from"] == "2026-1"
    later = registered(folder, hub, people(), run_id="2027-02-1", month="2027-02", epoch="2027-1")
    assert later.summary["bridge"] is None


def test_a_bridge_that_knows_hardly_anybody_is_refused(folder: StateFolder, hub: Party) -> None:
    first = registered(folder, hub, people())
    changed = people(changed=("mpd",))
    bridge = {"run_id": "2027-01-1", "month": "2027-01", "epoch": "2027-1"}
    with pytest.raises(LinkError, match="of source mpd") as refused:
        registered(folder, hub, changed, **bridge)
    assert refused.value.reason == "pseudonyms-changed"
    assert "linkage steward bridge" in str(refused.value.hint)
    assert set(read_registry(folder).records["id"]) == set(first.ids)

    pairs = pl.DataFrame({"before": PSEUDONYMS["mpd"], "after": changed.filter(source="mpd")["pseudonym"]})
    with folder.locked():
        assert take_bridge(folder, hub, "mpd", pairs, digest="d" * 64) == 40
        assert take_bridge(folder, hub, "mpd", pairs, digest="d" * 64) == 0
    assert registered(folder, hub, changed, **bridge).ids == first.ids
    assert not set(PSEUDONYMS["mpd"]) & set(read_registry(folder).records["pseudonym"])
    bridged = [entry for entry in ledger.entries(folder.ledger) if entry.action == "bridge"]
    assert [entry.extra["file"] for entry in bridged] == ["d" * 64]


def test_without_a_bridge_file_the_operator_forgets_the_source_first(folder: StateFolder, hub: Party) -> None:
    registered(folder, hub, people())
    with folder.locked():
        assert forget_records(folder, hub, "mpd", None) == 40
        assert forget_records(folder, hub, "mpd", None) == 0
    bridge = {"run_id": "2027-01-1", "month": "2027-01", "epoch": "2027-1"}
    found = registered(folder, hub, people(changed=("mpd",)), **bridge)
    assert found.summary["carried"] == 40  # whom dcf knew
    assert found.summary["new"] == 20


def test_a_forgotten_record_is_in_no_file_of_the_state_folder(folder: StateFolder, hub: Party) -> None:
    registered(folder, hub, people())
    withdrawn = PSEUDONYMS["dcf"][7]
    with folder.locked():
        assert forget_records(folder, hub, "dcf", [withdrawn]) == 1
    everything = b"".join(path.read_bytes() for path in folder.root.rglob("*") if path.is_file())
    assert withdrawn.encode() not in everything
    assert PSEUDONYMS["dcf"][8].encode() in everything
