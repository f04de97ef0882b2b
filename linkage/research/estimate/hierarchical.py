"""Small strata borrow strength: a Bayesian log-linear model over all of them at once.

Lists may be more or less likely by stratum; how they depend on each other is shared (a random effect on the main
effects by stratum, after Hammond, Smith & van der Heijden 2025, arXiv:2505.01359). With stratum s and history x,

    n_sx ~ Poisson(exp(b_s0 + sum over lists j in x of b_sj + sum over pairs in x of c_p)),
    b_sj ~ N(m_j, tau_j^2), m_j ~ N(0, 10^2), tau_j ~ half-normal(scale_j), c_p ~ N(0, 1),

all priors proper. The unseen of stratum s are Poisson(exp(b_s0)). The scale is 1 for lists; the intercept, which is
the size of the stratum, has 3, so that sizes are hardly pooled and only shares are.

Sampler: (b, c) given tau, m integrated out, by Hamiltonian Monte Carlo in coordinates whitened at the mode; m given b,
then tau given both, exactly (tau on a grid of its logarithm); and m and tau once more with (b - m)/tau held (Yu & Meng
2011), so that chains do not stick where tau is near 0. Chains run side by side from scattered starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linkage.errors import EstimateError
from linkage.research.estimate.arithmetic import Estimated, total
from linkage.research.estimate.chains import RHAT_LIMIT, effective_size, split_rhat
from linkage.research.estimate.lattice import Floats, contains, name_model, pairs, terms_from_names
from linkage.research.estimate.pooled import PooledResult
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.strata import StrataResult
from linkage.research.estimate.table import Histories, HistoryTable

__all__ = ["HierarchicalStrata"]

_METHOD = "hierarchical-strata"
_MEAN_SCALE = 10.0
_SIZE_SCALE, _LIST_SCALE = 3.0, 1.0
_LENGTH = 3.0  # longest trajectory; at pi a normal distribution is where it started, on the other side
_ACCEPT = 0.8
_LEAST_STRATA = 3
_LEAST_LISTS = 3
_LEAST_OVERLAP = 10
_MOST_LISTS = 6
_LARGEST = 1e9
_LEVELS = (0.025, 0.5, 0.975)
_GRID = np.exp(np.linspace(np.log(1e-3), np.log(30.0), 200))

Generator = np.random.Generator


class _Posterior:
    """Log-density of b (S strata by k = t + 1) and c (P pairs) given tau, for many chains at once."""

    def __init__(self, counts: Floats, t: int, terms: tuple[int, ...]) -> None:
        self.counts, self.strata, self.k = counts, len(counts), t + 1
        self.main = contains(t, (0, *(1 << j for j in range(t)))).T  # cells by k
        self.pairs = contains(t, terms).T  # cells by P
        self.size = self.strata * self.k + len(terms)
        self.sufficient = np.concatenate([(counts @ self.main).ravel(), (counts @ self.pairs).sum(axis=0)])

    def parts(self, theta: Floats) -> tuple[Floats, Floats]:
        """Give b of shape (chains, S, k) and c of shape (chains, P)."""
        cut = self.strata * self.k
        return theta[:, :cut].reshape(len(theta), self.strata, self.k), theta[:, cut:]

    def likelihood(self, theta: Floats) -> tuple[Floats, Floats]:
        """Log-likelihood and its gradient."""
        b, c = self.parts(theta)
        mu = np.exp(np.minimum(b @ self.main.T + (c @ self.pairs.T)[:, None, :], 60.0))
        value = theta @ self.sufficient - mu.sum(axis=(1, 2))
        slope = np.concatenate([(mu @ self.main).reshape(len(theta), -1), mu.sum(axis=1) @ self.pairs], axis=1)
        return value, self.sufficient - slope

    def density(self, theta: Floats, tau: Floats) -> tuple[Floats, Floats]:
        """Log-density given tau, m integrated out, and its gradient."""
        value, slope = self.likelihood(theta)
        b, c = self.parts(theta)
        # Around the mean that m has given b, so that large values do not cancel.
        away = b - (b.sum(axis=1) / (self.strata + tau**2 / _MEAN_SCALE**2))[:, None, :]
        value = value - 0.5 * (b * away / tau[:, None, :] ** 2).sum(axis=(1, 2)) - 0.5 * (c**2).sum(axis=1)
        pull = np.concatenate([(away / tau[:, None, :] ** 2).reshape(len(theta), -1), c], axis=1)
        return value, slope - pull

    def curvature(self, theta: Floats, tau: Floats) -> Floats:
        """Negative Hessian at one point, shape ``(size, size)``."""
        b, c = self.parts(theta[None, :])
        mu = np.exp(b[0] @ self.main.T + self.pairs @ c[0])
        cut = self.strata * self.k
        matrix = np.diag(np.concatenate([np.tile(tau**-2, self.strata), np.ones(self.size - cut)]))
        for j in range(self.k):
            same = np.arange(j, cut, self.k)
            matrix[np.ix_(same, same)] -= tau[j] ** -2 / (self.strata + tau[j] ** 2 / _MEAN_SCALE**2)
        for s in range(self.strata):
            here = slice(s * self.k, (s + 1) * self.k)
            matrix[here, here] += (self.main * mu[s][:, None]).T @ self.main
            cross = (self.main * mu[s][:, None]).T @ self.pairs
            matrix[here, cut:] += cross
            matrix[cut:, here] += cross.T
        matrix[cut:, cut:] += (self.pairs * mu.sum(axis=0)[:, None]).T @ self.pairs
        return matrix

    def mode(self, tau: Floats) -> Floats:
        """Mode of (b, c) at fixed tau, by Newton's method."""
        theta = np.zeros(self.size)
        theta[: self.strata * self.k : self.k] = np.log(self.counts.sum(axis=1) + 1.0)
        for _ in range(200):
            value, slope = self.density(theta[None, :], tau[None, :])
            step = np.linalg.solve(self.curvature(theta, tau), slope[0])
            for _ in range(40):
                after, _ = self.density((theta + step)[None, :], tau[None, :])
                if after[0] >= value[0] - 1e-9 * (1 + abs(value[0])):
                    break
                step = step / 2
            theta = theta + step
            if np.abs(step).max() < 1e-6:
                break
        return theta


@dataclass(frozen=True, eq=False)
class _Chains:
    """Draws of b_s0, shape (chains, draws, S), of tau (chains, draws, k), of c (chains, draws, P); acceptance."""

    intercepts: Floats
    tau: Floats
    pairs: Floats
    accepted: float


class _Sampler:
    """Chains in step with each other."""

    def __init__(self, posterior: _Posterior, scales: Floats, chains: int, rng: Generator) -> None:
        self.posterior, self.scales, self.chains, self.rng = posterior, scales, chains, rng
        at = self._whiten(scales / 2)
        scatter = 1.5 * rng.standard_normal((chains, posterior.size))
        self.theta = at + scatter @ self.width.T
        self.tau = scales * np.exp(rng.uniform(-1.5, 0.7, (chains, posterior.k)))
        self.step = np.full(chains, 0.2)
        self.spread = np.full((chains, posterior.k), 0.5)
        self._means()

    def _whiten(self, tau: Floats) -> Floats:
        """Take coordinates z, theta = mode + width z, with unit curvature of the density at the mode; give the mode."""
        at = self.posterior.mode(tau)
        self.width = np.linalg.inv(np.linalg.cholesky(self.posterior.curvature(at, tau))).T
        return at

    def run(self, warm_up: int, draws: int) -> _Chains:
        strata, k = self.posterior.strata, self.posterior.k
        intercepts, tau = np.empty((self.chains, draws, strata)), np.empty((self.chains, draws, k))
        shared = np.empty((self.chains, draws, self.posterior.size - strata * k))
        accepted = 0.0
        for sweep in range(warm_up + draws):
            gain = 0.0 if sweep >= warm_up else 2.0 / (sweep % max(1, warm_up // 2) + 10) ** 0.6
            if sweep == warm_up // 2:
                self._whiten(np.median(self.tau, axis=0))
            chance = self._move(gain)
            self._means()
            self._scales()
            self._held(gain)
            if sweep >= warm_up:
                b, c = self.posterior.parts(self.theta)
                place = sweep - warm_up
                intercepts[:, place], tau[:, place], shared[:, place] = b[:, :, 0], self.tau, c
                accepted += float(chance.mean()) / draws
        return _Chains(intercepts, tau, shared, accepted)

    def _move(self, gain: float) -> Floats:
        """One trajectory of Hamiltonian Monte Carlo in whitened coordinates, its length and step jittered."""
        momentum = self.rng.standard_normal(self.theta.shape)
        step = (self.step * self.rng.uniform(0.7, 1.1, self.chains))[:, None]
        theta = self.theta
        value, slope = self.posterior.density(theta, self.tau)
        energy = value - 0.5 * (momentum**2).sum(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            momentum = momentum + 0.5 * step * (slope @ self.width)
            steps = int(np.ceil(self.rng.uniform(0.3, 1.0) * _LENGTH / self.step.mean()))
            for place in range(steps):
                theta = theta + step * (momentum @ self.width.T)
                value, slope = self.posterior.density(theta, self.tau)
                momentum = momentum + (0.5 if place == steps - 1 else 1.0) * step * (slope @ self.width)
            rise = value - 0.5 * (momentum**2).sum(axis=1) - energy
        chance = np.exp(np.minimum(np.where(np.isfinite(rise), rise, -np.inf), 0.0))
        taken = self.rng.random(self.chains) < chance
        self.theta = np.where(taken[:, None], theta, self.theta)
        self.step = np.clip(self.step * np.exp(gain * (chance - _ACCEPT)), 1e-4, 1.0)
        return np.asarray(chance)

    def _means(self) -> None:
        """Draw m given b and tau: normal."""
        b, _ = self.posterior.parts(self.theta)
        precision = self.posterior.strata / self.tau**2 + _MEAN_SCALE**-2
        middle = b.sum(axis=1) / self.tau**2 / precision
        self.m = middle + self.rng.standard_normal(middle.shape) / np.sqrt(precision)

    def _scales(self) -> None:
        """Draw tau given b and m: on a grid of its logarithm, uniform inside a cell."""
        b, _ = self.posterior.parts(self.theta)
        squares = ((b - self.m[:, None, :]) ** 2).sum(axis=1)[..., None]
        logs = np.log(_GRID)
        density = (1 - self.posterior.strata) * logs - squares / (2 * _GRID**2)
        density = density - _GRID**2 / (2 * self.scales[:, None] ** 2)
        below = np.cumsum(np.exp(density - density.max(axis=-1, keepdims=True)), axis=-1)
        level = self.rng.random(squares.shape) * below[..., -1:]
        cell = (below < level).sum(axis=-1)
        jitter = (self.rng.random(cell.shape) - 0.5) * (logs[1] - logs[0])
        self.tau = np.exp(logs[cell] + jitter)

    def _held(self, gain: float) -> None:
        """Move m and tau with (b - m)/tau held, list by list: a random walk judged by likelihood and their priors."""
        value, _ = self.posterior.likelihood(self.theta)
        for j in range(self.posterior.k):
            b, _ = self.posterior.parts(self.theta)
            tau, m = self.tau[:, j], self.m[:, j]
            new_tau = tau * np.exp(self.spread[:, j] * self.rng.standard_normal(self.chains))
            new_m = m + 0.3 * self.spread[:, j] * self.rng.standard_normal(self.chains)
            moved = self.theta.copy()
            fresh = new_m[:, None] + (new_tau / tau)[:, None] * (b[:, :, j] - m[:, None])
            moved[:, j : self.posterior.strata * self.posterior.k : self.posterior.k] = fresh
            after, _ = self.posterior.likelihood(moved)
            # Priors of tau (on its logarithm) and m; the prior of b moves along with them.
            rise = after - value + np.log(new_tau / tau) - (new_tau**2 - tau**2) / (2 * self.scales[j] ** 2)
            rise = rise - (new_m**2 - m**2) / (2 * _MEAN_SCALE**2)
            chance = np.exp(np.minimum(np.where(np.isfinite(rise), rise, -np.inf), 0.0))
            taken = self.rng.random(self.chains) < chance
            self.theta = np.where(taken[:, None], moved, self.theta)
            self.tau[:, j], self.m[:, j] = np.where(taken, new_tau, tau), np.where(taken, new_m, m)
            value = np.where(taken, after, value)
            self.spread[:, j] = np.clip(self.spread[:, j] * np.exp(gain * (chance - 0.35)), 1e-3, 2.0)


@dataclass(frozen=True)
class HierarchicalStrata:
    """Estimate strata together, their main effects drawn from one distribution, their interactions shared.

    Parameters
    ----------
    interactions
        Pairs of list names that interact; all pairs without it.
    chains, warm_up, draws
        Of the sampler: chains, sweeps thrown away, sweeps kept of each chain. Where chains do not agree they run on,
        twice as long each time, up to four times ``draws``.
    seed
        Without it the seed comes from the tables.

    Assumptions
    -----------
    How lists depend on each other is the same in all strata; lists' coverages vary between strata like draws from a
    normal distribution on the log scale; no three lists depend on each other beyond their pairs.

    Attributes
    ----------
    Every stratum's estimate is a posterior median with its equal-tailed 95% interval. Strata share their parameters, so
    draws are joint: row r of each ``by_draw`` is one draw, and sums and differences are taken row by row. Nothing is
    given where R-hat of a stratum's number is above 1.05.
    """

    interactions: tuple[tuple[str, str], ...] | None = None
    chains: int = 8
    warm_up: int = 500
    draws: int = 1000
    seed: int | None = None

    def fit(self, histories: Histories) -> StrataResult:
        """Estimate from a table with strata, three of them at least.

        Returns
        -------
        StrataResult
            The total is over all strata; ``pooled`` takes them as one, by the same model with the same priors, and
            ``pooled_alike`` is the same. Refused as a whole: strata are not estimated one by one.

        Raises
        ------
        EstimateError
            ``no-strata``: fewer than three; ``bad-parameter``; an interaction that names something else than two lists.
        """
        if self.chains < 2 or self.warm_up < 50 or self.draws < 50:
            raise EstimateError("two chains and fifty sweeps are the least", reason="bad-parameter")
        if len(histories.strata) < _LEAST_STRATA:
            raise EstimateError("pooling needs three strata at least", reason="no-strata")
        lists = histories.pooled.lists
        every = pairs(len(lists))
        terms = every if self.interactions is None else terms_from_names(self.interactions, lists)
        if any(term.bit_count() != 2 for term in terms):
            raise EstimateError("interactions are of two lists here", reason="bad-parameter")
        name = name_model(terms, lists)
        assumption = f"lists depend on each other alike in all strata, and only in pairs: {name}"
        reason = _unfit(histories.pooled)
        alone = self._pooled(histories.pooled, terms, name, reason)
        if reason:
            return _declined(histories, refused(_METHOD, name, reason, assumption=assumption), alone)
        counts = np.array([s.table.counts for s in histories.strata], dtype=np.float64)
        found, n = self._sampled(counts, len(lists), terms)
        rhats = [split_rhat(np.log(n[:, :, s] + 1)) for s in range(n.shape[2])]
        rhats.append(split_rhat(np.log(n.sum(axis=2) + 1)))
        sizes = [effective_size(n[:, :, s]) for s in range(n.shape[2])]
        details: dict[str, float | int | str | None] = {
            "r_hat": max(rhats),
            "effective_draws": min(sizes),
            "acceptance": found.accepted,
            **{f"tau_{label}": float(np.median(found.tau[..., j])) for j, label in enumerate(("size", *lists))},
            **{
                f"interaction_{name_model((p,), lists)}": float(found.pairs[..., i].mean()) for i, p in enumerate(terms)
            },
        }
        if not max(rhats) <= RHAT_LIMIT:
            result = refused(_METHOD, name, "chains-not-agreed", assumption=assumption, details=details)
            return _declined(histories, result, alone)
        return self._result(histories, n.reshape(-1, n.shape[2]), sizes, (name, assumption), details, alone)

    def _sampled(self, counts: Floats, t: int, terms: tuple[int, ...]) -> tuple[_Chains, Floats]:
        """Run the chains; give them, and the unseen by chain, draw and stratum with the seen added."""
        digest = hashlib.sha256(counts.astype("<f8").tobytes() + repr((t, terms)).encode()).digest()
        rng = np.random.default_rng(self.seed if self.seed is not None else int.from_bytes(digest[:8], "big"))
        scales = np.array([_SIZE_SCALE] + [_LIST_SCALE] * t)
        sampler = _Sampler(_Posterior(counts, t, terms), scales, self.chains, rng)
        found = sampler.run(self.warm_up, self.draws)
        for times in (2, 4):
            if max(split_rhat(found.intercepts[:, :, s]) for s in range(len(counts))) <= RHAT_LIMIT:
                break
            found = sampler.run(0, times * self.draws)
        unseen = rng.poisson(np.exp(np.minimum(found.intercepts, 40.0)))
        return found, np.asarray(unseen + counts.sum(axis=1), dtype=np.float64)

    def _pooled(self, table: HistoryTable, terms: tuple[int, ...], name: str, reason: str | None) -> Estimated:
        """Take all strata as one; the mean and scale of its main effects are then prior alone."""
        assumption = f"strata are alike, and lists depend on each other only in pairs: {name}"
        if reason:
            return Estimated({}, table.observed, refused(_METHOD, name, reason, assumption=assumption))
        _, n = self._sampled(table.counts[None, :].astype(np.float64), table.t, terms)
        draws = n[:, :, 0]
        r_hat = split_rhat(np.log(draws + 1))
        details: dict[str, float | int | str | None] = {"r_hat": r_hat, "effective_draws": effective_size(draws)}
        if not r_hat <= RHAT_LIMIT:
            result = refused(_METHOD, name, "chains-not-agreed", assumption=assumption, details=details)
        else:
            result = _summary(draws.ravel(), name, assumption, details)
        return Estimated({}, table.observed, result)

    def _result(
        self,
        histories: Histories,
        n: Floats,
        sizes: Sequence[float],
        words: tuple[str, str],
        details: Mapping[str, float | int | str | None],
        alone: Estimated,
    ) -> StrataResult:
        joint = f"{_METHOD}:{hashlib.sha256(n.tobytes()).hexdigest()}"
        strata = []
        for place, stratum in enumerate(histories.strata):
            draws, seen = n[:, place], stratum.table.observed
            result = _summary(draws, *words, {**details, "effective_draws": sizes[place]})
            error = float(draws.std() / np.sqrt(sizes[place]))
            rows, observed = draws[:, None], np.full(len(draws), float(seen))
            pooled = PooledResult(result, rows, draws, observed, {}, sizes[place], None, None, error, joint)
            strata.append(Estimated(stratum.values, seen, pooled))
        summed = total(strata, method=_METHOD, model="sum of all strata, draw by draw", assumption=words[1])
        return StrataResult(tuple(strata), summed, (), 0.0, alone, alone)


def _unfit(table: HistoryTable) -> str | None:
    if (table.totals > 0).sum() < _LEAST_LISTS:
        return "too-few-lists"
    if table.overlap < _LEAST_OVERLAP:
        return "too-little-overlap"
    if table.t > _MOST_LISTS:
        return "too-many-lists"
    return "beyond-precision" if table.observed > _LARGEST else None


def _summary(
    draws: npt.NDArray[np.float64], name: str, assumption: str, details: Mapping[str, float | int | str | None]
) -> Result:
    low, middle, high = np.quantile(draws, _LEVELS).tolist()
    how = "equal-tailed posterior interval"
    return Result(_METHOD, name, middle, low, high, "ok", how, assumption, details, draws=draws)


def _declined(histories: Histories, result: Result, alone: Estimated) -> StrataResult:
    """Everything refused for one reason."""
    strata = tuple(Estimated(s.values, s.table.observed, result) for s in histories.strata)
    left = tuple(s.values for s in histories.strata)
    return StrataResult(strata, Estimated({}, 0.0, result), left, float(histories.pooled.observed), alone, alone)
