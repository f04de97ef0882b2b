"""Compiled passes over pairs of records. Plain twins: :mod:`linkage.hub.plain`.

Filters come as one row of 64-bit words a record, all filters one after the other. A pair's *distance* in a filter is
its Hamming distance. A filter's *stratum* is which of its fields both records have filled (one stratum where the
spec sends no presence masks); stratum 255 says that the filter is missing on either side.

The pass over all pairs works in tiles (:mod:`linkage.hub.tiles`), whose distances stay in the first-level cache. A
bound on the score (:mod:`linkage.hub.bounds`) picks the few pairs that are scored one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numba.np.ufunc.parallel import get_thread_id
from numpy.typing import NDArray

from linkage.hub import measures, tiles
from linkage.hub.bounds import MISSING, bound_scores
from linkage.hub.compiled import digest
from linkage.hub.measures import distance
from linkage.hub.tiles import COARSE, GROUP, LEFT, TILE, first_bit, hopeful, reach, tile_distances

__all__ = ["MISSING", "count_distances", "emit_candidates", "pair_distances"]

_BYTES = 2**19  # of left-hand rows that share the packing of a right-hand tile: they stay in the second-level cache


class _Records(NamedTuple):
    """The rows, see :func:`emit_candidates`."""

    words: NDArray[np.uint64]
    classes: NDArray[np.uint8]
    strata: NDArray[np.uint8]
    record: NDArray[np.int64]
    sampled: NDArray[np.bool_]


class _Scores(NamedTuple):
    """What distances are worth, see :func:`emit_candidates` and :class:`Bound`."""

    level_of: NDArray[np.uint8]
    weight_of: NDArray[np.float32]
    threshold: np.float32
    lines: NDArray[np.float32]
    shifts: NDArray[np.float32]
    floor: np.float32
    edges: NDArray[np.int32]  # (filters, strata + 1, COARSE), see _edges


class _Tile(NamedTuple):
    """A thread's working space: the right-hand records of the tile at hand, and a group's distances to them."""

    rows: NDArray[np.int64]  # (TILE,)
    record: NDArray[np.int64]  # (TILE,)
    packed: NDArray[np.uint64]  # (filters, width, TILE)
    shifts: NDArray[np.float32]  # (filters, classes, TILE): of the bound, by the left-hand row's class
    strata: NDArray[np.uint8]  # (filters, classes, TILE): likewise; a missing filter has the one after the last
    distances: NDArray[np.int32]  # (filters, GROUP, TILE)
    kinds: NDArray[np.uint8]  # (GROUP, filters): the left-hand rows' classes
    masks: NDArray[np.uint32]  # (GROUP,): pairs that may reach the threshold, as bits
    edges: NDArray[np.int32]  # (filters, classes, COARSE, TILE): likewise; only laid out where levels are counted
    near: NDArray[np.uint32]  # (filters,): pairs that reach the last coarse level, as bits
    reached: NDArray[np.int32]  # (rows of the block, filters, COARSE): pairs that reach each coarse level


class _Found(NamedTuple):
    """Pairs kept, by thread, see :func:`emit_candidates`."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    levels: NDArray[np.uint8]
    strata: NDArray[np.uint8]
    kept: NDArray[np.int64]


@njit
def _new_tile(records, width, rows):  # type: ignore[no-untyped-def]
    filters, classes, _ = records.strata.shape
    return _Tile(
        np.zeros(TILE, np.int64),
        np.zeros(TILE, np.int64),
        np.zeros((filters, width, TILE), np.uint64),
        np.zeros((filters, classes, TILE), np.float32),
        np.zeros((filters, classes, TILE), np.uint8),
        np.zeros((filters, GROUP, TILE), np.int32),
        np.zeros((GROUP, filters), np.uint8),
        np.zeros(GROUP, np.uint32),
        np.zeros((filters, classes, COARSE, TILE), np.int32),
        np.zeros(filters, np.uint32),
        np.zeros((rows, filters, COARSE), np.int32),
    )


@njit
def _pack(tile, records, scores, rights, own):  # type: ignore[no-untyped-def]
    """Lay the rows ``rights`` side by side, word by word."""
    filters, width, _ = tile.packed.shape
    for lane in range(rights.shape[0]):
        tile.rows[lane] = rights[lane]
        tile.record[lane] = records.record[rights[lane]]
        words = records.words[rights[lane]]
        for number in range(filters):
            packed = tile.packed[number, :, lane]
            for word in range(width):
                packed[word] = words[number * width + word]
            theirs = records.classes[rights[lane], number]
            for ours in range(records.strata.shape[1]):
                tile.shifts[number, ours, lane] = scores.shifts[number, ours, theirs]
                stratum = min(records.strata[number, ours, theirs], scores.weight_of.shape[1])
                tile.strata[number, ours, lane] = stratum
                if own:
                    for edge in range(COARSE):
                        tile.edges[number, ours, edge, lane] = scores.edges[number, stratum, edge]


@njit(forceinline=True)
def _count_levels(tile, records, scores, start, end, block, place, spans, counts):  # type: ignore[no-untyped-def]
    """Count the levels of rows ``start`` to ``end`` to the tile's records, other than a row's own variants."""
    nearest, furthest = tile.record.min(), tile.record.max()
    for i in range(start, end):
        first, last = max(spans[i, 0] - place, 0), min(spans[i, 1] - place, TILE)
        if first >= last:
            continue
        among = np.uint32((np.int64(1) << last) - (np.int64(1) << first))
        if nearest <= records.record[i] <= furthest:
            for lane in range(first, last):
                if tile.record[lane] == records.record[i]:
                    among &= ~(np.uint32(1) << np.uint32(lane))
        reach(tile.distances, tile.edges, tile.kinds, i - start, among, tile.reached, i - block, tile.near)  # type: ignore[call-arg]
        for number in range(tile.near.shape[0]):
            mask = tile.near[number]
            while mask != 0:
                lane = np.int64(first_bit(mask))
                mask &= mask - np.uint32(1)
                s = tile.strata[number, tile.kinds[i - start, number], lane]
                counts[i - block, number, scores.level_of[number, s, tile.distances[number, i - start, lane]]] += 1


@njit(forceinline=True)
def _keep(tile, r, lane, scores, i, found, thread):  # type: ignore[no-untyped-def]
    """Score a pair exactly; write it down, with level and stratum by filter, if it reaches the threshold."""
    missing = scores.level_of.shape[1]
    total = np.float32(0)
    for number in range(tile.packed.shape[0]):
        s = tile.strata[number, tile.kinds[r, number], lane]
        if s != missing:
            total += scores.weight_of[number, s, tile.distances[number, r, lane]]
    if not total >= scores.threshold:
        return
    at = found.kept[thread]
    found.kept[thread] += 1
    if at >= found.left.shape[1]:
        return
    found.left[thread, at], found.right[thread, at] = i, tile.rows[lane]
    for number in range(tile.packed.shape[0]):
        s = tile.strata[number, tile.kinds[r, number], lane]
        found.strata[thread, at, number] = MISSING if s == missing else s
        found.levels[thread, at, number] = (
            MISSING if s == missing else scores.level_of[number, s, tile.distances[number, r, lane]]
        )


@njit(forceinline=True)
def _keep_hopeful(tile, records, scores, start, end, place, spans, own, found, thread):  # type: ignore[no-untyped-def]
    """Score the pairs of rows ``start`` to ``end`` whose bound lets them hope, where they are to be compared at all."""
    for i in range(start, end):
        mask = tile.masks[i - start]
        while mask != 0:
            lane = np.int64(first_bit(mask))  # type: ignore[call-arg] # numba passes the context
            mask &= mask - np.uint32(1)
            if place + lane < spans[i, 0] or place + lane >= spans[i, 1]:
                continue
            if own:
                # Two sampled rows meet twice: they are kept once.
                if tile.record[lane] == records.record[i] or (i > tile.rows[lane] and records.sampled[i]):
                    continue
            _keep(tile, i - start, lane, scores, i, found, thread)


@njit
def _compare_rows(records, scores, tile, rights, spans, start, end, own, found, thread, counts):  # type: ignore[no-untyped-def]
    """Compare rows ``start`` to ``end`` with ``rights[spans[i, 0] : spans[i, 1]]``; with ``own``, count levels too."""
    filters = tile.packed.shape[0]
    reach = np.empty(((end - start + GROUP - 1) // GROUP, 2), np.int64)  # of a group together
    for group in range(reach.shape[0]):
        reach[group] = rights.shape[0], 0
        for i in range(start + group * GROUP, min(start + group * GROUP + GROUP, end)):
            if spans[i, 0] < spans[i, 1]:
                reach[group, 0], reach[group, 1] = min(reach[group, 0], spans[i, 0]), max(reach[group, 1], spans[i, 1])
    limit = reach[:, 1].max()
    for place in range(reach[:, 0].min(), limit, TILE):
        packed = False
        for group in range(reach.shape[0]):
            if reach[group, 0] >= place + TILE or reach[group, 1] <= place:
                continue
            if not packed:
                _pack(tile, records, scores, rights[place : min(place + TILE, limit)], own)
                packed = True
            low = start + group * GROUP
            high = min(low + GROUP, end)
            for i in range(low, high):
                for number in range(filters):
                    tile.kinds[i - low, number] = records.classes[i, number]
            for r in range(0, high - low, LEFT):
                for number in range(filters):
                    tile_distances(  # type: ignore[call-arg] # numba passes the context
                        records.words, low + r, end, tile.packed, number, r, tile.distances
                    )
                hopeful(  # type: ignore[call-arg]
                    tile.distances, tile.shifts, tile.kinds, scores.lines, scores.floor, r, tile.masks
                )
            if own:
                _count_levels(tile, records, scores, low, high, start, place, spans, counts)
            _keep_hopeful(tile, records, scores, low, high, place, spans, own, found, thread)


def _whole_pass(code: int) -> Any:
    @njit(parallel=True, nogil=True, cache=True)
    def compare_all(  # type: ignore[no-untyped-def]
        records, scores, width, spans, own, own_spans, first, last, found, number_of_levels, threads
    ):
        """Deal blocks of rows to threads. Return own-source rows by level: int32 (last - first, filters, levels)."""
        _ = code
        filters = records.words.shape[1] // width
        counts = np.zeros((last - first, filters, number_of_levels), np.int32)
        every = np.arange(records.words.shape[0])
        size = max(_BYTES // (8 * records.words.shape[1]), 256)
        size = min(size, max((last - first) // (8 * threads), GROUP)) // GROUP * GROUP
        blocks = (last - first + size - 1) // size
        for turn in prange(blocks):
            # Early rows have the most right sides: fold the range, so that every thread gets long and short ones.
            block = turn // 2 if turn % 2 == 0 else blocks - 1 - turn // 2
            thread = get_thread_id()  # type: ignore[no-untyped-call]
            start = first + block * size
            end = min(start + size, last)
            tile = _new_tile(records, width, end - start if own.size else 0)
            ours = counts[start - first : end - first]
            _compare_rows(records, scores, tile, own, own_spans, start, end, True, found, thread, ours)
            _compare_rows(records, scores, tile, every, spans, start, end, False, found, thread, ours)
            for i in range(tile.reached.shape[0]):
                for number in range(filters):
                    for level in range(min(COARSE - 1, number_of_levels)):
                        # Pairs within the last edge have been counted one by one.
                        ours[i, number, level] += tile.reached[i, number, level] - tile.reached[i, number, level + 1]
        return counts

    return compare_all


_compare_all = _whole_pass(digest(tiles))


def _edges(level_of: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the greatest distance that reaches each coarse level, by filter and stratum; none for a missing filter.

    Where levels do not fall with distance, every pair is within all edges: all are looked up one by one.
    """
    falling = (np.diff(level_of.astype(np.int16), axis=2) <= 0).all(axis=2)
    edges = np.stack([(level_of >= level).sum(axis=2) - 1 for level in range(COARSE)], axis=2)
    edges[~falling] = level_of.shape[2]
    return np.pad(edges, ((0, 0), (0, 1), (0, 0)), constant_values=-1).astype(np.int32)


def emit_candidates(
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
    capacity: int,
    threads: int,
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.uint8],
    NDArray[np.uint8],
    NDArray[np.int64],
    NDArray[np.int32],
]:
    """Compare rows with their right sides; keep pairs that look alike; count each row's own-source levels.

    A row ``first <= i < last`` is compared with the rows ``spans[i, 0]`` to ``spans[i, 1]``, which it may be linked
    to, and with a sample of its own source, ``own[own_spans[i, 0] : own_spans[i, 1]]``, to which it cannot.

    Parameters
    ----------
    words
        uint64, shape (records, filters * width).
    width
        Words a filter.
    classes
        uint8, shape (records, filters): which presence mask, as a number.
    strata
        uint8, shape (filters, classes, classes): stratum of two masks, or 255.
    level_of
        uint8, shape (filters, strata, bits + 1): level of a distance.
    weight_of
        float32, shape (filters, strata, bits + 1): minus log of the share of unlike pairs at least so close.
    threshold
        Pairs whose weights sum (in 32 bits, by filter) to at least this are kept.
    record
        int64, shape (rows,): record of each row.
    sampled
        bool, shape (rows,): whether a row is itself in the sample of its source.
    first, last
        Rows to work on, so that the work can be cut into shards; right sides may lie outside.
    capacity
        Pairs a thread can keep.
    threads
        How many threads may run.

    Returns
    -------
    left, right
        int32, shape (threads, capacity).
    levels, kept_strata
        uint8, shape (threads, capacity, filters).
    kept
        int64, shape (threads,): pairs found; above ``capacity`` some were lost.
    counts
        int32, shape (last - first, filters, levels): own-source rows by level.
    """
    filters = classes.shape[1]
    levels = int(level_of.max()) + 1
    bound = bound_scores(weight_of, strata, float(threshold))
    found = _Found(
        np.empty((threads, capacity), np.int32),
        np.empty((threads, capacity), np.int32),
        np.empty((threads, capacity, filters), np.uint8),
        np.empty((threads, capacity, filters), np.uint8),
        np.zeros(threads, np.int64),
    )
    counts: NDArray[np.int32] = _compare_all(
        _Records(*map(np.ascontiguousarray, (words, classes, strata, record, sampled))),
        _Scores(
            level_of, weight_of, np.float32(threshold), bound.lines, bound.shifts, bound.floor, _edges(level_of)
        ),
        width, spans, own, own_spans, first, last, found, levels, threads,
    )  # fmt: skip
    return found.left, found.right, found.levels, found.strata, found.kept, counts


def _by_pair(code: int) -> tuple[Any, Any]:
    @njit(parallel=True, nogil=True, cache=True)
    def pair_distances(words, width, left, right):  # type: ignore[no-untyped-def]
        """Return the distances of given pairs: int32 (pairs, filters).

        Parameters
        ----------
        words : uint64 (records, filters * width)
        width : words a filter
        left, right : int64 (pairs,)
        """
        _ = code
        filters = words.shape[1] // width
        out = np.empty((left.shape[0], filters), np.int32)
        for pair in prange(left.shape[0]):
            for number in range(filters):
                out[pair, number] = distance(words, left[pair], right[pair], number, width)
        return out

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
        _ = code
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
                    counts[thread, number, stratum, distance(words, i, j, number, width)] += 1
        return counts.sum(axis=0)

    return pair_distances, count_distances


pair_distances, count_distances = _by_pair(digest(measures, tiles))
