"""Partitions drawn from the posterior, as the person map carries them: only for records whose person is in doubt.

A draw says who is one person with whom, for all records at once. Most records are with the same ones in every draw;
only the others, the **open** records, are written down, with a number for their person in each draw. No single pair
and no probability is among it, though a share of draws estimates one for the pairs of open records.

The content of the compartment is a Parquet frame behind its length, filled up with zero bytes to a power of two: the
size of a compartment is visible to all, and how many records are open is a result.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.exchange.frames import from_parquet, to_parquet
from linkage.exchange.reasons import refuse

__all__ = ["MOST_DRAWS", "check_draws", "draw_names", "draws_frame", "draws_from_bytes", "draws_to_bytes", "no_draws"]

MOST_DRAWS = 1000
"""Draws that a map may carry."""

_LEAST_SIZE = 4096


def draw_names(number: int) -> list[str]:
    """Return the columns of a frame of so many draws."""
    return [f"draw_{place}" for place in range(number)]


def no_draws(number: int = 0) -> pl.DataFrame:
    """Return draws in which no record is open."""
    return pl.DataFrame(schema=dict.fromkeys(["record", *draw_names(number)], pl.UInt32()))


def draws_frame(record: NDArray[np.int64], person: NDArray[np.uint32]) -> pl.DataFrame:
    """Write drawn partitions in the one way in which they are sent.

    Parameters
    ----------
    record
        Shape (open,): rows of the person map (sorted by source and pseudonym), in any order, each once.
    person
        Shape (draws, open): within a draw equal numbers are one person.

    Returns
    -------
    polars.DataFrame
        ``record`` (UInt32, ascending), ``draw_0``, ``draw_1`` ... (UInt32): in each draw persons are counted from 0 in
        the order in which they first appear, so that a number says nothing about a record beyond the partition.
    """
    order = np.argsort(record, kind="stable")
    columns = {"record": pl.Series(record[order], dtype=pl.UInt32)}
    for name, row in zip(draw_names(len(person)), person, strict=True):
        columns[name] = pl.Series(_in_order(row[order]), dtype=pl.UInt32)
    return pl.DataFrame(columns)


def _in_order(numbers: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the groups numbered from 0 by first appearance."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def draws_to_bytes(draws: pl.DataFrame) -> bytes:
    """Return the content of the compartment."""
    content = to_parquet(draws)
    size = _LEAST_SIZE
    while size < 8 + len(content):
        size *= 2
    return (len(content).to_bytes(8, "big") + content).ljust(size, b"\0")


def draws_from_bytes(content: bytes, persons: pl.DataFrame, number: int) -> pl.DataFrame:
    """Read the content of the compartment and hold it to the format.

    Parameters
    ----------
    persons
        The person map, checked.
    number
        Draws that the manifest states.

    Raises
    ------
    SealError
        ``contents-mismatch``.
    """
    length = int.from_bytes(content[:8], "big")
    size = len(content)
    padding = content[8 + length :]
    padded = size >= _LEAST_SIZE and size & (size - 1) == 0 and (size == _LEAST_SIZE or size < 2 * (8 + length))
    if not padded or 8 + length > size or padding.count(0) != len(padding):
        raise refuse("contents-mismatch")
    draws = from_parquet(content[8 : 8 + length], persons.height, fewer=True)
    check_draws(draws, persons, number)
    return draws


def check_draws(draws: pl.DataFrame, persons: pl.DataFrame, number: int) -> None:
    """Hold draws to the format: known records, each once, and one way of numbering.

    Raises
    ------
    SealError
        ``contents-mismatch``.
    """
    if draws.schema != no_draws(number).schema or (draws.height and not number) or sum(draws.null_count().row(0)):
        raise refuse("contents-mismatch")
    record = draws["record"]
    fits = bool((record < persons.height).all() and (record[1:] > record[:-1]).all())
    for name in draw_names(number):
        column = draws[name].cast(pl.Int64)
        most = column.cum_max().shift(1, fill_value=-1)
        fits = fits and bool((column <= most + 1).all())
    if not fits:
        raise refuse("contents-mismatch")
    # An open record's person in the map holds open records only: in no draw does one of them join the settled.
    person = persons["person"].to_numpy()
    is_open = np.zeros(persons.height, np.bool_)
    is_open[record.to_numpy()] = True
    if np.isin(person[~is_open], person[is_open]).any():
        raise refuse("contents-mismatch")
