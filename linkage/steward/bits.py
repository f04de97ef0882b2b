"""Bit matrices: many filters at once, as columns of bits.

Rows are records, packed into 64-bit words, bit ``p`` of a filter being bit ``p % 64`` of word ``p // 64``. The
transposed form holds, for each block of 64 records, one word per bit position, so that an XOR of two positions for
64 records is one instruction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["diffuse", "transpose_blocks"]

Words = NDArray[np.uint64]


def transpose_blocks(words: Words) -> Words:
    """Transpose every 64 x 64 bit matrix of an array of shape (blocks, 64, words).

    Bits are counted from the most significant one; applied twice, the function gives its argument back.
    The method is the recursive exchange of off-diagonal blocks (Warren, Hacker's Delight, section 7-3).
    """
    out = words.copy()
    blocks, _, width = out.shape
    step = 32
    mask = np.uint64(0x00000000FFFFFFFF)
    while step:
        view = out.reshape(blocks, 64 // (2 * step), 2, step, width)
        upper, lower = view[:, :, 0], view[:, :, 1]
        shift = np.uint64(step)
        swap = (upper ^ (lower >> shift)) & mask
        upper ^= swap
        lower ^= swap << shift
        step >>= 1
        mask ^= mask << np.uint64(step)
    return out


def diffuse(filters: Words, sets: NDArray[np.intp]) -> Words:
    """XOR ``t`` secret input bits into each output bit.

    Parameters
    ----------
    filters
        Shape (records, bits / 64).
    sets
        Shape (output bits, t): the input positions of every output bit.

    Returns
    -------
    numpy.ndarray
        Shape (records, output bits / 64), uint64.
    """
    records, width = filters.shape
    outputs = sets.shape[0]
    blocks = -(-records // 64)
    padded = np.zeros((blocks * 64, width), np.uint64)
    padded[:records] = filters
    columns = transpose_blocks(padded.reshape(blocks, 64, width))
    # One contiguous row of words per input position: position p sits at bit 63 - p % 64 of word p // 64.
    planes = np.ascontiguousarray(columns.transpose(2, 1, 0)[:, ::-1, :]).reshape(width * 64, blocks)
    mixed = planes[sets[:, 0]]
    for column in range(1, sets.shape[1]):
        mixed ^= planes[sets[:, column]]
    back = np.ascontiguousarray(mixed.reshape(outputs // 64, 64, blocks)[:, ::-1, :].transpose(2, 1, 0))
    return transpose_blocks(back).reshape(blocks * 64, outputs // 64)[:records]
