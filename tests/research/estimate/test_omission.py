"""Estimates without a list and with two lists merged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import EstimateError
from linkage.research.estimate import HistoryTable, Independence, LogLinear, Stepwise
from linkage.research.estimate.omission import drop_empty, leave_one_out, merge_pairs, merged

ESTIMATORS = {"stepwise": Stepwise(resamples=0), "main": Independence()}


@pytest.mark.parametrize("key", ESTIMATORS)
@pytest.mark.parametrize("name", ["UKdat", "UKdat_5", "NewOrl_5", "Kosovo"])
def test_every_omission_and_merge_agrees_with_the_reference(name, key, tables, reference):
    target = reference[name]["diagnostics"]
    left = {row.lists[0]: row for row in leave_one_out(tables[name], ESTIMATORS[key])}
    joined = {"+".join(row.lists): row for row in merge_pairs(tables[name], ESTIMATORS[key])}
    for rows, wanted in ((left, target["leave_one_list_out"]), (joined, target["merge_two_lists"])):
        assert set(rows) == set(wanted)
        for lists, row in rows.items():
            assert row.status == "ok"
            assert row.n_hat == pytest.approx(wanted[lists][key]["point"], rel=1e-6)
            assert row.observed == wanted[lists]["n"]
            assert [part.replace("+", "_") for part in row.remaining] == wanted[lists]["lists"]
            terms = wanted[lists][key]["terms"]
            found = set() if row.model == "independence" else set(row.model.replace("+", "_").split(", "))
            assert found == {term for term in ([terms] if isinstance(terms, str) else terms)}


def test_kosovo_without_a_list_ranges_as_published_here(kosovo):
    numbers = [row.n_hat for row in leave_one_out(kosovo, Stepwise(resamples=0))]
    assert (round(min(numbers)), round(max(numbers))) == (6044, 22301)


def test_uk_ranges_over_merges(uk):
    numbers = [row.n_hat for row in merge_pairs(uk, Stepwise(resamples=0))]
    assert (round(min(numbers)), round(max(numbers))) == (10780, 26442)


def test_a_merge_puts_a_person_on_the_list_who_was_on_either():
    # Cells A, B, AB, C, AC, BC, ABC.
    table = HistoryTable(("A", "B", "C"), np.array([1, 2, 4, 8, 16, 32, 64]))
    both = merged(table, 0, 1)
    assert both.lists == ("A+B", "C")
    assert both.counts.tolist() == [1 + 2 + 4, 8, 16 + 32 + 64]
    assert merged(table, 2, 0).lists == ("A+C", "B")
    assert merged(table, 2, 0).counts.tolist() == [1 + 8 + 16, 2, 4 + 32 + 64]
    assert merged(table, 1, 2).counts.tolist() == [1, 2 + 8 + 32, 4 + 16 + 64]


@given(
    t=st.integers(2, 5),
    data=st.data(),
)
def test_a_merge_keeps_everybody_and_the_sizes_of_the_other_lists(t, data):
    counts = data.draw(st.lists(st.integers(0, 9), min_size=2**t - 1, max_size=2**t - 1))
    one, other = data.draw(st.lists(st.integers(0, t - 1), min_size=2, max_size=2, unique=True))
    table = HistoryTable(tuple("ABCDE"[:t]), np.array(counts))
    joined = merged(table, one, other)
    assert joined.observed == table.observed
    sizes = dict(zip(joined.lists, joined.totals.tolist(), strict=True))
    for position, name in enumerate(table.lists):
        if position not in (one, other):
            assert sizes.pop(name) == table.totals[position]
    ((name, size),) = sizes.items()
    assert size == table.totals[one] + table.totals[other] - table.together(one, other)


@pytest.mark.parametrize("pair", [(0, 0), (0, 5), (-1, 0)])
def test_a_merge_of_anything_but_two_lists_is_refused(uk, pair):
    with pytest.raises(EstimateError):
        merged(uk, *pair)


def test_empty_lists_go_and_are_named():
    table = HistoryTable(("A", "B", "C"), np.array([3, 0, 0, 4, 5, 0, 0]))
    left, gone = drop_empty(table)
    assert (left.lists, gone) == (("A", "C"), ("B",))
    assert left.counts.tolist() == [3, 4, 5]


def test_one_list_that_is_left_is_a_refusal_and_no_error():
    rows = leave_one_out(HistoryTable(("A", "B"), np.array([3, 4, 5])), Independence())
    assert [(row.n_hat, row.status) for row in rows] == [(None, "too-few-lists")] * 2
    assert rows[0].to_dict()["status"] == "too-few-lists"


def test_interactions_follow_a_merge_and_go_with_a_list(kosovo):
    estimator = LogLinear((("EXH", "ABA", "OSCE"), ("EXH", "ABA"), ("EXH", "OSCE"), ("ABA", "OSCE"), ("OSCE", "HRW")))
    left = {row.lists[0]: row.model for row in leave_one_out(kosovo, estimator)}
    assert left["EXH"] == "ABA:OSCE, OSCE:HRW"
    joined = {row.lists: row.model for row in merge_pairs(kosovo, estimator)}
    # All three lists that would be left cannot interact: that is the one interaction no table can show.
    assert joined["OSCE", "HRW"] == "EXH:ABA, EXH:OSCE+HRW, ABA:OSCE+HRW"
    assert joined["EXH", "ABA"] == "EXH+ABA:OSCE, OSCE:HRW"


def test_withheld_rows_keep_counts_and_lose_estimates(uk):
    row = leave_one_out(uk, Independence())[0]
    plain = row.to_dict(withhold=True)
    assert plain["observed"] == row.observed
    assert (plain["n_hat"], plain["lower"], plain["upper"], plain["model"]) == (None, None, None, "")
    assert row.to_dict()["n_hat"] == row.n_hat
