from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import SealError
from linkage.exchange.padding import LEAST_SIZE, Unpadded, padded, padded_size


def padme(size: int) -> int:
    """Padmé by the letter of the paper's algorithm 1."""
    exponent = math.floor(math.log2(size))
    kept = math.floor(math.log2(exponent)) + 1
    mask = (1 << (exponent - kept)) - 1
    return (size + mask) & ~mask


def unpadded(pieces: list[bytes]) -> bytes:
    content = bytearray()
    reader = Unpadded(content.extend)
    for piece in pieces:
        reader.update(piece)
    reader.finish()
    return bytes(content)


@given(st.integers(0, 1 << 40))
def test_sizes_are_those_of_the_paper(length: int) -> None:
    size = padded_size(length)
    assert size == padme(max(8 + length, LEAST_SIZE))
    assert size == LEAST_SIZE or size <= (8 + length) * (1 + 1 / 16)
    assert padded_size(size - 8) == size, "a bucket's own size is of that bucket"


def test_there_are_few_sizes() -> None:
    sizes, length = set(), 0
    while length < 1 << 40:
        size = padded_size(length)
        sizes.add(size)
        length = size - 7
    assert len(sizes) < 1100
    assert {padded_size(length) for length in range(4089)} == {4096}
    assert len({padded_size(length) for length in range(1_000_000, 1_010_000)}) == 1


@given(st.binary(max_size=9000), st.lists(st.integers(0, 12_000), max_size=6))
def test_what_is_padded_is_unpadded_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    whole = b"".join(padded(iter([content]), len(content)))
    assert len(whole) == padded_size(len(content))
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    assert unpadded([whole[start:end] for start, end in pairwise(bounds)]) == content


@given(st.binary(max_size=300), st.integers(1, 5000), st.integers(1, 255))
def test_no_other_bytes_are_a_padding_of_it(content: bytes, more: int, byte: int) -> None:
    whole = b"".join(padded(iter([content]), len(content)))
    for spoilt in (whole[:-more], whole + bytes(more), whole[:-1] + bytes([byte])):
        with pytest.raises(SealError) as caught:
            unpadded([spoilt])
        assert caught.value.reason == "malformed"


@given(st.binary(max_size=5000))
def test_whatever_it_is_it_is_read_or_refused(data: bytes) -> None:
    try:
        content = unpadded([data])
    except SealError:
        return
    assert b"".join(padded(iter([content]), len(content))) == data
