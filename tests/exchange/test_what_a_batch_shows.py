"""What stands beside the contents of a batch: no trace of the extract's order, of its values, of paths or of times."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.exchange import envelope, seal_batch
from linkage.exchange.envelope import read_compartments
from linkage.exchange.frames import to_parquet
from linkage.exchange.padding import padded_size

MARK = "Zzyzxmarker"


def opened(path: Path, cast: Any, make: SimpleNamespace, encodings: pl.DataFrame, facts: pl.DataFrame) -> list[bytes]:
    """Seal two frames and return what is in the two compartments, byte by byte."""
    seal_batch(path, make.manifest(), encodings, facts, cast.mpd, cast.hub.public, cast.analysis.public)
    read = [("encodings", cast.hub), ("facts", cast.analysis)]
    return [
        content
        for name, holder in read
        for content in read_compartments(path, (name,), holder, cast.mpd.public, "batch")[1]
    ]


def test_a_permuted_extract_gives_the_same_bytes(cast: Any, make: SimpleNamespace, tmp_path: Path) -> None:
    frames = make.encodings(40), make.facts(40)
    plain = opened(tmp_path / "a", cast, make, *frames)
    for seed in range(6):
        turned = [frame.sample(fraction=1, shuffle=True, seed=seed) for frame in frames]
        assert not turned[0].equals(frames[0]) and not turned[1].equals(frames[1])
        assert opened(tmp_path / "b", cast, make, *turned) == plain
    assert opened(tmp_path / "b", cast, make, frames[0], frames[1].select(frames[1].columns[::-1])) == plain


def parquet_footer(content: bytes) -> bytes:
    assert content[:4] == content[-4:] == b"PAR1"
    length = int.from_bytes(content[-8:-4], "little")
    return content[-8 - length : -8]


def test_frames_are_uncompressed_and_carry_no_statistics_and_no_words_about_themselves() -> None:
    values = [f"{MARK}{number:04d}" for number in range(3_000)]
    frame = pl.DataFrame(
        {"pseudonym": values, "filter": [value.encode() * 4 for value in values], "number": range(3_000)}
    )
    content = to_parquet(frame)
    footer = parquet_footer(content)
    assert MARK.encode() not in footer  # statistics would hold the least and the greatest value
    loud = io.BytesIO()
    frame.write_parquet(loud, statistics=True)
    assert MARK.encode() in parquet_footer(loud.getvalue())
    assert not set(pl.read_parquet_metadata(io.BytesIO(content))) - {"ARROW:schema"}
    told = re.findall(rb"[ -~]{5,}", footer)
    known = {b"pseudonym", b"filter", b"number", b"Polars", b"ARROW:schema", b"schema"}
    assert all(any(word in text for word in known) or len(text) > 100 or b"=" in text for text in told), told
    # Contents that compress well take as much room as contents that do not.
    rng = np.random.default_rng(1)
    noise = frame.with_columns(filter=pl.Series([rng.bytes(60) for _ in range(3_000)]))
    same = frame.with_columns(filter=pl.Series([bytes(60)] * 3_000))
    assert abs(len(to_parquet(noise)) - len(to_parquet(frame))) < 200
    assert len(to_parquet(same)) <= len(to_parquet(noise))


def test_a_frame_is_the_same_bytes_whenever_and_wherever_it_is_written(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = to_parquet(make.encodings())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert to_parquet(make.encodings()) == before


def test_nothing_of_the_path_or_of_the_files_times_is_in_a_batch(
    cast: Any, make: SimpleNamespace, tmp_path: Path
) -> None:
    folder = tmp_path / MARK
    folder.mkdir()
    path = folder / f"{MARK}.batch"
    arguments = make.manifest(), make.encodings(), make.facts(), cast.mpd, cast.hub.public, cast.analysis.public
    seal_batch(path, *arguments)
    os.utime(path, (1, 1))
    assert MARK.encode() not in path.read_bytes()
    # The serial is the one time in it: no number else is near a time, and the manifest has no field for one.
    manifest = envelope.inspect(path)
    times = [value for value in manifest["header"].values() if isinstance(value, int) and value > 10**9]
    assert times == [manifest["header"]["serial"]]
    assert not {"time", "created", "created_by", "host", "user", "path"} & {*manifest, *manifest["header"]}


@pytest.mark.parametrize("records", [500, 5_000])
def test_one_record_more_seldom_changes_the_size(records: int) -> None:
    """What padding leaves of a month's news: the compartment grows in few steps only."""

    def frame(rows: int) -> pl.DataFrame:
        names = [f"{row:032x}" for row in range(rows)]
        return pl.DataFrame({"pseudonym": names, "names": [bytes(256)] * rows, "places": [bytes(256)] * rows})

    lengths = [len(to_parquet(frame(rows))) for rows in range(records, records + records // 20, max(1, records // 200))]
    assert len(set(lengths)) == len(lengths)
    assert len({padded_size(length) for length in lengths}) <= 3
