"""Match weights and calibrated match probabilities without labels, after Fellegi and Sunter (1969).

u comes from pairs that cannot match, m from expectation-maximisation with weights that never fall as filters get
nearer, the prior from the model itself: the expected number of matches between two sources sets the odds, and the
rule that a record has at most one partner in a source without repeats is part of the model, so that the posterior
is calibrated and one half means one half. No threshold is picked by hand.

The filters of a spec may share fields, so that the sum of their weights overstates. A second stage therefore takes
the sum as one measurement, compares it with the same sum on pairs that cannot match, and learns its weight again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linkage.hub.compare import Candidates
from linkage.hub.encoded import Encoded
from linkage.hub.kernels import MISSING
from linkage.hub.matching import greedy_matching, matching_marginals

__all__ = ["Fit", "fit"]

Floats = NDArray[np.float64]

_START = 0.05  # share of false pairs, judged by unlike pairs, up to which pairs start the estimation
_GATE = 0.10  # the same share above which the data show no links at all
_LEAST = 30  # unlike pairs beyond which their tail is extrapolated
_REFITS = 4
_POOL = 30.0  # pairs by which a stratum's m leans on the pooled m
_SPREAD = 2.0  # pairs spread evenly over the levels
_ROUNDS = 100


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
    link
        bool, shape (pairs,): the pairs to be linked, see :func:`_decide`.
    matches
        float64, shape (sources, sources): expected number of matching pairs, upper triangle.
    m, u
        float64, shape (filters, strata, LEVELS).
    rounds
        Rounds of expectation-maximisation.
    shown
        Whether the data show links at all; if not, every probability is zero.
    """

    pair: NDArray[np.int64]
    weight: Floats
    probability: Floats
    link: NDArray[np.bool_]
    matches: Floats
    m: Floats
    u: Floats
    rounds: int
    shown: bool


@dataclass(frozen=True)
class _Problem:
    """What both stages share."""

    left: NDArray[np.int64]  # slots of all candidates in competition
    right: NDArray[np.int64]
    linkable: NDArray[np.bool_]
    pair_of: NDArray[np.int64]  # source pair of each candidate
    first: Floats  # (source pairs,) records on either side; linkable pairs
    second: Floats
    linkables: Floats
    exclusive: NDArray[np.bool_]  # whether either side is free of repeats
    ratio: float  # linkable pairs for each unlike pair compared


def fit(encoded: Encoded, candidates: Candidates) -> Fit:
    """Estimate match weights and probabilities.

    Parameters
    ----------
    encoded, candidates
        From :func:`linkage.hub.encoded.stack` and :func:`linkage.hub.compare.compare`.

    Returns
    -------
    Fit

    Notes
    -----
    Assumptions: sources marked as deduplicated hold next to no repeats; the sum of weights falls off among unlike pairs
    across sources as it does within them, if not from the same height; a filter's distance says the same whichever
    sources the records come from.
    """
    problem = _problem(encoded, candidates)
    u = (candidates.unlike_counts + 0.5) / (candidates.unlike_counts + 0.5).sum(axis=2, keepdims=True)
    fixed = -candidates.commonness.sum(axis=1) - candidates.chance
    pair = np.flatnonzero(problem.linkable)
    start = _start(problem, candidates.score)
    m = _learn_m(candidates.levels[start], candidates.strata[start], np.ones(len(start)), u)
    rounds = 0
    for _ in range(_REFITS):
        total = _weights(candidates.levels, candidates.strata, m, u) + fixed
        levels, tail, height = _calibrate(problem, candidates, total)
        found = _maximise(problem, levels, tail, -height, _start(problem, total))
        rounds += found.rounds
        likely = np.flatnonzero(found.probability > 1e-4)
        share = found.probability[likely]
        m = _learn_m(candidates.levels[pair[likely]], candidates.strata[pair[likely]], share, u)
    shown = _links_shown(problem, total)
    probability, matches = found.probability, found.matches
    if not shown:
        probability, matches = np.zeros_like(probability), np.zeros_like(matches)
    number = len(encoded.sources)
    return Fit(
        pair,
        found.weight[pair],
        probability,
        _decide(problem, probability),
        matches.reshape(number, number),
        m,
        u,
        rounds,
        shown,
    )


def _problem(encoded: Encoded, candidates: Candidates) -> _Problem:
    source, number = encoded.source.astype(np.int64), len(encoded.sources)
    a, b = source[candidates.left], source[candidates.right]
    sizes = np.bincount(source, minlength=number).astype(float)
    single = encoded.deduplicated
    linkables = candidates.pairs
    return _Problem(
        left=np.where(single[b], candidates.left * number + b, -1),
        right=np.where(single[a], candidates.right * number + a, -1),
        linkable=candidates.linkable,
        pair_of=np.minimum(a, b) * number + np.maximum(a, b),
        first=np.repeat(sizes, number),
        second=np.tile(sizes, number),
        linkables=linkables.ravel(),
        exclusive=np.logical_and.outer(single, single).ravel(),
        ratio=float(linkables.sum() / max(candidates.unlike_pairs, 1)),
    )


def _decide(problem: _Problem, probability: Floats) -> NDArray[np.bool_]:
    """Link pairs that are more likely matches than not, and of near-equal ones the best.

    A person who stands in a source under two numbers gives two pairs that share one probability, each below one half,
    though that the person is there is as good as certain. So a pair is also a link if one of its records is as good
    as certain to have a partner in the other source and this is one of two or three near-equal ones. The source rule
    then lets only the best of them in.
    """
    pair = np.flatnonzero(problem.linkable)
    sure = np.zeros(len(pair), np.bool_)
    for slots in (problem.left[pair], problem.right[pair]):
        limited = slots >= 0
        total = np.bincount(slots[limited], weights=probability[limited], minlength=1)
        sure |= limited & (total[np.maximum(slots, 0)] > 0.9)
    result: NDArray[np.bool_] = (probability > 0.5) | (sure & (probability > 0.3))
    return result


def _false_shares(problem: _Problem, score: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Let linkable and unlike pairs compete one-to-one; return the linkable winners and the false share down to each.

    Unlike pairs are decoys: as many of them win as linkable pairs that do not match, in proportion to their number.
    """
    # A decoy takes both its records out of the game: an own slot each, which no linkable pair uses, would not.
    order = greedy_matching(score, problem.left, problem.right)
    linkable = problem.linkable[order]
    share = (np.cumsum(~linkable) * problem.ratio + 1) / np.maximum(np.cumsum(linkable), 1)
    share = np.minimum.accumulate(share[::-1])[::-1]
    return order[linkable], share[linkable]


def _start(problem: _Problem, score: Floats) -> NDArray[np.int64]:
    winners, share = _false_shares(problem, score)
    for limit in (_START, 2 * _START, 4 * _START):
        chosen = winners[share <= limit]
        if len(chosen) >= 20:
            return chosen
    return winners[:20]


def _links_shown(problem: _Problem, weight: Floats) -> bool:
    _, share = _false_shares(problem, weight)
    return bool((share <= _GATE).any())


@dataclass(frozen=True)
class _Estimate:
    weight: Floats  # (candidates,)
    probability: Floats  # (linkable candidates,)
    matches: Floats  # (source pairs,)
    m: Floats
    rounds: int


def _maximise(
    problem: _Problem,
    levels: NDArray[np.uint8],
    u: Floats,
    fixed: Floats,
    start: NDArray[np.int64],
) -> _Estimate:
    """Alternate between matching marginals and m until the expected number of matches stands still."""
    chosen = np.flatnonzero(problem.linkable)
    strata = np.zeros_like(levels)
    slots = problem.left[chosen], problem.right[chosen]
    pair_of = problem.pair_of[chosen]
    m = _learn_m(levels[start], strata[start], np.ones(len(start)), u)
    matches = np.bincount(problem.pair_of[start], minlength=len(problem.first)).astype(float)
    probability = np.zeros(len(chosen))
    rounds = 0
    for rounds in range(1, _ROUNDS + 1):
        weight = _weights(levels, strata, m, u) + fixed
        log_odds = weight[chosen] + np.log(_prior_odds(problem, matches))[pair_of]
        odds = np.exp(np.clip(log_odds, -50, 50))
        # Pairs next to impossible take no part in the competition: their odds are their probability.
        active = odds > 1e-5
        probability = np.minimum(odds, 1e-5)
        probability[active] = matching_marginals(odds[active], slots[0][active], slots[1][active])
        before, matches = matches, np.bincount(pair_of, weights=probability, minlength=len(problem.first))
        likely = np.flatnonzero(probability > 1e-5)
        m = _learn_m(levels[chosen[likely]], strata[chosen[likely]], probability[likely], u)
        if rounds > 15 and np.abs(matches - before).sum() < 0.1 + 2e-4 * matches.sum():
            break
    return _Estimate(weight, probability, matches, m, rounds)


def _prior_odds(problem: _Problem, matches: Floats) -> Floats:
    """Odds of a pair before it is compared, by source pair: matches over the pairs that are still free."""
    spare = 0.005 * np.minimum(problem.first, problem.second) + 1
    free = np.maximum(problem.first - matches, 0) + spare, np.maximum(problem.second - matches, 0) + spare
    one_to_one = free[0] * free[1]
    return (matches + 1) / np.where(problem.exclusive, one_to_one, np.maximum(problem.linkables - matches, 1) + 1)


def _weights(levels: NDArray[np.uint8], strata: NDArray[np.uint8], m: Floats, u: Floats) -> Floats:
    table = np.log(np.maximum(m, 1e-12)) - np.log(u)
    there = levels != MISSING
    filters = np.arange(levels.shape[1])
    return np.where(there, table[filters, np.where(there, strata, 0), np.where(there, levels, 0)], 0.0).sum(axis=1)


def _learn_m(levels: NDArray[np.uint8], strata: NDArray[np.uint8], share: Floats, u: Floats) -> Floats:
    """Estimate m from weighted pairs; strata lean on the pooled filter, and m over u never falls with nearness."""
    filters, number, size = u.shape
    m = np.empty_like(u)
    for place in range(filters):
        there = levels[:, place] != MISSING
        cell = strata[there, place].astype(np.int64) * size + levels[there, place]
        counts = np.bincount(cell, weights=share[there], minlength=number * size).reshape(number, size)
        pooled = counts.sum(axis=0) + _SPREAD / size
        counts = counts + _POOL * pooled / pooled.sum() if number > 1 else pooled[None]
        for stratum in range(number):
            ratio = _never_falling(counts[stratum] / u[place, stratum], u[place, stratum])
            m[place, stratum] = ratio * u[place, stratum] / (ratio * u[place, stratum]).sum()
    return m


def _never_falling(values: Floats, weights: Floats) -> Floats:
    """Weighted isotonic regression by pooling adjacent violators (Ayer et al. 1955)."""
    level: list[list[float]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        level.append([value, weight, 1])
        while len(level) > 1 and level[-2][0] > level[-1][0]:
            value_b, weight_b, count_b = level.pop()
            value_a, weight_a, count_a = level.pop()
            total = weight_a + weight_b
            level.append([(value_a * weight_a + value_b * weight_b) / total, total, count_a + count_b])
    return np.repeat([entry[0] for entry in level], [int(entry[2]) for entry in level])


def _calibrate(problem: _Problem, candidates: Candidates, total: Floats) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """Cut the sum of weights into levels by how rare it is among unlike pairs.

    Unlike pairs of one source tell how the sum falls off, beyond the last thirty of them by the exponential law that
    such sums follow: the few that lie further out are mostly people who stand in a source under two numbers. From how
    high it falls may differ by pair of sources; that is read off where matches are too few to matter.

    Returns
    -------
    levels : uint8 (candidates, 1)
    u : float64 (1, 1, levels)
    height : float64 (candidates,): log of the height of the candidate's source pair over that within sources
    """
    linkable = problem.linkable
    unlike = np.sort(total[~linkable])[::-1]
    most = np.minimum(problem.first, problem.second)[problem.linkables > 0].sum()
    share = float(np.clip(10 * most / problem.linkables.sum(), 1e-4, 0.05))
    base = float(unlike[min(int(share * candidates.unlike_pairs), len(unlike) - 1)])
    beyond = unlike[unlike > base]
    edges, tail = _tail_of(beyond - base, len(beyond) / candidates.unlike_pairs, float(total.max()) - base)
    levels = np.searchsorted(edges + base, total, side="right").astype(np.uint8)
    over = linkable & (total > base)
    counts = np.bincount(problem.pair_of[over], minlength=len(problem.linkables))
    rate = (counts + 1) / (problem.linkables + 1 / tail[1:].sum())
    height = np.log(rate / tail[1:].sum())
    return levels[:, None], tail[None, None], np.where(linkable & (levels > 0), height[problem.pair_of], 0.0)


def _tail_of(beyond: Floats, share: float, reach: float) -> tuple[Floats, Floats]:
    """Return the lower edges of levels 1, 2, ... and the share of unlike pairs at each level from 0 on.

    Parameters
    ----------
    beyond
        By how much unlike pairs exceed the base, descending.
    share
        Share of all unlike pairs that do.
    reach
        The largest excess of any pair.
    """
    count = len(beyond)
    few, many = min(_LEAST, count), min(20 * _LEAST, count)
    near, far = beyond[many - 1], beyond[few - 1]
    # Maximum likelihood of an exponential law above `near`, everything above `far` censored there.
    exposure = (np.minimum(beyond[:many], far) - near).sum()
    rate = (many - few) / exposure if exposure > 0 and many > few else 1.0
    steps = np.arange(1 + int(np.ceil(3 * max(np.log10(count / few), 0)))) / 3
    edges = np.unique(beyond[np.minimum((count / 10**steps).astype(int), count) - 1][1:])
    edges = np.concatenate([[0.0], edges[(edges > 0) & (edges < far)]])
    above = np.array([(beyond > edge).sum() for edge in edges]) / count
    further = far + np.arange(0, 40) * np.log(10) / 3 / rate
    further = further[: 1 + int((further < reach).sum())]
    edges = np.concatenate([edges, further])
    above = share * np.concatenate([above, few / count * np.exp(-rate * (further - far))])
    return edges, np.concatenate([[1 - share], above[:-1] - above[1:], above[-1:]])
