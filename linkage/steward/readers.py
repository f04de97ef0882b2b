"""Open an extract as a table of text, from CSV, Parquet or Excel, without ever repeating what is in it.

Readers of other people raise errors that quote the line at fault. Here every fault is told by row number and rule:
rows count as the person sees them in the file (CSV and Excel: the header is row 1; Parquet has no header row, so its
first row is 1).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from linkage.contract.source import SourceSchema
from linkage.errors import ExtractError
from linkage.steward.standardise import as_text

__all__ = ["CSV_SUFFIXES", "EXCEL_SUFFIXES", "PARQUET_SUFFIXES", "read_csv", "read_excel", "read_parquet", "select"]

CSV_SUFFIXES = (".csv", ".txt", ".tsv")
PARQUET_SUFFIXES = (".parquet",)
EXCEL_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".xlsb")
SHOWN = 20
"""How many problems an error lists."""

_BOM = b"\xef\xbb\xbf"
_CHUNK = 50_000


def read_csv(path: Path, schema: SourceSchema) -> pl.DataFrame:
    """Read a CSV file: String columns of the schema and ``row``; every row has as many fields as the header.

    Python's own parser, for it tells the row of a fault and nothing else; only the schema's columns are kept.
    """
    with path.open("rb") as source:
        reader = csv.reader(_decoded(source, path, schema.encoding), delimiter=schema.separator, strict=True)
        rows = _numbered(reader, path)
        _, header = next(rows, (1, []))
        if not header:
            raise empty(path)
        places = select([title.strip() for title in header], schema, path)
        frames, ragged = [], []
        numbers: list[int] = []
        kept: list[tuple[str, ...]] = []
        for number, fields in rows:
            if len(fields) != len(header):
                ragged.append(f"row {number}: {len(fields)} fields where the header has {len(header)}: ragged")
                continue
            numbers.append(number)
            kept.append(tuple(fields[place] for place in places.values()))
            if len(kept) == _CHUNK:
                frames.append(_frame(numbers, kept, places))
                numbers, kept = [], []
    if ragged:
        raise ExtractError(
            f"{path}: {len(ragged)} rows have more or fewer fields than the header",
            reason="ragged",
            hint="an entry that holds the separator must stand in quotes; export the extract again",
            problems=capped(ragged),
        )
    return pl.concat([*frames, _frame(numbers, kept, places)])


def _frame(numbers: list[int], rows: list[tuple[str, ...]], places: dict[str, int]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(places)
    return pl.DataFrame(
        [pl.Series("row", numbers, dtype=pl.Int64)]
        + [pl.Series(title, values, dtype=pl.String) for title, values in zip(places, columns, strict=True)]
    )


def _numbered(reader: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with their numbers; blank lines count, as they do in a spreadsheet, but are no rows."""
    number = 0
    while True:
        number += 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise ExtractError(
                f"{path}: row {number}: quotes do not close or stand inside an entry",
                reason="malformed",
                hint="export the extract again; a quote inside an entry is written twice",
            ) from None
        except _WrongBytesError:
            raise ExtractError(
                f"{path}: row {number}: not in the encoding that the source schema declares: encoding",
                reason="encoding",
                hint="export the whole extract in one encoding, and name it in the source schema",
                problems=(f"row {number}: encoding",),
            ) from None
        if fields:
            yield number, fields


class _WrongBytesError(Exception):
    """A line is not in the declared encoding."""


def _decoded(source: Iterator[bytes], path: Path, encoding: str) -> Iterator[str]:
    """Decode line by line. In windows-1252 a line that is valid multi-byte UTF-8 is one in the wrong encoding."""
    for position, line in enumerate(source):
        content = line.removeprefix(_BOM) if position == 0 and encoding == "utf-8" else line
        if content.isascii():
            if b"\0" in content:
                raise _WrongBytesError
            yield content.decode("ascii")
            continue
        if encoding != "utf-8" and _is_utf8(content):
            raise _WrongBytesError
        try:
            yield content.decode("cp1252" if encoding == "windows-1252" else encoding)
        except UnicodeDecodeError:
            raise _WrongBytesError from None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_parquet(path: Path, schema: SourceSchema) -> pl.DataFrame:
    """Read a Parquet file. Typed values become the text a person would have typed.

    Dates are written in the first format that the schema declares for their column (ISO where none has year, month and
    day), times of day are dropped, whole numbers have no decimal point, booleans are ``true`` and ``false``, lists are
    joined with the column's separator.
    """
    try:
        titles = pl.read_parquet_schema(path)
        places = select([title.strip() for title in titles], schema, path)
        names = list(titles)
        table = pl.read_parquet(path, columns=[names[place] for place in places.values()], glob=False)
    except ExtractError:
        raise
    except Exception:  # a reader's message may quote the data
        raise unreadable(path, "Parquet") from None
    columns = []
    for title, place in places.items():
        series = table[names[place]].alias(title)
        if series.dtype.base_type() == pl.List:
            series = series.cast(pl.List(pl.String)).list.join(separators(schema).get(title, ";"))
        if series.dtype.is_nested() or series.dtype == pl.Binary:
            raise ExtractError(f"{path}: column {title} holds neither text nor numbers nor dates", reason="column-type")
        temporal = series.dtype.is_temporal()
        columns.append(_dates_as_declared(as_text(series), title, schema) if temporal else as_text(series))
    return pl.DataFrame([pl.Series("row", range(1, table.height + 1), dtype=pl.Int64), *columns])


def read_excel(path: Path, schema: SourceSchema) -> pl.DataFrame:
    """Read one sheet of an Excel workbook: the schema's, else the first.

    Cells come as the text of their value. A date that Excel knows as a date is written in the column's first declared
    format, also where the column mixes typed dates and text.
    """
    try:
        table = pl.read_excel(
            path,
            engine="calamine",
            **({"sheet_name": schema.sheet} if schema.sheet else {"sheet_id": 1}),
            has_header=False,
            infer_schema_length=0,
            drop_empty_rows=False,
            drop_empty_cols=False,
            raise_if_empty=False,
            read_options={"skip_rows": 0},
        )
    except ValueError:
        raise ExtractError(
            f"{path}: no sheet named as the source schema says",
            reason="missing-sheet",
            hint="see 'sheet' in the schema",
        ) from None
    except Exception:  # a reader's message may quote the data
        raise unreadable(path, "Excel") from None
    filled = table.select(pl.any_horizontal(pl.all().is_not_null())).to_series() if table.width else pl.Series([False])
    start = filled.arg_max() if filled.any() else None
    if start is None:
        raise empty(path)
    titles = ["" if title is None else str(title).strip() for title in table.row(start)]
    places = select(titles, schema, path)
    body = table.slice(start + 1)
    numbers = pl.Series("row", range(start + 2, start + 2 + body.height), dtype=pl.Int64)
    columns = [
        _dates_as_declared(as_text(body.to_series(place)).alias(title), title, schema)
        for title, place in places.items()
    ]
    return pl.DataFrame([numbers, *columns])


def select(titles: list[str], schema: SourceSchema, path: Path) -> dict[str, int]:
    """Return where each column of the schema stands; all that are missing or stand twice are named together."""
    wanted = schema.columns()
    missing = [f"column {name} is missing" for name in wanted if name not in titles]
    twice = [f"column {name} stands twice" for name in wanted if titles.count(name) > 1]
    if missing or twice:
        raise ExtractError(
            f"{path}: {len(missing)} columns missing, {len(twice)} ambiguous, of {len(wanted)} in the source schema",
            reason="missing-column" if missing else "duplicate-column",
            hint="the first row must hold the column names exactly as the source schema writes them"
            + (f", separated by '{schema.separator}'" if len(titles) == 1 else ""),
            problems=missing + twice,
        )
    return {name: titles.index(name) for name in wanted}


def separators(schema: SourceSchema) -> dict[str, str]:
    """Return raw column -> separator of its values, for the columns that hold several."""
    found = {entry.column: entry.split for entry in schema.identifiers.values() if entry.split}
    return found | ({schema.aliases.column: schema.aliases.split} if schema.aliases else {})


def _dates_as_declared(series: pl.Series, column: str, schema: SourceSchema) -> pl.Series:
    """Write ISO dates of a date column in the first format declared for it that has year, month and day."""
    entries = [(entry.column, entry.formats) for entry in schema.identifiers.values()]
    entries += [(entry.column, entry.formats) for entry in (schema.event_date, schema.consent) if entry]
    formats = [form for of, several in entries if of == column for form in several]
    if not formats:
        return series
    full = [form for form in formats if "%Y" in form and "%d" in form]
    target = full[0] if full else "%Y-%m-%d"
    iso = series.str.extract(r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T][0-9:.]+)?$")
    written = iso.str.to_date("%Y-%m-%d", strict=False).dt.to_string(target)
    return pl.select(pl.coalesce(written, series).alias(series.name)).to_series()


def capped(problems: list[str]) -> list[str]:
    """Keep an error readable: the first problems, and how many more there are."""
    rest = len(problems) - SHOWN
    return problems[:SHOWN] + ([f"and {rest} more"] if rest > 0 else [])


def empty(path: Path) -> ExtractError:
    """Return the error for an extract without a row."""
    return ExtractError(
        f"{path}: the extract holds no row",
        reason="empty",
        hint="an empty batch is not sent; if nobody is to be counted any more, tell the hub",
    )


def unreadable(path: Path, kind: str) -> ExtractError:
    """Return the error for a file that is not what its suffix says."""
    return ExtractError(
        f"{path}: not a readable {kind} file", reason="unreadable", hint="export the extract again, without a password"
    )
