"""Estimates year by year: each from its own table with its own uncertainty, and how two periods differ.

A year's table holds the people whom a list saw in that year (``by=["year"]`` of
:func:`linkage.research.histories.capture_histories`), so that a person may be in several years and years do not add up
to the number of people over all of them. Differences are taken by draws, paired where both years come from the same
partitions of the linkage; apart from that, years count as independent, though they share people: the interval of a
difference is then rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from linkage.errors import EstimateError
from linkage.research.estimate.arithmetic import Contrast, Estimated, contrast
from linkage.research.estimate.pooled import draw_tables, over_draws
from linkage.research.estimate.prevalence import PER, YEAR, Prevalence, population, prevalence
from linkage.research.estimate.result import REASONS, Result
from linkage.research.estimate.strata import screened
from linkage.research.estimate.table import Histories, HistoryTable

__all__ = ["Series", "series", "series_over_draws"]

_ABOVE = "above-population"


@dataclass(frozen=True, eq=False)
class Series:
    """Estimates by year.

    Attributes
    ----------
    years
        One a year, in order; years without an estimate stay in it, with their reason.
    denominators
        Populations of all strata together by year, where they were given.
    """

    years: tuple[Estimated, ...]
    denominators: pl.DataFrame | None = None

    def __getitem__(self, year: int) -> Estimated:
        """Give the estimate of a year.

        Raises
        ------
        EstimateError
            ``no-such-year``.
        """
        for item in self.years:
            if item.values[YEAR] == str(year):
                return item
        raise EstimateError("the series has no such year", reason="no-such-year")

    def with_denominators(self, denominators: pl.DataFrame) -> Series:
        """Give the series with populations (:func:`linkage.research.estimate.prevalence.read_denominators`)."""
        return replace(self, denominators=denominators)

    def rates(self, *, per: float = PER) -> tuple[Prevalence, ...]:
        """Divide every year's estimate by that year's population.

        Raises
        ------
        EstimateError
            ``no-denominator``: there are no populations, or none for a year.
        """
        return tuple(prevalence(item, self._population(item), per=per) for item in self.years)

    def difference(self, first: int, second: int) -> Contrast:
        """Compare the numbers of people of two years: the second less the first, and over the first.

        Raises
        ------
        EstimateError
            ``no-such-year``; ``no-estimate``: a year has none.
        """
        return contrast(self[first], self[second])

    def difference_of_rates(self, first: int, second: int, *, per: float = PER) -> Contrast:
        """Compare the rates of two years.

        Raises
        ------
        EstimateError
            As :meth:`difference`, and ``no-denominator``; ``above-population``: more people are estimated in a year
            than its population, so that it has no rate.
        """
        pair = self[first], self[second]
        people = [self._population(item) for item in pair]
        if any(prevalence(item, number, per=per).status == _ABOVE for item, number in zip(pair, people, strict=True)):
            words, remedy = REASONS[_ABOVE]
            raise EstimateError(words, reason=_ABOVE, hint=remedy)
        return contrast(*pair, scales=(people[0] / per, people[1] / per))

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON."""
        return {"years": [{**item.values, **item.result.to_dict(withhold=withhold)} for item in self.years]}

    def _population(self, item: Estimated) -> float:
        if self.denominators is None:
            raise EstimateError("the series has no populations", reason="no-denominator")
        return population(self.denominators, [int(str(item.values[YEAR]))])


def series(histories: Histories, fit: Callable[[HistoryTable], Result]) -> Series:
    """Estimate every year.

    Parameters
    ----------
    histories
        Capture histories whose only stratum is ``year``.
    fit
        The estimator; lists that nobody of a year is on are left out of that year.

    Raises
    ------
    EstimateError
        ``bad-histories``: the strata are not years.
    """
    careful = screened(fit)
    if not histories.strata or any(set(stratum.values) != {YEAR} for stratum in histories.strata):
        raise EstimateError("a series needs capture histories by year and nothing else", reason="bad-histories")
    found = [Estimated(s.values, s.table.observed, careful(s.table)) for s in histories.strata]
    return _ordered(found)


def series_over_draws(
    frame: pl.DataFrame,
    lists: Sequence[str],
    fit: Callable[[HistoryTable], Result],
    *,
    number: int | None = None,
    effective: float | None = None,
    partitions: str,
) -> Series:
    """Estimate every year over the partition draws.

    Parameters
    ----------
    frame
        As :func:`linkage.research.draws.draw_histories` returns it, by ``year``.
    lists
        The lists.
    fit
        The estimator.
    number, effective, partitions
        As :func:`linkage.research.estimate.pooled.draw_tables` and
        :func:`linkage.research.estimate.pooled.over_draws` take them.

    Raises
    ------
    EstimateError
        ``bad-histories``: no column ``year``, or values of it that are no years.
    """
    tables = draw_tables(frame, lists, [YEAR], number=number)
    careful = screened(fit)

    def one(values: Mapping[str, str | None], draws: Sequence[HistoryTable]) -> Estimated:
        pooled = over_draws(draws, careful, effective=effective, partitions=partitions)
        return Estimated(values, float(np.mean(pooled.observed)), pooled)

    return _ordered([one({YEAR: key[0]}, draws) for key, draws in tables.items()])


def _ordered(found: Sequence[Estimated]) -> Series:
    """Put years in order; a year that is none is refused."""
    if not all(str(item.values[YEAR] or "").isdecimal() for item in found):
        raise EstimateError(
            "a year of the capture histories is no number",
            reason="bad-histories",
            hint="leave contacts without a month out of a series",
        )
    return Series(tuple(sorted(found, key=lambda item: int(str(item.values[YEAR])))))
