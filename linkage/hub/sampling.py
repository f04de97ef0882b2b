"""Gibbs sampling of partitions where a component has too many records to sum over all of them.

A state is a partition. A step takes one record out of its person and puts it, with the odds that the posterior gives,
to one of the persons around an anchor or apart. The anchor is the record itself or one that a walk over likely pairs
comes to; the persons around it are its own and those of its likely partners. So that what can be gone can be gone
back, a record stays where it is if its other records are not among those. A further step lets two records of one
source change places between their persons: a source without repeats blocks the way from one person to the other by
single steps. Records about which there is next to no doubt are visited now and then only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from linkage.hub import members, trees, weights
from linkage.hub.compiled import digest
from linkage.hub.members import SIZES, begin, count, gather, move
from linkage.hub.trees import MANY, adopt, graft, plant, prune
from linkage.hub.weights import fast, set_weight

__all__ = ["sample"]

_QUIET = 4
"""Every so many sweeps all records are visited, else those in doubt alone."""

_ASTRAY = 0.25
"""How often a record looks for persons from another anchor than itself, and how often a walk goes on from there."""

_FAINT, _TURNS = 4.0, 4
"""Partners by so many nats fainter than an anchor's best are offered in turns."""

_EXCHANGED = 32
"""Records of a person up to which one of them changes places: the two persons are weighed from nothing."""


@fast
def _anchor(model, i):  # type: ignore[no-untyped-def]
    """Choose, without a look at the partition, around which record persons are offered."""
    anchor, share = i, np.random.random()
    while share < _ASTRAY:
        degree = model.near_starts[anchor + 1] - model.near_starts[anchor]
        anchor = model.near[model.near_starts[anchor] + np.random.randint(degree)]
        share = np.random.random()
    return anchor


@fast
def _blocked(model, state, to, i):  # type: ignore[no-untyped-def]
    """Tell whether a person holds a record that rules this one out."""
    if model.single[model.source[i]]:
        j = state.head[to]
        while j >= 0:
            if model.source[j] == model.source[i] and j != i:
                return True
            j = state.following[j]
    return False


@fast
def _offer(model, state, space, i, stamp):  # type: ignore[no-untyped-def]
    """List the persons that a record may go to; return how many, and the place of its own, -1 if it is not there."""
    choices, anchor = space.choices, _anchor(model, i)
    own = state.label[i]
    choices[0], number, home = -1, 1, 0 if state.size[own] == 1 else -1
    start, end = model.near_starts[anchor], model.near_starts[anchor + 1]
    faint, turn = -np.inf, np.random.randint(_TURNS)
    for place in range(start, end):
        faint = max(faint, model.near_weights[place] - _FAINT)
    for place in range(start - 1, end):
        j = model.near[place] if place >= start else anchor
        to = state.label[j]
        if j == i or space.seen[to] == stamp:
            continue
        if place >= start and model.near_weights[place] < faint and (place + turn) % _TURNS:
            continue
        space.seen[to] = stamp
        if _blocked(model, state, to, i):
            continue
        if to == own:
            home = number
        choices[number] = to
        number += 1
    return number, home


@fast
def _without(model, state, space, i):  # type: ignore[no-untyped-def]
    """Return what a record's person weighs without it, and the sum of the cut weights of its pairs then."""
    members, number = space.members, state.label[i]
    size = gather(state, number, members) - 1
    for a in range(size):
        if members[a] == i:
            members[a], members[size] = members[size], i
    if size == 0:
        return 0.0, 0.0
    if size > MANY:
        return prune(model, state.forest, number, members, size, i)
    return set_weight(model, members, size, space.best), 0.0


@fast
def _with(model, state, space, number, i):  # type: ignore[no-untyped-def]
    """Return what a person weighs with a record that is none of it, and the sum of the cut weights of its pairs."""
    members = space.members
    size = gather(state, number, members)
    members[size] = i
    if size > MANY:
        return graft(model, state.forest, number, members, size, i)
    return set_weight(model, members, size + 1, space.best), 0.0


@fast
def _step(model, state, space, i, free, stamp):  # type: ignore[no-untyped-def]
    """Draw the person of one record given all others; return how many numbers are spare then."""
    if model.near_starts[i] == model.near_starts[i + 1]:
        return free
    number, home = _offer(model, state, space, i, stamp)
    if home < 0 or number == 1:
        return free
    own, choices, values, odds = state.label[i], space.choices, space.values, space.odds
    rest, rest_pairs = _without(model, state, space, i)
    values[0], odds[0] = model.person[1 << model.source[i]], 0.0
    for k in range(1, number):
        if k == home:
            odds[k] = state.value[own] - rest - values[0]
        else:
            values[k], space.pairs[k] = _with(model, state, space, choices[k], i)
            odds[k] = values[k] - state.value[choices[k]] - values[0]
    chosen = _choose(odds, number)
    if chosen == home:
        return free
    _settle(model, state, space, own, rest, rest_pairs, i)
    to = choices[chosen]
    if state.head[own] < 0:
        space.spare[free] = own
        free += 1
    if to < 0:
        free -= 1
        to = space.spare[free]
    _arrive(model, state, space, to, values[chosen], space.pairs[chosen], i)
    return free


@fast
def _choose(odds, number):  # type: ignore[no-untyped-def]
    """Draw one of several choices, given their log odds."""
    highest, total = -np.inf, 0.0
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
    return chosen


@fast
def _settle(model, state, space, number, value, pairs, i):  # type: ignore[no-untyped-def]
    """Take a record out of its person, of which :func:`_without` has said what remains."""
    move(state, i, -1)
    state.value[number] = value
    if state.size[number] > MANY:
        adopt(state.forest, number, space.members, gather(state, number, space.members), pairs)


@fast
def _arrive(model, state, space, number, value, pairs, i):  # type: ignore[no-untyped-def]
    """Put a record, now in none, to a person, of which :func:`_with` has said what it becomes."""
    move(state, i, number)
    state.value[number] = value
    if state.size[number] > MANY:
        size = gather(state, number, space.members)
        if size == MANY + 1:
            plant(model, state.forest, number, space.members, size)
        else:
            adopt(state.forest, number, space.members, size, pairs)


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
    size = gather(state, number, space.members)
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
    if a == b or max(state.size[a], state.size[b]) > _EXCHANGED:
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
        move(state, i, b)
        move(state, rival, a)
        state.value[a], state.value[b] = of_a, of_b
        for number in (a, b):
            if state.size[number] > MANY:
                plant(model, state.forest, number, space.members, gather(state, number, space.members))


@njit(nogil=True)
def _sample(model, active, label, warm_up, sweeps, keep, watch, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    records = label.shape[0]
    state, space, free = begin(model, label)
    everyone, all_active = np.arange(records), np.ones(records, np.bool_)
    doubtful = np.flatnonzero(active)
    kept = np.empty((sweeps // keep, records), np.int32)
    traces, lists = np.zeros((SIZES + 2 + watch.shape[0], sweeps)), np.zeros(model.person.shape[0])
    now, sizes = np.zeros(model.person.shape[0]), np.zeros(SIZES + 1)
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
            traces[0, observed] = count(model, state, space.members, now, pairs, sizes)
            traces[1 : SIZES + 2, observed] = sizes
            traces[SIZES + 2 :, observed] = now[watch]
            lists += now
            if (observed + 1) % keep == 0:
                kept[(observed + 1) // keep - 1] = state.label
    return kept, traces, lists / sweeps, pairs


def _stamped(code: int) -> Any:
    @njit(cache=True, nogil=True)
    def sample(model, active, label, warm_up, sweeps, keep, watch, seed):  # type: ignore[no-untyped-def]
        """Run one chain.

        Parameters
        ----------
        model : Model
        active : bool (records,): records that every sweep visits; the others are visited now and then only
        label : int64 (records,): person of each record at the start, numbers below ``records``
        warm_up, sweeps : sweeps before and while the chain is observed
        keep : of so many observed sweeps one partition is kept, the last
        watch : int64 (watched,): sets of lists whose persons are counted after each observed sweep
        seed : of the chain

        Returns
        -------
        kept : int32 (sweeps // keep, records)
        traces : float64 (1 + SIZES + 1 + watched, sweeps): after each observed sweep, the pairs of records that are
            one person, the persons by number of records, those who are on exactly the watched sets of lists
        lists : float64 (2^sources,): mean number of persons who are on exactly these lists
        pairs : int32 (neighbours,): observed sweeps after which a record and its neighbour of higher number were one
            person
        """
        _ = code
        return _sample(model, active, label, warm_up, sweeps, keep, watch, seed)

    return sample


sample = _stamped(digest(members, trees, weights))
