"""The weight of a set of records as one person: what sums and chains over partitions are made of."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Model", "between", "cut", "fast", "find", "set_weight", "standing"]

_FEW = 6  # records up to which a person's tree is one of many different ones

fast = njit(nogil=True, _nrt=False)  # type: ignore[call-overload]
"""Compile what allocates nothing: to count the references to a dozen arrays in every call takes four times as long.

Not cached: what is called from Python takes it in, is cached whole, and knows the files that it was compiled from
(:mod:`linkage.hub.compiled`).
"""


class Model(NamedTuple):
    """What the weight of a set of records as one person is made of.

    Attributes
    ----------
    source
        int64, shape (records,).
    single
        bool, shape (sources,): at most one record of such a source to a person.
    person
        float64, shape (2^sources,): log expected number of persons who are on exactly these lists.
    repeat
        float64, shape (sources,): log chance of a further record of a person in a source.
    shrink
        float64, shape (sizes,): by number of records, what part counts of the weights of pairs that a person does not
        hang together by; the last for all larger ones.
    starts, others, weights
        Neighbours of record i are ``others[starts[i] : starts[i + 1]]``, ascending, with their match weights.
    near_starts, near, near_weights
        Likely partners of record i, to whose person it may move: ``near[near_starts[i] : near_starts[i + 1]]``,
        ascending, with their match weights; of two records each is the other's or neither is.
    far
        float64, shape (sources, sources): match weight of pairs that are no neighbours.
    floor, ceiling
        Bounds of the match weights of pairs that a person does not hang together by.
    """

    source: NDArray[np.int64]
    single: NDArray[np.bool_]
    person: NDArray[np.float64]
    repeat: NDArray[np.float64]
    shrink: NDArray[np.float64]
    starts: NDArray[np.int64]
    others: NDArray[np.int32]
    weights: NDArray[np.float64]
    near_starts: NDArray[np.int64]
    near: NDArray[np.int32]
    near_weights: NDArray[np.float64]
    far: NDArray[np.float64]
    floor: float
    ceiling: float


@fast
def find(starts, others, i, j):  # type: ignore[no-untyped-def]
    """Return where neighbour j of record i stands in ``others``; -1 if it is none."""
    low, end = starts[i], starts[i + 1]
    high = end
    while low < high:
        middle = (low + high) >> 1
        if others[middle] < j:
            low = middle + 1
        else:
            high = middle
    return low if low < end and others[low] == j else -1


@fast
def between(model, i, j):  # type: ignore[no-untyped-def]
    """Return the match weight of two records."""
    if model.source[i] == model.source[j] and model.single[model.source[i]]:
        return -np.inf
    place = find(model.near_starts, model.near, i, j)  # few, and nearly always it
    if place >= 0:
        return model.near_weights[place]
    place = find(model.starts, model.others, i, j)
    return model.weights[place] if place >= 0 else model.far[model.source[i], model.source[j]]


@fast
def cut(model, weight):  # type: ignore[no-untyped-def]
    """Return what counts of the weight of a pair that a person does not hang together by."""
    return min(max(weight, model.floor), model.ceiling)


@fast
def _orders(held):  # type: ignore[no-untyped-def]
    """Return the log number of orders of so many records of one source, less what the choice of a tree has of them.

    There are k!, but the heaviest of the trees that hold them together is the best of nearly as many: with both, far
    too many strangers of one name would be one person. What is left was chosen by measurement, so that as many pairs
    are expected under the posterior as pair by pair; it grows as k! again where persons are so large that trees are
    alike.
    """
    few = min(held, _FEW)
    left = (few - 1) * math.log(2.0) - 0.5 * math.lgamma(float(few))
    return left + math.lgamma(held + 1.0) - math.lgamma(few + 1.0)


@fast
def standing(model, members, size):  # type: ignore[no-untyped-def]
    """Return the log number of persons expected on the lists of some records, and with so many on each of them.

    Minus infinity if a source that gives one record to a person gives two.
    """
    lists, prior = 0, 0.0
    for a in range(size):
        lists |= 1 << model.source[members[a]]
    for s in range(model.single.shape[0]):
        if not (lists >> s) & 1:
            continue
        held = 0
        for a in range(size):
            held += model.source[members[a]] == s
        if held > 1:
            if model.single[s]:
                return -np.inf
            prior += (held - 1) * model.repeat[s] + _orders(held)
    return model.person[lists] + prior


@fast
def set_weight(model, members, size, best):  # type: ignore[no-untyped-def]
    """Return the log weight of the records ``members[:size]`` as one person; minus infinity if they cannot be one.

    The pairs of a spanning tree, the heaviest that there is, count in full: they are what holds the person together
    and speak of different errors. The others repeat them, and count only as far as they contradict. ``best`` is float64
    space for as many records.
    """
    expected = standing(model, members, size)
    if size < 2 or expected == -np.inf:
        return expected
    if size == 2:
        return expected + between(model, members[0], members[1])
    if size == 3:
        tree, rest = _triangle(model, members)
    else:
        tree, rest = _tree(model, members, size, best)
    return expected + tree + model.shrink[min(size, model.shrink.shape[0] - 1)] * rest


@fast
def _triangle(model, members):  # type: ignore[no-untyped-def]
    """Return what :func:`_tree` returns, for three records."""
    first = between(model, members[0], members[1])
    second = between(model, members[0], members[2])
    third = between(model, members[1], members[2])
    least = min(first, second, third)
    return first + second + third - least, cut(model, least)


@fast
def _tree(model, members, size, best):  # type: ignore[no-untyped-def]
    """Sum the weights of the heaviest spanning tree (Prim), and those of the other pairs, cut at the bounds."""
    for b in range(1, size):
        best[b] = -np.inf
    tree, all_cut, tree_cut = 0.0, 0.0, 0.0
    last = 0
    for _ in range(size - 1):
        best[last] = np.inf  # is in the tree
        following = -1
        for b in range(size):
            if best[b] == np.inf:
                continue
            weight = between(model, members[last], members[b])
            all_cut += cut(model, weight)
            if weight > best[b]:
                best[b] = weight
            if following < 0 or best[b] > best[following]:
                following = b
        tree += best[following]
        tree_cut += cut(model, best[following])
        last = following
    return tree, all_cut - tree_cut
