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

__all__ = ["greedy_matching", "matching_marginals", "matching_marginals_reference"]


def matching_marginals(
    odds: NDArray[np.float64], left: NDArray[np.int64], right: NDArray[np.int64], *, sweeps: int = 30
) -> NDArray[np.float64]:
    """Return each pair's marginal probability.

    Parameters
    ----------
    odds
        Shape (pairs,): prior odds times likelihood ratio.
    left, right
        Shape (pairs,): the slot that the pair takes up at each end; a slot holds one pair at most. A negative slot
        sets no limit at that end.
    sweeps
        Most rounds of messages; they end earlier when nothing moves.
    """
    slots = np.concatenate([left, right])
    limited = np.flatnonzero(slots >= 0)
    order = limited[np.argsort(slots[limited], kind="stable")]
    heads = np.flatnonzero(np.diff(slots[order], prepend=-1))
    ends = np.append(heads[1:], len(order)) if len(heads) else heads
    free = _messages(odds, order, heads, ends, sweeps)
    joint = odds * free[: len(odds)] * free[len(odds) :]
    result: NDArray[np.float64] = joint / (1 + joint)
    return result


@njit(nogil=True, cache=True)
def _messages(odds, order, heads, ends, sweeps):  # type: ignore[no-untyped-def]
    """Run the sweeps until nothing moves; ``free[e]``: how likely end ``e``'s slot is to be free of its other pairs."""
    pairs = odds.shape[0]
    free = np.ones(2 * pairs)
    sums = np.empty(2 * pairs)
    for _ in range(sweeps):
        moved = 0.0
        for slot in range(heads.shape[0]):
            first, last = heads[slot], ends[slot]
            # Sums before and after each pair: subtracting it from the total would cancel where it dominates.
            before = 0.0
            for place in range(first, last):
                end = order[place]
                sums[end] = before
                before += odds[end % pairs] * free[(end + pairs) % (2 * pairs)]
            after = 0.0
            for place in range(last - 1, first - 1, -1):
                end = order[place]
                fresh = 1.0 / (1.0 + sums[end] + after)
                moved = max(moved, abs(fresh - free[end]))
                free[end] = fresh
                after += odds[end % pairs] * free[(end + pairs) % (2 * pairs)]
        if moved < 1e-4:
            break
    return free


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
