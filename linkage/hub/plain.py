"""Plain NumPy twins of the compiled kernels: what :mod:`linkage.hub.kernels` must find, bit for bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linkage.hub.bounds import MISSING

__all__ = ["count_distances_reference", "emit_candidates_reference", "pair_distances_reference"]


def pair_distances_reference(
    words: NDArray[np.uint64], width: int, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Plain twin of :func:`linkage.hub.kernels.pair_distances`."""
    bits = np.bitwise_count(words[left] ^ words[right])
    distances: NDArray[np.int32] = bits.reshape(len(left), words.shape[1] // width, width).sum(axis=2, dtype=np.int32)
    return distances


def count_distances_reference(
    words: NDArray[np.uint64],
    width: int,
    classes: NDArray[np.uint8],
    strata: NDArray[np.uint8],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Plain twin of :func:`linkage.hub.kernels.count_distances`."""
    there = strata[strata != MISSING]
    counts = np.zeros((len(strata), int(there.max(initial=0)) + 1, width * 64 + 1), np.int64)
    distances = pair_distances_reference(words, width, left, right)
    for number in range(len(strata)):
        stratum = strata[number, classes[left, number], classes[right, number]]
        known = stratum != MISSING
        np.add.at(counts, (number, stratum[known], distances[known, number]), 1)
    return counts


def emit_candidates_reference(
    words: NDArray[np.uint64],
    width: int,
    classes: NDArray[np.uint8],
    strata: NDArray[np.uint8],
    level_of: NDArray[np.uint8],
    weight_of: NDArray[np.float32],
    threshold: np.float32,
    spans: NDArray[np.int64],
    own: NDArray[np.int64],
    own_spans: NDArray[np.int64],
    record: NDArray[np.int64],
    sampled: NDArray[np.bool_],
    first: int,
    last: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]]:
    """Plain twin of :func:`linkage.hub.kernels.emit_candidates`: left, right, levels, strata and counts, sorted."""
    left = np.repeat(np.arange(first, last), np.maximum(spans[first:last, 1] - spans[first:last, 0], 0))
    right = np.concatenate([np.arange(*spans[i]) for i in range(first, last)] or [left])
    mine = np.repeat(np.arange(first, last), np.maximum(own_spans[first:last, 1] - own_spans[first:last, 0], 0))
    theirs = np.concatenate([own[slice(*own_spans[i])] for i in range(first, last)] or [mine])
    other = record[mine] != record[theirs]
    mine, theirs = mine[other], theirs[other]
    counts = np.zeros((last - first, len(strata), int(level_of.max()) + 1), np.int32)
    _, levels, _ = _look_up(words, width, classes, strata, level_of, weight_of, mine, theirs)
    for number in range(len(strata)):
        there = levels[:, number] != MISSING
        np.add.at(counts, (mine[there] - first, number, levels[there, number]), 1)
    # A pair of two sampled records of a source is met from both sides: it is kept once.
    once = (mine < theirs) | ~sampled[mine]
    left, right = np.concatenate([left, mine[once]]), np.concatenate([right, theirs[once]])
    total, levels, kept_strata = _look_up(words, width, classes, strata, level_of, weight_of, left, right)
    order = np.lexsort((right, left))
    order = order[total[order] >= threshold]
    return left[order], right[order], levels[order], kept_strata[order], counts


def _look_up(
    words: NDArray[np.uint64],
    width: int,
    classes: NDArray[np.uint8],
    strata: NDArray[np.uint8],
    level_of: NDArray[np.uint8],
    weight_of: NDArray[np.float32],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return score, levels and strata of given pairs."""
    distances = pair_distances_reference(words, width, left, right)
    total = np.zeros(len(left), np.float32)
    levels = np.full(distances.shape, MISSING, np.uint8)
    found = np.full(distances.shape, MISSING, np.uint8)
    for number in range(distances.shape[1]):
        stratum = strata[number, classes[left, number], classes[right, number]]
        there = stratum != MISSING
        at = stratum[there], distances[there, number]
        found[:, number] = stratum
        levels[there, number] = level_of[number][at]
        total[there] += weight_of[number][at]
    return total, levels, found
