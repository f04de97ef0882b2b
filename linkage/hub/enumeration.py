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

from linkage.hub import weights
from linkage.hub.compiled import digest
from linkage.hub.weights import fast, find, set_weight

__all__ = ["MOST", "enumerate_components", "enumerate_reference"]

MOST = 10
"""Records of a component up to which its partitions are summed exactly: 3^10 steps."""


_CAP = 690.0
"""Nats that the persons of a partition may weigh together over single records, for the sum not to overflow; of this
every set of records gets its share by size, so that the larger of two sure sets stays the surer."""


@fast
def _relative_weights(model, records, members, best, weight):  # type: ignore[no-untyped-def]
    """Write down the weight of every set of records as one person over theirs as persons apart: float64 (2^k,)."""
    number = records.shape[0]
    weight[0] = 1.0
    for chosen in range(1, 1 << number):
        size, alone = 0, 0.0
        for i in range(number):
            if (chosen >> i) & 1:
                members[size] = records[i]
                alone += model.person[1 << model.source[records[i]]]
                size += 1
        weight[chosen] = (
            np.exp(min(set_weight(model, members, size, best) - alone, _CAP * size / number)) if size > 1 else 1.0
        )


@fast
def _sum_up(weight, sums):  # type: ignore[no-untyped-def]
    """Write down, for every set of records, the sum over its partitions of the product of their persons' weights."""
    sums[0] = 1.0
    for chosen in range(1, weight.shape[0]):
        first = chosen & -chosen
        others = chosen ^ first
        part, total = others, 0.0
        while True:
            if weight[part | first] > 0:
                total += weight[part | first] * sums[others ^ part]
            if part == 0:
                break
            part = (part - 1) & others
        sums[chosen] = total


@fast
def _add_chances(model, records, weight, sums, lists, chance):  # type: ignore[no-untyped-def]
    """Add the chances of all persons to their lists; write down those of all pairs, as places in ``records``."""
    number, whole = records.shape[0], weight.shape[0] - 1
    for i in range(number):
        for j in range(i):
            chance[i, j] = 0.0
    for chosen in range(1, weight.shape[0]):
        here = weight[chosen] * sums[whole ^ chosen] / sums[whole]
        if here == 0:
            continue
        on = 0
        for i in range(number):
            if (chosen >> i) & 1:
                on |= 1 << model.source[records[i]]
                for j in range(i):
                    if (chosen >> j) & 1:
                        chance[i, j] += here
        lists[on] += here


@fast
def _draw(weight, sums, records, label):  # type: ignore[no-untyped-def]
    """Draw a partition into ``label``: each record gets the first record of its person."""
    left = weight.shape[0] - 1
    while left:
        first = left & -left
        others = left ^ first
        aim = np.random.random() * sums[left]
        part, taken = others, first
        while True:
            here = weight[part | first] * sums[others ^ part]
            if here > 0:
                taken = part | first  # never, not by rounding either, what cannot be
            aim -= here
            if aim < 0 or part == 0:
                break
            part = (part - 1) & others
        leader = -1
        for i in range(records.shape[0]):
            if (taken >> i) & 1:
                if leader < 0:
                    leader = records[i]
                label[i] = leader
        left ^= taken


@njit(nogil=True)
def _enumerate_components(model, records, bounds, draws, seed, pairs):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    lists = np.zeros(model.person.shape[0])
    label = np.empty((draws, records.shape[0]), np.int32)
    members, best = np.empty(MOST, np.int64), np.empty(MOST)
    all_weights, all_sums, chance = np.empty(1 << MOST), np.empty(1 << MOST), np.empty((MOST, MOST))
    for component in range(bounds.shape[0] - 1):
        start, end = bounds[component], bounds[component + 1]
        inside = records[start:end]
        number = end - start
        weight, sums = all_weights[: 1 << number], all_sums[: 1 << number]
        _relative_weights(model, inside, members, best, weight)
        _sum_up(weight, sums)
        _add_chances(model, inside, weight, sums, lists, chance)
        if pairs.shape[0]:
            for i in range(number):
                for j in range(i):
                    place = find(model.starts, model.others, inside[j], inside[i])
                    if place >= 0:
                        pairs[place] = chance[i, j]
        for draw in range(draws):
            _draw(weight, sums, inside, label[draw, start:end])
    return lists, label


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
            float(set_weight(model, np.array(person, np.int64), len(person), np.empty(len(person))))
            for person in partition
        )
        for partition in partitions(records.tolist())
    }
    highest = max(weights.values())
    scaled = {partition: float(np.exp(weight - highest)) for partition, weight in weights.items()}
    total = sum(scaled.values())
    return {partition: weight / total for partition, weight in scaled.items()}


def _stamped(code: int) -> Any:
    @njit(cache=True, nogil=True)
    def enumerate_components(model, records, bounds, draws, seed, pairs):  # type: ignore[no-untyped-def]
        """Sum over the partitions of components, one after the other.

        Parameters
        ----------
        model : linkage.hub.weights.Model
        records, bounds : records of component c are ``records[bounds[c] : bounds[c + 1]]``, ascending, at most
            :data:`MOST`
        draws : partitions to draw
        seed : of the draws
        pairs : float64 (neighbours,), into which the probability of each pair of neighbours to be one person is
            written, at the neighbour of higher number; of no length if that is not wanted

        Returns
        -------
        lists : float64 (2^sources,): expected number of persons who are on exactly these lists
        label : int32 (draws, len(records)): the first record of each record's person
        """
        _ = code
        return _enumerate_components(model, records, bounds, draws, seed, pairs)

    return enumerate_components


enumerate_components = _stamped(digest(weights))
