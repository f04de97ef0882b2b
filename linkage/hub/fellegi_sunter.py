"""Match weights and calibrated match probabilities without labels, after Fellegi and Sunter (1969).

u comes from pairs that cannot match, m from expectation-maximisation with weights that never fall as filters get
nearer, the prior from the model itself: the expected number of matches between two sources sets the odds, and the
rule that a record has at most one partner in a source without repeats is part of the model, so that the posterior
is calibrated and one half means one half. No threshold is picked by hand.

The filters of a spec may share fields, so that the sum of their weights overstates. The sum is therefore taken as one
measurement and compared with the same sum on pairs that cannot match (:mod:`linkage.hub.calibration`); m of the filters
is learnt again from the probabilities that follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from linkage.hub.calibration import calibrate, find_repeats
from linkage.hub.compare import Candidates
from linkage.hub.competition import Problem, links_shown, pose, start_pairs
from linkage.hub.encoded import Encoded
from linkage.hub.isotonic import never_falling
from linkage.hub.kernels import MISSING
from linkage.hub.levels import sum_weights
from linkage.hub.matching import Matching

__all__ = ["Fit", "fit"]

Floats = NDArray[np.float64]

_REFITS = 4  # times that weights are learnt from the calibrated probabilities
_KERNEL = np.array([1, 2, 3, 4, 3, 2, 1]) / 16
_LAST, _DECADES = 0.03, 6  # share of the matches that are few; levels, two decades, over which their fall-off is read
_POOL = 30.0  # pairs by which a stratum's m leans on the pooled m
_SPREAD = 2.0  # pairs that fall as unlike ones do, so that an empty level says nothing
_ROUNDS, _SETTLED = 100, 15  # rounds at most; rounds before which no match is out of place


@dataclass(frozen=True)
class Fit:
    """The estimated model.

    Attributes
    ----------
    pair
        int64, shape (pairs,): the linkable candidates, as places in ``Candidates``.
    weight
        float64, shape (pairs,): match weight, natural log of the likelihood ratio.
    probability
        float64, shape (pairs,): posterior probability of a match.
    matches
        float64, shape (sources, sources): expected number of matching pairs, upper triangle.
    far
        Match weight of pairs that are no candidates.
    m, u
        float64, shape (filters, strata, LEVELS).
    rounds
        Rounds of expectation-maximisation.
    repeats
        int64, shape (repeats,): places in ``Candidates`` of pairs within a source that is said to be free of repeats
        that are one person all the same.
    shown
        Whether the data show links at all; if not, every probability is zero.
    """

    pair: NDArray[np.int64]
    weight: Floats
    probability: Floats
    matches: Floats
    far: float
    m: Floats
    u: Floats
    rounds: int
    repeats: NDArray[np.int64]
    shown: bool


def fit(encoded: Encoded, candidates: Candidates, *, gate: bool = True) -> Fit:
    """Estimate match weights and probabilities.

    Parameters
    ----------
    encoded, candidates
        From :func:`linkage.hub.encoded.stack` and :func:`linkage.hub.compare.compare`.
    gate
        Whether every probability is zero where the data do not show that there are links at all.

    Returns
    -------
    Fit

    Notes
    -----
    Assumptions: sources marked as deduplicated hold next to no repeats; the sum of weights falls off among unlike pairs
    across sources as it does within them, if not from the same height; a filter's distance says the same whichever
    sources the records come from.
    """
    repeats = np.zeros(0, np.int64)
    problem = pose(encoded, candidates, repeats, candidates.score)
    u = candidates.unlike_counts / candidates.unlike_counts.sum(axis=2, keepdims=True)
    fixed = -candidates.commonness.sum(axis=1) - candidates.chance
    start = start_pairs(problem, candidates.score)
    m = _learn_m(candidates.levels[start], candidates.strata[start], np.ones(len(start)), u)
    rounds, ranking = 0, candidates.score
    probability = np.zeros(len(candidates.score))
    probability[start] = 1.0
    for _ in range(_REFITS):
        total = sum_weights(_log_ratio(m, u), candidates.levels, candidates.strata) + fixed
        levels, tail, height = calibrate(problem, total, probability)
        # Unlike pairs say what is chance; where there are none, the fall-off of the score, which is even in the bulk.
        ranking = total if problem.unlike.any() else candidates.score
        found = _maximise(problem, levels, tail, -height, start_pairs(problem, ranking))
        rounds += found.rounds
        probability = found.probability
        likely = np.flatnonzero(probability > 1e-4)
        m = _learn_m(candidates.levels[likely], candidates.strata[likely], probability[likely], u)
        problem = pose(encoded, candidates, find_repeats(candidates, levels, found.m, tail), total)
    # What was taken for repeats may be chance as well: here it counts as unlike again.
    shown = not gate or links_shown(pose(encoded, candidates, repeats, total), ranking)
    pair = np.flatnonzero(problem.linkable)
    posterior, matches = probability[pair], found.matches
    if not shown:
        posterior, matches = np.zeros_like(posterior), np.zeros_like(matches)
    number = len(encoded.sources)
    return Fit(
        pair=pair,
        weight=found.weight[pair],
        probability=posterior,
        matches=matches.reshape(number, number),
        far=float(_log_ratio(found.m, tail)[0, 0, 0]),
        m=m,
        u=u,
        rounds=rounds,
        repeats=problem.repeats if shown else repeats,
        shown=shown,
    )


@dataclass(frozen=True)
class _Estimate:
    weight: Floats  # (candidates,)
    probability: Floats  # (candidates,), zero for those that cannot be linked
    matches: Floats  # (source pairs,)
    m: Floats
    rounds: int


def _maximise(
    problem: Problem,
    levels: NDArray[np.uint8],
    u: Floats,
    fixed: Floats,
    start: NDArray[np.int64],
) -> _Estimate:
    """Alternate between matching marginals and m until the expected number of matches stands still.

    Level 0 holds nearly all candidates and nearly no match: its pairs take no part in the competition and are counted
    together, by source pair.
    """
    chosen = np.flatnonzero(problem.linkable & (levels[:, 0] > 0))
    far = np.flatnonzero(problem.linkable & (levels[:, 0] == 0))
    number = len(problem.first)
    far_pairs = np.bincount(problem.pair_of[far], minlength=number)
    level, pair_of, twin = levels[chosen, 0], problem.pair_of[chosen], problem.twin[chosen]
    place = np.full(len(problem.linkable), -1)
    place[chosen] = np.arange(len(chosen))
    stand_in = np.where(place[twin] >= 0, place[twin], np.arange(len(chosen)))
    own = stand_in == np.arange(len(chosen))
    strata = np.zeros((len(chosen) + 1, 1), np.uint8)
    m = _learn_m(levels[start], np.zeros((len(start), 1), np.uint8), np.ones(len(start)), u, smooth=True)
    matches = np.bincount(problem.pair_of[start], minlength=number).astype(float)
    close, far_chance = np.zeros(len(chosen)), np.zeros(number)
    active, matching = np.zeros(0, np.int64), Matching(np.zeros(0, np.int64), np.zeros(0, np.int64))
    chance = u[0, 0] * problem.linkables.sum() if problem.contrast else None
    rounds = 0
    for rounds in range(1, _ROUNDS + 1):
        ratio = _log_ratio(m, u)[0, 0]
        prior = np.log(_prior_odds(problem, matches))
        odds = np.exp(np.clip(ratio[level] + fixed[chosen] + prior[pair_of], -50, 50))
        # Pairs next to impossible take no part in the competition either: their odds are their probability.
        possible = own & (odds > 1e-5)
        if rounds == 1 or possible.sum() > possible[active].sum():
            active = np.flatnonzero(own & (odds > 1e-6))
            matching = Matching(problem.left[chosen[active]], problem.right[chosen[active]])
        close = np.minimum(odds, 1e-5)
        close[active] = matching.marginals(odds[active])
        close = close[stand_in]
        far_chance = np.minimum(np.exp(np.clip(ratio[0] + prior, -50, 50)), 1e-5)
        before, matches = matches, np.bincount(pair_of, weights=close, minlength=number) + far_pairs * far_chance
        share = np.append(close, (far_pairs * far_chance).sum())
        settled = rounds >= _SETTLED
        m = _learn_m(
            np.append(level, np.uint8(0))[:, None], strata, share, u, smooth=True, settled=settled, chance=chance
        )
        if rounds > _SETTLED + 8 and np.abs(matches - before).sum() < 0.1 + 2e-4 * matches.sum():
            break
    probability = np.zeros(len(problem.linkable))
    probability[chosen], probability[far] = close, far_chance[problem.pair_of[far]]
    return _Estimate(_log_ratio(m, u)[0, 0][levels[:, 0]] + fixed, probability, matches, m, rounds)


def _prior_odds(problem: Problem, matches: Floats) -> Floats:
    """Odds of a pair before it is compared, by source pair: matches over the pairs that are still free."""
    spare = 0.005 * np.minimum(problem.first, problem.second) + 1
    free = np.maximum(problem.first - matches, 0) + spare, np.maximum(problem.second - matches, 0) + spare
    one_to_one = free[0] * free[1]
    return (matches + 1) / np.where(problem.exclusive, one_to_one, np.maximum(problem.linkables - matches, 1) + 1)


def _log_ratio(m: Floats, u: Floats) -> Floats:
    table: Floats = np.log(np.maximum(m, 1e-12)) - np.log(u)
    return table


def _learn_m(
    levels: NDArray[np.uint8],
    strata: NDArray[np.uint8],
    share: Floats,
    u: Floats,
    *,
    smooth: bool = False,
    settled: bool = False,
    chance: Floats | None = None,
) -> Floats:
    """Estimate m from weighted pairs; strata lean on the pooled filter, and m over u never falls with nearness.

    Where levels are even steps of one sum, m is smooth along them: an average over a decade of rarity on either side
    keeps a handful of unlike pairs that chance put into one level from passing for matches. Once the matches have
    ``settled`` where the data hold them, their far end is trimmed, also by how many pairs reach a level by ``chance``.
    """
    filters, number, size = u.shape
    m = np.empty_like(u)
    for place in range(filters):
        there = levels[:, place] != MISSING
        cell = strata[there, place].astype(np.int64) * size + levels[there, place]
        counts = np.bincount(cell, weights=share[there], minlength=number * size).reshape(number, size)
        if smooth:
            counts = correlate1d(counts, _KERNEL, axis=1, mode="nearest")
            if settled:
                counts[0] = _end_as_they_fell(counts[0])
                if chance is not None:
                    counts[0] = _fall_among_chance(counts[0], chance)
        counts = counts + _SPREAD * u[place]
        pooled = counts.sum(axis=0)
        counts = counts + _POOL * pooled / pooled.sum() if number > 1 else pooled[None]
        for stratum in range(number):
            ratio = never_falling(counts[stratum] / u[place, stratum], u[place, stratum])
            m[place, stratum] = ratio * u[place, stratum] / (ratio * u[place, stratum]).sum()
    return m


def _end_as_they_fell(counts: Floats) -> Floats:
    """Let the last few matches towards the far end fall off no slower than those before them.

    There unlike pairs are so many that nothing in the data tells a few matches among them from none.
    """
    nearer = np.cumsum(counts[::-1])[::-1]
    few = int(np.flatnonzero(nearer >= (1 - _LAST) * nearer[1])[-1])
    out = counts.copy()
    for level in range(min(few, len(counts) - _DECADES - 2) - 1, 0, -1):
        pace = (out[level + 1] / max(out[level + 1 + _DECADES], 1e-12)) ** (1 / _DECADES)
        out[level] = min(out[level], out[level + 1] * min(1.0, pace))
    return out


def _fall_among_chance(counts: Floats, chance: Floats) -> Floats:
    """Let matches only become fewer where pairs alike by chance outnumber them.

    Where no pair is known to be unlike, chance is carried on from what is seen further out. What it has too much of
    there, such as pairs that share a frequent name, would pass for a second kind of matches.
    """
    fewer = np.flatnonzero((counts < chance) & (chance > 0.5))
    last = int(fewer[-1]) + 1 if len(fewer) else 0
    out = counts.copy()
    out[:last] = np.minimum.accumulate(counts[:last][::-1])[::-1]
    return out
