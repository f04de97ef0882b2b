"""All values at once are cut as each one is."""

from __future__ import annotations

from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.contract.spec import Tokens
from linkage.steward.tokens import cut, number, pieces, tokenise

STANDARD = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ", min_size=1, max_size=30)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize("kind", get_args(Tokens))
@given(values=st.lists(STANDARD | ANYTHING, unique=True, max_size=12))
def test_all_values_at_once_are_cut_as_each_one_is(kind: Tokens, values: list[str]) -> None:
    series = pl.Series(values, dtype=pl.String)
    tokens: list[list[bytes]] = [[] for _ in values]
    for piece, parts in pieces(series, kind).items():
        assert len(parts) == len(values)
        distinct = [part for part in dict.fromkeys(parts.to_list()) if part]
        found = cut(pl.Series(distinct, dtype=pl.String), piece)
        assert len(set(found.tokens)) == len(found.tokens)
        assert len(found.length) == len(distinct) and len(found.numbers) == found.length.sum()
        runs = np.split(found.numbers, np.cumsum(found.length)[:-1]) if distinct else []
        of = {part: [found.tokens[number] for number in run] for part, run in zip(distinct, runs, strict=True)}
        for several, part in zip(tokens, parts, strict=True):
            several += of.get(part, [])
    assert [sorted(several) for several in tokens] == [
        sorted(token.encode() for token in tokenise(value, kind)) for value in values
    ]


@given(codes=st.lists(st.integers(0, 50) | st.integers(0, 2**40), max_size=20))
def test_codes_are_numbered_in_ascending_order_however_large_they_are(codes: list[int]) -> None:
    numbers, distinct = number(np.array(codes, np.int64))
    assert distinct.tolist() == sorted(set(codes))
    assert distinct[numbers].tolist() == codes
