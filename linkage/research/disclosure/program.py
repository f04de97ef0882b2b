"""Rows over variables that are numbers of persons, and the questions that HiGHS answers about them."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

__all__ = ["Places", "Program", "Sums", "Vector"]

Vector = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Sums: TypeAlias = sparse.csr_array

_SLACK = 1e-6
_NONE: Vector = np.zeros(0)
_NODES = 2_000  # of one branch and bound: a limit that does not depend on the machine, unlike a time


class Program:
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
            options={"node_limit": _NODES, "mip_rel_gap": 0.5 if whole else 0.0},
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
