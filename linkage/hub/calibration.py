"""How rare a sum of weights is among pairs that cannot match: the measure by which sums become probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linkage.hub.compare import Candidates
from linkage.hub.competition import Problem

__all__ = ["calibrate", "find_repeats"]

Floats = NDArray[np.float64]

_LEAST = 30  # unlike pairs beyond which their tail is extrapolated
_FEWER = 10  # the same where they are free of people under two numbers
_POOL = 30.0  # pairs by which a source pair's height leans on that of all
_RAREST = 1e-3  # unlike pairs a level is thought to hold at least
_REPEAT = 0.98  # probability from which two records of one source are taken for one person


def calibrate(problem: Problem, total: Floats, probability: Floats) -> tuple[NDArray[np.uint8], Floats, Floats]:
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
    # Without unlike pairs, all stand in for them, as far as they are not taken for matches; these are then so many of
    # the best that the tail is not read among them.
    some = bool(problem.unlike.any())
    compared, reference = (problem.unlike_pairs, problem.unlike) if some else (problem.linkables.sum(), linkable)
    matches = float(probability.sum())
    least = float(_FEWER if problem.contrast else _LEAST) if some else max(_LEAST, matches)
    best = np.flatnonzero(reference)[np.argsort(-total[reference])]
    tail = _Tail(total[best], (1 / problem.reach[best]) * (1.0 if some else np.maximum(1 - probability[best], 1e-3)))
    share = min(0.05, max(4 * matches / problem.linkables.sum(), 20 * max(_LEAST, least) / compared))
    base, edges, chance = tail.cut(share, compared, least, float(total.max()))
    # Nothing is known of what happens less than once in a thousand times as many pairs as were seen.
    chance = np.maximum(chance, _RAREST / compared)
    levels = np.searchsorted(edges + base, total, side="right").astype(np.uint8)
    over = linkable & (levels > 0)
    unmatched = (1 - probability[over]) / problem.reach[over]
    others = np.bincount(problem.pair_of[over], weights=unmatched, minlength=len(problem.linkables))
    usual = problem.linkables * chance[1:].sum()
    overall = max(others.sum(), 1.0) / usual.sum()
    height = np.log((others + _POOL * overall) / (usual + _POOL))
    return levels[:, None], chance[None, None], np.where(linkable & (levels > 0), height[problem.pair_of], 0.0)


@dataclass(frozen=True)
class _Tail:
    """The sums of weights of unlike pairs, from the largest down, and how many pairs each of them stands for."""

    total: Floats
    count: Floats

    def cut(self, share: float, compared: float, least: float, largest: float) -> tuple[float, Floats, Floats]:
        """Cut the tail into levels.

        Parameters
        ----------
        share
            Share of all unlike pairs that lie above the lowest level.
        compared
            Unlike pairs in all.
        least
            Unlike pairs beyond which the tail is extrapolated.
        largest
            The largest sum of any pair.

        Returns
        -------
        base : what sums exceed at level 1 and above
        edges : lower edges of levels 1, 2, ... above the base
        chance : share of unlike pairs at each level from 0 on
        """
        so_far = np.cumsum(self.count)
        last = min(int(np.searchsorted(so_far, share * compared)), len(so_far) - 1)
        # Sums that tie at the cut stay together: below it, or above it where too few come before them.
        before = int(np.searchsorted(-self.total, -self.total[last], side="left"))
        if before and so_far[before - 1] >= 20 * least:
            last = before - 1
        else:
            last = int(np.searchsorted(-self.total, -self.total[last], side="right")) - 1
        base = float(self.total[last])
        beyond, count = self.total[: last + 1] - base, so_far[: last + 1]
        whole = float(count[-1])
        few, many = min(least, whole), min(20 * least, whole)
        at_few, at_many = (int(np.searchsorted(count, number)) for number in (few, many * (1 - 1e-12)))
        near, far = beyond[min(at_many, last)], beyond[min(at_few, last)]
        # Maximum likelihood of an exponential law above `near`, everything above `far` censored there.
        exposure = float((self.count[: at_many + 1] * (np.minimum(beyond[: at_many + 1], far) - near)).sum())
        # A log likelihood ratio falls off at pace 1 among unlike pairs, an overstated one more slowly, none faster.
        rate = min(1.0, (many - few) / exposure) if exposure > 0 and many > few else 1.0
        steps = np.arange(1 + int(np.ceil(3 * max(np.log10(whole / few), 0)))) / 3
        ranks = np.minimum(np.searchsorted(count, whole / 10**steps), last)
        edges = np.unique(beyond[ranks][1:])
        edges = np.concatenate([[0.0], edges[(edges > 0) & (edges < far)]])
        above = np.concatenate([[0.0], count])[np.searchsorted(-beyond, -edges, side="right")] / whole
        further = far + np.arange(0, 40) * np.log(10) / 3 / rate
        further = further[: 1 + int((further < largest - base).sum())]
        edges = np.concatenate([edges, further])
        above = np.concatenate([above, few / whole * np.exp(-rate * (further - far))])
        above = whole / compared * np.minimum.accumulate(above)
        # Where weights tie, a level may hold no unlike pair: next to nothing keeps its weight finite.
        chance = np.maximum(np.concatenate([above[:-1] - above[1:], above[-1:]]), above[0] * 1e-15)
        return base, edges, np.concatenate([[max(1 - chance.sum(), 1e-9)], chance])


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
