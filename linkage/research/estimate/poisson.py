"""Poisson log-linear fits, many tables at once.

Newton's method (for the canonical link the same as iteratively reweighted least squares) on a stack of tables that
share their terms; which parameters and cells take part may differ from table to table. Steps that lower the likelihood
are halved. The speed of convergence also tells whether there is anything to converge to: see ``certified``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from linkage.research.estimate.lattice import Floats, subset_sums, superset_sums

__all__ = ["Fits", "fit_poisson", "information", "intercept_error", "whole"]

_TOLERANCE = 1e-10  # Newton decrement, in units of log-likelihood
_MAX_STEPS = 100
_QUADRATIC = 0.05  # last decrement over the one before; towards infinity Newton can only reach exp(-1)
_AWAY, _ROUNDING = 1e-9, 4e-12  # a fitted cell above this (of a person, and of all people) does not fall to zero
_FULL_RANK = 1e-6  # least eigenvalue of a matrix of whole numbers

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fits:
    """Fits of B tables with C cells and k parameters.

    Attributes
    ----------
    beta
        Shape ``(B, k)``; 0 where a parameter takes no part.
    mu
        Fitted counts, shape ``(B, C)``; 0 in cells that take no part, NaN where a fit ran out of numbers.
    converged
        Shape ``(B,)``.
    certified
        Shape ``(B,)``: converged at Newton's quadratic speed, hence to a finite maximum. On a table without one, cells
        fall towards zero by a factor e a step and the decrement with them, so the last ratio stays near 0.37. Rounding
        can hide that where there are many people, so either no cell may have come near zero, or the occupied cells
        alone must leave no direction to fall in (their design has full rank).
    """

    beta: Floats
    mu: Floats
    converged: Bools
    certified: Bools


def _solve(matrix: Floats, right: Floats) -> Floats:
    """Solve each system of a stack, by least squares where one is singular; NaN where it overflowed."""
    try:
        return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])
    except np.linalg.LinAlgError:
        if len(matrix) > 1:
            return np.concatenate([_solve(m[None], r[None]) for m, r in zip(matrix, right, strict=True)])
    try:
        return np.asarray((np.linalg.pinv(matrix, hermitian=True) @ right[..., None])[..., 0])
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)


def information(t: int, terms: tuple[int, ...], weights: Floats, active: Bools) -> Floats:
    """Fisher information of each table, shape ``(B, k, k)``, with ones on the diagonal for inactive parameters.

    The entry of terms S and T is the sum of the weights, shape ``(B, 2**t)``, over all cells that contain S and T.
    """
    masks = np.array(terms, dtype=np.int64)
    sums = superset_sums(weights, t)
    matrix = sums[:, masks[:, None] | masks[None, :]] * (active[:, :, None] & active[:, None, :])
    diagonal = np.arange(len(terms))
    matrix[:, diagonal, diagonal] += ~active
    return np.asarray(matrix)


def intercept_error(matrix: Floats) -> Floats:
    """Give the standard error of the intercept from each information of a stack; NaN where rounding leaves none.

    With overlaps of one person beside lists of millions the information is singular to the digits of a double.
    """
    try:
        variance = np.linalg.inv(matrix)[:, 0, 0]
    except np.linalg.LinAlgError:
        if len(matrix) == 1:
            return np.array([np.nan])
        return np.concatenate([intercept_error(one[None]) for one in matrix])
    return np.asarray(np.sqrt(np.where(variance > 0, variance, np.nan)))


def whole(values: Floats | Bools, t: int) -> Floats:
    """Put a zero in front for the empty cell, unless it is there."""
    cells = np.zeros((len(values), 2**t))
    cells[:, 2**t - values.shape[1] :] = values
    return cells


class _Stack:
    """The tables of one call on the full lattice of cells, so that all sums over terms are zeta transforms."""

    def __init__(self, t: int, terms: tuple[int, ...], counts: Floats, keep: Bools, active: Bools) -> None:
        self.t, self.terms, self.masks = t, terms, np.array(terms, dtype=np.int64)
        self.counts, self.keep, self.active = counts, keep, active

    def at(self, rows: npt.NDArray[np.int64]) -> _Stack:
        return _Stack(self.t, self.terms, self.counts[rows], self.keep[rows], self.active[rows])

    def logs(self, beta: Floats) -> Floats:
        placed = np.zeros((len(beta), 2**self.t))
        placed[:, self.masks] = beta
        return subset_sums(placed, self.t)

    def fitted(self, beta: Floats) -> Floats:
        return np.asarray(np.where(self.keep, np.exp(self.logs(beta)), 0.0))

    def over_terms(self, values: Floats) -> Floats:
        return np.asarray(superset_sums(values, self.t)[:, self.masks] * self.active)

    def likelihood(self, beta: Floats, mu: Floats) -> Floats:
        # By the sufficient statistics; cells that are left out hold no counts.
        value = (self.sufficient * beta).sum(axis=1) - mu.sum(axis=1)
        return np.asarray(np.where(np.isfinite(value), value, -np.inf))

    @cached_property
    def sufficient(self) -> Floats:
        return self.over_terms(self.counts)

    def start(self) -> Floats:
        """Weighted least squares on the logarithms of the counts, empty cells raised a little."""
        raised = np.minimum(0.1, self.counts.sum(axis=1, keepdims=True) / self.counts.shape[1])
        lifted = self.counts + np.where(raised > 0, raised, 0.1)
        weights = lifted * self.keep
        right = self.over_terms(weights * np.log(lifted))
        return _solve(information(self.t, self.terms, weights, self.active), right) * self.active

    def settled(self, mu: Floats) -> Bools:
        """Say of each table whether its fit is certain to be finite; its decrement is below the tolerance.

        A cell that falls adds its fitted count to the decrement. So with all fitted counts above the tolerance and the
        rounding of the sums none falls. A direction to fall in leaves all occupied cells as they are.
        """
        least = np.where(self.keep, mu, np.inf).min(axis=1)
        sure = np.asarray(least > _AWAY + _ROUNDING * self.counts.sum(axis=1))
        rows = np.flatnonzero(~sure)
        if rows.size:
            occupied = (self.counts[rows] > 0).astype(np.float64)
            gram = information(self.t, self.terms, occupied, self.active[rows])
            sure[rows] = np.linalg.eigvalsh(gram)[:, 0] > _FULL_RANK
        return sure

    def advance(self, beta: Floats, mu: Floats, step: Floats) -> tuple[Floats, Floats]:
        """Take the step, halved as often as the likelihood asks for (up to 30 times); give beta and mu after it."""
        value = self.likelihood(beta, mu)
        floor = value - 1e-10 * (1 + np.abs(value))  # rounding must not stop the last steps
        new = beta + step
        fitted = self.fitted(new)
        worse = np.flatnonzero(~(self.likelihood(new, fitted) >= floor))
        for _ in range(30):
            if not worse.size:
                break
            part = self.at(worse)
            new[worse] = (new[worse] + beta[worse]) / 2
            fitted[worse] = part.fitted(new[worse])
            worse = worse[~(part.likelihood(new[worse], fitted[worse]) >= floor[worse])]
        return new, fitted


def fit_poisson(t: int, terms: tuple[int, ...], counts: Floats, keep: Bools, active: Bools) -> Fits:
    """Fit log mu_x = sum of beta_T over the terms T in x to every row of ``counts``.

    Parameters
    ----------
    t
        Number of lists.
    terms
        The k terms, intercept and main effects among them, as bitmasks.
    counts
        Shape ``(B, C)``, not negative; need not be whole. C is 2^t - 1, or 2^t with the empty cell first. Cells that
        are left out must be 0.
    keep
        Shape ``(B, C)``: the cells that take part.
    active
        Shape ``(B, k)``: the parameters that take part. What is left must have full column rank.
    """
    total, cells = counts.shape
    stack = _Stack(t, terms, whole(counts, t), whole(keep, t) > 0, active)
    converged, certified = np.zeros(total, dtype=bool), np.zeros(total, dtype=bool)
    before = np.full(total, np.inf)
    rows = np.arange(total)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        beta = stack.start()
        mu = stack.fitted(beta)
        part = stack
        for _ in range(_MAX_STEPS):
            part = part if len(rows) == len(part.counts) else stack.at(rows)
            score = part.over_terms(part.counts - mu[rows])
            step = _solve(information(t, terms, mu[rows], part.active), score)
            decrement = np.abs((score * step).sum(axis=1))
            beta[rows], mu[rows] = part.advance(beta[rows], mu[rows], step)
            done = decrement < _TOLERANCE
            converged[rows] = done
            certified[rows] = done & (decrement < _QUADRATIC * before[rows])
            before[rows] = decrement
            rows = rows[~done & np.isfinite(decrement)]
            if not rows.size:
                break
    mu[~np.isfinite(mu).all(axis=1)] = np.nan  # infinity less infinity would warn whoever sums the likelihood
    certified[certified] = stack.at(np.flatnonzero(certified)).settled(mu[certified])
    return Fits(beta, mu[:, 2**t - cells :], converged, certified)
