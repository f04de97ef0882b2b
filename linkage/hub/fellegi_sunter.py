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
from scipy.ndimage import correlate1d

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
_KERNEL = np.array([1, 2, 3, 4, 3, 2, 1]) / 16
_POOL = 30.0  # pairs by which a stratum's m leans on the pooled m
_SPREAD = 2.0  # pairs that fall as unlike ones do, so that an empty level says nothing
_ROUNDS = 100
_COMPETITORS = 10  # candidates a record, the best of all, among which the start and the gate are decided


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
    m: Floats
    u: Floats
    rounds: int
    repeats: NDArray[np.int64]
    shown: bool


@dataclass(frozen=True)
class _Problem:
    """Which candidates compete for what. Records found to be repeats of one another act as one."""

    left: NDArray[np.int64]  # slots of all candidates in competition
    right: NDArray[np.int64]
    linkable: NDArray[np.bool_]
    unlike: NDArray[np.bool_]  # pairs of one source that are no repeats: the decoys
    repeats: NDArray[np.int64]  # (repeats,) the others of them, as places in the candidates
    twin: NDArray[np.int64]  # the candidate that stands for this one: itself, but where repeats make two of one
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
    repeats = np.zeros(0, np.int64)
    problem = _problem(encoded, candidates, repeats, candidates.score)
    u = candidates.unlike_counts / candidates.unlike_counts.sum(axis=2, keepdims=True)
    fixed = -candidates.commonness.sum(axis=1) - candidates.chance
    start = _start(problem, candidates.score)
    m = _learn_m(candidates.levels[start], candidates.strata[start], np.ones(len(start)), u)
    rounds = 0
    probability = np.zeros(len(candidates.score))
    probability[start] = 1.0
    for _ in range(_REFITS):
        total = _weights(candidates.levels, candidates.strata, m, u) + fixed
        levels, tail, height = _calibrate(problem, candidates.unlike_pairs, total, probability)
        found = _maximise(problem, levels, tail, -height, _start(problem, total))
        rounds += found.rounds
        probability = found.probability
        likely = np.flatnonzero(probability > 1e-4)
        m = _learn_m(candidates.levels[likely], candidates.strata[likely], probability[likely], u)
        problem = _problem(encoded, candidates, _find_repeats(candidates, levels, found.m, tail), total)
    shown = _links_shown(problem, total)
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
        m=m,
        u=u,
        rounds=rounds,
        repeats=problem.repeats if shown else repeats,
        shown=shown,
    )


def _problem(encoded: Encoded, candidates: Candidates, repeats: NDArray[np.int64], weight: Floats) -> _Problem:
    source, number = encoded.source.astype(np.int64), len(encoded.sources)
    unit = _units(len(source), candidates.left[repeats], candidates.right[repeats])
    left, right = unit[candidates.left], unit[candidates.right]
    a, b = source[candidates.left], source[candidates.right]
    sizes = np.bincount(source, minlength=number).astype(float)
    single = encoded.deduplicated
    unlike = ~candidates.linkable
    unlike[repeats] = False
    return _Problem(
        left=np.where(single[b], left * number + b, -1),
        right=np.where(single[a], right * number + a, -1),
        linkable=candidates.linkable,
        unlike=unlike,
        repeats=repeats,
        twin=_twins(left, right, weight, unit),
        pair_of=np.minimum(a, b) * number + np.maximum(a, b),
        first=np.repeat(sizes, number),
        second=np.tile(sizes, number),
        linkables=candidates.pairs.ravel(),
        exclusive=np.logical_and.outer(single, single).ravel(),
        ratio=float(candidates.pairs.sum() / max(candidates.unlike_pairs, 1)),
    )


def _units(records: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every record a number, repeats that of the first of them."""
    unit = np.arange(records)
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        one, other = sorted((int(unit[a]), int(unit[b])))
        unit[unit == other] = one
    return unit


def _twins(
    left: NDArray[np.int64], right: NDArray[np.int64], weight: Floats, unit: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Let the heaviest of several candidates between the same units stand for all of them."""
    twin = np.arange(len(left))
    several = np.bincount(unit) > 1
    among = np.flatnonzero(several[left] | several[right])
    low, high = np.minimum(left, right)[among], np.maximum(left, right)[among]
    order = np.lexsort((-weight[among], high, low))
    new = (np.diff(low[order], prepend=-1) != 0) | (np.diff(high[order], prepend=-1) != 0)
    twin[among[order]] = among[order][np.flatnonzero(new)[np.cumsum(new) - 1]]
    return twin


def _find_repeats(candidates: Candidates, levels: NDArray[np.uint8], m: Floats, u: Floats) -> NDArray[np.int64]:
    """Find people who stand in a source under two numbers although it says that it has no repeats.

    Pairs of one source are unlike pairs, whose sum of weights falls off exponentially, and possibly a few repeats,
    which look like matches. How few is estimated; a pair is a repeat if it is one with probability 0.98.
    """
    within = np.flatnonzero(~candidates.linkable)
    ratio = (m[0, 0] / u[0, 0])[levels[within, 0]]
    share = 1.0 / max(candidates.unlike_pairs, 1.0)
    for _ in range(50):
        probability = share * ratio / (1 + share * ratio)
        share = (probability.sum() + 0.1) / max(candidates.unlike_pairs, 1.0)
    repeats: NDArray[np.int64] = within[probability > 0.98]
    return repeats


def _false_shares(problem: _Problem, score: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Let linkable and unlike pairs compete one-to-one; return the linkable winners and the false share down to each.

    Unlike pairs are decoys: as many of them win as linkable pairs that do not match, in proportion to their number.
    """
    most = _COMPETITORS * len(np.unique(problem.left))
    among = np.argpartition(-score, most)[:most] if len(score) > most else np.arange(len(score))
    among.sort()
    order = among[greedy_matching(score[among], problem.left[among], problem.right[among])]
    order = order[problem.linkable[order] | problem.unlike[order]]
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
    probability: Floats  # (candidates,), zero for those that cannot be linked
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
    rounds = 0
    for rounds in range(1, _ROUNDS + 1):
        ratio = _log_ratio(m, u)[0, 0]
        prior = np.log(_prior_odds(problem, matches))
        odds = np.exp(np.clip(ratio[level] + fixed[chosen] + prior[pair_of], -50, 50))
        # Pairs next to impossible take no part in the competition either: their odds are their probability.
        active = own & (odds > 1e-5)
        close = np.minimum(odds, 1e-5)
        close[active] = matching_marginals(odds[active], problem.left[chosen[active]], problem.right[chosen[active]])
        close = close[stand_in]
        far_chance = np.minimum(np.exp(np.clip(ratio[0] + prior, -50, 50)), 1e-5)
        before, matches = matches, np.bincount(pair_of, weights=close, minlength=number) + far_pairs * far_chance
        share = np.append(close, (far_pairs * far_chance).sum())
        m = _learn_m(np.append(level, np.uint8(0))[:, None], strata, share, u, smooth=True)
        if rounds > 15 and np.abs(matches - before).sum() < 0.1 + 2e-4 * matches.sum():
            break
    probability = np.zeros(len(problem.linkable))
    probability[chosen], probability[far] = close, far_chance[problem.pair_of[far]]
    return _Estimate(_log_ratio(m, u)[0, 0][levels[:, 0]] + fixed, probability, matches, m, rounds)


def _prior_odds(problem: _Problem, matches: Floats) -> Floats:
    """Odds of a pair before it is compared, by source pair: matches over the pairs that are still free."""
    spare = 0.005 * np.minimum(problem.first, problem.second) + 1
    free = np.maximum(problem.first - matches, 0) + spare, np.maximum(problem.second - matches, 0) + spare
    one_to_one = free[0] * free[1]
    return (matches + 1) / np.where(problem.exclusive, one_to_one, np.maximum(problem.linkables - matches, 1) + 1)


def _log_ratio(m: Floats, u: Floats) -> Floats:
    table: Floats = np.log(np.maximum(m, 1e-12)) - np.log(u)
    return table


def _weights(levels: NDArray[np.uint8], strata: NDArray[np.uint8], m: Floats, u: Floats) -> Floats:
    table = _log_ratio(m, u)
    there = levels != MISSING
    filters = np.arange(levels.shape[1])
    by_filter = np.where(there, table[filters, np.where(there, strata, 0), np.where(there, levels, 0)], 0.0)
    total: Floats = by_filter.sum(axis=1)
    return total


def _learn_m(
    levels: NDArray[np.uint8], strata: NDArray[np.uint8], share: Floats, u: Floats, *, smooth: bool = False
) -> Floats:
    """Estimate m from weighted pairs; strata lean on the pooled filter, and m over u never falls with nearness.

    Where levels are even steps of one sum, m is smooth along them: an average over a decade of rarity on either side
    keeps a handful of unlike pairs that chance put into one level from passing for matches.
    """
    filters, number, size = u.shape
    m = np.empty_like(u)
    for place in range(filters):
        there = levels[:, place] != MISSING
        cell = strata[there, place].astype(np.int64) * size + levels[there, place]
        counts = np.bincount(cell, weights=share[there], minlength=number * size).reshape(number, size)
        if smooth:
            counts = correlate1d(counts, _KERNEL, axis=1, mode="nearest")
        counts = counts + _SPREAD * u[place]
        pooled = counts.sum(axis=0)
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


def _calibrate(
    problem: _Problem, unlike_pairs: float, total: Floats, probability: Floats
) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """Cut the sum of weights into levels by how rare it is among unlike pairs.

    Unlike pairs of one source tell how the sum falls off, beyond the last thirty of them by the exponential law that
    such sums follow: the few that lie further out are mostly people who stand in a source under two numbers. From how
    high it falls may differ by pair of sources: that is read off as near to the matches as they can be told apart,
    where there are a few pairs for every match, less the matches themselves.

    Parameters
    ----------
    probability
        float64 (candidates,): probability of a match as known so far.

    Returns
    -------
    levels : uint8 (candidates, 1)
    u : float64 (1, 1, levels)
    height : float64 (candidates,): log of the height of the candidate's source pair over that within sources
    """
    linkable = problem.linkable
    # Without a source free of repeats, all pairs stand in for unlike ones: next to none of them match.
    some = bool(problem.unlike.any())
    compared, reference = (unlike_pairs, problem.unlike) if some else (problem.linkables.sum(), linkable)
    unlike = np.sort(total[reference])[::-1]
    share = min(0.05, max(4 * probability.sum() / problem.linkables.sum(), 20 * _LEAST / compared))
    base = float(unlike[min(int(share * compared), len(unlike) - 1)])
    beyond = unlike[unlike >= base]
    edges, tail = _tail_of(beyond - base, len(beyond) / compared, float(total.max()) - base)
    levels = np.searchsorted(edges + base, total, side="right").astype(np.uint8)
    over = linkable & (total > base)
    others = np.bincount(problem.pair_of[over], weights=1 - probability[over], minlength=len(problem.linkables))
    usual = problem.linkables * tail[1:].sum()
    overall = max(others.sum(), 1.0) / usual.sum()
    height = np.log((others + _POOL * overall) / (usual + _POOL))
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
    # A log likelihood ratio falls off at pace 1 among unlike pairs, an overstated one more slowly, none faster.
    rate = min(1.0, (many - few) / exposure) if exposure > 0 and many > few else 1.0
    steps = np.arange(1 + int(np.ceil(3 * max(np.log10(count / few), 0)))) / 3
    edges = np.unique(beyond[np.minimum((count / 10**steps).astype(int), count) - 1][1:])
    edges = np.concatenate([[0.0], edges[(edges > 0) & (edges < far)]])
    above = np.array([(beyond >= edge).sum() for edge in edges]) / count
    further = far + np.arange(0, 40) * np.log(10) / 3 / rate
    further = further[: 1 + int((further < reach).sum())]
    edges = np.concatenate([edges, further])
    above = np.concatenate([above, few / count * np.exp(-rate * (further - far))])
    above = share * np.minimum.accumulate(above)
    # Where weights tie, a level may hold no unlike pair: half of one keeps its weight finite.
    tail = np.concatenate([above[:-1] - above[1:], above[-1:]]) + share * 1e-6
    return edges, np.concatenate([[max(1 - tail.sum(), 1e-9)], tail])
