"""Compiled search for pairs of rows that collide on a key (:mod:`linkage.hub.locality`).

Key by key, the rows are dealt out by their values of it; of the rows that share one, the sketches are laid side by side
and compared in tiles (:mod:`linkage.hub.tiles`), all by all. Rows are searched source after source, and of a source
those that are watched first, so that who meets whom is a matter of a few rectangles. The plain twin is
:func:`linkage.hub.locality.collide_reference`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.hub import dealing, locality, measures, tiles
from linkage.hub.bounds import MISSING
from linkage.hub.compiled import digest
from linkage.hub.dealing import deal_rows, lay_line, read_firsts, read_values, room_for
from linkage.hub.locality import Keys, Rows, code_of, collided_before, crowd_bits, part_of
from linkage.hub.measures import distance, weight
from linkage.hub.tiles import LEFT, TILE, fetch, first_bit, near_sketches

__all__ = ["Collisions", "collide"]

_TILES = 16  # tiles that are compared before any mask is looked at
_AHEAD = 4  # pairs ahead of the one at hand whose rows are called for
_FEW = 32  # keys before one: whether two rows met on them is seen sooner than how much they are alike
_MANY = 8192  # near pairs that are found before any is looked at
_NONE = np.zeros(0, np.int64)

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


class Collisions(NamedTuple):
    """Pairs found, by thread."""

    left: NDArray[np.int32]  # (threads, capacity)
    right: NDArray[np.int32]
    levels: Bytes  # (threads, capacity, filters)
    strata: Bytes
    parted: Bytes  # (threads, capacity) bits of the random number on which a pair of a crowd had to agree
    kept: NDArray[np.int64]  # (threads,) pairs found; above the capacity some were lost
    skipped: NDArray[np.float64]  # (keys,) linkable pairs of crowds that were not compared on the key
    scored: NDArray[np.float64]  # (keys,) pairs whose filters were compared whole


class _Side(NamedTuple):
    """Rows that share a value, side by side."""

    one: Words  # the words of their sketches
    two: Words
    three: Words
    bounds: NDArray[np.int64]  # (2 * sources + 1,) where a source's watched rows begin, and where its others do
    masks: NDArray[np.uint32]  # (_TILES, LEFT) which sketches are near


class _Task(NamedTuple):
    """What a search is for."""

    line_bytes: Bytes
    rows: Rows
    keys: Keys
    has_heavy: NDArray[np.bool_]  # (keys,)
    out: Collisions
    thread: int


@njit
def _new_side(size, edges):  # type: ignore[no-untyped-def]
    room = size + TILE + LEFT  # the last tile and the last rows reach beyond
    return _Side(
        np.empty(room, np.uint64),
        np.empty(room, np.uint64),
        np.empty(room, np.uint64),
        np.empty(edges, np.int64),
        np.empty((_TILES, LEFT), np.uint32),
    )


@njit(forceinline=True)
def _lay_side(dealt, edges, start, end, one, two, three, bounds):  # type: ignore[no-untyped-def]
    """Lay the sketches of rows side by side, and find where each source's watched rows and its others begin."""
    segment, edge = 0, np.uint64(edges[1])
    bounds[0] = 0
    for place in range(end - start):
        row = start + place
        one[place], two[place], three[place] = dealt[row, 0], dealt[row, 1], dealt[row, 2]
        while dealt[row, 3] >= edge:
            segment += 1
            bounds[segment] = place
            edge = np.uint64(edges[segment + 1])
    for later in range(segment + 1, bounds.shape[0]):
        bounds[later] = end - start


@njit(forceinline=True)
def _rectangle(bounds, alone, turn, size):  # type: ignore[no-untyped-def]
    """Return which rows are compared with which of those after them, two turns a source."""
    source, across = turn // 2, turn % 2
    own, others, beyond = bounds[2 * source], bounds[2 * source + 1], bounds[2 * source + 2]
    if not alone[source]:  # every later row
        return own, beyond, (size if across else 0), size
    if across:
        return own, beyond, beyond, size
    return own, others, 0, others


@njit
def _sift(dealt, starts, edges, alone, bound, heavy, value, side, near):  # type: ignore[no-untyped-def]
    """Find the pairs of rows that agree in a key's value and whose sketches are near, from a value on.

    Returns
    -------
    value : how far it got; not to the end where the pairs are many
    count : pairs found
    near : int32 (room, 2): their places; ``near`` itself, or more room
    """
    one, two, three, bounds, masks = side
    count, last = 0, starts.shape[0] - 1
    skipped = np.searchsorted(heavy, value)
    while value < last and count < _MANY:
        start, end = starts[value], starts[value + 1]
        value += 1
        if skipped < heavy.shape[0] and heavy[skipped] == value - 1:
            skipped += 1
            continue
        if end - start < 2:
            continue
        _lay_side(dealt, edges, start, end, one, two, three, bounds)
        for turn in range(2 * alone.shape[0]):
            first, last_row, low, high = _rectangle(bounds, alone, turn, end - start)
            for p in range(first, last_row, LEFT):
                for q in range(max(p + 1, low), high, TILE * _TILES):
                    number = min(_TILES, (high - q + TILE - 1) // TILE)
                    if near_sketches(one, two, three, p, q, number, bound, masks) == 0:  # type: ignore[call-arg]
                        continue
                    if count + LEFT * TILE * _TILES > near.shape[0]:
                        more = np.empty((2 * near.shape[0], 2), np.int32)
                        more[:count] = near[:count]
                        near = more
                    for tile in range(number):
                        for k in range(min(LEFT, last_row - p)):
                            mask = masks[tile, k]
                            while mask != 0:
                                other = q + tile * TILE + np.int64(first_bit(mask))
                                mask &= mask - np.uint32(1)
                                if p + k < other < high:
                                    near[count, 0] = dealt[start + p + k, 3]
                                    near[count, 1] = dealt[start + other, 3]
                                    count += 1
    return value, count, near


@njit
def _not_met(task, laid, firsts, number, near):  # type: ignore[no-untyped-def]
    """Put the pairs first that did not meet on one of the first keys of the line, and may be sought; count them.

    Most pairs that get here are near-identical, and have met.
    """
    rows, heads, row = task.rows, laid.heads, laid.row
    record, known, source, alone = rows.record, rows.known, rows.source, rows.alone
    mask, width = np.uint64((1 << task.keys.bits) - 1), np.uint64(task.keys.bits)
    earlier = 0
    while earlier < firsts.shape[0] and firsts[earlier] < number:
        earlier += 1
    count = 0
    for pair in range(near.shape[0]):
        one, other = near[pair]
        differ, met = heads[one] ^ heads[other], False
        for place in range(earlier):
            same = differ >> np.uint64(place) * width & mask == 0
            met = met or (same and not task.has_heavy[firsts[place]])
        if met:
            continue
        i, j = row[one], row[other]
        if record[i] == record[j] or (source[i] == source[j] and alone[source[i]] and known[i] == known[j]):
            continue
        near[count, 0], near[count, 1] = i, j
        count += 1
    return count


@njit
def _look(task, number, near, parted):  # type: ignore[no-untyped-def]
    """Compare rows whose sketches are near, if they did not meet before."""
    rows, keys, words = task.rows, task.keys, task.rows.words
    last = near.shape[0] - 1
    for pair in range(near.shape[0]):
        fetch(words, np.int64(near[min(pair + _AHEAD, last), 0]))  # type: ignore[call-arg]
        fetch(words, np.int64(near[min(pair + _AHEAD, last), 1]))
        i, j = near[pair]
        # Where few keys came before, to look at those costs less than to compare.
        if number < _FEW and collided_before(task.line_bytes, rows, i, j, number, keys, task.has_heavy):
            continue
        task.out.scored[number] += 1
        score = weight(words, rows.width, rows.classes, rows.strata, rows.weight_of, i, j)
        if score < rows.threshold:
            continue
        if number < _FEW or not collided_before(task.line_bytes, rows, i, j, number, keys, task.has_heavy):
            _keep(rows, i, j, task.out, task.thread, parted)


@njit
def _keep(rows, i, j, out, thread, parted):  # type: ignore[no-untyped-def]
    """Write a pair down."""
    at = out.kept[thread]
    out.kept[thread] += 1
    if at >= out.left.shape[1]:
        return
    out.left[thread, at], out.right[thread, at], out.parted[thread, at] = i, j, parted
    for number in range(rows.classes.shape[1]):
        s = rows.strata[number, rows.classes[i, number], rows.classes[j, number]]
        out.strata[thread, at, number] = s
        out.levels[thread, at, number] = MISSING
        if s != MISSING:
            out.levels[thread, at, number] = rows.level_of[number, s, distance(rows.words, i, j, number, rows.width)]


@njit
def _linkable_pairs(laid, dealt, rows):  # type: ignore[no-untyped-def]
    """Count the pairs of rows that may be linked."""
    total = dealt.shape[0] * (dealt.shape[0] - 1) // 2
    of_source = np.zeros(rows.alone.shape[0], np.int64)
    for place in range(dealt.shape[0]):
        of_source[rows.source[laid.row[dealt[place, 3]]]] += 1
    for source in range(rows.alone.shape[0]):
        if rows.alone[source]:
            total -= of_source[source] * (of_source[source] - 1) // 2
    return total


@njit
def _search_heavy(task, laid, firsts, number, dealt, side, near):  # type: ignore[no-untyped-def]
    """Part the rows of a heavy value, and search each part."""
    keys, size = task.keys, dealt.shape[0]
    code = code_of(number, laid.values[dealt[0, 3]])
    parts = np.empty(size, np.uint64)
    for place in range(size):
        parts[place] = part_of(task.line_bytes, laid.row[dealt[place, 3]], number, code, keys)
    order = np.argsort(parts, kind="mergesort")
    parts, dealt = parts[order], dealt[order]
    first, group = 0, 0
    for place in range(1, size + 1):
        if place < size and parts[place] == parts[first]:
            continue
        bits = crowd_bits(code | parts[first] >> np.uint64(32), keys)
        near = _search_values(task, laid, firsts, number, dealt, np.array([first, place]), _NONE, side, near, bits)
        if bits:
            task.out.skipped[number] -= _linkable_pairs(laid, dealt[first:place], task.rows)
        if place == size or parts[place] >> np.uint64(32) != parts[first] >> np.uint64(32):
            if bits:
                task.out.skipped[number] += _linkable_pairs(laid, dealt[group:place], task.rows)
            group = place
        first = place
    return near


@njit
def _search_values(task, laid, firsts, number, dealt, starts, heavy, side, near, parted):  # type: ignore[no-untyped-def]
    """Search the rows of each value but the heavy ones; returns the room for near pairs, which may have grown."""
    value, bound = 0, np.uint64(task.keys.bound)
    while value < starts.shape[0] - 1:
        value, count, near = _sift(dealt, starts, laid.edges, task.rows.alone, bound, heavy, value, side, near)
        count = _not_met(task, laid, firsts, number, near[:count])
        _look(task, number, near[:count], parted)
    return near


@njit
def _search(task, order, segment, laid, starts, first, last, most):  # type: ignore[no-untyped-def]
    """Search the keys from ``first`` to ``last`` one after the other; give up beyond ``most`` pairs."""
    keys, line, size = task.keys, -1, 0
    firsts, near = np.empty(0, np.int64), np.empty((_MANY + LEFT * TILE * _TILES, 2), np.int32)
    for number in range(first, last):
        if keys.line[number] != line:
            line = keys.line[number]
            begin, end = np.searchsorted(keys.line, line), np.searchsorted(keys.line, line + 1)
            firsts = np.arange(begin, min(end, begin + 64 // keys.bits))
            size = lay_line(task.line_bytes, task.rows, line, order, segment, laid)
            read_firsts(laid, size, firsts, keys)
        read_values(laid, size, number, keys)
        deal_rows(laid, size, starts)
        side = _new_side(np.diff(starts).max(), laid.edges.shape[0])
        heavy = _heavy_values(keys, number)
        near = _search_values(task, laid, firsts, number, laid.dealt, starts[:-1], heavy, side, near, np.uint64(0))
        for value in heavy:
            dealt = laid.dealt[starts[value] : starts[value + 1]]
            if dealt.shape[0] > 1:
                near = _search_heavy(task, laid, firsts, number, dealt, side, near)
        if task.out.kept[task.thread] > most:
            return


@njit
def _heavy_values(keys, number):  # type: ignore[no-untyped-def]
    """Return the heavy values of a key, ascending."""
    first, last = np.searchsorted(keys.heavy, code_of(number, 0)), np.searchsorted(keys.heavy, code_of(number + 1, 0))
    values = np.empty(last - first, np.int64)
    for place in range(first, last):
        values[place - first] = np.int64(keys.heavy[place] >> np.uint64(16)) & np.int64(0xFFFFFF)
    return values


def _with(code: int) -> Any:
    @njit(nogil=True, cache=True)
    def search(task, order, segment, laid, starts, first, last, most):  # type: ignore[no-untyped-def]
        _ = code
        _search(task, order, segment, laid, starts, first, last, most)

    return search


search = _with(digest(dealing, locality, measures, tiles))


def collide(rows: Rows, keys: Keys, first: int, last: int, *, capacity: int, most: int, threads: int) -> Collisions:
    """Compare the rows that collide on a key from ``first`` to ``last``, and on none before; keep what looks alike.

    Parameters
    ----------
    capacity, most
        Pairs a thread can keep, and beyond which it gives up.
    threads
        How many threads may run.
    """
    filters = rows.classes.shape[1]
    out = Collisions(
        np.empty((threads, capacity), np.int32),
        np.empty((threads, capacity), np.int32),
        np.empty((threads, capacity, filters), np.uint8),
        np.empty((threads, capacity, filters), np.uint8),
        np.empty((threads, capacity), np.uint8),
        np.zeros(threads, np.int64),
        np.zeros(len(keys.line)),
        np.zeros(len(keys.line)),
    )
    has_heavy = np.isin(np.arange(len(keys.line)), (keys.heavy >> np.uint64(40)).astype(np.int64))
    segment = (2 * rows.source + (rows.alone[rows.source] & ~rows.watched)).astype(np.int16)
    order = np.argsort(segment, kind="stable").astype(np.int32)
    line_bytes = rows.words.view(np.uint8)

    def part(thread: int, start: int, end: int) -> None:
        task = _Task(line_bytes, rows, keys, has_heavy, out, thread)
        room = room_for(len(rows.words), len(rows.alone))
        search(task, order, segment, room, np.empty((1 << keys.bits) + 2, np.int64), start, end, most)

    # Neighbouring keys are of one line, which is laid out once.
    edges = np.linspace(first, last, threads + 1).astype(np.int64).tolist()
    with ThreadPoolExecutor(threads) as pool:
        work = [pool.submit(part, thread, start, end) for thread, (start, end) in enumerate(pairwise(edges))]
        for done in work:
            done.result()
    return out
