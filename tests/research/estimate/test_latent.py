"""Latent classes: the sampler against exact sums, the published numbers of LCMCR, and what chains must show."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.special import betaln, comb, gammaln

from linkage.errors import EstimateError
from linkage.research.estimate import HistoryTable
from linkage.research.estimate.chains import effective_size, split_rhat
from linkage.research.estimate.gibbs import REACH, Gibbs
from linkage.research.estimate.latent import LatentClasses, sample

SMALL = HistoryTable(("a", "b", "c"), np.array([2, 2, 1, 1, 0, 1, 0]))


def exact_one_class(table: HistoryTable) -> np.ndarray:
    """Posterior of n0 = 0, ..., 20 n with one class: beta-binomial lists, N with density 1/N."""
    n0 = np.arange(REACH * table.observed + 1)
    total = table.observed + n0
    logs = gammaln(total) - gammaln(n0 + 1) + sum(betaln(1 + m, 1 + total - m) for m in table.totals)
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def _sticks(largest: int) -> np.ndarray:
    """log E[p(N1, N2)] of two classes over V and alpha ~ Gamma(1/4, rate 1/4), for N1, N2 up to a largest number."""
    # With alpha = u^4 the gamma density turns into exp(-u^4 / 4).
    u = (np.arange(1500) + 0.5) / 1500 * 3.3
    alpha, weight = u**4, np.exp(-(u**4) / 4) / np.exp(-(u**4) / 4).sum()
    size = np.arange(largest + 1)
    second = gammaln(alpha + size[:, None]) - gammaln(alpha) - gammaln(size[:, None] + 1)
    whole = gammaln(1 + alpha) - gammaln(1 + alpha + np.arange(2 * largest + 1)[:, None])
    whole += gammaln(np.arange(2 * largest + 1)[:, None] + 1)
    mixed = np.log(np.exp(second) * weight @ np.exp(whole).T)
    total = size[:, None] + size
    # Ordered sums: Gamma(1 + N1) Gamma(alpha + N2) / Gamma(1 + alpha + N), without the factorials taken out above.
    first = gammaln(size + 1)
    return np.asarray(first[:, None] + first[None, :] + mixed[size[None, :], total] - gammaln(total + 1))


def exact_two_classes(table: HistoryTable) -> np.ndarray:
    """Posterior of n0 with two classes: every way to deal people to classes, list probabilities integrated out."""
    most = REACH * table.observed
    cells = np.flatnonzero(table.counts)
    counts = table.counts[cells]
    on = ((cells[:, None] + 1) >> np.arange(table.t)) & 1
    first, second = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    sticks = _sticks(most + table.observed)
    logs = np.full(first.shape, -np.inf)
    for dealt in product(*(range(c + 1) for c in counts)):
        mine = np.array(dealt)
        sizes = first + mine.sum(), second + (counts - mine).sum()
        value = np.log(comb(counts, mine)).sum() + sticks[sizes]
        for size, members in zip(sizes, (mine, counts - mine), strict=True):
            for listed in members @ on:
                value = value + betaln(1 + listed, 1 + size - listed)
        logs = np.logaddexp(logs, value)
    n0 = first + second
    logs += gammaln(n0 + 1) - gammaln(first + 1) - gammaln(second + 1)
    logs += gammaln(table.observed + n0) - gammaln(n0 + 1)
    weights = np.exp(logs - logs.max())
    posterior = np.bincount(n0.ravel(), weights=weights.ravel())[: most + 1]
    return np.asarray(posterior / posterior.sum())


def drawn(table: HistoryTable, classes: int, sweeps: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chains = Gibbs(table, classes=classes, shape=0.25, rate=0.25, chains=100, rng=rng)
    found = []
    for turn in range(sweeps):
        chains.sweep()
        if turn >= 200:
            found.append(chains.n0.copy())
    return np.array(found).T


@pytest.mark.parametrize(("classes", "exact"), [(1, exact_one_class), (2, exact_two_classes)])
def test_the_sampler_draws_from_the_exact_posterior(classes: int, exact: Any) -> None:
    below = exact(SMALL).cumsum()
    n0 = drawn(SMALL, classes, 1500)
    assert n0.max() <= REACH * SMALL.observed
    assert split_rhat(np.log1p(n0)) < 1.01
    ends = [int(np.searchsorted(below, level)) for level in (0.05, 0.25, 0.5, 0.75, 0.95)]
    for end in ends:
        assert (n0 <= end).mean() == pytest.approx(below[end], abs=0.012)


def test_one_class_is_not_two() -> None:
    # Otherwise the test above could not tell them apart.
    assert np.abs(exact_one_class(SMALL).cumsum() - exact_two_classes(SMALL).cumsum()).max() > 0.03


@pytest.mark.parametrize("name", ["Korea", "NewOrl_5", "NewOrl"])
def test_medians_of_lcmcr(reference: dict[str, Any], tables: dict[str, HistoryTable], name: str) -> None:
    target, table = reference[name]["LCMCR"], tables[name]
    result = LatentClasses().fit(table)
    assert result.ok
    assert result.n_hat is not None
    assert result.lower is not None
    assert result.upper is not None
    unseen = target["median"] - table.observed
    # The least effective number of draws is 400; a median then has a standard error of some 6% of a standard deviation.
    assert result.n_hat == pytest.approx(target["median"], abs=3 * 0.063 * target["sd"])
    assert result.lower == pytest.approx(target["q025"], abs=0.2 * unseen)
    assert result.upper == pytest.approx(target["q975"], rel=0.12)
    assert float(result.details["effective_draws"] or 0) >= 400


def test_chains_that_sit_in_different_places_give_no_number(uk: HistoryTable) -> None:
    result = LatentClasses(block=1500, max_sweeps=1500).fit(uk)
    assert result.status == "chains-not-agreed"
    assert result.n_hat is None
    assert float(result.details["rhat"] or 0) > 1.05


def test_more_sweeps_are_done_only_while_chains_disagree() -> None:
    table = HistoryTable(("b", "c", "d"), np.array([5, 5, 54, 41, 6, 0, 12]))
    settings = LatentClasses(block=400, max_sweeps=2000, seed=1)
    run = sample(table, settings)
    assert 400 < run.sweeps <= 2000
    assert run.sweeps % 400 == 0
    assert run.n0.shape == (20, -(-run.sweeps // 20))
    assert run.agreed or run.sweeps == 2000


def test_the_same_seed_gives_the_same_draws() -> None:
    settings = LatentClasses(block=200, max_sweeps=200, seed=5)
    first, second = sample(SMALL, settings), sample(SMALL, settings)
    other = sample(SMALL, LatentClasses(block=200, max_sweeps=200, seed=6))
    assert (first.n0 == second.n0).all()
    assert not (first.n0 == other.n0).all()


def test_next_to_no_overlap_runs_into_the_cut() -> None:
    table = HistoryTable(("a", "b", "c"), np.array([60, 50, 1, 40, 0, 0, 0]))
    result = LatentClasses(block=2000, max_sweeps=8000).fit(table)
    assert result.status in ("grid-edge", "chains-not-agreed")
    assert float(result.details["mass_at_edge"] or 0) > 1e-3


def test_far_beyond_the_cut_draws_stay_below_it() -> None:
    chains = Gibbs(SMALL, classes=3, shape=0.25, rate=0.25, chains=400, rng=np.random.default_rng(1))
    chains._draw_unseen(np.full(400, 1 - 1e-6))
    cap = REACH * SMALL.observed
    assert chains.n0.max() <= cap
    assert chains.n0.min() >= 0
    # The negative binomial cut off rises towards the cut like k^(n - 1).
    weights = np.arange(cap + 1.0) ** (SMALL.observed - 1)
    assert chains.n0.mean() == pytest.approx((np.arange(cap + 1) * weights).sum() / weights.sum(), rel=0.02)


def test_twelve_lists_and_counts_above_two_to_the_31() -> None:
    counts = np.zeros(4095, dtype=int)
    counts[[0, 1, 3, 7, 15, 31, 2, 4, 8, 16, 2047]] = [9, 8, 30, 20, 25, 21, 7, 9, 4, 3, 2]
    twelve = sample(HistoryTable(tuple("abcdefghijkl"), counts), LatentClasses(block=100, max_sweeps=100))
    assert np.isfinite(twelve.n0).all()
    many = HistoryTable(("a", "b", "c"), np.array([40, 30, 10, 20, 8, 6, 3]) * 5 * 10**7)
    assert np.isfinite(sample(many, LatentClasses(block=100, max_sweeps=100)).n0).all()


def test_tables_it_does_not_take() -> None:
    two = HistoryTable(("a", "b"), np.array([30, 20, 10]))
    apart = HistoryTable(("a", "b", "c"), np.array([30, 20, 0, 10, 0, 0, 0]))
    huge = HistoryTable(("a", "b", "c"), np.full(7, 10**10))
    statuses = [LatentClasses().fit(table).status for table in (two, apart, huge)]
    assert statuses == ["too-few-lists", "too-little-overlap", "beyond-precision"]


@pytest.mark.parametrize(
    "bad", [{"classes": 0}, {"chains": 3}, {"block": 10}, {"max_sweeps": 100}, {"shape": 0.0}, {"rate": float("inf")}]
)
def test_bad_parameters(bad: dict[str, Any]) -> None:
    with pytest.raises(EstimateError):
        LatentClasses(**bad).fit(SMALL)


def autoregressive(rho: float, chains: int, length: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.empty((chains, length))
    values[:, 0] = rng.standard_normal(chains)
    for i in range(1, length):
        values[:, i] = rho * values[:, i - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(chains)
    return values


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_size_of_an_autoregressive_series(rho: float) -> None:
    values = autoregressive(rho, 10, 4000, seed=2)
    assert effective_size(values) == pytest.approx(40_000 * (1 - rho) / (1 + rho), rel=0.1)


def test_rhat_sees_shift_trend_and_spread() -> None:
    level = autoregressive(0.3, 4, 1000, seed=4)
    shifted = level + np.array([[0.0], [0.0], [0.0], [2.0]])
    trend = level + np.linspace(0, 3, 1000)
    spread = level * np.array([[1.0], [1.0], [1.0], [5.0]])
    assert split_rhat(level) < 1.01
    assert all(split_rhat(values) > 1.05 for values in (shifted, trend, spread))
    assert split_rhat(np.ones((4, 100))) == 1.0
    assert split_rhat(np.repeat(np.arange(4.0), 100).reshape(4, 100)) == float("inf")
