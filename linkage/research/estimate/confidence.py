"""Draws that stand for what an estimator says, whatever kind of interval it has, so that they can be added.

Draws of several partitions lie around their partitions' centres. Few partitions, or such as hang together, differ less
than the posterior they come from: :func:`spread` moves their centres apart by as much as that asks for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.result import FURTHEST, Result

__all__ = ["allowance", "confidence_draws", "log_scale", "people", "spread"]

_Z = 1.959964
_LEAST_UNSEEN = 0.5  # a centre below half a person says no more than one of half a person


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
    return np.asarray(rng.permutation(people(observed, scale[0] + scale[1] * ndtri(levels))))


def people(observed: float, log_unseen: Floats) -> Floats:
    """Give numbers of people from logs of the unseen; one that is beyond all measure stays a number."""
    furthest = np.log(FURTHEST * max(observed, 1.0))
    return np.asarray(observed + np.exp(np.minimum(log_unseen, furthest)))


def allowance(worth: float) -> float:
    """Say how many times further from their mean the centres of draws must lie, for what the draws are worth.

    Let B be the variance of the centres (squares over their number). Draws worth W independent ones have B too small by
    the factor 1 - 1/W, the next partition varies around their mean by 1 + 1/W times the variance between partitions
    (Rubin 1987), and a variance from W draws is known only so well that 95% take Student's t with W - 1 degrees of
    freedom: sqrt((1 + 1/W) / (1 - 1/W)) t / z. That is 1.12 for 20 draws and 1.02 for 100. It does not depend on the
    estimate, so all estimates over the same partitions are spread alike and what they share still cancels.

    Parameters
    ----------
    worth
        At least 2.
    """
    return float(np.sqrt((1 + 1 / worth) / (1 - 1 / worth)) * stdtrit(worth - 1, 0.975) / ndtri(0.975))


def spread(rows: Floats, observed: Floats, worth: float) -> Floats:
    """Move the draws of each partition so that their centres lie :func:`allowance` times further apart.

    The centre is the median of the unseen, on the log scale; the unseen of a row are multiplied by one factor, so that
    no draw falls below the people seen.

    Parameters
    ----------
    rows
        Shape ``(R, D)``: draws of each partition.
    observed
        Shape ``(R,)``: people seen.
    worth
        How many independent partitions they are worth, at least 2.
    """
    unseen = rows - observed[:, None]
    centres = np.log(np.maximum(np.median(unseen, axis=1), _LEAST_UNSEEN))
    moved = np.exp((allowance(worth) - 1) * (centres - centres.mean()))
    return np.asarray(observed[:, None] + unseen * moved[:, None])
