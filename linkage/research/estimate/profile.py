"""Multinomial profile-likelihood interval for a fixed log-linear model (as in Rcapture; Baillargeon & Rivest 2007).

For a number n0 of unseen people the model is fitted to the whole table with n0 in the empty cell, and

    l(n0) = log G(n + n0 + 1) - log G(n0 + 1) + sum_x n_x log p_x(n0) + n0 log p_0(n0).

The interval holds every n0 whose l is within half the chi-square quantile of the greatest. It is conditional on the
model: where the data chose the model it is far too short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, psi
from scipy.stats import chi2

from linkage.research.estimate.gate import reduce_model
from linkage.research.estimate.lattice import Floats, all_terms, contains
from linkage.research.estimate.poisson import fit_poisson
from linkage.research.estimate.result import FURTHEST

__all__ = ["Profile", "profile_interval"]


@dataclass(frozen=True)
class Profile:
    """Maximum and ends of the profile likelihood, as numbers of people; ``upper`` is ``None`` where there is no end."""

    n_hat: float | None
    lower: float
    upper: float | None


class _Likelihood:
    def __init__(self, counts: Floats, t: int, interactions: tuple[int, ...]) -> None:
        model = reduce_model(counts, t, interactions)
        self.t, self.terms = t, all_terms(t, model.finite)
        self.keep = (contains(t, model.minus_infinity, empty_cell=True).sum(axis=0) == 0)[None, :]
        self.active = np.ones((1, len(self.terms)), dtype=bool)
        self.counts = counts
        self.n = float(counts.sum())

    def fit(self, n0: float) -> Floats:
        """Cell probabilities of the whole table, the empty cell first."""
        full = np.append(n0, self.counts)[None, :]
        mu = fit_poisson(self.t, self.terms, full, self.keep, self.active).mu[0]
        return np.asarray(mu / mu.sum())

    def value(self, n0: float) -> float:
        p = self.fit(n0)
        seen = self.counts > 0
        value = gammaln(self.n + n0 + 1) - gammaln(n0 + 1) + (self.counts[seen] * np.log(p[1:][seen])).sum()
        return float(value + (n0 * np.log(p[0]) if n0 > 0 else 0.0))

    def slope(self, n0: float) -> float:
        # By the envelope theorem the fit need not be differentiated.
        return float(psi(self.n + n0 + 1) - psi(n0 + 1) + np.log(self.fit(n0)[0]))


def profile_interval(
    counts: Floats, t: int, interactions: tuple[int, ...], *, near: float, level: float = 0.95
) -> Profile:
    """Profile the unseen number.

    Parameters
    ----------
    counts
        Shape ``(2**t - 1,)``, as floats.
    interactions
        The model; it must have passed the gate.
    near
        A first guess of the unseen number, such as the Poisson estimate.
    """
    try:
        return _profile(_Likelihood(counts, t, interactions), near, level)
    except ValueError:  # no root: with overlaps of one person beside billions, rounding leaves no curve to find one on
        return Profile(None, float(counts.sum()), None)


def _profile(likelihood: _Likelihood, near: float, level: float) -> Profile:
    n, furthest = likelihood.n, FURTHEST * likelihood.n
    least = 1e-9 * max(near, 1.0)
    high = max(near, 1.0)
    while likelihood.slope(high) > 0 and high < furthest:
        high *= 2
    if high >= furthest:
        return Profile(None, n, None)
    best = 0.0 if likelihood.slope(least) <= 0 else float(brentq(likelihood.slope, least, high, rtol=1e-10))
    target = likelihood.value(best) - chi2.ppf(level, 1) / 2

    def excess(n0: float) -> float:
        return float(likelihood.value(n0) - target)

    lower = 0.0 if best == 0 or excess(0.0) >= 0 else float(brentq(excess, 0.0, best, xtol=1e-6, rtol=1e-10))
    low, high = best, max(2 * best, 2.0)
    while excess(high) > 0 and high < furthest:
        low, high = high, 2 * high
    if high >= furthest:
        return Profile(n + best, n + lower, None)
    return Profile(n + best, n + lower, n + float(brentq(excess, low, high, xtol=1e-6, rtol=1e-10)))
