"""Hash positions of tokens, and the rows of bits that they make.

A token's stream is HMAC-SHA-256 over a block number and the token, cut into 16-bit positions, sixteen a block. A
record takes as many positions from the front of a token's stream as its hashes are, so that the bits of a token
under one hash more are those under one hash less and one more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from numpy.typing import NDArray

from linkage.steward.tokens import Cut

__all__ = ["digests", "rows_of_values"]

Numbers = NDArray[np.integer]
Words = NDArray[np.uint64]

_PER_BLOCK = 16

_TABLE = 2**20
"""Bytes of a table of rows, unless those of one count alone take more: it stays within the processor's cache."""

_BLOCK = 2048
"""Values worked on at once: their rows stay within the processor's cache."""


def digests(key: bytes, messages: Iterable[bytes], prefix: bytes = b"") -> bytes:
    """Return the HMAC-SHA-256 of each message after the prefix, 32 bytes each, joined."""
    # Copies of one state: key and prefix are absorbed once.
    keyed = HMAC(key, SHA256())
    keyed.update(prefix)
    drawn = []
    for message in messages:
        code = keyed.copy()
        code.update(message)
        drawn.append(code.finalize())
    return b"".join(drawn)


def rows_of_values(key: bytes, cut: Cut, value: Numbers, count: Numbers, bits: int) -> tuple[Words, Numbers]:
    """Return the bits of values under so many hashes a token.

    Parameters
    ----------
    key
        Of the filter and namespace.
    cut
        The values' tokens.
    value, count
        Shape (n,): the number of a value in the cut, and of hashes that each of its tokens gets; ``count`` ascending.
    bits
        Length of a filter: a power of two, and at least 64.

    Returns
    -------
    rows : numpy.ndarray
        Shape (n, bits / 64): bit ``p`` of a row is bit ``p % 64`` of its word ``p // 64``.
    place : numpy.ndarray
        Shape (n,): which of the rows is whose.
    """
    rows, row = np.empty((len(value), bits // 64), np.uint64), np.empty((_BLOCK, bits // 64), np.uint64)
    place = np.arange(len(value))
    none = int(np.searchsorted(count, 1))
    rows[:none] = 0
    if none == len(count):
        return rows, place
    # Counts ascend: of a value that comes several times, the largest is written last and stays.
    most_of_value = np.zeros(len(cut.length), np.int64)
    most_of_value[value] = count
    most = np.zeros(len(cut.tokens), np.int64)
    np.maximum.at(most, cut.numbers, np.repeat(most_of_value, cut.length))
    tokens = _TokenRows(key, cut.tokens, most, bits)
    ranked, start, length = tokens.rank[cut.numbers], (np.cumsum(cut.length) - cut.length)[value], cut.length[value]
    for first, begin, table in tokens.tables(int(count[none])):
        low, high = np.searchsorted(count, [first, first + len(begin)]).tolist()
        for at in range(low, high, _BLOCK):
            end = min(at + _BLOCK, high)
            # Those with more tokens come first: all that have another one are at the front.
            order = np.argsort(-length[at:end]) + at
            place[order] = np.arange(at, end)
            _join_rows(rows[at:end], row, table, ranked, begin[count[order] - first], start[order], length[order])
    return rows, place


def _join_rows(
    rows: Words, row: Words, table: Words, ranked: Numbers, begin: Numbers, start: Numbers, length: Numbers
) -> None:
    """OR the rows of each value's tokens: token number ``r`` of a value's count is row ``begin + r`` of the table."""
    left = np.searchsorted(-length, -np.arange(max(1, int(length[0]))), "left").tolist()
    rows[left[0] :] = 0
    for place, several in enumerate(left):
        out = row[:several] if place else rows[:several]
        # Out of range there is nothing; any mode but "raise" spares a copy of the output.
        np.take(table, begin[:several] + ranked[start[:several] + place], axis=0, out=out, mode="clip")
        if place:
            rows[:several] |= out


class _TokenRows:
    """The rows of tokens under 1, 2, ... hashes: those with the most hashes first, which is a token's *rank*.

    Parameters
    ----------
    key
        Of the filter and namespace.
    tokens
        Distinct.
    most
        Shape (tokens,): how many positions will be asked of each token at most.
    bits
        Length of a filter, a power of two.
    """

    def __init__(self, key: bytes, tokens: Sequence[bytes], most: Numbers, bits: int) -> None:
        order = np.argsort(-most, kind="stable")
        self.rank = np.empty(len(order), np.int32)
        self.rank[order] = np.arange(len(order), dtype=np.int32)
        self._words = bits // 64
        self._most = int(most.max(initial=0))
        # How many tokens are asked for so many positions at least.
        self._asked = np.searchsorted(-most[order], -np.arange(self._most + 1), "right")
        self._drawn: list[NDArray[np.uint16]] = []
        for block in range(-(-self._most // _PER_BLOCK)):
            asked = most > block * _PER_BLOCK
            codes = digests(key, compress(tokens, asked.tolist()), block.to_bytes(4, "big"))
            drawn = np.frombuffer(codes, ">u2").reshape(-1, _PER_BLOCK)
            ranked = np.argsort(-most[asked], kind="stable")
            self._drawn.append(drawn[ranked].T & np.uint16(bits - 1))

    def tables(self, first: int) -> Iterator[tuple[int, Numbers, Words]]:
        """Yield the rows of all tokens, from the first count on, as many counts at once as a table holds.

        The tuple is the first count, where the rows of this and the next counts begin, and the table.
        """
        above = np.zeros((len(self.rank), self._words), np.uint64)
        for count in range(1, first):
            position = self._position(count)
            above[np.arange(len(position)), position >> 6] |= np.uint64(1) << (position & 63)
        while first <= self._most:
            ends = np.cumsum(self._asked[first:])
            counts = max(1, int(np.searchsorted(ends, _TABLE // (8 * self._words), "right")))
            begin = (ends - self._asked[first:])[:counts]
            table = np.zeros((int(ends[counts - 1]), self._words), np.uint64)
            position = np.concatenate([self._position(count) for count in range(first, first + counts)])
            table[np.arange(len(table)), position >> 6] = np.uint64(1) << (position & 63)
            for at, end in zip(begin.tolist(), ends.tolist(), strict=False):
                here = table[at:end]
                here |= above[: len(here)]
                above = here
            yield first, begin, table
            first += counts

    def _position(self, count: int) -> NDArray[np.uint16]:
        """Return the last position that each token takes under so many hashes, by rank."""
        block, place = divmod(count - 1, _PER_BLOCK)
        return self._drawn[block][place, : self._asked[count]]
