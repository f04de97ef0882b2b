"""Spanning trees of persons of many records, kept as records come and go.

The heaviest spanning tree of k records takes k^2 / 2 match weights to find. Where one record more or less is weighed,
which the sampler does for every record in every sweep, the tree that is there says most of it: a record that comes
brings k pairs, each of which replaces at most the lightest on the way between its ends (Spira and Pan 1975); one that
goes leaves the tree in pieces, nearly always a large one and some of a few records, and only pairs from piece to piece
are looked at. What is weighed is written to a proposal and taken over only where the record does move.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linkage.hub.weights import between, cut, fast, standing

__all__ = ["MANY", "Forest", "adopt", "graft", "new_forest", "plant", "prune"]

MANY = 12
"""Records of a person above which its tree is kept."""

_DENSE = 8
"""Neighbours for each weight wanted up to which all of them are laid out, rather than searched."""


class Forest(NamedTuple):
    """The trees of all large persons, and the proposal.

    Attributes
    ----------
    up, edge
        int64, float64, shape (records,): the record through which a record hangs on its person's tree, -1 at the top;
        their match weight.
    pairs
        float64, shape (records,): by person, sum of the cut weights of all its pairs.
    new_up, new_edge
        The same of a person that is weighed.
    known
        float64, shape (records,): NaN, but for the neighbours of a record while their weights are looked up.
    row, piece, best, via, added
        Shape (records,): space.
    """

    up: NDArray[np.int64]
    edge: NDArray[np.float64]
    pairs: NDArray[np.float64]
    new_up: NDArray[np.int64]
    new_edge: NDArray[np.float64]
    known: NDArray[np.float64]
    row: NDArray[np.float64]
    piece: NDArray[np.int64]
    best: NDArray[np.float64]
    via: NDArray[np.int64]
    added: NDArray[np.int64]


@njit(nogil=True)
def new_forest(records):  # type: ignore[no-untyped-def]
    """Return a forest of no trees."""
    nobody, nothing = np.full(records, -1), np.zeros(records)
    return Forest(
        up=nobody.copy(),
        edge=nothing.copy(),
        pairs=nothing.copy(),
        new_up=nobody.copy(),
        new_edge=nothing.copy(),
        known=np.full(records, np.nan),
        row=nothing.copy(),
        piece=nobody.copy(),
        best=nothing.copy(),
        via=nobody.copy(),
        added=nobody.copy(),
    )


@fast
def _look_up(model, forest, i, members, size):  # type: ignore[no-untyped-def]
    """Write the match weights of record i and some others down, in their order."""
    row, known, start, end = forest.row, forest.known, model.starts[i], model.starts[i + 1]
    if end - start > _DENSE * size:
        for a in range(size):
            row[a] = between(model, i, members[a])
        return
    for place in range(start, end):
        known[model.others[place]] = model.weights[place]
    for a in range(size):
        weight = known[members[a]]
        row[a] = model.far[model.source[i], model.source[members[a]]] if np.isnan(weight) else weight
    for place in range(start, end):
        known[model.others[place]] = np.nan


@fast
def plant(model, forest, number, members, size):  # type: ignore[no-untyped-def]
    """Find the tree of person ``number`` (Prim) and keep it; return the log weight of the person."""
    best, via, pairs = forest.best, forest.via, 0.0
    for b in range(size):
        best[b], via[b] = -np.inf, 0
    forest.new_up[members[0]], last = -1, 0
    for _ in range(size - 1):
        best[last] = np.inf  # is in the tree
        _look_up(model, forest, members[last], members, size)
        following = -1
        for b in range(size):
            if best[b] == np.inf:
                continue
            pairs += cut(model, forest.row[b])
            if forest.row[b] > best[b]:
                best[b], via[b] = forest.row[b], last
            if following < 0 or best[b] > best[following]:
                following = b
        forest.new_up[members[following]] = members[via[following]]
        forest.new_edge[members[following]] = best[following]
        last = following
    adopt(forest, number, members, size, pairs)
    return _weigh(model, forest, members, size, pairs)


@fast
def adopt(forest, number, members, size, pairs):  # type: ignore[no-untyped-def]
    """Take a proposal over."""
    for a in range(size):
        forest.up[members[a]], forest.edge[members[a]] = forest.new_up[members[a]], forest.new_edge[members[a]]
    forest.pairs[number] = pairs


@fast
def graft(model, forest, number, members, size, i):  # type: ignore[no-untyped-def]
    """Propose that record i, which ``members[size]`` shall be, joins a person with a tree.

    Returns the log weight then, and the sum of the cut weights of all pairs.
    """
    up, edge, best, pairs = forest.new_up, forest.new_edge, forest.best, forest.pairs[number]
    top, least, nearest = -1, np.inf, 0
    _look_up(model, forest, i, members, size)
    for a in range(size):
        v = members[a]
        up[v], edge[v] = forest.up[v], forest.edge[v]
        if up[v] < 0:
            top = v
        else:
            least = min(least, edge[v])
        best[a] = forest.row[a]
        pairs += cut(model, best[a])
        if best[a] > best[nearest]:
            nearest = a
    up[i] = -1
    _hang(up, edge, members[nearest], top, i, best[nearest])
    for a in range(size):
        if a == nearest or best[a] <= least:
            continue
        lightest, v = members[a], up[members[a]]
        while v != i:
            if edge[v] < edge[lightest]:
                lightest = v
            v = up[v]
        if best[a] > edge[lightest]:
            _hang(up, edge, members[a], lightest, i, best[a])
    return _weigh(model, forest, members, size + 1, pairs), pairs


@fast
def prune(model, forest, number, members, size, i):  # type: ignore[no-untyped-def]
    """Propose that record i, which ``members[size]`` is, leaves a person with a tree.

    Returns as :func:`graft`.
    """
    up, edge, pairs = forest.new_up, forest.new_edge, forest.pairs[number]
    _look_up(model, forest, i, members, size)
    for a in range(size):
        v = members[a]
        up[v], edge[v] = forest.up[v], forest.edge[v]
        pairs -= cut(model, forest.row[a])
    _name_pieces(forest, members, size, i)
    largest = _largest_piece(forest, members, size)
    if up[largest] == i:
        up[largest] = -1
    _rejoin(model, forest, members, size, largest)
    return _weigh(model, forest, members, size, pairs), pairs


@fast
def _name_pieces(forest, members, size, i):  # type: ignore[no-untyped-def]
    """Name the pieces into which a tree falls without record i by their tops."""
    up, piece = forest.new_up, forest.piece
    for a in range(size):
        piece[members[a]] = -1
    for a in range(size):
        top = members[a]
        while piece[top] < 0 and up[top] >= 0 and up[top] != i:
            top = up[top]
        if piece[top] >= 0:
            top = piece[top]
        v = members[a]
        while v >= 0 and v != i and piece[v] < 0:
            piece[v] = top
            v = up[v]


@fast
def _largest_piece(forest, members, size):  # type: ignore[no-untyped-def]
    count, largest = forest.via, members[0]
    for a in range(size):
        count[members[a]] = 0
    for a in range(size):
        count[forest.piece[members[a]]] += 1
    for a in range(size):
        if count[members[a]] > count[largest]:
            largest = members[a]
    return largest


@fast
def _rejoin(model, forest, members, size, first):  # type: ignore[no-untyped-def]
    """Join pieces by the heaviest pairs between them, beginning with one of them (Prim)."""
    up, edge, piece, best, via = forest.new_up, forest.new_edge, forest.piece, forest.best, forest.via
    for b in range(size):
        best[b], via[b] = -np.inf, -1
    top, outside = first, size
    while outside:
        number = 0
        for b in range(size):
            if piece[members[b]] == top:
                best[b] = np.inf  # is in the tree
                forest.added[number] = members[b]
                number += 1
        outside -= number
        _reach(model, forest, members, size, number, outside)
        following = -1
        for b in range(size):
            if best[b] < np.inf and (following < 0 or best[b] > best[following]):
                following = b
        if following >= 0:
            top = piece[members[following]]
            _hang(up, edge, members[following], top, via[following], best[following])


@fast
def _reach(model, forest, members, size, number, outside):  # type: ignore[no-untyped-def]
    """Note the heaviest pairs of those outside the tree with the ``number`` records added to it last."""
    added, best, via, row = forest.added, forest.best, forest.via, forest.row
    if outside < number:
        for b in range(size):
            if best[b] < np.inf:
                _look_up(model, forest, members[b], added, number)
                for a in range(number):
                    if row[a] > best[b]:
                        best[b], via[b] = row[a], added[a]
        return
    for a in range(number):
        _look_up(model, forest, added[a], members, size)
        for b in range(size):
            if row[b] > best[b]:
                best[b], via[b] = row[b], added[a]


@fast
def _hang(up, edge, v, top, onto, weight):  # type: ignore[no-untyped-def]
    """Hang the piece below ``top`` onto another record by its record v, which becomes its top."""
    child, parent, between_them = v, up[v], edge[v]
    up[v], edge[v] = onto, weight
    while child != top:
        further, weight_further = up[parent], edge[parent]
        up[parent], edge[parent] = child, between_them
        child, parent, between_them = parent, further, weight_further


@fast
def _weigh(model, forest, members, size, pairs):  # type: ignore[no-untyped-def]
    """Return the log weight of a person whose tree is proposed."""
    tree, tree_cut = 0.0, 0.0
    for a in range(size):
        if forest.new_up[members[a]] >= 0:
            tree += forest.new_edge[members[a]]
            tree_cut += cut(model, forest.new_edge[members[a]])
    shrink = model.shrink[min(size, model.shrink.shape[0] - 1)]
    return standing(model, members, size) + tree + shrink * (pairs - tree_cut)
