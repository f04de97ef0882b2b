"""What is lost when one device is stolen: for each of them what a thief has, can do and cannot do, with real files.

The table in SECURITY.md says the same in words. Two agencies have submitted and the hub has linked them; each device is
the folder of its party. A thief is not bound by the commands, so he is given the envelope and the keys themselves.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from linkage.cli import main
from linkage.contract import load_source
from linkage.errors import KeyFileError, SealError
from linkage.exchange import Party, PublicParty, envelope, file_digest, load_party, load_public, renew_party
from linkage.exchange.bridge import open_bridge
from linkage.exchange.keys import create_party
from linkage.hub.register import read_registry
from linkage.hub.state import StateFolder
from linkage.steward.extract import read_extract

Run = Callable[..., Any]
MONTH, SOURCES = "2026-11", ("mpd", "dcf")


class World:
    """Devices: ``mpd`` and ``dcf`` (a steward's laptop each), ``hub``, ``analysis``, and ``stick`` (the carrier's)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def settings(self, name: str) -> Path:
        return self.root / name / "linkage.toml"

    def party(self, name: str) -> Party:
        return load_party(self.root / name / "keys" / f"{name}.key")

    def public(self, name: str) -> PublicParty:
        return load_public(self.root / name / "keys" / f"{name}.pub")

    def submit(self, name: str, extract: Path, month: str = MONTH) -> Path:
        words = ["steward", "submit", str(extract), "--source", name, "--month", month]
        assert main([*words, "--settings", str(self.settings(name))]) == 0
        return self.root / "hub" / "inbox" / f"{name}-{month}.batch"

    def link(self, *batches: Path, month: str = MONTH) -> int:
        words = ["hub", "link", *map(str, batches), "--out", str(self.root / "hub" / "state" / "runs")]
        return main([*words, "--month", month, "--settings", str(self.settings("hub")), "--json"])

    def files(self, *devices: str) -> Iterator[Path]:
        for device in devices:
            yield from (path for path in (self.root / device).rglob("*") if path.is_file())

    def holding(self, what: bytes, *devices: str) -> list[Path]:
        """Files of these devices with such bytes in them."""
        return [path for path in self.files(*devices) if what in path.read_bytes()]

    def replace_key(self, name: str, made: tuple[Path, Path]) -> None:
        """Put new keys in the place of a party's, as its owner and all others do."""
        private, public = made
        private.replace(self.root / name / "keys" / f"{name}.key")
        public.replace(self.root / name / "keys" / f"{name}.pub")

    def registry(self) -> pl.DataFrame:
        return read_registry(StateFolder(self.root / "hub" / "state")).records


@pytest.fixture(scope="module")
def made_world(made_sites: Path, extracts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(tmp_path_factory.mktemp("world") / "sites")
    shutil.copytree(made_sites, world.root)
    for source in SOURCES:
        shutil.copy2(extracts[source], world.root / source / "extract.csv")
    batches = [world.submit(source, extracts[source]) for source in SOURCES]
    (world.root / "stick").mkdir()
    for path in batches:
        shutil.copy2(path, world.root / "stick")
    assert world.link(*batches) == 0
    (run,) = (world.root / "hub" / "state" / "runs").iterdir()
    shutil.copytree(run / "batches", world.root / "analysis" / "run" / "batches")
    shutil.copy2(run / "person-map.sealed", world.root / "analysis" / "run")
    return world.root


@pytest.fixture
def world(made_world: Path, tmp_path: Path) -> World:
    shutil.copytree(made_world, tmp_path / "sites")
    return World(tmp_path / "sites")


def opened(path: Path, thief: Party, sender: PublicParty) -> set[str]:
    """Return the compartments of a sealed file that a key opens, whatever program is used."""
    found = set()
    for entry in envelope.inspect(path)["compartments"]:
        try:
            envelope.read_compartments(path, (entry["name"],), thief, sender)
        except SealError as error:
            assert error.reason == "not-for-us"
        else:
            found.add(entry["name"])
    return found


def raw(world: World, source: str, identifier: str | None = None) -> list[str]:
    """Return the person numbers of an agency's extract, or all that stands in a column of an identifier."""
    schema = load_source(source)
    column = schema.person_number if identifier is None else schema.identifiers[identifier].column
    frame = read_extract(world.root / source / "extract.csv", schema)
    return frame[column].drop_nulls().unique().sort().to_list()


def linkage_key_as_written(world: World) -> bytes:
    text = (world.root / "mpd" / "keys" / "linkage.key").read_text()
    return json.loads(text.splitlines()[1])["secret"].encode()


def last_reason(world: World) -> str:
    """Return why the hub has refused the file that it refused last."""
    notes = sorted(
        (world.root / "hub" / "state" / "quarantine").glob("*.json"), key=lambda path: path.stat().st_mtime_ns
    )
    return json.loads(notes[-1].read_text())["reason"]


# --- a steward's laptop


def test_the_laptop_has_its_own_names_and_the_linkage_key_and_opens_no_batch(world: World) -> None:
    thief = world.party("mpd")
    assert world.holding(linkage_key_as_written(world), "mpd", "dcf")
    for source in SOURCES:
        assert opened(world.root / "stick" / f"{source}-{MONTH}.batch", thief, world.public(source)) == set()
    assert opened(world.root / "analysis" / "run" / "person-map.sealed", thief, world.public("hub")) == set()


def test_the_laptop_and_the_hubs_disk_together_have_the_names(world: World) -> None:
    """What no software can help against, and why the two are never in one place."""
    mine = dict(zip(world.party("mpd").pseudonyms(numbers := raw(world, "mpd")), numbers, strict=True))
    known = set(world.registry().filter(source="mpd")["pseudonym"])
    assert known and known <= mine.keys()
    theirs = set(world.registry().filter(source="dcf")["pseudonym"])
    assert not theirs & mine.keys()


def test_until_it_is_revoked_the_thief_submits_and_afterwards_he_does_not(
    world: World, extracts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.link(world.submit("mpd", extracts["mpd"])) == 0
    _without_sender(world, "mpd")
    capsys.readouterr()
    assert world.link(world.submit("mpd", extracts["mpd"])) == SealError.exit_code
    assert last_reason(world) == "unknown-source"
    capsys.readouterr()
    assert world.link() == 0
    assert set(json.loads(capsys.readouterr().out)["quality"]["records"]) == {"dcf"}  # earlier ones are not linked


def test_a_renewed_key_shuts_the_old_one_out_and_keeps_the_pseudonyms(
    world: World, extracts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.registry()
    stolen = World(tmp_path / "thief")
    shutil.copytree(world.root, stolen.root)
    world.replace_key("mpd", renew_party(world.root / "mpd" / "keys" / "mpd.key", tmp_path / "renewed"))
    capsys.readouterr()
    assert world.link(stolen.submit("mpd", extracts["mpd"])) == SealError.exit_code
    assert last_reason(world) == "untrusted-sender"
    # What he signed or what was signed before the theft is no longer linked either: a new batch is needed.
    assert world.link(month="2026-10") == SealError.exit_code
    assert world.link(world.submit("mpd", extracts["mpd"])) == 0
    after = world.registry()
    assert after.select("source", "pseudonym", "id").equals(before.select("source", "pseudonym", "id"))
    # The receipts for the agency's batches are signed, not sealed; nothing that is sealed was ever for it.
    assert opened(world.root / "stick" / f"mpd-{MONTH}.batch", stolen.party("mpd"), stolen.public("mpd")) == set()


def test_new_pseudonyms_cost_no_ids_and_are_of_no_use_to_the_thief(
    world: World, extracts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.registry()
    old = tmp_path / "old.key"
    shutil.copy2(world.root / "mpd" / "keys" / "mpd.key", old)
    world.replace_key("mpd", create_party(tmp_path / "new", "mpd"))
    named = ["--source", "mpd", "--settings", str(world.settings("mpd"))]
    assert main(["steward", "bridge", str(extracts["mpd"]), "--old", str(old), *named]) == 0
    path = world.root / "hub" / "inbox" / "mpd-2026-1.bridge"
    assert opened(path, load_party(old), world.public("mpd")) == set()
    assert opened(path, world.party("analysis"), world.public("mpd")) == set()
    assert main(["inspect", str(path)]) == 0
    for _ in range(2):  # a second time it renames nobody
        assert main(["hub", "bridge", str(path), "--settings", str(world.settings("hub"))]) == 0
    assert world.link(world.submit("mpd", extracts["mpd"])) == 0
    after = world.registry()
    assert set(after["id"]) == set(before["id"])
    assert after.filter(source="dcf").drop("last").equals(before.filter(source="dcf").drop("last"))
    stolen = set(load_party(old).pseudonyms(raw(world, "mpd")))
    assert not stolen & set(after["pseudonym"])
    _, pairs = open_bridge(path, world.party("hub"), world.public("mpd"))
    assert set(pairs["before"]) <= stolen


# --- the hub's disk


def test_the_hubs_disk_has_encodings_and_ids_and_neither_key_nor_facts(world: World) -> None:
    thief = world.party("hub")
    for path in world.files("hub"):
        if path.suffix == ".batch":
            assert opened(path, thief, world.public(envelope.inspect(path)["header"]["source"])) == {"encodings"}
    (run,) = (world.root / "hub" / "state" / "runs").iterdir()
    assert opened(run / "person-map.sealed", thief, world.public("hub")) == set()
    assert not world.holding(linkage_key_as_written(world), "hub")
    names = [name.encode() for name in raw(world, "mpd", "family_name") if len(name) > 7]
    assert len(names) > 5
    assert all(world.holding(name, "mpd") for name in names[:5])
    assert not [name for name in names if world.holding(name, "hub", "analysis", "stick")]


def test_a_renewed_hub_key_shuts_what_comes_and_not_what_came(
    world: World, extracts: dict[str, Path], tmp_path: Path
) -> None:
    thief = world.party("hub")
    old = world.public("hub")
    world.replace_key("hub", renew_party(world.root / "hub" / "keys" / "hub.key", tmp_path / "renewed"))
    later = world.submit("mpd", extracts["mpd"])
    assert opened(later, thief, world.public("mpd")) == set()
    assert opened(later, world.party("hub"), world.public("mpd")) == {"encodings"}
    # What was on its way when the disk was stolen is the thief's as soon as he has the file, too.
    assert opened(world.root / "stick" / f"mpd-{MONTH}.batch", thief, world.public("mpd")) == {"encodings"}
    with pytest.raises(SealError) as refused:  # what the thief signs as the hub, nobody takes
        envelope.verify(world.root / "analysis" / "run" / "person-map.sealed", world.public("hub"))
    assert refused.value.reason == "untrusted-sender"
    envelope.verify(world.root / "analysis" / "run" / "person-map.sealed", old)


def test_after_a_retired_epoch_the_hubs_disk_has_none_of_its_encodings(world: World) -> None:
    old = {file_digest(path) for path in world.files("stick")}
    assert {file_digest(path) for path in world.files("hub") if path.suffix == ".batch"} == old
    settings = world.settings("hub")
    settings.write_text(settings.read_text().replace('epoch = "2026-1"', 'epoch = "2027-1"'))
    assert main(["hub", "retire", "2026-1", "--settings", str(settings)]) == 0
    assert not [path for path in world.files("hub") if path.suffix == ".batch"]
    assert not world.registry().is_empty()


# --- the analysis' disk


def test_the_analysis_disk_has_facts_and_persons_and_neither_encodings_nor_ids(world: World) -> None:
    thief = world.party("analysis")
    for source in SOURCES:
        path = world.root / "analysis" / "run" / "batches" / f"{source}.batch"
        assert opened(path, thief, world.public(source)) == {"facts"}
    path = world.root / "analysis" / "run" / "person-map.sealed"
    assert opened(path, thief, world.public("hub")) == {"persons", "quality", "draws"}
    assert not world.holding(linkage_key_as_written(world), "analysis")
    _, contents = envelope.read_compartments(path, None, thief, world.public("hub"))
    assert not [name for name in world.registry()["id"] if any(name.encode() in content for content in contents)]


# --- the carrier's stick


def test_the_stick_opens_nothing_and_brings_in_nothing(world: World, tmp_path: Path) -> None:
    thief = load_party(create_party(tmp_path / "thief", "mpd")[0])
    path = world.root / "stick" / f"mpd-{MONTH}.batch"
    assert opened(path, thief, world.public("mpd")) == set()
    header = envelope.inspect(path)["header"]  # the manifest is for anybody to read
    assert header["month"] == MONTH and not {"records", "rows", "events"} & set(header)
    again = world.root / "hub" / "inbox" / "again.batch"
    shutil.copy2(path, again)
    assert world.link(again) == SealError.exit_code
    assert last_reason(world) == "replayed"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    again.write_bytes(content)
    assert world.link(again) == SealError.exit_code
    assert last_reason(world) == "damaged"


# --- run orders: with them the hub's disk has no opening key


def test_the_hubs_disk_alone_opens_no_batch_where_runs_are_approved(
    world: World, extracts: dict[str, Path], tmp_path: Path
) -> None:
    from linkage.exchange.approval.shared import create_opening, join_opening, load_opening, open_share

    holders = [load_party(create_party(tmp_path / name, name)[0]) for name in ("board", "court", "clinic")]
    for name in ("mpd", "hub"):
        place = world.root / name / "keys" / "opening.pub"
        if name == "mpd":
            create_opening(place, "milwaukee", "2026-1", [holder.public for holder in holders], 2)
        else:
            shutil.copy2(world.root / "mpd" / "keys" / "opening.pub", place)
    agreement = world.root / "mpd" / "agreement.yaml"
    content = yaml.safe_load(agreement.read_text())
    agreement.write_text(yaml.safe_dump(content | {"opening": "approval"}))
    settings = world.settings("mpd")
    settings.write_text(settings.read_text().replace("[steward]\n", '[steward]\nopening = "keys/opening.pub"\n'))
    later = world.submit("mpd", extracts["mpd"])
    opening = load_opening(world.root / "hub" / "keys" / "opening.pub")
    assert opened(later, world.party("hub"), world.public("mpd")) == set()
    words = [open_share(opening, holder) for holder in holders]
    with pytest.raises(KeyFileError) as refused:
        join_opening(opening, words[:1])
    assert refused.value.reason == "too-few-shares"
    joined = join_opening(opening, words[1:])
    assert opened(later, joined, world.public("mpd")) == {"encodings"}  # type: ignore[arg-type]


def _without_sender(world: World, source: str) -> None:
    settings = world.settings("hub")
    lines = settings.read_text().splitlines()
    settings.write_text(
        "\n".join(line for line in lines if not line.startswith(f'{source} = "../{source}/keys')) + "\n"
    )
