"""Which pairs of records compete for what, and how many of the best would be false.

A record has one slot for each other source that is free of repeats: at most one of its pairs with that source is a
match. Pairs within such a source cannot match and serve as decoys. Where no source is free of repeats, pairs between
two persons of whom several records each are known take their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import bdtr

from linkage.hub.compare import Candidates
from linkage.hub.encoded import Encoded
from linkage.hub.matching import greedy_matching

__all__ = ["Problem", "links_shown", "pose", "start_pairs", "units"]

Floats = NDArray[np.float64]

_START = 0.05  # share of false pairs, judged by unlike pairs, up to which pairs start the estimation
_FEWEST = 20  # pairs to start from
_GATE = 0.10  # the same share above which the data show no links at all
_WIDER_GATE, _CHANCE = 0.20, 1e-8  # unless decoys tell that chance is this unlikely
_STRETCHES = (100, 50, 25, 12, 6)  # pairs a record from which, to a quarter of them, the fall-off of chance is read
_CONTRASTS = 1_000  # pairs between known persons from which these stand for chance
_COMPETITORS = 10  # candidates a record, the best of all, among which the start and the gate are decided


@dataclass(frozen=True)
class Problem:
    """Which candidates compete for what. Records found to be repeats of one another act as one."""

    left: NDArray[np.int64]  # slots of all candidates in competition
    right: NDArray[np.int64]
    records: int
    linkable: NDArray[np.bool_]
    unlike: NDArray[np.bool_]  # pairs that are alike by chance alone: the decoys
    unlike_pairs: float  # of the design
    contrast: bool  # whether decoys are such that could be linked all the same, or would be, if there were any
    repeats: NDArray[np.int64]  # (repeats,) the others of them, as places in the candidates
    twin: NDArray[np.int64]  # the candidate that stands for this one: itself, but where repeats make two of one
    pair_of: NDArray[np.int64]  # source pair of each candidate
    first: Floats  # (source pairs,) records on either side; linkable pairs
    second: Floats
    linkables: Floats
    exclusive: NDArray[np.bool_]  # whether either side is free of repeats
    ratio: float  # linkable pairs for each unlike pair compared
    reach: Floats  # how likely each candidate was to be found


def pose(encoded: Encoded, candidates: Candidates, repeats: NDArray[np.int64], weight: Floats) -> Problem:
    """Say which candidates compete, where the pairs at ``repeats`` have made one of two records.

    ``weight`` decides which of several candidates between the same two people stands for all of them.
    """
    source, number = encoded.source.astype(np.int64), len(encoded.sources)
    unit = units(len(source), candidates.left[repeats], candidates.right[repeats])
    left, right = unit[candidates.left], unit[candidates.right]
    a, b = source[candidates.left], source[candidates.right]
    sizes = np.bincount(source, minlength=number).astype(float)
    single = encoded.deduplicated
    unlike, unlike_pairs = ~candidates.linkable, candidates.unlike_pairs
    unlike[repeats] = False
    contrast = not single.any()
    if contrast:
        unlike, unlike_pairs = _contrasts(encoded.known, candidates)
    return Problem(
        left=np.where(single[b], left * number + b, -1),
        right=np.where(single[a], right * number + a, -1),
        records=len(source),
        linkable=candidates.linkable,
        unlike=unlike,
        unlike_pairs=unlike_pairs,
        contrast=contrast,
        repeats=repeats,
        twin=_twins(left, right, weight, unit),
        pair_of=np.minimum(a, b) * number + np.maximum(a, b),
        first=np.repeat(sizes, number),
        second=np.tile(sizes, number),
        linkables=candidates.pairs.ravel(),
        exclusive=np.logical_and.outer(single, single).ravel(),
        ratio=float(candidates.pairs.sum() / max(unlike_pairs, 1)),
        reach=candidates.reach,
    )


def _contrasts(known: NDArray[np.int64], candidates: Candidates) -> tuple[NDArray[np.bool_], float]:
    """Return the pairs between two persons of whom several records each are known, and how many were compared.

    Had the two been one person, the records of both would have come together, so that next to none of these pairs is
    a match, whichever way it was compared; too few of them say nothing.
    """
    size = np.bincount(known)
    several = size[size > 1].astype(float)
    pairs = float(several.sum() ** 2 - (several**2).sum()) / 2
    if pairs < _CONTRASTS:
        return np.zeros(len(candidates.left), np.bool_), 0.0
    left, right = known[candidates.left], known[candidates.right]
    return (size[left] > 1) & (size[right] > 1) & (left != right), pairs


def units(records: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every record a number, records joined by the pairs that of the first of them: int64 (records,)."""
    joined = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(records, records))
    component = connected_components(joined, directed=False)[1]
    first: NDArray[np.int64] = np.unique(component, return_index=True)[1][component].astype(np.int64)
    return first


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


def _false_shares(problem: Problem, score: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the linkable ones of :func:`_winners` and the false share down to each."""
    order, share = _winners(problem, score)
    linkable = problem.linkable[order]
    return order[linkable], share[linkable]


def _winners(problem: Problem, score: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Let linkable and unlike pairs compete one-to-one; return the winners, best first, and the false share to each.

    Unlike pairs are decoys: as many of them win as linkable pairs that do not match, in proportion to their number; one
    more is counted than was seen.
    """
    most = _COMPETITORS * problem.records
    among = np.argpartition(-score, most)[:most] if len(score) > most else np.arange(len(score))
    among.sort()
    order = among[greedy_matching(score[among], problem.left[among], problem.right[among])]
    order = order[problem.linkable[order] | problem.unlike[order]]
    linkable = problem.linkable[order]
    if problem.unlike.any():
        # Where decoys may match, one more would be many times one: a few matches could not be told from none.
        more = 1.0 if problem.contrast else max(1.0, problem.ratio)
        false = np.cumsum(problem.unlike[order] / problem.reach[order]) * problem.ratio + more
    else:
        false = _expected_unlike(problem, score, score[order]) + 1
    share = false / np.maximum(np.cumsum(linkable / problem.reach[order]), 1)
    return order, np.minimum.accumulate(share[::-1])[::-1]


def _expected_unlike(problem: Problem, score: Floats, limit: Floats) -> Floats:
    """Expect how many pairs reach a score by chance, where no pair is known to be unlike.

    Chance falls off the faster the further out, so that carrying on how it falls among unlike pairs expects too many
    further out, and so does what is read where matches stand: of several stretches, from where there are a hundred
    pairs a record to where there are one or two, the one that expects the fewest is right or still too careful.
    """
    best = np.argsort(-score)
    count = np.cumsum(1 / problem.reach[best])
    expected = np.full(len(limit), np.inf)
    for pairs in _STRETCHES:
        whole = min(pairs * problem.records, float(count[-1]))
        near, far = (score[best[min(int(np.searchsorted(count, n)), len(best) - 1)]] for n in (whole, whole / 4))
        rate = min(1.0, np.log(4) / max(far - near, 1e-9))
        expected = np.minimum(expected, whole / 4 * np.exp(-rate * np.maximum(limit - far, 0)))
    return expected


def start_pairs(problem: Problem, score: Floats) -> NDArray[np.int64]:
    """Return the pairs to start the estimation from: few of them false, but twenty at least if there are as many.

    Two or three people under two numbers of one source, who stand among the decoys, can hold the share of false pairs
    above the limit for all but the pairs that are alike to the bit; and from these alone nothing is learnt of matches
    that are not. So where such decoys judge, and twice the share gives more than twice the pairs, that is taken.
    """
    winners, share = _false_shares(problem, score)
    judged = bool(problem.unlike.any()) and not problem.contrast
    chosen = winners[share <= _START]
    for limit in (2 * _START, 4 * _START):
        more = winners[share <= limit]
        if len(chosen) < _FEWEST or (judged and len(more) > 2 * len(chosen)):
            chosen = more
    return chosen if len(chosen) >= _FEWEST else winners[:_FEWEST]


def links_shown(problem: Problem, weight: Floats) -> bool:
    """Tell whether the data show links at all: whether some best pairs are nearly free of false ones.

    A dozen people under two numbers of one source stand among the decoys too, and as often as there are pairs for each
    of those they count as false. So where decoys judge, a larger share does as well if chance, which makes a decoy of
    one winner in ``1 + ratio``, would as good as never make so few of them.
    """
    order, share = _winners(problem, weight)
    linkable = problem.linkable[order]
    if (share[linkable] <= _GATE).any():
        return True
    if not problem.unlike.any() or problem.contrast:
        return False
    wins = np.arange(1, len(order) + 1)
    by_chance = bdtr(np.cumsum(~linkable), wins, 1 / (1 + problem.ratio))
    return bool(((share <= _WIDER_GATE) & (by_chance <= _CHANCE) & linkable).any())
