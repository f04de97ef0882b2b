"""Exact posterior over the partitions of a few records: every set of them that can be one person, and its weight.

For a component of k records there are 2^k sets. The sum over all partitions of a set of records follows by taking
out the person that holds its first record, in 3^k steps; from these sums come the chance of every person, the chance of
every pair, and draws that are exact.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.hub.sampling import set_weight

__all__ = ["MOST", "enumerate_components", "enumerate_reference"]

MOST = 10
"""Records of a component up to which its partitions are summed exactly: 3^10 steps."""


@njit(cache=True, nogil=True)
def _relative_weights(model, records):  # type: ignore[no-untyped-def]
    """Return the weight of every set of records as one person over theirs as persons apart: float64 (2^k,)."""
    number = records.shape[0]
    out = np.zeros(1 << number)
    out[0] = 1.0
    members = np.empty(number, np.int64)
    apart = np.empty(number)
    for i in range(number):
        members[0] = records[i]
        apart[i] = set_weight(model, members, 1)
        out[1 << i] = 1.0
    for chosen in range(1, 1 << number):
        size, alone = 0, 0.0
        for i in range(number):
            if (chosen >> i) & 1:
                members[size] = records[i]
                alone += apart[i]
                size += 1
        if size > 1:
            out[chosen] = np.exp(min(set_weight(model, members, size) - alone, 200.0))
    return out


@njit(cache=True, nogil=True)
def _sums(weight):  # type: ignore[no-untyped-def]
    """Return, for every set of records, the sum over its partitions of the product of their persons' weights."""
    sums = np.zeros(weight.shape[0])
    sums[0] = 1.0
    for chosen in range(1, weight.shape[0]):
        first = chosen & -chosen
        others = chosen ^ first
        part = others
        while True:
            if weight[part | first] > 0:
                sums[chosen] += weight[part | first] * sums[others ^ part]
            if part == 0:
                break
            part = (part - 1) & others
    return sums


@njit(cache=True, nogil=True)
def _draw(weight, sums, label, records):  # type: ignore[no-untyped-def]
    """Draw a partition into ``label``: each record gets the first record of its person."""
    left = weight.shape[0] - 1
    while left:
        first = left & -left
        others = left ^ first
        aim = np.random.random() * sums[left]
        part = others
        while True:
            aim -= weight[part | first] * sums[others ^ part]
            if aim < 0 or part == 0:
                break
            part = (part - 1) & others
        taken = part | first
        leader = -1
        for i in range(records.shape[0]):
            if (taken >> i) & 1:
                if leader < 0:
                    leader = records[i]
                label[records[i]] = leader
        left ^= taken


@njit(cache=True, nogil=True)
def enumerate_components(model, records, bounds, draws, seed):  # type: ignore[no-untyped-def]
    """Sum over the partitions of components, one after the other.

    Parameters
    ----------
    model : linkage.hub.sampling.Model
    records, bounds : records of component c are ``records[bounds[c] : bounds[c + 1]]``, at most :data:`MOST`
    draws : partitions to draw
    seed : of the draws

    Returns
    -------
    lists : float64 (2^sources,): expected number of persons who are on exactly these lists
    pairs : float64 (neighbours,): probability of each pair of neighbours to be one person; zero outside components
    label : int32 (draws, model records): person of each record; -1 outside components
    """
    np.random.seed(seed)
    lists = np.zeros(model.person.shape[0])
    pairs = np.zeros(model.others.shape[0])
    label = np.full((draws, model.source.shape[0]), -1, np.int32)
    place = np.full(model.source.shape[0], -1)
    for component in range(bounds.shape[0] - 1):
        inside = records[bounds[component] : bounds[component + 1]]
        number = inside.shape[0]
        weight = _relative_weights(model, inside)
        sums = _sums(weight)
        whole = weight.shape[0] - 1
        chance = np.zeros((number, number))
        for chosen in range(1, weight.shape[0]):
            here = weight[chosen] * sums[whole ^ chosen] / sums[whole]
            on = 0
            for i in range(number):
                if (chosen >> i) & 1:
                    on |= 1 << model.source[inside[i]]
                    for j in range(i):
                        if (chosen >> j) & 1:
                            chance[i, j] += here
                            chance[j, i] += here
            lists[on] += here
        for i in range(number):
            place[inside[i]] = i
        for i in range(number):
            for at in range(model.starts[inside[i]], model.starts[inside[i] + 1]):
                if place[model.others[at]] >= 0:
                    pairs[at] = chance[i, place[model.others[at]]]
        for i in range(number):
            place[inside[i]] = -1
        for draw in range(draws):
            _draw(weight, sums, label[draw], inside)
    return lists, pairs, label


def enumerate_reference(model: Any, records: NDArray[np.int64]) -> dict[tuple[frozenset[int], ...], float]:
    """Plain twin for one component: the probability of every partition, by listing them all."""

    def partitions(left: list[int]) -> Any:
        if not left:
            yield []
            return
        first, others = left[0], left[1:]
        for size in range(len(others) + 1):
            for chosen in itertools.combinations(others, size):
                for rest in partitions([record for record in others if record not in chosen]):
                    yield [(first, *chosen), *rest]

    weights = {
        tuple(frozenset(person) for person in partition): sum(
            float(set_weight(model, np.array(person, np.int64), len(person))) for person in partition
        )
        for partition in partitions(records.tolist())
    }
    highest = max(weights.values())
    scaled = {partition: float(np.exp(weight - highest)) for partition, weight in weights.items()}
    total = sum(scaled.values())
    return {partition: weight / total for partition, weight in scaled.items()}
