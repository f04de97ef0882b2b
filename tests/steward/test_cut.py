"""All values at once are cut as each one is."""

from __future__ import annotations

from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.contract.spec import Tokens
from linkage.steward.tokens import cut, number, spread, tokenise

STANDARD = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ", min_size=1, max_size=30)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize("kind", get_args(Tokens))
@given(values=st.lists(STANDARD | ANYTHING, unique=True, max_size=12))
def test_all_values_at_once_are_cut_as_each_one_is(kind: Tokens, values: list[str]) -> None:
    found = cut(pl.Series(values, dtype=pl.String), kind)
    assert len(found.start) == len(found.length) == len(values)
    assert len(set(found.tokens)) == len(found.tokens)
    for place, value in enumerate(values):
        numbers = found.numbers[found.start[place] : found.start[place] + found.length[place]]
        tokens = [found.tokens[number] for number in numbers]
        assert sorted(tokens) == sorted(tokenise(value, kind))


@given(codes=st.lists(st.integers(0, 50) | st.integers(0, 2**40), max_size=20))
def test_codes_are_numbered_in_ascending_order_however_large_they_are(codes: list[int]) -> None:
    numbers, distinct = number(np.array(codes, np.int64))
    assert distinct.tolist() == sorted(set(codes))
    assert distinct[numbers].tolist() == codes


@given(runs=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 4)), max_size=9))
def test_runs_are_spread_out_one_after_the_other(runs: list[tuple[int, int]]) -> None:
    start, length = (np.array([run[side] for run in runs], np.int64) for side in (0, 1))
    assert spread(start, length).tolist() == [
        place for first, several in runs for place in range(first, first + several)
    ]
