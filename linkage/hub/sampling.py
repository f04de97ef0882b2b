"""Gibbs sampling of partitions where a component has too many records to sum over all of them.

A state is a partition. A step takes one record out of its person and puts it, with the odds that the posterior gives,
to the person of one of its neighbours or apart. A further step lets two records of one source change places between
their persons: a source without repeats blocks the way from one person to the other by single steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Model", "sample", "set_weight"]


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
        float64, shape (sizes,): by number of records, what part of their summed match weights counts; the last for all
        larger ones.
    starts, others, weights
        Neighbours of record i are ``others[starts[i] : starts[i + 1]]``, ascending, with their match weights.
    near_starts, near
        Likely partners of record i, to whose person it may move: ``near[near_starts[i] : near_starts[i + 1]]``.
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
    others: NDArray[np.int64]
    weights: NDArray[np.float64]
    near_starts: NDArray[np.int64]
    near: NDArray[np.int64]
    far: NDArray[np.float64]
    floor: float
    ceiling: float


class _State(NamedTuple):
    """A partition: every record's person, the members of a person as a chain of records from its head, its weight."""

    label: NDArray[np.int64]
    head: NDArray[np.int64]
    following: NDArray[np.int64]
    before: NDArray[np.int64]
    value: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _between(model, i, j):  # type: ignore[no-untyped-def]
    source, starts = model.source, model.starts
    if source[i] == source[j] and model.single[source[i]]:
        return -np.inf
    place = starts[i] + np.searchsorted(model.others[starts[i] : starts[i + 1]], j)
    if place < starts[i + 1] and model.others[place] == j:
        return model.weights[place]
    return model.far[source[i], source[j]]


@njit(cache=True, nogil=True)
def set_weight(model, members, size):  # type: ignore[no-untyped-def]
    """Return the log weight of the records ``members[:size]`` as one person; minus infinity if they cannot be one.

    The pairs of a spanning tree, the heaviest that there is, count in full: they are what holds the person together
    and speak of different errors. The others repeat them, and count only as far as they contradict.
    """
    lists, prior = 0, 0.0
    for a in range(size):
        s = model.source[members[a]]
        again = 0
        for b in range(a):
            again += model.source[members[b]] == s
        if again and model.single[s]:
            return -np.inf
        if again:
            prior += model.repeat[s] + np.log(again + 1)
        lists |= 1 << s
    if size < 2:
        return model.person[lists]
    if size == 2:
        return model.person[lists] + prior + _between(model, members[0], members[1])
    if size == 3:
        tree, rest = _triangle(model, members)
    else:
        tree, rest = _tree(model, members, size)
    return model.person[lists] + prior + tree + model.shrink[min(size, model.shrink.shape[0] - 1)] * rest


@njit(cache=True, nogil=True)
def _triangle(model, members):  # type: ignore[no-untyped-def]
    """Return what :func:`_tree` returns, for three records."""
    first = _between(model, members[0], members[1])
    second = _between(model, members[0], members[2])
    third = _between(model, members[1], members[2])
    least = min(first, second, third)
    return first + second + third - least, min(max(least, model.floor), model.ceiling)


@njit(cache=True, nogil=True)
def _tree(model, members, size):  # type: ignore[no-untyped-def]
    """Sum the weights of the heaviest spanning tree (Prim), and those of the other pairs, cut at the bounds."""
    best = np.full(size, -np.inf)
    done = np.zeros(size, np.bool_)
    tree, all_cut, tree_cut = 0.0, 0.0, 0.0
    last = 0
    done[0] = True
    for _ in range(size - 1):
        following = -1
        for b in range(size):
            if done[b]:
                continue
            weight = _between(model, members[last], members[b])
            all_cut += min(max(weight, model.floor), model.ceiling)
            if weight > best[b]:
                best[b] = weight
            if following < 0 or best[b] > best[following]:
                following = b
        done[following] = True
        tree += best[following]
        tree_cut += min(max(best[following], model.floor), model.ceiling)
        last = following
    return tree, all_cut - tree_cut


@njit(cache=True, nogil=True)
def _gather(state, number, members):  # type: ignore[no-untyped-def]
    size, i = 0, state.head[number]
    while i >= 0:
        members[size] = i
        size += 1
        i = state.following[i]
    return size


@njit(cache=True, nogil=True)
def _move(state, i, to):  # type: ignore[no-untyped-def]
    """Take a record out of its person, if it is in one, and put it to another, if there is one."""
    label, head, following, before, _ = state
    if label[i] >= 0:
        if before[i] >= 0:
            following[before[i]] = following[i]
        else:
            head[label[i]] = following[i]
        if following[i] >= 0:
            before[following[i]] = before[i]
    label[i], before[i], following[i] = to, -1, -1
    if to >= 0:
        following[i] = head[to]
        if head[to] >= 0:
            before[head[to]] = i
        head[to] = i


@njit(cache=True, nogil=True)
def _weigh(model, state, number, members):  # type: ignore[no-untyped-def]
    """Note the weight of a person after a change."""
    state.value[number] = set_weight(model, members, _gather(state, number, members))


@njit(cache=True, nogil=True)
def _step(model, state, i, spare, free, seen, stamp, choices, odds, members):  # type: ignore[no-untyped-def]
    """Draw the person of one record given all others; return how many labels are spare then."""
    old = state.label[i]
    if model.near_starts[i] == model.near_starts[i + 1]:
        return free
    _move(state, i, -1)
    if state.head[old] < 0:
        spare[free] = old
        free += 1
    else:
        _weigh(model, state, old, members)
    apart = model.person[1 << model.source[i]]
    choices[0], odds[0], number = -1, 0.0, 1
    for place in range(model.near_starts[i], model.near_starts[i + 1]):
        to = state.label[model.near[place]]
        if seen[to] == stamp:
            continue
        seen[to] = stamp
        size = _gather(state, to, members)
        members[size] = i
        choices[number], odds[number] = to, set_weight(model, members, size + 1) - state.value[to] - apart
        number += 1
    highest = odds[:number].max()
    total = 0.0
    for k in range(number):
        odds[k] = np.exp(odds[k] - highest)
        total += odds[k]
    aim = np.random.random() * total
    chosen = 0
    while chosen < number - 1 and aim >= odds[chosen]:
        aim -= odds[chosen]
        chosen += 1
    to = choices[chosen]
    if to < 0:
        free -= 1
        to = spare[free]
    _move(state, i, to)
    _weigh(model, state, to, members)
    return free


@njit(cache=True, nogil=True)
def _roads(model, state, i, number):  # type: ignore[no-untyped-def]
    """Return the share of a record's likely partners that are in a person."""
    count = 0
    for place in range(model.near_starts[i], model.near_starts[i + 1]):
        count += state.label[model.near[place]] == number
    return count / max(model.near_starts[i + 1] - model.near_starts[i], 1)


@njit(cache=True, nogil=True)
def _exchange(model, state, i, members):  # type: ignore[no-untyped-def]
    """Propose that a record changes places with the one of its source in a neighbour's person (Metropolis-Hastings)."""
    degree = model.near_starts[i + 1] - model.near_starts[i]
    if not model.single[model.source[i]] or degree == 0:
        return
    a, b = state.label[i], state.label[model.near[model.near_starts[i] + np.random.randint(degree)]]
    if a == b:
        return
    rival = state.head[b]
    while rival >= 0 and model.source[rival] != model.source[i]:
        rival = state.following[rival]
    if rival < 0:
        return
    # Either of the two could have proposed it, here and on the way back.
    here = _roads(model, state, i, b) + _roads(model, state, rival, a)
    back = _roads(model, state, i, a) + _roads(model, state, rival, b)
    now = state.value[a] + state.value[b]
    _move(state, i, b)
    _move(state, rival, a)
    _weigh(model, state, a, members)
    _weigh(model, state, b, members)
    after = state.value[a] + state.value[b]
    if back == 0 or np.log(np.random.random()) >= after - now + np.log(back / here):
        _move(state, i, a)
        _move(state, rival, b)
        _weigh(model, state, a, members)
        _weigh(model, state, b, members)


@njit(cache=True, nogil=True)
def sample(model, label, sweeps, keep, seed):  # type: ignore[no-untyped-def]
    """Run one chain; return the partitions kept and how many links each sweep ended with.

    Parameters
    ----------
    model : Model
    label : int64 (records,): person of each record at the start, numbers below ``records``
    sweeps, keep : sweeps over all records, and after how many of them a partition is kept
    seed : of the chain

    Returns
    -------
    kept : int64 (sweeps // keep, records)
    links : float64 (sweeps,)
    """
    np.random.seed(seed)
    records = label.shape[0]
    state = _State(
        np.full(records, -1), np.full(records, -1), np.full(records, -1), np.full(records, -1), np.zeros(records)
    )
    for i in range(records):
        _move(state, i, label[i])
    spare = np.empty(records, np.int64)  # labels that nobody has
    free = 0
    members = np.empty(records + 1, np.int64)
    widest = 1
    for i in range(records):
        if state.head[i] >= 0:
            _weigh(model, state, i, members)
        if state.head[i] < 0:
            spare[free] = i
            free += 1
        widest = max(widest, model.near_starts[i + 1] - model.near_starts[i])
    kept = np.empty((sweeps // keep, records), np.int64)
    links = np.zeros(sweeps)
    seen = np.full(records, -1)
    choices, odds = np.empty(widest + 1, np.int64), np.empty(widest + 1)
    stamp = 0
    for sweep in range(sweeps):
        for _ in range(records):
            i = np.random.randint(records)
            free = _step(model, state, i, spare, free, seen, stamp, choices, odds, members)
            _exchange(model, state, np.random.randint(records), members)
            stamp += 1
        for number in range(records):
            size = _gather(state, number, members)
            links[sweep] += size * (size - 1) / 2
        if (sweep + 1) % keep == 0:
            kept[(sweep + 1) // keep - 1] = state.label
    return kept, links
