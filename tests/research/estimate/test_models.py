"""All hierarchical models, their ranking and their average."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from linkage.errors import EstimateError
from linkage.research.estimate import Fit, HistoryTable, Independence, fit_model
from linkage.research.estimate.averaging import Averaged, Mixture
from linkage.research.estimate.bootstrap import acceleration
from linkage.research.estimate.gate import check
from linkage.research.estimate.lattice import pairs, terms_from_names
from linkage.research.estimate.models import (
    AllModels,
    fit_models,
    hierarchical_models,
    name_generators,
    notation,
    rank,
)
from linkage.research.estimate.pooled import over_draws

WITH_SEARCH = ("UKdat_5", "UKdat_4", "NewOrl_5", "Kosovo", "Korea", "HIV", "lesbian", "MadiganYork3", "Artificial_3")
WITH_BIC = tuple(name for name in WITH_SEARCH if name not in ("lesbian", "MadiganYork3"))
BOOTSTRAPPED = ("UKdat_4", "Kosovo", "Korea", "HIV")


def close(value: float, target: float, relative: float = 1e-4) -> bool:
    return bool(np.isclose(value, target, rtol=relative, atol=0))


@pytest.mark.parametrize(("t", "number"), [(1, 1), (2, 1), (3, 8), (4, 113), (5, 1024)])
def test_the_models_are_all_the_hierarchical_ones_and_no_others(t, number):
    models = hierarchical_models(t)
    assert len(models) == len({frozenset(model) for model in models}) == number
    most = t - 1 if t <= 4 else 2
    for model in models:
        held = set(model)
        assert all(2 <= term.bit_count() <= most for term in model)
        parts = {p for term in model for p in range(term) if p & term == p and p.bit_count() > 1}
        assert parts <= held


def test_models_are_written_as_in_the_literature():
    triple = (0b0011, 0b0101, 0b0110, 0b0111, 0b1001, 0b1100)
    assert notation(4, triple) == "[123,14,34]"
    assert notation(4, (0b1010,)) == "[24,1,3]"
    assert notation(10, (0b1000000001,)).startswith("[1:10,2,3,")
    assert notation(3, ()) == "[1,2,3]"
    assert name_generators(triple, ("A", "B", "C", "D")) == "A:B:C, A:D, C:D"
    assert name_generators((), ("A", "B")) == "independence"


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_many_models_at_once_are_the_models_one_by_one(seed):
    generator = np.random.default_rng(seed)
    t = int(generator.integers(2, 5))
    counts = generator.poisson(np.exp(generator.normal(-0.5, 2, size=(2, 2**t - 1))))
    counts[:, 0] += 1
    models = hierarchical_models(t)
    some = tuple(models[i] for i in generator.permutation(len(models))[:12])
    fits = fit_models(counts, t, some, errors=True)
    for b, row in enumerate(counts):
        table = HistoryTable(tuple("ABCD"[:t]), row)
        for m, model in enumerate(some):
            assert fits.passed[b, m] == (check(row, t, model) == 0)
            if not fits.passed[b, m]:
                assert np.isnan(fits.n_hat[b, m]) and np.isinf(fits.bic[b, m]) and np.isinf(fits.aic[b, m])
                continue
            one = fit_model(table, model)
            assert isinstance(one, Fit)
            assert close(fits.n_hat[b, m], one.n_hat, 1e-6)
            assert close(fits.se_intercept[b, m], one.se_intercept, 1e-6)
            assert close(fits.bic[b, m], one.bic, 1e-8)
            assert close(fits.aic[b, m], one.aic, 1e-8)


def test_what_is_known_of_rank_without_the_gate_is_what_the_gate_finds():
    """Only models with all pairs are put to the gate's test of rank; all others are of full rank by an argument."""
    generator = np.random.default_rng(4)
    for t in (2, 3, 4, 5):
        counts = generator.poisson(0.4, size=2**t - 1)
        counts[: 2 ** (t - 1)] += 1
        counts[0b11 - 1 :: 4] = 0  # nobody is on both of the first two lists
        models = hierarchical_models(t)[-60:]
        passed = fit_models(counts, t, models).passed[0]
        codes = [check(counts, t, model) for model in models]
        assert [code == 0 for code in codes] == passed.tolist()
        assert any(code >= 2 for code in codes) == (t in (3, 4))  # five lists: three other pairs give the intercept


@pytest.mark.parametrize("name", WITH_SEARCH)
def test_best_models_are_those_of_the_reference(name, tables, reference):
    table, search = tables[name], reference[name]["Rcapture"]["closedpMS_t"]
    assert len(hierarchical_models(table.t)) == search["n_models"]
    for criterion in ("bic", "aic"):
        result = AllModels(criterion, resamples=0).fit(table)
        target = search[f"best_{criterion.upper()}"]
        if name == "Artificial_3":  # the reference ranks a model first that has no estimate
            assert target["model"] == "[12,3]" and result.details["notation"] != "[12,3]"
            continue
        assert result.details["notation"] == target["model"]
        assert close(result.n_hat, target["abundance"], 1e-6)
        assert close(result.details["aic"], target["AIC"], 1e-6)
        assert close(result.details["bic"], target["BIC"], 1e-6)
        assert close(result.details["se"], target["stderr"])
        interval = search[f"CI_best_{criterion.upper()}"]
        tolerance = 3e-4 if name == "Korea" else 1e-4  # Stirling's formula there, exact factorials here
        assert close(result.details["profile_maximum"], interval["multinomial_N"], tolerance)
        assert close(result.details["profile_lower"], interval["InfCL"], tolerance)
        if "SupCL" in interval and not isinstance(interval["SupCL"], str):
            assert close(result.details["profile_upper"], interval["SupCL"], tolerance)


@pytest.mark.parametrize("name", WITH_BIC)
def test_ranking_over_existing_models_and_their_average(name, tables, reference):
    table, target = tables[name], reference[name]["MultipleSystemsEstimation"]["bic"]
    models = hierarchical_models(table.t)
    fits = fit_models(table.counts, table.t, models)
    assert fits.passed.sum() == target["n_models"]
    order, weights = rank(fits, "bic")
    for m, row in zip(order, target["top20"], strict=False):
        assert notation(table.t, models[m]) == row["model"]
        assert close(fits.n_hat[0, m], row["abundance"], 1e-6)
        assert close(fits.bic[0, m], row["BIC"], 1e-8)
    assert close(weights[0], target["BIC_weight_of_best"], 1e-6)
    result = Averaged().fit(table)
    assert close(result.n_hat, target["BIC_averaged_N_existing_models"], 1e-7)
    assert close(result.details["weight_of_best"], target["BIC_weight_of_best"], 1e-6)
    assert result.lower < result.n_hat < result.upper
    assert str(result.details["top_models"]).startswith(target["model"])


@pytest.mark.parametrize("name", ["UKdat_5", "UKdat_4", "Kosovo", "Korea", "HIV", "lesbian", "MadiganYork3"])
def test_averages_of_the_other_package(name, tables, reference):
    search = reference[name]["Rcapture"]["closedpMS_t"]
    if search["n_warn"] in (0, 2) or name in ("lesbian", "MadiganYork3"):
        assert close(Averaged().fit(tables[name]).n_hat, search["BIC_weighted_N_infoFit0"])
    if search["n_warn"] == 0:
        assert close(Averaged("aic").fit(tables[name]).n_hat, search["AIC_weighted_N_infoFit0"])


@pytest.mark.parametrize("name", BOOTSTRAPPED)
def test_interval_with_the_selection_repeated(name, tables, reference):
    """The reference has 200 resamples of another generator: Monte Carlo error of both sides is allowed for."""
    target = reference[name]["MultipleSystemsEstimation"]["bic"]["boot200"]["BCa_all_models"]
    result = AllModels(seed=1).fit(tables[name])
    assert close(result.lower, target["0.025"], 0.07)
    assert close(result.upper, target["0.975"], 0.25)
    assert result.draws.shape == (1000 - result.details["resamples_without_estimate"],)


def test_published_interval_over_pairwise_models(uk):
    # Silverman, Chan & Vincent (2024, Stat. Comput. 34:44), Table 6: 11,456 - 43,894, over all 1,024.
    result = AllModels(resamples=200, seed=1).fit(uk)
    assert close(result.n_hat, 22_991.33, 1e-6)
    assert close(result.lower, 11_456, 0.1)
    assert close(result.upper, 43_894, 0.15)


def test_kosovo_best_model_is_the_published_figure_and_its_own_interval_too_short(kosovo):
    # Ball et al. (2002): 10,356 (9,002 - 12,122).
    result = AllModels(resamples=200).fit(kosovo)
    assert result.model == "EXH:ABA:OSCE, EXH:HRW, OSCE:HRW"
    assert result.details["notation"] == "[123,14,34]"
    assert close(result.n_hat, 10_356.5, 1e-5)
    assert close(result.details["profile_lower"], 8_994.26) and close(result.details["profile_upper"], 12_110.4)
    own = result.details["profile_upper"] - result.details["profile_lower"]
    assert result.upper - result.lower > 2 * own
    averaged = Averaged().fit(kosovo)
    assert close(averaged.n_hat, 13_183.733, 1e-6)
    assert averaged.details["models_with_estimate"] == 113


def test_acceleration_is_that_of_leaving_people_out_by_hand(kosovo):
    models = hierarchical_models(4)[:30]

    def by_hand(counts: np.ndarray) -> float:
        table = HistoryTable(kosovo.lists, counts)
        fits = [f for f in (fit_model(table, model) for model in models) if isinstance(f, Fit)]
        return min(fits, key=lambda f: f.bic).n_hat

    r, n = [], kosovo.counts
    for j in range(15):
        left = n.copy()
        left[j] -= 1
        r.append(by_hand(left))
    r = (n * r).sum() / n.sum() - np.array(r)
    target = (n * r**3).sum() / (6 * (n * r**2).sum() ** 1.5)
    assert close(acceleration(n, lambda counts: fit_models(counts, 4, models).best("bic")[1]), target, 1e-6)


def test_mixture_of_one_model_is_its_wald_interval_and_the_chance_of_the_unseen(kosovo):
    table = kosovo.without(3).without(2)  # two lists: independence alone
    result, fit = Averaged().fit(table), fit_model(table)
    assert result.details["models"] == 1
    assert close(result.n_hat, fit.n_hat, 1e-9)
    unseen = np.array([result.lower, fit.n_hat, result.upper]) - fit.n
    wald = np.log((fit.wald()[1] - fit.n) / unseen[1]) / norm.ppf(0.975)
    half = norm.ppf(0.975) * np.sqrt(wald**2 + 1 / unseen[1])
    np.testing.assert_allclose(np.log(unseen / unseen[1]), [-half, 0, half], rtol=1e-6, atol=1e-9)


def test_pooling_of_one_table_many_times_leaves_its_interval(uk):
    """Where most people are seen, the chance of who is not is most of the interval."""
    seen = np.random.default_rng(1).random((1000, 4)) < 0.5
    counts = np.bincount((seen * (1 << np.arange(4))).sum(axis=1), minlength=16)[1:]
    table = HistoryTable(tuple("ABCD"), counts)
    alone = Independence().fit(table)
    pooled = over_draws([table] * 40, Independence().fit).result
    assert close(
        np.log((pooled.upper - table.observed) / (pooled.lower - table.observed)),
        np.log((alone.upper - table.observed) / (alone.lower - table.observed)),
        0.1,
    )


def test_three_lists_may_interact_over_five(uk):
    assert [len(hierarchical_models(5, (), order)) for order in (2, 3)] == [1024, 6212]
    pairs_alone, more = (Averaged("aic", order=order).fit(uk) for order in (2, 3))
    assert more.upper - more.lower > pairs_alone.upper - pairs_alone.lower
    assert "hierarchical" in more.assumption and "pairwise" in pairs_alone.assumption


def test_mixture_lies_between_its_parts_and_its_draws_are_from_it():
    mixture = Mixture(np.array([0.7, 0.3]), np.array([1.0, 4.0]), np.array([0.5, 0.1]))
    for level in (0.025, 0.5, 0.69, 0.71, 0.975):
        assert close(mixture.below(mixture.quantile(level)), level, 1e-9)
    draws = mixture.draws(4000, 1)
    assert abs((draws > 3).mean() - 0.3) < 0.001
    assert abs(draws[draws < 3].mean() - 1.0) < 0.05
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.05  # the models do not come in blocks


@pytest.mark.parametrize("estimator", [AllModels(resamples=0), AllModels("aic", resamples=0), Averaged()])
class TestEveryEstimator:
    def test_one_list_is_declined(self, estimator):
        assert estimator.fit(HistoryTable(("A",), np.array([5]))).status == "too-few-lists"

    def test_lists_without_overlap_are_declined(self, estimator):
        result = estimator.fit(HistoryTable(("A", "B", "C"), np.array([5, 4, 0, 3, 0, 0, 0])))
        assert result.status == "model-not-estimable" and result.n_hat is None
        assert result.details["models_with_estimate"] == 0

    def test_known_referrals_are_in_every_model(self, estimator, kosovo):
        result = replace(estimator, referrals=(("ABA", "HRW"),)).fit(kosovo)
        assert terms_from_names([("ABA", "HRW")], kosovo.lists)[0] in result.terms
        assert result.details["models"] < 113

    def test_an_unknown_criterion_is_no_criterion(self, estimator, kosovo):
        with pytest.raises(EstimateError):
            replace(estimator, criterion="r2").fit(kosovo)

    def test_counts_beyond_32_bits(self, estimator, kosovo):
        table = HistoryTable(kosovo.lists, kosovo.counts * 10**8)
        result = estimator.fit(table)
        assert result.ok and table.observed < result.n_hat < 10 * table.observed


@pytest.mark.parametrize("t", [6, 12])
def test_more_than_five_lists_have_no_models_to_rank(t):
    result = AllModels(resamples=0).fit(HistoryTable(tuple("ABCDEFGHIJKL"[:t]), np.ones(2**t - 1, dtype=np.int64)))
    assert result.status == "too-many-lists" and result.n_hat is None
    with pytest.raises(EstimateError) as caught:
        hierarchical_models(7)
    assert caught.value.reason == "too-many-lists"
    with pytest.raises(EstimateError) as caught:
        hierarchical_models(6, (), 3)
    assert caught.value.reason == "too-many-lists"


def test_same_table_same_answer_and_seed_matters(kosovo):
    one, again = (AllModels(resamples=100).fit(kosovo) for _ in range(2))
    other = AllModels(resamples=100, seed=3).fit(kosovo)
    assert (one.lower, one.upper) == (again.lower, again.upper) != (other.lower, other.upper)
    np.testing.assert_array_equal(Averaged().fit(kosovo).draws, Averaged().fit(kosovo).draws)


def test_resamples_without_an_estimate_forbid_the_interval():
    """Three people are on two lists: a resample easily loses all of them."""
    table = HistoryTable(("A", "B", "C"), np.array([60, 31, 1, 26, 1, 1, 0]))
    result = AllModels(resamples=100, seed=1).fit(table)
    assert result.status == "resamples-without-estimate" and result.n_hat is None
    assert result.details["resamples_without_estimate"] > 5


def test_only_models_over_the_pairs_of_five_lists(uk):
    result = AllModels(resamples=0).fit(uk)
    assert set(result.terms) <= set(pairs(5))
    assert result.details["models"] == 1024 and result.details["notation"] == "[12,13,23,25,34]"
