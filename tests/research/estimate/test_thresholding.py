"""Bayesian thresholding: the sampler against importance sampling, and the numbers of MultipleSystemsEstimation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import HistoryTable
from linkage.research.estimate.hamiltonian import Target, sample_posterior
from linkage.research.estimate.lattice import design, pairs, terms_from_names
from linkage.research.estimate.thresholding import Thresholding

REFERENCE = ("UKdat", "UKdat_5", "UKdat_4", "NewOrl_5", "Kosovo", "Artificial_3", "Korea", "HIV")
KOREA = HistoryTable(("b", "c", "d"), np.array([5, 5, 54, 41, 6, 0, 12]))


def target_of(table: HistoryTable, interactions: tuple[int, ...]) -> Target:
    precision = np.append(np.full(1 + table.t, 1e-4), np.ones(len(interactions)))
    return Target(design(table.t, interactions), table.counts.astype(float), precision)


def weighted(target: Target, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws from a wide multivariate t around the mode, and their importance weights."""
    rng = np.random.default_rng(seed)
    mode, scale = target.mode()
    k, freedom = mode.size, 5
    stretch = np.sqrt(freedom / rng.chisquare(freedom, size=draws))
    z = 1.2 * rng.standard_normal((draws, k)) * stretch[:, None]
    beta = mode + z @ scale.T
    proposal = -(freedom + k) / 2 * np.log1p((z**2).sum(axis=1) / 1.44 / freedom)
    logs = np.array([target.value(b) for b in beta]) - proposal
    weights = np.exp(logs - logs.max())
    return beta, weights / weights.sum()


@pytest.mark.parametrize("counts", [KOREA.counts.tolist(), [3, 2, 0, 4, 1, 0, 0]])
def test_the_sampler_draws_from_the_posterior(counts: list[int]) -> None:
    target = target_of(HistoryTable(("b", "c", "d"), np.array(counts)), pairs(3))
    found = sample_posterior(target, chains=16, draws=1500, warm_up=300, rng=np.random.default_rng(1))
    beta, weights = weighted(target, 60_000, 2)
    mean = weights @ beta
    sd = np.sqrt(weights @ (beta - mean) ** 2)
    flat = found.reshape(-1, beta.shape[1])
    assert np.abs((flat.mean(axis=0) - mean) / sd).max() < 0.04
    assert flat.std(axis=0) == pytest.approx(sd, rel=0.04)
    order = np.argsort(beta[:, 0])
    below = weights[order].cumsum()
    for level in (0.025, 0.5, 0.975):
        end = beta[order, 0][np.searchsorted(below, level)]
        assert (flat[:, 0] <= end).mean() == pytest.approx(level, abs=0.01)


def test_the_mode_is_where_the_gradient_vanishes(kosovo: HistoryTable) -> None:
    target = target_of(kosovo, pairs(4))
    mode, scale = target.mode()
    mu = np.exp(target.design @ mode)
    assert np.abs(target.design.T @ (target.counts - mu) - target.precision * mode).max() < 1e-3
    curvature = (target.design.T * mu) @ target.design + np.diag(target.precision)
    assert scale.T @ curvature @ scale == pytest.approx(np.eye(mode.size), abs=1e-4)


@pytest.mark.parametrize("name", REFERENCE)
def test_numbers_of_the_reference(reference: dict[str, Any], tables: dict[str, HistoryTable], name: str) -> None:
    stored, table = reference[name]["MultipleSystemsEstimation"]["bayesthresh_proper_order2"], tables[name]
    result = Thresholding().fit(table)
    kept = stored["retained_interactions"]
    names = [kept] if isinstance(kept, str) else kept
    assert result.ok
    assert sorted(result.terms) == sorted(terms_from_names([n.split(":") for n in names], table.lists))
    # The reference has 10,000 draws of a random walk, so a few hundred that count.
    spread = stored["quantiles"]["97.5%"] - stored["quantiles"]["2.5%"]
    assert result.n_hat == pytest.approx(stored["quantiles"]["50%"], abs=0.06 * spread)
    assert result.lower == pytest.approx(stored["quantiles"]["2.5%"], abs=0.1 * spread)
    assert result.upper == pytest.approx(stored["quantiles"]["97.5%"], abs=0.15 * spread)
    assert float(result.details["rhat"] or 9) < 1.02


def test_eight_lists_have_an_answer(tables: dict[str, HistoryTable]) -> None:
    # The reference package ends in an error on this table.
    result = Thresholding().fit(tables["NewOrl"])
    assert result.ok
    assert result.n_hat is not None
    assert 600 < result.n_hat < 1600


def test_kosovo(kosovo: HistoryTable) -> None:
    # MultipleSystemsEstimation 1.2.0, proper prior: 14,059 (12,244 to 16,192).
    result = Thresholding().fit(kosovo)
    assert result.n_hat == pytest.approx(14_059, rel=0.01)
    assert result.model == "EXH:ABA, EXH:OSCE, EXH:HRW, ABA:OSCE, OSCE:HRW"
    assert str(result.details["closest_to_threshold"]).startswith("ABA:HRW")


def test_a_wider_prior_moves_a_sparse_table(uk: HistoryTable) -> None:
    narrow, wide = Thresholding(prior_sd=0.05).fit(uk), Thresholding(prior_sd=5).fit(uk)
    assert narrow.n_hat is not None
    assert wide.n_hat is not None
    # With next to no interactions the estimate is that of independence.
    assert narrow.n_hat == pytest.approx(13_444, rel=0.02)
    assert abs(wide.n_hat / narrow.n_hat - 1) > 0.03


def test_referrals_are_kept_whatever_the_data_say(kosovo: HistoryTable) -> None:
    result = Thresholding(referrals=(("ABA", "HRW"),)).fit(kosovo)
    assert 0b1010 in result.terms
    with pytest.raises(EstimateError):
        Thresholding(referrals=(("ABA", "NOBODY"),)).fit(kosovo)
    with pytest.raises(EstimateError):
        Thresholding(referrals=(("ABA", "HRW", "EXH"),)).fit(kosovo)


def test_a_list_with_nobody_on_it_changes_nothing() -> None:
    counts = np.zeros(15, dtype=int)
    counts[:7] = KOREA.counts
    with_nobody = HistoryTable(("b", "c", "d", "e"), counts)
    alone, beside = Thresholding(seed=1, draws=200).fit(KOREA), Thresholding(seed=1, draws=200).fit(with_nobody)
    assert beside.terms == alone.terms
    assert beside.n_hat == alone.n_hat
    # A referral between a list with people and one without has nothing to act on.
    assert Thresholding(seed=1, draws=200, referrals=(("b", "e"),)).fit(with_nobody).n_hat == alone.n_hat


def test_the_decision_on_the_closest_pair_is_turned_round(tables: dict[str, HistoryTable]) -> None:
    # P:R stands at the threshold on the Dutch table; with it the estimate is half as large again as without.
    result = Thresholding().fit(tables["Ned_modslavmse"])
    assert result.n_hat is not None
    assert str(result.details["closest_to_threshold"]).startswith("P:R 2.0")
    turned = float(result.details["median_with_closest_turned"] or 0)
    low, high = sorted([result.n_hat, turned])
    assert low == pytest.approx(54_500, rel=0.02)
    assert high == pytest.approx(73_700, rel=0.02)


def test_counts_above_two_to_the_31() -> None:
    table = HistoryTable(("a", "b", "c"), np.array([40, 30, 10, 20, 8, 6, 3]) * 5 * 10**7)
    result = Thresholding().fit(table)
    assert result.ok
    assert result.lower is not None
    assert result.upper is not None
    assert table.observed < result.lower < result.upper < 1.01 * result.lower


def test_tables_it_does_not_take() -> None:
    two = HistoryTable(("a", "b"), np.array([30, 20, 10]))
    apart = HistoryTable(("a", "b", "c"), np.array([30, 20, 0, 10, 0, 0, 0]))
    twelve = HistoryTable(tuple("abcdefghijkl"), np.full(4095, 1))
    huge = HistoryTable(("a", "b", "c"), np.full(7, 10**10))
    statuses = [Thresholding().fit(table).status for table in (two, apart, twelve, huge)]
    assert statuses == ["too-few-lists", "too-little-overlap", "too-many-lists", "beyond-precision"]


def test_one_table_one_answer() -> None:
    first, second, other = (Thresholding(draws=200, seed=seed).fit(KOREA) for seed in (None, None, 7))
    assert first.draws is not None
    assert second.draws is not None
    assert other.draws is not None
    assert (first.draws == second.draws).all()
    assert (first.draws != other.draws).any()
    assert np.quantile(first.draws, 0.5) == pytest.approx(first.n_hat, rel=0.02)


@pytest.mark.parametrize("bad", [{"threshold": -1.0}, {"prior_sd": 0.0}, {"chains": 2}, {"draws": 10}])
def test_bad_parameters(bad: dict[str, Any]) -> None:
    with pytest.raises(EstimateError):
        Thresholding(**bad).fit(KOREA)
