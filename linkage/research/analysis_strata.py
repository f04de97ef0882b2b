"""The analyst's view by stratum and by year: a verdict for each, what is not identified by name, sums and differences.

Each stratum and each year gets the verdict that everybody gets: a range over all families, or a refusal. Sums over
strata and differences between years are of draws, and so of one family alone, which is named wherever its
numbers stand (:mod:`linkage.research.analysis_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from linkage.contract.vocabulary import RACES, SEXES
from linkage.research.analysis_parts import Dimension, RateRange, Unit, Years, compare_years, rate_range, summing_family
from linkage.research.draws import draw_histories, spread, take
from linkage.research.estimate import (
    HistoryTable,
    Report,
    Result,
    estimate,
    over_strata,
    over_strata_draws,
    prevalence_of_strata,
    series,
    series_over_draws,
)
from linkage.research.estimate.families import families
from linkage.research.estimate.hierarchical import HierarchicalStrata
from linkage.research.estimate.pooled import draw_tables
from linkage.research.estimate.prevalence import YEAR
from linkage.research.estimate.table import Histories, parse_histories
from linkage.research.histories import UNKNOWN, capture_histories
from linkage.research.tables import age_group

__all__ = ["DIMENSIONS", "Counted", "Effort", "by_stratum", "by_year", "values_of_strata"]

DIMENSIONS = ("sex", "race", "age")
"""Strata that are looked at: as the sources vote on a person, and the age at the first contact in groups."""

_LEAST_STRATA = 3  # that can lend each other strength
_MANY_LISTS, _FEW_DRAWS = 6, 10  # from so many lists on a family takes seconds a table: draws of strata and years


@dataclass(frozen=True)
class Effort:
    """How much time is given to what takes time.

    Parameters
    ----------
    resamples
        Bootstrap tables of the stepwise estimate.
    draws
        Partition draws that are used at most; without it 100, and 25 from five lists on, of which strata and years
        use 10 from six lists on.
    chains
        Whether to run latent classes and Bayesian thresholding.
    pooling
        How strata lend each other strength where some are not identified; ``None`` for not at all.
    """

    resamples: int = 1000
    draws: int | None = None
    chains: bool = True
    pooling: HierarchicalStrata | None = field(default_factory=HierarchicalStrata)


@dataclass(frozen=True, eq=False)
class Counted:
    """Persons in scope, on the map and in every draw that is used: what capture histories are counted from.

    Attributes
    ----------
    people
        One row a person of the map.
    events, person_map, draws
        As :func:`linkage.research.draws.draw_histories` takes them; ``number`` draws, none where it is 0.
    lists, referrals
        The lists, and those that refer people to each other.
    effective, partitions
        What the draws are worth, and their name.
    """

    people: pl.DataFrame
    events: pl.DataFrame
    person_map: pl.DataFrame
    draws: pl.DataFrame
    number: int
    lists: tuple[str, ...]
    referrals: tuple[tuple[str, str], ...]
    effective: float
    partitions: str

    def on_map(self, by: Sequence[str] = ()) -> pl.DataFrame:
        """Count on the map."""
        people = self.people.with_columns(age_group()) if "age" in by else self.people
        return capture_histories(people, self.lists, by)

    def in_draws(self, by: Sequence[str] = ()) -> pl.DataFrame:
        """Count in every draw."""
        columns = ["age_first" if name == "age" else name for name in by]
        found = draw_histories(self.events, self.person_map, self.draws, self.lists, columns)
        if "age" not in by:
            return found
        known = found.with_columns(pl.col("age_first").cast(pl.Int16, strict=False)).with_columns(age_group())
        keys = ["draw", *by, *self.lists]
        return known.with_columns(pl.col("age").fill_null(UNKNOWN)).group_by(keys).agg(pl.col("count").sum()).sort(keys)

    def having(self, denominators: pl.DataFrame | None) -> tuple[Mapping[str, str], ...]:
        """Tell what persons have in the columns that a file of populations is by: each needs a population there."""
        columns = [] if denominators is None else [name for name in denominators.columns if name in DIMENSIONS]
        return tuple(self.on_map(columns).select(columns).unique(maintain_order=True).to_dicts()) if columns else ()

    def for_parts(self, effort: Effort) -> Counted:
        """Give the same with the draws that strata and years use: fewer where there are many lists."""
        if effort.draws is not None or len(self.lists) < _MANY_LISTS or self.number <= _FEW_DRAWS:
            return self
        places = spread(self.number, len(self.lists), most=_FEW_DRAWS)
        name = f"{self.partitions}:{len(places)}"
        return replace(self, draws=take(self.draws, places), number=len(places), partitions=name)

    def fit(self, family: str, effort: Effort) -> Callable[[HistoryTable], Result]:
        """Give a family's estimator as it is for everybody: with known referrals, its resamples shared over draws."""
        known: dict[str, Result] = {}

        def one(table: HistoryTable) -> Result:
            if table.digest not in known:
                here = tuple(pair for pair in self.referrals if set(pair) <= set(table.lists))
                known[table.digest] = families(here, effort.resamples, None, draws=self.number)[family](table)
            return known[table.digest]

        return one


def values_of_strata() -> dict[str, tuple[str, ...]]:
    """Give the values of each of :data:`DIMENSIONS`: what a file of populations may name."""
    ages = pl.DataFrame({"age_first": range(120)}).select(age_group()).to_series().unique(maintain_order=True)
    return {"sex": SEXES, "race": RACES, "age": tuple(ages.to_list())}


def _units(
    counted: Counted, by: str, effort: Effort, rate: Callable[[str, Report], RateRange | None]
) -> tuple[tuple[Unit, ...], Histories, dict[tuple[str, ...], tuple[HistoryTable, ...]]]:
    """Give a verdict on each stratum, over the draws where there are any; and the tables that it is from."""
    found = parse_histories(counted.on_map([by]), lists=counted.lists)
    drawn = draw_tables(counted.in_draws([by]), counted.lists, [by], number=counted.number) if counted.number else {}
    units = []
    for stratum in sorted(found.strata, key=lambda stratum: _place(str(stratum.values[by]))):
        value = str(stratum.values[by])
        draws = drawn.get((value,), ())
        report = estimate(
            stratum.table,
            referrals=counted.referrals,
            resamples=effort.resamples,
            draws=draws,
            effective=counted.effective,
            partitions=counted.partitions,
        )
        units.append(Unit(value, report, rate(value, report), on_map_alone=bool(counted.number) and not draws))
    return tuple(units), found, drawn


def _place(value: str) -> tuple[bool, str]:
    """Put strata in the order of the alphabet, the youngest before the others."""
    return not value.startswith("under "), value


def by_stratum(
    counted: Counted, by: str, effort: Effort, denominators: pl.DataFrame | None, over: Sequence[int], whole: Report
) -> Dimension:
    """Estimate by one property.

    Parameters
    ----------
    by
        One of :data:`DIMENSIONS`.
    denominators
        Populations (:func:`linkage.research.estimate.read_denominators`).
    over
        The years of the scope, over which populations are averaged.
    whole
        What is said of everybody.
    """
    people = counted.having(denominators)
    units, found, drawn = _units(
        counted, by, effort, lambda value, report: rate_range(report, denominators, over, {by: value}, people)
    )
    family = summing_family(whole, units)
    kept = {unit.value for unit in units if unit.identified and not unit.on_map_alone}
    summed = None
    if len(kept) > 1:
        fit = counted.fit(family, effort)
        if counted.number:
            tables = {key: draws for key, draws in drawn.items() if key[0] in kept}
            worth, name = counted.effective, counted.partitions
            summed = over_strata_draws(tables, [by], fit, effective=worth, partitions=name)
        else:
            rows = counted.on_map([by]).filter(pl.col(by).is_in(kept))
            summed = over_strata(parse_histories(rows, lists=counted.lists), fit)
    shared = None
    if any(not unit.identified for unit in units) and len(units) >= _LEAST_STRATA and effort.pooling is not None:
        shared = effort.pooling.fit(found)
    if summed is None or denominators is None:
        return Dimension(by, units, family, summed, shared)
    rates = prevalence_of_strata(summed, denominators, over, people=people)
    return Dimension(by, units, family, summed, shared, *rates)


def by_year(
    counted: Counted, effort: Effort, denominators: pl.DataFrame | None, over: Sequence[int], whole: Report
) -> Years:
    """Estimate year by year, and compare the last year of the scope with the first; as :func:`by_stratum`."""
    people = counted.having(denominators)
    units, *_ = _units(
        counted, YEAR, effort, lambda value, report: rate_range(report, denominators, [int(value)], {}, people)
    )
    family = summing_family(whole, units)
    kept = [unit.value for unit in units if unit.identified and not unit.on_map_alone]
    if not kept:
        return compare_years(over[0], over[-1], units, family, None, denominators)
    fit, wanted = counted.fit(family, effort), pl.col(YEAR).is_in(kept)
    if counted.number:
        found = series_over_draws(
            counted.in_draws([YEAR]).filter(wanted),
            counted.lists,
            fit,
            number=counted.number,
            effective=counted.effective,
            partitions=counted.partitions,
        )
    else:
        found = series(parse_histories(counted.on_map([YEAR]).filter(wanted), lists=counted.lists), fit)
    return compare_years(over[0], over[-1], units, family, found, denominators)
