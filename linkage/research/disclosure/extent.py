"""How far cells can go: what is shown by tables that exist, and what is left to be judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from linkage.research.disclosure.attacker import Attacker

__all__ = ["Extent"]

_SLACK = 1e-6


class Extent:
    """How far each cell went in the tables found so far. More freedom takes none of them away.

    Parameters
    ----------
    attacker
        The program, told what is known.
    floor
        Cells from 1 to ``floor - 1`` are small.

    Attributes
    ----------
    least, most
        Smallest and greatest value seen of each cell.
    clear
        Cells known to be at the floor or above; to be emptied when the attacker comes to know less.
    """

    def __init__(self, attacker: Attacker, floor: int) -> None:
        self._attacker, self._floor = attacker, floor
        self.least = np.full(len(attacker.keys), np.inf)
        self.most = np.full(len(attacker.keys), -np.inf)
        self.clear: set[int] = set()

    def add(self, witness: npt.NDArray[np.float64] | None) -> None:
        """Take in a table."""
        if witness is not None:
            self.least = np.fmin(self.least, witness)
            self.most = np.fmax(self.most, witness)

    def reaches(self, i: int, target: float, *, up: bool) -> bool:
        """Tell whether a cell was at a target or beyond."""
        return bool(self.most[i] >= target - _SLACK if up else self.least[i] <= target + _SLACK)

    def push(self, i: int, target: float, *, up: bool) -> bool:
        """Try to take one cell to a target; tell whether it was there."""
        if not self.reaches(i, target, up=up):
            self.add(self._attacker.push([i], np.array([target]), up=up))
        return self.reaches(i, target, up=up)

    def batch(self, cells: Iterable[int], targets: Iterable[float], *, up: bool) -> None:
        """Push many cells at once, as long as that settles some."""
        left = list(zip(cells, targets, strict=True))
        while left:
            self.add(self._attacker.push([i for i, _ in left], np.array([t for _, t in left]), up=up))
            still = [(i, target) for i, target in left if not self.reaches(i, target, up=up)]
            if len(still) == len(left):
                return
            left = still

    def _settled(self, i: int) -> bool:
        wide = self.most[i] - self.least[i] >= self._floor - 1 - _SLACK
        return bool(wide or self.least[i] <= _SLACK or i in self.clear)

    def too_narrow(self, cells: Iterable[int]) -> Iterator[int]:
        """Give the cells whose bounds break the third rule of :mod:`linkage.research.disclosure.protect`.

        They come one by one, each judged by what the attacker knows at that moment.
        """
        cells = [i for i in cells if not self._settled(i)]
        self.batch(cells, [0.0] * len(cells), up=False)
        cells = [i for i in cells if not self._settled(i)]
        self.batch(cells, self.least[cells] + self._floor - 1, up=True)
        for i in cells:
            if self._settled(i):
                continue
            if self._attacker.at_least(i) >= self._floor or self._attacker.least(i) >= self._floor:
                self.clear.add(i)
            elif not self.push(i, 0.0, up=False) and not self.push(i, self.least[i] + self._floor - 1, up=True):
                yield i
