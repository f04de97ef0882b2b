"""Withhold what must not be seen, and what would give it away.

The rule, for a floor ``f``. A cell is *small* when its true count is 1 to ``f - 1``.

1. No small cell is published. Zeros are. A withheld cell carries one mark, whether it is small itself or protects
   another, so that the mark says no more than "not zero".
2. For every small cell, tables of persons exist that agree with everything published, in which the cell is 1, and
   others in which it is ``f`` at least. Nobody can tell it from a cell at or above the floor, let alone its number.
   (A margin over two marked parts is 2 at least by the marks alone: then that is what it must be able to be.)
3. For every withheld cell and every *implied* one (persons outside a value, capture histories; see
   :mod:`linkage.research.disclosure.cells`), the counts that agree with everything published reach from ``lo`` to
   ``hi`` with ``lo = 0`` (a withheld one has ``lo >= 1``), or ``lo >= f``, or ``hi - lo >= f - 1``. This needs no true
   count, so that whoever holds a release can verify it: :func:`linkage.research.disclosure.audit`.
4. Against earlier releases: a cell that was published before with another number, less than ``f`` away, is withheld
   now, and the difference must not be known to lie inside ``(0, f)`` either. A cell that was published before with the
   same number is held for known, whatever is withheld now.

"Exist" means whole, non-negative numbers in all tables together, with every link between them; the witnesses are
computed, not assumed. The attacker knows the floor, the rule and the marks. What is left out: somebody who knows this
very program and reasons from its choice of cells; and what a person knows about themselves.

A value shared by a whole row (a cell that equals its margin, all others being zero) is published, since zeros may be
shown; the audit points it out to the output checker as ``group``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from linkage.errors import ReleaseError
from linkage.research.disclosure.attacker import Attacker
from linkage.research.disclosure.cells import Cells, Key, collect
from linkage.research.disclosure.extent import Extent
from linkage.research.disclosure.released import ProtectedTable, published_counts
from linkage.research.tables import Table

__all__ = ["protect"]


def protect(tables: Sequence[Table], *, floor: int, previous: Sequence[ProtectedTable] = ()) -> list[ProtectedTable]:
    """Withhold cells until nothing below the floor can be seen or worked out from all tables together.

    Parameters
    ----------
    tables
        True counts. Cells that mean the same persons must have the same count.
    floor
        Counts from 1 to ``floor - 1`` are not shown; at least 2.
    previous
        The tables of all earlier releases about the same persons. Their cells that the present tables no longer have
        are not looked at: keep the set of tables from one release to the next.

    Returns
    -------
    list of ProtectedTable
        The tables in their order, with null for a withheld count. All other counts are unchanged.

    Raises
    ------
    ReleaseError
        ``bad-table``: tables that contradict each other. ``too-dense``: tables that cannot be judged together.
        ``cannot-protect``: what earlier releases published leaves no way; never without ``previous``.
    """
    if floor < 2:
        raise ReleaseError("a floor below 2 protects nobody", reason="bad-floor")
    if not tables:
        return []
    cells = collect(tables)
    counts = _true_counts(tables, cells)
    withheld = _Search(cells, counts, floor, published_counts(previous)).run()
    return [_withhold(table, {key for key in cells.shown if key in withheld}, cells) for table in tables]


def _true_counts(tables: Sequence[Table], cells: Cells) -> dict[Key, int]:
    """Read each cell's count, and see that it is one."""
    counts = {
        (table.name, tuple(values)): count
        for table in tables
        for *values, count in table.frame.select(*table.dimensions, "count").iter_rows()
    }
    result = {}
    for key, places in (*cells.shown.items(), *cells.impossible.items()):
        found = {counts[place] for place in places}
        if len(found) > 1 or (key in cells.impossible and found != {0}):
            raise ReleaseError(
                "the same persons have different counts in different tables",
                reason="bad-table",
                problems=[f"tables: {', '.join(sorted({name for name, _ in places}))}"],
            )
        result[key] = found.pop()
    return result


def _withhold(table: Table, withheld: set[Key], cells: Cells) -> ProtectedTable:
    places = {values for key in withheld for name, values in cells.shown[key] if name == table.name}
    rows = table.frame.select(table.dimensions).rows()
    hide = pl.Series([row in places for row in rows], dtype=pl.Boolean)
    count = pl.when(hide).then(None).otherwise(pl.col("count")).alias("count")
    return ProtectedTable(
        table.name,
        table.title,
        table.dimensions,
        table.frame.with_columns(count),
        table.meaning,
        table.domains,
        table.links,
    )


class _Search:
    """The search for cells to withhold. Tables once found stay witnesses: withholding more never takes one away."""

    def __init__(self, cells: Cells, counts: dict[Key, int], floor: int, before: dict[Key, set[int | None]]) -> None:
        self._floor = floor
        self._attacker = Attacker(cells)
        self._shown = len(cells.shown)
        self._count = np.array([counts[key] for key in cells.shown], dtype=np.float64)
        tables = np.array([len({name for name, _ in places}) for places in cells.shown.values()])
        # The price of a person's difference in a cell: large cells and cells that many tables need come dear.
        self._price = np.log2(1 + self._count) * tables
        self._low: dict[int, float] = {}
        self._high: dict[int, float] = {}
        self._fixed: set[int] = set()
        for i, key in enumerate(cells.shown):
            self._classify(i, int(self._count[i]), before.get(key, set()))
            if key in before and None in before[key]:
                self._price[i] /= 10
        self._history = bool(before)
        self._withheld = set(self._low)
        self._real, self._whole = Extent(self._attacker, floor), Extent(self._attacker, floor)

    def _classify(self, i: int, count: int, before: set[int | None]) -> None:
        """Set what a shown cell must be able to be: nothing special, or from ``low`` to ``high``."""
        if count == 0 or count in before:
            self._fixed.add(i)
        near = [old for old in before if old is not None and 0 < abs(old - count) < self._floor]
        low, high = [math.inf], [-math.inf]
        if 0 < count < self._floor:
            low, high = [1.0], [float(self._floor)]
        if count and i not in self._fixed:
            low += [max(1.0, old - self._floor if old > count else old) for old in near]
            high += [float(old if old > count else old + self._floor) for old in near]
        if min(low) < math.inf:
            self._low[i], self._high[i] = min(low), max(high)

    def run(self) -> set[Key]:
        """Return the cells to withhold."""
        self._lower_what_marks_allow()
        self._tell(self._withheld)
        goals = ((self._high, True), (self._low, False))
        for cells, up in goals:
            self._real.batch(cells, cells.values(), up=up)
        wishes = [(i, target, up) for cells, up in goals for i, target in cells.items()]
        for i, target, up in wishes:
            self._reach(i, target, up=up)
        # Fractions of persons are quick and decide nearly everything; whole persons have the last word.
        grew = True
        while grew:
            while self._widen():
                pass
            grew = any([self._reach(i, target, up=up, whole=True) for i, target, up in wishes])
        return {self._attacker.keys[i] for i in self._withheld}

    def _lower_what_marks_allow(self) -> None:
        """Raise the depth asked of a cell to what it has by the marks of its parts, were everything withheld."""
        self._tell(set(range(self._shown)) - self._fixed)
        extent = Extent(self._attacker, self._floor)
        extent.batch(self._low, self._low.values(), up=False)
        for i, target in self._low.items():
            if not extent.reaches(i, target, up=False):
                self._low[i] = max(target, float(self._attacker.least(i)))

    def _tell(self, withheld: set[int]) -> None:
        """Give the attacker what is published and what is marked."""
        keys = self._attacker.keys
        shown = {keys[i]: float(self._count[i]) for i in range(self._shown) if i not in withheld}
        self._attacker.know(shown | {keys[i]: 1.0 for i in withheld}, shown)

    def _reach(self, i: int, target: float, *, up: bool, whole: bool = False) -> bool:
        """Withhold cells until one can reach its target; tell whether any had to be."""
        grew = False
        while not self._try(i, target, up=up, whole=whole) and self._give_up_more(i, target, up=up, whole=whole):
            grew = True
        return grew

    def _try(self, i: int, target: float, *, up: bool, whole: bool) -> bool:
        if not whole:
            return self._real.push(i, target, up=up)
        if not self._whole.reaches(i, target, up=up):
            self._whole.add(self._attacker.witness(i, target, up=up))
        return self._whole.reaches(i, target, up=up)

    def _give_up_more(self, i: int, target: float, *, up: bool, whole: bool) -> bool:
        """Withhold what stands between a cell and its target; tell whether anything was left to withhold."""
        prices = {
            n: float(self._price[n]) for n in range(self._shown) if n not in self._withheld and n not in self._fixed
        }
        if not prices and self._history:
            raise ReleaseError(
                "with what earlier releases published, the present tables cannot be protected",
                reason="cannot-protect",
                hint="release for another period, or leave out the tables that changed little",
            )
        if not prices:  # nothing but zeros is published: there is nothing to work out from
            return False
        chosen = self._attacker.loosen(i, target, prices, up=up, whole=whole)
        # Nothing has to move and still no table was found: the search limit. The cheapest cell goes.
        self._withheld |= set(chosen or [min(prices, key=lambda n: (prices[n], n))])
        self._real.clear.clear()
        self._tell(self._withheld)
        return True

    def _widen(self) -> bool:
        """Hold implied and withheld cells to the third rule; tell whether more cells had to be withheld."""
        grew = False
        for i in self._real.too_narrow([*sorted(self._withheld), *range(self._shown, len(self._attacker.keys))]):
            grew |= self._reach(i, self._real.least[i] + self._floor - 1, up=True)
        return grew
