"""How common the values are that two records share: their own-source neighbours at the pair's level."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.hub.bounds import MISSING

__all__ = ["commonness"]

_LEAST, _MOST = 0.02, 50.0  # of the prior: how much usual pairs a record's own count is set against


def commonness(
    counts: list[NDArray[np.uint16]],
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    levels: NDArray[np.uint8],
    own: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compare the two records' own-source neighbours at the pair's level with what is usual: float64 (pairs, filters).

    A gamma prior on each record's rate, fitted by moments per filter and level, keeps few counts from saying much.

    Parameters
    ----------
    counts
        uint16, shape (rows, filters, levels), perhaps in parts: sampled rows of the row's own source by level.
    i, j, levels
        Shape (pairs,), (pairs,) and (pairs, filters): the pairs' rows and levels; 255 where a filter is missing.
    own
        int64, shape (pairs,): how often a pair that is itself of one source was counted as a neighbour: it is left out.

    Returns
    -------
    numpy.ndarray
        Log of what was found over what is usual; 0 where a filter is missing.
    """
    whole = counts[0] if len(counts) == 1 else np.concatenate(counts)
    out = np.zeros(levels.shape)
    for number in range(levels.shape[1]):
        seen, sums = _moments(whole, number)
        # Sums of whole numbers, so that nothing depends on their order.
        squared = float((seen.astype(np.float64) ** 2).sum())
        rate = sums[:, 0] / max(int(seen.sum()), 1)
        spread = sums[:, 1] - 2 * rate * sums[:, 2] + rate**2 * squared - sums[:, 0]
        prior = np.clip(rate**2 * squared / np.maximum(spread, 1e-12 * len(seen)), _LEAST, _MOST)
        _compare(whole, number, i, j, levels, own, seen, rate, prior, out)
    return out


@njit(nogil=True, cache=True)
def _moments(counts, number):  # type: ignore[no-untyped-def]
    """Sum over rows up what lies at each level or nearer.

    Returns
    -------
    seen : int64 (rows,): at any level
    sums : int64 (levels, 3): of the rows' numbers, of their squares, and of them times ``seen``
    """
    rows, levels = counts.shape[0], counts.shape[2]
    seen, sums = np.zeros(rows, np.int64), np.zeros((levels, 3), np.int64)
    for row in range(rows):
        for level in range(levels):
            seen[row] += counts[row, number, level]
        nearer = np.int64(0)
        for level in range(levels - 1, -1, -1):
            nearer += counts[row, number, level]
            sums[level, 0] += nearer
            sums[level, 1] += nearer * nearer
            sums[level, 2] += nearer * seen[row]
    return seen, sums


@njit(nogil=True, cache=True)
def _compare(counts, number, i, j, levels, own, seen, rate, prior, out):  # type: ignore[no-untyped-def]
    """Fill in a filter's commonness of each pair."""
    for pair in range(levels.shape[0]):
        level = levels[pair, number]
        if level == MISSING:
            continue
        found = -own[pair]
        for step in range(level, counts.shape[2]):
            found += np.int64(counts[i[pair], number, step]) + np.int64(counts[j[pair], number, step])
        usual = rate[level] * (seen[i[pair]] + seen[j[pair]])
        out[pair, number] = np.log((max(found, 0) + prior[level]) / (usual + prior[level]))
