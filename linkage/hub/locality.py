"""Keys of a locality-sensitive hash: whether two rows collide on one.

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

What is here is compiled into the search (:mod:`linkage.hub.collisions`). Plain twin: :func:`collide_reference`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.hub.bounds import MISSING
from linkage.hub.tiles import popcount

__all__ = [
    "CROWD_BITS", "KEY_BYTES", "LINE", "Keys", "Rows", "code_of", "collide_reference", "collided_before", "crowd_bits",
    "is_in", "most_alike", "part_of", "present",
]  # fmt: skip

LINE = 64  # bytes of a line, the processor's unit of memory
KEY_BYTES = 40  # bytes of it that keys are taken from; the others are the sketch
CROWD_BITS = 31  # bits of the random number by which a crowd is parted

_WORDS = LINE // 8

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


@njit
def present(rows, row, line):  # type: ignore[no-untyped-def]
    """Tell whether a row has the filter of a line."""
    number = line * _WORDS // rows.width
    own = rows.classes[row, number]
    return rows.strata[number, own, own] != MISSING


@njit
def code_of(number, value):  # type: ignore[no-untyped-def]
    """Return a key's value as heavy ones are written down."""
    return np.uint64(number) << np.uint64(40) | np.uint64(value) << np.uint64(16)


@njit
def is_in(code, sorted_codes):  # type: ignore[no-untyped-def]
    """Tell whether a code is one of those."""
    place = np.searchsorted(sorted_codes, code)
    return place < sorted_codes.shape[0] and sorted_codes[place] == code


@njit
def crowd_bits(code, keys):  # type: ignore[no-untyped-def]
    """Return the bits by which a crowd is parted: none if it is no crowd."""
    place = np.searchsorted(keys.crowds, code)
    there = place < keys.crowds.shape[0] and keys.crowds[place] == code
    return np.uint64(keys.crowd_bits[place]) if there else np.uint64(0)


@njit
def part_of(line_bytes, row, number, code, keys):  # type: ignore[no-untyped-def]
    """Return the part of a heavy value that a row belongs to: further bits, and in a crowd some random ones."""
    further = _further(line_bytes, row, number, keys)
    bits = crowd_bits(code | further, keys)
    return further << np.uint64(32) | _scattered(row, keys.seed) >> (np.uint64(CROWD_BITS) - bits)


@njit
def collided_before(line_bytes, rows, i, j, number, keys, has_heavy):  # type: ignore[no-untyped-def]
    """Tell whether two rows collide on a key before ``number``."""
    line, close = -1, False
    for earlier in range(number):
        if keys.line[earlier] != line:
            line = keys.line[earlier]
            near = _sketches_apart(rows.words, i, j, line)
            close = near <= keys.bound and present(rows, i, line) and present(rows, j, line)
        if not close:
            continue
        value = _value(line_bytes, i, earlier, keys)
        if value != _value(line_bytes, j, earlier, keys):
            continue
        code = code_of(earlier, value)
        if not has_heavy[earlier] or not is_in(code, keys.heavy):
            return True
        if part_of(line_bytes, i, earlier, code, keys) == part_of(line_bytes, j, earlier, code, keys):
            return True
    return False


@njit
def _sketches_apart(words, i, j, line):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for word in range((line + 1) * _WORDS - 3, (line + 1) * _WORDS):
        total += popcount(words[i, word] ^ words[j, word])  # type: ignore[call-arg] # numba passes the context
    return total


@njit
def _value(line_bytes, row, number, keys):  # type: ignore[no-untyped-def]
    """Return a row's value of a key."""
    value, base = np.uint64(0), keys.line[number] * LINE
    for place in range((keys.bits + 7) // 8):
        value |= np.uint64(line_bytes[row, base + keys.places[number, place]]) << np.uint64(8 * place)
    return value & np.uint64((1 << keys.bits) - 1)


@njit
def _further(line_bytes, row, number, keys):  # type: ignore[no-untyped-def]
    """Return the 16 further bits that part a heavy value."""
    base, last = keys.line[number] * LINE, keys.places.shape[1]
    low = line_bytes[row, base + keys.places[number, last - 2]]
    high = line_bytes[row, base + keys.places[number, last - 1]]
    return np.uint64(low) | np.uint64(high) << np.uint64(8)


@njit
def _scattered(number, seed):  # type: ignore[no-untyped-def]
    """Return bits that look random, of a number (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15) + seed
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(64 - CROWD_BITS)


@njit(nogil=True, cache=True)
def most_alike(planes, places, bits, counts):  # type: ignore[no-untyped-def]
    """Return how many rows share the most common value of a key.

    Parameters
    ----------
    planes : uint8 (bytes of a line, rows)
    places : uint8: the key's bytes
    bits : of the key
    counts : int64 (2^bits,): working space
    """
    counts[:] = 0
    mask = np.int64((1 << bits) - 1)
    for row in range(planes.shape[1]):
        value = np.int64(0)
        for place in range((bits + 7) // 8):
            value |= np.int64(planes[places[place], row]) << np.int64(8 * place)
        counts[value & mask] += 1
    return counts.max()


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
