"""What is in an extract, in counts, for the agency's own eyes: nothing here leaves the machine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.contract.vocabulary import IDENTIFIER_KINDS, TIERS
from linkage.steward.extract import CheckedRows, find_failures, read_extract
from linkage.steward.group import identifiers, mapped_identifiers
from linkage.steward.readers import SHOWN
from linkage.steward.tiers import add_tiers

__all__ = ["CheckReport", "Failure", "check", "describe", "not_agreed"]

MOST_VARIANTS = 8
"""Names of one person counted at most: as many as any spec can encode."""


@dataclass(frozen=True)
class Failure:
    """How many rows break one rule in one column, and the numbers of the first of them."""

    column: str
    rule: str
    count: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class CheckReport:
    """What an extract holds and what fails in it. Counts, column names and row numbers; no value from the data.

    Attributes
    ----------
    source
        Name of the source.
    rows, failed_rows
        Rows in the extract, and rows that break a rule.
    tolerance, accepted
        Share of rows that may fail, and whether the extract could be sent.
    failures
        By column and rule, most frequent first.
    persons, persons_counted
        Local persons among the good rows, and those with a contact that counts.
    contacts_not_counted
        Good rows under no tier.
    contacts_by_tier, persons_by_tier
        Contacts by tier; persons by their highest tier.
    completeness
        Identifier -> share of counted persons who have one, in standard form.
    several_names
        Number of names -> number of counted persons.
    first_month, last_month, contacts_by_year
        When the counted contacts were.
    not_agreed
        Identifiers and facts that the schema maps and the agreement does not allow; they stay here.
    """

    source: str
    rows: int
    failed_rows: int
    tolerance: float
    accepted: bool
    failures: tuple[Failure, ...]
    persons: int
    persons_counted: int
    contacts_not_counted: int
    contacts_by_tier: dict[str, int]
    persons_by_tier: dict[str, int]
    completeness: dict[str, float]
    several_names: dict[int, int]
    first_month: str | None
    last_month: str | None
    contacts_by_year: dict[str, int]
    not_agreed: tuple[str, ...]

    def to_json(self) -> str:
        """Return the report as JSON, indented, keys in the order of the attributes."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def check(
    path: str | Path, schema: SourceSchema, agreement: Agreement | None = None, *, today: dt.date | None = None
) -> CheckReport:
    """Read and check an extract and count what is in it.

    Too many failing rows are no error here: the report shows them and says ``accepted: false``.

    Parameters
    ----------
    path
        The extract.
    schema
        Its source schema.
    agreement
        Where given, only what it allows is counted (persons with a live release, identifiers agreed on).
    today
        Day that counts as today; no date of birth or contact may lie after it.

    Raises
    ------
    ExtractError
        The extract cannot be read at all.
    """
    checked = find_failures(read_extract(path, schema), schema, today=today)
    return describe(checked, add_tiers(checked.good, schema, agreement, today=today), schema, agreement)


def describe(
    checked: CheckedRows, tiered: pl.DataFrame, schema: SourceSchema, agreement: Agreement | None
) -> CheckReport:
    """Count what is in an extract that has been read, checked and tiered already; see :func:`check`."""
    counted = tiered.filter(pl.col("tier").is_not_null())
    fields = [*IDENTIFIER_KINDS, "aliases"] if agreement is None else agreement.identifiers
    persons = identifiers(tiered, schema, fields, MOST_VARIANTS)
    months = counted["event_date"].dt.strftime("%Y-%m")
    highest = counted.group_by("local_id").agg(
        pl.col("tier").replace_strict({tier: rank for rank, tier in enumerate(TIERS)}, return_dtype=pl.Int8).min()
    )
    by_tier = highest["tier"].value_counts()
    ranks = dict(zip(by_tier["tier"].to_list(), by_tier["count"].to_list(), strict=True))
    return CheckReport(
        source=schema.source,
        rows=checked.rows,
        failed_rows=checked.failed_rows,
        tolerance=schema.tolerance,
        accepted=checked.failed_rows <= schema.tolerance * checked.rows,
        failures=_failures(checked),
        persons=tiered["local_id"].n_unique(),
        persons_counted=highest.height,
        contacts_not_counted=tiered.height - counted.height,
        contacts_by_tier={tier: counted.filter(tier=tier).height for tier in TIERS},
        persons_by_tier={tier: ranks.get(rank, 0) for rank, tier in enumerate(TIERS)},
        completeness=_completeness(persons),
        several_names=_several_names(persons),
        first_month=str(months.min()) if counted.height else None,
        last_month=str(months.max()) if counted.height else None,
        contacts_by_year=_by_year(counted),
        not_agreed=not_agreed(schema, agreement),
    )


def _failures(checked: CheckedRows) -> tuple[Failure, ...]:
    groups = checked.failures.group_by("column", "rule").agg(count=pl.len(), rows=pl.col("row").sort().head(SHOWN))
    ordered = groups.sort(-pl.col("count").cast(pl.Int64), "column", "rule")
    return tuple(Failure(column, rule, count, tuple(rows)) for column, rule, count, rows in ordered.iter_rows())


def _completeness(persons: pl.DataFrame) -> dict[str, float]:
    main = persons.filter(variant=0)
    if main.is_empty():
        return {}
    shares = main.select((pl.col(main.columns[2:]).list.len() > 0).mean()).row(0, named=True)
    return {name: round(share, 4) for name, share in shares.items()}


def _several_names(persons: pl.DataFrame) -> dict[int, int]:
    names = persons.group_by("local_id").agg(names=pl.len()).group_by("names").agg(count=pl.len()).sort("names")
    return dict(zip(names["names"].to_list(), names["count"].to_list(), strict=True))


def _by_year(counted: pl.DataFrame) -> dict[str, int]:
    years = counted.group_by(year=pl.col("event_date").dt.strftime("%Y")).agg(count=pl.len()).sort("year")
    return dict(zip(years["year"].to_list(), years["count"].to_list(), strict=True))


def not_agreed(schema: SourceSchema, agreement: Agreement | None) -> tuple[str, ...]:
    """Return the identifiers and facts that the schema maps and the agreement does not allow: they stay here."""
    if agreement is None:
        return ()
    mapped = [*mapped_identifiers(schema), *(["aliases"] if schema.aliases else [])]
    left = [f"identifiers.{name}" for name in mapped if name not in agreement.identifiers]
    mapped = ["month", "age", "tier", *schema.facts, *schema.flags]
    return (*left, *(f"facts.{name}" for name in mapped if name not in agreement.facts))
