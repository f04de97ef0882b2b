"""The Gibbs sampler of latent classes, all chains in step.

Model (Manrique-Vallier 2016): a person of class k is on list j with probability l_jk, independently of the other lists;
class weights pi come from a Dirichlet process cut at K classes; the number of people has prior 1/N. The
sampler works on the counts of histories and not on people, so a sweep costs the same for any number of people.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.table import HistoryTable

__all__ = ["REACH", "Gibbs"]

REACH = 20  # n0 is cut at this many times the people seen, so N at 21 n
_START_WEIGHT = 0.3
_TRIES = 50
_TAIL, _MOST_TERMS = 45.0, 10**6  # terms down to e^-45 of the first

Ints = npt.NDArray[np.int64]


class Gibbs:
    """State of C chains with K classes on M observed histories of t lists; arrays have the chain in front.

    Parameters
    ----------
    table
        Three lists or more, at least one person.
    classes, shape, rate
        K; shape and rate of the gamma prior of the concentration alpha.
    chains
        C.
    rng
        Source of all randomness.

    Attributes
    ----------
    n0
        People unseen, shape ``(C,)``.
    alpha
        Concentration, shape ``(C,)``.
    """

    def __init__(
        self, table: HistoryTable, *, classes: int, shape: float, rate: float, chains: int, rng: np.random.Generator
    ) -> None:
        cells = np.flatnonzero(table.counts)
        on = ((cells[:, None] + 1) >> np.arange(table.t)) & 1
        self.n, self.counts = table.observed, table.counts[cells]
        self.on = on.astype(np.float64)
        self.either = np.concatenate([self.on, 1 - self.on], axis=1)
        self.classes, self.shape, self.rate, self.rng = classes, shape, rate, rng
        self._scatter(chains)

    def _scatter(self, chains: int) -> None:
        """Start the chains far apart: list probabilities from the prior, few or many classes, few or many unseen."""
        lists = self.on.shape[1]
        chance = self.rng.beta(1, 1, size=(chains, self.classes, lists))
        self.logs = np.concatenate([np.log(chance), np.log1p(-chance)], axis=2)
        self.log_pi = np.log(self.rng.dirichlet(np.full(self.classes, 0.5), size=chains) + 1e-12)
        self.alpha = np.full(chains, _START_WEIGHT / self.classes)
        self.n0 = np.floor(self.n * np.exp(self.rng.uniform(-2, np.log(REACH), size=chains))).astype(np.int64)
        self.unseen = self.rng.multinomial(self.n0, self._weights_unseen()[0])
        self.sizes = self.unseen.astype(np.float64)

    def sweep(self, *, fixed_alpha: bool = False) -> None:
        """Draw everything once, each given the rest."""
        members = self._members()
        self._draw_lists(members)
        sizes = members.sum(axis=2) + self.unseen
        self._draw_weights(sizes)
        weights, missed = self._weights_unseen()
        self._draw_unseen(missed)
        self.unseen = self.rng.multinomial(self.n0, weights)
        if not fixed_alpha:
            self.alpha = self.rng.standard_gamma(self.shape + self.classes - 1, size=len(self.alpha)) / (
                self.rate - self.log_pi[:, -1]
            )
        self.sizes = sizes

    @property
    def occupied(self) -> Ints:
        """Classes with people in them, seen or unseen, in the last sweep; shape ``(C,)``."""
        return np.asarray((self.sizes > 0).sum(axis=1))

    def relabel(self) -> None:
        """Put the heavy classes in front, where the prior expects them."""
        order = np.argsort(-self.log_pi, axis=1, kind="stable")
        self.log_pi = np.take_along_axis(self.log_pi, order, axis=1)
        self.logs = np.take_along_axis(self.logs, order[:, :, None], axis=1)
        self.unseen = np.take_along_axis(self.unseen, order, axis=1)

    def _members(self) -> Floats:
        """Deal the people of each history to classes; shape ``(C, K, M)``."""
        value = self.either @ self.logs.transpose(0, 2, 1)
        value += self.log_pi[:, None, :]
        value -= value.max(axis=2, keepdims=True)
        np.exp(value, out=value)
        value /= value.sum(axis=2, keepdims=True)
        dealt = self.rng.multinomial(self.counts, value)
        return dealt.transpose(0, 2, 1).astype(np.float64)

    def _draw_lists(self, members: Floats) -> None:
        on = members @ self.on
        off = members.sum(axis=2, keepdims=True) - on + self.unseen[:, :, None]
        drawn = self.rng.standard_gamma(np.concatenate([on, off], axis=2) + 1)
        lists = on.shape[2]
        total = np.log(drawn[:, :, :lists] + drawn[:, :, lists:])
        self.logs = np.log(drawn)
        self.logs[:, :, :lists] -= total
        self.logs[:, :, lists:] -= total

    def _draw_weights(self, sizes: Floats) -> None:
        """Break the stick in logarithms: with a small alpha what is left of it is far below the least double."""
        rest = sizes[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:] + self.alpha[:, None]
        taken = np.log(self.rng.standard_gamma(sizes[:, :-1] + 1))
        # A gamma variable of shape a is one of shape a + 1 times U^(1/a); -log U is exponential.
        left = np.log(self.rng.standard_gamma(rest + 1)) - self.rng.standard_exponential(rest.shape) / rest
        both = np.logaddexp(taken, left)
        remaining = np.cumsum(left - both, axis=1)
        self.log_pi[:, 0] = 0
        self.log_pi[:, 1:] = remaining
        self.log_pi[:, :-1] += taken - both

    def _weights_unseen(self) -> tuple[Floats, Floats]:
        """Classes of an unseen person, shape ``(C, K)``, and the chance to be unseen, shape ``(C,)``."""
        lists = self.on.shape[1]
        value = np.exp(self.log_pi + self.logs[:, :, lists:].sum(axis=2))
        missed = value.sum(axis=1)
        # The least double stands in where nobody can be unseen.
        value[:, 0] += np.finfo(float).tiny
        return value / value.sum(axis=1, keepdims=True), np.clip(missed, 0.0, 1 - 1e-15)

    def _draw_unseen(self, missed: Floats) -> None:
        """Draw n0 from the negative binomial cut at ``REACH`` n."""
        cap = REACH * self.n
        odds = missed / (1 - missed)
        todo = np.arange(len(missed))
        for _ in range(_TRIES):
            mean = self.rng.standard_gamma(self.n, size=todo.size) * odds[todo]
            self.n0[todo] = self.rng.poisson(np.minimum(mean, 4.0 * cap))
            todo = todo[self.n0[todo] > cap]
            if not todo.size:
                return
        for chain in todo:
            self.n0[chain] = self._below_cut(float(missed[chain]))

    def _below_cut(self, missed: float) -> int:
        """Draw n0 where the cut is so far out in the tail that redrawing would not end.

        Down from the cut the probability of k - 1 is that of k times k / ((n + k - 1) missed), ever smaller.
        """
        cap = REACH * self.n
        fall = cap / ((self.n + cap - 1) * missed)
        terms = int(min(cap, _TAIL / max(1 - fall, _TAIL / _MOST_TERMS)))
        k = cap - np.arange(terms, dtype=np.float64)
        falling = np.cumsum(np.log(k) - np.log(self.n + k - 1) - np.log(missed))
        weights = np.exp(np.append(0.0, falling))
        return cap - int(np.searchsorted(weights.cumsum(), self.rng.random() * weights.sum()))
