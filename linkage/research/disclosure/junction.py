"""Cut the ties between attributes into cliques, and the cliques into a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

__all__ = ["cliques_of", "tree_of"]


def cliques_of(scopes: Iterable[frozenset[str]]) -> list[tuple[str, ...]]:
    """Return the maximal cliques of a chordal graph in which each scope is complete (greedy minimum fill)."""
    neighbours: dict[str, set[str]] = {}
    for attributes in sorted(map(sorted, scopes)):
        for name in attributes:
            neighbours.setdefault(name, set()).update(set(attributes) - {name})
    found: list[frozenset[str]] = []
    while neighbours:
        name = min(neighbours, key=lambda a: (_fill(neighbours, a), len(neighbours[a]), a))
        around = neighbours.pop(name)
        found.append(frozenset(around | {name}))
        for other in around:
            neighbours[other] |= around - {other}
            neighbours[other].discard(name)
    maximal = [clique for clique in found if not any(clique < other for other in found)]
    return [tuple(sorted(clique)) for clique in dict.fromkeys(maximal)] or [()]


def _fill(neighbours: Mapping[str, set[str]], name: str) -> int:
    return sum(b not in neighbours[a] for a, b in combinations(sorted(neighbours[name]), 2))


def tree_of(cliques: Sequence[tuple[str, ...]]) -> list[tuple[int, int]]:
    """Return a junction tree: a spanning tree of greatest shared size (Jensen and Jensen 1994)."""
    edges: list[tuple[int, int]] = []
    inside = {0}
    while len(inside) < len(cliques):
        one, other = max(
            ((i, j) for i in sorted(inside) for j in range(len(cliques)) if j not in inside),
            key=lambda pair: len(set(cliques[pair[0]]) & set(cliques[pair[1]])),
        )
        edges.append((one, other))
        inside.add(other)
    return edges
