"""Hash positions of tokens, and the rows of bits that they make.

A token's stream is HMAC-SHA-256 over a block number and the token, cut into 16-bit positions, sixteen a block. A
record takes as many positions from the front of a token's stream as its hashes are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from numpy.typing import NDArray

__all__ = ["Stream", "TokenRows"]

Numbers = NDArray[np.int64]

_PER_BLOCK = 16


class Stream:
    """The positions of some tokens under one key.

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

    def __init__(self, key: bytes, tokens: Sequence[str], most: Numbers, bits: int) -> None:
        blocks = -(-most // _PER_BLOCK)
        self.bits = bits
        self.tokens = len(tokens)
        self._start = (np.cumsum(blocks) - blocks) * _PER_BLOCK
        drawn = bytearray().join(_digests(key, tokens, blocks.tolist()))
        self._positions = (np.frombuffer(drawn, ">u2") & (bits - 1)).astype(np.int64)

    def rows(self, token: Numbers, count: Numbers) -> NDArray[np.uint64]:
        """Return the first ``count`` positions of each token as bits: shape (len(token), bits / 64)."""
        ends = np.cumsum(count)
        place = np.arange(ends[-1]) + np.repeat(self._start[token] - (ends - count), count)
        bits = np.zeros(len(token) * self.bits, np.uint8)
        bits[np.repeat(np.arange(len(token)) * self.bits, count) + self._positions[place]] = 1
        return np.packbits(bits, bitorder="little").view("<u8").reshape(len(token), -1)


def _digests(key: bytes, tokens: Sequence[str], blocks: list[int]) -> Iterator[bytes]:
    # Copies of one keyed state: the key is absorbed once.
    keyed = HMAC(key, SHA256())
    for token, number in zip(tokens, blocks, strict=True):
        message = token.encode()
        for block in range(number):
            code = keyed.copy()
            code.update(block.to_bytes(4, "big") + message)
            yield code.finalize()


class TokenRows:
    """Rows of bits of (token, count), each made when it is first asked for: for tokens that many records share."""

    def __init__(self, stream: Stream, most: int) -> None:
        self._stream = stream
        self._counts = most + 1
        self._place = np.full(stream.tokens * self._counts, -1, np.int64)
        self._rows = np.zeros((0, stream.bits // 64), np.uint64)
        self._made = 0

    def joined(self, tokens: Numbers, count: Numbers) -> NDArray[np.uint64]:
        """Return the OR of several tokens' rows: ``tokens`` (tokens, n), ``count`` (n,) -> (n, bits / 64)."""
        pair = tokens * self._counts + count
        place = self._place[pair]
        if place.min() < 0:
            self._make(np.unique(pair[place < 0]))
            place = self._place[pair]
        total: NDArray[np.uint64] = self._rows[place[0]]
        row = np.empty_like(total)
        for more in place[1:]:
            # Out of range there is nothing; any mode but "raise" spares a copy of the output.
            np.take(self._rows, more, axis=0, out=row, mode="clip")
            total |= row
        return total

    def _make(self, pair: Numbers) -> None:
        made = self._made + len(pair)
        if made > len(self._rows):
            grown = np.empty((max(made, 2 * len(self._rows)), self._rows.shape[1]), np.uint64)
            grown[: self._made] = self._rows[: self._made]
            self._rows = grown
        self._rows[self._made : made] = self._stream.rows(pair // self._counts, pair % self._counts)
        self._place[pair] = np.arange(self._made, made)
        self._made = made
