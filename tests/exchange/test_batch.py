from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import NotPermittedError, SealError
from linkage.exchange import (
    envelope,
    new_batch_id,
    new_serial,
    open_encodings,
    open_facts,
    read_manifest,
    seal_batch,
    verify_batch,
)
from linkage.exchange.envelope import Compartment

AsFile = Callable[[bytes], Path]
Change = Callable[[pl.DataFrame], pl.DataFrame]


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="uncompressed")
    return buffer.getvalue()


def counted(frame: pl.DataFrame, *counts: int) -> bytes:
    """A frame as it is sent: its counts, of which facts have one, then Parquet."""
    return b"".join(count.to_bytes(8, "big") for count in counts or (frame.height,)) + parquet(frame)


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(SealError) as caught:
        call()
    return caught.value.reason


def test_round_trip(batch_bytes: bytes, as_file: AsFile, cast: Any, make: SimpleNamespace) -> None:
    path = as_file(batch_bytes)
    assert read_manifest(path) == verify_batch(path, cast.mpd.public) == make.manifest()
    assert envelope.verify(path, cast.mpd.public, "batch")["header"] == make.manifest().model_dump()
    encodings = open_encodings(path, cast.hub, cast.mpd.public)
    assert encodings.columns == ["pseudonym", "variant", "names", "names_mask", "places"]
    assert_frame_equal(encodings, make.encodings().select(encodings.columns).sort("pseudonym", "variant"))
    facts = open_facts(path, cast.analysis, cast.mpd.public)
    assert_frame_equal(facts, make.facts(), check_row_order=False)
    assert facts["pseudonym"].is_sorted()
    assert facts.schema == pl.Schema(FACT_SCHEMA)


def test_order_of_rows_says_nothing(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    shuffled = make.encodings().sample(fraction=1, shuffle=True, seed=1), make.facts().reverse()
    path = tmp_path / "a.batch"
    seal_batch(path, make.manifest(), *shuffled, cast.mpd, cast.hub.public, cast.analysis.public)
    encodings = open_encodings(path, cast.hub, cast.mpd.public)
    assert_frame_equal(encodings, make.encodings().select(encodings.columns).sort("pseudonym", "variant"))
    facts = open_facts(path, cast.analysis, cast.mpd.public)
    assert_frame_equal(facts, make.facts().sort(list(FACT_SCHEMA)))


def test_nobody_opens_what_is_not_theirs(batch_bytes: bytes, as_file: AsFile, cast: Any) -> None:
    path = as_file(batch_bytes)
    assert reason_of(lambda: open_facts(path, cast.hub, cast.mpd.public)) == "not-for-us"
    assert reason_of(lambda: open_encodings(path, cast.analysis, cast.mpd.public)) == "not-for-us"
    assert reason_of(lambda: open_encodings(path, cast.mpd, cast.mpd.public)) == "not-for-us"
    assert reason_of(lambda: open_encodings(path, cast.hub, cast.dcf.public)) == "untrusted-sender"
    assert reason_of(lambda: verify_batch(path, cast.dcf.public)) == "untrusted-sender"


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_spoilt_batches_are_refused(batch_bytes: bytes, as_file: AsFile, cast: Any, share: float) -> None:
    position = int(len(batch_bytes) * share)
    path = as_file(batch_bytes[:position])
    assert reason_of(lambda: open_encodings(path, cast.hub, cast.mpd.public)) == "truncated"
    spoilt = bytearray(batch_bytes)
    spoilt[position] ^= 4
    path = as_file(bytes(spoilt))
    with pytest.raises(SealError):
        verify_batch(path, cast.mpd.public)
    for call in (open_encodings, open_facts):
        recipient = cast.hub if call is open_encodings else cast.analysis
        with pytest.raises(SealError):
            call(path, recipient, cast.mpd.public)


def test_nothing_of_the_contents_is_in_clear(batch_bytes: bytes, make: SimpleNamespace) -> None:
    for pseudonym in make.encodings()["pseudonym"]:
        assert pseudonym.encode() not in batch_bytes
        assert bytes.fromhex(pseudonym) not in batch_bytes
    for encoding in make.encodings()["names"]:
        assert encoding not in batch_bytes
    assert b"confirmed" not in batch_bytes
    assert b"PAR1" not in batch_bytes


def test_one_key_cannot_hold_encodings_and_facts(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(NotPermittedError) as caught:
        seal_batch(
            tmp_path / "a", make.manifest(), make.encodings(), make.facts(), cast.mpd, cast.hub.public, cast.hub.public
        )
    assert caught.value.reason == "one-key-two-roles"
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_one_is_refused(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    manifest = make.manifest()
    frames = make.encodings(1), make.facts(1)
    parties = cast.mpd, cast.hub.public, cast.analysis.public
    assert reason_of(lambda: seal_batch(tmp_path / "a", manifest, *frames, *parties)) == "too-few-records"
    assert list(tmp_path.iterdir()) == []
    columns = ["pseudonym", "variant", "names", "names_mask", "places"]
    frames = frames[0].select(columns).sort("pseudonym", "variant"), frames[1]
    forge(tmp_path / "b", manifest.model_dump(), *frames, cast, records=1, rows=2)
    assert reason_of(lambda: open_encodings(tmp_path / "b", cast.hub, cast.mpd.public)) == "too-few-records"
    forge(tmp_path / "c", manifest.model_dump(), *frames, cast, records=2, rows=2)
    assert reason_of(lambda: open_encodings(tmp_path / "c", cast.hub, cast.mpd.public)) == "contents-mismatch"


def test_an_empty_batch_is_refused(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    frames = make.encodings().clear(), make.facts().clear()
    parties = cast.mpd, cast.hub.public, cast.analysis.public
    assert reason_of(lambda: seal_batch(tmp_path / "a", make.manifest(), *frames, *parties)) == "too-few-records"
    for records in (0, 2):
        forge(tmp_path / "b", make.manifest().model_dump(), *frames, cast, records=records, rows=0)
        with pytest.raises(SealError):
            open_encodings(tmp_path / "b", cast.hub, cast.mpd.public)


def forge(
    path: Path,
    header: dict[str, Any],
    encodings: pl.DataFrame,
    facts: pl.DataFrame,
    cast: Any,
    *,
    records: int = 5,
    rows: int = 6,
) -> None:
    """Seal whatever it is, as a sender with other software could."""
    envelope.seal(
        path,
        "batch",
        header,
        [
            Compartment("encodings", cast.hub.public, counted(encodings, records, rows)),
            Compartment("facts", cast.analysis.public, counted(facts)),
        ],
        cast.mpd,
    )


def set_at(frame: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


ENCODING_FAULTS: dict[str, Change] = {
    "row missing": lambda frame: frame[:-1],
    "row twice": lambda frame: frame[[0, *range(frame.height - 1)]],
    "null pseudonym": lambda frame: set_at(frame, "pseudonym", 0, None),
    "pseudonym in capitals": lambda frame: set_at(frame, "pseudonym", 0, "0" * 31 + "A"),
    "pseudonym with a line end": lambda frame: set_at(frame, "pseudonym", 0, "0" * 32 + "\n"),
    "local number as pseudonym": lambda frame: set_at(frame, "pseudonym", 0, "17"),
    "null filter": lambda frame: set_at(frame, "names", 2, None),
    "filter of another width": lambda frame: set_at(frame, "names", 2, b"\1" * 7),
    "second filter of another width": lambda frame: frame.with_columns(places=pl.lit(b"\1" * 9)),
    "empty filters": lambda frame: frame.with_columns(names=pl.lit(b""), places=pl.lit(b"")),
    "no filter": lambda frame: frame.select("pseudonym", "variant"),
    "null mask": lambda frame: set_at(frame, "names_mask", 1, None),
    "mask of another type": lambda frame: frame.with_columns(pl.col("names_mask").cast(pl.UInt32)),
    "mask without filter": lambda frame: frame.with_columns(other_mask=pl.lit(1, dtype=pl.UInt16)),
    "further column": lambda frame: frame.with_columns(name=pl.lit("x")),
    "no variant": lambda frame: frame.drop("variant"),
    "variant of another type": lambda frame: frame.with_columns(pl.col("variant").cast(pl.Int64)),
    "gap in variants": lambda frame: frame.with_columns(pl.col("variant") * 2),
    "variants from one": lambda frame: frame.with_columns(pl.col("variant") + 1),
}


@pytest.mark.parametrize("fault", ENCODING_FAULTS)
def test_encodings_that_break_the_format(cast: Any, make: SimpleNamespace, tmp_path: Path, fault: str) -> None:
    arranged = make.encodings().select("pseudonym", "variant", "names", "names_mask", "places")
    bad = ENCODING_FAULTS[fault](arranged.sort("pseudonym", "variant"))
    parties = cast.mpd, cast.hub.public, cast.analysis.public
    sealing = reason_of(lambda: seal_batch(tmp_path / "a", make.manifest(), bad, make.facts(), *parties))
    forge(tmp_path / "b", make.manifest().model_dump(), bad, make.facts(), cast)
    opening = reason_of(lambda: open_encodings(tmp_path / "b", cast.hub, cast.mpd.public))
    assert sealing == opening == "contents-mismatch"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_pseudonym_without_main_names_is_refused(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    """Even where only those that have them are counted."""
    arranged = make.encodings().select("pseudonym", "variant", "names", "names_mask", "places")
    ordered = arranged.filter(variant=0).sort("pseudonym")
    bad = set_at(ordered, "variant", 0, 1)
    for frame, records, opens in ((ordered, 5, True), (bad, 5, False), (bad, 4, False)):
        forge(tmp_path / "a", make.manifest().model_dump(), frame, make.facts(), cast, records=records, rows=5)
        if opens:
            assert_frame_equal(open_encodings(tmp_path / "a", cast.hub, cast.mpd.public), frame)
        else:
            assert reason_of(lambda: open_encodings(tmp_path / "a", cast.hub, cast.mpd.public)) == "contents-mismatch"


@pytest.mark.parametrize(
    "change", [lambda f: f.reverse(), lambda f: f.select("variant", "pseudonym", "names", "places")]
)
def test_unsorted_encodings_are_refused(cast: Any, make: SimpleNamespace, tmp_path: Path, change: Change) -> None:
    arranged = make.encodings().select("pseudonym", "variant", "names", "names_mask", "places")
    ordered = arranged.sort("pseudonym", "variant")
    forge(tmp_path / "good", make.manifest().model_dump(), ordered, make.facts(), cast)
    assert_frame_equal(open_encodings(tmp_path / "good", cast.hub, cast.mpd.public), ordered)
    forge(tmp_path / "bad", make.manifest().model_dump(), change(ordered), make.facts(), cast)
    assert reason_of(lambda: open_encodings(tmp_path / "bad", cast.hub, cast.mpd.public)) == "contents-mismatch"


def test_unsorted_facts_are_refused(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    ordered = make.facts().sort("pseudonym")
    forge(tmp_path / "good", make.manifest().model_dump(), make.encodings(), ordered, cast)
    assert_frame_equal(open_facts(tmp_path / "good", cast.analysis, cast.mpd.public), ordered)
    forge(tmp_path / "bad", make.manifest().model_dump(), make.encodings(), ordered.reverse(), cast)
    assert reason_of(lambda: open_facts(tmp_path / "bad", cast.analysis, cast.mpd.public)) == "contents-mismatch"


FACT_FAULTS: dict[str, Change] = {
    "null pseudonym": lambda frame: set_at(frame, "pseudonym", 0, None),
    "pseudonym that is none": lambda frame: set_at(frame, "pseudonym", 0, "x" * 32),
    "column missing": lambda frame: frame.drop("race"),
    "birth date": lambda frame: frame.with_columns(birth_date=pl.lit("1999-01-01")),
    "age of another type": lambda frame: frame.with_columns(pl.col("age").cast(pl.Int64)),
    "day in the month": lambda frame: set_at(frame, "month", 0, "2014-03-07"),
    "month 13": lambda frame: set_at(frame, "month", 0, "2014-13"),
    "value out of the vocabulary": lambda frame: set_at(frame, "history_other", 1, "bystander"),
    "free text": lambda frame: set_at(frame, "tier", 1, "told the officer"),
    "unknown whether decoy": lambda frame: set_at(frame, "decoy", 1, None),
    "test person that is no decoy": lambda frame: set_at(frame, "test_person", 4, "t1"),
    "test person with a name": lambda frame: planted(frame, "Jane Doe"),
    "test person of version 1": lambda frame: frame.drop("test_person"),
    "two test persons of one record": lambda frame: planted(
        frame.with_columns(pseudonym=pl.lit(frame["pseudonym"][0])), "t1", "t2"
    ),
    "half a test person": lambda frame: planted(frame.with_columns(pseudonym=pl.lit(frame["pseudonym"][0])), "t1"),
}


def planted(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Make test persons of the first rows."""
    for row, name in enumerate(names):
        frame = set_at(set_at(frame, "decoy", row, True), "test_person", row, name)
    return frame


def test_test_persons_are_for_the_analysis_alone(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    facts = planted(make.facts().sort("pseudonym", "month"), "t-01")
    alone = facts.group_by("pseudonym").len().filter(len=1)["pseudonym"]
    assert facts["pseudonym"][0] in alone  # a pseudonym with one row
    parties = cast.mpd, cast.hub.public, cast.analysis.public
    seal_batch(tmp_path / "a", make.manifest(), make.encodings(), facts, *parties)
    opened = open_facts(tmp_path / "a", cast.analysis, cast.mpd.public)
    assert opened.filter(pl.col("test_person") == "t-01")["decoy"].to_list() == [True]
    assert "test_person" not in open_encodings(tmp_path / "a", cast.hub, cast.mpd.public).columns
    assert b"t-01" not in (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("fault", FACT_FAULTS)
def test_facts_that_break_the_format(cast: Any, make: SimpleNamespace, tmp_path: Path, fault: str) -> None:
    bad = FACT_FAULTS[fault](make.facts().sort("pseudonym"))
    parties = cast.mpd, cast.hub.public, cast.analysis.public
    sealing = reason_of(lambda: seal_batch(tmp_path / "a", make.manifest(), make.encodings(), bad, *parties))
    forge(tmp_path / "b", make.manifest().model_dump(), make.encodings(), bad, cast)
    opening = reason_of(lambda: open_facts(tmp_path / "b", cast.analysis, cast.mpd.public))
    assert sealing == opening == "contents-mismatch"


def test_facts_of_strangers_are_not_sealed(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    facts = set_at(make.facts(), "pseudonym", 0, "0" * 32)
    parties = cast.mpd, cast.hub.public, cast.analysis.public
    call = lambda: seal_batch(tmp_path / "a", make.manifest(), make.encodings(), facts, *parties)  # noqa: E731
    assert reason_of(call) == "contents-mismatch"


@pytest.mark.parametrize("count", ["records", "rows", "events"])
def test_a_manifest_that_tells_a_count_is_none_of_today(
    cast: Any, make: SimpleNamespace, tmp_path: Path, count: str
) -> None:
    """Whoever carries a source's batches would see in it that one person has come."""
    assert count not in make.manifest().model_dump()
    manifest = make.manifest(**{count: {"records": 5, "rows": 6, "events": 6}[count]})
    parties = cast.mpd, cast.hub.public, cast.analysis.public
    call = lambda: seal_batch(tmp_path / "a", manifest, make.encodings(), make.facts(), *parties)  # noqa: E731
    assert reason_of(call) == "contents-mismatch"
    for header in (manifest.model_dump(), make.manifest().model_dump() | {count: None}):
        forge(tmp_path / "a", header, make.encodings(), make.facts(), cast)
        assert reason_of(lambda: read_manifest(tmp_path / "a")) == "malformed"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"not parquet" * 100])
def test_what_is_no_parquet_is_refused(cast: Any, make: SimpleNamespace, tmp_path: Path, content: bytes) -> None:
    five, six = (5).to_bytes(8, "big"), (6).to_bytes(8, "big")
    for before_encodings, before_facts in ((b"", b""), (five, b""), (five + six, six)):
        compartments = [
            Compartment("encodings", cast.hub.public, before_encodings + content),
            Compartment("facts", cast.analysis.public, before_facts + content),
        ]
        envelope.seal(tmp_path / "a", "batch", make.manifest().model_dump(), compartments, cast.mpd)
        for call, recipient in ((open_encodings, cast.hub), (open_facts, cast.analysis)):
            assert reason_of(lambda c=call, r=recipient: c(tmp_path / "a", r, cast.mpd.public)) == "contents-mismatch"


@pytest.mark.parametrize("count", [0, 5, 7, (1 << 31) + 1, (1 << 64) - 1, None])
def test_the_number_of_events_stands_before_the_facts_and_is_checked(
    cast: Any, make: SimpleNamespace, tmp_path: Path, count: int | None
) -> None:
    facts = make.facts().sort("pseudonym")

    def sealed(content: bytes) -> Path:
        both = [Compartment("encodings", cast.hub.public, b"x"), Compartment("facts", cast.analysis.public, content)]
        envelope.seal(tmp_path / "a", "batch", make.manifest().model_dump(), both, cast.mpd)
        return tmp_path / "a"

    assert open_facts(sealed(counted(facts)), cast.analysis, cast.mpd.public).height == facts.height == 6
    wrong = sealed((b"" if count is None else count.to_bytes(8, "big")) + parquet(facts))
    assert reason_of(lambda: open_facts(wrong, cast.analysis, cast.mpd.public)) == "contents-mismatch"


@pytest.mark.parametrize("changes", [{"records": 4}, {"records": 6}, {"rows": 5}, {"rows": 7}, {"rows": (1 << 31) + 1}])
def test_records_and_rows_stand_before_the_encodings_and_are_checked(
    cast: Any, make: SimpleNamespace, tmp_path: Path, changes: dict[str, int]
) -> None:
    ordered = make.encodings().select("pseudonym", "variant", "names", "names_mask", "places")
    frames = ordered.sort("pseudonym", "variant"), make.facts().sort("pseudonym")
    forge(tmp_path / "a", make.manifest().model_dump(), *frames, cast)
    assert_frame_equal(open_encodings(tmp_path / "a", cast.hub, cast.mpd.public), frames[0])
    forge(tmp_path / "a", make.manifest().model_dump(), *frames, cast, **changes)
    assert reason_of(lambda: open_encodings(tmp_path / "a", cast.hub, cast.mpd.public)) == "contents-mismatch"
    assert open_facts(tmp_path / "a", cast.analysis, cast.mpd.public).height == 6


def test_one_person_more_is_not_seen_by_who_carries_the_batch(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    """Two months, one person more: of what can be seen without a key, random bytes and digests alone differ."""
    seen = []
    for number in (40, 41):
        to = cast.mpd, cast.hub.public, cast.analysis.public
        seal_batch(tmp_path / "a", make.manifest(), make.encodings(number), make.facts(number), *to)
        assert open_encodings(tmp_path / "a", cast.hub, cast.mpd.public)["pseudonym"].n_unique() == number
        content = envelope.inspect(tmp_path / "a")
        parts = [
            {name: entry[name] for name in entry if name not in ("key", "sha256")} for entry in content["compartments"]
        ]
        seen.append({**content, "compartments": parts, "id": None})
    assert seen[0] == seen[1]


def test_sizes_tell_neither_the_events_nor_a_few_records(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    """Batches that differ in events, and by a few records, are of one size."""
    sizes, facts = set(), set()
    for number in range(40, 44):
        path, frame = tmp_path / str(number), make.facts(number)
        contacts = pl.concat([frame, *[frame[:2]] * (number % 2)])
        seal_batch(
            path,
            make.manifest(),
            make.encodings(number),
            contacts,
            cast.mpd,
            cast.hub.public,
            cast.analysis.public,
        )
        sizes.add(path.stat().st_size)
        facts.add(contacts.height)
    assert len(sizes) == 1 and len(facts) == 4


HEADER_FAULTS: dict[str, dict[str, Any]] = {
    "project": {"project": "../x"},
    "batch id": {"batch_id": "17"},
    "serial as text": {"serial": "17"},
    "serial zero": {"serial": 0},
    "month": {"month": "2026-13"},
    "records negative": {"records": -1},
    "mode": {"mode": "aggregate"},
    "fingerprint": {"fingerprint": ""},
    "digest": {"spec_digest": "G" * 64},
    "deduplicated as number": {"deduplicated": 1},
    "unknown field": {"note": "x"},
    "terminal codes": {"tool_version": "\x1b[2J"},
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_manifests_that_break_the_format(cast: Any, make: SimpleNamespace, tmp_path: Path, fault: str) -> None:
    with pytest.raises(ValidationError):
        make.manifest(**HEADER_FAULTS[fault])
    header = make.manifest().model_dump() | HEADER_FAULTS[fault]
    forge(tmp_path / "a", header, make.encodings(), make.facts(), cast)
    assert reason_of(lambda: read_manifest(tmp_path / "a")) == "malformed"
    assert reason_of(lambda: open_encodings(tmp_path / "a", cast.hub, cast.mpd.public)) == "malformed"


def test_manifest_without_a_field_is_refused(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    for name in make.manifest().model_dump():
        header = make.manifest().model_dump(exclude={name})
        forge(tmp_path / "a", header, make.encodings(), make.facts(), cast)
        assert reason_of(lambda: read_manifest(tmp_path / "a")) == "malformed"


def test_compartments_must_be_the_two_and_in_order(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    encodings = Compartment("encodings", cast.hub.public, parquet(make.encodings()))
    facts = Compartment("facts", cast.analysis.public, parquet(make.facts()))
    same = Compartment("facts", cast.hub.public, parquet(make.facts()))
    for compartments in (
        [encodings],
        [facts, encodings],
        [encodings, same],
        [encodings, facts, Compartment("x", cast.hub.public, b"")],
    ):
        envelope.seal(tmp_path / "a", "batch", make.manifest().model_dump(), compartments, cast.mpd)
        assert reason_of(lambda: read_manifest(tmp_path / "a")) == "malformed"


def test_ids_and_serials_are_fresh() -> None:
    ids = {new_batch_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(text) for text in ids} == {32}
    first = new_serial()
    assert 1_700_000_000_000_000 < first <= new_serial() < 2**53
