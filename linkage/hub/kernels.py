"""Compiled passes over all pairs of records, and their plain NumPy twins.

Filters come as one row of 64-bit words a record, all filters one after the other. A pair's *distance* in a filter is
its Hamming distance. A filter's *stratum* is which of its fields both records have filled (one stratum where the
spec sends no presence masks); stratum 255 says that the filter is missing on either side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic
from numba.np.ufunc.parallel import get_thread_id
from numpy.typing import NDArray

__all__ = ["MISSING", "count_distances", "emit_candidates", "pair_distances", "pair_distances_reference"]

MISSING = 255
_ROWS = 16
"""Records on the left of a tile: their words stay in the first-level cache while the right side streams past."""


@intrinsic
def _popcount(typingctx: Any, word: Any) -> Any:
    """Count the set bits of a word; LLVM makes vector instructions of a loop of these where the processor has them."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), codegen


@njit(inline="always")
def _distance(words, i, j, number, width):  # type: ignore[no-untyped-def]
    """Return the distance of two rows in a filter. A view of either row would cost more than all the rest."""
    total = np.uint64(0)
    for word in range(width):
        place = number * width + word
        total += _popcount(words[i, place] ^ words[j, place])  # type: ignore[call-arg] # numba passes the context
    return np.int64(total)


@njit(parallel=True, nogil=True, cache=True)
def pair_distances(words, width, left, right):  # type: ignore[no-untyped-def]
    """Return the distances of given pairs: int32 (pairs, filters).

    Parameters
    ----------
    words : uint64 (records, filters * width)
    width : words a filter
    left, right : int64 (pairs,)
    """
    filters = words.shape[1] // width
    out = np.empty((left.shape[0], filters), np.int32)
    for pair in prange(left.shape[0]):
        for number in range(filters):
            out[pair, number] = _distance(words, left[pair], right[pair], number, width)
    return out


def pair_distances_reference(
    words: NDArray[np.uint64], width: int, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Plain twin of :func:`pair_distances`."""
    bits = np.bitwise_count(words[left] ^ words[right])
    distances: NDArray[np.int32] = bits.reshape(len(left), -1, width).sum(axis=2, dtype=np.int32)
    return distances


@njit(parallel=True, nogil=True, cache=True)
def count_distances(words, width, classes, strata, left, right, threads):  # type: ignore[no-untyped-def]
    """Histogram the distances of given pairs by filter and stratum: int64 (filters, strata, bits + 1).

    Parameters
    ----------
    words : uint64 (records, filters * width)
    classes : uint8 (records, filters): which presence mask, as a number
    strata : uint8 (filters, classes, classes): stratum of two masks, or 255
    left, right : int64 (pairs,)
    threads : how many threads may run
    """
    filters = words.shape[1] // width
    number_of_strata = 0
    for value in strata.ravel():
        if value != MISSING and value + 1 > number_of_strata:
            number_of_strata = value + 1
    counts = np.zeros((threads, filters, max(number_of_strata, 1), width * 64 + 1), np.int64)
    for pair in prange(left.shape[0]):
        thread = get_thread_id()  # type: ignore[no-untyped-call]
        i, j = left[pair], right[pair]
        for number in range(filters):
            stratum = strata[number, classes[i, number], classes[j, number]]
            if stratum != MISSING:
                counts[thread, number, stratum, _distance(words, i, j, number, width)] += 1
    return counts.sum(axis=0)


@njit(inline="always")
def _weight(words, width, classes, strata, weight_of, i, j):  # type: ignore[no-untyped-def]
    """Return the sum of a pair's weights over its filters."""
    total = np.float32(0)
    for number in range(classes.shape[1]):
        s = strata[number, classes[i, number], classes[j, number]]
        if s != MISSING:
            total += weight_of[number, s, _distance(words, i, j, number, width)]
    return total


@njit
def _keep(words, width, classes, strata, level_of, i, j, level, stratum):  # type: ignore[no-untyped-def]
    """Write down a pair's level and stratum by filter: anew, for one pair in thousands is kept."""
    for number in range(classes.shape[1]):
        s = strata[number, classes[i, number], classes[j, number]]
        stratum[number] = s
        level[number] = MISSING
        if s != MISSING:
            level[number] = level_of[number, s, _distance(words, i, j, number, width)]


@njit(parallel=True, nogil=True, cache=True)
def emit_candidates(  # type: ignore[no-untyped-def]
    words,
    width,
    classes,
    strata,
    level_of,
    weight_of,
    threshold,
    spans,
    own,
    own_spans,
    record,
    sampled,
    first,
    last,
    capacity,
    threads,
):
    """Compare rows with their right sides; keep pairs that look alike; count each row's own-source levels.

    A row ``first <= i < last`` is compared with the rows ``spans[i, 0]`` to ``spans[i, 1]``, which it may be linked
    to, and with a sample of its own source, ``own[own_spans[i, 0] : own_spans[i, 1]]``, to which it cannot.

    Parameters
    ----------
    level_of : uint8 (filters, strata, bits + 1): level of a distance
    weight_of : float32 (filters, strata, bits + 1): minus log of the share of unlike pairs at least so close
    threshold : pairs whose weights sum to at least this are kept
    record : int64 (rows,): record of each row
    sampled : bool (rows,): whether a row is itself in the sample of its source
    first, last : rows to work on, so that the work can be cut into shards; right sides may lie outside
    capacity : pairs a thread can keep

    Returns
    -------
    left, right : int32 (threads, capacity)
    levels, kept_strata : uint8 (threads, capacity, filters)
    kept : int64 (threads,): pairs found; above ``capacity`` some were lost
    counts : int32 (last - first, filters, levels): own-source rows by level
    """
    filters = words.shape[1] // width
    number_of_levels = np.int64(0)
    for value in level_of.ravel():
        number_of_levels = max(number_of_levels, np.int64(value) + 1)
    left = np.empty((threads, capacity), np.int32)
    right = np.empty((threads, capacity), np.int32)
    levels = np.empty((threads, capacity, filters), np.uint8)
    kept_strata = np.empty((threads, capacity, filters), np.uint8)
    kept = np.zeros(threads, np.int64)
    counts = np.zeros((last - first, filters, number_of_levels), np.int32)
    blocks = (last - first + _ROWS - 1) // _ROWS
    for turn in prange(blocks):
        # Early rows have the most right sides: fold the range, so that every thread gets long and short ones.
        block = turn // 2 if turn % 2 == 0 else blocks - 1 - turn // 2
        thread = get_thread_id()  # type: ignore[no-untyped-call]
        start = first + block * _ROWS
        end = min(start + _ROWS, last)
        for i in range(start, end):
            for place in range(own_spans[i, 0], own_spans[i, 1]):
                j = own[place]
                if record[i] == record[j]:
                    continue
                total = np.float32(0)
                for number in range(filters):
                    s = strata[number, classes[i, number], classes[j, number]]
                    if s != MISSING:
                        distance = _distance(words, i, j, number, width)
                        counts[i - first, number, level_of[number, s, distance]] += 1
                        total += weight_of[number, s, distance]
                if total >= threshold and (i < j or not sampled[i]):
                    if kept[thread] < capacity:
                        at = kept[thread]
                        left[thread, at], right[thread, at] = i, j
                        _keep(
                            words, width, classes, strata, level_of, i, j, levels[thread, at], kept_strata[thread, at]
                        )
                    kept[thread] += 1
        for j in range(spans[start:end, 0].min(), spans[start:end, 1].max()):
            for i in range(start, end):
                if j < spans[i, 0] or j >= spans[i, 1]:
                    continue
                if _weight(words, width, classes, strata, weight_of, i, j) >= threshold:
                    if kept[thread] < capacity:
                        at = kept[thread]
                        left[thread, at], right[thread, at] = i, j
                        _keep(
                            words, width, classes, strata, level_of, i, j, levels[thread, at], kept_strata[thread, at]
                        )
                    kept[thread] += 1
    return left, right, levels, kept_strata, kept, counts
