from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from linkage.errors import SealError
from linkage.exchange import envelope, open_person_map, read_manifest, read_person_map_manifest, seal_person_map
from linkage.exchange.draws import draws_frame, draws_to_bytes, no_draws
from linkage.exchange.envelope import Compartment

BATCHES = ["b" * 64, "a" * 64]
ABOUT: dict[str, Any] = {"project": "milwaukee", "epoch": "2026-1", "month": "2026-11", "run_id": "2026-11.1"}
QUALITY = {"expected_precision": 0.993, "expected_recall": 0.95, "links": 2, "by_source": {"mpd": [1, 2.5, None]}}
FRAME = pl.DataFrame(
    {
        "source": ["mpd", "dcf", "dcf", "pohsey"],
        "pseudonym": ["1" * 32, "3" * 32, "2" * 32, "1" * 32],
        "person": pl.Series([0, 1, 0, 2], dtype=pl.UInt32),
    }
)

# Rows 0 and 2 are one person in the map; in the draws they part, and 1 and 2 meet.
OPEN = np.array([2, 0, 1])
DRAWN = np.array([[7, 7, 9], [4, 8, 6], [5, 1, 5]], np.uint32)

ORDERED = FRAME.sort("source", "pseudonym")


def sealed(path: Path, cast: Any, **changes: Any) -> Path:
    content: dict[str, Any] = {"frame": FRAME, "quality": QUALITY, "batches": BATCHES, **ABOUT} | changes
    seal_person_map(
        path,
        content.pop("frame"),
        content.pop("quality"),
        content.pop("batches"),
        cast.hub,
        cast.analysis.public,
        **content,
    )
    return path


def test_round_trip(cast: Any, tmp_path: Path) -> None:
    path = sealed(tmp_path / "a.map", cast)
    frame, quality, manifest, draws = open_person_map(path, cast.analysis, cast.hub.public)
    assert draws.shape == (0, 1)
    assert_frame_equal(frame, FRAME.sort("source", "pseudonym"))
    assert quality == QUALITY
    assert manifest == read_person_map_manifest(path)
    assert manifest.batches == sorted(BATCHES)
    assert (manifest.records, manifest.project, manifest.run_id) == (4, "milwaukee", "2026-11.1")
    data = path.read_bytes()
    assert b"expected_precision" not in data
    assert b"1" * 32 not in data


def test_for_the_analysis_alone_and_from_the_hub_alone(cast: Any, tmp_path: Path) -> None:
    path = sealed(tmp_path / "a.map", cast)
    for recipient, sender, reason in (
        (cast.mpd, cast.hub, "not-for-us"),
        (cast.hub, cast.hub, "not-for-us"),
        (cast.analysis, cast.mpd, "untrusted-sender"),
    ):
        with pytest.raises(SealError) as caught:
            open_person_map(path, recipient, sender.public)
        assert caught.value.reason == reason
    with pytest.raises(SealError) as caught:
        read_manifest(path)
    assert caught.value.reason == "bad-version"


def test_a_spoilt_map_is_refused(cast: Any, tmp_path: Path) -> None:
    data = sealed(tmp_path / "a.map", cast).read_bytes()
    for position in (0, 20, 200, len(data) // 2, len(data) - 1):
        spoilt = bytearray(data)
        spoilt[position] ^= 1
        (tmp_path / "b.map").write_bytes(bytes(spoilt))
        with pytest.raises(SealError):
            open_person_map(tmp_path / "b.map", cast.analysis, cast.hub.public)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "gap in persons": ({"frame": FRAME.with_columns(person=FRAME["person"] * 2)}, "contents-mismatch"),
    "person of another type": (
        {"frame": FRAME.with_columns(person=FRAME["person"].cast(pl.Int64))},
        "contents-mismatch",
    ),
    "record twice": ({"frame": pl.concat([FRAME, FRAME[:1]])}, "contents-mismatch"),
    "null source": ({"frame": FRAME.with_columns(source=pl.lit(None, dtype=pl.String))}, "contents-mismatch"),
    "name as pseudonym": ({"frame": FRAME.with_columns(pseudonym=pl.lit("someone"))}, "contents-mismatch"),
    "further column": ({"frame": FRAME.with_columns(score=pl.lit(0.5))}, "contents-mismatch"),
    "one record": ({"frame": FRAME[:1]}, "too-few-records"),
    "quality with NaN": ({"quality": {"precision": float("nan")}}, "contents-mismatch"),
    "quality that is no JSON": ({"quality": {"path": Path()}}, "contents-mismatch"),
    "no batches": ({"batches": []}, "malformed"),
    "batch twice": ({"batches": ["a" * 64, "a" * 64]}, "malformed"),
    "batch that is no digest": ({"batches": ["mpd.batch"]}, "malformed"),
    "month": ({"month": "2026-11-01"}, "malformed"),
    "run id": ({"run_id": "a b"}, "malformed"),
    "draws of other length": ({"draws": (OPEN, DRAWN[:, :2])}, "contents-mismatch"),
    "draws without draws": ({"draws": (OPEN, DRAWN[0])}, "contents-mismatch"),
    "draws of a row that is not there": ({"draws": (np.array([0, 2, 4]), DRAWN)}, "contents-mismatch"),
    "draws of a row below none": ({"draws": (np.array([0, 2, -1]), DRAWN)}, "contents-mismatch"),
    "draws of a row twice": ({"draws": (np.array([0, 2, 2]), DRAWN)}, "contents-mismatch"),
    "draws of a person in part": ({"draws": (np.array([0, 1]), DRAWN[:, :2])}, "contents-mismatch"),
    "open rows and no draws": ({"draws": (OPEN, DRAWN[:0])}, "contents-mismatch"),
    "too many draws": ({"draws": (OPEN, np.zeros((1001, 3), np.uint32))}, "malformed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_breaks_the_format_is_not_sealed(cast: Any, tmp_path: Path, fault: str) -> None:
    changes, reason = FAULTS[fault]
    with pytest.raises(SealError) as caught:
        sealed(tmp_path / "a.map", cast, **changes)
    assert caught.value.reason == reason
    assert list(tmp_path.iterdir()) == []


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], object], bytes, bytes, str]] = {
    "other rows": (lambda header: None, parquet(ORDERED[:3]), b"{}", "contents-mismatch"),
    "unsorted": (lambda header: None, parquet(FRAME.sort("source").reverse()), b"{}", "contents-mismatch"),
    "other persons": (
        lambda header: None,
        parquet(ORDERED.with_columns(person=ORDERED["person"] + 1)),
        b"{}",
        "contents-mismatch",
    ),
    "quality twice": (lambda header: None, parquet(ORDERED), b'{"a":1,"a":2}', "contents-mismatch"),
    "quality a list": (lambda header: None, parquet(ORDERED), b"[]", "contents-mismatch"),
    "quality infinite": (lambda header: None, parquet(ORDERED), b'{"a":Infinity}', "contents-mismatch"),
    "batches unsorted": (lambda header: header["batches"].reverse(), parquet(ORDERED), b"{}", "malformed"),
    "unknown field": (lambda header: header.update(persons=3), parquet(ORDERED), b"{}", "malformed"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_breaks_the_format_is_not_opened(cast: Any, tmp_path: Path, forgery: str) -> None:
    change, persons, quality, reason = FORGERIES[forgery]
    header = read_person_map_manifest(sealed(tmp_path / "a.map", cast)).model_dump()
    change(header)
    compartments = [
        Compartment("persons", cast.analysis.public, persons),
        Compartment("quality", cast.analysis.public, quality),
        Compartment("draws", cast.analysis.public, draws_to_bytes(no_draws())),
    ]
    envelope.seal(tmp_path / "b.map", "person-map", header, compartments, cast.hub)
    with pytest.raises(SealError) as caught:
        open_person_map(tmp_path / "b.map", cast.analysis, cast.hub.public)
    assert caught.value.reason == reason


# --- draws


def test_draws_cross_in_one_way_of_numbering(cast: Any, tmp_path: Path) -> None:
    opened = open_person_map(sealed(tmp_path / "a.map", cast, draws=(OPEN, DRAWN)), cast.analysis, cast.hub.public)
    assert opened.manifest.draws == 3
    # Sorted by source and pseudonym the rows 2, 1, 0 of the frame are rows 0, 1, 2 of the map.
    assert opened.draws.to_dict(as_series=False) == {
        "record": [0, 1, 2],
        "draw_0": [0, 1, 0],
        "draw_1": [0, 1, 2],
        "draw_2": [0, 0, 1],
    }
    renamed = DRAWN + np.array([[3], [90], [17]], np.uint32)
    again = sealed(tmp_path / "b.map", cast, draws=(OPEN[::-1], renamed[:, ::-1]))
    assert_frame_equal(open_person_map(again, cast.analysis, cast.hub.public).draws, opened.draws)


def test_draws_in_which_nothing_is_open(cast: Any, tmp_path: Path) -> None:
    path = sealed(tmp_path / "a.map", cast, draws=(np.zeros(0, np.int64), np.zeros((50, 0), np.uint32)))
    opened = open_person_map(path, cast.analysis, cast.hub.public)
    assert (opened.manifest.draws, opened.draws.shape) == (50, (0, 51))


def test_the_size_of_the_draws_tells_little_of_how_many_records_are_open() -> None:
    def size(number: int) -> int:
        return len(draws_to_bytes(draws_frame(np.arange(number), np.zeros((3, number), np.uint32))))

    assert size(0) == size(3) == 4096
    assert len({size(number) for number in range(0, 2000, 50)}) <= 4


CONTENT = draws_to_bytes(draws_frame(np.arange(3), DRAWN))
NUMBERED = pl.DataFrame(
    {"record": [0, 1, 2], "draw_0": [0, 1, 0]}, schema=dict.fromkeys(["record", "draw_0"], pl.UInt32)
)
BAD_DRAWS: dict[str, bytes] = {
    "empty": b"",
    "no parquet": b"\0" * 4096,
    "length beyond the end": (1 << 40).to_bytes(8, "big") + CONTENT[8:],
    "padding that is no padding": CONTENT[:-1] + b"x",
    "padded too far": CONTENT + b"\0" * 4096,
    "not padded": CONTENT[:3000],
    "another number of draws": draws_to_bytes(draws_frame(np.arange(3), DRAWN)),
    "another column": draws_to_bytes(NUMBERED.with_columns(score=pl.lit(0.5))),
    "another type": draws_to_bytes(NUMBERED.cast(pl.Int64)),
    "a null": draws_to_bytes(NUMBERED.with_columns(draw_0=pl.Series([0, None, 0], dtype=pl.UInt32))),
    "descending": draws_to_bytes(NUMBERED.reverse()),
    "a record twice": draws_to_bytes(NUMBERED.with_columns(record=pl.Series([0, 0, 2], dtype=pl.UInt32))),
    "an unknown record": draws_to_bytes(NUMBERED.with_columns(record=pl.Series([0, 1, 4], dtype=pl.UInt32))),
    "a gap": draws_to_bytes(NUMBERED.with_columns(draw_0=pl.Series([0, 2, 1], dtype=pl.UInt32))),
    "not counted from 0": draws_to_bytes(NUMBERED.with_columns(draw_0=pl.Series([1, 1, 1], dtype=pl.UInt32))),
    "more records than there are": draws_to_bytes(pl.concat([NUMBERED] * 2)),
    "part of a person": draws_to_bytes(NUMBERED[:2]),
}


@pytest.mark.parametrize("fault", BAD_DRAWS)
def test_draws_that_break_the_format_are_not_opened(cast: Any, tmp_path: Path, fault: str) -> None:
    good = sealed(tmp_path / "a.map", cast, draws=(OPEN, DRAWN[:1]))
    header = read_person_map_manifest(good).model_dump()
    compartments = [
        Compartment("persons", cast.analysis.public, parquet(ORDERED)),
        Compartment("quality", cast.analysis.public, b"{}"),
        Compartment("draws", cast.analysis.public, BAD_DRAWS[fault]),
    ]
    envelope.seal(tmp_path / "b.map", "person-map", header, compartments, cast.hub)
    with pytest.raises(SealError) as caught:
        open_person_map(tmp_path / "b.map", cast.analysis, cast.hub.public)
    assert caught.value.reason == "contents-mismatch"


def test_a_map_of_version_2_has_draws(cast: Any, tmp_path: Path) -> None:
    header = read_person_map_manifest(sealed(tmp_path / "a.map", cast)).model_dump()
    two = [Compartment(name, cast.analysis.public, b"") for name in ("persons", "quality")]
    three = [*two, Compartment("draws", cast.analysis.public, b"")]
    without = {name: value for name, value in header.items() if name != "draws"}
    for content, compartments in ((header, two), (without, three), (header, three[::-1]), (header, three[:1])):
        envelope.seal(tmp_path / "b.map", "person-map", content, compartments, cast.hub)
        with pytest.raises(SealError) as caught:
            open_person_map(tmp_path / "b.map", cast.analysis, cast.hub.public)
        assert caught.value.reason == "malformed"


@given(st.data(), st.integers(1, 12), st.integers(1, 4))
def test_a_drawn_partition_is_the_same_partition_when_it_arrives(data: Any, records: int, draws: int) -> None:
    numbers = st.lists(st.integers(0, 2**32 - 1), min_size=records, max_size=records)
    person = np.array([data.draw(numbers) for _ in range(draws)], np.uint32).reshape(draws, records)
    record = np.array(data.draw(st.permutations(range(records))))
    frame = draws_frame(record, person)
    assert frame["record"].to_list() == list(range(records))
    for place in range(draws):
        sent = person[place][np.argsort(record)]
        arrived = frame[f"draw_{place}"].to_numpy()
        assert ((sent[:, None] == sent) == (arrived[:, None] == arrived)).all()
