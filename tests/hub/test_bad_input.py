"""Input that is no good, and runs that are cut short: a right result or a clear refusal, and nothing half-written.

Run as a program, this file is the run that is killed: ``python test_bad_input.py ROOT MOMENT``.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.contract import load_agreement, load_spec
from linkage.contract.spec import LinkageSpec, digest
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import LinkError
from linkage.exchange import (
    BatchManifest,
    create_party,
    file_digest,
    ledger,
    load_party,
    new_batch_id,
    open_person_map,
    seal_batch,
)
from linkage.hub import link
from linkage.hub.cluster import cluster
from linkage.hub.intake import inbox_batches, take_in
from linkage.hub.run import HubRun, run

SPEC = load_spec("default")
MASKED = LinkageSpec.model_validate({**SPEC.model_dump(), "presence_masks": True})
NAMES = [entry.name for entry in SPEC.filters]
OCTETS = SPEC.diffusion.bits // 8
TODAY = dt.date(2026, 11, 22)
SOURCES = ("mpd", "dcf")


def people(number: int, seed: int) -> np.ndarray:
    """Draw bits for so many people: (people, filters, bits)."""
    return np.random.default_rng(seed).random((number, len(NAMES), OCTETS * 8)) < 0.5


def noisy(bits: np.ndarray, seed: int) -> np.ndarray:
    return bits ^ (np.random.default_rng(seed).random(bits.shape) < 0.2)


def encodings(bits: np.ndarray, prefix: str) -> pl.DataFrame:
    octets = np.packbits(bits, axis=2)
    columns = {
        name: pl.Series([row.tobytes() for row in octets[:, number]], dtype=pl.Binary)
        for number, name in enumerate(NAMES)
    }
    names = [f"{prefix}{place:031d}" for place in range(len(bits))]
    return pl.DataFrame({"pseudonym": names, "variant": pl.Series([0] * len(bits), dtype=pl.UInt8), **columns})


def persons_of(persons: pl.DataFrame) -> dict[str, int]:
    return dict(persons.select("pseudonym", "person").iter_rows())


# Few records


def test_a_source_without_records_beside_others() -> None:
    shared = people(80, 1)
    full = {"a": encodings(shared, "a"), "b": encodings(noisy(shared, 2), "b")}
    found = link({**full, "empty": encodings(people(0, 3), "e")}, SPEC)
    assert persons_of(found.persons) == persons_of(link(full, SPEC).persons)
    assert found.persons["person"].n_unique() == 80


@pytest.mark.parametrize("repeats", [frozenset(), frozenset({"a"}), frozenset({"a", "b"})])
def test_no_record_at_all_is_refused(repeats: frozenset[str]) -> None:
    for given in ({}, {"a": encodings(people(0, 1), "a")}, {name: encodings(people(0, 1), name) for name in "ab"}):
        with pytest.raises(LinkError) as error:
            link(given, SPEC, repeats=repeats)
        assert error.value.reason == "nothing-to-link"


def test_one_record_alone() -> None:
    for given in ({"a": 1}, {"a": 1, "b": 0}, {"b": 0, "c": 0, "a": 1}):
        found = link({name: encodings(people(size, 1), name) for name, size in given.items()}, SPEC)
        assert found.persons.rows() == [("a", f"a{0:031d}", 0)]


@pytest.mark.parametrize("repeats", [frozenset(), frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"})])
def test_one_record_among_many_strangers_is_nobody_elses(repeats: frozenset[str]) -> None:
    given = {"a": encodings(people(1, 1), "a"), "b": encodings(people(300, 2), "b")}
    found = link(given, SPEC, repeats=repeats)
    assert found.persons["person"].n_unique() == 301
    assert len(found.persons) == 301


def test_one_source_that_has_deduplicated_itself_is_taken_at_its_word() -> None:
    once = people(60, 1)
    found = link({"a": encodings(np.concatenate([once, once]), "a")}, SPEC)
    assert found.persons["person"].to_list() == list(range(120))
    assert (found.quality["persons"], found.quality["links"], len(found.left)) == (120, 0, 0)


# Filters that do not fit


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.with_columns(pl.col(NAMES[0]).bin.slice(0, OCTETS - 1)),
        lambda frame: frame.with_columns(pl.col(NAMES[-1]).bin.slice(0, OCTETS // 2)),
        lambda frame: pl.concat([frame.head(4), frame.tail(1).with_columns(pl.lit(b"").alias(NAMES[0]))]),
        lambda frame: pl.concat(
            [frame.head(4), frame.tail(1).with_columns(pl.lit(bytes(OCTETS + 8)).alias(NAMES[-1]))]
        ),
        lambda frame: pl.concat(
            [frame.head(4), frame.tail(1).with_columns(pl.lit(None, dtype=pl.Binary).alias(NAMES[0]))]
        ),
    ],
    ids=["an-octet-short", "half", "empty", "longer", "null"],
)
@pytest.mark.parametrize("everybody", [False, True])
def test_filters_of_mixed_length_are_refused(change: Callable[[pl.DataFrame], pl.DataFrame], everybody: bool) -> None:
    bad, good = change(encodings(people(5, 1), "a")), encodings(people(5, 2), "b")
    with pytest.raises(LinkError) as error:
        link({"a": bad, "b": change(good) if everybody else good}, SPEC)
    assert error.value.reason == "wrong-length"
    assert "source a" in error.value.message


@pytest.mark.parametrize("name", NAMES)
def test_a_filter_or_mask_that_is_not_there_is_refused(name: str) -> None:
    good = {source: encodings(people(5, 1), source) for source in "ab"}
    with pytest.raises(LinkError) as error:
        link({**good, "b": good["b"].drop(name)}, SPEC)
    assert (error.value.reason, "source b" in error.value.message) == ("wrong-filters", True)
    masked = {
        source: frame.with_columns(pl.lit(1, pl.UInt16).alias(f"{entry}_mask") for entry in NAMES)
        for source, frame in good.items()
    }
    with pytest.raises(LinkError) as error:
        link({**masked, "a": masked["a"].drop(f"{name}_mask")}, MASKED)
    assert (error.value.reason, "source a" in error.value.message) == ("wrong-filters", True)


# Weights that are none


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-9, 1 + 1e-9])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_weights_that_are_no_probabilities_are_refused(bad: float, place: int) -> None:
    probability = np.array([0.9, 0.5, 0.0])
    probability[place] = bad
    pairs = np.array([0, 0, 1]), np.array([1, 2, 2])
    source, single = np.array([0, 1, 2], np.int16), np.ones(3, np.bool_)
    with pytest.raises(LinkError) as error:
        cluster(*pairs, probability, source, single, np.zeros((0, 2), np.int64))
    assert error.value.reason == "bad-weights"
    assert str(bad) not in str(error.value)


# Runs that are cut short


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a hub that has taken in two small batches."""
    root = tmp_path_factory.mktemp("hub")
    parties = {name: load_party(create_party(root / "keys", name)[0]) for name in (*SOURCES, "hub", "analysis")}
    for serial, source in enumerate(SOURCES, start=1):
        draw = random.Random(source)
        bits = people(40, 1) if source == "mpd" else np.concatenate([noisy(people(40, 1)[:20], 2), people(20, 3)])
        names = [draw.randbytes(16).hex() for _ in range(40)]
        frame = encodings(bits, "x").with_columns(pseudonym=pl.Series(names))
        empty = {name: pl.Series([None] * 40, dtype=kind) for name, kind in FACT_SCHEMA.items()}
        facts = pl.DataFrame(empty | {"pseudonym": names, "month": ["2014-03"] * 40, "decoy": [False] * 40})
        agreement = load_agreement(source).model_copy(update={"opening": "hub"})
        manifest = BatchManifest(
            project="milwaukee", epoch="2026-1", source=source, batch_id=new_batch_id(),
            serial=1_795_000_000_000_000 + serial, month="2026-11", spec_name="default", spec_digest=SPEC.digest,
            rules_version=SPEC.rules, fingerprint="f" * 64, mode=agreement.mode,
            agreement_digest=digest(agreement), deduplicated=True, tool_version="0.1.0",
        )  # fmt: skip
        to = parties["hub"].public, parties["analysis"].public
        seal_batch(root / "inbox" / f"{source}.batch", manifest, frame, facts, parties[source], *to)
    taken = take_in(
        inbox_batches(root / "inbox"),
        hub=parties["hub"],
        senders={source: parties[source].public for source in SOURCES},
        agreements={source: load_agreement(source).model_copy(update={"opening": "hub"}) for source in SOURCES},
        state=root / "state",
        spec=SPEC,
        project="milwaukee",
        epoch="2026-1",
        today=TODAY,
    )
    taken.require_all()
    return root


def hub_run(root: Path, out: str, progress: Callable[[str], None] | None = None) -> HubRun:
    parties = {name: load_party(root / "keys" / f"{name}.key") for name in (*SOURCES, "hub", "analysis")}
    return run(
        "2026-11",
        state=root / "state",
        hub=parties["hub"],
        analysis=parties["analysis"].public,
        spec=SPEC,
        senders={source: parties[source].public for source in SOURCES},
        agreements={source: load_agreement(source).model_copy(update={"opening": "hub"}) for source in SOURCES},
        project="milwaukee",
        epoch="2026-1",
        out=root / out,
        today=TODAY,
        progress=progress,
    )


def opened(root: Path, path: Path) -> pl.DataFrame:
    keys = root / "keys"
    content = open_person_map(path, load_party(keys / "analysis.key"), load_party(keys / "hub.key").public)
    return content.frame.sort("source", "pseudonym")


def check_whole(root: Path, out: str) -> None:
    """Check that whatever bears a name of its own is whole, and that the ledger's chain holds."""
    for path in (root / out).rglob("*"):
        if path.is_dir() or path.name.endswith(".part"):
            continue
        if path.suffix == ".sealed":
            assert opened(root, path).height == 80
        elif path.suffix == ".batch":
            assert file_digest(path) in {batch.stem for batch in (root / "state" / "accepted").rglob("*.batch")}
        elif path.suffix == ".json":
            assert json.loads(path.read_text())["records"] == {source: 40 for source in SOURCES}
        else:
            assert len(pl.read_csv(path).columns) > 2
    assert list(ledger.entries(root / "state" / "ledger"))


@pytest.fixture(scope="module")
def whole(taken_in: Path) -> pl.DataFrame:
    """The persons of a run that nothing disturbed: some are on both lists."""
    persons = opened(taken_in, hub_run(taken_in, "undisturbed").person_map)
    assert 40 < persons["person"].n_unique() < 80
    return persons


def check_finished(root: Path, out: str, whole: pl.DataFrame) -> None:
    again = hub_run(root, out)
    assert again.fresh
    assert opened(root, again.person_map).equals(whole)
    check_whole(root, out)
    assert not hub_run(root, out).fresh


@pytest.mark.parametrize("moment", ["opening dcf", "linking", "sealing"])
def test_a_run_stopped_from_the_keyboard_leaves_nothing(taken_in: Path, whole: pl.DataFrame, moment: str) -> None:
    out = f"stopped {moment}"

    def stop(word: str) -> None:
        if word == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hub_run(taken_in, out, stop)
    assert not [path for path in (taken_in / out).rglob("*") if path.is_file()]
    check_finished(taken_in, out, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("moment", ["linking", "write 1", "write 3", "write 4", "write 5", "write 7"])
def test_a_run_that_is_killed_is_made_by_the_same_call(taken_in: Path, whole: pl.DataFrame, moment: str) -> None:
    out = f"killed {moment}"
    told = subprocess.run(
        [sys.executable, __file__, str(taken_in), moment], capture_output=True, text=True, check=False
    )
    assert told.returncode == -signal.SIGKILL, told.stderr
    assert not list((taken_in / out).rglob("quality.json")), "the last to be written says that a run is done"
    check_whole(taken_in, out)
    check_finished(taken_in, out, whole)
    assert not list((taken_in / out).rglob("*.part"))
    assert not [path.name for path in (taken_in / "state").iterdir() if "unfinished" in path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_run_left_is_swept_by_the_next_of_other_inputs_and_nothing_else(taken_in: Path) -> None:
    moment = "write 04"  # the sealed map is about to get its name
    subprocess.run([sys.executable, __file__, str(taken_in), moment], capture_output=True, check=False)
    (folder,) = (taken_in / f"killed {moment}").iterdir()
    (left,) = folder.glob("*.part")
    assert left.name.startswith(".person-map.sealed.")
    others = [folder / ".person-map.sealed.part", folder / ".notes.0123456789ab.part", folder / "mine.part"]
    for path in others:
        path.write_bytes(b"somebody else's")
    hub_run(taken_in, "another place")
    assert not left.exists()
    assert all(path.read_bytes() == b"somebody else's" for path in others)


def _be_killed(root: Path, moment: str) -> None:
    """Make a run and have this process killed: soon after it began to link, or as its n-th file gets its name."""
    word, _, number = moment.partition(" ")
    left = [int(number or 0)]

    def kill(event: str, _: Any) -> None:
        if event in ("os.rename", "os.link"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if word == "write":
        sys.addaudithook(kill)

    def said(now: str) -> None:
        if now == word:
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()

    hub_run(root, f"killed {moment}", said)


if __name__ == "__main__":
    _be_killed(Path(sys.argv[1]), sys.argv[2])
