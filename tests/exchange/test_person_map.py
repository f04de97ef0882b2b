from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from linkage.errors import SealError
from linkage.exchange import envelope, open_person_map, read_manifest, read_person_map_manifest, seal_person_map
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
    frame, quality, manifest = open_person_map(path, cast.analysis, cast.hub.public)
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
    ]
    envelope.seal(tmp_path / "b.map", "person-map", header, compartments, cast.hub)
    with pytest.raises(SealError) as caught:
        open_person_map(tmp_path / "b.map", cast.analysis, cast.hub.public)
    assert caught.value.reason == reason
