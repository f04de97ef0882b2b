"""Marginal probabilities of a matching: who belongs to whom when everybody belongs to at most one.

In the monomer-dimer model a set of pairs without shared ends has probability proportional to the product of its
pairs' odds. The probability that a given pair is in the set follows, nearly exactly on sparse graphs, from belief
propagation (Zdeborova and Mezard 2006): each end tells the pair how free it is of its other pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Matching", "greedy_matching", "matching_marginals_reference"]


class Matching:
    """Pairs that compete, asked again and again with odds that change little: the messages go on from where they were.

    Parameters
    ----------
    left, right
        int64, shape (pairs,): the slot that the pair takes up at each end; a slot holds one pair at most. A negative
        slot sets no limit at that end.
    """

    def __init__(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        pairs = len(left)
        slots = np.concatenate([left, right])
        size = np.bincount(slots[slots >= 0], minlength=1)
        # An end without a rival is free whatever the odds: it takes no part.
        contested = np.flatnonzero((slots >= 0) & (size[np.maximum(slots, 0)] > 1))
        order = contested[np.argsort(slots[contested], kind="stable")]
        self._heads = np.append(np.flatnonzero(np.diff(slots[order], prepend=-1)), len(order))
        self._pair = order % max(pairs, 1)
        place = np.full(2 * pairs, -1)
        place[order] = np.arange(len(order))
        self._partner = place[(order + pairs) % max(2 * pairs, 1)]
        self._place = place
        self._free = np.ones(len(order))

    def marginals(self, odds: NDArray[np.float64], *, sweeps: int = 30) -> NDArray[np.float64]:
        """Return each pair's marginal probability.

        Parameters
        ----------
        odds
            Shape (pairs,): prior odds times likelihood ratio.
        sweeps
            Most rounds of messages; they end earlier when nothing moves.
        """
        _messages(odds, self._pair, self._partner, self._heads, self._free, sweeps)
        free = np.append(self._free, 1.0)[self._place]  # place -1, no rival, is the last: free
        joint = odds * free[: len(odds)] * free[len(odds) :]
        result: NDArray[np.float64] = joint / (1 + joint)
        return result


@njit(nogil=True, cache=True)
def _messages(odds, pair, partner, heads, free, sweeps):  # type: ignore[no-untyped-def]
    """Run the sweeps until nothing moves; ``free[e]``: how likely end ``e``'s slot is to be free of its other pairs."""
    sums = np.empty(pair.shape[0])
    claims = np.empty(pair.shape[0])
    for _ in range(sweeps):
        moved = 0.0
        for slot in range(heads.shape[0] - 1):
            first, last = heads[slot], heads[slot + 1]
            # Sums before and after each pair: subtracting it from the total would cancel where it dominates.
            before = 0.0
            for place in range(first, last):
                other = partner[place]
                claims[place] = odds[pair[place]] * (free[other] if other >= 0 else 1.0)
                sums[place] = before
                before += claims[place]
            after = 0.0
            for place in range(last - 1, first - 1, -1):
                fresh = 1.0 / (1.0 + sums[place] + after)
                moved = max(moved, abs(fresh - free[place]))
                free[place] = fresh
                after += claims[place]
        if moved < 1e-4:
            break


def matching_marginals_reference(
    odds: NDArray[np.float64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Exact twin by enumeration of every matching; for a dozen pairs at most."""
    total, hit = 0.0, np.zeros(len(odds))

    def walk(pair: int, taken: frozenset[tuple[str, int]], product: float, chosen: tuple[int, ...]) -> None:
        nonlocal total
        if pair == len(odds):
            total += product
            hit[list(chosen)] += product
            return
        walk(pair + 1, taken, product, chosen)
        slots = {("slot", int(end)) for end in (left[pair], right[pair]) if end >= 0}
        if not slots & taken:
            walk(pair + 1, taken | slots, product * odds[pair], (*chosen, pair))

    walk(0, frozenset(), 1.0, ())
    result: NDArray[np.float64] = hit / total
    return result


def greedy_matching(score: NDArray[Any], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take pairs from the best score down, skipping those with a slot already taken; return the taken, in order."""
    order = np.argsort(-score, kind="stable")
    number = int(max(left.max(initial=-1), right.max(initial=-1))) + 1
    return _greedy(order, left, right, number)  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def _greedy(order, left, right, number):  # type: ignore[no-untyped-def]
    taken = np.zeros(number, np.bool_)
    kept = np.empty(order.shape[0], np.int64)
    count = 0
    for pair in order:
        a, b = left[pair], right[pair]
        if (a >= 0 and taken[a]) or (b >= 0 and taken[b]):
            continue
        if a >= 0:
            taken[a] = True
        if b >= 0:
            taken[b] = True
        kept[count] = pair
        count += 1
    return kept[:count]
