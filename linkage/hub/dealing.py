"""Rows laid out for the search, a line at a time, and dealt out by their values of a key.

Compiled into :mod:`linkage.hub.collisions`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.hub.encoded import memory_lines
from linkage.hub.locality import KEY_BYTES, LINE, present

__all__ = ["Laid", "deal_rows", "lay_line", "read_firsts", "read_values", "room_for"]

_WORDS = LINE // 8
_FEW = 16  # rows whose lines stay in the first-level cache while their bytes are laid out

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


class Laid(NamedTuple):
    """A line of the rows that have it, in the order of the search. Places below are places in that order."""

    row: NDArray[np.int32]  # (rows,)
    edges: NDArray[np.int64]  # (2 * sources + 1,) where a source's watched rows begin, and where its others do
    sketches: Words  # (rows, 3)
    heads: Words  # (rows,) the values of the line's first keys, side by side
    planes: Bytes  # (KEY_BYTES, rows)
    values: NDArray[np.uint32]  # (rows,) of the key at hand
    dealt: Words  # (rows, 4) sketch and place, by value, ascending within each


@njit
def lay_line(line_bytes, rows, line, order, segment, laid):  # type: ignore[no-untyped-def]
    """Lay out a line of all rows that have it: its bytes side by side, so that keys are read in sequence."""
    size, base, last = 0, line * LINE, (line + 1) * _WORDS
    laid.edges[:] = 0
    for row in order:
        if present(rows, row, line):
            laid.row[size] = row
            laid.edges[segment[row] + 1] += 1
            size += 1
    for number in range(laid.edges.shape[0] - 1):
        laid.edges[number + 1] += laid.edges[number]
    for start in range(0, size, _FEW):
        end = min(start + _FEW, size)
        for place in range(KEY_BYTES):
            for at in range(start, end):
                laid.planes[place, at] = line_bytes[laid.row[at], base + place]
        for at in range(start, end):
            for word in range(3):
                laid.sketches[at, word] = rows.words[laid.row[at], last - 3 + word]
    return size


@njit
def read_values(laid, size, number, keys):  # type: ignore[no-untyped-def]
    """Fill in every row's value of a key."""
    values = laid.values[:size]
    first = laid.planes[keys.places[number, 0]]
    for at in range(size):
        values[at] = first[at]
    for place in range(1, (keys.bits + 7) // 8):
        plane, shift = laid.planes[keys.places[number, place]], np.uint32(8 * place)
        for at in range(size):
            values[at] |= np.uint32(plane[at]) << shift
    mask = np.uint32((1 << keys.bits) - 1)
    for at in range(size):
        values[at] &= mask


@njit
def read_firsts(laid, size, firsts, keys):  # type: ignore[no-untyped-def]
    """Fill in every row's values of a line's first keys."""
    laid.heads[:size] = 0
    for place in range(firsts.shape[0]):
        read_values(laid, size, firsts[place], keys)
        for at in range(size):
            laid.heads[at] |= np.uint64(laid.values[at]) << np.uint64(place * keys.bits)


@njit
def deal_rows(laid, size, starts):  # type: ignore[no-untyped-def]
    """Deal rows out by value; afterwards ``starts`` says where each value's begin, and the last one's end."""
    starts[:] = 0
    for at in range(size):
        starts[laid.values[at] + 2] += 1
    for value in range(2, starts.shape[0]):
        starts[value] += starts[value - 1]
    dealt, sketches = laid.dealt, laid.sketches
    for at in range(size):
        value = laid.values[at] + 1
        to = starts[value]
        starts[value] += 1
        dealt[to, 0], dealt[to, 1], dealt[to, 2] = sketches[at, 0], sketches[at, 1], sketches[at, 2]
        dealt[to, 3] = at


def room_for(rows: int, sources: int) -> Laid:
    """Return a thread's working space. Made here, for NumPy asks for large pages of memory where they are to be had."""
    return Laid(
        np.empty(rows, np.int32),
        np.empty(2 * sources + 1, np.int64),
        np.empty((rows, 3), np.uint64),
        np.empty(rows, np.uint64),
        np.empty((KEY_BYTES, rows), np.uint8),
        np.empty(rows, np.uint32),
        memory_lines(rows, 4),
    )
