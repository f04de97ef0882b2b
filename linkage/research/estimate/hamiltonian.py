"""Draws from the posterior of a Poisson log-linear model with normal priors.

The posterior is log-concave, so its mode and curvature there (Newton) give coordinates in which it is nearly a standard
normal, and Hamiltonian Monte Carlo (Neal 2011) with few steps a draw gives draws that are nearly independent. All
chains move in step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linkage.research.estimate.lattice import Floats

__all__ = ["Target", "sample_posterior"]

_LEAST_STEPS, _MOST_STEPS = 3, 8  # about a quarter turn at the step size aimed at
_ACCEPTANCE = 0.85
_LARGEST_LOG = 600.0
_NEWTON = 200


@dataclass(frozen=True, eq=False)
class Target:
    """Poisson counts with log-means linear in k parameters, each with prior N(0, 1 / precision).

    Attributes
    ----------
    design
        Shape ``(cells, k)``.
    counts
        Shape ``(cells,)``.
    precision
        Shape ``(k,)``, above 0.
    """

    design: Floats
    counts: Floats
    precision: Floats

    def value(self, beta: Floats) -> float:
        """Log-posterior of one set of parameters, up to a constant; minus infinity where a mean overflows."""
        logs = self.design @ beta
        if logs.max() > _LARGEST_LOG:
            return -np.inf
        return float(self.counts @ logs - np.exp(logs).sum() - self.precision @ beta**2 / 2)

    def mode(self) -> tuple[Floats, Floats]:
        """Find the mode and a matrix S so that S S' is the inverse of the curvature there.

        Newton's method with halved steps; the log-posterior is strictly concave, so there is one mode.
        """
        beta = np.zeros(self.design.shape[1])
        beta[0] = np.log(self.counts.sum() / self.design.shape[0])
        for _ in range(_NEWTON):
            mu = np.exp(self.design @ beta)
            score = self.design.T @ (self.counts - mu) - self.precision * beta
            curvature = (self.design.T * mu) @ self.design + np.diag(self.precision)
            step = np.linalg.solve(curvature, score)
            decrement, value = float(score @ step), self.value(beta)
            while self.value(beta + step) < value - 1e-9 * (1 + abs(value)):
                step /= 2
            beta = beta + step
            if decrement < 1e-9:
                break
        return beta, np.linalg.inv(np.linalg.cholesky(curvature)).T


class _Chains:
    """Chains in coordinates in which the posterior is nearly a standard normal."""

    def __init__(self, target: Target, chains: int, rng: np.random.Generator) -> None:
        self.target, self.rng, self.size = target, rng, 0.4
        mode, scale = target.mode()
        # Wider than the posterior, so that agreement of the chains means something; but not so far out that the
        # gradient there allows no step.
        away = 1.5 * rng.standard_normal((chains, mode.size)) @ scale.T
        least = target.value(mode) - 3 * mode.size
        for chain in away:
            while target.value(mode + chain) < least:
                chain /= 1.5
        self.settle(mode, scale, mode + away)

    def settle(self, centre: Floats, scale: Floats, beta: Floats) -> None:
        """Take coordinates z with beta = centre + scale z."""
        self.centre, self.scale = centre, scale
        self.at_centre, self.turned = self.target.design @ centre, self.target.design @ scale
        self.z: Floats = np.asarray(np.linalg.solve(scale, (beta - centre).T).T, dtype=np.float64)
        self.energy, self.slope = self._look(self.z)

    def beta(self) -> Floats:
        return np.asarray(self.centre + self.z @ self.scale.T)

    def _look(self, z: Floats) -> tuple[Floats, Floats]:
        """Log-posterior and its gradient, shapes ``(chains,)`` and ``(chains, k)``."""
        logs = self.at_centre + z @ self.turned.T
        beta = self.centre + z @ self.scale.T
        mu = np.exp(np.minimum(logs, _LARGEST_LOG))
        pull = self.target.precision * beta
        value = logs @ self.target.counts - mu.sum(axis=1) - (pull * beta).sum(axis=1) / 2
        return value, (self.target.counts - mu) @ self.turned - pull @ self.scale

    def move(self) -> float:
        """Make one draw of every chain; give the mean probability with which the moves were accepted."""
        momentum = self.rng.standard_normal(self.z.shape)
        size = self.size * self.rng.uniform(0.7, 1.3)
        start = self.energy - (momentum**2).sum(axis=1) / 2
        z, slope = self.z, self.slope
        for _ in range(int(self.rng.integers(_LEAST_STEPS, _MOST_STEPS + 1))):
            momentum = momentum + size / 2 * slope
            z = z + size * momentum
            energy, slope = self._look(z)
            momentum = momentum + size / 2 * slope
        gain = energy - (momentum**2).sum(axis=1) / 2 - start
        chance = np.exp(np.minimum(np.where(np.isnan(gain), -np.inf, gain), 0))
        moved = self.rng.random(chance.size) < chance
        self.z = np.where(moved[:, None], z, self.z)
        self.energy = np.where(moved, energy, self.energy)
        self.slope = np.where(moved[:, None], slope, self.slope)
        return float(chance.mean())

    def warm(self, moves: int) -> None:
        """Find the step size, then coordinates from what the chains have seen: empty overlaps have long tails."""
        seen = []
        for turn in range(moves):
            chance = self.move()
            self.size = min(self.size * float(np.exp((chance - _ACCEPTANCE) / (1 + turn) ** 0.6)), 0.6)
            seen.append(self.beta())
        late = np.concatenate(seen[moves // 2 :])
        trust = len(late) / (len(late) + 5 * late.shape[1])
        spread = trust * np.cov(late.T) + (1 - trust) * self.scale @ self.scale.T
        self.settle(late.mean(axis=0), np.linalg.cholesky(spread), seen[-1])


def sample_posterior(target: Target, *, chains: int, draws: int, warm_up: int, rng: np.random.Generator) -> Floats:
    """Draw from the posterior.

    Returns
    -------
    numpy.ndarray
        Shape ``(chains, draws, k)``; the warm-up, in which the step size is found, is left out.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        state = _Chains(target, chains, rng)
        state.warm(warm_up // 2)
        state.warm(warm_up - warm_up // 2)
        found = np.empty((chains, draws, target.design.shape[1]))
        for turn in range(draws):
            state.move()
            found[:, turn] = state.beta()
    return found
