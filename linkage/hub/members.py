"""A partition as a chain has it: who is with whom, what every person weighs, and what is counted of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.hub.trees import MANY, Forest, new_forest, plant
from linkage.hub.weights import fast, find, set_weight

__all__ = ["SIZES", "Space", "State", "begin", "count", "gather", "move"]

SIZES = 6
"""Persons are counted by their records up to so many; the last class is of all larger ones."""


class State(NamedTuple):
    """A partition: every record's person, the members of a person as a chain of records from its head, its weight."""

    label: NDArray[np.int64]
    head: NDArray[np.int64]
    following: NDArray[np.int64]
    before: NDArray[np.int64]
    size: NDArray[np.int64]
    value: NDArray[np.float64]
    forest: Forest


@fast
def gather(state, number, members):  # type: ignore[no-untyped-def]
    """Write the records of a person down; return how many they are."""
    size, i = 0, state.head[number]
    while i >= 0:
        members[size] = i
        size += 1
        i = state.following[i]
    return size


@fast
def move(state, i, to):  # type: ignore[no-untyped-def]
    """Take a record out of its person, if it is in one, and put it to another, if there is one."""
    label, head, following, before = state.label, state.head, state.following, state.before
    if label[i] >= 0:
        state.size[label[i]] -= 1
        if before[i] >= 0:
            following[before[i]] = following[i]
        else:
            head[label[i]] = following[i]
        if following[i] >= 0:
            before[following[i]] = before[i]
    label[i], before[i], following[i] = to, -1, -1
    if to >= 0:
        state.size[to] += 1
        following[i] = head[to]
        if head[to] >= 0:
            before[head[to]] = i
        head[to] = i


class Space(NamedTuple):
    """What a chain works in."""

    spare: NDArray[np.int64]  # numbers that no person has
    seen: NDArray[np.int64]  # when a person was last offered
    members: NDArray[np.int64]
    best: NDArray[np.float64]
    choices: NDArray[np.int64]  # persons that a record may go to; the first, -1, is to be one apart
    values: NDArray[np.float64]  # their weights then
    pairs: NDArray[np.float64]  # where they have trees: sums of the cut weights of their pairs then
    odds: NDArray[np.float64]


@njit(nogil=True)
def begin(model, label):  # type: ignore[no-untyped-def]
    """Return the state of a partition, the space to work in and how many numbers are spare."""
    records = label.shape[0]
    nobody, nothing = np.full(records, -1), np.zeros(records)
    forest = new_forest(records)
    sizes = np.zeros(records, np.int64)
    state = State(nobody.copy(), nobody.copy(), nobody.copy(), nobody.copy(), sizes, nothing.copy(), forest)
    widest = 0
    for i in range(records):
        move(state, i, label[i])
        widest = max(widest, model.near_starts[i + 1] - model.near_starts[i])
    space = Space(
        np.empty(records, np.int64),
        nobody,
        np.empty(records + 1, np.int64),
        np.empty(records + 1),
        np.empty(widest + 2, np.int64),
        np.empty(widest + 2),
        np.empty(widest + 2),
        np.empty(widest + 2),
    )
    free = 0
    for number in range(records):
        size = gather(state, number, space.members)
        if size > MANY:
            state.value[number] = plant(model, forest, number, space.members, size)
        elif size:
            state.value[number] = set_weight(model, space.members, size, space.best)
        else:
            space.spare[free] = number
            free += 1
    return state, space, free


@fast
def count(model, state, members, lists, pairs, sizes):  # type: ignore[no-untyped-def]
    """Count persons by their lists and by their records; add up the pairs that are together; return how many."""
    links = 0
    lists[:], sizes[:] = 0, 0
    for number in range(state.head.shape[0]):
        size = gather(state, number, members)
        if size == 0:
            continue
        on = 0
        for a in range(size):
            on |= 1 << model.source[members[a]]
            for b in range(a):
                low, high = min(members[a], members[b]), max(members[a], members[b])
                place = find(model.starts, model.others, low, high)
                if place >= 0:
                    pairs[place] += 1
        lists[on] += 1
        sizes[min(size, SIZES + 1) - 1] += 1
        links += size * (size - 1) // 2
    return links
