"""Sensitivity curves, the assumption in words, and everything collected beside an estimate."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from linkage.errors import EstimateError
from linkage.research.estimate import (
    REASONS,
    Chao,
    HistoryTable,
    Independence,
    LogLinear,
    Stepwise,
    Zelterman,
    fit_model,
)
from linkage.research.estimate.lattice import contains, design, pairs
from linkage.research.estimate.models import AllModels
from linkage.research.estimate.offset import RATIOS, highest_order_curve, odds_ratio_curve
from linkage.research.estimate.sensitivity import ALWAYS, ASSUMPTIONS, assumption_text, diagnostics, model_words


def two(n10: int, n01: int, n11: int) -> HistoryTable:
    return HistoryTable(("A", "B"), np.array([n10, n01, n11]))


def test_two_lists_follow_the_closed_form_of_gerritse():
    curve = odds_ratio_curve(two(40, 60, 20), (), ("A", "B"), (0.25, 1.0, 4.0))
    assert curve.n_hats == (120 + 30, 120 + 120, 120 + 480)
    assert curve.fitted == 1.0
    assert curve.statuses == ("ok",) * 3


def test_two_lists_without_overlap_have_no_point_and_a_reason():
    curve = odds_ratio_curve(two(40, 60, 0), (), ("A", "B"))
    assert curve.n_hats == (None,) * len(RATIOS)
    assert set(curve.statuses) == {"model-not-estimable"}
    assert curve.statuses[0] in REASONS


def _by_brute_force(table: HistoryTable, rest: tuple[int, ...], term: int, ratio: float) -> float:
    """Maximise the Poisson likelihood with the pair's parameter held at log(ratio), by a general optimiser."""
    left, offset = design(table.t, rest), contains(table.t, (term,))[0] * math.log(ratio)
    start = np.linalg.lstsq(left, np.log(table.counts + 0.5) - offset, rcond=None)[0]

    def loss(beta):
        mu = np.exp(offset + left @ beta)
        return (mu.sum() - table.counts @ (offset + left @ beta)), left.T @ (mu - table.counts)

    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    return table.observed + math.exp(found.x[0])


@pytest.mark.parametrize("pair", [("EXH", "ABA"), ("ABA", "HRW")])
@pytest.mark.parametrize("ratio", [0.25, 3.0])
def test_a_point_is_the_maximum_of_its_likelihood(kosovo, pair, ratio):
    terms = Stepwise(resamples=0).fit(kosovo).terms
    term = sum(1 << kosovo.lists.index(name) for name in pair)
    curve = odds_ratio_curve(kosovo, terms, pair, (ratio,))
    target = _by_brute_force(kosovo, tuple(t for t in terms if t != term), term, ratio)
    assert curve.n_hats[0] == pytest.approx(target, rel=1e-5)


def test_the_curve_passes_through_the_model_itself(uk):
    chosen = Stepwise(resamples=0).fit(uk)
    for pair in combinations(uk.lists, 2):
        own = odds_ratio_curve(uk, chosen.terms, pair).fitted
        again = odds_ratio_curve(uk, chosen.terms, pair, (own,))
        assert again.n_hats[0] == pytest.approx(chosen.n_hat, rel=1e-7)
    assert odds_ratio_curve(uk, chosen.terms, ("LA", "NG")).fitted == pytest.approx(4.590336, rel=1e-5)


def test_an_empty_overlap_has_ratio_zero_and_a_curve_that_falls_towards_the_model(tables):
    table = tables["Ned_modslavmse"]
    chosen = Stepwise(resamples=0).fit(table)
    curve = odds_ratio_curve(table, chosen.terms, ("K", "R"), (1e-9, 0.25, 1.0, 4.0))
    assert curve.fitted == 0.0
    assert curve.n_hats[0] == pytest.approx(chosen.n_hat, rel=1e-5)
    assert list(curve.n_hats) == sorted(curve.n_hats)


def test_a_curve_of_a_model_without_an_estimate_has_none(tables):
    table = tables["Artificial_3"]  # the model with all pairs is not identifiable
    fixed = odds_ratio_curve(table, pairs(3), (table.lists[0], table.lists[1]))
    assert fixed.fitted is None
    for value, status in zip(fixed.n_hats, fixed.statuses, strict=True):
        assert (value is None) == (status != "ok")
    assert highest_order_curve(table, pairs(3)).n_hats == (None,) * 5
    inner = tables["UKdat"].given(tables["UKdat"].lists.index("GP"))  # R prints 8.4e11 here
    inner = inner.without(inner.lists.index("LA"))
    curve = odds_ratio_curve(inner, (), (inner.lists[0], inner.lists[1]))
    assert curve.n_hats == (None,) * len(RATIOS)


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan, math.inf])
def test_an_odds_ratio_that_is_none_is_refused(ratio):
    with pytest.raises(EstimateError) as caught:
        odds_ratio_curve(two(1, 1, 1), (), ("A", "B"), (ratio,))
    assert caught.value.reason == "bad-ratio"


@pytest.mark.parametrize("pair", [("A", "A"), ("A", "C")])
def test_a_pair_that_is_none_is_refused(pair):
    with pytest.raises(EstimateError) as caught:
        odds_ratio_curve(two(1, 1, 1), (), pair)
    assert caught.value.reason == "unknown-list"


def test_the_highest_order_interaction_of_kosovo(kosovo):
    # Aleshin-Guendel, Sadinle & Wakefield: saturated Kosovo.
    curve = highest_order_curve(kosovo)
    assert [round(n) for n in curve.n_hats] == [9014, 12007, 16942, 25078, 38492]
    assert (curve.model, curve.status) == ("saturated", "ok")


def test_the_highest_order_interaction_of_other_tables(tables, shared):
    reference = json.loads((shared / "reference" / "mse.json").read_text(encoding="utf-8"))["sensitivity_NHOI"]
    here = sorted(set(reference) & set(tables))
    assert "lesbian" in here
    for name in here:
        curve = highest_order_curve(tables[name], xis=reference[name]["xi_grid"])
        assert curve.n_hats == pytest.approx(reference[name]["N_xi"], rel=1e-10)


@pytest.mark.parametrize("cell", [1, 3, 7, 15])
def test_the_saturated_model_needs_every_cell_as_the_gate_says(kosovo, cell):
    counts = kosovo.counts.copy()
    every = [term for term in range(1, 15) if term.bit_count() > 1]
    full = fit_model(kosovo, every)
    assert full.n_hat == pytest.approx(highest_order_curve(kosovo).n_hats[2], rel=1e-8)
    counts[cell - 1] = 0
    sparse = HistoryTable(kosovo.lists, counts)
    assert isinstance(fit_model(sparse, every), int)
    assert highest_order_curve(sparse).status == "model-not-estimable"


def test_the_highest_order_interaction_of_a_given_model(kosovo):
    curve = highest_order_curve(kosovo, (), (0.0, math.log(2)))
    n_hat = Independence().fit(kosovo).n_hat
    assert curve.n_hats == pytest.approx((n_hat, 2 * n_hat - kosovo.observed))
    with pytest.raises(EstimateError):
        highest_order_curve(kosovo, (), (math.nan,))


def test_every_result_says_its_assumption_in_plain_words(uk):
    floors = Chao(), Chao(few_lists=True), Zelterman()
    for estimator in (Independence(), Stepwise(resamples=0), LogLinear(), AllModels(resamples=0), *floors):
        result = estimator.fit(uk)
        text = assumption_text(result)
        assert ASSUMPTIONS[result.method] in text
        floor = isinstance(estimator, Chao)
        assert text.startswith("This method gives a floor and no estimate" if floor else "The number is right only if")
        assert ("right only if" in text) != floor  # a floor is none of an estimate's assumptions
        assert text.endswith(ALWAYS)
    chosen = assumption_text(Stepwise(resamples=0).fit(uk))
    assert "LA:NG" in chosen
    for words in ASSUMPTIONS.values():
        lowered = words.lower()
        assert not any(term in lowered for term in ("log", "odds", "poisson", "parameter", "prior", "interaction"))


def test_a_floor_says_that_it_holds_no_referral(uk):
    for few_lists in (False, True):
        assert "no notice of which lists are known to refer people" in assumption_text(
            Chao(few_lists=few_lists).fit(uk)
        )


def test_a_refusal_says_why_before_what_it_would_assume():
    refusal = Independence().fit(HistoryTable(("A", "B", "C"), np.array([5, 5, 0, 5, 0, 0, 0])))
    text = assumption_text(refusal)
    assert text.startswith(f"No number is given: {REASONS['start-not-estimable'][0]}.")
    assert "would be right only if" in text


def test_of_a_withheld_result_nothing_is_said_as_if_it_were_shown(uk):
    for estimator in (Independence(), Stepwise(resamples=0), Chao(), Zelterman()):
        result = estimator.fit(uk)
        assert result.ok
        text = assumption_text(result, withhold=True)
        assert "the number" not in text.lower() and "Dependence that the model allows for" not in text
        assert ASSUMPTIONS[result.method] in text and "No number is given" not in text
    assert not any("the number" in words.lower() for words in ASSUMPTIONS.values())


def test_an_empty_overlap_is_named_in_words(tables):
    result = Stepwise(resamples=0).fit(tables["Ned_modslavmse"])
    assert "K:R(-inf)" in result.model
    assert "K:R (nobody on both)" in model_words(result.model) and "(-inf)" not in assumption_text(result)


def test_a_method_without_words_gives_its_own(uk):
    result = LogLinear(method="new-method").fit(uk)
    assert result.assumption[1:] in assumption_text(result)


def _numbers(value):
    if isinstance(value, dict):
        for part in value.values():
            yield from _numbers(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, float):
        yield value


@pytest.fixture(scope="module")
def found(uk):
    return diagnostics(uk)


def test_diagnostics_collect_everything_as_plain_values(uk, found):
    plain = found.to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["list_sizes"] == dict(zip(uk.lists, uk.totals.tolist(), strict=True))
    assert [len(plain[key]) for key in ("pairs", "odds_ratio_curves", "estimators")] == [10, 10, 2]
    for panel, estimator in zip(found.panels, (Stepwise(resamples=0), Independence()), strict=True):
        assert panel.result.n_hat == estimator.fit(uk).n_hat
        assert [len(part) for part in (panel.left_out, panel.merges, panel.consistency)] == [5, 10, 5]
    assert found.model == found.panels[0].result.terms
    assert found.highest_order.model != "saturated"  # not every history occurs


def test_withheld_diagnostics_hold_no_estimate(found):
    shown, plain = found.to_dict(), found.to_dict(withhold=True)
    ratios = {*RATIOS, -1.0, -0.5, 0.0, 0.5, 1.0}
    assert {*_numbers(shown)} - ratios
    assert {*_numbers(plain)} <= ratios
    assert plain["list_sizes"] == shown["list_sizes"]


def test_the_saturated_curve_stands_where_every_history_occurs(kosovo):
    assert diagnostics(kosovo).highest_order.model == "saturated"


def test_referrals_go_into_every_model_that_still_has_both_lists(uk):
    found = diagnostics(uk, referrals=[("LA", "GP")])
    assert "LA:GP" in found.panels[0].result.model
    assert "LA:GP" in found.panels[1].result.model
    kept = {row.lists: "LA:GP" in row.model for row in found.panels[1].left_out}
    assert kept == {("LA",): False, ("NG",): True, ("PFNCA",): True, ("GO",): True, ("GP",): False}
    moved = {row.lists: row.model for row in found.panels[1].merges}
    assert moved["LA", "NG"] == "LA+NG:GP"
    assert moved["LA", "GP"] == "independence"
    with pytest.raises(EstimateError):
        diagnostics(uk, referrals=[("LA", "nobody")])


@pytest.mark.parametrize(
    ("lists", "counts"),
    [
        ((), []),
        (("A",), [5]),
        (("A", "B"), [0, 0, 0]),
        (("A", "B"), [3, 4, 0]),
        (("A", "B", "C"), [0, 0, 5, 0, 0, 0, 0]),
        (("A", "B", "C"), [7, 0, 0, 0, 0, 0, 0]),
        (("A", "B", "C"), [2**45, 2**46, 2**40, 2**44, 2**39, 2**38, 2**33]),
    ],
)
def test_any_table_gets_its_diagnostics(lists, counts):
    table = HistoryTable(lists, np.array(counts, dtype=np.int64))
    plain = diagnostics(table).to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["observed"] == sum(counts)


def test_a_list_that_nobody_is_on_is_named_and_left_out(uk, found):
    counts = np.concatenate([uk.counts, np.zeros(32, dtype=np.int64)])
    again = diagnostics(HistoryTable((*uk.lists, "empty"), counts))
    assert again.empty == ("empty",)
    assert again.sizes[-1] == 0
    same = ("odds_ratio_curves", "highest_order_curve", "estimators", "observed")
    one, other = again.to_dict(), found.to_dict()
    assert {key: one[key] for key in same} == {key: other[key] for key in same}


def test_a_referral_between_the_two_lists_that_are_left_is_refused_and_no_fault():
    table = HistoryTable(("A", "B", "C"), np.array([60, 50, 20, 40, 15, 12, 8]))
    beside = diagnostics(table, referrals=[("A", "B")])
    rows = {row.lists: row.status for row in beside.panels[1].left_out}
    assert rows[("C",)] == "start-not-estimable"
    assert rows[("A",)] == "ok"
