"""Group an extract's rows into local persons: one record a person, and a variant for each name they go by."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import polars as pl
from polars.dataframe.group_by import GroupBy

from linkage.contract.source import SourceSchema
from linkage.contract.vocabulary import IDENTIFIER_KINDS
from linkage.steward import names, rules
from linkage.steward.standardise import standardise_identifier

__all__ = ["KEPT", "identifiers", "mapped_identifiers", "single_values"]

KEPT = {"phone": 3, "street": 2, "postal_code": 2}
"""Identifiers of which a record holds several values, and how many: the most recent ones."""

_NAMES = ("given_name", "middle_name", "family_name")


def mapped_identifiers(schema: SourceSchema) -> list[str]:
    """Return the identifiers that an extract of this schema can fill, in the order of the vocabulary.

    A birth date also from the year of birth, a suffix also from the end of the family or given name.
    """
    found = set(schema.identifiers)
    if schema.birth_year:
        found.add("birth_date")
    if found & {"family_name", "given_name"}:
        found.add("suffix")
    if schema.aliases:
        found.add("given_name")
    return [name for name in IDENTIFIER_KINDS if name in found]


def identifiers(
    tiered: pl.DataFrame, schema: SourceSchema, agreement_fields: Iterable[str], variants: int
) -> pl.DataFrame:
    """Return the standardised identifiers of everybody with a contact that counts.

    Parameters
    ----------
    tiered
        Checked rows with their ``tier`` (:func:`linkage.steward.tiers.add_tiers`). All rows of a person speak for
        their identifiers, also those of contacts that do not count; a person without one that counts is left out.
    schema
        The source's schema.
    agreement_fields
        Identifiers that the agreement allows; no other becomes a column. Without ``aliases`` the column of aliases is
        not used.
    variants
        Greatest number of names of one person, the main name included.

    Returns
    -------
    pl.DataFrame
        ``local_id`` String, ``variant`` UInt8, and a List(String) column for each identifier that is both mapped and
        agreed; an empty list is missing. Sorted by ``local_id`` and ``variant``.

    Notes
    -----
    Of identifiers with one value the most frequent among the person's rows is kept, of equally frequent ones the most
    recent; a whole birth date goes before a part of one. Variant 0 is the most frequent pair of given and family name;
    then come the person's other pairs, also mere misspellings, by frequency, then the aliases. A missing half of a pair
    is filled with the person's most frequent one, and so is a missing middle name. An alias of one word is a given
    name and keeps the family name.
    """
    agreed = set(agreement_fields)
    columns = [name for name in mapped_identifiers(schema) if name in agreed]
    counted = tiered.filter(pl.col("tier").is_not_null()).select("local_id").unique()
    rows = tiered.join(counted, on="local_id", how="semi")
    standard = _standard(rows, schema, columns, "aliases" in agreed)
    record = counted.sort("local_id")
    for name in columns:
        if name not in _NAMES:
            if name in KEPT:
                values = _several(standard[name], KEPT[name])
            else:
                values = _listed(standard[name], whole_first=name == "birth_date")
            record = record.join(values.rename({"value": name}), on="local_id", how="left", maintain_order="left")
    spoken = [name for name in _NAMES if name in columns]
    named = _named(standard, spoken, variants) if spoken else pl.DataFrame(schema={"local_id": pl.String})
    result = record.join(named, on="local_id", how="left", maintain_order="left")
    if "variant" not in result.columns:
        result = result.with_columns(variant=None)
    nothing = pl.lit([], dtype=pl.List(pl.String))
    result = result.with_columns(
        pl.col("variant").fill_null(0).cast(pl.UInt8), *(pl.col(name).fill_null(nothing) for name in columns)
    )
    return result.select("local_id", "variant", *columns).sort("local_id", "variant")


def single_values(long: pl.DataFrame, *, whole_first: bool = False) -> pl.DataFrame:
    """Choose one value a person: the most frequent, of equally frequent ones the most recent, then the first by text.

    Parameters
    ----------
    long
        ``local_id``, ``event_date`` and ``value``, a row for every mention.
    whole_first
        The values are digits of dates that may be partial: the longer goes before the more frequent.

    Returns
    -------
    pl.DataFrame
        ``local_id`` and ``value``, a row a person with any value.
    """
    keys = ["mentions", "latest"]
    if whole_first:
        keys = ["length", *keys]
    return _mentioned(long, keys).agg(pl.col("value").first())


def _mentioned(long: pl.DataFrame, keys: list[str]) -> GroupBy:
    """Return each person's distinct values, grouped by person, ordered by the keys, greatest first, then by text."""
    distinct = long.drop_nulls("value").group_by("local_id", "value")
    counted = distinct.agg(mentions=pl.len(), latest=pl.col("event_date").max())
    counted = counted.with_columns(length=pl.col("value").str.len_bytes())
    descending = [False, *(True for _ in keys), False]
    return counted.sort("local_id", *keys, "value", descending=descending).group_by("local_id", maintain_order=True)


def _listed(long: pl.DataFrame, *, whole_first: bool) -> pl.DataFrame:
    return single_values(long, whole_first=whole_first).with_columns(pl.concat_list("value"))


def _several(long: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Return the most recent values of each person, of equally recent ones the most frequent."""
    return _mentioned(long, ["latest", "mentions"]).agg(pl.col("value").head(limit))


def _long(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return ``row``, ``local_id``, ``event_date`` and ``value``: a line for every value of a list column."""
    picked = rows.select("row", "local_id", "event_date", value=pl.col(column))
    return picked.explode("value", empty_as_null=True).drop_nulls("value")


def _standard(
    rows: pl.DataFrame, schema: SourceSchema, columns: Collection[str], with_aliases: bool
) -> dict[str, pl.DataFrame]:
    """Standardise the values of each identifier, one line a mention; ``aliases`` as pairs of names."""
    result = {}
    for name in columns:
        if f"identifier.{name}" not in rows.columns:
            result[name] = pl.DataFrame(schema=_LONG)
            continue
        long = _long(rows, f"identifier.{name}")
        result[name] = long.with_columns(standardise_identifier(name, long["value"]).alias("value")).drop_nulls("value")
    if "suffix" in result:
        result["suffix"] = pl.concat([result["suffix"], *_suffixes_in_names(rows)])
    if {"given_name", "family_name"} <= result.keys():
        _drop_placeholder_pairs(result)
    if with_aliases and schema.aliases and "aliases" in rows.columns:
        result["aliases"] = _alias_names(_long(rows, "aliases"), schema)
    return result


_LONG = {"row": pl.Int64, "local_id": pl.String, "event_date": pl.Date, "value": pl.String}


def _suffixes_in_names(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return suffixes that stand at the end of family or given names."""
    found = []
    for name in ("family_name", "given_name"):
        if f"identifier.{name}" in rows.columns:
            long = _long(rows, f"identifier.{name}")
            distinct = long["value"].unique()
            suffixes = pl.Series([names.name_suffix(value) for value in distinct.to_list()], dtype=pl.String)
            values = long["value"].replace_strict(distinct, suffixes, return_dtype=pl.String)
            found.append(long.with_columns(values.alias("value")).drop_nulls("value"))
    return found


def _drop_placeholder_pairs(standard: dict[str, pl.DataFrame]) -> None:
    """Drop both names of rows that say Jane Doe. A Doe with another given name is a person called so."""
    given, family = standard["given_name"], standard["family_name"]
    jane = given.filter(pl.col("value").is_in(list(rules.words("doe_given"))))
    doe = family.filter(pl.col("value").is_in(list(rules.words("doe_family"))))
    nobody = jane.join(doe, on="row", how="semi").select("row")
    # A Doe without any given name is nobody either: the given name was a placeholder.
    nobody = pl.concat([nobody, doe.join(given, on="row", how="anti").select("row")])
    for name in ("given_name", "family_name"):
        standard[name] = standard[name].join(nobody, on="row", how="anti")


def _alias_names(long: pl.DataFrame, schema: SourceSchema) -> pl.DataFrame:
    """Cut aliases into names: ``local_id``, ``event_date``, given, middle and family name."""
    assert schema.aliases is not None  # noqa: S101 - the caller asked
    distinct = long["value"].unique().to_list()
    parsed = [names.parse_whole_name(value, schema.aliases.order) for value in distinct]
    table = pl.DataFrame(
        {
            "value": distinct,
            "given_name": [entry.given for entry in parsed],
            "middle_name": [entry.middle for entry in parsed],
            "family_name": [entry.family for entry in parsed],
        },
        schema={"value": pl.String, **dict.fromkeys(_NAMES, pl.String)},
    )
    return long.join(table, on="value", how="left", maintain_order="left").drop("row", "value")


def _named(standard: dict[str, pl.DataFrame], spoken: list[str], variants: int) -> pl.DataFrame:
    """Return each person's names: ``local_id``, ``variant`` and a List(String) column a name, best first."""
    usual = {name: single_values(standard[name]).rename({"value": f"usual_{name}"}) for name in spoken}
    # A column that holds several names in one row gives its first; further names belong into the aliases.
    first = pl.concat([standard[name].select("row", "local_id", "event_date") for name in spoken]).unique()
    for name in spoken:
        one = standard[name].group_by("row", maintain_order=True).agg(pl.col("value").first().alias(name))
        first = first.join(one, on="row", how="left")
    mentions = [first.select("local_id", "event_date", *spoken).with_columns(alias=False)]
    if "aliases" in standard:
        others = standard["aliases"].select("local_id", "event_date", *spoken).with_columns(alias=True)
        mentions.append(others.filter(pl.any_horizontal(pl.col(spoken).is_not_null())))
    every = pl.concat(mentions)
    for name in spoken:
        every = every.join(usual[name], on="local_id", how="left")
    pair = [name for name in spoken if name != "middle_name"] or spoken
    every = every.with_columns(pl.coalesce(name, f"usual_{name}").alias(name) for name in pair)
    ranked = (
        every.group_by("local_id", *pair)
        .agg(
            pl.col("alias").min(),
            pl.col("event_date").max().alias("latest"),
            pl.col("alias").not_().sum().cast(pl.Int64).alias("mentions"),
            pl.len().cast(pl.Int64).alias("any_mentions"),
            *([_usual_middle()] if "middle_name" in spoken and "middle_name" not in pair else []),
        )
        .sort(
            "local_id",
            "alias",
            "mentions",
            "any_mentions",
            "latest",
            *pair,
            descending=[False, False, True, True, True, *(False for _ in pair)],
        )
    )
    ranked = ranked.with_columns(variant=pl.int_range(pl.len()).over("local_id")).filter(pl.col("variant") < variants)
    lists = [pl.concat_list(name).list.drop_nulls().alias(name) for name in spoken]
    return ranked.select("local_id", "variant", *lists)


def _usual_middle() -> pl.Expr:
    """Return the middle name mentioned most often with a pair of names, else the person's usual one."""
    middle = pl.col("middle_name").drop_nulls()
    return pl.coalesce(middle.mode().sort().first(), pl.col("usual_middle_name").first()).alias("middle_name")
