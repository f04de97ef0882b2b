"""How coarsely a range must be rounded so that it gives no withheld count back.

The range is a function of all capture histories (:mod:`linkage.research.estimate.families`), most of whose counts are
small and withheld. One who holds the protected tables and the range knows that the counts are some table of whole
persons that agrees with everything published *and* whose range is printed the same. So every rule of
:mod:`linkage.research.disclosure.protect` still holds if for each of its goals - this cell at the floor, that one at
next to nothing, a third free over a width of the floor - there is a witness: a table in whole persons that is
consistent with the release, meets the goal, and prints the same range.

Witnesses are looked for near the true histories. Most goals are met by tables with the very same histories (other
persons are young, or were seen in 2014), and their range is the same whatever it is. For the rest a few people change
their lists; the families are fitted to those histories too, and each end of the range is rounded outwards as coarsely
as it takes for all witnesses to print alike.

The rounding itself is chosen from the true counts: each end is printed to the finest base of a public ladder at which
all witnesses print alike. Nobody can compute the choice from the release, but one who knows this program can run it on
every table that agrees with the release and rule out those for which it would have chosen another base, other cells to
withhold (:mod:`linkage.research.disclosure.protect`) or a refusal. The witnesses above are not held against that: each
prints the same range at the base chosen here, and might have had another chosen. Where only few tables agree with what
is published, that can rule out all but one: of a made-up population of 58 persons on three lists, released with a floor
of 3, seven other tables agreed, none of which would have been released alike. Larger populations and floors leave more
tables. Releases of small populations should have a floor well above the least that is allowed.

A ladder of 1, 2, 5 and their tens would tell less, with a sixth of the
bases, and costs too much: of three made-up populations of 1,905, 674 and 296 persons that have a range, the first was
printed alike, the second had its lower end at those who were counted (674 and not 780), the third lost its range.

What is waited for is bounded by the number of lists: from five on the range of a table takes long, and only the way to
a goal that looks best by the quick families is held against it. A release that would need more ranges than that is
refused, under the same code as any other.

What partition draws add to the range is not in these tables. It is held fixed, as a factor of the unseen number by
which the families' ends move (:mod:`linkage.research.headline`): whoever knew the factors would learn no more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from scipy.optimize import Bounds, LinearConstraint, milp

from linkage.research.disclosure import ProtectedTable
from linkage.research.disclosure.attacker import Attacker
from linkage.research.disclosure.cells import Cells, Key, collect
from linkage.research.disclosure.extent import Extent
from linkage.research.disclosure.program import Vector
from linkage.research.estimate import HistoryTable
from linkage.research.headline import Ends
from linkage.research.tables import Table

__all__ = ["Printed", "outwards", "printed_range"]

_STEPS = (10, 12, 14, 15, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90)  # tenths of the base, and on by tens
_FEW_LISTS = 4  # up to it the range of a table takes a tenth of a second, and every way to a goal is held against it
_CLIMB = 80  # histories looked at on the way to a range like the true one, at most
_MOVED = 32  # histories that are moved on that way, at most
_NEAR = 0.02  # by as much the ends, together, may differ in their logarithms to be near enough
_BETTER = 0.99
_SLACK = 1e-6
_NODES = 2_000  # of one branch and bound


@dataclass(frozen=True)
class Printed:
    """A range as it is printed, and the bases to which its two ends are rounded."""

    low: int
    high: int
    bases: tuple[int, int]


def outwards(
    low: float | None, high: float | None, bases: tuple[int, int], least: int
) -> tuple[int | None, int | None]:
    """Round the ends of an interval outwards, but not below those who were counted."""
    down = None if low is None or not math.isfinite(low) else max(math.floor(low / bases[0]) * bases[0], least)
    up = None if high is None or not math.isfinite(high) else max(math.ceil(high / bases[1]) * bases[1], least)
    return down, up


def printed_range(
    headline: Callable[[HistoryTable], Ends | None],
    histories: HistoryTable,
    tables: Sequence[Table],
    protected: Sequence[ProtectedTable],
    *,
    floor: int,
    base: int,
    like: Callable[[HistoryTable], Ends | None] | None = None,
) -> Printed | None:
    """Round a range so coarsely that the tables keep all their rules for one who knows it too.

    Parameters
    ----------
    headline
        The range as a function of capture histories.
    histories
        The true ones. Confidential.
    tables, protected
        All tables, true and protected; ``overlaps`` is among them, and the total is published.
    floor, base
        Of the release. Each end is rounded to the base, or to a multiple of it.
    like
        A function that moves as the range does and is quicker, by which witnesses are looked for.

    Returns
    -------
    Printed or None
        None where the upper end would have to be rounded to more than the number unseen, or a witness was not found.
    """
    true = headline(histories)
    if true is None:
        return None
    rounding = _Rounding(base, histories.observed, (true,))
    search = _Search(like or headline, histories, tables, protected, floor)
    if not search.start():
        return None
    left = _ranges(histories.t)
    for options in search.goals():
        best: tuple[_Rounding, list[Vector]] | None = None
        for option in options if histories.t <= _FEW_LISTS else search.likely_first(options):
            left -= len(option)
            if left < 0:
                return None
            ends = [headline(search.histories(witness)) for witness in option]
            wider = rounding.with_also([end for end in ends if end is not None])
            if None not in ends and (best is None or wider.width < best[0].width):
                best = wider, option
            if best is not None and histories.t > _FEW_LISTS:
                break
        if best is None or best[0].printed is None:
            return None
        rounding = best[0]
        search.accept(best[1])
    return rounding.printed


def _ranges(lists: int) -> int:
    """Return how many ranges are computed at most: what a release waits for hangs on the number of lists alone."""
    return 1000 if lists <= _FEW_LISTS else 200 if lists == _FEW_LISTS + 1 else 40


@dataclass(frozen=True)
class _Rounding:
    """The finest rounding at which some ranges, the true one first, print alike."""

    base: int
    least: int
    ranges: tuple[Ends, ...]

    def with_also(self, ranges: Sequence[Ends]) -> _Rounding:
        """Return the rounding at which these print alike too."""
        return replace(self, ranges=tuple(dict.fromkeys((*self.ranges, *ranges))))

    @property
    def printed(self) -> Printed | None:
        """What is printed; None where no base up to the number unseen is coarse enough."""
        low, high = self._end(0), self._end(1)
        if low is None or high is None:
            return None
        return Printed(low[1], high[1], (low[0], high[0]))

    @property
    def width(self) -> float:
        """Width of what is printed."""
        printed = self.printed
        return math.inf if printed is None else float(printed.high - printed.low)

    def _end(self, end: int) -> tuple[int, int] | None:
        """Return the base of one end, and what is printed there."""
        # The lower end may go down to those who were counted, which says nothing; the upper end has no such place.
        most = self.ranges[0][1] * (1 if end else 10) - (self.least if end else 0)
        for now in self._bases(max(most, self.base)):
            values = {outwards(*ends, (now, now), self.least)[end] for ends in self.ranges}
            value = values.pop()
            if not values and value is not None:
                return now, value
        return None

    def _bases(self, most: float) -> Iterator[int]:
        tens = 1
        while self.base * tens <= most:
            for step in _STEPS:
                now, rest = divmod(self.base * tens * step, 10)
                if not rest and now % self.base == 0 and now <= most:
                    yield now
            tens *= 10


class _Search:
    """The goals of somebody who holds all protected tables, and the witnesses that meet them."""

    def __init__(
        self,
        like: Callable[[HistoryTable], Ends | None],
        histories: HistoryTable,
        tables: Sequence[Table],
        protected: Sequence[ProtectedTable],
        floor: int,
    ) -> None:
        cells = collect(protected)
        true, shown = _counts(tables, cells), _counts(protected, cells)
        self._like, self._floor, self._true = like, floor, histories
        self._there = like(histories)
        self._attacker = Attacker(cells)
        keys = self._attacker.keys
        place = {key: i for i, key in enumerate(keys)}
        patterns = _patterns(histories, tables)
        self._lists = {place[key]: cell - 1 for key, cell in patterns.items() if key in place}
        cell_of = {atom: cell - 1 for key, cell in patterns.items() for atom in dict(key)["lists"]}
        self._sets: dict[int, Vector] = {}
        for i, key in enumerate(keys):
            if dict(key).keys() <= {"lists"}:
                self._sets[i] = np.zeros(len(histories.counts))
                self._sets[i][[cell_of[atom] for atom in dict(key).get("lists", cell_of)]] = 1.0
        self._all_lists = len(self._lists) == len(histories.counts)
        self._same = {keys[i]: float(histories.counts[cell]) for i, cell in self._lists.items()}
        self._truth = {key: float(count) for key, count in true.items() if count is not None}
        self._numbers = {key: float(count) for key, count in shown.items() if count is not None}
        self._marks = {key: 1.0 for key in shown if key not in self._numbers}
        self._small = [i for i, key in enumerate(keys) if 0 < self._truth.get(key, 0) < floor]
        self._hidden = [i for i, key in enumerate(keys) if key not in self._numbers]
        # Fractions of persons decide on widths, whole persons on what a small cell must be able to be, as in protect.
        self._whole, self._real = Extent(self._attacker, floor), Extent(self._attacker, floor)

    def start(self) -> bool:
        """Set out from a table that has every true count and the true histories; tell whether there is one."""
        known = self._truth | self._same
        self._attacker.know(known, known)
        start = self._attacker.settle() if self._all_lists else None
        if start is None:
            return False
        self._here = start
        self.accept([start])
        return True

    def histories(self, witness: Vector) -> HistoryTable:
        """Read the capture histories of a table; where it says nothing of them they are the true ones."""
        counts = self._true.counts.copy()
        for i, cell in self._lists.items():
            if not np.isnan(witness[i]):
                counts[cell] = round(float(witness[i]))
        return HistoryTable(self._true.lists, counts)

    def accept(self, witnesses: Sequence[Vector]) -> None:
        """Take in tables that print alike."""
        for witness in witnesses:
            self._whole.add(witness)
            self._real.add(witness)

    def goals(self) -> Iterator[Iterator[list[Vector]]]:
        """Give each goal that no accepted table meets, as the ways in which it could be met."""
        self._publish()
        wishes = [(i, float(self._floor), True) for i in self._small]
        wishes += [(i, float(max(1, self._attacker.least(i))), False) for i in self._small]
        self._publish(same=True)
        self._meet_with_the_same_histories(wishes)
        narrow = self._narrow_with_the_same_histories()
        self._publish()
        for i, target, up in sorted(wishes, key=lambda wish: (-abs(wish[1] - self._here[wish[0]]), wish[0])):
            if not self._whole.reaches(i, target, up=up):
                yield self._ways(i, target, up=up)
        for i in narrow:
            if not self._wide(i) and self._attacker.at_least(i) < self._floor and self._attacker.least(i) < self._floor:
                yield self._widths(i)

    def _publish(self, *, same: bool = False) -> None:
        """Tell the attacker what is published; and all histories, so that its tables have no others."""
        known = self._numbers | (self._same if same else {})
        self._attacker.know(self._marks | known, known)

    def _meet_with_the_same_histories(self, wishes: Sequence[tuple[int, float, bool]]) -> None:
        quick = Extent(self._attacker, self._floor)  # in fractions of persons, to pass over what is out of reach
        for way in (True, False):
            chosen = [(i, target) for i, target, up in wishes if up is way and not quick.reaches(i, target, up=way)]
            quick.batch([i for i, _ in chosen], [target for _, target in chosen], up=way)
        for i, target, up in wishes:
            if not self._whole.reaches(i, target, up=up) and quick.push(i, target, up=up):
                witness = self._attacker.witness(i, target, up=up)
                self.accept([] if witness is None else [witness])

    def _narrow_with_the_same_histories(self) -> list[int]:
        """Return the cells that are not free over the width of the floor, nor down to nothing."""
        left = [i for i in self._hidden if not self._wide(i)]
        self._real.batch(left, [0.0] * len(left), up=False)
        left = [i for i in left if not self._wide(i)]
        self._real.batch(left, [self._real.least[i] + self._floor - 1 for i in left], up=True)
        for i in [i for i in left if not self._wide(i)]:
            self._real.push(i, 0.0, up=False)
            self._real.push(i, self._real.least[i] + self._floor - 1, up=True)
        return [i for i in left if not self._wide(i)]

    def _wide(self, i: int) -> bool:
        least, most = self._real.least[i], self._real.most[i]
        return bool(least <= _SLACK or most - least >= self._floor - 1 - _SLACK)

    def _ways(self, i: int, target: float, *, up: bool) -> Iterator[list[Vector]]:
        """Give tables in which a cell is at a target or beyond."""
        witness = None
        if i in self._sets:
            lower, upper = self._bounds_with(i, target, up=up)
            start = self._moved(lower, upper)
            if start is not None:
                moved = self._climb(start, lower, upper)
                known = self._numbers | {self._attacker.keys[j]: float(moved[cell]) for j, cell in self._lists.items()}
                witness = self._attacker.nearest(self._marks | known, known)
        if witness is None:
            witness = self._attacker.witness(i, target, up=up)
        if witness is not None:
            yield [witness]

    @cached_property
    def _rows(self) -> Vector:
        return np.array([*self._sets.values()])

    @cached_property
    def _published(self) -> tuple[Vector, Vector]:
        keys = [self._attacker.keys[i] for i in self._sets]
        known = self._marks | self._numbers
        return np.array([known.get(k, 0.0) for k in keys]), np.array([self._numbers.get(k, np.inf) for k in keys])

    def _bounds_with(self, i: int, target: float, *, up: bool) -> tuple[Vector, Vector]:
        """Return what is published of lists alone, and a goal beside it."""
        lower, upper = (bound.copy() for bound in self._published)
        at = [*self._sets].index(i)
        lower[at], upper[at] = (max(lower[at], target), upper[at]) if up else (lower[at], min(upper[at], target))
        return lower, upper

    def _moved(self, lower: Vector, upper: Vector) -> Vector | None:
        """Find the histories nearest to the true ones that keep some bounds: persons who come, and who leave."""
        true, n = self._true.counts.astype(np.float64), self._true.counts.size
        seen = self._rows @ true
        found = milp(
            np.ones(2 * n),
            integrality=np.ones(2 * n),
            bounds=Bounds(0, np.append(np.full(n, np.inf), true)),
            constraints=LinearConstraint(np.hstack([self._rows, -self._rows]), lower - seen, upper - seen),
            options={"node_limit": _NODES},
        )
        return None if found.x is None else np.asarray(np.rint(true + found.x[:n] - found.x[n:]))

    @cached_property
    def _moves(self) -> list[Vector]:
        """The shortest ways in which one history gains or loses a person and all that is published stays."""
        true = self._true.counts.astype(np.float64)
        moves: dict[tuple[float, ...], Vector] = {}
        # Of six lists and more the histories of the fewest lists will do: on these most people are.
        few = sorted(self._lists.items(), key=lambda item: (item[1] + 1).bit_count())[:_MOVED]
        for i, cell in few:
            for step in (1.0, -1.0):
                found = self._moved(*self._bounds_with(i, true[cell] + step, up=step > 0))
                for move in () if found is None else (found - true, true - found):
                    moves[tuple(move)] = move
        return sorted(moves.values(), key=lambda move: (np.abs(move).sum(), *move))

    def _away(self, histories: Vector) -> float:
        """Return how far a range is from the true one: the differences of the logarithms of its ends."""
        here, there = self._there, self._like(HistoryTable(self._true.lists, histories.astype(np.int64)))
        if here is None or there is None:
            return math.inf
        return sum(abs(math.log(b / a)) for a, b in zip(here, there, strict=True))

    def _climb(self, histories: Vector, lower: Vector, upper: Vector) -> Vector:
        """Move histories within bounds, step by step, to where the range is more like the true one."""
        best, left, moves = self._away(histories), _CLIMB, deque(self._moves)
        untried = len(moves)
        while best > _NEAR and left and untried:
            step = histories + moves[0]
            sums = self._rows @ step
            better = False
            if step.min() >= 0 and (sums >= lower).all() and (sums <= upper).all():
                left -= 1
                away = self._away(step)
                better = away < _BETTER * best
            if better:
                histories, best, untried = step, away, len(moves)
            else:  # a way that led on is gone again before any other
                moves.rotate(-1)
                untried -= 1
        return histories

    def likely_first(self, options: Iterable[list[Vector]]) -> list[list[Vector]]:
        """Sort ways to a goal by how far the range is from the true one, as far as the quick families tell."""

        def away(option: list[Vector]) -> float:
            return max(self._away(self.histories(witness).counts.astype(np.float64)) for witness in option)

        return sorted(options, key=away)

    def _widths(self, i: int) -> Iterator[list[Vector]]:
        """Give tables that make a cell wide: down to nothing, or apart by the floor, down or up or half each."""
        least, most, width = self._real.least[i], self._real.most[i], self._floor - 1
        yield from self._ways(i, 0.0, up=False)
        yield from self._ways(i, least + width, up=True)
        yield from self._ways(i, most - width, up=False)
        for down in self._ways(i, least - math.ceil((width - (most - least)) / 2), up=False):
            for up in self._ways(i, down[0][i] + width, up=True):
                yield down + up


def _patterns(histories: HistoryTable, tables: Sequence[Table]) -> dict[Key, int]:
    """Return the cell of each capture history and its number in a table of histories."""
    overlaps = next(table for table in tables if table.name == "overlaps")
    found: dict[str, int] = {}
    for position, name in enumerate(histories.lists):
        for atom in overlaps.condition("list", name)["lists"]:
            found[atom] = found.get(atom, 0) | 1 << position
    return {frozenset({("lists", frozenset({atom}))}): cell for atom, cell in found.items()}


def _counts(tables: Sequence[Table] | Sequence[ProtectedTable], cells: Cells) -> Mapping[Key, int | None]:
    counts = {
        (table.name, tuple(values)): count
        for table in tables
        for *values, count in table.frame.select(*table.dimensions, pl.col("count")).iter_rows()
    }
    return {key: counts[places[0]] for key, places in cells.shown.items()}
