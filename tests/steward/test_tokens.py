from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.contract.spec import Tokens
from linkage.steward.tokens import tokenise

VALUES = st.text("ABN0123 ", min_size=1, max_size=14).filter(str.strip)
DATES = st.dates().map(lambda day: day.strftime("%Y%m%d").zfill(8))


@pytest.mark.parametrize(
    ("value", "kind", "tokens"),
    [
        ("ANNA", "bigrams", ["_A", "AN", "NN", "NA", "A_"]),
        ("A", "bigrams", ["_A", "A_"]),
        ("ANAN", "bigrams", ["_A", "AN", "NA", "N_"]),
        ("12 N WATER", "bigrams", ["_1", "12", "2N", "NW", "WA", "AT", "TE", "ER", "R_"]),
        ("6780", "positional", ["06", "17", "28", "30", "=6780"]),
        ("11", "positional", ["01", "11", "=11"]),
        ("19990312", "date", ["y01", "y19", "y29", "y39", "Y1999", "M03", "D12", "md0312", "md1203"]),
        ("19990303", "date", ["y01", "y19", "y29", "y39", "Y1999", "M03", "D03", "md0303"]),
        ("199903", "date", ["y01", "y19", "y29", "y39", "Y1999", "M03"]),
        ("1999", "date", ["y01", "y19", "y29", "y39", "Y1999"]),
        ("19990312", "year", ["y01", "y19", "y29", "y39", "Y1999"]),
        ("1999", "year", ["y01", "y19", "y29", "y39", "Y1999"]),
        ("F", "whole", ["=F"]),
        ("12 N WATER", "whole", ["=12 N WATER"]),
    ],
)
def test_tokens_of_a_value(value: str, kind: Tokens, tokens: list[str]) -> None:
    assert tokenise(value, kind) == tokens


@given(value=VALUES, kind=st.sampled_from([kind for kind in get_args(Tokens) if kind not in ("date", "year")]))
def test_tokens_are_distinct_and_never_none(value: str, kind: Tokens) -> None:
    tokens = tokenise(value, kind)
    assert tokens and len(set(tokens)) == len(tokens)


@given(one=VALUES, other=VALUES)
def test_different_values_differ_in_their_positional_and_whole_tokens(one: str, other: str) -> None:
    for kind in ("positional", "whole"):
        assert (tokenise(one, kind) == tokenise(other, kind)) == (one == other)


@given(value=st.text("ABC", min_size=1, max_size=14), at=st.integers(0, 13))
def test_one_letter_changes_two_bigrams_at_most(value: str, at: int) -> None:
    changed = "".join("Z" if place == at % len(value) else letter for place, letter in enumerate(value))
    assert len(set(tokenise(value, "bigrams")) - set(tokenise(changed, "bigrams"))) <= 2


@given(value=DATES)
def test_a_swapped_day_and_month_keep_the_year_and_both_orders(value: str) -> None:
    swapped = value[:4] + value[6:] + value[4:6]
    common = set(tokenise(value, "date")) & set(tokenise(swapped, "date"))
    assert common >= {*tokenise(value, "year"), f"md{value[4:]}", f"md{value[6:]}{value[4:6]}"}


@given(value=DATES, digits=st.sampled_from([4, 6]))
def test_part_of_a_date_has_part_of_its_tokens(value: str, digits: int) -> None:
    assert set(tokenise(value[:digits], "date")) < set(tokenise(value, "date"))
    assert tokenise(value[:digits], "year") == tokenise(value, "year")


def test_no_month_looks_like_a_day_or_year() -> None:
    """Tokens of one field are under one key: what means different things must be written differently."""
    kinds = [{token[:1] for token in tokenise(value, "date")} for value in ("19991212", "12121212")]
    assert kinds == [{"y", "Y", "M", "D", "m"}] * 2
    assert len(tokenise("12121212", "date")) == 4 + 1 + 1 + 1 + 1
