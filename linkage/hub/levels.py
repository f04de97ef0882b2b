"""Distances cut into levels at tail quantiles of pairs that cannot match, and the share of those at each level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linkage.hub.bounds import MISSING

__all__ = ["LEVELS", "TAILS", "cut_distances", "cut_levels", "fall_on", "sum_weights", "weight_of", "weights_by_level"]

TAILS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6)
"""Tail quantiles of unlike pairs at which levels are cut; nearer pairs fall into steps of distance
that widen with nearness, because chance agreement dies out fastest just beyond the last cut."""
NEAR_STEPS = 12
LEVELS = len(TAILS) + NEAR_STEPS + 1

_LEAST = 20  # unlike pairs below a cut, fewer of which would make the cut a matter of chance
_FEW = 2_000  # unlike pairs of a stratum, fewer of which make it borrow the pooled histogram


def cut_levels(histogram: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut distances into levels; a stratum with few pairs borrows the pooled histogram.

    Returns
    -------
    level_of : (filters, strata, distances)
    counts : (filters, strata, LEVELS), of the histogram the stratum was cut by
    """
    filters, strata, size = histogram.shape
    level_of = np.zeros((filters, strata, size), np.uint8)
    counts = np.zeros((filters, strata, LEVELS))
    for number in range(filters):
        pooled = histogram[number].sum(axis=0)
        for stratum in range(strata):
            own = histogram[number, stratum]
            used = own if own.sum() >= _FEW else pooled
            level_of[number, stratum] = cut_distances(used)
            counts[number, stratum] = _unlike_by_level(used, level_of[number, stratum])
    return level_of, counts


def fall_on(histogram: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Let the nearest pairs fall off as those next to them do, where matches may be among them.

    Exponentially, at the pace at which eight times the share falls to the share.

    Parameters
    ----------
    histogram
        int64, shape (filters, strata, distances).
    share
        Of the pairs, so near that matches may be among them.
    """
    out = histogram.copy()
    for own in out.reshape(-1, histogram.shape[-1]):
        below = np.cumsum(own).astype(float)
        edge, wider = (int(np.searchsorted(below, min(0.5, part) * below[-1])) for part in (share, 8 * share))
        if below[-1] < _FEW or edge == 0 or wider <= edge:
            continue
        pace = np.log(below[wider] / below[edge]) / (wider - edge)
        tail = below[edge] * np.exp(-pace * (edge - np.arange(-1, edge)))
        own[:edge] = np.minimum(own[:edge], np.round(np.diff(tail)))
    return out


def cut_distances(histogram: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the level of each distance: 0 is far; then the deepest tail quantile reached; then steps down to 0."""
    distance = np.arange(len(histogram))
    level = np.zeros(len(histogram), np.uint8)
    below = np.cumsum(histogram)
    deepest = len(histogram) // 2
    for number, share in enumerate(TAILS):
        if share * below[-1] < _LEAST:
            break
        deepest = int(np.searchsorted(below, share * below[-1]))
        level[distance <= deepest] = number + 1
    for step in range(NEAR_STEPS - 1, -1, -1):
        edge = round(deepest * (1 - (1 - step / NEAR_STEPS) ** 2))
        if edge < deepest:
            level[distance <= edge] = len(TAILS) + NEAR_STEPS - step
    return level


def _unlike_by_level(histogram: NDArray[np.int64], level: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Count unlike pairs by level; where there are none left, say how few were to be expected.

    Beyond the deepest cut the tail is carried on exponentially, at the pace at which it fell to there.
    """
    counts = np.bincount(level, weights=histogram, minlength=LEVELS)
    below = np.cumsum(histogram).astype(float)
    deepest = int(np.flatnonzero(level <= len(TAILS)).min()) - 1
    if deepest < 0 or below[deepest] < 1:
        return np.maximum(counts, 0.5)
    wider = min(int(np.searchsorted(below, 8 * below[deepest])), len(below) - 1)
    pace = np.log(max(below[wider], 2 * below[deepest]) / below[deepest]) / max(wider - deepest, 1)
    tail = below[deepest] * np.exp(-pace * (deepest - np.arange(-1, deepest + 1)))
    expected = np.bincount(level[: deepest + 1], weights=np.diff(tail), minlength=LEVELS)
    return np.maximum(counts, np.clip(expected, 1e-6, 0.5))


def weights_by_level(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return minus log of the share of unlike pairs at each level or nearer, by the last axis."""
    nearer = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    weights: NDArray[np.float64] = -np.log((nearer + 0.5) / (counts.sum(axis=-1, keepdims=True) + 1))
    return weights


def weight_of(level_of: NDArray[np.uint8], unlike_counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weight of each distance: float32 (filters, strata, bits + 1)."""
    weights = weights_by_level(unlike_counts)
    return np.take_along_axis(weights, level_of.astype(np.int64), axis=2).astype(np.float32)


def sum_weights(
    table: NDArray[np.float64], levels: NDArray[np.uint8], strata: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the sum of pairs' weights over the filters that both records have: float64 (pairs,).

    Parameters
    ----------
    table
        float64, shape (filters, strata, LEVELS): weight of a level.
    levels, strata
        uint8, shape (pairs, filters): 255 where the filter is missing on a side.
    """
    total = np.zeros(len(levels))
    for number in range(levels.shape[1]):
        there = levels[:, number] != MISSING
        total[there] += table[number, strata[there, number], levels[there, number]]
    return total
