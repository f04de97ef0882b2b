"""What somebody who holds the whole release can work out: an integer program over all tables together.

Persons are non-negative whole numbers in the cross of all attributes. That cross is far too large to write down, and
need not be: the tables tie together only the attributes that they cross. The graph of those ties is made chordal and
cut into cliques; a non-negative integer table for each clique, agreeing on what neighbours in the junction tree share,
is the margin of at least one full table (decomposable models: Lauritzen 1996, Graphical Models, section 3.1; glue along
the tree, cell by cell of the separator). So the program below admits exactly what the full cross admits, no more and
no less, and its bounds are the sharpest there are from the published numbers, the links and the marks.

References
----------
Fischetti and Salazar (2001), Solving the cell suppression problem on tabular data with linear constraints, Management
Science 47(7). Dobra and Fienberg (2000), Bounds for cell entries in contingency tables given marginal totals and
decomposable graphs, PNAS 97(22).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from linkage.errors import ReleaseError
from linkage.research.disclosure.cells import Cells, Key

__all__ = ["Attacker"]

Vector = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Sums: TypeAlias = sparse.csr_array

_LARGEST = 50_000  # micro cells; beyond it the tables are tied too densely to be judged, and are refused
_SLACK = 1e-6
_NONE: Vector = np.zeros(0)
_NODES = 2_000  # of one branch and bound: a limit that does not depend on the machine, unlike a time


class Attacker:
    """The program of a set of cells.

    Parameters
    ----------
    cells
        The cells, shown and implied.

    Attributes
    ----------
    keys
        All cells, the shown ones first: position -> key.

    Raises
    ------
    ReleaseError
        ``too-dense`` where the attributes are crossed so much that the program would pass 50,000 variables.
    """

    def __init__(self, cells: Cells) -> None:
        self.keys: list[Key] = [*cells.shown, *cells.implied]
        scopes = [frozenset(attribute for attribute, _ in key) for key in self.keys]
        scopes += [frozenset(attribute for attribute, _ in key) for link in cells.links for _, key in link]
        self._domains = {name: {atom: i for i, atom in enumerate(atoms)} for name, atoms in cells.domains.items()}
        self._cliques = _cliques(scopes)
        sizes = [math.prod(len(self._domains[a]) for a in clique) for clique in self._cliques]
        if sum(sizes) > _LARGEST:
            raise ReleaseError(
                "the tables cross too many attributes with each other to be audited together",
                reason="too-dense",
                hint="cross fewer attributes with one another, or release fewer tables",
            )
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._sums = self._matrix([[(1, key)] for key in self.keys])
        self._never = [key for link in cells.links if len(link) == 1 for _, key in link]
        self._links = self._matrix([link for link in cells.links if len(link) > 1])
        self._shared, self._one, self._other = self._separators()

    # The program

    def _matrix(self, rows: Sequence[Sequence[tuple[int, Key]]]) -> Sums:
        """Write weighted sums of cells as rows over the variables."""
        width = int(self._offsets[-1])
        parts = _rows([self._variables(key) for row in rows for _, key in row], width)
        weights = [weight for row in rows for weight, _ in row]
        lines = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        gather = sparse.csr_array((weights, (lines, np.arange(len(weights)))), shape=(len(rows), len(weights)))
        return sparse.csr_array(gather @ parts)

    def _variables(self, key: Key, clique: int | None = None) -> Places:
        """Return the variables that add up to a cell, in the smallest clique that can tell it."""
        wanted = dict(key)
        if clique is None:
            able = [i for i, names in enumerate(self._cliques) if wanted.keys() <= set(names)]
            clique = min(able, key=lambda i: int(self._offsets[i + 1] - self._offsets[i]))
        names = self._cliques[clique]
        shape = [len(self._domains[name]) for name in names]
        index = [
            sorted(self._domains[name][atom] for atom in wanted.get(name, frozenset(self._domains[name])))
            for name in names
        ]
        inside = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
        chosen: Places = inside[np.ix_(*index)].ravel() + self._offsets[clique]
        return chosen

    def _separators(self) -> tuple[list[Key], Sums, Sums]:
        """Return the cells that neighbours in the junction tree share, as sums in the one and in the other."""
        keys: list[Key] = []
        sides: tuple[list[Places], list[Places]] = ([], [])
        for pair in _tree(self._cliques):
            shared = sorted(set(self._cliques[pair[0]]) & set(self._cliques[pair[1]]))
            for atoms in product(*[self._domains[name] for name in shared]):
                keys.append(frozenset((name, frozenset([atom])) for name, atom in zip(shared, atoms, strict=True)))
                for side, clique in zip(sides, pair, strict=True):
                    side.append(self._variables(keys[-1], clique))
        return keys, *(_rows(side, int(self._offsets[-1])) for side in sides)

    # Questions

    def know(self, lower: Mapping[Key, float], upper: Mapping[Key, float]) -> None:
        """Set what is known of the cells: bounds for each; equal bounds are a published number, none is nothing."""
        self._lower = np.array([lower.get(key, 0.0) for key in self.keys])
        self._upper = np.array([upper.get(key, np.inf) for key in self.keys])
        self._known = self._program(self._lower, self._upper)
        self._start: Vector | None = None

    def push(self, cells: Sequence[int], targets: Vector, *, up: bool) -> Vector | None:
        """Find a table that takes cells as far as the targets, or as near as all of them together go.

        Parameters
        ----------
        cells
            Positions in ``keys``.
        targets
            One for each: a height to be reached (``up``), or a depth.

        Returns
        -------
        ndarray of shape (cells,), or None
            Every cell's value in that table, which may be in fractions of persons; nan for cells that have nothing to
            do with those asked for. None where there is no table.
        """
        chosen = np.asarray(cells, dtype=np.int64)
        values = np.full(len(self.keys), np.nan)
        parts = self._known.part_of_sum[chosen]
        for part in np.unique(parts):
            used = self._known.variables(part)
            here = chosen[parts == part]
            # up: 0 <= t <= target, t <= cell, maximise t; down: s >= cell - target, s >= 0, minimise s
            count, goals = here.size, targets[parts == part]
            rows = sparse.hstack([self._sums[here][:, used], -sparse.eye_array(count)])
            bounds = (np.zeros(count), np.full(count, np.inf)) if up else (np.full(count, -np.inf), goals)
            limit = goals if up else np.full(count, np.inf)
            cost = np.append(np.zeros(used.size), np.full(count, -1.0 if up else 1.0))
            answer = self._known.solve(used, rows, bounds, cost, limit)
            if answer is None:
                return None
            self._fill(values, part, used, answer)
        return values

    def witness(self, cell: int, target: float, *, up: bool) -> Vector | None:
        """Find a table in whole persons in which a cell is at the target, or beyond.

        Returns
        -------
        ndarray of shape (cells,), or None
            As :meth:`push`; None where there is no such table, or none was found within the search limit.
        """
        part = self._known.part_of_sum[cell]
        used = self._known.variables(part)
        if self._start is None:
            self._start = self._known.whole()
        if self._start is None:
            return None
        row = self._sums[[cell]][:, used]
        answer = self._known.near(used, self._start[used], row, target, up=up)
        if answer is None:
            return None
        values = np.full(len(self.keys), np.nan)
        self._fill(values, part, used, answer)
        return values

    def _fill(self, values: Vector, part: int, used: Places, answer: Vector) -> None:
        inside = np.flatnonzero(self._known.part_of_sum == part)
        values[inside] = self._sums[inside][:, used] @ answer[: used.size]

    def consistent(self) -> bool:
        """Tell whether any table at all fits what is known."""
        everything = list(range(len(self.keys)))
        return not self._known.broken and self.push(everything, np.zeros(len(everything)), up=True) is not None

    def least(self, cell: int) -> int:
        """Return the lower bound of a cell, in whole numbers, from the linear relaxation."""
        return math.ceil(self._known.least(*self._goal(cell, 1.0)) - _SLACK)

    def most(self, cell: int) -> int | None:
        """Return the upper bound of a cell, in whole numbers, from the linear relaxation; None is no bound."""
        high = self._known.least(*self._goal(cell, -1.0))
        return None if math.isinf(high) else math.floor(-high + _SLACK)

    def _goal(self, cell: int, sign: float) -> tuple[Places, Vector]:
        used = self._known.variables(self._known.part_of_sum[cell])
        return used, sign * self._sums[[cell]][:, used].toarray().ravel()

    def loosen(
        self, cell: int, target: float, cost: Mapping[int, float], *, up: bool, whole: bool = False
    ) -> list[int]:
        """Choose the published cells to withhold so that a cell can reach a target.

        Every published cell that has a cost may move away from its number, at its cost a person, but not below one
        (a withheld cell is known not to be zero). Those that move in the cheapest solution are to be withheld (Kelly,
        Golden and Assad 1992, Cell suppression: disclosure protection for sensitive tabular data, Networks 22).

        Returns
        -------
        list of int
            Positions in ``keys``; empty where none has to move, or the target is out of reach whatever is withheld.
        """
        movable = np.array(list(cost), dtype=np.int64)
        lower, upper = self._lower.copy(), self._upper.copy()
        lower[movable], upper[movable] = 0.0, np.inf
        program = self._program(lower, upper)
        movable = movable[program.part_of_sum[movable] == program.part_of_sum[cell]]
        prices = np.array([cost[int(i)] for i in movable])
        used = program.variables(program.part_of_sum[cell])
        count, values = movable.size, self._lower[movable]
        helper = sparse.eye_array(count)
        moves = sparse.hstack([self._sums[movable][:, used], -helper, helper])
        wish = sparse.hstack([self._sums[[cell]][:, used], sparse.csr_array((1, 2 * count))])
        bounds = (np.append(values, target if up else -np.inf), np.append(values, np.inf if up else target))
        limit = np.concatenate([np.full(count, np.inf), values - 1])
        rows = sparse.vstack([moves, wish])
        goal = np.concatenate([np.zeros(used.size), prices, prices])
        answer = program.solve(used, rows, bounds, goal, limit, whole=whole)
        if answer is None:
            return []
        moved = answer[used.size :]
        return [int(movable[i]) for i in np.flatnonzero(moved[:count] + moved[count:] > _SLACK)]

    def _program(self, lower: Vector, upper: Vector) -> _Program:
        """Write what is known as rows: bounded cells, neighbours that agree, links."""
        closed = np.zeros(int(self._offsets[-1]), dtype=np.bool_)
        for i in np.flatnonzero(upper == 0):
            closed[self._sums.indices[self._sums.indptr[i] : self._sums.indptr[i + 1]]] = True
        for key in self._never:
            closed[self._variables(key)] = True
        # Where neighbours share a published number they have nothing more to say to each other about it.
        number = {key: low for key, low, high in zip(self.keys, lower, upper, strict=True) if low == high}
        told = np.array([key in number for key in self._shared], dtype=np.bool_)
        values = np.array([number.get(key, 0.0) for key in self._shared])[told]
        binding = np.flatnonzero((lower > 0) | ((upper < np.inf) & (upper > 0)))
        one, other = self._one[np.flatnonzero(told)], self._other[np.flatnonzero(told)]
        agree = (self._one - self._other)[np.flatnonzero(~told)]
        rows = sparse.vstack([self._sums[binding], one, other, agree, self._links], format="csr")
        zeros = np.zeros(agree.shape[0] + self._links.shape[0])
        return _Program(
            rows,
            np.concatenate([lower[binding], values, values, zeros]),
            np.concatenate([upper[binding], values, values, zeros]),
            np.flatnonzero(~closed),
            self._sums,
        )


class _Program:
    """Rows over the variables, cut into parts that know nothing of each other."""

    def __init__(self, rows: Sums, lower: Vector, upper: Vector, columns: Places, sums: Sums) -> None:
        self._columns, self._width = columns, rows.shape[1]
        self._rows, sums = rows[:, columns], sums[:, columns]
        self._lower, self._upper = lower, upper
        self.broken = bool((lower[np.diff(self._rows.indptr) == 0] > 0).any())
        links = abs(sparse.vstack([self._rows, sums]))
        graph = sparse.block_array([[None, links], [links.T, None]])
        numbers = sparse.csgraph.connected_components(graph, directed=False)[1]
        self._part_of_row, self.part_of_sum, self._part = np.split(numbers, np.cumsum([rows.shape[0], sums.shape[0]]))

    def variables(self, part: int) -> Places:
        """Return the variables of a part: none for a sum of nothing."""
        chosen: Places = self._columns[self._part == part]
        return chosen

    def _restrict(self, used: Places) -> tuple[Sums, Vector, Vector]:
        inside = np.searchsorted(self._columns, used)
        chosen = np.flatnonzero(np.isin(self._part_of_row, self._part[inside]))
        return self._rows[chosen][:, inside], self._lower[chosen], self._upper[chosen]

    def least(self, used: Places, cost: Vector) -> float:
        """Return the smallest value of a cost on the variables used; minus infinity where there is none."""
        if not used.size:
            return 0.0
        rows, lower, upper = self._restrict(used)
        found = milp(cost, bounds=Bounds(0, np.inf), constraints=LinearConstraint(rows, lower, upper))
        return float(found.fun) if found.status == 0 else -math.inf

    def solve(
        self,
        used: Places,
        extra: sparse.sparray,
        extra_bounds: tuple[Vector, Vector],
        cost: Vector,
        limit: Vector,
        *,
        whole: bool = False,
    ) -> Vector | None:
        """Minimise a cost over the variables used and helpers in [0, limit], with extra rows over both."""
        rows, lower, upper = self._restrict(used)
        matrix = sparse.vstack([sparse.hstack([rows, sparse.csr_array((rows.shape[0], limit.size))]), extra])
        found = milp(
            cost,
            integrality=np.append(np.full(used.size, float(whole)), np.zeros(limit.size)),
            bounds=Bounds(0, np.append(np.full(used.size, np.inf), limit)),
            constraints=LinearConstraint(matrix, np.append(lower, extra_bounds[0]), np.append(upper, extra_bounds[1])),
            options={"node_limit": _NODES, "mip_rel_gap": 0.02},
        )
        return None if found.x is None else np.asarray(found.x, dtype=np.float64)

    def whole(self) -> Vector | None:
        """Return some table in whole persons; over all variables, those that are closed at zero."""
        found = np.zeros(self._width)
        for part in np.unique(self._part):
            used = self.variables(part)
            answer = self.solve(
                used, sparse.csr_array((0, used.size)), (_NONE, _NONE), np.zeros(used.size), _NONE, whole=True
            )
            if answer is None:
                return None
            found[used] = np.rint(answer)
        return found

    def near(self, used: Places, start: Vector, row: Sums, target: float, *, up: bool) -> Vector | None:
        """Return the whole-number table nearest to another in which a sum is at the target or beyond.

        The fewest persons moved is the easiest of all whole-number goals here: the corner of the relaxation that it
        leads to moves few of them around short cycles, and is nearly always whole.
        """
        rows, lower, upper = self._restrict(used)
        matrix = sparse.vstack([rows, row])
        low = np.append(lower, target if up else -np.inf) - matrix @ start
        high = np.append(upper, np.inf if up else target) - matrix @ start
        for integrality in (0, 1):
            found = milp(
                np.ones(2 * used.size),
                integrality=np.full(2 * used.size, integrality),
                bounds=Bounds(0, np.append(np.full(used.size, np.inf), start)),
                constraints=LinearConstraint(sparse.hstack([matrix, -matrix]), low, high),
                options={"node_limit": _NODES, "mip_rel_gap": 0.5},
            )
            if found.x is None:
                return None
            answer = start + found.x[: used.size] - found.x[used.size :]
            if np.abs(answer - np.rint(answer)).max(initial=0.0) <= _SLACK:
                return np.asarray(np.rint(answer), dtype=np.float64)
        return None


def _rows(parts: Sequence[Places], width: int) -> Sums:
    """Write sets of variables as rows of ones."""
    columns = np.concatenate([*parts, np.zeros(0, dtype=np.int64)])
    starts = np.cumsum([0, *(part.size for part in parts)])
    return sparse.csr_array((np.ones(columns.size), columns, starts), shape=(len(parts), width))


def _cliques(scopes: Iterable[frozenset[str]]) -> list[tuple[str, ...]]:
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


def _tree(cliques: Sequence[tuple[str, ...]]) -> list[tuple[int, int]]:
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
