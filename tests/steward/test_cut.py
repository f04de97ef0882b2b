"""All values at once are cut as each one is."""

from __future__ import annotations

from typing import get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.contract.spec import Tokens
from linkage.steward.tokens import cut, tokenise

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
