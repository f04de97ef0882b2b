"""Frames inside compartments: Parquet in memory, never on disk."""

from __future__ import annotations

import io

import polars as pl

from linkage.exchange.reasons import refuse
from linkage.exchange.trial import can_be_read

__all__ = ["from_parquet", "to_parquet"]


def to_parquet(frame: pl.DataFrame) -> bytes:
    """Write a frame as uncompressed Parquet without statistics (they would repeat the extreme values in clear)."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="uncompressed", statistics=False)
    return buffer.getvalue()


def from_parquet(content: bytes, rows: int, *, fewer: bool = False) -> pl.DataFrame:
    """Read Parquet that must have so many rows; the count is checked before the columns are read.

    Another process has read it before (:mod:`linkage.exchange.trial`), so that a file made to bring down its reader
    does not bring down this one.

    Parameters
    ----------
    fewer
        ``rows`` is the most that it may have.

    Raises
    ------
    SealError
        ``contents-mismatch`` if it is no Parquet, has another number of rows, or asks for more memory than its size
        warrants.
    """
    if not can_be_read(content, rows):
        raise refuse("contents-mismatch")
    try:
        lazy = pl.scan_parquet(io.BytesIO(content))
        found = lazy.select(pl.len()).collect().item()
        if found > rows or (found < rows and not fewer):
            raise refuse("contents-mismatch")
        return lazy.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        # The parser's own message could quote what it read.
        raise refuse("contents-mismatch") from None
