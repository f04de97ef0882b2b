from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import polars as pl
import pytest

from linkage.errors import SealError
from linkage.exchange import trial
from linkage.exchange.frames import from_parquet, to_parquet

FOUND = Path(__file__).resolve().parents[1] / "fuzz" / "crashes" / "encodings"


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return pl.DataFrame({"a": range(1000), "b": [b"x" * 32] * 1000})


def test_good_frames_are_read(frame: pl.DataFrame) -> None:
    assert from_parquet(to_parquet(frame), 1000).equals(frame)
    assert from_parquet(to_parquet(frame), 2000, fewer=True).equals(frame)
    assert not trial.can_be_read(to_parquet(frame), 999)


def test_what_would_end_this_process_is_refused_and_the_next_frame_is_read(frame: pl.DataFrame) -> None:
    """Two bytes of a page's levels ask for two exbibytes, and the reader of Parquet ends its process."""
    (path,) = FOUND.iterdir()
    before = trial._reader().pid
    with pytest.raises(SealError) as caught:
        from_parquet(path.read_bytes()[16:], 6)  # behind the numbers of records and rows
    assert caught.value.reason == "contents-mismatch"
    assert trial._reader().pid != before
    assert from_parquet(to_parquet(frame), 1000).equals(frame)


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is on the address space, as Linux counts it")
def test_a_small_file_of_a_vast_frame_is_refused() -> None:
    """One value repeated without end takes next to nothing in a file."""
    rows = 2_000_000
    column = pl.repeat("abcd", rows, eager=True)
    buffer = io.BytesIO()
    pl.DataFrame([column.alias(f"c{number}") for number in range(40)]).write_parquet(buffer, compression="zstd")
    assert len(buffer.getvalue()) < 1 << 20
    assert not trial.can_be_read(buffer.getvalue(), rows)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_reader_that_was_killed_is_begun_anew(frame: pl.DataFrame) -> None:
    content = to_parquet(frame)
    assert trial.can_be_read(content, 1000)
    os.kill(trial._reader().pid, signal.SIGKILL)
    trial._reader().wait()
    assert trial.can_be_read(content, 1000)
