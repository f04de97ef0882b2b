"""All decomposable (chordal) graphs on up to six vertices.

Every graph is a bitmask over the pairs of vertices; all are looked at in one go. Maximum cardinality search (Tarjan &
Yannakakis 1984) visits next the vertex with most visited neighbours; the graph is chordal exactly where the visited
neighbours of every vertex are joined to each other. The order also gives what a decomposable model needs: the joint
density is the product over vertices of p(vertex | earlier neighbours), so the log-density of a graph is the sum over
vertices of M(vertex and earlier neighbours) - M(earlier neighbours), for any function M of sets of vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from linkage.research.estimate.lattice import Floats, pairs

__all__ = ["MOST_LISTS", "ChordalGraphs", "chordal_graphs"]

MOST_LISTS = 6  # 18,154 graphs of 32,768; seven would be 617,675

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ChordalGraphs:
    """The G decomposable graphs on ``t`` vertices; a set of vertices is a bitmask.

    Attributes
    ----------
    t
        Number of vertices.
    neighbours
        Shape ``(G, t)``: the set of neighbours of each vertex.
    coefficients
        Shape ``(G, 2**t)``: how often each set counts: 1 for a clique, minus its multiplicity for a separator.
    """

    t: int
    neighbours: Ints
    coefficients: Floats

    @property
    def complete(self) -> int:
        """Position of the complete graph."""
        return int(np.flatnonzero(self.coefficients[:, -1])[0])

    def cliques(self, graph: int) -> tuple[int, ...]:
        """Maximal cliques of a graph, the smaller numbers first."""
        return tuple(int(s) for s in np.flatnonzero(self.coefficients[graph] > 0))

    def separators(self, graph: int) -> tuple[int, ...]:
        """Separators of a graph that are not empty, each as often as it counts."""
        row = self.coefficients[graph].astype(np.int64)
        return tuple(int(s) for s in np.flatnonzero(row < 0) if s for _ in range(-row[s]))


def _neighbours(t: int) -> Ints:
    """Neighbours of each vertex in all 2^(t (t-1) / 2) graphs."""
    graphs = np.arange(2 ** len(pairs(t)), dtype=np.int64)
    found = np.zeros((graphs.size, t), dtype=np.int64)
    for edge, pair in enumerate(pairs(t)):
        present = (graphs >> edge) & 1
        i, j = (v for v in range(t) if pair >> v & 1)
        found[:, i] |= present << j
        found[:, j] |= present << i
    return found


def _search(neighbours: Ints, t: int) -> tuple[npt.NDArray[np.bool_], Ints, Ints]:
    """Search every graph; give which are chordal, and for each step the vertex and its earlier neighbours (sets)."""
    rows = np.arange(len(neighbours))
    visited = np.zeros(len(neighbours), dtype=np.int64)
    chordal = np.ones(len(neighbours), dtype=bool)
    vertices, earlier = np.empty((2, t, len(neighbours)), dtype=np.int64)
    bits = 1 << np.arange(t)
    for step in range(t):
        weights = np.bitwise_count(neighbours & visited[:, None]).astype(np.int64)
        vertex = np.where(visited[:, None] & bits, -1, weights).argmax(axis=1)
        before = neighbours[rows, vertex] & visited
        for u in range(t):
            joined = before & ~(neighbours[:, u] | bits[u]) == 0
            chordal &= joined | (before & bits[u] == 0)
        vertices[step], earlier[step] = bits[vertex], before
        visited |= bits[vertex]
    return chordal, vertices, earlier


@lru_cache(maxsize=16)
def chordal_graphs(t: int, joined: tuple[int, ...] = ()) -> ChordalGraphs:
    """Enumerate all decomposable graphs on ``t`` vertices: 1, 2, 8, 61, 822, 18,154 for t = 1 to 6.

    Parameters
    ----------
    t
        Number of vertices.
    joined
        Pairs of vertices, as sets, that are joined in every graph; graphs in which one of them is not are left out.

    Raises
    ------
    ValueError
        ``t`` is not between 1 and 6, or what is to be joined is no pair of vertices.
    """
    if joined:
        if not set(joined) <= set(pairs(t)):
            raise ValueError("only pairs of vertices can be joined")
        every = chordal_graphs(t)
        ends = [[v for v in range(t) if pair >> v & 1] for pair in joined]
        held = np.logical_and.reduce([every.neighbours[:, i] >> j & 1 for i, j in ends])
        return ChordalGraphs(t, every.neighbours[held], every.coefficients[held])
    if not 1 <= t <= MOST_LISTS:
        raise ValueError("decomposable graphs are enumerated for one to six vertices")
    neighbours = _neighbours(t)
    chordal, vertices, earlier = _search(neighbours, t)
    kept = np.flatnonzero(chordal)
    coefficients = np.zeros((kept.size, 2**t))
    rows = np.arange(kept.size)
    for step in range(t):
        coefficients[rows, (vertices | earlier)[step, kept]] += 1
        coefficients[rows, earlier[step, kept]] -= 1
    coefficients[:, 0] = 0  # the empty set carries no information
    return ChordalGraphs(t, neighbours[kept], coefficients)
