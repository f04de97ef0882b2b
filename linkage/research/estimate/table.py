"""Tables of capture histories: how many people stand on exactly which lists.

A table over ``t`` lists has 2^t - 1 cells, one for every set of lists except the empty one, which is what multiple
systems estimation estimates. **Order of cells**: cell ``c`` (0-based) is the set of lists whose bits are set in the
number ``c + 1``, where bit ``j`` is list ``j``. With lists A, B, C the order is A, B, AB, C, AC, BC, ABC.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from linkage.errors import NO_SUCH_FILE, EstimateError

__all__ = ["COUNT", "MAX_LISTS", "Histories", "HistoryTable", "Stratum", "parse_histories", "read_histories"]

COUNT = "count"
MAX_LISTS = 12  # 4,095 cells; beyond this a table is almost surely sources that should be merged first
_MAX_TOTAL = 2**53  # beyond it a double no longer holds a whole number
_COUNTS = "whole numbers in digits alone, such as 1234; leave out histories that nobody has"
_SHAPE = "a header, then a row for each capture history: a column of 0 and 1 for each list, and `count`"
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?", re.ASCII)
_MOST_DIGITS = 17  # of a count; Python turns no text of thousands of digits into a number
_BITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HistoryTable:
    """Counts of people by capture history.

    Attributes
    ----------
    lists
        Names of the ``t`` lists, in order.
    counts
        ``int64`` array of shape ``(2**t - 1,)`` in the order that the module states. Read-only.
    """

    lists: tuple[str, ...]
    counts: Counts

    def __post_init__(self) -> None:
        counts = _whole_numbers(self.counts)
        if len(set(self.lists)) != len(self.lists):
            raise EstimateError("two lists of a table have one name", reason="bad-header")
        if counts.shape != (2 ** len(self.lists) - 1,):
            raise EstimateError("a table over t lists has 2^t - 1 cells", reason="bad-shape")
        if counts.size and (counts.min() < 0 or sum(int(c) for c in counts) > _MAX_TOTAL):
            raise EstimateError("a count is negative or too large", reason="bad-count")
        counts.flags.writeable = False
        object.__setattr__(self, "counts", counts)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, *, lists: Sequence[str] | None = None) -> HistoryTable:
        """Pool a frame over its strata; see :func:`parse_histories` for the rules."""
        return parse_histories(frame, lists=lists).pooled

    @property
    def t(self) -> int:
        """Number of lists."""
        return len(self.lists)

    @property
    def observed(self) -> int:
        """Number of people on at least one list."""
        return int(self.counts.sum())

    @property
    def totals(self) -> Counts:
        """Number of people on each list, shape ``(t,)``."""
        cells = np.arange(1, self.counts.size + 1)
        return np.array([self.counts[(cells >> j) & 1 == 1].sum() for j in range(self.t)], dtype=np.int64)

    @property
    def frequencies(self) -> Counts:
        """Number of people on exactly 1, 2, ..., t lists, shape ``(t,)``."""
        sizes = np.array([c.bit_count() for c in range(1, self.counts.size + 1)])
        return np.array([self.counts[sizes == k].sum() for k in range(1, self.t + 1)], dtype=np.int64)

    @property
    def overlap(self) -> int:
        """Number of people on two lists or more."""
        return int(self.frequencies[1:].sum())

    @property
    def digest(self) -> str:
        """SHA-256 over the number of lists and the counts; row order and split rows do not change it."""
        return hashlib.sha256(f"{self.t}:".encode() + self.counts.astype("<i8").tobytes()).hexdigest()

    def together(self, *positions: int) -> int:
        """Count the people who are on all the lists at these positions, whatever else they are on."""
        mask = sum(1 << j for j in set(positions))
        cells = np.arange(1, self.counts.size + 1)
        return int(self.counts[(cells & mask) == mask].sum())

    def without(self, position: int) -> HistoryTable:
        """Leave a list out: people who are on it alone leave the table, the others lose one list."""
        low = (1 << position) - 1
        kept = np.zeros(2 ** (self.t - 1), dtype=np.int64)
        for cell, count in enumerate(self.counts.tolist(), start=1):
            kept[(cell & low) | ((cell >> (position + 1)) << position)] += count
        return HistoryTable(self.lists[:position] + self.lists[position + 1 :], kept[1:])

    def merged(self, first: int, second: int) -> HistoryTable:
        """Make one list of two, in the place of the first: whoever is on either is on it. Nobody leaves the table."""
        cells = np.arange(1, self.counts.size + 1)
        either = cells | (((cells >> second) & 1) << first)
        counts = np.zeros(self.counts.size, dtype=np.int64)
        np.add.at(counts, either - 1, self.counts)
        lists = list(self.lists)
        lists[first] = f"{lists[first]}+{lists[second]}"
        return HistoryTable(tuple(lists), counts).without(second)

    def given(self, position: int) -> HistoryTable:
        """Keep only the people on one list and take that list away.

        Those who are on no other list become the unseen: their number is known, so this is a test of an
        estimator on real data (internal consistency, Binette & Steorts 2022).
        """
        cells = np.arange(1, self.counts.size + 1)
        return HistoryTable(self.lists, np.where((cells >> position) & 1 == 1, self.counts, 0)).without(position)


@dataclass(frozen=True, eq=False)
class Stratum:
    """One stratum of a table: its value in every stratum column (text, or ``None``), and its counts."""

    values: Mapping[str, str | None]
    table: HistoryTable


@dataclass(frozen=True, eq=False)
class Histories:
    """A table with its strata; ``strata`` is empty where there are no stratum columns."""

    pooled: HistoryTable
    strata: tuple[Stratum, ...]


def _whole_numbers(values: npt.NDArray[np.generic]) -> Counts:
    """Copy counts as int64; nothing is rounded, cut off or turned over on the way."""
    given = np.asarray(values)
    if given.dtype.kind not in "iuf":
        raise _fault("counts are not numbers", "bad-count")
    # The largest double that int64 holds; NaN fails the comparison.
    if given.size and not (np.abs(given.astype(np.float64)) < 2.0**63).all():
        raise _fault("a count is missing or too large", "bad-count")
    counts = given.astype(np.int64)
    if given.dtype.kind == "f" and (counts != given).any():
        raise _fault("a count is not a whole number", "bad-count", "estimates need counts of people, not weights")
    return counts


def _fault(message: str, reason: str, hint: str | None = None) -> EstimateError:
    return EstimateError(message, reason=reason, hint=hint)


def _is_list(column: pl.Series) -> bool:
    """Say whether a column is a list by the default rule: boolean, or numbers that are 0 or 1 throughout."""
    if column.dtype == pl.Boolean:
        return True
    if not (column.dtype.is_integer() or column.dtype.is_float()):  # a missing value elsewhere makes floats of bits
        return False
    present = column.drop_nulls()
    return bool(len(present) and ((present == 0) | (present == 1)).all())


def _candidates(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if name != COUNT and _is_list(frame[name])]


def _require_lists(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Refuse names that are no lists, and say which columns could be."""
    known = ", ".join(_candidates(frame))
    hint = f"columns of only 0 and 1 are: {known}" if known else "a list is a column of 0 and 1"
    if len(set(names)) != len(names):
        raise _fault("a list is named twice", "unknown-list", "name each list once")
    strange = [name for name in names if name == COUNT or name not in frame.columns]
    if strange:
        raise _fault(f"no list of that name in the table: {', '.join(strange)}", "unknown-list", hint)
    wrong = [name for name in names if not _is_list(frame[name])]
    if wrong:
        raise _fault(f"a named list holds something other than 0 and 1: {', '.join(wrong)}", "bad-list", hint)


def _list_names(frame: pl.DataFrame, lists: Sequence[str] | None) -> list[str]:
    if lists is None:
        names = _candidates(frame)
    else:
        names = list(lists)
        _require_lists(frame, names)
    if not names:
        raise _fault("the table has no lists", "no-lists", "a list is a column of 0 and 1, one row a capture history")
    if len(names) > MAX_LISTS:
        raise _fault(f"the table has more than {MAX_LISTS} lists", "too-many-lists", "merge sources that are alike")
    if lists is None and any(column.null_count() == frame.height for column in frame if column.name != COUNT):
        raise _fault("a column has no values at all", "missing-value", "leave that column out, or fill it in")
    if any(frame[name].null_count() for name in names):
        raise _fault("a list column has a missing value", "missing-value", "write 0 where a person is not on a list")
    return names


def _counts(frame: pl.DataFrame) -> list[int]:
    if COUNT not in frame.columns:
        raise _fault("the table has no count column", "no-count", "name the column of counts `count`")
    column = frame[COUNT]
    if not column.dtype.is_numeric():
        raise _fault("the count column is not numeric", "bad-count")
    if column.null_count():
        raise _fault("a count is missing", "bad-count", "leave out histories that nobody has, or write 0")
    values = column.to_list()
    if any(value in (float("inf"), float("-inf")) for value in values):
        raise _fault("a count is not a number", "bad-count")
    if any(value < 0 for value in values):
        raise _fault("a count is negative", "bad-count")
    if any(value != int(value) for value in values):
        raise _fault("a count is not a whole number", "bad-count", "estimates need counts of people, not weights")
    whole = [int(value) for value in values]
    if sum(whole) > _MAX_TOTAL:
        raise _fault("the counts are too large", "bad-count")
    return whole


def parse_histories(frame: pl.DataFrame, *, lists: Sequence[str] | None = None) -> Histories:
    """Read capture histories from a frame.

    Parameters
    ----------
    frame
        One 0/1 column a list, a column ``count``, and any other columns as strata. Rows with the same history (and
        stratum) are summed.
    lists
        The columns that are lists, in order. Without it every column of numbers or booleans that holds only 0 and 1
        is one, so name the lists where a stratum is coded 0/1.

    Raises
    ------
    EstimateError
        Negative, fractional or missing counts; people on no list at all; no lists, no rows, no ``count``.
    """
    if frame.height == 0:
        raise _fault("the table has no rows", "no-rows", _SHAPE)
    frame = frame.with_columns(pl.selectors.float().fill_nan(None))
    counts = _counts(frame)
    names = _list_names(frame, lists)
    cells = [0] * frame.height
    for position, name in enumerate(names):
        for row, on in enumerate(frame[name].to_list()):
            cells[row] |= int(on) << position
    if any(cell == 0 and count > 0 for cell, count in zip(cells, counts, strict=True)):
        others = [name for name in _candidates(frame) if name not in names]
        if others:
            raise _fault(
                "people are on none of the named lists",
                "all-zero-row",
                f"if these are lists, name them as well: {', '.join(others)}; if not, leave the rows on no list out",
            )
        raise _fault(
            "a row is on no list and has people in it",
            "all-zero-row",
            "people on no list are what is estimated: leave that row out",
        )
    strata_names = [name for name in frame.columns if name != COUNT and name not in names]
    keys = list(zip(*(_texts(frame[name]) for name in strata_names), strict=True)) or [()] * frame.height
    by_stratum: dict[tuple[str | None, ...], Counts] = {}
    for key, cell, count in zip(keys, cells, counts, strict=True):
        by_stratum.setdefault(key, np.zeros(2 ** len(names), dtype=np.int64))[cell] += count
    pooled = HistoryTable(tuple(names), np.sum(list(by_stratum.values()), axis=0)[1:])
    if not strata_names:
        return Histories(pooled, ())
    ordered = sorted(by_stratum.items(), key=lambda item: [(v is None, v or "") for v in item[0]])
    return Histories(
        pooled,
        tuple(
            Stratum(dict(zip(strata_names, key, strict=True)), HistoryTable(tuple(names), cells_[1:]))
            for key, cells_ in ordered
        ),
    )


def _texts(column: pl.Series) -> list[str | None]:
    return [None if value is None else str(value) for value in column.to_list()]


def _rows(path: Path) -> list[list[str]]:
    path = Path(path)
    if not path.is_file():
        raise _fault(f"{path}: no such file", "not-found", NO_SUCH_FILE)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        hint = "see whether this account may read the file"
        raise _fault(f"{path}: the table of capture histories cannot be opened", "unreadable", hint) from error
    except UnicodeDecodeError:
        raise _fault("the file is not UTF-8 text", "bad-encoding", "save it again as CSV in UTF-8") from None
    if "\x00" in text:
        raise _fault("the file is not UTF-8 text", "bad-encoding", "save it again as CSV in UTF-8")
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        raise _fault("the file is not well-formed CSV", "bad-csv") from None


def _column(name: str, cells: list[str]) -> pl.Series:
    """Give a column its type: whole numbers where every cell is one, text otherwise; an empty cell is missing."""
    values = [cell.strip() or None for cell in cells]
    present = [value for value in values if value is not None]
    if name == COUNT:
        if not all(_WHOLE.fullmatch(value) for value in present):
            raise _fault("a count is not a whole number", "bad-count", _COUNTS)
        parts = [None if value is None else value.split(".")[0] for value in values]
        if any(part is not None and len(part.lstrip("+-0")) > _MOST_DIGITS for part in parts):
            raise _fault("the counts are too large", "bad-count")
        numbers = [None if part is None else int(part) for part in parts]
        if any(number is not None and abs(number) > _MAX_TOTAL for number in numbers):
            raise _fault("the counts are too large", "bad-count")
        return pl.Series(name, numbers, dtype=pl.Int64)
    if present and all(value in _BITS for value in present):
        return pl.Series(name, [None if value is None else _BITS[value] for value in values], dtype=pl.UInt8)
    return pl.Series(name, values, dtype=pl.String)


def read_histories(path: Path) -> pl.DataFrame:
    """Read a CSV of capture histories strictly: UTF-8 (a byte order mark is allowed), commas, one header row.

    Returns
    -------
    polars.DataFrame
        ``count`` as Int64, columns of only 0 and 1 as UInt8, all others (strata) as String.

    Raises
    ------
    EstimateError
        Another encoding, ragged rows, repeated column names, a count that is not a whole number.
    """
    rows = _rows(path)
    if not rows:
        raise _fault("the table has no rows", "no-rows", _SHAPE)
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header) or "" in header:
        hint = "the first row names each column, and each differently"
        raise _fault("column names are missing or repeated", "bad-header", hint)
    if COUNT not in header:
        raise _fault("the table has no count column", "no-count", "name the column `count`, separate with commas")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise _fault(f"row {number} has another number of fields than the header", "bad-csv")
    if len(rows) == 1:
        raise _fault("the table has no rows", "no-rows", _SHAPE)
    return pl.DataFrame([_column(name, [row[i] for row in rows[1:]]) for i, name in enumerate(header)])
