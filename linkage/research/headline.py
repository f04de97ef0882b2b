"""The range of a report as a function of capture histories: what other histories would have had printed."""

from __future__ import annotations

from collections.abc import Sequence

from linkage.research.estimate import HistoryTable, Report, Result, estimate
from linkage.research.estimate.families import HEADLINE, NOT_OFFERED, families
from linkage.research.estimate.omission import drop_empty

__all__ = ["Ends", "Headline", "quick"]

Ends = tuple[float, float]
"""A range before it is rounded."""

_AVERAGED = 4  # lists up to which averages over all models take hardly longer than one model
_STAYS = (1.0, 0.0)


def quick(lists: int) -> tuple[str, ...]:
    """Return the families that take hundredths of a second on so many lists, and whose ends move as the range's do."""
    return ("chao", "chao-few-lists", "averaged-aic" if lists <= _AVERAGED else "independence")


class Headline:
    """The range of a report as a function of capture histories.

    Parameters
    ----------
    report
        What :func:`linkage.research.estimate.estimate` said of the true histories. Where its range runs over partition
        draws, each family's ends are, on any histories, as many times as far from the number seen as they are here.
    """

    def __init__(self, report: Report) -> None:
        self._referrals = report.referrals
        own = {result.method: result for result in report.results}
        seen = float(report.table.observed)
        self._moves = {}
        for result in (pooled.result for pooled in report.pooled):
            one = own[result.method]
            self._moves[result.method] = (_move(one.lower, result.lower, seen), _move(one.upper, result.upper, seen))
        self._known: dict[str, Ends | None] = {}

    def __call__(self, table: HistoryTable) -> Ends | None:
        """Return the ends of the range that these histories have; None where they have none."""
        if table.digest not in self._known:
            self._known[table.digest] = self._range(table)
        return self._known[table.digest]

    def like(self, table: HistoryTable) -> Ends | None:
        """Return the ends over the families that are quick to fit: they move much as those of all do."""
        there, _ = drop_empty(table)
        forced = tuple(pair for pair in self._referrals if set(pair) <= set(there.lists))
        fits = families(forced, 0, None)
        return self._ends(there, [fits[name](there) for name in quick(there.t)])

    def _range(self, table: HistoryTable) -> Ends | None:
        report = estimate(table, referrals=self._referrals)
        if report.verdict.status == "refused":
            return None
        return self._ends(table, [result for result in report.results if result.method in HEADLINE])

    def _ends(self, table: HistoryTable, results: Sequence[Result]) -> Ends | None:
        seen = float(table.observed)
        results = [result for result in results if result.status not in NOT_OFFERED]
        lows, highs = [], []
        for result in results:
            if result.lower is not None and result.upper is not None:
                down, up = self._moves.get(result.method, (_STAYS, _STAYS))
                lows.append(seen + (result.lower - seen) * down[0] + down[1])
                highs.append(seen + (result.upper - seen) * up[0] + up[1])
        return (max(min(lows), seen), max(highs)) if lows and len(lows) == len(results) else None


def _move(own: float | None, pooled: float | None, seen: float) -> tuple[float, float]:
    """Say how partition draws move an end: by a factor of the unseen, or by a number where it has none unseen."""
    if own is None or pooled is None:
        return _STAYS
    if own > seen and pooled > seen:
        return (pooled - seen) / (own - seen), 0.0
    return 1.0, pooled - own
