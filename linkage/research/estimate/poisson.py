"""Poisson log-linear fits, many tables at once.

Newton's method (for the canonical link the same as iteratively reweighted least squares) on a stack of tables that
share a design; which parameters and cells take part may differ from table to table. Steps that lower the likelihood
are halved. The speed of convergence also tells whether there is anything to converge to: see ``certified``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linkage.research.estimate.lattice import Floats

__all__ = ["Fits", "fit_poisson", "information"]

_TOLERANCE = 1e-10  # Newton decrement, in units of log-likelihood
_MAX_STEPS = 100
_QUADRATIC = 0.05  # last decrement over the one before; towards infinity Newton can only reach exp(-1)

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fits:
    """Fits of B tables with C cells and k parameters.

    Attributes
    ----------
    beta
        Shape ``(B, k)``; 0 where a parameter takes no part.
    mu
        Fitted counts, shape ``(B, C)``; 0 in cells that take no part.
    converged
        Shape ``(B,)``.
    certified
        Shape ``(B,)``: converged at Newton's quadratic speed, hence to a finite maximum. On a table without one, cells
        fall towards zero by a factor e a step and the decrement with them, so the last ratio stays near 0.37.
    """

    beta: Floats
    mu: Floats
    converged: Bools
    certified: Bools


def _outer(design: Floats) -> Floats:
    return (design[:, :, None] * design[:, None, :]).reshape(design.shape[0], -1)


def _solve(matrix: Floats, right: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(matrix, hermitian=True) @ right[..., None])[..., 0])


def information(design: Floats, weights: Floats, active: Bools) -> Floats:
    """Fisher information of each table, shape ``(B, k, k)``, with ones on the diagonal for inactive parameters."""
    return _information(_outer(design), weights, active)


def _information(outer: Floats, weights: Floats, active: Bools) -> Floats:
    k = active.shape[1]
    matrix = (weights @ outer).reshape(-1, k, k) * (active[:, :, None] & active[:, None, :])
    matrix[:, np.arange(k), np.arange(k)] += ~active
    return np.asarray(matrix)


def _likelihood(counts: Floats, eta: Floats, mu: Floats) -> Floats:
    value = (counts * eta).sum(axis=1) - mu.sum(axis=1)
    return np.asarray(np.where(np.isfinite(value), value, -np.inf))


def fit_poisson(design: Floats, counts: Floats, keep: Bools, active: Bools) -> Fits:
    """Fit ``log mu = design @ beta`` to every row of ``counts``.

    Parameters
    ----------
    design
        Shape ``(C, k)``.
    counts
        Shape ``(B, C)``, not negative; need not be whole. Cells that are left out must be 0.
    keep
        Shape ``(B, C)``: the cells that take part.
    active
        Shape ``(B, k)``: the parameters that take part. What is left must have full column rank.
    """
    outer = _outer(design)
    beta = _start(design, outer, counts, keep, active)
    total = len(counts)
    converged, certified = np.zeros(total, dtype=bool), np.zeros(total, dtype=bool)
    before = np.full(total, np.inf)
    rows = np.arange(total)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(_MAX_STEPS):
            n, k, a, b = counts[rows], keep[rows], active[rows], beta[rows]
            eta = b @ design.T
            mu = np.exp(eta) * k
            score = ((n - mu) @ design) * a
            step = _solve(_information(outer, mu, a), score)
            decrement = np.abs((score * step).sum(axis=1))
            beta[rows] = _halve(design, n, k, b, step, _likelihood(n, eta, mu))
            done = decrement < _TOLERANCE
            converged[rows] = done
            certified[rows] = done & (decrement < _QUADRATIC * before[rows])
            before[rows] = decrement
            rows = rows[~done & np.isfinite(decrement)]
            if not rows.size:
                break
        mu = np.exp(beta @ design.T) * keep
    return Fits(beta, mu, converged, certified)


def _start(design: Floats, outer: Floats, counts: Floats, keep: Bools, active: Bools) -> Floats:
    """Weighted least squares on the logarithms of the counts, empty cells raised a little."""
    raised = np.minimum(0.1, counts.sum(axis=1, keepdims=True) / counts.shape[1])
    lifted = np.maximum(counts, 0) + np.where(raised > 0, raised, 0.1)
    weights = lifted * keep
    right = ((weights * np.log(lifted)) @ design) * active
    return np.asarray(_solve(_information(outer, weights, active), right) * active)


def _halve(design: Floats, counts: Floats, keep: Bools, beta: Floats, step: Floats, value: Floats) -> Floats:
    """Take the step, halved as often as the likelihood asks for (up to 30 times)."""
    floor = value - 1e-10 * (1 + np.abs(value))  # rounding must not stop the last steps
    new = beta + step
    rows = np.arange(beta.shape[0])
    for _ in range(30):
        eta = new[rows] @ design.T
        worse = ~(_likelihood(counts[rows], eta, np.exp(eta) * keep[rows]) >= floor[rows])
        rows = rows[worse]
        if not rows.size:
            break
        new[rows] = (new[rows] + beta[rows]) / 2
    return new
