"""Capture histories from a CSV file, read strictly: faults are named by file, row, column and rule, without a value.

UTF-8 (a byte order mark is allowed), commas, one header row. Rows are counted as in the file, the header being row 1
where nothing stands above it; rows without any value are left out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from linkage.errors import NO_SUCH_FILE, EstimateError
from linkage.research.estimate.table import COUNT, MAX_TOTAL, SHAPE

__all__ = ["read_histories"]

_COUNTS = "whole numbers in digits alone, such as 1234; leave out histories that nobody has, and people on no list"
_NAMES = "the first row names each column, and each differently"
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?", re.ASCII)
_MOST_DIGITS = 17  # of a count; Python turns no text of thousands of digits into a number
_MOST_PROBLEMS = 20
_BITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}

Row = tuple[int, list[str]]


def read_histories(path: Path) -> pl.DataFrame:
    """Read a CSV of capture histories.

    Returns
    -------
    polars.DataFrame
        ``count`` as Int64, columns of only 0 and 1 (or true and false, in any case) as UInt8, all others (strata) as
        String; an empty cell of those is null.

    Raises
    ------
    EstimateError
        ``not-found``, ``unreadable``, ``bad-encoding``, ``no-rows``; ``bad-header`` (a column without a name, two with
        the same), ``no-count``, ``bad-csv`` (a row with another number of fields); ``bad-count`` with every count that
        is missing, not whole, negative or too large.
    """
    path = Path(path)
    rows = _rows(path)
    if len(rows) < 2:
        raise EstimateError(f"{path}: the table has no rows", reason="no-rows", hint=SHAPE)
    header = _header(path, rows[0])
    ragged = [
        f"row {number}: {len(fields)} fields where the header has {len(header)}"
        for number, fields in rows[1:]
        if len(fields) != len(header)
    ]
    if ragged:
        hint = "a value that has a comma in it stands in double quotes; numbers have no commas in them"
        raise _faults(path, "rows have another number of fields than the header", "bad-csv", hint, ragged)
    cells = {name: [fields[i].strip() or None for _, fields in rows[1:]] for i, name in enumerate(header)}
    faulty = [(number, _fault_of(value)) for (number, _), value in zip(rows[1:], cells[COUNT], strict=True)]
    problems = [f"row {number}, column {COUNT}: {fault}" for number, fault in faulty if fault]
    if problems:
        raise _faults(path, "counts of people are wrong", "bad-count", _COUNTS, problems)
    return pl.DataFrame([_column(name, values) for name, values in cells.items()])


def _faults(path: Path, message: str, reason: str, hint: str, problems: Sequence[str]) -> EstimateError:
    more = len(problems) - _MOST_PROBLEMS
    shown = [*problems[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
    return EstimateError(f"{path}: {message}", reason=reason, hint=hint, problems=shown)


def _text(path: Path) -> str:
    if not path.is_file():
        raise EstimateError(f"{path}: no such file", reason="not-found", hint=NO_SUCH_FILE)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        message = f"{path}: the table of capture histories cannot be opened"
        raise EstimateError(message, reason="unreadable", hint="see whether this account may read the file") from error
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        hint = "save it again as CSV in UTF-8; workbooks and Parquet files are not read"
        raise EstimateError(f"{path}: the file is not UTF-8 text", reason="bad-encoding", hint=hint)
    return text


def _rows(path: Path) -> list[Row]:
    """Give the rows that hold anything, each with its number."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    rows: list[Row] = []
    number = 0
    try:
        for number, fields in enumerate(reader, start=1):
            if any(field.strip() for field in fields):
                rows.append((number, fields))
    except csv.Error:
        message = f"{path}: row {number + 1} is not well-formed CSV"
        hint = "a double quote opens a value and another closes it; one field holds no more than 100,000 characters"
        raise EstimateError(message, reason="bad-csv", hint=hint) from None
    return rows


def _header(path: Path, row: Row) -> list[str]:
    """Names of the columns. Faults go by position: a file without a header has values in their place."""
    names = [name.strip().strip("\ufeff") for name in row[1]]
    problems = [f"row {row[0]}, column {i}: no name" for i, name in enumerate(names, start=1) if not name]
    problems += [
        f"row {row[0]}, column {i}: the same name as column {names.index(name) + 1}"
        for i, name in enumerate(names, start=1)
        if name and names.index(name) + 1 < i
    ]
    if problems:
        raise _faults(path, "column names are missing or repeated", "bad-header", _NAMES, problems)
    if COUNT not in names:
        hint = "name the column of counts `count` in the first row, and separate with commas"
        raise EstimateError(f"{path}: the table has no count column", reason="no-count", hint=hint)
    problems = [f"row {row[0]}, column {i}" for i, name in enumerate(names, start=1) if _controls(name)]
    if problems:  # a name goes to the terminal and to figures
        message = "a column name has a line break or another control character in it"
        raise _faults(path, message, "bad-header", "write the name anew, in letters", problems)
    return names


def _controls(name: str) -> bool:
    return any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in name)


def _fault_of(value: str | None) -> str | None:
    """Say what is wrong with a count, without the count."""
    if value is None:
        return "no value"
    if not _WHOLE.fullmatch(value):
        return "not a whole number in digits"
    digits = value.split(".")[0].lstrip("+-0")
    if len(digits) > _MOST_DIGITS or int(digits or "0") > MAX_TOTAL:
        return "too large"
    return "negative" if value.startswith("-") and digits else None


def _column(name: str, values: list[str | None]) -> pl.Series:
    """Give a column its type: whole numbers where every cell is one, text otherwise."""
    if name == COUNT:
        numbers = [int(value.split(".")[0]) for value in values if value is not None]
        return pl.Series(name, numbers, dtype=pl.Int64)
    present = [value.lower() for value in values if value is not None]
    if present and all(value in _BITS for value in present):
        bits = [None if value is None else _BITS[value.lower()] for value in values]
        return pl.Series(name, bits, dtype=pl.UInt8)
    return pl.Series(name, values, dtype=pl.String)
