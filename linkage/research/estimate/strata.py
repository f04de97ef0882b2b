"""Strata: each is estimated by itself, and totals add draws, never intervals.

A stratum from which nothing can be estimated is named and not dropped without a word: the total is then one of the
estimated strata. Beside it stands the estimate from the tables added up, which assumes that strata are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linkage.errors import EstimateError
from linkage.research.estimate.arithmetic import Estimated, total
from linkage.research.estimate.lattice import pairs
from linkage.research.estimate.omission import drop_empty
from linkage.research.estimate.pooled import over_draws
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import Histories, HistoryTable

__all__ = ["StrataResult", "over_strata", "over_strata_draws", "screened"]

_LEAST_LISTS = 3
_LEAST_OVERLAP = 10

Fit = Callable[[HistoryTable], Result]


@dataclass(frozen=True, eq=False)
class StrataResult:
    """Estimates by stratum, and added up.

    Attributes
    ----------
    strata
        One a stratum, in order of the values.
    total
        Of the estimated strata; refused with ``no-stratum-estimated`` where there is none.
    not_estimated
        Values of the strata without an estimate.
    observed_outside
        People seen in those strata, who are not in the total.
    pooled
        From the tables of all strata added up.
    pooled_alike
        From the tables of the estimated strata added up: of the same people as the total.
    """

    strata: tuple[Estimated, ...]
    total: Estimated
    not_estimated: tuple[Mapping[str, str | None], ...]
    observed_outside: float
    pooled: Estimated
    pooled_alike: Estimated

    @property
    def complete(self) -> bool:
        """Whether all strata are in the total."""
        return not self.not_estimated

    @property
    def ratio(self) -> float | None:
        """Total over the estimate that takes the same strata as alike."""
        above, below = self.total.result.n_hat, self.pooled_alike.result.n_hat
        return above / below if above and below else None

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "strata": [{"stratum": dict(s.values), **s.result.to_dict(withhold=withhold)} for s in self.strata],
            "total": self.total.result.to_dict(withhold=withhold),
            "not_estimated": [dict(values) for values in self.not_estimated],
            "pooled": self.pooled.result.to_dict(withhold=withhold),
            "ratio_to_pooled": None if withhold else self.ratio,
        }


def screened(fit: Fit) -> Fit:
    """Give an estimator that first leaves out lists nobody is on, and declines where too little is shared.

    The estimator must take tables with fewer lists than the whole: give it no referrals of lists that may be empty.
    """

    def careful(table: HistoryTable) -> Result:
        there, _ = drop_empty(table)
        reason = _unfit(there)
        return refused("", "", reason) if reason else fit(there)

    return careful


def _unfit(table: HistoryTable) -> str | None:
    """Reason not to estimate from a table at all."""
    shared = 0
    for pair in pairs(table.t):
        if table.together(*(j for j in range(table.t) if pair >> j & 1)):
            shared |= pair
    if shared.bit_count() < _LEAST_LISTS:
        return "too-few-lists"
    return "too-little-overlap" if table.overlap < _LEAST_OVERLAP else None


def over_strata(histories: Histories, fit: Fit) -> StrataResult:
    """Estimate every stratum and add them up.

    Parameters
    ----------
    histories
        As :func:`linkage.research.estimate.parse_histories` returns it.
    fit
        The estimator. Its result needs an interval to be in the total.

    Raises
    ------
    EstimateError
        ``no-strata``.
    """
    careful = screened(fit)
    strata = [Estimated(s.values, s.table.observed, careful(s.table)) for s in histories.strata]

    def pooled(kept: Sequence[int]) -> Estimated:
        counts = np.sum([histories.strata[i].table.counts for i in kept], axis=0)
        table = HistoryTable(histories.pooled.lists, counts)
        return Estimated({}, table.observed, careful(table))

    return _gathered(strata, pooled)


def over_strata_draws(
    tables: Mapping[tuple[str, ...], Sequence[HistoryTable]],
    by: Sequence[str],
    fit: Fit,
    *,
    effective: float | None = None,
    partitions: str,
) -> StrataResult:
    """Estimate every stratum over the partition draws and add them up, partition by partition.

    Parameters
    ----------
    tables
        As :func:`linkage.research.estimate.pooled.draw_tables` returns it: one table a draw for each stratum.
    by
        Names of the stratum columns.
    fit
        The estimator.
    effective, partitions
        As :func:`linkage.research.estimate.pooled.over_draws` takes them.

    Raises
    ------
    EstimateError
        ``no-strata``; ``bad-histories``: strata with different numbers of draws.
    """
    if len({len(draws) for draws in tables.values()}) > 1:
        raise EstimateError("strata have different numbers of draws", reason="bad-histories")
    careful = screened(fit)
    groups = [list(draws) for _, draws in sorted(tables.items())]

    def one(values: Mapping[str, str | None], draws: Sequence[HistoryTable]) -> Estimated:
        found = over_draws(draws, careful, effective=effective, partitions=partitions)
        return Estimated(values, float(found.observed.mean()), found)

    strata = [one(dict(zip(by, key, strict=True)), draws) for key, draws in sorted(tables.items())]

    def pooled(kept: Sequence[int]) -> Estimated:
        lists = groups[0][0].lists
        together = zip(*(groups[i] for i in kept), strict=True)
        return one({}, [HistoryTable(lists, np.sum([t.counts for t in draw], axis=0)) for draw in together])

    return _gathered(strata, pooled)


def _gathered(strata: Sequence[Estimated], pooled: Callable[[Sequence[int]], Estimated]) -> StrataResult:
    if not strata:
        raise EstimateError(
            "there are no strata", reason="no-strata", hint="name a column that is neither list nor count"
        )
    kept = [place for place, stratum in enumerate(strata) if _addable(stratum)]
    left = [stratum for stratum in strata if not _addable(stratum)]
    method = next((strata[i].result.method for i in kept), "strata")
    everybody = pooled(range(len(strata)))
    alike = pooled(kept) if kept and left else everybody
    model = "sum of all strata" if not left else f"sum of the {len(kept)} estimated strata of {len(strata)}"
    assumption = "within each stratum: " + next((strata[i].result.assumption for i in kept), "")
    if kept:
        summed = total([strata[i] for i in kept], method=method, model=model, assumption=assumption)
    else:
        summed = Estimated({}, 0.0, refused(method, model, "no-stratum-estimated", assumption=assumption))
    return StrataResult(
        tuple(strata),
        summed,
        tuple(stratum.values for stratum in left),
        float(sum(stratum.observed for stratum in left)),
        everybody,
        alike,
    )


def _addable(stratum: Estimated) -> bool:
    """Whether a stratum has an estimate with an interval."""
    return stratum.ok and stratum.result.lower is not None and stratum.result.upper is not None
