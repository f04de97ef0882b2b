"""How coarsely a range must be rounded so that it gives no withheld count back.

Chao's bounds are functions of the numbers seen once and twice. With four lists these two, the list sizes and the
total fix how many people are on three and on four lists, which are often a handful. So the two are withheld in most
releases, and the range, which runs over Chao's bounds too, must not give them back.

What a printed range tells is the set of all pairs (seen once, seen twice) that would print the same. Any box of pairs
inside that set is *less* than what a reader must leave open: if nothing is disclosed to one who knows the box, nothing
is to one who knows the range. So the base is raised until the tables, with the box known beside them, still keep every
rule of :mod:`linkage.research.disclosure.protect`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from linkage.research.disclosure import ProtectedTable
from linkage.research.disclosure.attacker import Attacker
from linkage.research.disclosure.cells import Cells, Key, collect
from linkage.research.disclosure.extent import Extent
from linkage.research.estimate import Chao, HistoryTable, Report, Verdict
from linkage.research.estimate.verdict import judge
from linkage.research.tables import Table

__all__ = ["CHAO", "Box", "safe_base", "verdict_at", "widest_box"]

CHAO = {"chao": Chao(), "chao-few-lists": Chao(few_lists=True)}
"""The families that are functions of the total and of the numbers seen once and twice."""

_STEPS = (1, 2, 5, 10, 20, 50)
_WIDEST = 4  # times the floor: a box wider than that helps no cell


@dataclass(frozen=True)
class Box:
    """From and to, both included, for the numbers seen once and twice."""

    once: tuple[int, int]
    twice: tuple[int, int]


def verdict_at(report: Report, families: Sequence[str], once: int, twice: int) -> Verdict:
    """Return the verdict that the report would have, had other numbers of people been seen once and twice."""
    table = report.table
    for position in reversed(range(table.t)):
        if table.t > 1 and table.totals[position] == 0:
            table = table.without(position)
    counts = np.zeros(2**table.t - 1, dtype=np.int64)
    counts[[0, 2, 6]] = once, twice, table.observed - once - twice  # on the first list, the first two, three
    changed = HistoryTable(table.lists, counts)
    results = {result.method: result for result in report.results}
    results |= {method: estimator.fit(changed) for method, estimator in CHAO.items()}
    return judge(table, [results[name] for name in families])


def widest_box(prints: Callable[[int, int], object], once: int, twice: int, total: int, most: int) -> Box:
    """Grow a box around a pair, side by side, as long as every pair in it prints the same.

    Parameters
    ----------
    prints
        What is printed for a pair.
    once, twice, total
        The pair, and what it may add up to.
    most
        Largest distance from the pair.
    """
    prints = lru_cache(maxsize=None)(prints)
    wanted = prints(once, twice)
    a, b, c, d = once, once, twice, twice

    def fits(one: range, two: range) -> bool:
        return all(x >= 1 and y >= 1 and x + y <= total and prints(x, y) == wanted for x in one for y in two)

    open_sides = {"a", "b", "c", "d"}
    while open_sides:
        for side in sorted(open_sides):
            low, high = (a, b) if side in "ab" else (c, d)
            new = low - 1 if side in "ac" else high + 1
            one = range(new, new + 1) if side in "ab" else range(a, b + 1)
            two = range(new, new + 1) if side in "cd" else range(c, d + 1)
            if abs(new - (once if side in "ab" else twice)) > most or not fits(one, two):
                open_sides.discard(side)
                continue
            a, b = (new if side == "a" else a), (new if side == "b" else b)
            c, d = (new if side == "c" else c), (new if side == "d" else d)
    return Box((a, b), (c, d))


def safe_base(
    report: Report,
    families: Sequence[str],
    tables: Sequence[Table],
    protected: Sequence[ProtectedTable],
    *,
    floor: int,
    base: int,
    prints: Callable[[Verdict, int], object],
) -> int | None:
    """Find the least base to which the range may be rounded.

    Parameters
    ----------
    report, families
        The estimates, and the methods that make the range.
    tables, protected
        All tables, true and protected; ``systems`` is among them.
    floor, base
        Of the policy; a multiple of the base is tried until one is safe.
    prints
        What is printed of a verdict at a base.

    Returns
    -------
    int or None
        None where no base is both safe and finer than what is to be estimated.
    """
    once, twice, total = int(report.table.frequencies[0]), int(report.table.frequencies[1]), report.table.observed
    reader = _Reader(tables, protected, floor)
    for step in _STEPS:
        now = base * step
        unseen = (report.verdict.high or 0.0) - total
        if now > max(unseen, base):
            return None

        def printed(x: int, y: int, now: int = now) -> object:
            return prints(verdict_at(report, families, x, y), now)

        box = widest_box(printed, once, twice, total, _WIDEST * floor)
        if reader.learns_nothing(box):
            return now
    return None


class _Reader:
    """Somebody who holds all protected tables and learns a box beside them."""

    def __init__(self, tables: Sequence[Table], protected: Sequence[ProtectedTable], floor: int) -> None:
        cells = collect(protected)
        true, shown = _counts(tables, cells), _counts(protected, cells)
        self._floor = floor
        self._attacker = Attacker(cells)
        self._numbers = {key: float(count) for key, count in shown.items() if count is not None}
        self._marks = {key: 1.0 for key in shown if key not in self._numbers}
        places = {place: key for key, found in cells.shown.items() for place in found}
        self._frequencies = [places["systems", (size,)] for size in ("1", "2")]
        small = {key for key, count in true.items() if count is not None and 0 < count < floor}
        keys = self._attacker.keys
        self._small = [i for i, key in enumerate(keys) if key in small]
        self._hidden = [i for i, key in enumerate(keys) if key not in self._numbers]
        self._attacker.know(self._numbers | self._marks, self._numbers)
        self._depth = {i: max(1, self._attacker.least(i)) for i in self._small}

    def learns_nothing(self, box: Box) -> bool:
        """Tell whether all rules still hold for one who knows that the frequencies lie in the box."""
        lower, upper = self._numbers | self._marks, dict(self._numbers)
        for key, (low, high) in zip(self._frequencies, (box.once, box.twice), strict=True):
            if key not in self._numbers:
                lower[key], upper[key] = float(low), float(high)
        self._attacker.know(lower, upper)
        goals = [(i, float(self._floor), True) for i in self._small]
        goals += [(i, float(self._depth[i]), False) for i in self._small]
        extent = Extent(self._attacker, self._floor)
        for up in (True, False):
            chosen = [(i, target) for i, target, way in goals if way is up]
            extent.batch([i for i, _ in chosen], [target for _, target in chosen], up=up)
        if not all(extent.push(i, target, up=up) for i, target, up in goals):
            return False
        if next(extent.too_narrow(self._hidden), None) is not None:
            return False
        # Whole persons have the last word, as in protect.
        whole = Extent(self._attacker, self._floor)
        for i, target, up in goals:
            if not whole.reaches(i, target, up=up):
                whole.add(self._attacker.witness(i, target, up=up))
            if not whole.reaches(i, target, up=up):
                return False
        return True


def _counts(tables: Sequence[Table] | Sequence[ProtectedTable], cells: Cells) -> Mapping[Key, int | None]:
    counts = {
        (table.name, tuple(values)): count
        for table in tables
        for *values, count in table.frame.select(*table.dimensions, pl.col("count")).iter_rows()
    }
    return {key: counts[places[0]] for key, places in cells.shown.items()}
