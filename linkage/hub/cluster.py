"""Persons from pairs: best pairs first, under the sources' own rules, never bare transitive closure."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.typed import Dict
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from linkage.errors import LinkError

__all__ = ["THRESHOLD", "cluster", "cluster_reference"]


THRESHOLD = 0.5
"""More likely one person than not. The probabilities are calibrated, so that this is not a tuned number."""


_ON_AVERAGE = 0.8
"""Pairs between two clusters may be on average a little below the threshold: gaps make some of them look doubtful.
Chosen by measurement: 1.0 costs hist3 two points of F1, 0.5 lets contradicted pairs through."""


_CROWD = 32
"""Records that likely pairs join above which sums between clusters are kept."""


def cluster(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    probability: NDArray[np.float64],
    source: NDArray[np.int16],
    deduplicated: NDArray[np.bool_],
    repeats: NDArray[np.int64],
    *,
    threshold: float = THRESHOLD,
) -> NDArray[np.int64]:
    """Merge records into persons.

    Pairs above the threshold are taken in order of probability. Two clusters are merged if the pairs between them are
    likely enough on average (four fifths of the threshold), a pair that was not even a candidate counting as zero:
    one doubtful pair does not fuse two persons whose other records contradict it. They are never merged where both
    already hold a record of a source that has deduplicated itself: it gives at most one record to a person.

    Parameters
    ----------
    left, right, probability
        Shape (pairs,): the weighed pairs, ``left < right``, each once.
    source
        Shape (records,).
    deduplicated
        Shape (sources,).
    repeats
        Shape (repeats, 2): pairs of records of one source that are one person all the same; they are merged first.
    threshold
        Pairs at or below it are no links.

    Returns
    -------
    numpy.ndarray
        int64, shape (records,): person of each record, dense, numbered by first record.

    Raises
    ------
    LinkError
        More than 64 sources, or a probability that is not a number from 0 to 1.
    """
    if len(deduplicated) > 64:
        raise LinkError("more than 64 sources", reason="too-many-sources")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise LinkError("a match probability is not a number from 0 to 1", reason="bad-weights")
    by_pair = np.lexsort((right, left))
    sides, chances = np.column_stack([left, right])[by_pair], probability[by_pair]
    over = np.flatnonzero(probability > threshold)
    order = over[np.lexsort((right[over], left[over], -probability[over]))]
    held = np.where(deduplicated[source], np.uint64(1) << source.astype(np.uint64), np.uint64(0)).astype(np.uint64)
    starts = np.searchsorted(sides[:, 0], np.arange(len(source) + 1))
    crowd = _crowds(len(source), np.concatenate([np.column_stack([left[order], right[order]]), repeats]))
    roots = _merge(left[order], right[order], held, repeats, crowd, starts, sides[:, 1].copy(), chances, threshold)
    return _dense(roots)


def _crowds(records: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each set of many records that pairs join; -1 for records of small ones.

    In these the sums between clusters are kept, not added up for every pair: of a thousand records of two persons there
    are a quarter of a million pairs between the two.
    """
    joined = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(records, records))
    component = connected_components(joined, directed=False)[1].astype(np.int64)
    return np.where(np.bincount(component, minlength=1)[component] > _CROWD, component, -1)


def _dense(roots: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


@njit(nogil=True, cache=True)
def _chance(a, b, starts, rights, chances):  # type: ignore[no-untyped-def]
    """Look up a pair's probability; zero if it was never a candidate."""
    low, high = min(a, b), max(a, b)
    place = starts[low] + np.searchsorted(rights[starts[low] : starts[low + 1]], high)
    return chances[place] if place < starts[low + 1] and rights[place] == high else 0.0


@njit(nogil=True, cache=True)
def _root(parent, a):  # type: ignore[no-untyped-def]
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    return a


@njit(nogil=True, cache=True)
def _total(a, b, following, starts, rights, chances):  # type: ignore[no-untyped-def]
    """Add up the probabilities of all pairs between two clusters, and count these."""
    total, count = 0.0, 0
    i = a
    while i >= 0:
        j = b
        while j >= 0:
            total += _chance(i, j, starts, rights, chances)
            count += 1
            j = following[j]
        i = following[i]
    return total, count


@njit(nogil=True, cache=True)
def _meet(crowd, starts, rights, chances):  # type: ignore[no-untyped-def]
    """Write the probabilities between the records of a crowd down by both; link every record to those it has any with.

    Returns the probabilities by lower record times records plus the other, the first link of each record, the last, and
    what each link leads to and is followed by.
    """
    sums = Dict.empty(types.int64, types.float64)
    first, last = np.full(crowd.shape[0], -1), np.full(crowd.shape[0], -1)
    links = 0
    for i in range(crowd.shape[0]):
        for place in range(starts[i], starts[i + 1]):
            links += 2 * (crowd[i] >= 0 and crowd[i] == crowd[rights[place]])
    other, following = np.empty(links, np.int64), np.full(links, -1)
    links = 0
    for i in range(crowd.shape[0]):
        for place in range(starts[i], starts[i + 1]):
            j = rights[place]
            if crowd[i] < 0 or crowd[i] != crowd[j]:
                continue
            sums[i * crowd.shape[0] + j] = chances[place]
            for here, there in ((i, j), (j, i)):
                other[links] = there
                if first[here] < 0:
                    first[here] = links
                else:
                    following[last[here]] = links
                last[here] = links
                links += 1
    return sums, first, last, other, following


@njit(nogil=True, cache=True)
def _absorb(kept, lost, parent, sums, first, last, other, following):  # type: ignore[no-untyped-def]
    """Add the sums of a cluster to those of the one that it becomes part of."""
    records = parent.shape[0]
    link = first[lost]
    while link >= 0:
        there = _root(parent, other[link])
        old, new = (min(lost, there) * records + max(lost, there), min(kept, there) * records + max(kept, there))
        if there != kept and there != lost and old in sums:
            sums[new] = sums.get(new, 0.0) + sums.pop(old)
        link = following[link]
    if first[lost] >= 0:
        if first[kept] < 0:
            first[kept] = first[lost]
        else:
            following[last[kept]] = first[lost]
        last[kept] = last[lost]


@njit(nogil=True, cache=True)
def _merge(left, right, held, repeats, crowd, starts, rights, chances, threshold):  # type: ignore[no-untyped-def]
    records, known = held.shape[0], repeats.shape[0]
    parent, size = np.arange(records), np.ones(records, np.int64)
    following, last = np.full(records, -1), np.arange(records)  # next record of the same cluster
    sums, first_link, last_link, other, next_link = _meet(crowd, starts, rights, chances)
    for pair in range(known + left.shape[0]):
        a, b = (repeats[pair, 0], repeats[pair, 1]) if pair < known else (left[pair - known], right[pair - known])
        a, b = _root(parent, a), _root(parent, b)
        if a == b:
            continue
        if pair >= known:
            if held[a] & held[b] != 0:
                continue
            if crowd[a] >= 0:
                total, count = sums.get(min(a, b) * records + max(a, b), 0.0), size[a] * size[b]
            else:
                total, count = _total(a, b, following, starts, rights, chances)
            if total <= _ON_AVERAGE * threshold * count:
                continue
        kept, lost = (a, b) if size[a] >= size[b] else (b, a)
        if crowd[a] >= 0:
            _absorb(kept, lost, parent, sums, first_link, last_link, other, next_link)
        parent[lost] = kept
        held[kept] |= held[lost]
        size[kept] += size[lost]
        following[last[kept]] = lost
        last[kept] = last[lost]
    for record in range(records):
        parent[record] = _root(parent, record)
    return parent


def cluster_reference(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    probability: NDArray[np.float64],
    source: NDArray[np.int16],
    deduplicated: NDArray[np.bool_],
    repeats: NDArray[np.int64],
    *,
    threshold: float = THRESHOLD,
) -> NDArray[np.int64]:
    """Plain twin of :func:`cluster`: sets of records, merged one pair at a time."""
    persons = [{record} for record in range(len(source))]
    where = list(range(len(source)))
    known = {(a, b): p for a, b, p in zip(left.tolist(), right.tolist(), probability.tolist(), strict=True)}
    sure = [(int(a), int(b), True) for a, b in repeats]
    likely = sorted((pair for pair in known if known[pair] > threshold), key=lambda pair: (-known[pair], pair))
    for a, b, repeat in sure + [(a, b, False) for a, b in likely]:
        one, other = persons[where[a]], persons[where[b]]
        shared = {source[x] for x in one} & {source[x] for x in other}
        between = [known.get((min(i, j), max(i, j)), 0.0) for i in sorted(one) for j in sorted(other)]
        allowed = not any(deduplicated[s] for s in shared) and sum(between) > _ON_AVERAGE * threshold * len(between)
        if one is not other and (repeat or allowed):
            one |= other
            for record in other:
                where[record] = where[a]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root, len(numbers)) for root in where], np.int64)
