"""The analyst's view by stratum and by year: a verdict for each, what is not identified by name, sums and differences.

Each stratum and each year gets the verdict that everybody gets: a range over all families, or a refusal. Sums over
strata and differences between years are of draws, and so of one family alone: the average over hierarchical models by
AIC, which of all families misses least where the truth is known (:mod:`linkage.lab.coverage`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from linkage.errors import EstimateError
from linkage.research.draws import draw_histories
from linkage.research.estimate import (
    Averaged,
    HistoryTable,
    Report,
    Result,
    Stepwise,
    estimate,
    over_strata,
    over_strata_draws,
    prevalence_of_strata,
    series,
    series_over_draws,
)
from linkage.research.estimate.arithmetic import Contrast
from linkage.research.estimate.hierarchical import HierarchicalStrata
from linkage.research.estimate.pooled import draw_tables
from linkage.research.estimate.prevalence import PER, YEAR, Prevalence, population
from linkage.research.estimate.result import REASONS
from linkage.research.estimate.series import Series
from linkage.research.estimate.strata import StrataResult
from linkage.research.estimate.table import Histories, parse_histories
from linkage.research.histories import UNKNOWN, capture_histories
from linkage.research.tables import age_group

__all__ = [
    "DIMENSIONS",
    "Counted",
    "Dimension",
    "Effort",
    "RateRange",
    "Unit",
    "Years",
    "by_stratum",
    "by_year",
    "rate_range",
]

DIMENSIONS = ("sex", "race", "age")
"""Strata that are looked at: as the sources vote on a person, and the age at the first contact in groups."""

_LEAST_STRATA = 3  # that can lend each other strength
_MOST_AVERAGED = 5  # lists up to which hierarchical models are averaged over
_NO_DENOMINATOR = "no-denominator"


@dataclass(frozen=True)
class Effort:
    """How much time is given to what takes time.

    Parameters
    ----------
    resamples
        Bootstrap tables of the stepwise estimate.
    draws
        Partition draws that are used at most; without it 100, and 25 from five lists on.
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

    def one_family(self, effort: Effort) -> Callable[[HistoryTable], Result]:
        """Give the estimator of sums and differences; known referrals are in all its models."""

        def fit(table: HistoryTable) -> Result:
            here = tuple(pair for pair in self.referrals if set(pair) <= set(table.lists))
            if table.t > _MOST_AVERAGED:
                return Stepwise(referrals=here, resamples=effort.resamples).fit(table)
            return Averaged("aic", referrals=here).fit(table)

        return fit


@dataclass(frozen=True)
class RateRange:
    """A verdict's range per 1,000 of a population; without ends the ``status`` says why."""

    low: float | None
    high: float | None
    population: float | None
    status: str

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {"low": self.low, "high": self.high, "per": PER, "population": self.population, "status": self.status}


@dataclass(frozen=True, eq=False)
class Unit:
    """A stratum or a year: its name, its report, and its range per 1,000 where populations are given."""

    value: str
    report: Report
    rate: RateRange | None = None

    @property
    def identified(self) -> bool:
        """Whether there is a range."""
        return self.report.verdict.status == "estimated"

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        rate = None if self.rate is None else self.rate.to_dict()
        return {"value": self.value, **self.report.to_dict(), "per_1000": rate}


@dataclass(frozen=True, eq=False)
class Dimension:
    """Everybody by one property.

    Attributes
    ----------
    by
        The property.
    units
        One a stratum, those that are not identified among them.
    summed
        The identified strata added up, by one family; ``None`` where there are fewer than two.
    shared
        All strata with strength lent to each other, on the map; ``None`` where all are identified, or it was not done.
    rates, total_rate
        Per 1,000 of the strata that are added up and of their sum, by one family, where populations are given.
    """

    by: str
    units: tuple[Unit, ...]
    summed: StrataResult | None = None
    shared: StrataResult | None = None
    rates: tuple[Prevalence, ...] = ()
    total_rate: Prevalence | None = None

    @property
    def not_identified(self) -> tuple[Unit, ...]:
        """Strata of which nothing can be said."""
        return tuple(unit for unit in self.units if not unit.identified)

    @property
    def added(self) -> tuple[str, ...]:
        """Strata that are in the sum."""
        there = () if self.summed is None else self.summed.strata
        gone = () if self.summed is None else self.summed.not_estimated
        return tuple(str(item.values[self.by]) for item in there if item.values not in gone)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Strata that are not in the sum."""
        return tuple(unit.value for unit in self.units if unit.value not in self.added)

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "by": self.by,
            "strata": [unit.to_dict() for unit in self.units],
            "not_identified": [
                {"value": unit.value, "reason": unit.report.verdict.reason} for unit in self.not_identified
            ],
            "sum": None if self.summed is None else self.summed.to_dict(),
            "sum_of": list(self.added),
            "sum_without": list(self.left_out),
            "strength_shared": None if self.shared is None else self.shared.to_dict(),
            "per_1000": [rate.to_dict() for rate in self.rates],
            "sum_per_1000": None if self.total_rate is None else self.total_rate.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Years:
    """Everybody by year.

    Attributes
    ----------
    first, last
        The years that are compared: those of the scope.
    units
        One a year in which anybody was seen.
    found
        The identified years by one family; ``None`` where there is none.
    difference, rate_difference
        The last year less the first, people and per 1,000; ``None`` where there is none.
    why_none
        Why there is no difference, in words.
    """

    first: int
    last: int
    units: tuple[Unit, ...]
    found: Series | None = None
    difference: Contrast | None = None
    rate_difference: Contrast | None = None
    why_none: str = ""

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "years": [unit.to_dict() for unit in self.units],
            "not_identified": [unit.value for unit in self.units if not unit.identified],
            "one_family": None if self.found is None else self.found.to_dict()["years"],
            "compared": [self.first, self.last],
            "difference": None if self.difference is None else self.difference.to_dict(),
            "difference_per_1000": None if self.rate_difference is None else self.rate_difference.to_dict(),
            "why_no_difference": self.why_none,
        }


def rate_range(
    report: Report, denominators: pl.DataFrame | None, over: Sequence[int], strata: Mapping[str, str]
) -> RateRange | None:
    """Divide a verdict's range by the population of a stratum; ``None`` where no populations are given at all."""
    if denominators is None:
        return None
    verdict = report.verdict
    try:
        people = population(denominators, over, strata)
    except EstimateError as error:
        if error.reason != _NO_DENOMINATOR:
            raise
        return RateRange(None, None, None, _NO_DENOMINATOR)
    if verdict.low is None or verdict.high is None:
        return RateRange(None, None, people, verdict.reason)
    if verdict.low > people:
        return RateRange(None, None, people, "above-population")
    return RateRange(verdict.low / people * PER, min(verdict.high / people, 1.0) * PER, people, "ok")


def _units(
    counted: Counted, by: str, effort: Effort, rate: Callable[[str, Report], RateRange | None]
) -> tuple[tuple[Unit, ...], Histories, dict[tuple[str, ...], tuple[HistoryTable, ...]]]:
    """Give a verdict on each stratum, over the draws where there are any; and the tables that it is from."""
    found = parse_histories(counted.on_map([by]), lists=counted.lists)
    drawn = draw_tables(counted.in_draws([by]), counted.lists, [by], number=counted.number) if counted.number else {}
    units = []
    for stratum in found.strata:
        value = str(stratum.values[by])
        report = estimate(
            stratum.table,
            referrals=counted.referrals,
            resamples=effort.resamples,
            draws=drawn.get((value,), ()),
            effective=counted.effective,
            partitions=counted.partitions,
        )
        units.append(Unit(value, report, rate(value, report)))
    return tuple(units), found, drawn


def by_stratum(
    counted: Counted, by: str, effort: Effort, denominators: pl.DataFrame | None, over: Sequence[int]
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
    """
    units, found, drawn = _units(
        counted, by, effort, lambda value, report: rate_range(report, denominators, over, {by: value})
    )
    kept = {unit.value for unit in units if unit.identified}
    summed = None
    if len(kept) > 1:
        fit = counted.one_family(effort)
        if counted.number:
            tables = {key: draws for key, draws in drawn.items() if key[0] in kept}
            worth, name = counted.effective, counted.partitions
            summed = over_strata_draws(tables, [by], fit, effective=worth, partitions=name)
        else:
            rows = counted.on_map([by]).filter(pl.col(by).is_in(kept))
            summed = over_strata(parse_histories(rows, lists=counted.lists), fit)
    shared = None
    if len(kept) < len(units) and len(units) >= _LEAST_STRATA and effort.pooling is not None:
        shared = effort.pooling.fit(found)
    if summed is None or denominators is None:
        return Dimension(by, units, summed, shared)
    return Dimension(by, units, summed, shared, *prevalence_of_strata(summed, denominators, over))


def by_year(counted: Counted, effort: Effort, denominators: pl.DataFrame | None, over: Sequence[int]) -> Years:
    """Estimate year by year, and compare the last year of the scope with the first."""
    units, *_ = _units(counted, YEAR, effort, lambda value, report: rate_range(report, denominators, [int(value)], {}))
    first, last = over[0], over[-1]
    kept = [unit.value for unit in units if unit.identified]
    if not kept:
        return Years(first, last, units, why_none="no year has an estimate")
    fit, chosen = counted.one_family(effort), pl.col(YEAR).is_in(kept)
    if counted.number:
        found = series_over_draws(
            counted.in_draws([YEAR]).filter(chosen),
            counted.lists,
            fit,
            number=counted.number,
            effective=counted.effective,
            partitions=counted.partitions,
        )
    else:
        found = series(parse_histories(counted.on_map([YEAR]).filter(chosen), lists=counted.lists), fit)
    if first == last:
        return Years(first, last, units, found, why_none="the scope is of one year")
    try:
        difference = found.difference(first, last)
    except EstimateError:
        words = "the first or the last year of the scope has no estimate"
        return Years(first, last, units, found, why_none=words)
    try:
        rates = None if denominators is None else found.with_denominators(denominators)
        rate_difference = None if rates is None else rates.difference_of_rates(first, last)
    except EstimateError as error:
        words = "the denominators have no population for the first or the last year"
        return Years(first, last, units, found, difference, why_none=words if error.reason == _NO_DENOMINATOR else "")
    return Years(first, last, units, found, difference, rate_difference)


def reason_words(code: str) -> tuple[str, str]:
    """Give a reason and its remedy in words; a code without words is its own."""
    if code == _NO_DENOMINATOR:
        return "the file of populations has none for it", "add it to the file"
    return REASONS.get(code, (code.replace("-", " "), ""))
