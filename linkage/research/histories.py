"""From facts under pseudonyms to persons, and from persons to capture histories.

Everything here happens inside the analysis enclave: the frames hold one row a contact or one row a person and are
never released. Only counts made from them by :mod:`linkage.research.tables`, and protected by
:mod:`linkage.research.disclosure`, leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import polars as pl

from linkage.contract.vocabulary import FACT_MARKS, FACT_SCHEMA, HISTORY_KINDS, TIERS
from linkage.errors import EstimateError

__all__ = [
    "RACE_TIES",
    "SEX_TIES",
    "UNKNOWN",
    "Scope",
    "capture_histories",
    "lists_of",
    "persons",
    "scope",
    "stack",
]

UNKNOWN = "unknown"
"""Label of a stratum or category whose value no source knows."""

SEX_TIES = ("transgender_female", "transgender_male", "other", "female", "male")
"""Who wins a tied vote on sex. A value that most forms cannot even hold was recorded on purpose."""

RACE_TIES = ("latino", "native", "asian", "multiracial", "black", "white", "other")
"""Who wins a tied vote on race: the categories that forms without an ethnicity question lose come first."""

MISSING_FLAGS = ("missing_ever", "missing_as_juvenile", "missing_from_care", "out_of_home_care")


class Scope(Protocol):
    """What a scope must say: the release policy has these attributes."""

    @property
    def first_month(self) -> str:
        """First month of the period, ``YYYY-MM``."""

    @property
    def last_month(self) -> str:
        """Last month of the period, ``YYYY-MM``."""

    @property
    def max_age(self) -> int:
        """Highest age at the contact, completed years."""


def stack(facts: Mapping[str, pl.DataFrame], person_map: pl.DataFrame) -> pl.DataFrame:
    """Put the facts of all sources under each other, with the person in the place of the pseudonym.

    Parameters
    ----------
    facts
        Source -> facts frame (``linkage.contract.vocabulary.FACT_SCHEMA``), one row a contact.
    person_map
        Columns ``source``, ``pseudonym``, ``person``, one row a record, decoys included: the hub cannot tell them.

    Returns
    -------
    polars.DataFrame
        One row a contact, decoys dropped, test persons among them: ``source``, ``person`` (UInt32) and the facts
        without pseudonym and marks, sorted by person, month, source. A person made of decoys only is gone; numbers are
        not closed up.

    Raises
    ------
    EstimateError
        ``map-mismatch`` where a record has facts and no person, or a person and no facts, or two persons; the
        message has counts only. ``bad-facts`` where a column is absent or of another type.
    """
    if not facts:
        raise EstimateError("there are no facts to count", reason="bad-facts", hint="give the facts of each source")
    frames = [_checked(source, frame) for source, frame in sorted(facts.items())]
    events = pl.concat(frames)
    records = events.group_by("source", "pseudonym").agg(pl.col("decoy").any())
    mapping = person_map.select(
        pl.col("source").cast(pl.String), pl.col("pseudonym").cast(pl.String), pl.col("person").cast(pl.UInt32)
    )
    on = ["source", "pseudonym"]
    faults = {
        "records with facts and no person": records.filter(~pl.col("decoy")).join(mapping, on=on, how="anti").height,
        "records with a person and no facts": mapping.join(records, on=on, how="anti").height,
        "records with more than one row in the person map": mapping.height - mapping.select(on).n_unique(),
        "records that are a decoy in one row and none in another": events.group_by(on)
        .agg(pl.col("decoy").n_unique() > 1)
        .get_column("decoy")
        .sum(),
    }
    problems = [f"{text}: {count}" for text, count in faults.items() if count]
    if problems:
        raise EstimateError(
            "the facts and the person map are not of the same records",
            reason="map-mismatch",
            hint="take the person map and the facts of one and the same run of the hub",
            problems=problems,
        )
    return (
        events.filter(~pl.col("decoy"))
        .join(mapping, on=on, how="inner")
        .drop(FACT_MARKS)
        .select("source", "person", pl.exclude("source", "person"))
        .sort("person", "month", "source", nulls_last=True, maintain_order=True)
    )


def _checked(source: str, frame: pl.DataFrame) -> pl.DataFrame:
    problems = [
        f"source {source}: column '{name}' is absent or not {kind}"
        for name, kind in FACT_SCHEMA.items()
        if frame.schema.get(name) != kind
    ]
    if problems:
        raise EstimateError("the facts do not fit their schema", reason="bad-facts", problems=problems)
    if frame.get_column("decoy").null_count() or frame.get_column("pseudonym").null_count():
        raise EstimateError(f"source {source}: a row without pseudonym or decoy flag", reason="bad-facts")
    if (frame.get_column("test_person").is_not_null() & ~frame.get_column("decoy")).any():
        raise EstimateError(f"source {source}: a test person that is not marked as a decoy", reason="bad-facts")
    return frame.select(pl.lit(source).alias("source"), *FACT_SCHEMA)


def scope(events: pl.DataFrame, policy: Scope) -> pl.DataFrame:
    """Keep the contacts of the period whose age is not known to be above the limit.

    A contact without a month cannot be placed in a period and is left out. A contact without an age stays: to drop
    it would take people off the lists of just those sources that often know no birth date.
    """
    return events.filter(
        pl.col("month").is_between(pl.lit(policy.first_month), pl.lit(policy.last_month)),
        pl.col("age").is_null() | (pl.col("age") <= policy.max_age),
    )


def persons(events: pl.DataFrame, lists: Sequence[str] | None = None) -> pl.DataFrame:
    """Make one row of each person.

    Parameters
    ----------
    events
        As :func:`stack` and :func:`scope` return them.
    lists
        Sources to have a column; default: those in the events. A source of which nobody is in scope must be named
        here to stay in the tables.

    Returns
    -------
    polars.DataFrame
        Sorted by ``person``, with

        - ``on_<source>`` Boolean, ``years_<source>`` list of years on that list, ``systems`` number of lists;
        - ``tier``: the highest over all contacts, confirmed over believed;
        - ``sex``, ``race``: each source casts one vote, its own most frequent value; most votes win, ties go by
          ``SEX_TIES`` and ``RACE_TIES``, inside a source too; ``sex_disagrees``, ``race_disagrees`` tell where
          two sources differ;
        - ``age_first`` (Int16): age at the first contact whose age is known;
        - ``first_year``, ``last_year``, ``years`` (list), ``contacts``, ``months`` (distinct), ``recurrence``
          (``once``, ``within_one_year``: several months of one year, ``several_years``);
        - ``history_<kind>``: different roles combine to ``multiple``, any role outweighs ``none``, null only where
          no source knows;
        - ``missing_*``, ``out_of_home_care``: true if any source says so. Missing as a juvenile or from care is
          missing, whatever the source put in ``missing_ever``.
    """
    sources = tuple(lists) if lists is not None else tuple(sorted(events.get_column("source").unique().to_list()))
    year = pl.col("month").str.slice(0, 4).cast(pl.Int16)
    rows = events.with_columns(year.alias("year")).sort("person", "month", nulls_last=True, maintain_order=True)
    result = rows.group_by("person", maintain_order=True).agg(
        *[(pl.col("source") == name).any().alias(f"on_{name}") for name in sources],
        *[
            pl.col("year").filter(pl.col("source") == name).drop_nulls().unique().sort().alias(f"years_{name}")
            for name in sources
        ],
        *[(pl.col("tier") == tier).any().alias(f"_{tier}") for tier in TIERS],
        pl.col("age").drop_nulls().first().alias("age_first"),
        pl.col("year").min().alias("first_year"),
        pl.col("year").max().alias("last_year"),
        pl.col("year").drop_nulls().unique().sort().alias("years"),
        pl.len().cast(pl.UInt32).alias("contacts"),
        pl.col("month").drop_nulls().n_unique().cast(pl.UInt32).alias("months"),
        *[_roles(f"history_{kind}") for kind in HISTORY_KINDS],
        *[pl.col(flag).max() for flag in MISSING_FLAGS],
    )
    result = result.with_columns(
        pl.sum_horizontal([pl.col(f"on_{name}").cast(pl.UInt8) for name in sources]).cast(pl.UInt8).alias("systems"),
        pl.coalesce([pl.when(pl.col(f"_{tier}")).then(pl.lit(tier)) for tier in TIERS]).alias("tier"),
        pl.when(pl.col("missing_as_juvenile") | pl.col("missing_from_care"))
        .then(pl.lit(True))
        .otherwise(pl.col("missing_ever"))
        .alias("missing_ever"),
        pl.when(pl.col("years").list.len() > 1)
        .then(pl.lit("several_years"))
        .when(pl.col("months") > 1)
        .then(pl.lit("within_one_year"))
        .otherwise(pl.lit("once"))
        .alias("recurrence"),
    ).drop([f"_{tier}" for tier in TIERS])
    for column, ties in (("sex", SEX_TIES), ("race", RACE_TIES)):
        result = result.join(_vote(events, column, ties), on="person", how="left", maintain_order="left")
    return result


def _roles(column: str) -> pl.Expr:
    """Combine the roles of several contacts and sources into one."""
    known = pl.col(column).drop_nulls()
    roles = known.filter(known != "none").unique()
    return (
        pl.when(known.len() == 0)
        .then(None)
        .when(roles.len() == 0)
        .then(pl.lit("none"))
        .when(roles.len() == 1)
        .then(roles.first())
        .otherwise(pl.lit("multiple"))
        .alias(column)
    )


def _vote(events: pl.DataFrame, column: str, ties: Sequence[str]) -> pl.DataFrame:
    """One vote a source; columns ``person``, ``<column>``, ``<column>_disagrees``; persons nobody knows are absent."""
    rank = pl.col(column).replace_strict(list(ties), list(range(len(ties))), return_dtype=pl.Int8)
    ballots = (
        events.filter(pl.col(column).is_not_null())
        .group_by("person", "source", column)
        .len("votes")
        .with_columns(rank.alias("rank"))
        .sort("person", "source", "votes", "rank", descending=[False, False, True, False])
        .unique(["person", "source"], keep="first", maintain_order=True)
    )
    disagrees = ballots.group_by("person").agg((pl.col(column).n_unique() > 1).alias(f"{column}_disagrees"))
    return (
        ballots.group_by("person", column, "rank")
        .len("votes")
        .sort("person", "votes", "rank", descending=[False, True, False])
        .unique("person", keep="first", maintain_order=True)
        .join(disagrees, on="person", how="left")
        .select("person", column, f"{column}_disagrees")
    )


def lists_of(people: pl.DataFrame) -> tuple[str, ...]:
    """Return the lists that a frame of persons has columns for, in its order."""
    return tuple(name.removeprefix("on_") for name in people.columns if name.startswith("on_"))


def capture_histories(people: pl.DataFrame, lists: Sequence[str], by: Sequence[str] = ()) -> pl.DataFrame:
    """Count the persons of each capture history, by stratum.

    Parameters
    ----------
    people
        As :func:`persons` returns it.
    lists
        The sources taken as capture occasions; persons on none of them are not counted.
    by
        Strata: columns of ``people``, or ``"year"``, which takes a person once in each year in which a list saw
        them, with just the lists that saw them in that year.

    Returns
    -------
    polars.DataFrame
        The strata (String), one 0/1 column (UInt8) a list, ``count`` (Int64); histories that nobody has are
        absent. Sorted. Confidential: most counts are small.

    Raises
    ------
    EstimateError
        Where a list or stratum has no column.
    """
    by_year = "year" in by
    absent = [name for name in lists if f"on_{name}" not in people.columns]
    absent += [name for name in by if name != "year" and name not in people.columns]
    if absent or not lists or len({*lists, *by, "count"}) != len(lists) + len(by) + 1:
        raise EstimateError(
            "the lists and strata are not columns of the persons, or are named twice",
            reason="bad-histories",
            hint=f"lists at hand: {', '.join(lists_of(people))}",
            problems=[f"not there: {name}" for name in absent],
        )
    if by_year:
        every = pl.concat_list([pl.col(f"years_{name}") for name in lists]).list.unique()
        people = people.with_columns(every.alias("year")).explode("year", empty_as_null=True)
        seen = [pl.col(f"years_{name}").list.contains(pl.col("year")).alias(name) for name in lists]
    else:
        seen = [pl.col(f"on_{name}").alias(name) for name in lists]
    strata = [pl.col(name).cast(pl.String).fill_null(UNKNOWN).alias(name) for name in by]
    return (
        people.select(*strata, *[flag.fill_null(False).cast(pl.UInt8) for flag in seen])
        .filter(pl.any_horizontal([pl.col(name) == 1 for name in lists]))
        .group_by(*by, *lists)
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .sort(*by, *lists)
    )
