"""Models over pairs of many lists that a search finds, against all of them one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import HistoryTable
from linkage.research.estimate import search as module
from linkage.research.estimate.averaging import Averaged, Mixture
from linkage.research.estimate.gate import check
from linkage.research.estimate.lattice import Floats, pairs
from linkage.research.estimate.models import Models, fit_models, hierarchical_models, rank
from linkage.research.estimate.search import Search, search_models


def population(t: int, people: int, seed: int, *, spread: float = 1.0) -> HistoryTable:
    """People who differ in how visible they are, and two lists that refer to each other."""
    generator = np.random.default_rng(seed)
    base = np.log(generator.uniform(0.05, 0.25, size=t))
    on = generator.random((people, t)) < 1 / (1 + np.exp(-base - spread * generator.standard_normal((people, 1))))
    on[:, 1] |= on[:, 0] & (generator.random(people) < 0.4)
    counts = np.bincount(on @ (1 << np.arange(t)), minlength=2**t)[1:]
    return HistoryTable(tuple("ABCDEFGHIJKL"[:t]), counts)


def unseen(weights: Floats, means: Floats, deviations: Floats) -> list[float]:
    """Mean and quantiles of the unseen number."""
    there = weights > 0
    mixture = Mixture(weights[there], means[there], deviations[there])
    mean = float((weights[there] * np.exp(means[there])).sum())
    return [mean, *(float(np.exp(mixture.quantile(level))) for level in (0.025, 0.5, 0.975))]


def by_search(found: Search) -> list[float]:
    return unseen(found.weights, found.fits.intercept[0], found.fits.se_intercept[0])


def one_by_one(table: HistoryTable, models: Models, criterion: str) -> list[float]:
    fits = fit_models(table.counts, table.t, models, errors=True)
    order, weights = rank(fits, criterion)
    return unseen(weights, fits.intercept[0, order], fits.se_intercept[0, order])


@pytest.fixture(scope="module")
def six() -> HistoryTable:
    return population(6, 2000, 3)


@pytest.fixture(scope="module")
def seven() -> HistoryTable:
    return population(7, 1500, 3)


@pytest.fixture(scope="module")
def found_of_six(six) -> Search:
    return search_models(six.counts, 6, "bic", effective=60, seed=1)


class TestAgainstAllModels:
    @pytest.mark.parametrize("criterion", ["aic", "bic"])
    def test_five_lists(self, uk, criterion):
        target = one_by_one(uk, hierarchical_models(5), criterion)
        found = search_models(uk.counts, 5, criterion, seed=1)
        assert found.converged
        np.testing.assert_allclose(by_search(found), target, rtol=0.05)

    def test_few_people(self, tables):
        table = tables["NewOrl_5"]
        target = one_by_one(table, hierarchical_models(5), "aic")
        np.testing.assert_allclose(by_search(search_models(table.counts, 5, "aic", seed=1)), target, rtol=0.1)

    def test_a_search_that_has_seen_few_of_the_models_that_matter(self, tables, monkeypatch):
        """What chains say of models they did not know before matters most there; weights of visited ones alone err."""
        table = tables["NewOrl_5"]
        target = one_by_one(table, hierarchical_models(5), "aic")
        monkeypatch.setattr(module, "_MOST_FITTED", 300)
        found = [search_models(table.counts, 5, "aic", seed=seed) for seed in range(8)]
        assert all(f.unknown > 0.3 for f in found)
        mean = np.mean([by_search(f)[1:3] for f in found], axis=0)
        np.testing.assert_allclose(mean, target[1:3], rtol=0.1)

    def test_six_lists(self, tables):
        """Where the average by BIC has two modes, and chains that only walked would stay in one of them."""
        table = tables["Ned_modslavmse"]
        found = search_models(table.counts, 6, "bic", seed=2)
        assert found.converged
        # All 32,768 models, fitted once one by one.
        target = np.array([111_434.0, 41_709, 116_670, 146_247]) - table.observed
        assert (np.abs(np.log(by_search(found) / target)) < [0.03, 0.15, 0.03, 0.03]).all()


def test_weights_are_those_of_the_models_one_by_one(found_of_six):
    found = found_of_six
    assert len(set(map(frozenset, found.models))) == len(found.models)
    assert found.weights.sum() == pytest.approx(1)
    assert not found.weights[~found.fits.passed[0]].any()
    one, other = np.argsort(found.weights)[::-1][:2]
    gap = found.criterion[other] - found.criterion[one]
    assert max(one, other) < found.known
    assert found.weights[one] / found.weights[other] == pytest.approx(np.exp(gap / 2))


def test_every_visited_model_passes_the_gate(tables):
    table = tables["NewOrl_5"]
    found = search_models(table.counts, 5, "aic", effective=60, seed=1)
    for m in np.unique(found.trace)[:40]:
        assert check(table.counts, 5, found.models[m]) == 0


def test_order_of_the_lists_does_not_matter(seven):
    order = [3, 0, 5, 6, 1, 4, 2]
    cells = np.arange(1, 128)
    old = sum(((cells >> new & 1) << old) for new, old in enumerate(order))
    other = HistoryTable(tuple(seven.lists[j] for j in order), seven.counts[old - 1])
    assert other.totals.tolist() == seven.totals[order].tolist()
    one, two = (Averaged("aic", effective=150).fit(table) for table in (seven, other))
    assert one.ok and two.ok
    ends = [[r.n_hat - seven.observed, r.lower - seven.observed, r.upper - seven.observed] for r in (one, two)]
    np.testing.assert_allclose(*ends, rtol=0.05)
    assert ends[0] != ends[1]


def test_six_lists_are_enumerated_and_a_small_mode_counts():
    """A chain of lists, 40 people alone on each and 8 on neighbours: a search overlooked part of what says the most."""
    counts = np.zeros(63, dtype=np.int64)
    counts[[2**j - 1 for j in range(6)]] = 40
    counts[[2**j + 2 ** (j + 1) - 1 for j in range(5)]] = 8
    table = HistoryTable(tuple("ABCDEF"), counts)
    result = Averaged("bic").fit(table)
    assert result.details["models"] == 32_768 and "steps" not in result.details
    assert result.n_hat == pytest.approx(608, rel=0.01)
    assert result.upper == pytest.approx(2620, rel=0.01)


class TestAveraged:
    def test_figures_of_the_search(self, seven):
        result = Averaged("aic", effective=150).fit(seven)
        details = result.details
        assert result.lower < result.n_hat < result.upper
        assert "pairwise" in result.assumption and set(result.terms) <= set(pairs(7))
        assert 0 < details["acceptance"] < 1 and details["rhat"] <= 1.05 and details["effective_draws"] >= 150
        assert details["models_with_weight"] <= details["models_with_estimate"] <= details["models"]
        assert 0 <= details["weight_by_visits"] <= 1
        assert result.draws.shape == (4000,) and (result.draws > seven.observed).all()

    def test_same_table_same_answer_and_seed_matters(self, seven):
        one, again, other = (Averaged(seed=seed, effective=60).fit(seven) for seed in (None, None, 5))
        assert (one.n_hat, one.lower, one.upper) == (again.n_hat, again.lower, again.upper)
        assert one.n_hat != other.n_hat
        np.testing.assert_array_equal(one.draws, again.draws)

    def test_known_referrals_are_in_every_model(self, seven, found_of_six):
        pair = 0b100100
        found = search_models(seven.counts, 7, "bic", forced=(pair,), effective=60, seed=1)
        assert all(pair in model for model in found.models)
        assert not all(pair in model for model in found_of_six.models)
        assert pair in Averaged(referrals=(("C", "F"),), effective=60).fit(seven).terms

    def test_only_pairs_can_be_forced(self, seven):
        with pytest.raises(EstimateError) as caught:
            Averaged(referrals=(("A", "B", "C"),)).fit(seven)
        assert caught.value.reason == "bad-model"

    def test_all_pairs_forced_leave_one_model(self, seven):
        referrals = tuple((a, b) for a in seven.lists for b in seven.lists if a < b)
        result = Averaged(referrals=referrals).fit(seven)
        assert result.details["models"] == 1 and len(result.terms) == 21

    def test_fewer_draws_cost_fewer_models(self, seven):
        thin, full = (Averaged("aic", effective=effective).fit(seven).details["models"] for effective in (60, 200))
        assert thin < full

    def test_no_draws_are_no_search(self, seven):
        with pytest.raises(EstimateError):
            Averaged(effective=0).fit(seven)


class TestRefusals:
    def test_chains_that_do_not_agree(self, seven, monkeypatch):
        monkeypatch.setattr(module, "_MOST_STEPS", 12)
        result = Averaged().fit(seven)
        assert result.status == "chains-not-agreed"
        assert result.n_hat is None and result.lower is None and result.draws is None
        assert result.details["steps"] == 12

    def test_a_better_model_met_only_lately_is_no_agreement(self, found_of_six):
        """All chains stay on one model; the last that was met is better by far, or worse by far."""
        found = found_of_six
        best, last = int(np.argmin(found.criterion)), len(found.models) - 1
        still = np.full((400, 12), best)
        for gap, agreed in ((-5.0, False), (40.0, True)):
            criterion = found.criterion.copy()
            criterion[last] = criterion[best] + gap
            search = Search(found.models, found.fits, criterion, still, last, 0.1, 800, 10)
            assert search.agreement[0] == 1.0
            assert search.converged is agreed

    def test_lists_without_overlap(self):
        counts = np.zeros(127, dtype=np.int64)
        counts[[0, 1, 3, 7, 15, 31, 63]] = 20
        result = Averaged().fit(HistoryTable(tuple("ABCDEFG"), counts))
        assert result.status == "model-not-estimable" and result.n_hat is None
        assert result.details["models_with_estimate"] == 0

    def test_counts_beyond_the_precision(self, seven):
        assert Averaged().fit(HistoryTable(seven.lists, seven.counts * 10**10)).status == "beyond-precision"


@pytest.mark.parametrize("make", [lambda: population(8, 1500, 5), lambda: population(7, 150, 6, spread=0.2)])
def test_more_lists(make: Callable[[], HistoryTable]):
    result = Averaged("bic", effective=60).fit(make())
    assert result.ok and result.lower < result.n_hat < result.upper
