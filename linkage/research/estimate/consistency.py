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

__all__ = ["Consistency", "alarm", "internal_consistency", "summarise"]


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

    @property
    def short(self) -> bool:
        """Whether the estimate, in whole people, is below the known number."""
        return self.n_hat is not None and round(self.n_hat) < self.truth

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
    """Sum up over the lists: how many have an estimate, how many fall short, the median log ratio, coverage."""
    ratios = [row.log_ratio for row in rows if row.log_ratio is not None]
    covered = [row.covered for row in rows if row.covered is not None]
    return {
        "lists": len(rows),
        "estimated": len(ratios),
        "short": sum(row.short for row in rows),
        "median_log_ratio": median(ratios) if ratios else None,
        "with_interval": len(covered),
        "covered": sum(covered) / len(covered) if covered else None,
    }


def alarm(rows: Sequence[Consistency]) -> str:
    """Say in a sentence that a method goes wrong on known numbers; empty where it does not, or too few are checked.

    It does where the estimates of most lists, of two at least, fall short, or where no interval of two or more holds
    the known number. A method that finds too few of those whom somebody knows will hardly find enough of the others.
    """
    checked = [row for row in rows if row.n_hat is not None]
    held = [row.covered for row in checked if row.covered is not None]
    short = sum(row.short for row in checked)
    parts = []
    if len(held) > 1 and not any(held):
        parts.append(f"its interval misses the known number of all {len(held)} lists that can be checked")
    if len(checked) > 1 and 2 * short > len(checked):
        ratio = median(row.n_hat / row.truth for row in checked if row.n_hat is not None)
        parts.append(
            f"estimated from the other lists, {short} of {len(checked)} lists come out smaller than they are (the"
            f" middle one {ratio:.2f} times): the number above is likely to be too low as well"
        )
    return ", and ".join(parts)
