"""How rare a sum of weights is among pairs that cannot match: the measure by which sums become probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linkage.hub.compare import Candidates
from linkage.hub.competition import Problem

__all__ = ["calibrate", "find_repeats"]

Floats = NDArray[np.float64]

_LEAST = 30  # unlike pairs beyond which their tail is extrapolated
_POOL = 30.0  # pairs by which a source pair's height leans on that of all
_RAREST = 1e-3  # unlike pairs a level is thought to hold at least
_REPEAT = 0.98  # probability from which two records of one source are taken for one person


def calibrate(
    problem: Problem, unlike_pairs: float, total: Floats, probability: Floats
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
    # Nothing is known of what happens less than once in a thousand times as many pairs as were seen.
    tail = np.maximum(tail, _RAREST / compared)
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
    # Where weights tie, a level may hold no unlike pair: next to nothing keeps its weight finite.
    tail = np.maximum(np.concatenate([above[:-1] - above[1:], above[-1:]]), share * 1e-15)
    return edges, np.concatenate([[max(1 - tail.sum(), 1e-9)], tail])


def find_repeats(candidates: Candidates, levels: NDArray[np.uint8], m: Floats, u: Floats) -> NDArray[np.int64]:
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
    repeats: NDArray[np.int64] = within[probability > _REPEAT]
    return repeats
