"""What one pair of rows is worth, reckoned pair by pair; the passes over all pairs work in tiles instead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from linkage.hub import tiles
from linkage.hub.bounds import MISSING
from linkage.hub.compiled import digest
from linkage.hub.tiles import popcount

__all__ = ["distance", "survey", "weight"]

_TILE = 16  # right-hand rows that stay in the first-level cache while the left-hand ones stream past


@njit(inline="always")
def distance(words, i, j, number, width):  # type: ignore[no-untyped-def]
    """Return the distance of two rows in a filter. A view of either row would cost more than all the rest."""
    total = np.uint64(0)
    for word in range(width):
        place = number * width + word
        total += popcount(words[i, place] ^ words[j, place])  # type: ignore[call-arg] # numba passes the context
    return np.int64(total)


@njit(inline="always")
def weight(words, width, classes, strata, weight_of, i, j):  # type: ignore[no-untyped-def]
    """Return the sum of a pair's weights over its filters, in 32 bits and by filter as everywhere."""
    total = np.float32(0)
    for number in range(classes.shape[1]):
        s = strata[number, classes[i, number], classes[j, number]]
        if s != MISSING:
            total += weight_of[number, s, distance(words, i, j, number, width)]
    return total


def _with(code: int) -> Any:
    @njit(parallel=True, nogil=True, cache=True)
    def survey(words, width, classes, strata, weight_of, record, source, alone, chosen, step, bins, threads):  # type: ignore[no-untyped-def]
        """Count the pairs of chosen rows and all they may be linked to by score.

        Parameters
        ----------
        words, width, classes, strata, weight_of, record, source, alone
            As in :class:`linkage.hub.locality.Rows`.
        chosen : int64 (chosen,): rows
        step, bins : width and number of the score's bins; what is beyond falls into the last
        threads : how many threads may run

        Returns
        -------
        int64 (bins,)
        """
        _ = code
        size = words.shape[0]
        counts = np.zeros((threads, bins), np.int64)
        for thread in prange(threads):
            own, end = counts[thread], size * (thread + 1) // threads
            for start in range(size * thread // threads, end, _TILE):
                for i in chosen:
                    for j in range(start, min(start + _TILE, end)):
                        if record[i] == record[j] or (source[i] == source[j] and alone[source[j]]):
                            continue
                        score = weight(words, width, classes, strata, weight_of, i, j)
                        own[min(np.int64(score / step), bins - 1)] += 1
        return counts.sum(axis=0)

    return survey


survey = _with(digest(tiles))
