"""Bit matrices: many filters at once, as columns of bits.

Rows are records, packed into 64-bit words, bit ``p`` of a filter being bit ``p % 64`` of word ``p // 64``. The
transposed form holds, for every 64 records, one word per bit position, so that an XOR of two positions for 64 records
is one instruction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["diffuse", "transpose"]

Words = NDArray[np.uint64]


def transpose(words: Words) -> None:
    """Transpose, in place, every 64 x 64 bit matrix of an array of shape (64, n): matrix ``i`` is column ``i``.

    Bits are counted from the most significant one; done twice, everything is as it was.
    The method is the recursive exchange of off-diagonal blocks (Warren, Hacker's Delight, section 7-3).
    """
    columns = words.shape[1]
    scratch = np.empty(words.size // 2, np.uint64)
    step = 32
    mask = np.uint64(0x00000000FFFFFFFF)
    while step:
        view = words.reshape(32 // step, 2, step * columns)
        upper, lower = view[:, 0], view[:, 1]
        swap = scratch.reshape(upper.shape)
        shift = np.uint64(step)
        np.right_shift(lower, shift, out=swap)
        swap ^= upper
        swap &= mask
        upper ^= swap
        swap <<= shift
        lower ^= swap
        step >>= 1
        mask ^= mask << np.uint64(step)


def diffuse(filters: Words, sets: NDArray[np.intp], out: Words) -> None:
    """XOR ``t`` secret input bits into each output bit.

    Parameters
    ----------
    filters
        Shape (records, bits / 64). A few thousand at once stay within the processor's cache.
    sets
        Shape (output bits, t): the input positions of every output bit.
    out
        Shape (records, output bits / 64): is written, after all that is read, so that the two may share memory.
    """
    records, width = filters.shape
    outputs = len(sets)
    lanes = -(-records // 64)
    # Record ``r`` is bit 63 - r // lanes of word r % lanes of every plane.
    turned = np.zeros((64, lanes * width), np.uint64)
    turned.reshape(-1)[: filters.size] = filters.reshape(-1)
    transpose(turned)
    # One contiguous row of words per input position: position p sits at bit 63 - p % 64 of word p // 64.
    planes = np.ascontiguousarray(turned.reshape(64, lanes, width)[::-1].transpose(2, 0, 1)).reshape(64 * width, lanes)
    mixed = planes[sets[:, 0]]
    plane = np.empty_like(mixed)
    for column in range(1, sets.shape[1]):
        # Out of range there is nothing; any mode but "raise" spares a copy of the output.
        np.take(planes, sets[:, column], axis=0, out=plane, mode="clip")
        mixed ^= plane
    back = out if records == 64 * lanes else np.empty((64 * lanes, outputs // 64), np.uint64)
    back.reshape(64, lanes, outputs // 64)[...] = mixed.reshape(outputs // 64, 64, lanes).transpose(1, 2, 0)[::-1]
    transpose(back.reshape(64, lanes * (outputs // 64)))
    if back is not out:
        out[...] = back[:records]
