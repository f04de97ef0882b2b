"""Read an agency's extract and check it against its source schema: row numbers and rules, never a value.

The rules a row can break:

=================  =====================================================================================
``person-number``  the source has person numbers and this row has none: it cannot be given to a person
``required``       an identifier that the schema requires, or the date of the contact, is missing
``date-format``    a date fits none of the declared formats, also for a 13th month or a 32nd day
``date-range``     no such day in that month, before 1900, or in the future
``code``           an entry that is not in the code list
``flag``           an entry that is neither yes nor no
=================  =====================================================================================

A row without a person number is left out rather than made a record of its own: it would count a person twice in a
source that says it has deduplicated itself, and its pseudonym would change with the order of the file.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from linkage.contract.source import Fact, FlagFact, Identifier, SourceSchema, condition_columns
from linkage.contract.vocabulary import IDENTIFIER_KINDS
from linkage.errors import NO_SUCH_FILE, ExtractError
from linkage.exchange.site import current_day
from linkage.steward import readers
from linkage.steward.dates import EARLIEST, parse_dates

__all__ = ["CheckedRows", "check_rows", "find_failures", "read_extract", "require_tolerance"]


LONGEST_CONSENT = dt.timedelta(days=30 * 366)
"""A written release must be limited in time; one that ends later than this is a typing error."""


@dataclass(frozen=True)
class CheckedRows:
    """An extract after its checks.

    Attributes
    ----------
    good
        Rows without a fault, typed: ``row``; ``local_id`` String (the person number, else ``row-<number>``);
        ``event_date`` Date; ``birth_date`` Date and ``birth_year`` Int32 as far as known; ``consent`` Date (null too
        where a failing row of the person is not known to be an earlier contact: it may withdraw the release) and
        ``aliases`` List(String) where the schema has them; ``identifier.<name>`` List(String), as written but without
        placeholders, birth dates as digits; ``fact.<name>`` String; ``flag.<name>`` Boolean; ``raw.<column>`` String,
        trimmed, for the columns that tiers read.
    failures
        ``row`` Int64, ``column`` String (as the extract names it), ``rule`` String.
    rows
        Number of rows in the extract.
    """

    good: pl.DataFrame
    failures: pl.DataFrame
    rows: int

    @property
    def failed_rows(self) -> int:
        """Number of rows with at least one fault."""
        return self.failures["row"].n_unique()


def read_extract(path: str | Path, schema: SourceSchema) -> pl.DataFrame:
    """Read an extract as text.

    Parameters
    ----------
    path
        A ``.csv`` (``.txt``, ``.tsv``), ``.parquet`` or Excel file; the suffix says which.
    schema
        Says which columns to keep, and encoding, separator and sheet.

    Returns
    -------
    pl.DataFrame
        ``row`` Int64, the row's number as a person sees it in the file, and the schema's columns as String. Rows in
        which all these columns are empty are no rows.

    Raises
    ------
    ExtractError
        With reason ``not-found``, ``unknown-type``, ``unreadable``, ``encoding``, ``malformed``, ``ragged``,
        ``missing-column``, ``duplicate-column``, ``missing-sheet``, ``column-type`` or ``empty``.
    """
    path = Path(path)
    if "row" in schema.columns():
        raise ExtractError("a column named 'row' cannot be read", reason="column-name", hint="rename it in the extract")
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ExtractError(f"{path}: no such file", reason="not-found", hint=NO_SUCH_FILE)
    if suffix in readers.CSV_SUFFIXES:
        raw = readers.read_csv(path, schema)
    elif suffix in readers.PARQUET_SUFFIXES:
        raw = readers.read_parquet(path, schema)
    elif suffix in readers.EXCEL_SUFFIXES:
        raw = readers.read_excel(path, schema)
    else:
        known = ", ".join((*readers.CSV_SUFFIXES, *readers.PARQUET_SUFFIXES, *readers.EXCEL_SUFFIXES))
        raise ExtractError(f"{path}: unknown type of file", reason="unknown-type", hint=f"known suffixes: {known}")
    filled = [pl.col(column).str.strip_chars().fill_null("") != "" for column in schema.columns()]
    raw = raw.filter(pl.any_horizontal(filled))
    if raw.is_empty():
        raise readers.empty(path)
    return raw


def check_rows(raw: pl.DataFrame, schema: SourceSchema, *, today: dt.date | None = None) -> CheckedRows:
    """Check every row; leave the failing ones out if they are few enough.

    Raises
    ------
    ExtractError
        Reason ``too-many-failures`` if a larger share of rows fails than the schema tolerates; the problems are lines
        such as ``row 17: DOB: date-format``.
    """
    checked = find_failures(raw, schema, today=today)
    require_tolerance(checked, schema)
    return checked


def require_tolerance(checked: CheckedRows, schema: SourceSchema) -> None:
    """Raise :class:`ExtractError` if more rows fail than the schema tolerates."""
    if checked.failed_rows > schema.tolerance * checked.rows:
        lines = [f"row {row}: {column}: {rule}" for row, column, rule in checked.failures.iter_rows()]
        raise ExtractError(
            f"{checked.failed_rows} of {checked.rows} rows break the source schema, more than the "
            f"{schema.tolerance:.1%} it tolerates; nothing is sent",
            reason="too-many-failures",
            hint="mend the rows in the extract, or the formats and codes in the source schema",
            problems=readers.capped(lines),
        )


def find_failures(raw: pl.DataFrame, schema: SourceSchema, *, today: dt.date | None = None) -> CheckedRows:
    """Check every row and tell the failures, however many there are."""
    work = _Check(raw, schema, today or current_day())
    work.persons()
    work.dates_of_contact()
    for name, identifier in schema.identifiers.items():
        work.identifier(name, identifier)
    work.births()
    work.filled()
    work.aliases()
    for name, fact in schema.facts.items():
        work.fact(name, fact)
    for name, flag in schema.flags.items():
        work.flag(name, flag)
    work.read_by_tiers()
    failures = pl.concat(work.failures).unique().sort("row", "column", "rule")
    typed = pl.DataFrame([series.alias(name) for name, series in work.columns.items()])
    good = typed.join(failures, on="row", how="anti", maintain_order="left")
    if schema.consent:
        good = _without_doubtful_consent(good, typed.join(failures, on="row", how="semi"))
    return CheckedRows(good, failures, raw.height)


def _without_doubtful_consent(good: pl.DataFrame, failed: pl.DataFrame) -> pl.DataFrame:
    """Take the consent of persons of whom a failing row may be the latest contact.

    That row may be where a release was withdrawn, and be left out just for how that is written.
    """
    latest = pl.col("event_date").max().over("local_id").alias("latest")
    known = good.select("local_id", latest).unique()
    later = pl.col("event_date").is_null() | (pl.col("event_date") >= pl.col("latest"))
    doubtful = failed.join(known, on="local_id", how="inner").filter(later)["local_id"].unique()
    return good.with_columns(consent=pl.when(~pl.col("local_id").is_in(doubtful.to_list())).then("consent"))


@dataclass
class _Check:
    """The typed columns and the failures, as they come together."""

    raw: pl.DataFrame
    schema: SourceSchema
    today: dt.date
    columns: dict[str, pl.Series] = field(default_factory=dict)
    failures: list[pl.DataFrame] = field(default_factory=list)
    required: list[tuple[str, str]] = field(default_factory=list)

    def clean(self, column: str, missing: Sequence[str], *, explicit: Iterable[str] = ()) -> pl.Series:
        """Trim a column; placeholders are null, except entries to which the schema gives a meaning here."""
        text = self.raw[column].str.strip_chars()
        nothing = lowered([*self.schema.missing, *missing]) - lowered(explicit)
        return text.set(text.str.to_lowercase().is_in(["", *nothing]), None)

    def fail(self, where: pl.Series, column: str, rule: str, rows: pl.Series | None = None) -> None:
        """Note a failure of every row for which ``where`` holds."""
        numbers = (self.raw["row"] if rows is None else rows).filter(where.fill_null(False))
        self.failures.append(numbers.to_frame().with_columns(column=pl.lit(column), rule=pl.lit(rule)))

    def persons(self) -> None:
        self.columns["row"] = self.raw["row"]
        if self.schema.person_number is None:
            self.columns["local_id"] = "row-" + self.raw["row"].cast(pl.String)
            return
        self.columns["local_id"] = self.clean(self.schema.person_number, ())
        self.fail(self.columns["local_id"].is_null(), self.schema.person_number, "person-number")

    def dates_of_contact(self) -> None:
        event = self.schema.event_date
        text = self.clean(event.column, ())
        self.fail(text.is_null(), event.column, "required")
        dates = self.dates(self.raw["row"], text, event.column, event.formats)
        # Only the month of a contact is used: a contact of which only the month is known counts as its first day.
        month_only = pl.when(pl.col("digits").str.len_bytes() == 6).then(pl.col("digits") + "01").str.to_date("%Y%m%d")
        self.columns["event_date"] = dates.select(pl.coalesce("date", month_only)).to_series()
        self.fail(dates["digits"].is_not_null() & self.columns["event_date"].is_null(), event.column, "date-format")
        if self.schema.consent:
            consent = self.schema.consent
            text = self.clean(consent.column, ())
            until = self.dates(
                self.raw["row"], text, consent.column, consent.formats, latest=self.today + LONGEST_CONSENT
            )
            self.columns["consent"] = until["date"]

    def dates(
        self,
        rows: pl.Series,
        text: pl.Series,
        column: str,
        formats: Sequence[str],
        *,
        missing: Sequence[str] = (),
        latest: dt.date | None = None,
    ) -> pl.DataFrame:
        """Parse dates and note the failures; a placeholder that is a date counts however it is written."""
        entries = pl.Series([*self.schema.missing, *missing], dtype=pl.String)
        nothing = parse_dates(entries, [*formats, "%Y-%m-%d"], earliest=dt.date.min, latest=dt.date.max)["digits"]
        dates = parse_dates(
            text, formats, earliest=EARLIEST, latest=latest or self.today, missing=nothing.drop_nulls().to_list()
        )
        for rule in ("date-format", "date-range"):
            self.fail(dates["rule"] == rule, column, rule, rows)
        return dates

    def identifier(self, name: str, identifier: Identifier) -> None:
        codes = {code.strip().lower(): value for code, value in (identifier.codes or {}).items()}
        nothing = lowered([*self.schema.missing, *identifier.missing]) - codes.keys()
        values = split(self.raw[identifier.column], identifier.split, nothing)
        if identifier.codes is not None:
            code = pl.element().str.to_lowercase().replace_strict(codes, default=None, return_dtype=pl.String)
            known = values.list.eval(code).list.drop_nulls()
            self.fail(known.list.len() < values.list.len(), identifier.column, "code")
            values = known
        if IDENTIFIER_KINDS[name] == "date":
            values = self._births(values, identifier)
        self.columns[f"identifier.{name}"] = values
        if identifier.required:
            self.required.append((name, identifier.column))

    def _births(self, values: pl.Series, identifier: Identifier) -> pl.Series:
        """Turn birth dates as written into digits; the first date and year of a row are kept beside."""
        flat = pl.DataFrame([self.raw["row"], values.alias("value")]).explode("value", empty_as_null=True)
        dates = self.dates(
            flat["row"], flat["value"], identifier.column, identifier.formats, missing=identifier.missing
        )
        by_row = (
            flat.select("row")
            .hstack(dates)
            .group_by("row", maintain_order=True)
            .agg(pl.col("digits", "date", "year").drop_nulls())
        )
        self.columns["birth_date"] = by_row["date"].list.first()
        self.columns["birth_year"] = by_row["year"].list.first()
        return by_row["digits"]

    def births(self) -> None:
        """Fill in the year of birth where the date is missing; both columns are there for every source."""
        rows = len(self.raw)
        self.columns.setdefault("birth_date", pl.Series([None] * rows, dtype=pl.Date))
        known = self.columns.setdefault("birth_year", pl.Series([None] * rows, dtype=pl.Int32))
        if self.schema.birth_year is None:
            return
        column = self.schema.birth_year.column
        text = self.clean(column, self.schema.birth_year.missing)
        years = self.dates(self.raw["row"], text, column, ["%Y"], missing=self.schema.birth_year.missing)
        filled = pl.DataFrame({"known": known, "year": years["year"], "digits": years["digits"]})
        self.columns["birth_year"] = filled.select(pl.coalesce("known", "year")).to_series()
        year = filled.select(pl.concat_list("digits").list.drop_nulls()).to_series()
        dates = self.columns.get("identifier.birth_date", year)
        self.columns["identifier.birth_date"] = pl.select(
            pl.when(dates.list.len() > 0).then(dates).otherwise(year)
        ).to_series()

    def aliases(self) -> None:
        if self.schema.aliases:
            aliases = self.schema.aliases
            nothing = lowered(self.schema.missing)
            self.columns["aliases"] = split(self.raw[aliases.column], aliases.split, nothing)

    def filled(self) -> None:
        """Note rows without a required identifier. An entry that failed another rule is not missing."""
        for name, column in self.required:
            nothing = self.columns[f"identifier.{name}"].list.len() == 0
            failed = pl.concat(self.failures).filter(column=column)["row"]
            self.fail(nothing & ~self.raw["row"].is_in(failed.to_list()), column, "required")

    def fact(self, name: str, fact: Fact) -> None:
        if fact.column is None or fact.codes is None:
            self.columns[f"fact.{name}"] = pl.Series([fact.constant] * len(self.raw), dtype=pl.String)
            return
        self._coded(f"fact.{name}", fact.column, fact.codes, fact.missing, "code")

    def flag(self, name: str, flag: FlagFact) -> None:
        codes = dict.fromkeys(flag.no, "no") | dict.fromkeys(flag.yes, "yes")
        self._coded(f"flag.{name}", flag.column, codes, (), "flag")
        self.columns[f"flag.{name}"] = self.columns[f"flag.{name}"] == "yes"

    def _coded(self, target: str, column: str, codes: dict[str, str], missing: Sequence[str], rule: str) -> None:
        table = {code.strip().lower(): value for code, value in codes.items()}
        text = self.clean(column, missing, explicit=table)
        values = text.str.to_lowercase().replace_strict(table, default=None, return_dtype=pl.String)
        self.fail(text.is_not_null() & values.is_null(), column, rule)
        self.columns[target] = values

    def read_by_tiers(self) -> None:
        for rule in self.schema.tiers:
            for column in condition_columns(rule.when):
                text = self.raw[column].str.strip_chars()
                self.columns[f"raw.{column}"] = text.set(text == "", None)


def lowered(entries: Iterable[str]) -> set[str]:
    """Return entries as they are compared: trimmed, in lower case."""
    return {entry.strip().lower() for entry in entries}


def split(series: pl.Series, separator: str | None, nothing: set[str]) -> pl.Series:
    """Return each entry's values, trimmed, without placeholders; List(String), empty where there is none."""
    column = pl.col("value")
    parts = column.str.split(separator) if separator is not None else pl.concat_list(column)
    text = pl.element().str.strip_chars()
    keep = pl.element().is_not_null() & ~pl.element().str.to_lowercase().is_in(["", *nothing])
    values = series.to_frame("value").select(parts.list.eval(text).list.eval(pl.element().filter(keep))).to_series()
    return values.fill_null(pl.Series([[]], dtype=pl.List(pl.String)))
