"""Tables that are right but hard: every estimator gives a number with an interval around it, or declines in words."""

from __future__ import annotations

import numpy as np
import pytest

from linkage.research.estimate import (
    REASONS,
    Chao,
    HistoryTable,
    Independence,
    Result,
    Stepwise,
    Zelterman,
    estimate,
    fit_model,
)
from linkage.research.estimate.averaging import Averaged
from linkage.research.estimate.bootstrap import bca_interval
from linkage.research.estimate.loglinear import MOST_PEOPLE
from linkage.research.estimate.models import AllModels

ESTIMATORS = (
    Chao(),
    Chao(few_lists=True),
    Zelterman(),
    Independence(),
    Stepwise(resamples=40),
    AllModels(resamples=40),
    AllModels("aic", resamples=40),
    Averaged(),
)


def table_of(t: int, counts: dict[int, int]) -> HistoryTable:
    cells = np.zeros(2**t - 1, dtype=np.int64)
    for cell, count in counts.items():
        cells[cell - 1] = count
    return HistoryTable(tuple(f"L{j}" for j in range(t)), cells)


def population(t: int, n: int, p: float) -> HistoryTable:
    """A table of independent lists."""
    seen = np.random.default_rng(0).random((n, t)) < p
    cells = (seen * (1 << np.arange(t))).sum(axis=1)
    return HistoryTable(tuple(f"L{j}" for j in range(t)), np.bincount(cells, minlength=2**t)[1:])


TABLES = {
    "a list nobody is on": table_of(3, {1: 50, 2: 40, 3: 20}),
    "two identical lists": table_of(3, {3: 50, 4: 40, 7: 20}),
    "two identical lists of four": table_of(4, {3: 50, 4: 40, 7: 20, 8: 30, 12: 10, 11: 9, 15: 3}),
    "one list inside another": table_of(3, {1: 50, 3: 30, 4: 40, 5: 12, 7: 9}),
    "two lists": table_of(2, {1: 50, 2: 40, 3: 20}),
    "two lists apart": table_of(2, {1: 50, 2: 40}),
    "one list": table_of(1, {1: 50}),
    "nobody": table_of(3, {}),
    "one person": table_of(3, {7: 1}),
    "everybody on every list": table_of(3, {7: 100}),
    "nobody on one list alone": table_of(3, {3: 100, 5: 50, 6: 40, 7: 20}),
    "one overlap": table_of(5, {1: 10, 2: 10, 4: 10, 8: 10, 16: 10, 3: 1}),
    "every cell 1": HistoryTable(tuple("ABCDE"), np.ones(31)),
    "beyond 32 bits": table_of(3, {1: 2**35, 2: 2**34, 3: 2**33, 4: 2**34, 5: 2**32, 6: 2**32, 7: 2**31}),
    "a handful beside billions": HistoryTable(
        tuple("ABCD"),
        np.array([3, 114078, 2632952277, 4, 173030204, 344, 0, 109755459, 13, 0, 24092, 32515, 0, 242852145, 265688]),
    ),
    "a handful beside millions": HistoryTable(
        tuple("ABCD"),
        np.array([916, 0, 1, 100999, 200411, 6, 97804110, 0, 3492833, 0, 19, 997185, 8281, 18313, 58]),
    ),
    "one overlap of each beside millions": table_of(3, {1: 10**6, 2: 10**6, 3: 5 * 10**5, 4: 10**6, 5: 1, 6: 1}),
    "beyond what a double tells": HistoryTable(tuple("ABCD"), np.full(15, 2**46)),
}


def sound(result: Result, observed: int) -> bool:
    if result.status != "ok":
        return result.status in REASONS and result.n_hat is None and result.to_dict()["details"] == {}
    values = (result.lower, result.n_hat, result.upper)
    return all(v is not None and np.isfinite(v) and v >= observed * (1 - 1e-12) for v in values)


@pytest.mark.parametrize("name", TABLES)
def test_a_right_answer_or_a_refusal_with_its_reason(name):
    table = TABLES[name]
    for estimator in ESTIMATORS:
        assert sound(estimator.fit(table), table.observed), estimator


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a list nobody is on", "too-few-lists"),
        ("two identical lists", "identical-lists"),
        ("two identical lists of four", "identical-lists"),
        ("two lists", "too-few-lists"),
        ("two lists apart", "too-few-lists"),
        ("one list", "too-few-lists"),
        ("nobody", "too-few-lists"),
        ("one overlap", "too-few-lists"),
    ],
)
def test_the_verdict_refuses_and_says_what_to_do(name, reason):
    verdict = estimate(TABLES[name], resamples=40).verdict
    assert (verdict.status, verdict.reason) == ("refused", reason)
    assert verdict.words and verdict.remedy and verdict.low is None and verdict.high is None


def test_a_list_inside_another_is_refused_where_that_is_beyond_chance():
    assert estimate(TABLES["one list inside another"], resamples=40).verdict.status == "refused"


def test_two_lists_give_lincoln_petersen():
    assert Independence().fit(TABLES["two lists"]).n_hat == pytest.approx(70 * 60 / 20)
    assert AllModels(resamples=0).fit(TABLES["two lists"]).n_hat == pytest.approx(70 * 60 / 20)


def test_twelve_lists():
    table = population(12, 3000, 0.08)
    assert Independence().fit(table).lower < 3000 < Independence().fit(table).upper
    stepwise = Stepwise(resamples=0).fit(table)
    assert 2800 < stepwise.n_hat < 3300
    assert AllModels().fit(table).status == "too-many-lists"


@pytest.mark.parametrize("factor", [1, 10**4, 10**7])
def test_numbers_grow_with_the_counts_as_far_as_they_may(kosovo, factor):
    table = HistoryTable(kosovo.lists, kosovo.counts * factor)
    for terms in ((), (0b0011, 0b1100)):
        assert fit_model(table, terms).n_hat / factor == pytest.approx(fit_model(kosovo, terms).n_hat, rel=1e-9)
    result = Independence().fit(table)
    assert result.lower < result.n_hat < result.upper
    # Log-likelihood is proportional to the counts, so the interval narrows with their root.
    width = (result.upper - result.lower) / factor
    assert width * factor**0.5 == pytest.approx(7656.2 - 7147.7, rel=0.02)


def test_beyond_the_precision_of_doubles_there_is_no_number(kosovo):
    table = HistoryTable(kosovo.lists, kosovo.counts * 10**9)
    assert table.observed > MOST_PEOPLE
    for estimator in ESTIMATORS[3:]:
        assert estimator.fit(table).status == "beyond-precision"


def test_a_list_that_everybody_is_on_is_named_as_what_it_is():
    counts = {0b001: 500, 0b011: 90, 0b101: 60, 0b111: 30}
    report = estimate(HistoryTable(("A", "B", "C"), np.array([counts.get(cell, 0) for cell in range(1, 8)])))
    assert report.verdict.reason == "list-of-everybody"
    assert "leave that list out" in report.verdict.remedy


def test_pairs_whose_p_values_are_lost_come_in_by_what_they_deviate():
    """Where two p-values are too small for a number, the order of lists must not decide."""
    counts = np.array([115, 68399462, 5, 0, 24711, 1, 17, 2478080, 1864296, 124661, 16383145, 1107100, 0, 144189, 0])
    order = (0, 3, 2, 1)
    moved = np.zeros_like(counts)
    for cell in range(1, 16):
        moved[sum(1 << at for at, old in enumerate(order) if cell >> old & 1) - 1] = counts[cell - 1]
    one = Stepwise(resamples=0).fit(HistoryTable(("A", "B", "C", "D"), counts))
    other = Stepwise(resamples=0).fit(HistoryTable(("A", "D", "C", "B"), moved))
    assert one.n_hat == pytest.approx(other.n_hat, rel=1e-9)


def test_an_interval_of_few_resamples_holds_its_estimate():
    table = HistoryTable(("A", "B", "C"), np.array([1, 3, 0, 4, 4, 1, 0]))
    result = AllModels(resamples=20).fit(table)
    assert result.ok and result.lower <= result.n_hat <= result.upper


def lists_with_a_tiny_one(tiny: int) -> HistoryTable:
    """Three lists of some hundred, and a fourth that so many people are on, one of them on another list too."""
    counts = {0b0001: 150, 0b0010: 140, 0b0100: 120, 0b0011: 60, 0b0101: 50, 0b0110: 45, 0b0111: 25}
    counts |= {0b1001: 1, 0b1000: tiny - 1} if tiny else {}
    return HistoryTable(("A", "B", "C", "D"), np.array([counts.get(cell, 0) for cell in range(1, 16)]))


@pytest.mark.parametrize("tiny", [0, 1, 2, 3])
def test_a_list_of_one_or_two_people_does_not_forbid_the_estimate(tiny):
    """A resample without them is one of three lists, as the table would be."""
    report = estimate(lists_with_a_tiny_one(tiny), resamples=200)
    assert report.verdict.status == "estimated"
    assert report.verdict.high < 3000


def test_a_list_that_is_empty_in_some_draws_does_not_forbid_the_estimate():
    table = lists_with_a_tiny_one(2)
    draws = [lists_with_a_tiny_one(0 if place % 4 == 0 else 2) for place in range(20)]
    report = estimate(table, resamples=200, draws=draws)
    assert report.verdict.status == "estimated"
    assert all(pooled.reasons == {} for pooled in report.pooled)


@pytest.mark.parametrize("below", [0, 1, 2, 5, 195, 199, 200])
def test_a_bootstrap_interval_holds_its_estimate_wherever_the_resamples_are(below):
    values = np.concatenate([np.full(below, 990.0), np.full(200 - below, 1010.0)])

    def given(tables):
        return values[: len(tables)] if len(tables) == 200 else np.full(len(tables), 1000.0)

    found = bca_interval(np.array([50, 40, 30]), 1000.0, given, resamples=200, seed=1)
    assert found.lower <= 1000.0 <= found.upper


def test_more_than_four_lists_say_that_they_were_not_studied():
    seen = np.random.default_rng(2).random((900, 5)) < 0.3
    counts = np.bincount((seen * (1 << np.arange(5))).sum(axis=1), minlength=32)[1:]
    report = estimate(HistoryTable(tuple("ABCDE"), counts), resamples=100)
    assert any("studied for four lists" in note for note in report.notes)
    assert not any("studied" in note for note in estimate(lists_with_a_tiny_one(3), resamples=100).notes)
