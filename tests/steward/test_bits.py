"""Diffusion is the plain XOR of bits, however fast it is done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage.steward.bits import diffuse, transpose


def plain(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Bit p of a filter is bit p % 64 of word p // 64."""
    content = words.astype("<u8").view(np.uint8).reshape(len(words), 8 * words.shape[1])
    return np.unpackbits(content, axis=1, bitorder="little")


def diffused(filters: NDArray[np.uint64], sets: NDArray[np.int64]) -> NDArray[np.uint64]:
    out = np.zeros((len(filters), len(sets) // 64), np.uint64)
    diffuse(filters, sets, out)
    return out


@given(matrices=st.integers(0, 9), seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_transposing_is_that_of_the_unpacked_bits_and_its_own_inverse(matrices: int, seed: int) -> None:
    words = np.random.default_rng(seed).integers(0, 2**64, (64, matrices), np.uint64)
    turned = words.copy()
    transpose(turned)
    for place in range(matrices):
        square, other = (
            np.unpackbits(np.ascontiguousarray(array[:, place]).astype(">u8").view(np.uint8)).reshape(64, 64)
            for array in (words, turned)
        )
        assert np.array_equal(other, square.T)
    transpose(turned)
    assert np.array_equal(turned, words)


def test_one_bit_moves_across_the_diagonal() -> None:
    words = np.zeros((64, 1), np.uint64)
    words[3, 0] = np.uint64(1) << np.uint64(63 - 10)
    transpose(words)
    assert np.flatnonzero(words).tolist() == [10]
    assert words[10, 0] == np.uint64(1) << np.uint64(63 - 3)


@given(
    records=st.integers(0, 130),
    width=st.integers(1, 4),
    outputs=st.sampled_from([64, 128, 192]),
    inputs=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_diffusion_is_the_plain_xor_of_bits(records: int, width: int, outputs: int, inputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    filters = rng.integers(0, 2**64, (records, width), np.uint64)
    sets = rng.integers(0, 64 * width, (outputs, inputs))
    expected = np.bitwise_xor.reduce(plain(filters)[:, sets], axis=2)
    assert np.array_equal(plain(diffused(filters, sets)), expected)


@pytest.mark.parametrize("records", [3, 64, 128])
def test_diffusion_may_write_where_it_reads(records: int) -> None:
    rng = np.random.default_rng(records)
    sets = rng.integers(0, 64, (128, 3))
    memory = rng.integers(0, 2**64, (2 * records, 1), np.uint64)
    filters, result = memory[records:], memory.reshape(records, 2)
    expected = np.bitwise_xor.reduce(plain(filters)[:, sets], axis=2)
    diffuse(filters, sets, result)
    assert np.array_equal(plain(result), expected)


@pytest.mark.parametrize("records", [1, 63, 64, 65])
def test_one_input_a_bit_is_a_choice_of_bits(records: int) -> None:
    filters = np.random.default_rng(7).integers(0, 2**64, (records, 2), np.uint64)
    assert np.array_equal(diffused(filters, np.arange(128)[:, None]), filters)
    backwards = plain(diffused(filters, np.arange(128)[::-1, None]))
    assert np.array_equal(backwards, plain(filters)[:, ::-1])


def test_the_same_input_twice_vanishes() -> None:
    filters = np.full((5, 1), 2**64 - 1, np.uint64)
    assert not diffused(filters, np.tile([3, 3], (64, 1))).any()
