"""Estimators put to the test on real data: hide a list, and estimate how many people are on it.

Among the people on one list, the other lists are lists too, and how many of them are on none of the others is known.
An estimator that goes wrong here is not to be trusted on the whole table (internal consistency: Binette & Steorts
2022). On trafficking data all methods come out too low, since lists depend positively.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from linkage.research.estimate.omission import Estimator, drop_empty, fit_variant
from linkage.research.estimate.result import finite
from linkage.research.estimate.table import HistoryTable

__all__ = ["Consistency", "internal_consistency", "summarise"]


@dataclass(frozen=True)
class Consistency:
    """The estimate of a known number: the people on one list.

    Attributes
    ----------
    list
        The list whose size is estimated.
    truth
        People on it.
    observed
        Those of them whom another list shows.
    others
        The lists that show anybody on it.
    n_hat, lower, upper
        Estimate and ends of its interval, ``None`` where there is none.
    status, model
        ``"ok"`` or the code of a reason, and the model that was used.
    log_ratio
        log(n_hat / truth): below zero where the estimate is too low.
    covered
        Whether the interval holds the truth; ``None`` without an interval.
    """

    list: str
    truth: int
    observed: int
    others: tuple[str, ...]
    n_hat: float | None
    lower: float | None
    upper: float | None
    status: str
    model: str
    log_ratio: float | None
    covered: bool | None

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON; ``withhold`` takes the estimates out."""
        return {
            "list": self.list,
            "truth": self.truth,
            "observed": self.observed,
            "others": [*self.others],
            "n_hat": None if withhold else self.n_hat,
            "lower": None if withhold else self.lower,
            "upper": None if withhold else self.upper,
            "status": self.status,
            "model": "" if withhold else self.model,
            "log_ratio": None if withhold else self.log_ratio,
            "covered": None if withhold else self.covered,
        }


def _known(table: HistoryTable, position: int, estimator: Estimator) -> Consistency:
    inside, _ = drop_empty(table.given(position))
    truth = int(table.totals[position])
    result = fit_variant(inside, estimator)
    n_hat, lower, upper = (finite(v) if result.ok else None for v in (result.n_hat, result.lower, result.upper))
    return Consistency(
        list=table.lists[position],
        truth=truth,
        observed=inside.observed,
        others=inside.lists,
        n_hat=n_hat,
        lower=lower,
        upper=upper,
        status=result.status,
        model=result.model,
        log_ratio=math.log(n_hat / truth) if n_hat else None,
        covered=lower <= truth <= upper if lower is not None and upper is not None else None,
    )


def internal_consistency(table: HistoryTable, estimator: Estimator) -> tuple[Consistency, ...]:
    """Estimate the size of every list from the other lists, in the order of the lists.

    Lists that show nobody on the hidden one take no part.
    """
    return tuple(_known(table, position, estimator) for position in range(table.t))


def summarise(rows: Sequence[Consistency]) -> dict[str, float | int | None]:
    """Sum up over the lists: how many have an estimate, the median log ratio, the share of intervals that cover."""
    ratios = [row.log_ratio for row in rows if row.log_ratio is not None]
    covered = [row.covered for row in rows if row.covered is not None]
    return {
        "lists": len(rows),
        "estimated": len(ratios),
        "median_log_ratio": median(ratios) if ratios else None,
        "with_interval": len(covered),
        "covered": sum(covered) / len(covered) if covered else None,
    }
