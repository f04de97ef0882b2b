"""Persons from pairs: best pairs first, under the sources' own rules, never bare transitive closure."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.errors import LinkError

__all__ = ["cluster", "cluster_reference"]


THRESHOLD = 0.5
"""More likely one person than not. The probabilities are calibrated, so that this is not a tuned number."""


_ON_AVERAGE = 0.8
"""Pairs between two clusters may be on average a little below the threshold: gaps make some of them look doubtful.
Chosen by measurement: 1.0 costs hist3 two points of F1, 0.5 lets contradicted pairs through."""


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
    roots = _merge(left[order], right[order], held, repeats, starts, sides[:, 1].copy(), chances, threshold)
    return _dense(roots)


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
def _merge(left, right, held, repeats, starts, rights, chances, threshold):  # type: ignore[no-untyped-def]
    parent = np.arange(held.shape[0])
    following = np.full(held.shape[0], -1)  # next record of the same cluster
    last = np.arange(held.shape[0])
    known = repeats.shape[0]
    for pair in range(known + left.shape[0]):
        a, b = (repeats[pair, 0], repeats[pair, 1]) if pair < known else (left[pair - known], right[pair - known])
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a == b:
            continue
        if pair >= known:
            if held[a] & held[b] != 0:
                continue
            total, count = 0.0, 0
            i = a
            while i >= 0:
                j = b
                while j >= 0:
                    total += _chance(i, j, starts, rights, chances)
                    count += 1
                    j = following[j]
                i = following[i]
            if total <= _ON_AVERAGE * threshold * count:
                continue
        low, high = min(a, b), max(a, b)
        parent[high] = low
        held[low] |= held[high]
        following[last[low]] = high
        last[low] = last[high]
    for record in range(parent.shape[0]):
        root = record
        while parent[root] != root:
            root = parent[root]
        parent[record] = root
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
