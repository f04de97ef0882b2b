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
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from scipy import sparse

from linkage.errors import ReleaseError
from linkage.research.disclosure.cells import Cells, Key
from linkage.research.disclosure.junction import cliques_of, tree_of
from linkage.research.disclosure.program import Places, Program, Sums, Vector

__all__ = ["Attacker"]

_LARGEST = 50_000  # micro cells; beyond it the tables are tied too densely to be judged, and are refused
_SLACK = 1e-6


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
        self._cliques = cliques_of(scopes)
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
        self._start: Vector | None = None
        self._place = {key: i for i, key in enumerate(self.keys)}

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
        for pair in tree_of(self._cliques):
            shared = sorted(set(self._cliques[pair[0]]) & set(self._cliques[pair[1]]))
            for atoms in product(*[self._domains[name] for name in shared]):
                keys.append(frozenset((name, frozenset([atom])) for name, atom in zip(shared, atoms, strict=True)))
                for side, clique in zip(sides, pair, strict=True):
                    side.append(self._variables(keys[-1], clique))
        return keys, *(_rows(side, int(self._offsets[-1])) for side in sides)

    # Questions

    def know(self, lower: Mapping[Key, float], upper: Mapping[Key, float]) -> None:
        """Set what is known of the cells: bounds for each; equal bounds are a published number, none is nothing."""
        self._lower, self._upper = self._bounds(lower, upper)
        self._known = self._program(self._lower, self._upper)
        if self._start is not None:
            sums = self._sums @ self._start
            if (sums < self._lower).any() or (sums > self._upper).any():
                self._start = None  # a whole-number table of other knowledge

    def _bounds(self, lower: Mapping[Key, float], upper: Mapping[Key, float]) -> tuple[Vector, Vector]:
        low, high = [lower.get(key, 0.0) for key in self.keys], [upper.get(key, np.inf) for key in self.keys]
        return np.array(low), np.array(high)

    def settle(self) -> Vector | None:
        """Choose a table in whole persons that fits what is known, from which :meth:`witness` sets out.

        It is kept for as long as it fits what is known.

        Returns
        -------
        ndarray of shape (cells,), or None
            Every cell's value in it; None where there is no such table, or none was found within the search limit.
        """
        self._start = self._known.whole()
        return None if self._start is None else np.asarray(self._sums @ self._start)

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

    def nearest(self, lower: Mapping[Key, float], upper: Mapping[Key, float]) -> Vector | None:
        """Find the table in whole persons nearest to the one of :meth:`settle` in which cells have other bounds.

        What is known stays as it is.

        Returns
        -------
        ndarray of shape (cells,), or None
            Every cell's value; None where there is no such table, or none was found within the search limit.
        """
        program = self._program(*self._bounds(lower, upper))
        if self._start is None or program.broken:
            return None
        found = np.zeros_like(self._start)
        for part in np.unique(program.part_of_sum):
            used = program.variables(part)
            if used.size:
                answer = program.near(used, self._start[used], self._sums[[0]][:, used] * 0, 0.0, up=True)
                if answer is None:
                    return None
                found[used] = answer
        return np.asarray(self._sums @ found)

    def _fill(self, values: Vector, part: int, used: Places, answer: Vector) -> None:
        inside = np.flatnonzero(self._known.part_of_sum == part)
        values[inside] = self._sums[inside][:, used] @ answer[: used.size]

    def consistent(self) -> bool:
        """Tell whether any table at all fits what is known."""
        everything = list(range(len(self.keys)))
        return not self._known.broken and self.push(everything, np.zeros(len(everything)), up=True) is not None

    def at_least(self, cell: int) -> float:
        """Return a lower bound of a cell that needs no program: subtract published numbers. It may be too low."""
        key = self.keys[cell]
        return self._subtract(key, frozenset(attribute for attribute, _ in key))[0]

    def _subtract(self, key: Key, attributes: frozenset[str]) -> tuple[float, float]:
        """Bound the persons within some atoms as all persons less those outside, one attribute after the other."""
        place = self._place.get(key)
        low, high = (0.0, math.inf) if place is None else (self._lower[place], self._upper[place])
        for attribute, atoms in key if low < high else ():
            if attribute in attributes:
                everybody = key - {(attribute, atoms)}
                outside = everybody | {(attribute, frozenset(self._domains[attribute]) - atoms)}
                whole = self._subtract(everybody, attributes - {attribute})
                part = self._subtract(outside, attributes - {attribute})
                low, high = max(low, whole[0] - part[1]), min(high, whole[1] - part[0])
        return low, high

    def least(self, cell: int) -> int:
        """Return the lower bound of a cell, in whole numbers, from the linear relaxation."""
        low = self._known.least(*self._goal(cell, 1.0))
        return 0 if math.isinf(low) else math.ceil(low - _SLACK)

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

    def _program(self, lower: Vector, upper: Vector) -> Program:
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
        return Program(
            rows,
            np.concatenate([lower[binding], values, values, zeros]),
            np.concatenate([upper[binding], values, values, zeros]),
            np.flatnonzero(~closed),
            self._sums,
        )


def _rows(parts: Sequence[Places], width: int) -> Sums:
    """Write sets of variables as rows of ones."""
    columns = np.concatenate([*parts, np.zeros(0, dtype=np.int64)])
    starts = np.cumsum([0, *(part.size for part in parts)])
    return sparse.csr_array((np.ones(columns.size), columns, starts), shape=(len(parts), width))
