"""Padding: a compartment's size tells only roughly how much is in it.

A content is put behind its length (8 bytes, big-endian) and filled up with zero bytes to a size by Padmé, at least
4096 bytes: a size L keeps, after its first binary digit, floor(log2 log2 L) + 1 more, so that all sizes up to 2^40
share about a thousand buckets, and at most 1/16 is added below 64 KiB, 1/32 up to 4 GiB. Nikitin, Barman, Lueks,
Underwood, Hubaux and Ford, "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019.

There is one padding of a content: a reader refuses any other size, and any byte of it that is not zero. It lies inside
the encryption, so that nobody but the sender can have written it, and refusing it tells nothing about a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from linkage.exchange.reasons import refuse

__all__ = ["LEAST_SIZE", "Unpadded", "padded", "padded_size"]

LEAST_SIZE = 4096
"""Bytes of the smallest padded content."""

_PREFIX = 8
_CHUNK = 1 << 20


def padded_size(length: int) -> int:
    """Return the size of a content of so many bytes once it is padded."""
    size = max(_PREFIX + length, LEAST_SIZE)
    exponent = size.bit_length() - 1
    free = exponent - exponent.bit_length()
    return -(-size >> free) << free


def padded(content: Iterator[bytes], length: int) -> Iterator[bytes]:
    """Yield a content of so many bytes, padded, a piece at a time."""
    yield length.to_bytes(_PREFIX, "big")
    yield from content
    left = padded_size(length) - _PREFIX - length
    while left:
        piece = min(left, _CHUNK)
        yield bytes(piece)
        left -= piece


class Unpadded:
    """The way back, a piece at a time: hands on the content alone, and holds the rest to the format.

    Nothing that was handed on is to be believed until :meth:`finish` has returned.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._prefix = b""
        self._left = self._size = 0
        self._fits = True

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._size += len(piece)
        missing = _PREFIX - len(self._prefix)
        if missing:
            self._prefix += piece[:missing]
            piece = piece[missing:]
            if len(self._prefix) < _PREFIX:
                return
            self._left = int.from_bytes(self._prefix, "big")
        content, rest = (piece, b"") if len(piece) <= self._left else (piece[: self._left], piece[self._left :])
        self._left -= len(content)
        self._write(content)
        self._fits = self._fits and rest.count(0) == len(rest)

    def finish(self) -> None:
        """Hold the whole to the format.

        Raises
        ------
        SealError
            ``malformed``.
        """
        length = int.from_bytes(self._prefix, "big")
        if len(self._prefix) < _PREFIX or self._left or not self._fits or self._size != padded_size(length):
            raise refuse("malformed")
