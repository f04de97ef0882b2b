"""Tiers: which contacts count, and as what, by the rules of the source schema.

The Wisconsin indicator and response guide, as the 2013-2016 report applies it, is written into the schemas; here are
only the words those rules are made of. Every comparison is without case; codes also without dots.

A rule with ``among`` lists what means yes; any other entry, also a misspelt one, is silently no. Only a column that is
read as a fact or a flag too has its entries checked (``code``, ``flag``); others must be looked through before a schema
is agreed on.
"""

from __future__ import annotations

import datetime as dt
import re

import polars as pl

from linkage.contract.agreement import Agreement
from linkage.contract.source import (
    AgeBelow,
    AllOf,
    AnyOf,
    Condition,
    CountOf,
    IsAmong,
    IsFilled,
    SourceSchema,
    StartsWith,
)
from linkage.errors import NotPermittedError
from linkage.exchange.site import current_day
from linkage.steward.dates import completed_years
from linkage.steward.extract import lowered
from linkage.steward.group import single_values

__all__ = ["add_tiers", "tier_expression"]


def add_tiers(
    good: pl.DataFrame, schema: SourceSchema, agreement: Agreement | None, *, today: dt.date | None = None
) -> pl.DataFrame:
    """Add ``age`` (Int16, completed years at the contact) and ``tier`` (null: the contact is not counted, not sent).

    Parameters
    ----------
    good
        Checked rows.
    agreement
        In mode ``consent`` the contacts of a person without a live written release get no tier. None only where
        nothing leaves the agency.
    today
        Day on which a release must be alive.

    Notes
    -----
    The age is from the person's birth date as it is encoded (the most frequent of all rows), so that one person does
    not have two. With only the year of birth, it is event year minus birth year, the greatest it can be.

    Raises
    ------
    NotPermittedError
        Mode ``consent`` and a schema that does not say where consent is written.
    """
    tiered = _with_age(good).with_columns(tier=tier_expression(schema))
    if agreement is None or agreement.mode != "consent":
        return tiered
    if schema.consent is None:
        raise NotPermittedError(
            f"source {schema.source} may send only persons with a written release, and its schema names no such column",
            reason="no-consent-column",
            hint="add 'consent' with column and formats to the source schema",
        )
    alive = _live_releases(tiered, today or current_day())
    return tiered.join(alive, on="local_id", how="left", maintain_order="left").with_columns(
        tier=pl.when("alive").then("tier")
    )


def _live_releases(good: pl.DataFrame, today: dt.date) -> pl.DataFrame:
    """Return each person and whether all rows of the latest contact hold a release that is alive.

    The latest contact counts, so that a renewed release is alive and a withdrawn or unmentioned one is not.
    """
    latest = good.filter(pl.col("event_date") == pl.col("event_date").max().over("local_id"))
    return latest.group_by("local_id").agg(alive=(pl.col("consent") >= today).fill_null(False).all())


def _with_age(good: pl.DataFrame) -> pl.DataFrame:
    if "identifier.birth_date" not in good.columns:
        return good.with_columns(age=pl.lit(None, dtype=pl.Int16))
    long = good.select("local_id", "event_date", value="identifier.birth_date").explode("value", empty_as_null=True)
    births = single_values(long, whole_first=True)
    digits = pl.col("value")
    births = births.select(
        "local_id",
        birth=pl.when(digits.str.len_bytes() == 8).then(digits).str.to_date("%Y%m%d"),
        year=digits.str.slice(0, 4).cast(pl.Int32),
    )
    joined = good.join(births, on="local_id", how="left", maintain_order="left")
    age = completed_years(pl.col("birth"), pl.col("year"), pl.col("event_date"))
    return joined.with_columns(age=age).drop("birth", "year")


def tier_expression(schema: SourceSchema) -> pl.Expr:
    """Return the tier of a row as an expression over the checked columns and ``age``: the first rule that holds."""
    branches = [
        pl.when(_holds(rule.when, schema)).then(pl.lit(rule.tier, dtype=pl.String)).otherwise(None)
        for rule in schema.tiers
    ]
    return pl.coalesce(branches)


def _holds(condition: Condition, schema: SourceSchema) -> pl.Expr:
    """Return whether a condition holds; never null, for what is not known does not hold."""
    match condition:
        case AllOf(all=parts):
            return pl.all_horizontal([_holds(part, schema) for part in parts])
        case AnyOf(any=parts):
            return pl.any_horizontal([_holds(part, schema) for part in parts])
        case CountOf(columns=columns, among=among, at_least=least):
            return pl.sum_horizontal([_among(column, among).cast(pl.Int32) for column in columns]) >= least
        case IsAmong(column=column, among=among):
            return _among(column, among)
        case IsFilled(column=column, filled=filled):
            nothing = list(_placeholders(column, schema))
            entry = pl.col(f"raw.{column}")
            there = entry.is_not_null() & ~entry.str.to_lowercase().is_in(nothing)
            return there.fill_null(False) == filled
        case StartsWith(column=column, starts_with=prefixes, split=split):
            return _starts(column, prefixes, split)
        case AgeBelow(age_below=limit):
            return (pl.col("age") < limit).fill_null(False)


def _among(column: str, entries: tuple[str, ...]) -> pl.Expr:
    return pl.col(f"raw.{column}").str.to_lowercase().is_in(list(lowered(entries))).fill_null(False)


def _starts(column: str, prefixes: tuple[str, ...], split: str | None) -> pl.Expr:
    start = "|".join(re.escape(prefix.replace(".", "").strip().upper()) for prefix in prefixes)
    before = rf"(?:^|{re.escape(split.upper())})" if split else "^"
    codes = pl.col(f"raw.{column}").str.to_uppercase()
    codes = codes.str.replace_all(".", "", literal=True) if split != "." else codes
    return codes.str.contains(rf"{before}\s*(?:{start})").fill_null(False)


def _placeholders(column: str, schema: SourceSchema) -> set[str]:
    """Return what means "nothing" in a column: everywhere, or for any field read from it."""
    entries = [*schema.missing]
    for field in (*schema.identifiers.values(), *schema.facts.values(), schema.birth_year):
        if field is not None and field.column == column:
            entries += field.missing
    return lowered(entries)
