"""Draws that stand for what an estimator says, whatever kind of interval it has, so that they can be added."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr, ndtri

from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.result import Result

__all__ = ["confidence_draws", "log_scale"]

_Z = 1.959964


def _bca(details: Mapping[str, object], levels: Floats) -> Floats:
    """Levels of the bootstrap distribution at which BCa limits of these levels lie."""
    z0, a = details.get("bias_correction"), details.get("acceleration")
    if not isinstance(z0, float) or not isinstance(a, float):
        return levels
    z = z0 + ndtri(levels)
    if (1 - a * np.array([z.min(), z.max()]) <= 0).any():
        return levels
    return np.asarray(ndtr(z0 + z / (1 - a * z)))


def log_scale(result: Result, observed: float) -> tuple[float, float] | None:
    """log(N - n) and its standard error from the interval; ``None`` where they are not on that scale."""
    lower, upper = result.lower, result.upper
    low, high = result.details.get("wald_lower"), result.details.get("wald_upper")
    if isinstance(low, float) and isinstance(high, float):
        lower, upper = low, high
    if result.n_hat is None or upper is None or result.n_hat <= observed or upper <= result.n_hat:
        return None
    point, top = np.log(result.n_hat - observed), np.log(upper - observed)
    if lower is not None and lower > observed:
        return float(point), float((top - np.log(lower - observed)) / (2 * _Z))
    return float(point), float((top - point) / _Z)


def confidence_draws(result: Result, observed: float, size: int, rng: np.random.Generator) -> Floats | None:
    """Give draws that stand for what a result says, in random order; ``None`` where it has no interval.

    Posterior draws as they are; bootstrap draws at the levels that BCa gives them, so that their quantiles are the
    limits of the interval; without draws, normal on log(N - n) as wide as the interval.

    Parameters
    ----------
    observed
        People seen in the table.
    size
        How many.
    """
    if not result.ok or result.n_hat is None:
        return None
    levels = (np.arange(size) + rng.random(size)) / size
    if result.draws is not None and result.draws.size:
        corrected = _bca(result.details, levels)
        if corrected is levels and result.draws.size == size:
            return np.asarray(rng.permutation(result.draws), dtype=np.float64)
        return np.asarray(rng.permutation(np.quantile(result.draws, corrected, method="median_unbiased")))
    scale = log_scale(result, observed)
    if scale is None:
        return None
    return np.asarray(rng.permutation(observed + np.exp(scale[0] + scale[1] * ndtri(levels))))
