"""Rows of bits against streams read one position at a time."""

from __future__ import annotations

import hmac

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.steward import streams as module
from linkage.steward.streams import digests, rows_of_values
from linkage.steward.tokens import Piece, cut, tokenise

KEY = b"a key of 32 bytes, or any length"
BITS = 256
NAMES = ["A", "ANNA", "ANNE", "ALEXANDRIA", "JOSÉ", "O"]


def positions(token: str, count: int) -> set[int]:
    found: list[int] = []
    for block in range(-(-count // 16)):
        digest = hmac.digest(KEY, block.to_bytes(4, "big") + token.encode(), "sha256")
        found += [int.from_bytes(digest[at : at + 2], "big") % BITS for at in range(0, 32, 2)]
    return set(found[:count])


def row(value: str, kind: Piece, count: int) -> list[int]:
    return sorted(set().union(*(positions(token, count) for token in tokenise(value, kind))))


def set_bits(words: np.ndarray) -> list[int]:
    return np.flatnonzero(np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")).tolist()


def rows(values: list[str], kind: Piece, asked: list[tuple[int, int]]) -> list[list[int]]:
    """Ask for (count, value) in ascending order."""
    count, value = (np.array(column, np.int64) for column in zip(*asked, strict=True))
    made, place = rows_of_values(KEY, cut(pl.Series(values), kind), value, count, BITS)
    assert made.shape == (len(asked), BITS // 64) and sorted(place.tolist()) == list(range(len(asked)))
    return [set_bits(words) for words in made[place]]


@pytest.mark.parametrize("kind", ["bigrams", "positional", "whole"])
@given(
    asked=st.lists(st.tuples(st.integers(0, 40), st.integers(0, len(NAMES) - 1)), min_size=1, max_size=12, unique=True)
)
@settings(max_examples=30, deadline=None)
def test_a_row_holds_the_first_positions_of_all_tokens(kind: Piece, asked: list[tuple[int, int]]) -> None:
    asked.sort()
    assert rows(NAMES, kind, asked) == [row(NAMES[value], kind, count) for count, value in asked]


@pytest.mark.parametrize(("name", "size"), [("_TABLE", 1), ("_TABLE", 500), ("_BLOCK", 1), ("_BLOCK", 3)])
def test_how_many_rows_are_worked_on_at_once_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    asked = [(count, value) for count in (1, 2, 15, 16, 17, 33) for value in range(len(NAMES))]
    expected = [row(NAMES[value], "bigrams", count) for count, value in asked]
    assert rows(NAMES, "bigrams", asked) == expected
    monkeypatch.setattr(module, name, size)
    assert rows(NAMES, "bigrams", asked) == expected


@given(messages=st.lists(st.binary(max_size=80), max_size=5), prefix=st.binary(max_size=80))
def test_digests_are_those_of_prefix_and_message(messages: list[bytes], prefix: bytes) -> None:
    expected = b"".join(hmac.digest(KEY, prefix + message, "sha256") for message in messages)
    assert digests(KEY, messages, prefix) == expected
    assert digests(KEY + b"?", messages, prefix) != expected or not messages
