"""Gibbs sampling of partitions where a component has too many records to sum over all of them.

A state is a partition. A step takes one record out of its person and puts it, with the odds that the posterior gives,
to the person of one of its neighbours or apart. A further step lets two records of one source change places between
their persons: a source without repeats blocks the way from one person to the other by single steps. Records about which
there is next to no doubt are visited now and then only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Model", "fast", "find", "sample", "set_weight"]

_QUIET = 4
"""Every so many sweeps all records are visited, else those in doubt alone."""

fast = njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]
"""Compile what allocates nothing: to count the references to a dozen arrays in every call takes four times as long."""


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


class _State(NamedTuple):
    """A partition: every record's person, the members of a person as a chain of records from its head, its weight."""

    label: NDArray[np.int64]
    head: NDArray[np.int64]
    following: NDArray[np.int64]
    before: NDArray[np.int64]
    value: NDArray[np.float64]


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
def _between(model, i, j):  # type: ignore[no-untyped-def]
    if model.source[i] == model.source[j] and model.single[model.source[i]]:
        return -np.inf
    place = find(model.near_starts, model.near, i, j)  # few, and nearly always it
    if place >= 0:
        return model.near_weights[place]
    place = find(model.starts, model.others, i, j)
    return model.weights[place] if place >= 0 else model.far[model.source[i], model.source[j]]


@fast
def set_weight(model, members, size, best):  # type: ignore[no-untyped-def]
    """Return the log weight of the records ``members[:size]`` as one person; minus infinity if they cannot be one.

    The pairs of a spanning tree, the heaviest that there is, count in full: they are what holds the person together
    and speak of different errors. The others repeat them, and count only as far as they contradict. ``best`` is float64
    space for as many records.
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
        tree, rest = _tree(model, members, size, best)
    return model.person[lists] + prior + tree + model.shrink[min(size, model.shrink.shape[0] - 1)] * rest


@fast
def _triangle(model, members):  # type: ignore[no-untyped-def]
    """Return what :func:`_tree` returns, for three records."""
    first = _between(model, members[0], members[1])
    second = _between(model, members[0], members[2])
    third = _between(model, members[1], members[2])
    least = min(first, second, third)
    return first + second + third - least, min(max(least, model.floor), model.ceiling)


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
            weight = _between(model, members[last], members[b])
            all_cut += min(max(weight, model.floor), model.ceiling)
            if weight > best[b]:
                best[b] = weight
            if following < 0 or best[b] > best[following]:
                following = b
        tree += best[following]
        tree_cut += min(max(best[following], model.floor), model.ceiling)
        last = following
    return tree, all_cut - tree_cut


@fast
def _gather(state, number, members):  # type: ignore[no-untyped-def]
    size, i = 0, state.head[number]
    while i >= 0:
        members[size] = i
        size += 1
        i = state.following[i]
    return size


@fast
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


class _Space(NamedTuple):
    """What a chain works in."""

    spare: NDArray[np.int64]  # numbers that no person has
    seen: NDArray[np.int64]  # when a person was last offered
    members: NDArray[np.int64]
    best: NDArray[np.float64]
    choices: NDArray[np.int64]  # persons that a record may go to; -1 is to be one apart
    values: NDArray[np.float64]  # their weights then
    odds: NDArray[np.float64]


@fast
def _offer(model, state, space, i, stamp):  # type: ignore[no-untyped-def]
    """List the persons that a record, now in none, may go to; return how many."""
    choices, values, odds = space.choices, space.values, space.odds
    choices[0], values[0], odds[0] = -1, model.person[1 << model.source[i]], 0.0
    number, exclusive = 1, model.single[model.source[i]]
    for place in range(model.near_starts[i], model.near_starts[i + 1]):
        to = state.label[model.near[place]]
        if space.seen[to] == stamp:
            continue
        space.seen[to] = stamp
        size = _gather(state, to, space.members)
        blocked = False
        for a in range(size):
            blocked |= exclusive and model.source[space.members[a]] == model.source[i]
        if blocked:
            continue
        space.members[size] = i
        choices[number], values[number] = to, set_weight(model, space.members, size + 1, space.best)
        odds[number] = values[number] - state.value[to] - values[0]
        number += 1
    return number


@fast
def _step(model, state, space, i, free, stamp):  # type: ignore[no-untyped-def]
    """Draw the person of one record given all others; return how many numbers are spare then."""
    if model.near_starts[i] == model.near_starts[i + 1]:
        return free
    old = state.label[i]
    _move(state, i, -1)
    if state.head[old] < 0:
        space.spare[free] = old
        free += 1
    else:
        state.value[old] = set_weight(model, space.members, _gather(state, old, space.members), space.best)
    number, odds = _offer(model, state, space, i, stamp), space.odds
    highest, total = 0.0, 0.0
    for k in range(number):
        highest = max(highest, odds[k])
    for k in range(number):
        odds[k] = np.exp(odds[k] - highest)
        total += odds[k]
    aim = np.random.random() * total
    chosen = 0
    while chosen < number - 1 and aim >= odds[chosen]:
        aim -= odds[chosen]
        chosen += 1
    to = space.choices[chosen]
    if to < 0:
        free -= 1
        to = space.spare[free]
    _move(state, i, to)
    state.value[to] = space.values[chosen]
    return free


@fast
def _roads(model, state, i, number):  # type: ignore[no-untyped-def]
    """Return the share of a record's likely partners that are in a person."""
    count = 0
    for place in range(model.near_starts[i], model.near_starts[i + 1]):
        count += state.label[model.near[place]] == number
    return count / max(model.near_starts[i + 1] - model.near_starts[i], 1)


@fast
def _replace(model, state, space, number, out, into):  # type: ignore[no-untyped-def]
    """Return what a person would weigh if one record of it were another."""
    size = _gather(state, number, space.members)
    for a in range(size):
        if space.members[a] == out:
            space.members[a] = into
    return set_weight(model, space.members, size, space.best)


@fast
def _exchange(model, state, space, i, active):  # type: ignore[no-untyped-def]
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
    # Either of the two could have proposed it, here and on the way back, if it is one that is visited.
    here = _roads(model, state, i, b) + (_roads(model, state, rival, a) if active[rival] else 0.0)
    back = _roads(model, state, i, a) + (_roads(model, state, rival, b) if active[rival] else 0.0)
    if back == 0:
        return
    of_a = _replace(model, state, space, a, i, rival)
    of_b = _replace(model, state, space, b, rival, i)
    gain = of_a + of_b - state.value[a] - state.value[b]
    if np.log(np.random.random()) < gain + np.log(back / here):
        _move(state, i, b)
        _move(state, rival, a)
        state.value[a], state.value[b] = of_a, of_b


@njit(cache=True, nogil=True)
def _begin(model, label):  # type: ignore[no-untyped-def]
    """Return the state of a partition, the space to work in and how many numbers are spare."""
    records = label.shape[0]
    nobody = np.full(records, -1)
    state = _State(nobody.copy(), nobody.copy(), nobody.copy(), nobody.copy(), np.zeros(records))
    widest = 0
    for i in range(records):
        _move(state, i, label[i])
        widest = max(widest, model.near_starts[i + 1] - model.near_starts[i])
    space = _Space(
        np.empty(records, np.int64),
        nobody,
        np.empty(records + 1, np.int64),
        np.empty(records + 1),
        np.empty(widest + 1, np.int64),
        np.empty(widest + 1),
        np.empty(widest + 1),
    )
    free = 0
    for number in range(records):
        if state.head[number] >= 0:
            size = _gather(state, number, space.members)
            state.value[number] = set_weight(model, space.members, size, space.best)
        else:
            space.spare[free] = number
            free += 1
    return state, space, free


@fast
def _count(model, state, members, lists, pairs):  # type: ignore[no-untyped-def]
    """Add up the persons by their lists and the pairs that are together; return how many pairs these are."""
    links = 0
    for number in range(state.head.shape[0]):
        size = _gather(state, number, members)
        on = 0
        for a in range(size):
            on |= 1 << model.source[members[a]]
            for b in range(a):
                low, high = min(members[a], members[b]), max(members[a], members[b])
                place = find(model.starts, model.others, low, high)
                if place >= 0:
                    pairs[place] += 1
        if size:
            lists[on] += 1
        links += size * (size - 1) // 2
    return links


@njit(cache=True, nogil=True)
def sample(model, active, label, warm_up, sweeps, keep, seed):  # type: ignore[no-untyped-def]
    """Run one chain.

    Parameters
    ----------
    model : Model
    active : bool (records,): records that every sweep visits; the others are visited now and then only
    label : int64 (records,): person of each record at the start, numbers below ``records``
    warm_up, sweeps : sweeps before and while the chain is observed
    keep : of so many observed sweeps one partition is kept, the last
    seed : of the chain

    Returns
    -------
    kept : int32 (sweeps // keep, records)
    links : float64 (sweeps,): pairs of records that are one person after each observed sweep
    lists : float64 (2^sources,): mean number of persons who are on exactly these lists
    pairs : int32 (neighbours,): observed sweeps after which a record and its neighbour of higher number were one person
    """
    np.random.seed(seed)
    records = label.shape[0]
    state, space, free = _begin(model, label)
    everyone, all_active = np.arange(records), np.ones(records, np.bool_)
    doubtful = np.flatnonzero(active)
    kept = np.empty((sweeps // keep, records), np.int32)
    links, lists = np.zeros(sweeps), np.zeros(model.person.shape[0])
    pairs = np.zeros(model.others.shape[0], np.int32)
    stamp = 0
    for sweep in range(warm_up + sweeps):
        visited, among = (everyone, all_active) if sweep % _QUIET == 0 else (doubtful, active)
        for i in visited:
            free = _step(model, state, space, i, free, stamp)
            stamp += 1
            _exchange(model, state, space, visited[np.random.randint(visited.shape[0])], among)
        observed = sweep - warm_up
        if observed >= 0:
            links[observed] = _count(model, state, space.members, lists, pairs)
            if (observed + 1) % keep == 0:
                kept[(observed + 1) // keep - 1] = state.label
    return kept, links, lists / sweeps, pairs
