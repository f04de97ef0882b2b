"""Strata pooled by a random effect: the sampler against its prior, a plain twin and simulated truth."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import Histories, parse_histories
from linkage.research.estimate.arithmetic import contrast
from linkage.research.estimate.hierarchical import HierarchicalStrata, _Posterior, _Sampler
from linkage.research.estimate.lattice import pairs

SCALES = np.array([3.0, 1.0, 1.0, 1.0])


def counted(strata: int, seed: int, *, size: float = 400, chances: tuple[float, ...] = (0.3, 0.25, 0.2)) -> np.ndarray:
    """Counts of strata by history; the first column is the unseen."""
    rng = np.random.default_rng(seed)
    t, tables = len(chances), []
    for _ in range(strata):
        odds = np.log(np.array(chances) / (1 - np.array(chances))) + rng.normal(0, 0.4, t)
        on = rng.random((int(size * np.exp(rng.normal(0, 0.4))), t)) < 1 / (1 + np.exp(-odds))
        tables.append(np.bincount(on @ (1 << np.arange(t)), minlength=2**t))
    return np.array(tables)


def histories(counts: np.ndarray) -> Histories:
    """A table with strata from counts that have the unseen first."""
    t = counts.shape[1].bit_length() - 1
    cells = np.arange(1, 2**t)
    frames = [
        pl.DataFrame(
            {**{f"L{j}": (cells >> j) & 1 for j in range(t)}, "count": row[1:], "area": [f"{s:02}"] * cells.size}
        )
        for s, row in enumerate(counts)
    ]
    return parse_histories(pl.concat(frames), lists=[f"L{j}" for j in range(t)])


def test_gradient_and_curvature_are_those_of_the_density() -> None:
    posterior = _Posterior(counted(3, 1)[:, 1:].astype(float), 3, pairs(3))
    rng = np.random.default_rng(0)
    tau = np.array([0.7, 0.3, 1.2, 0.5])
    theta = posterior.mode(tau) + 0.1 * rng.standard_normal(posterior.size)
    steps = 1e-5 * np.eye(posterior.size)
    _, slope = posterior.density(theta[None, :], tau[None, :])
    taus = np.repeat(tau[None, :], posterior.size, axis=0)
    (up, rise), (down, fall) = posterior.density(theta + steps, taus), posterior.density(theta - steps, taus)
    assert (up - down) / 2e-5 == pytest.approx(slope[0], rel=1e-4, abs=1e-4)
    assert -(rise - fall) / 2e-5 == pytest.approx(posterior.curvature(theta, tau), rel=1e-4, abs=1e-3)
    at = posterior.mode(tau)
    assert np.abs(posterior.density(at[None, :], tau[None, :])[1]).max() < 1e-4


def test_without_data_the_sampler_gives_the_prior() -> None:
    class Silent(_Posterior):
        def likelihood(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros(len(theta)), np.zeros_like(theta)

        def curvature(self, theta: np.ndarray, tau: np.ndarray) -> np.ndarray:
            self.main, self.pairs = self.main * 0, self.pairs * 0
            return super().curvature(theta, tau)

    sampler = _Sampler(
        Silent(counted(3, 1)[:, 1:].astype(float) * 0, 3, pairs(3)), SCALES, 200, np.random.default_rng(2)
    )
    found = sampler.run(200, 400)
    # Half-normal: mean 0.798 of the scale, median 0.674 of it.
    assert found.tau.mean(axis=(0, 1)) == pytest.approx(0.798 * SCALES, rel=0.08)
    assert np.median(found.tau, axis=(0, 1)) == pytest.approx(0.674 * SCALES, rel=0.08)
    assert found.pairs.std(axis=(0, 1)) == pytest.approx(np.ones(3), rel=0.06)
    # An intercept is its stratum's away from the mean: 10^2 + E tau^2.
    assert found.intercepts.std(axis=(0, 1)) == pytest.approx(np.full(3, np.sqrt(109)), rel=0.08)
    apart = found.intercepts[..., 0] - found.intercepts[..., 1]
    assert apart.std() == pytest.approx(np.sqrt(2 * 9), rel=0.1)


def test_a_plain_random_walk_on_the_model_as_written_stays_with_the_sampler() -> None:
    counts = counted(3, 5, size=150)[:, 1:].astype(float)
    posterior = _Posterior(counts, 3, ())
    sampler = _Sampler(posterior, SCALES, 120, np.random.default_rng(1))
    states = []
    for part in range(2):
        sampler.run(160 * (1 - part), 15)
        states.append(np.concatenate([sampler.theta, sampler.m, np.log(sampler.tau)], axis=1))

    def log_density(x: np.ndarray) -> np.ndarray:
        b, m, tau = x[:, :12].reshape(-1, 3, 4), x[:, 12:16], np.exp(x[:, 16:])
        eta = b @ posterior.main.T
        value = (counts * eta - np.exp(eta)).sum(axis=(1, 2))
        value += (-0.5 * ((b - m[:, None]) / tau[:, None]) ** 2 - np.log(tau[:, None])).sum(axis=(1, 2))
        return value + (-0.5 * (m / 10) ** 2 - 0.5 * (tau / SCALES) ** 2 + np.log(tau)).sum(axis=1)

    rng = np.random.default_rng(3)
    x = states[1]
    width = np.linalg.cholesky(np.cov(np.concatenate(states).T)) * 0.5
    now, before = log_density(x), x.copy()
    kept = []
    for sweep in range(1800):
        fresh = x + rng.standard_normal(x.shape) @ width.T
        after = log_density(fresh)
        taken = np.log(rng.random(len(x))) < after - now
        x, now = np.where(taken[:, None], fresh, x), np.where(taken, after, now)
        if sweep >= 800 and sweep % 100 == 0:
            kept.append(x.copy())
    walked, spread = np.concatenate(kept), before.std(axis=0)
    # Were the sampler's distribution another one, the walk would have left it.
    assert ((walked.mean(axis=0) - before.mean(axis=0)) / spread) == pytest.approx(np.zeros(20), abs=0.3)
    assert walked[:, [0, 4, 8]].std(axis=0) == pytest.approx(spread[[0, 4, 8]], rel=0.25)


def test_sparse_strata_borrow_strength_and_cover_the_truth() -> None:
    covered, total_covered, agreed = 0, 0, 0
    for seed in range(4):
        counts = counted(6, seed, size=150)
        found = HierarchicalStrata(chains=4, warm_up=200, draws=250).fit(histories(counts))
        truth = counts.sum(axis=1)
        covered += sum(s.result.lower <= n <= s.result.upper for s, n in zip(found.strata, truth, strict=True))
        total_covered += found.total.result.lower <= truth.sum() <= found.total.result.upper
        agreed += found.strata[0].result.details["r_hat"] <= 1.05
    assert covered >= 21 and total_covered >= 3 and agreed == 4


def test_draws_are_joint_so_that_totals_and_differences_keep_what_strata_share() -> None:
    found = HierarchicalStrata(chains=4, warm_up=200, draws=500).fit(histories(counted(5, 3)))
    draws = np.array([s.estimate.by_draw[:, 0] for s in found.strata])
    assert found.complete and draws.shape == (5, 2000)
    # The shared interactions make strata rise and fall together.
    assert draws.sum(axis=0).var() > 1.2 * draws.var(axis=1).sum()
    assert np.quantile(draws.sum(axis=0), [0.025, 0.975]) == pytest.approx(
        [found.total.result.lower, found.total.result.upper], rel=0.01
    )
    change = contrast(found.strata[0], found.strata[1])
    assert change.paired and change.draws.std() == pytest.approx((draws[1] - draws[0]).std(), rel=0.02)
    again = HierarchicalStrata(chains=4, warm_up=200, draws=500).fit(histories(counted(5, 3)))
    assert again.total.result.n_hat == found.total.result.n_hat
    assert found.pooled.ok


def test_a_given_model_has_only_its_interactions() -> None:
    found = HierarchicalStrata((("L0", "L1"),), chains=4, warm_up=100, draws=100).fit(histories(counted(4, 3)))
    assert [name for name in found.strata[0].result.details if name.startswith("interaction")] == ["interaction_L0:L1"]


def test_chains_that_do_not_agree_give_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[HierarchicalStrata.__module__], "RHAT_LIMIT", 0.99)
    found = HierarchicalStrata(warm_up=50, draws=50).fit(histories(counted(3, 3)))
    assert found.total.result.status == "chains-not-agreed" and found.total.result.n_hat is None
    assert len(found.not_estimated) == 3 and found.pooled.result.status == "chains-not-agreed"


def test_tables_that_say_nothing_are_refused() -> None:
    lonely = counted(3, 1)
    lonely[:, 4:] = 0
    assert HierarchicalStrata().fit(histories(lonely)).total.result.status == "too-few-lists"
    apart = counted(3, 1)
    apart[:, [3, 5, 6, 7]] = 0
    assert HierarchicalStrata().fit(histories(apart)).total.result.status == "too-little-overlap"


@pytest.mark.parametrize(
    ("strata", "parameters"),
    [(2, {}), (3, {"chains": 1}), (3, {"draws": 10}), (3, {"interactions": (("L0", "nobody"),)})],
)
def test_bad_input_is_an_error(strata: int, parameters: dict[str, object]) -> None:
    with pytest.raises(EstimateError):
        HierarchicalStrata(**parameters).fit(histories(counted(strata, 1)))
