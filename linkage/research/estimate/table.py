"""Tables of capture histories: how many people stand on exactly which lists.

A table over ``t`` lists has 2^t - 1 cells, one for every set of lists except the empty one, which is what multiple
systems estimation estimates. **Order of cells**: cell ``c`` (0-based) is the set of lists whose bits are set in the
number ``c + 1``, where bit ``j`` is list ``j``. With lists A, B, C the order is A, B, AB, C, AC, BC, ABC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from linkage.errors import EstimateError

__all__ = ["COUNT", "MAX_LISTS", "MAX_TOTAL", "SHAPE", "Histories", "HistoryTable", "Stratum", "parse_histories"]


COUNT = "count"
MAX_LISTS = 12  # 4,095 cells; beyond this a table is almost surely sources that should be merged first
MAX_TOTAL = 2**53  # beyond it a double no longer holds a whole number
SHAPE = "a header, then a row for each capture history: a column of 0 and 1 for each list, and `count`"
_ROWS_NAMED = 10
_BITS = ("0", "1", "0.0", "1.0", "true", "false")

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
        if counts.size and (counts.min() < 0 or sum(int(c) for c in counts) > MAX_TOTAL):
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
    if np.ma.is_masked(values):
        raise _fault("a count is missing", "bad-count", "leave out histories that nobody has, or write 0")
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
    if not column.dtype.is_numeric():  # a missing value elsewhere makes floats of bits
        return False
    present = column.drop_nulls()
    return bool(len(present) and ((present == 0) | (present == 1)).all())


def _candidates(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if name != COUNT and _is_list(frame[name])]


def _rows_in_words(wrong: Iterable[bool]) -> str:
    """Name the rows that are marked, the header being row 1: ``row 4`` or ``rows 4, 7 and 12 more``."""
    rows = [str(row) for row, is_wrong in enumerate(wrong, start=2) if is_wrong]
    more = len(rows) - _ROWS_NAMED
    shown = ", ".join(rows[:_ROWS_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"row{'s' if len(rows) > 1 else ''} {shown}"


def _other_than_bits(column: pl.Series) -> list[bool]:
    """Mark the cells that hold a value which is neither 0 nor 1."""
    texts = [None if value is None else str(value).lower() for value in column.to_list()]
    return [text is not None and text not in _BITS for text in texts]


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
        problems = [f"column {name}: {_rows_in_words(_other_than_bits(frame[name]))}" for name in wrong]
        message = f"a named list holds something other than 0 and 1: {', '.join(wrong)}"
        raise EstimateError(message, reason="bad-list", hint=hint, problems=problems)


def _refuse_nearly_lists(frame: pl.DataFrame) -> None:
    """Refuse a column of mostly 0 and 1: as a stratum it would silently take a list away."""
    problems = []
    for name in frame.columns:
        present = frame[name].drop_nulls()
        if name == COUNT or _is_list(frame[name]) or present.dtype.is_nested() or not len(present):
            continue
        other = _other_than_bits(frame[name])
        if 2 * sum(other) < len(present):
            problems.append(f"column {name}: {_rows_in_words(other) if any(other) else 'text and not numbers'}")
    if problems:
        message = "a column is mostly 0 and 1 but not throughout, so it is neither a list nor a stratum for certain"
        hint = "write 0 or 1 in every row of a list; if the column is a stratum, name all the lists, as with --list"
        raise EstimateError(message, reason="bad-list", hint=hint, problems=problems)


def _list_names(frame: pl.DataFrame, lists: Sequence[str] | None) -> list[str]:
    if lists is None:
        _refuse_nearly_lists(frame)
        names = _candidates(frame)
    else:
        names = list(lists)
        _require_lists(frame, names)
    if not names:
        raise _fault("the table has no lists", "no-lists", "a list is a column of 0 and 1, one row a capture history")
    if len(names) > MAX_LISTS:
        raise _fault(f"the table has more than {MAX_LISTS} lists", "too-many-lists", "merge sources that are alike")
    empty = [c.name for c in frame if c.name != COUNT and c.null_count() == frame.height]
    if lists is None and empty:
        message = f"a column has no values at all: {', '.join(empty)}"
        raise _fault(message, "missing-value", "leave that column out, or fill it in")
    problems = [
        f"column {name}: {_rows_in_words(frame[name].is_null().to_list())}"
        for name in names
        if frame[name].null_count()
    ]
    if problems:
        message, hint = "a list column has a missing value", "write 0 where a person is not on a list"
        raise EstimateError(message, reason="missing-value", hint=hint, problems=problems)
    return names


def _counts(frame: pl.DataFrame) -> list[int]:
    if COUNT not in frame.columns:
        raise _fault("the table has no count column", "no-count", "name the column of counts `count`")
    column = frame[COUNT]
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        raise _fault("the count column is not numeric", "bad-count", "write counts of people, in digits")
    values = column.to_list()
    whole = "estimates need counts of people, not weights"
    for fault, hint, wrong in (
        ("missing", "leave out histories that nobody has, or write 0", lambda value: value is None),
        ("not a number", whole, lambda value: value in (float("inf"), float("-inf"))),
        ("negative", whole, lambda value: value < 0),
        ("not a whole number", whole, lambda value: value != int(value)),
    ):
        marked = [wrong(value) for value in values]
        if any(marked):
            message = f"a count is {fault}: {_rows_in_words(marked)}, column {COUNT}"
            raise _fault(message, "bad-count", hint)
    counts = [int(value) for value in values]
    if sum(counts) > MAX_TOTAL:
        raise _fault("the counts are too large", "bad-count", "check that the counts are of people")
    return counts


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
        Negative, fractional or missing counts; people on no list at all; a column of mostly 0 and 1 where the lists are
        not named; no lists, no rows, no ``count``. Rows are named as if the header were row 1.
    """
    if frame.height == 0:
        raise _fault("the table has no rows", "no-rows", SHAPE)
    frame = frame.with_columns(pl.selectors.float().fill_nan(None))
    counts = _counts(frame)
    names = _list_names(frame, lists)
    cells = [0] * frame.height
    for position, name in enumerate(names):
        for row, on in enumerate(frame[name].to_list()):
            cells[row] |= int(on) << position
    on_none = [cell == 0 and count > 0 for cell, count in zip(cells, counts, strict=True)]
    if any(on_none):
        raise _nobody(frame, names, on_none)
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


def _nobody(frame: pl.DataFrame, names: Sequence[str], on_none: Sequence[bool]) -> EstimateError:
    """Say that people are on no list, and which columns may be lists that were not named."""
    others = [name for name in _candidates(frame) if name not in names]
    where = _rows_in_words(on_none)
    if others:
        hint = f"if these are lists, name them as well: {', '.join(others)}; if not, leave the rows on no list out"
        return _fault(f"people are on none of the named lists: {where}", "all-zero-row", hint)
    hint = "people on no list are what is estimated: leave that row out"
    return _fault(f"a row is on no list and has people in it: {where}", "all-zero-row", hint)


def _texts(column: pl.Series) -> list[str | None]:
    return [None if value is None else str(value) for value in column.to_list()]
