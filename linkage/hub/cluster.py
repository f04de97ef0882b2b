"""Persons from pairs: best pairs first, under the sources' own rules, never bare transitive closure."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.errors import LinkError

__all__ = ["cluster", "cluster_reference"]


def cluster(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    probability: NDArray[np.float64],
    source: NDArray[np.int16],
    deduplicated: NDArray[np.bool_],
    repeats: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Merge records into persons.

    Links are taken in order of probability. Two clusters are merged unless both already hold a record of the same
    source that has deduplicated itself: such a source gives at most one record to a person.

    Parameters
    ----------
    left, right, probability
        Shape (links,): the pairs decided to be links, and how probable each is.
    source
        Shape (records,).
    deduplicated
        Shape (sources,).
    repeats
        Shape (repeats, 2): pairs of records of one source that are one person all the same; they are merged first.

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
    order = np.lexsort((right, left, -probability))
    held = np.where(deduplicated[source], np.uint64(1) << source.astype(np.uint64), np.uint64(0))
    roots = _merge(left[order], right[order], held.astype(np.uint64), repeats)
    return _dense(roots)


def _dense(roots: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


@njit(nogil=True, cache=True)
def _merge(left, right, held, repeats):  # type: ignore[no-untyped-def]
    parent = np.arange(held.shape[0])
    known = repeats.shape[0]
    for pair in range(known + left.shape[0]):
        a, b = (repeats[pair, 0], repeats[pair, 1]) if pair < known else (left[pair - known], right[pair - known])
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a != b and (pair < known or held[a] & held[b] == 0):
            low, high = min(a, b), max(a, b)
            parent[high] = low
            held[low] |= held[high]
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
) -> NDArray[np.int64]:
    """Plain twin of :func:`cluster`: sets of records, merged one pair at a time."""
    persons = [{record} for record in range(len(source))]
    where = list(range(len(source)))
    pairs = sorted(zip((-probability).tolist(), left.tolist(), right.tolist(), strict=True))
    first = [(-2.0, int(a), int(b)) for a, b in repeats]
    for rank, a, b in first + pairs:
        one, other = persons[where[a]], persons[where[b]]
        shared = {source[x] for x in one} & {source[x] for x in other}
        if one is not other and (rank == -2.0 or not any(deduplicated[s] for s in shared)):
            one |= other
            for record in other:
                where[record] = where[a]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root, len(numbers)) for root in where], np.int64)
