"""Compiled search for pairs of rows that share a key of a locality-sensitive hash.

A *key* is some bits of one 64-byte line of a diffused filter. Each bit of such a filter is the XOR of inputs at
positions of its own, so that whole bytes are as good a sample as single bits, and cost one load each. The last 24 bytes
of the line are its *sketch*: two rows *collide* on a key if they agree in the key's bits and differ in no more than a
bounded number of the sketch's 192, which costs next to nothing and keeps nearly all chance agreements from a closer
look.

Where too many rows share a value of a key, the value is *heavy*: 16 further bits of the line must agree as well. Where
still too many do, they are a *crowd*, all but identical, and a row is compared with a bounded number of it only: with
those that fall into the same random part. Which values are heavy and which are crowds is written in the plan. Whether
two rows collide on a key is therefore a property of the two rows alone, so that a pair can be left to the first key on
which it collides without remembering any pair.

All that is compiled is in this one module, but for the instruction that counts bits: numba's cache looks at the file of
the cached function alone (:mod:`linkage.hub.tiles`). The plain twin is :func:`collide_reference`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from linkage.hub.bounds import MISSING
from linkage.hub.tiles import popcount

__all__ = ["CROWD_BITS", "KEY_BYTES", "LINE", "Collisions", "Keys", "Rows", "collide", "collide_reference", "survey"]

LINE = 64  # bytes of a line, the processor's unit of memory
KEY_BYTES = 40  # bytes of it that keys are taken from; the others are the sketch
CROWD_BITS = 31  # bits of the random number by which a crowd is parted

_WORDS = LINE // 8
_TILE = 16  # right-hand rows that stay in the first-level cache while the left-hand ones stream past
_PART = 4096  # rows that are sorted within the second-level cache
_CHUNK = 64  # rows whose sketches are compared before any is looked at
_STREAMS = 10  # bits by which rows are dealt out first: more streams than that lose the cache again

# The first word of a row as it is dealt: its number, its source, whether it is watched, and its value of the key.
_ROW, _SOURCE, _WATCHED, _VALUE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(39), np.uint64(40)
_SOURCES = np.uint64(127)

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


class Rows(NamedTuple):
    """The rows to search, and what makes a pair of them worth keeping."""

    words: Words  # (rows, filters * width)
    width: int  # words a filter
    classes: Bytes  # (rows, filters)
    strata: Bytes  # (filters, classes, classes)
    record: NDArray[np.int64]  # (rows,)
    known: NDArray[np.int64]  # (rows,) person, as far as is known: pairs of one are not sought as unlike
    source: NDArray[np.int64]  # (rows,) ascending
    alone: NDArray[np.bool_]  # (sources,) whether a source has no repeats, so that its own pairs cannot be linked
    watched: NDArray[np.bool_]  # (rows,) rows whose pairs within a source are sought, though they cannot be linked
    level_of: Bytes  # (filters, strata, bits + 1)
    weight_of: NDArray[np.float32]  # (filters, strata, bits + 1)
    threshold: np.float32


class Keys(NamedTuple):
    """The keys, line after line."""

    places: Bytes  # (keys, bytes + 2) where in the line the key's bytes are, and the two of its further bits
    line: NDArray[np.int64]  # (keys,) ascending
    bits: int  # of a key
    bound: int  # bits of the sketch that may differ
    heavy: Words  # sorted: key << 40 | value << 16
    crowds: Words  # sorted: the same with the further bits
    crowd_bits: Bytes  # bits of the random number by which each crowd is parted
    seed: np.uint64  # of the random number


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


@njit(inline="always")
def _apart(one, two, three, other, another, third):  # type: ignore[no-untyped-def]
    """Count the bits in which two sketches differ."""
    return popcount(one ^ other) + popcount(two ^ another) + popcount(three ^ third)  # type: ignore[call-arg]


@njit(inline="always")
def _distance(words, i, j, number, width):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for word in range(width):
        place = number * width + word
        total += popcount(words[i, place] ^ words[j, place])  # type: ignore[call-arg] # numba passes the context
    return np.int64(total)


@njit(inline="always")
def _weight(words, width, classes, strata, weight_of, i, j):  # type: ignore[no-untyped-def]
    """Return the sum of a pair's weights over its filters, in 32 bits and by filter as everywhere."""
    total = np.float32(0)
    for number in range(classes.shape[1]):
        s = strata[number, classes[i, number], classes[j, number]]
        if s != MISSING:
            total += weight_of[number, s, _distance(words, i, j, number, width)]
    return total


@njit(inline="always")
def _sketches_apart(words, i, j, line):  # type: ignore[no-untyped-def]
    one, two, three = (line + 1) * _WORDS - 3, (line + 1) * _WORDS - 2, (line + 1) * _WORDS - 1
    return _apart(words[i, one], words[i, two], words[i, three], words[j, one], words[j, two], words[j, three])


@njit(inline="always")
def _present(rows, row, line):  # type: ignore[no-untyped-def]
    """Tell whether a row has the filter of a line."""
    number = line * _WORDS // rows.width
    own = rows.classes[row, number]
    return rows.strata[number, own, own] != MISSING


@njit
def _value(line_bytes, row, number, keys):  # type: ignore[no-untyped-def]
    """Return a row's value of a key."""
    value = np.uint64(0)
    for place in range((keys.bits + 7) // 8):
        value |= np.uint64(line_bytes[row, keys.line[number] * LINE + keys.places[number, place]]) << np.uint64(
            8 * place
        )
    return value & np.uint64((1 << keys.bits) - 1)


@njit
def _further(line_bytes, row, number, keys):  # type: ignore[no-untyped-def]
    """Return the 16 further bits that part a heavy value."""
    base, last = keys.line[number] * LINE, keys.places.shape[1]
    low, high = (
        line_bytes[row, base + keys.places[number, last - 2]],
        line_bytes[row, base + keys.places[number, last - 1]],
    )
    return np.uint64(low) | np.uint64(high) << np.uint64(8)


@njit
def _scattered(number, seed):  # type: ignore[no-untyped-def]
    """Return bits that look random, of a number (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15) + seed
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(64 - CROWD_BITS)


@njit
def _code(number, value):  # type: ignore[no-untyped-def]
    return np.uint64(number) << np.uint64(40) | np.uint64(value) << np.uint64(16)


@njit
def _is_in(code, sorted_codes):  # type: ignore[no-untyped-def]
    place = np.searchsorted(sorted_codes, code)
    return place < sorted_codes.shape[0] and sorted_codes[place] == code


@njit
def _crowd_bits(code, keys):  # type: ignore[no-untyped-def]
    """Return the bits by which a crowd is parted: none if it is no crowd."""
    place = np.searchsorted(keys.crowds, code)
    there = place < keys.crowds.shape[0] and keys.crowds[place] == code
    return np.uint64(keys.crowd_bits[place]) if there else np.uint64(0)


@njit
def _part_of(line_bytes, row, number, code, keys):  # type: ignore[no-untyped-def]
    """Return the part of a heavy value that a row belongs to: further bits, and in a crowd some random ones."""
    further = _further(line_bytes, row, number, keys)
    bits = _crowd_bits(code | further, keys)
    return further << np.uint64(32) | _scattered(row, keys.seed) >> (np.uint64(CROWD_BITS) - bits)


@njit
def _collided_before(line_bytes, rows, i, j, number, keys, has_heavy):  # type: ignore[no-untyped-def]
    """Tell whether two rows collide on a key before ``number``."""
    line, close = -1, False
    for earlier in range(number):
        if keys.line[earlier] != line:
            line = keys.line[earlier]
            near = _sketches_apart(rows.words, i, j, line)
            close = near <= keys.bound and _present(rows, i, line) and _present(rows, j, line)
        if not close:
            continue
        value = _value(line_bytes, i, earlier, keys)
        if value != _value(line_bytes, j, earlier, keys):
            continue
        code = _code(earlier, value)
        if not has_heavy[earlier] or not _is_in(code, keys.heavy):
            return True
        if _part_of(line_bytes, i, earlier, code, keys) == _part_of(line_bytes, j, earlier, code, keys):
            return True
    return False


@njit
def _turn_line(line_bytes, words, line, planes, sketches):  # type: ignore[no-untyped-def]
    """Lay the bytes of a line side by side over all rows, so that keys are read in sequence, and its sketches."""
    size, base = line_bytes.shape[0], line * LINE
    for start in range(0, size, _TILE):
        end = min(start + _TILE, size)
        for place in range(KEY_BYTES):
            for row in range(start, end):
                planes[place, row] = line_bytes[row, base + place]
        for row in range(start, end):
            for word in range(3):
                sketches[row, word] = words[row, (line + 1) * _WORDS - 3 + word]


@njit
def _read_values(planes, number, keys, values):  # type: ignore[no-untyped-def]
    """Fill in every row's value of a key."""
    first = planes[keys.places[number, 0]]
    for row in range(values.shape[0]):
        values[row] = first[row]
    for place in range(1, (keys.bits + 7) // 8):
        plane, shift = planes[keys.places[number, place]], np.uint32(8 * place)
        for row in range(values.shape[0]):
            values[row] |= np.uint32(plane[row]) << shift
    mask = np.uint32((1 << keys.bits) - 1)
    for row in range(values.shape[0]):
        values[row] &= mask


@njit
def _deal_rows(values, marks, absent, sketches, low_bits, dealt, starts):  # type: ignore[no-untyped-def]
    """Deal rows out by the high bits of their values, each with all that the search needs of it, rows ascending."""
    starts[:] = 0
    for row in range(values.shape[0]):
        if not absent[row]:
            starts[(values[row] >> low_bits) + 1] += 1
    for stream in range(starts.shape[0] - 1):
        starts[stream + 1] += starts[stream]
    ends = starts[:-1].copy()
    for row in range(values.shape[0]):
        if not absent[row]:
            stream = values[row] >> low_bits
            at = ends[stream]
            ends[stream] += 1
            dealt[at, 0] = np.uint64(values[row]) << _VALUE | marks[row]
            for word in range(3):
                dealt[at, word + 1] = sketches[row, word]


class _Block(NamedTuple):
    """Rows side by side: what marks them, see ``_ROW``, and the three words of their sketches."""

    mark: Words
    one: Words
    two: Words
    three: Words


class _Firsts(NamedTuple):
    """The values of the first keys of a line, side by side in a word, and those of them that come before a key."""

    heads: Words  # (rows,)
    keys: NDArray[np.int64]
    mask: np.uint64  # of a value


@njit
def _read_firsts(planes, first, keys, values, heads):  # type: ignore[no-untyped-def]
    """Fill in every row's values of a line's first keys."""
    heads[:] = 0
    for place in range(64 // keys.bits):
        if first + place < keys.line.shape[0] and keys.line[first + place] == keys.line[first]:
            _read_values(planes, first + place, keys, values)
            for row in range(values.shape[0]):
                heads[row] |= np.uint64(values[row]) << np.uint64(place * keys.bits)


@njit
def _new_block(size):  # type: ignore[no-untyped-def]
    return _Block(
        np.empty(size, np.uint64), np.empty(size, np.uint64), np.empty(size, np.uint64), np.empty(size, np.uint64)
    )


@njit
def _sort_part(part, low_bits, block, starts):  # type: ignore[no-untyped-def]
    """Sort one stream by the low bits of the values, rows ascending."""
    mask = np.uint64((1 << low_bits) - 1)
    starts[:] = 0
    for place in range(part.shape[0]):
        starts[(part[place, 0] >> _VALUE & mask) + np.uint64(1)] += 1
    for value in range(starts.shape[0] - 1):
        starts[value + 1] += starts[value]
    ends = starts[:-1].copy()
    for place in range(part.shape[0]):
        value = part[place, 0] >> _VALUE & mask
        at = ends[value]
        block.mark[at], block.one[at] = part[place, 0], part[place, 1]
        block.two[at], block.three[at] = part[place, 2], part[place, 3]
        ends[value] += 1


@njit
def _linkable_pairs(marks, alone):  # type: ignore[no-untyped-def]
    """Count the pairs of marked rows that may be linked."""
    total = marks.shape[0] * (marks.shape[0] - 1) // 2
    of_source = np.zeros(alone.shape[0], np.int64)
    for mark in marks:
        of_source[mark >> _SOURCE & _SOURCES] += 1
    for source in range(alone.shape[0]):
        if alone[source]:
            total -= of_source[source] * (of_source[source] - 1) // 2
    return total


@njit
def _scan_heavy(line_bytes, rows, keys, has_heavy, firsts, number, whole, start, end, out, thread):  # type: ignore[no-untyped-def]
    """Part the rows of a heavy value, and search each part."""
    size = end - start
    code = _code(number, whole.mark[start] >> _VALUE)
    parts = np.empty(size, np.uint64)
    for place in range(size):
        parts[place] = _part_of(line_bytes, whole.mark[start + place] & _ROW, number, code, keys)
    order = np.argsort(parts, kind="mergesort")
    parts = parts[order]
    order += start
    block = _Block(whole.mark[order], whole.one[order], whole.two[order], whole.three[order])
    first, group = 0, 0
    for place in range(1, size + 1):
        if place < size and parts[place] == parts[first]:
            continue
        bits = _crowd_bits(code | parts[first] >> np.uint64(32), keys)
        _scan(line_bytes, rows, keys, has_heavy, firsts, number, block, first, place, out, thread, bits)
        if bits:
            out.skipped[number] -= _linkable_pairs(block.mark[first:place], rows.alone)
        if place == size or parts[place] >> np.uint64(32) != parts[first] >> np.uint64(32):
            if bits:
                out.skipped[number] += _linkable_pairs(block.mark[group:place], rows.alone)
            group = place
        first = place


@njit(forceinline=True)
def _scan(line_bytes, rows, keys, has_heavy, firsts, number, block, start, end, out, thread, parted):  # type: ignore[no-untyped-def]
    """Search the rows of a block from ``start`` to ``end``, ascending, which agree in a key's value."""
    beyond, bound = start, np.uint64(keys.bound)
    for p in range(start, end):
        own = block.mark[p] >> _SOURCE & _SOURCES
        if rows.alone[own]:
            while beyond < end and block.mark[beyond] >> _SOURCE & _SOURCES <= own:
                beyond += 1
        else:
            beyond = p + 1
        first = p + 1 if block.mark[p] >> _WATCHED & np.uint64(1) else beyond
        for low in range(first, end, _CHUNK):
            high = min(low + _CHUNK, end)
            one, two, three = block.one[low:high], block.two[low:high], block.three[low:high]
            near = np.int64(0)
            for q in range(one.shape[0]):
                apart = _apart(block.one[p], block.two[p], block.three[p], one[q], two[q], three[q])
                near += np.int64(apart <= bound)
            if near:
                _look(
                    line_bytes, rows, keys, has_heavy, firsts, number, block, p, low, high, beyond, out, thread, parted
                )


@njit(forceinline=True)
def _look(line_bytes, rows, keys, has_heavy, firsts, number, block, p, low, high, beyond, out, thread, parted):  # type: ignore[no-untyped-def]
    """Compare a row with those from ``low`` to ``high`` whose sketches are near, if they did not meet before."""
    i = np.int64(block.mark[p] & _ROW)
    for q in range(low, high):
        apart = _apart(block.one[p], block.two[p], block.three[p], block.one[q], block.two[q], block.three[q])
        if apart > keys.bound:
            continue
        j = np.int64(block.mark[q] & _ROW)
        # Most pairs that get here are near-identical, and have met on one of the first keys of the line.
        differ, met = firsts.heads[i] ^ firsts.heads[j], False
        for place in range(firsts.keys.shape[0]):
            same = differ >> np.uint64(place * keys.bits) & firsts.mask == 0
            met = met or (same and not has_heavy[firsts.keys[place]])
        if met or rows.record[i] == rows.record[j]:
            continue
        if q < beyond and (not rows.watched[j] or rows.known[i] == rows.known[j]):
            continue
        out.scored[number] += 1
        score = _weight(rows.words, rows.width, rows.classes, rows.strata, rows.weight_of, i, j)
        if score >= rows.threshold and not _collided_before(line_bytes, rows, i, j, number, keys, has_heavy):
            _keep(rows, i, j, out, thread, parted)


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
            out.levels[thread, at, number] = rows.level_of[number, s, _distance(rows.words, i, j, number, rows.width)]


@njit(nogil=True, cache=True)
def _search(line_bytes, rows, keys, has_heavy, first, last, out, thread, most):  # type: ignore[no-untyped-def]
    """Search the keys from ``first`` to ``last`` one after the other; give up beyond ``most`` pairs."""
    size = line_bytes.shape[0]
    planes, sketches = np.empty((KEY_BYTES, size), np.uint8), np.empty((size, 3), np.uint64)
    absent, values = np.zeros(size, np.bool_), np.empty(size, np.uint32)
    marks, heads = np.empty(size, np.uint64), np.empty(size, np.uint64)
    for row in range(size):
        mark = np.uint64(rows.source[row]) << _SOURCE | np.uint64(row)
        marks[row] = mark | np.uint64(rows.watched[row] and rows.alone[rows.source[row]]) << _WATCHED
    dealt = np.empty((size, 4), np.uint64)
    high = min(max(int(np.ceil(np.log2(size / _PART + 1))), 0), _STREAMS, keys.bits)
    streams, starts = np.empty((1 << high) + 1, np.int64), np.empty((1 << (keys.bits - high)) + 1, np.int64)
    line = -1
    for number in range(first, last):
        before = np.searchsorted(keys.line[:number], keys.line[number])
        firsts = _Firsts(
            heads, np.arange(before, min(number, before + 64 // keys.bits)), np.uint64((1 << keys.bits) - 1)
        )
        if keys.line[number] != line:
            line = keys.line[number]
            _turn_line(line_bytes, rows.words, line, planes, sketches)
            _read_firsts(planes, before, keys, values, heads)
            for row in range(size):
                absent[row] = not _present(rows, row, line)
        _read_values(planes, number, keys, values)
        _deal_rows(values, marks, absent, sketches, keys.bits - high, dealt, streams)
        block = _new_block(np.diff(streams).max())
        for stream in range(streams.shape[0] - 1):
            part = dealt[streams[stream] : streams[stream + 1]]
            _sort_part(part, keys.bits - high, block, starts)
            for value in range(starts.shape[0] - 1):
                start, end = starts[value], starts[value + 1]
                if end - start < 2:
                    continue
                if has_heavy[number] and _is_in(_code(number, block.mark[start] >> _VALUE), keys.heavy):
                    _scan_heavy(line_bytes, rows, keys, has_heavy, firsts, number, block, start, end, out, thread)
                else:
                    _scan(
                        line_bytes, rows, keys, has_heavy, firsts, number, block, start, end, out, thread, np.uint64(0)
                    )
            if out.kept[thread] > most:
                return


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
    # Neighbouring keys are of one line, which is turned once.
    edges = np.linspace(first, last, threads + 1).astype(np.int64).tolist()
    line_bytes = rows.words.view(np.uint8)
    with ThreadPoolExecutor(threads) as pool:
        work = [
            pool.submit(_search, line_bytes, rows, keys, has_heavy, start, end, out, thread, most)
            for thread, (start, end) in enumerate(pairwise(edges))
        ]
        for part in work:
            part.result()
    return out


def collide_reference(rows: Rows, keys: Keys) -> NDArray[np.int64]:
    """Plain twin, where no value is heavy: the first key on which each pair of rows collides, or -1; (rows, rows)."""
    size = len(rows.words)
    lines = rows.words.view(np.uint8).reshape(size, -1, LINE)
    first = np.full((size, size), -1)
    for number in range(len(keys.line) - 1, -1, -1):
        line = lines[:, keys.line[number]]
        taken = np.unpackbits(line[:, keys.places[number, :-2]], axis=1, bitorder="little")[:, : keys.bits]
        same = (taken[:, None] == taken[None]).all(axis=2)
        sketch = np.unpackbits(line[:, KEY_BYTES:], axis=1)
        near = (sketch[:, None] != sketch[None]).sum(axis=2) <= keys.bound
        filled = rows.classes[:, keys.line[number] * _WORDS // rows.width]
        there = rows.strata[keys.line[number] * _WORDS // rows.width, filled, filled] != MISSING
        first[same & near & there[:, None] & there[None]] = number
    return first


@njit(parallel=True, nogil=True, cache=True)
def survey(words, width, classes, strata, weight_of, record, source, alone, chosen, step, bins, threads):  # type: ignore[no-untyped-def]
    """Count the pairs of chosen rows and all they may be linked to by score.

    Parameters
    ----------
    words, width, classes, strata, weight_of, record, source, alone
        As in :class:`Rows`.
    chosen : int64 (chosen,): rows
    step, bins : width and number of the score's bins; what is beyond falls into the last
    threads : how many threads may run

    Returns
    -------
    int64 (bins,)
    """
    size = words.shape[0]
    counts = np.zeros((threads, bins), np.int64)
    for thread in prange(threads):
        own, end = counts[thread], size * (thread + 1) // threads
        for start in range(size * thread // threads, end, _TILE):
            for i in chosen:
                for j in range(start, min(start + _TILE, end)):
                    if record[i] == record[j] or (source[i] == source[j] and alone[source[j]]):
                        continue
                    score = _weight(words, width, classes, strata, weight_of, i, j)
                    own[min(np.int64(score / step), bins - 1)] += 1
    return counts.sum(axis=0)
