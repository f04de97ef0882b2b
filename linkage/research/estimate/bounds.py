"""Bounds from how often people were seen, and two-list estimates for every pair."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["Chao", "PairEstimate", "Zelterman", "pair_estimates"]

_Z = 1.959963984540054


def _log_interval(n: float, unseen: float, variance: float) -> tuple[float, float]:
    """Chao's (1987) interval: normal on the log of the unseen number, so that it never falls below the seen."""
    if unseen <= 0:
        return n, n
    factor = float(np.exp(_Z * np.sqrt(np.log1p(variance / unseen**2))))
    return n + unseen / factor, n + unseen * factor


@dataclass(frozen=True)
class Chao:
    """Chao's (1987) lower bound, n + f1^2 / (2 f2), from those seen once (f1) and twice (f2).

    Parameters
    ----------
    few_lists
        Multiply the unseen part by (t - 1)/t, the form for a few lists (Mh). The plain form takes captures for
        Poisson counts and exceeds its own bound by t/(t - 1) on equal, independent lists.

    Assumptions
    -----------
    Lists act alike and independently for a person; people may differ in how visible they are. Then the true number is
    no smaller, but for sampling error. Positive dependence between lists keeps it a bound, negative does not.

    Attributes
    ----------
    The interval is normal on the logarithm of the unseen number. Where nobody was seen twice, or f2 is 0, the
    bias-corrected form f1 (f1 - 1) / (2 (f2 + 1)) takes its place.
    """

    few_lists: bool = False

    def fit(self, table: HistoryTable) -> Result:
        """Bound the number from below."""
        method = "chao-few-lists" if self.few_lists else "chao"
        model = "lower bound (t - 1)/t f1^2 / (2 f2)" if self.few_lists else "lower bound f1^2 / (2 f2)"
        assumption = "lists act alike; people may differ in visibility; then the number is no smaller than this"
        if table.t < 2:
            return refused(method, model, "too-few-lists", assumption=assumption)
        if not table.observed:
            return refused(method, model, "too-little-overlap", assumption=assumption)
        f1, f2 = (float(f) for f in table.frequencies[:2])
        n, scale = float(table.observed), (table.t - 1) / table.t if self.few_lists else 1.0
        corrected = n + scale * f1 * (f1 - 1) / (2 * (f2 + 1))
        if f2 > 0:
            r = f1 / f2
            unseen, variance = f1 * r / 2, f2 * (r**4 / 4 + r**3 + r**2 / 2)
        else:
            unseen = f1 * (f1 - 1) / 2
            variance = max(f1 * (f1 - 1) / 2 + f1 * (2 * f1 - 1) ** 2 / 4 - f1**4 / (4 * max(n + unseen, 1)), 0.0)
        unseen, variance = scale * unseen, scale**2 * variance
        lower, upper = _log_interval(n, unseen, variance)
        return Result(
            method,
            model,
            n + unseen,
            lower,
            upper,
            interval="normal on the log of the unseen number",
            assumption=assumption,
            details={"f1": f1, "f2": f2, "se": float(np.sqrt(variance)), "bias_corrected": corrected},
        )


@dataclass(frozen=True)
class Zelterman:
    """Zelterman's (1988) estimate, n / (1 - exp(-2 f2/f1)); interval by the variance of Boehning (2008).

    Assumptions
    -----------
    Captures are Poisson with one rate near counts of one and two. Robust to frequent visitors, but it
    overestimates where rates vary much.
    """

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from those seen once and twice."""
        model, assumption = "truncated Poisson at 1 and 2", "captures of the rarely seen follow one Poisson rate"
        f1, f2 = (float(f) for f in np.append(table.frequencies, 0)[:2])
        if f1 == 0 or f2 == 0:
            return refused("zelterman", model, "too-little-overlap", assumption=assumption)
        n, rate = float(table.observed), 2 * f2 / f1
        seen = -np.expm1(-rate)
        weight = np.exp(-rate) / seen**2
        variance = n * weight * (1 + n * weight * rate**2 * (1 / f1 + 1 / f2))
        n_hat, half = n / seen, _Z * float(np.sqrt(variance))
        return Result(
            "zelterman",
            model,
            float(n_hat),
            max(n, float(n_hat) - half),
            float(n_hat) + half,
            interval="normal",
            assumption=assumption,
            details={"rate": rate, "se": float(np.sqrt(variance))},
        )


@dataclass(frozen=True)
class PairEstimate:
    """Two lists taken alone: sizes, overlap, Lincoln-Petersen and Chapman (1951).

    A table of pairs shows dependence: under independence of all lists the estimates agree. ``None`` where nobody is on
    both lists (Lincoln-Petersen) or a list is empty.
    """

    lists: tuple[str, str]
    sizes: tuple[int, int]
    both: int
    lincoln_petersen: float | None
    lincoln_petersen_se: float | None
    chapman: float | None
    chapman_se: float | None
    lower: float | None
    upper: float | None

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON; ``withhold`` takes the estimates out."""
        counts: dict[str, object] = {"lists": list(self.lists), "sizes": list(self.sizes), "both": self.both}
        if withhold:
            return counts
        return counts | {
            "lincoln_petersen": self.lincoln_petersen,
            "chapman": self.chapman,
            "lower": self.lower,
            "upper": self.upper,
        }


def _pair(names: tuple[str, str], n1: int, n2: int, m: int) -> PairEstimate:
    if n1 == 0 or n2 == 0:
        return PairEstimate(names, (n1, n2), m, None, None, None, None, None, None)
    lp = n1 * n2 / m if m else None
    lp_se = (n1 * n2 * (n1 - m) * (n2 - m) / m**3) ** 0.5 if m else None
    chapman = (n1 + 1) * (n2 + 1) / (m + 1) - 1
    variance = (n1 + 1) * (n2 + 1) * (n1 - m) * (n2 - m) / ((m + 1) ** 2 * (m + 2))
    seen = n1 + n2 - m
    lower, upper = _log_interval(seen, chapman - seen, variance)
    return PairEstimate(names, (n1, n2), m, lp, lp_se, chapman, variance**0.5, lower, upper)


def pair_estimates(table: HistoryTable) -> tuple[PairEstimate, ...]:
    """Estimate from every pair of lists, in the order 12, 13, ..., 1t, 23, ...; interval around Chapman's."""
    totals = [int(total) for total in table.totals]
    return tuple(
        _pair((table.lists[i], table.lists[j]), totals[i], totals[j], table.together(i, j))
        for i, j in combinations(range(table.t), 2)
    )
