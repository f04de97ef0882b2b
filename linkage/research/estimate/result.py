"""What every estimator returns, and the reasons for which one declines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from linkage.research.estimate.lattice import Floats

__all__ = ["FURTHEST", "OK", "REASONS", "WITHHELD", "Result", "finite", "refused"]

OK = "ok"
WITHHELD = "withheld"

FURTHEST = 1e6
"""An upper end beyond this many times the observed number is none: the interval is ``unbounded``."""

REASONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "too-few-lists": (
            "fewer than three lists share people with another list, so dependence between lists cannot be examined",
            "add a source, or report the deduplicated count alone",
        ),
        "too-little-overlap": (
            "fewer than ten people are on two lists or more, so the overlap says next to nothing",
            "widen the period or the area, pool strata, or report the deduplicated count alone",
        ),
        "identical-lists": (
            "two lists hold exactly the same people, so they are one source and not two",
            "leave one of them out or merge them",
        ),
        "nested-list": (
            "everybody on one list is also on another, beyond chance, and that dependence cannot be estimated",
            "leave the inner list out or merge the two",
        ),
        "list-of-everybody": (
            "everybody seen is on one and the same list: nothing tells how many people that list misses",
            "leave that list out, or add a source that finds people whom it does not know",
        ),
        "start-not-estimable": (
            "the starting model has no maximum likelihood estimate on this table or is not identified",
            "merge lists or pool strata until overlaps fill up",
        ),
        "model-not-estimable": (
            "the model has no maximum likelihood estimate on this table or is not identified",
            "merge lists, pool strata, or choose a smaller model",
        ),
        "not-converged": (
            "the fit did not converge",
            "merge lists or pool strata until overlaps fill up",
        ),
        "resamples-without-estimate": (
            "more than one resample in twenty gives no estimate, so no interval can be given",
            "merge lists, widen the period, or pool strata",
        ),
        "unbounded": (
            "the data set no upper limit to the number",
            "add a source, widen the period, or pool strata",
        ),
        "grid-edge": (
            "large numbers stay plausible up to the largest that was looked at, so there is no upper end to give",
            "add a source, widen the period, or pool strata",
        ),
        "chains-not-agreed": (
            "chains started in different places do not agree, so their posterior is not to be trusted",
            "merge lists, so that fewer are searched over, or rely on the methods that do not sample",
        ),
        "too-many-lists": (
            "the method takes fewer lists than the table has",
            "merge lists of a kind until there are fewer: the diagnostics show what becomes of each merge of two",
        ),
        "beyond-precision": (
            "the counts are so large that the method loses its precision",
            "check that the counts are of people",
        ),
        "draws-without-estimate": (
            "more than one partition draw in twenty gives no estimate, so what linkage adds cannot be told",
            "merge lists, widen the period, or pool strata",
        ),
        "draws-too-alike": (
            "the partition draws are worth fewer than two independent ones, so what linkage adds cannot be told",
            "let the chains of the linkage run longer, or draw more partitions",
        ),
        "no-stratum-estimated": (
            "no stratum gives an estimate, so there is nothing to add up",
            "pool strata, or report the table of all together",
        ),
        "linkage-too-weak": (
            "by its error rates the linkage finds too little of the true overlap, or false links explain all of it",
            "improve the linkage, or measure its error rates again",
        ),
        "above-population": (
            "the estimate is above the population, so one of the two is wrong",
            "check that the denominators are of the same people, places and years",
        ),
    }
)


def finite(value: float | None) -> float | None:
    """Give the value, or ``None`` where it is not a finite number."""
    return None if value is None or not math.isfinite(value) else float(value)


@dataclass(frozen=True, eq=False)
class Result:
    """What one estimator says about one table.

    Attributes
    ----------
    method, model
        Which estimator, and which model it used, in words.
    n_hat
        Estimated number of people, seen and unseen; ``None`` where there is no estimate.
    lower, upper
        Ends of the 95% interval; ``None`` where there is none.
    status
        ``"ok"``, or the code of a reason from :data:`REASONS`.
    interval
        How the interval was made.
    assumption
        What must be true of the world for the number to be right, in words.
    details
        Other figures by name; finite numbers, text or ``None``.
    terms
        Interactions of the chosen model as bitmasks, in the order in which they came in.
    draws
        Resampled estimates, where there are any.
    """

    method: str
    model: str
    n_hat: float | None
    lower: float | None
    upper: float | None
    status: str = OK
    interval: str = ""
    assumption: str = ""
    details: Mapping[str, float | int | str | None] = field(default_factory=dict)
    terms: tuple[int, ...] = ()
    draws: Floats | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an estimate with an interval."""
        return self.status == OK

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give the result as plain values for JSON; ``withhold`` takes every number out."""
        shown = self.ok and not withhold
        status = WITHHELD if self.ok and withhold else self.status
        return {
            "method": self.method,
            "model": self.model,
            "n_hat": finite(self.n_hat) if shown else None,
            "lower": finite(self.lower) if shown else None,
            "upper": finite(self.upper) if shown else None,
            "status": status,
            "interval": self.interval,
            "assumption": self.assumption,
            "details": {k: finite(v) if isinstance(v, float) else v for k, v in self.details.items()} if shown else {},
        }


def refused(
    method: str,
    model: str,
    reason: str,
    *,
    assumption: str = "",
    details: Mapping[str, float | int | str | None] | None = None,
    terms: tuple[int, ...] = (),
    draws: Floats | None = None,
) -> Result:
    """Build the result of an estimator that declines."""
    return Result(method, model, None, None, None, reason, "", assumption, details or {}, terms, draws)
