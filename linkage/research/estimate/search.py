"""Log-linear models over pairs of many lists, found by a search instead of one by one.

Seven lists have two million models over pairs and twelve have 2^66, so they are visited by Markov chain Monte Carlo
model composition (Madigan & York 1995, International Statistical Review 63:215-232): chains walk over the sets of
pairs that have an estimate and spend their time on each in proportion to exp(-criterion/2). Three things make them
quick.

* What a step turns in or out is drawn pair by pair, with chances that fit how often the pair has been in (Griffin,
  Latuszynski & Steel 2021, Biometrika 108:53-69): were pairs in or out independently, every step would be a fresh
  draw. How far it goes is drawn too, from about one pair to all.
* A chain on a model that was known when the chains last learnt goes on from one drawn among the known ones by their
  weights, which costs no fit and carries it from mode to mode.
* Some chains walk where the weights are flattened (Geyer 1991, Computing Science and Statistics 23:156-163) and only
  make models known.

Chains learn in groups that know nothing of each other's models, so that R-hat still tells where a mode was overlooked.

**Weights.** Those of the models known at half time are in proportion to exp(-criterion/2), as a whole as much as the
share of the steps that were spent on them; of all others, the share of the steps on each. With few models that matter
the first part is nearly all and as good as exact; with many, as by AIC over eight lists or more, the second is. Weights
over visited models alone leave out all that were not visited: eight lists of New Orleans come out by AIC a quarter
too high so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from linkage.errors import EstimateError
from linkage.research.estimate.chains import RHAT_LIMIT, effective_size, split_rhat
from linkage.research.estimate.lattice import Floats, pairs
from linkage.research.estimate.models import Criterion, ModelFits, Models, fit_models

__all__ = ["EFFECTIVE", "Search", "search_models"]

EFFECTIVE = 300
"""Effective number of draws at which a search may end; R-hat of 24 half chains asks for about as many by itself."""

_GROUPS, _COLD, _HOT = 4, 3, 1  # groups of chains, and chains of each kind in a group
_HEAT = 3.0
_FEWEST_STEPS = 60
_GROWTH = 1.5
_MOST_STEPS = 4000
_MOST_FITTED = 16_000
_SCALES = 4
_CERTAIN = 0.02  # no pair is taken to be in or out for certain
_AT_FIRST = 0.1
_OVERLOOKED = 0.005
_AGREED = 2

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class _Known:
    """All models of one table that were fitted so far, each once."""

    def __init__(self, counts: npt.NDArray[np.generic], t: int, forced: tuple[int, ...], criterion: Criterion) -> None:
        self.counts, self.t, self.which = counts, t, criterion
        self.pairs = np.array(sorted(pairs(t), key=lambda pair: pair not in forced), dtype=np.int64)
        self.forced = len(set(forced))
        self.place: dict[bytes, int] = {}
        self.models: list[tuple[int, ...]] = []
        self.fits: list[ModelFits] = []
        self.free = np.zeros((0, len(self.pairs) - self.forced), dtype=bool)
        self.values = np.empty(0)

    def find(self, free: Bools) -> Ints:
        """Give the positions of models, given the free pairs that are in each; fit those that are new."""
        keys = [row.tobytes() for row in np.packbits(free, axis=1)]
        new = {key: row for row, key in enumerate(keys) if key not in self.place}
        if new:
            rows = list(new.values())
            whole = np.column_stack([np.ones((len(rows), self.forced), dtype=bool), free[rows]])
            models = tuple(tuple(self.pairs[held].tolist()) for held in whole)
            fits = fit_models(self.counts, self.t, models, errors=True)
            self.place |= {key: len(self.models) + i for i, key in enumerate(new)}
            self.models += models
            self.fits.append(fits)
            self.free = np.concatenate([self.free, free[rows]])
            self.values = np.append(self.values, fits.criterion(self.which)[0])
        return np.array([self.place[key] for key in keys], dtype=np.int64)

    def all_fits(self) -> ModelFits:
        """Put the fits of all models side by side."""
        names = ("passed", "intercept", "se_intercept", "n_hat", "aic", "bic")
        return ModelFits(*(np.concatenate([getattr(fit, name) for fit in self.fits], axis=1) for name in names))


def _weights(values: Floats) -> Floats:
    """Weights exp(-criterion/2), the greatest 1; all 0 where there is no estimate at all."""
    least = values.min(initial=np.inf)
    return np.exp((least - values) / 2) if np.isfinite(least) else np.zeros_like(values)


@dataclass(frozen=True, eq=False)
class Search:
    """Models that were visited.

    Attributes
    ----------
    models, fits
        All M models that were fitted, in the order in which they were met, and their fits of the one table.
    criterion
        Their AIC or BIC, shape ``(M,)``; infinite without an estimate.
    trace
        Shape ``(steps, chains)``: positions of the models visited, over the latter half of the steps.
    known
        How many models were known at half time.
    acceptance
        Which share of the proposals in that half was taken, of those that propose another model.
    steps
        Steps that each chain made altogether.
    effective
        The effective number of draws that was asked for.
    steady
        Whether the chains agreed (:attr:`converged`) twice running, the second time after half as many steps again.
    """

    models: Models
    fits: ModelFits
    criterion: Floats
    trace: Ints
    known: int
    acceptance: float
    steps: int
    effective: int
    steady: bool = False

    @cached_property
    def unknown(self) -> float:
        """Share of the steps on models that were not known at half time."""
        return float((self.trace >= self.known).mean())

    @cached_property
    def weights(self) -> Floats:
        """Weight of each model, shape ``(M,)``; they sum to 1."""
        weights = np.bincount(self.trace.ravel(), minlength=len(self.models)) / self.trace.size
        own = _weights(self.criterion[: self.known])
        weights[: self.known] = (1 - self.unknown) * own / own.sum()
        return weights

    @cached_property
    def agreement(self) -> tuple[float, float]:
        """Split R-hat and effective number of draws, of the log of the unseen number."""
        values = self.fits.intercept[0][self.trace].T
        return split_rhat(values), effective_size(values)

    @cached_property
    def converged(self) -> bool:
        """Whether the chains agree and have moved enough, and the weights agree with the chains.

        Models met since half time can weigh no more than the time that chains spend on such models: if they do, chains
        have only just found a mode.
        """
        rhat, size = self.agreement
        own = _weights(self.criterion)
        found = float(own[self.known :].sum() / own.sum())
        return rhat <= RHAT_LIMIT and size >= self.effective and found <= self.unknown + _OVERLOOKED


def search_models(
    counts: npt.NDArray[np.generic],
    t: int,
    criterion: Criterion,
    *,
    forced: tuple[int, ...] = (),
    effective: int = EFFECTIVE,
    seed: int,
) -> Search | None:
    """Visit models over the pairs of ``t`` lists, each in proportion to exp(-criterion/2).

    Parameters
    ----------
    counts
        Shape ``(2**t - 1,)``.
    forced
        Pairs that are in every model.
    effective
        Effective number of draws at which the search ends, if the chains agree.
    seed
        Of the generator.

    Returns
    -------
    Search or None
        None where none of the models that a search starts from has an estimate. After 4,000 steps or 16,000 models it
        ends though chains do not agree; look at :attr:`Search.steady`.

    Raises
    ------
    EstimateError
        A forced interaction is not a pair of the lists.
    """
    if not set(forced) <= set(pairs(t)):
        raise EstimateError("no model holds the forced interactions", reason="bad-model")
    walk = _Walk(_Known(counts, t, forced, criterion), seed)
    if not walk.start():
        return None
    until = float(max(2 * effective, _FEWEST_STEPS))
    agreed = 0
    while True:
        walk.go(int(until))
        found = walk.search(effective)
        agreed = agreed + 1 if found.converged else 0
        # Chains that miss a mode together can agree once; what they know by then carries them on.
        if agreed == _AGREED or walk.spent:
            return replace(found, steady=agreed == _AGREED)
        walk.adapt()
        until *= _GROWTH


class _Walk:
    """Chains that walk side by side, so that the new models of a step are one stack of fits."""

    def __init__(self, known: _Known, seed: int) -> None:
        self.known = known
        self.rng = np.random.default_rng(seed)
        self.chains = _GROUPS * (_COLD + _HOT)
        self.group = np.arange(self.chains) % _GROUPS
        self.cold = np.arange(self.chains) < _GROUPS * _COLD
        self.heat = np.where(self.cold, 1.0, _HEAT)
        free = known.free.shape[1]
        self.inclusion = np.full((self.chains, free), 0.5)
        self.scales = np.geomspace(1 / max(free, 1), 1, _SCALES)
        self.held = np.zeros((self.chains, free), dtype=bool)
        self.at = np.zeros(self.chains, dtype=np.int64)
        self.met = np.zeros((_GROUPS, 0), dtype=bool)  # which models a group has proposed
        self.reach = np.zeros((_GROUPS, 0))  # cumulative weights of those it knew when it last learnt
        self.members: list[Bools] = []
        self.trace: list[Ints] = []
        self.sizes: list[int] = []
        self.moves: list[tuple[int, int]] = []

    @property
    def spent(self) -> bool:
        """Whether the search has gone on for long enough."""
        return len(self.trace) >= _MOST_STEPS or len(self.known.models) >= _MOST_FITTED

    def start(self) -> bool:
        """Start at models of all sizes; say whether any that was tried has an estimate.

        All groups know the model without free pairs, that with all of them, and their neighbours, which also give a
        first guess of how often each pair is in.
        """
        free = self.held.shape[1]
        few = np.concatenate([np.zeros((1, free), dtype=bool), np.eye(free, dtype=bool)])
        density = self.rng.permutation(np.linspace(0, 1, self.chains))[:, None]
        tried = np.concatenate([self.rng.random(self.held.shape) < density, few, ~few])
        at = self.known.find(tried)
        sound = np.flatnonzero(np.isfinite(self.known.values[at]))
        if not sound.size:
            return False
        own = np.arange(self.chains)
        rows = np.where(np.isin(own, sound), own, np.resize(sound, self.chains))
        self.held, self.at = tried[rows], at[rows]
        without, whole = self.known.values[at[self.chains :]].reshape(2, free + 1)
        with np.errstate(invalid="ignore"):
            gains = np.stack([without[:1] - without[1:], whole[1:] - whole[:1]]) / 2
        there = np.isfinite(gains)
        guess = np.where(there, gains, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        self.inclusion[:] = np.clip(expit(guess), _AT_FIRST, 1 - _AT_FIRST)
        for group in range(_GROUPS):
            self._meet(group, at[self.chains :])
        self._learn()
        return True

    def go(self, until: int) -> None:
        """Walk until so many steps have been made."""
        while len(self.trace) < until and not self.spent:
            self._step()
            self._redraw()
            self.trace.append(self.at[self.cold])
            self.members.append(self.held)
            self.sizes.append(len(self.known.models))

    def _step(self) -> None:
        """Propose, and accept by Metropolis and Hastings; how far a step goes does not depend on where the chain is."""
        scale = self.rng.choice(self.scales, size=(self.chains, 1))
        odds = self.inclusion / (1 - self.inclusion)
        into, out = scale * np.minimum(1, odds), scale * np.minimum(1, 1 / odds)
        turn = self.rng.random(self.held.shape) < np.where(self.held, out, into)
        new = self.held ^ turn
        # Pairs that stay have the same chance to stay in both directions, those that turn have chances in their odds.
        ways = np.where(turn, np.where(self.held, np.log(odds), -np.log(odds)), 0.0).sum(axis=1)
        at = self.known.find(new)
        values = self.known.values
        # Every chain is on a model with an estimate, and one without has an infinite value: it is never taken.
        gain = (values[self.at] - values[at]) / (2 * self.heat) + ways
        taken = np.log(self.rng.random(self.chains)) < gain
        self.held = np.where(taken[:, None], new, self.held)
        self.at = np.where(taken, at, self.at)
        self._meet(self.group, at)
        moving = turn.any(axis=1) & self.cold
        self.moves.append((int((taken & moving).sum()), int(moving.sum())))

    def _redraw(self) -> None:
        """Draw anew for each chain that is on a model which its group knew: Gibbs sampling among these models."""
        size = self.reach.shape[1]
        for chain in np.flatnonzero(self.cold & (self.at < size)):
            reach, at = self.reach[self.group[chain]], self.at[chain]
            if reach[at] > (reach[at - 1] if at else 0.0):
                self.at[chain] = np.searchsorted(reach, self.rng.random() * reach[-1], side="right")
                self.held[chain] = self.known.free[self.at[chain]]

    def _meet(self, group: int | Ints, at: Ints) -> None:
        met = np.zeros((_GROUPS, len(self.known.models)), dtype=bool)
        met[:, : self.met.shape[1]] = self.met
        met[group, at] = True
        self.met = met

    def adapt(self) -> None:
        """Learn from the latter half of the steps how often each pair is in, and which models there are."""
        share = np.mean(self.members[len(self.members) // 2 :], axis=0)
        for kind in (self.cold, ~self.cold):
            self.inclusion[kind] = np.clip(share[kind].mean(axis=0), _CERTAIN, 1 - _CERTAIN)
        self._learn()

    def _learn(self) -> None:
        values = np.where(self.met, self.known.values, np.inf)
        self.reach = np.cumsum([_weights(row) for row in values], axis=1)

    def search(self, effective: int) -> Search:
        """Give what was found in the latter half of the steps."""
        half = len(self.trace) // 2
        taken, proposed = np.sum(self.moves[half:], axis=0)
        return Search(
            models=tuple(self.known.models),
            fits=self.known.all_fits(),
            criterion=self.known.values,
            trace=np.array(self.trace[half:]),
            known=self.sizes[half],
            acceptance=float(taken / max(proposed, 1)),
            steps=len(self.trace),
            effective=effective,
        )
