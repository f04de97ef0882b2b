"""What is said of a stratum or a year, of several added up, and of two years compared; and why something is not said.

Sums and differences are of draws and so of one family alone (:data:`SUMMED_BY`), which is named wherever its numbers
stand. How they are made is in :mod:`linkage.research.analysis_strata`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from linkage.errors import EstimateError
from linkage.research.estimate import Report, Result
from linkage.research.estimate.arithmetic import Contrast, Estimated
from linkage.research.estimate.prevalence import NO_DENOMINATOR, PARTIAL, PER, YEAR, Prevalence, population
from linkage.research.estimate.result import OK, REASONS
from linkage.research.estimate.series import Series
from linkage.research.estimate.strata import StrataResult

__all__ = ["SUMMED_BY", "Dimension", "RateRange", "Unit", "Years"]
__all__ += ["compare_years", "rate_range", "reason_words", "summing_family"]

SUMMED_BY = ("averaged-aic", "stepwise")
"""The families that sums and differences may be of, the first that answers everywhere: of all families the average by
AIC misses least where the truth is known (:mod:`linkage.lab.coverage`), but it is not offered for every table."""

_NO_RATE = {
    NO_DENOMINATOR: ("the file of populations has none for it", "add it to the file"),
    PARTIAL: (
        "the file of populations has only part of the people",
        "add the others to the file, or leave its column out and give the population of all together",
    ),
}


@dataclass(frozen=True)
class RateRange:
    """A verdict's range per 1,000 of a population; without ends the ``status`` says why.

    Attributes
    ----------
    low, high
        Ends; ``None`` where there are none.
    population
        What was divided by; ``None`` where there is none.
    status
        ``"ok"``, or the code of a reason (:func:`reason_words`).
    years
        The years of which ``population`` is the mean.
    lacking
        Values that people have and the file has no population for.
    """

    low: float | None
    high: float | None
    population: float | None
    status: str
    years: tuple[int, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """What the population is, and of whom the rate."""
        if len(self.years) < 2:
            return "population of the year; the rate is of persons of that year"
        return (
            f"mean of the yearly populations of {self.years[0]} to {self.years[-1]};"
            " the rate is of persons over the whole period and not yearly"
        )

    @property
    def words(self) -> str:
        """Why there is no rate; empty where there is one."""
        if self.status == OK:
            return ""
        told, remedy = reason_words(self.status)
        return f"{told}, none for {'; '.join(self.lacking)}: {remedy}" if self.lacking else told

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "low": self.low,
            "high": self.high,
            "per": PER,
            "population": self.population,
            "meaning": self.meaning,
            "status": self.status,
            "no_population_for": list(self.lacking),
        }


@dataclass(frozen=True, eq=False)
class Unit:
    """A stratum or a year.

    Attributes
    ----------
    value, report
        Its name, and what is said of it.
    rate
        Its range per 1,000; ``None`` where no populations are given.
    on_map_alone
        Whether there are draws and nobody is in it in any of them, so that it is estimated without them.
    """

    value: str
    report: Report
    rate: RateRange | None = None
    on_map_alone: bool = False

    @property
    def identified(self) -> bool:
        """Whether there is a range."""
        return self.report.verdict.status == "estimated"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader should know besides."""
        return ("in no draw: estimated on the map alone",) if self.on_map_alone else ()

    def by_family(self, family: str) -> Result | None:
        """Give what a family says, over the draws where there are any; ``None`` where it was not asked."""
        found = [pooled.result for pooled in self.report.pooled] or self.report.results
        return next((result for result in found if result.method == family), None)

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        rate = None if self.rate is None else self.rate.to_dict()
        report = self.report.to_dict()
        return {"value": self.value, **report, "notes": [*self.notes, *self.report.notes], "per_1000": rate}


@dataclass(frozen=True, eq=False)
class Dimension:
    """Everybody by one property.

    Attributes
    ----------
    by
        The property.
    units
        One a stratum, those that are not identified among them.
    family
        Of :data:`SUMMED_BY`: the one that sums are of.
    summed
        The identified strata added up, by that family; ``None`` where there are fewer than two.
    shared
        All strata with strength lent to each other, on the map; ``None`` where all are identified, or it was not done.
    rates, total_rate
        Per 1,000 of the strata that are added up and of their sum, by that family, where populations are given.
    """

    by: str
    units: tuple[Unit, ...]
    family: str
    summed: StrataResult | None = None
    shared: StrataResult | None = None
    rates: tuple[Prevalence, ...] = ()
    total_rate: Prevalence | None = None

    @property
    def not_identified(self) -> tuple[Unit, ...]:
        """Strata of which nothing can be said."""
        return tuple(unit for unit in self.units if not unit.identified)

    @property
    def why_none(self) -> str:
        """Why there is no sum, in words; empty where there is one."""
        if self.summed is not None:
            return ""
        drawn = " and in a draw" if any(unit.on_map_alone for unit in self.units) else ""
        return f"fewer than two strata are identified{drawn}"

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
            "family": self.family,
            "strata": [unit.to_dict() for unit in self.units],
            "not_identified": [
                {"value": unit.value, "reason": unit.report.verdict.reason} for unit in self.not_identified
            ],
            "sum": None if self.summed is None else self.summed.to_dict(),
            "why_no_sum": self.why_none,
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
    family
        Of :data:`SUMMED_BY`: the one that years are compared by.
    found
        The identified years by that family; ``None`` where there is none.
    difference, rate_difference
        The last year less the first, people and per 1,000; ``None`` where there is none.
    why_none, why_no_rates
        Why there is no difference, and why there is none per 1,000, in words; empty where there is one.
    """

    first: int
    last: int
    units: tuple[Unit, ...]
    family: str
    found: Series | None = None
    difference: Contrast | None = None
    rate_difference: Contrast | None = None
    why_none: str = ""
    why_no_rates: str = ""

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "years": [unit.to_dict() for unit in self.units],
            "not_identified": [unit.value for unit in self.units if not unit.identified],
            "family": self.family,
            "one_family": None if self.found is None else self.found.to_dict()["years"],
            "compared": [self.first, self.last],
            "difference": None if self.difference is None else self.difference.to_dict(),
            "difference_per_1000": None if self.rate_difference is None else self.rate_difference.to_dict(),
            "why_no_difference": self.why_none,
            "why_no_difference_per_1000": self.why_no_rates,
        }


def rate_range(
    report: Report,
    denominators: pl.DataFrame | None,
    over: Sequence[int],
    strata: Mapping[str, str],
    people: Sequence[Mapping[str, str]] = (),
) -> RateRange | None:
    """Divide a verdict's range by the population of a stratum; ``None`` where no populations are given at all.

    Parameters
    ----------
    report
        What is said of the stratum, or of everybody.
    denominators, over, strata, people
        As :func:`linkage.research.estimate.prevalence.population` takes them.
    """
    if denominators is None:
        return None
    verdict, years = report.verdict, tuple(over)
    try:
        number = population(denominators, over, strata, people)
    except EstimateError as error:
        if error.reason not in _NO_RATE:
            raise
        lacking = error.problems if error.reason == PARTIAL else ()
        return RateRange(None, None, None, error.reason, years, lacking)
    if verdict.low is None or verdict.high is None:
        return RateRange(None, None, number, verdict.reason, years)
    if verdict.low > number:
        return RateRange(None, None, number, "above-population", years)
    return RateRange(verdict.low / number * PER, min(verdict.high / number, 1.0) * PER, number, OK, years)


def summing_family(whole: Report, units: Sequence[Unit]) -> str:
    """Choose the family that sums and differences are of: one for all that stands side by side.

    Parameters
    ----------
    whole
        What is said of everybody.
    units
        The strata or years; those that are not identified have no say.

    Returns
    -------
    str
        The first of :data:`SUMMED_BY` that answers for everybody and in every identified unit; the last where none
        does: then the units in which it declines are left out, by name.
    """
    everywhere = [Unit("", whole), *(unit for unit in units if unit.identified)]
    for family in SUMMED_BY:
        found = [unit.by_family(family) for unit in everywhere]
        if all(result is not None and result.ok for result in found):
            return family
    return SUMMED_BY[-1]


def compare_years(
    first: int,
    last: int,
    units: tuple[Unit, ...],
    family: str,
    found: Series | None,
    denominators: pl.DataFrame | None,
) -> Years:
    """Compare the last year with the first, people and per 1,000, or say in words why not.

    Parameters
    ----------
    first, last
        The years.
    units, family, found
        As :class:`Years` has them.
    denominators
        Populations; ``None`` where there are none.
    """
    by_value = {unit.value: unit for unit in units}
    ends = dict.fromkeys((first, last))
    why = "the scope is of one year" if first == last else ""
    why = why or next((words for words in (_absent(year, by_value, found) for year in ends) if words), "")
    if why or found is None:
        return Years(first, last, units, family, found, why_none=why, why_no_rates=why)
    difference = found.difference(first, last)
    if denominators is None:
        return Years(first, last, units, family, found, difference, why_no_rates="no populations are given")
    # A year whose whole range is above its population has no rate, whatever the one family says.
    rates_of = [(year, rate) for year in ends if (rate := by_value[str(year)].rate) is not None]
    why = next((f"{year}: {rate.words}" for year, rate in rates_of if rate.status != OK), "")
    if why:
        return Years(first, last, units, family, found, difference, why_no_rates=why)
    try:
        rates = found.with_denominators(denominators).difference_of_rates(first, last)
    except EstimateError as error:
        why = reason_words(error.reason)[0]
        return Years(first, last, units, family, found, difference, why_no_rates=why)
    return Years(first, last, units, family, found, difference, rates)


def _absent(year: int, units: Mapping[str, Unit], found: Series | None) -> str:
    """Say why there is no number of a year to compare; nothing where there is one."""
    unit = units.get(str(year))
    if unit is None:
        return f"nobody was seen in {year}"
    if not unit.identified:
        return f"{year} is not identified"
    items = [] if found is None else [item for item in found.years if item.values[YEAR] == str(year)]
    if not items:
        return f"{year} is in no draw"
    return "" if _comparable(items[0]) else f"{year}: the family that years are compared by gives no interval"


def _comparable(item: Estimated) -> bool:
    return item.ok and item.result.lower is not None and item.result.upper is not None


def reason_words(code: str) -> tuple[str, str]:
    """Give a reason and its remedy in words; a code without words is its own."""
    return _NO_RATE.get(code) or REASONS.get(code, (code.replace("-", " "), ""))
