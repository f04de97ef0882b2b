"""What becomes of an estimate when one list is left out, or two lists are taken for one.

Both ought to change little. Where they change much, the number rests on that list, or on those two being apart
(Whitehead et al. 2019; Binette & Steorts 2022).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

from linkage.errors import EstimateError
from linkage.research.estimate.result import Result, finite, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["Estimator", "Variant", "drop_empty", "fit_variant", "leave_one_out", "merge_pairs", "merged"]

_GROUPS = ("referrals", "interactions")  # parameters of an estimator that name lists


class Estimator(Protocol):
    """Anything with ``fit(table) -> Result``."""

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table."""
        ...


@dataclass(frozen=True)
class Variant:
    """An estimate from a table with one list fewer.

    Attributes
    ----------
    change
        ``"left-out"`` or ``"merged"``.
    lists
        The list that was left out, or the two that were merged.
    remaining
        Lists that the estimate used; lists that nobody is on are not among them.
    observed
        People on at least one of them.
    n_hat, lower, upper
        Estimate and ends of its interval, ``None`` where there is none.
    status, model
        ``"ok"`` or the code of a reason, and the model that was used.
    """

    change: str
    lists: tuple[str, ...]
    remaining: tuple[str, ...]
    observed: int
    n_hat: float | None
    lower: float | None
    upper: float | None
    status: str
    model: str

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON; ``withhold`` takes the estimates out."""
        return {
            "change": self.change,
            "lists": list(self.lists),
            "remaining": list(self.remaining),
            "observed": self.observed,
            "n_hat": None if withhold else self.n_hat,
            "lower": None if withhold else self.lower,
            "upper": None if withhold else self.upper,
            "status": self.status,
            "model": "" if withhold else self.model,
        }


def drop_empty(table: HistoryTable) -> tuple[HistoryTable, tuple[str, ...]]:
    """Leave out lists that nobody is on, and give their names: they say nothing and no model can hold them."""
    gone = []
    for position in reversed(range(table.t)):
        if table.totals[position] == 0:
            gone.append(table.lists[position])
            table = table.without(position)
    return table, tuple(gone[::-1])


def merged(table: HistoryTable, one: int, other: int) -> HistoryTable:
    """Take two lists, given by position, for one: a person is on it who is on either.

    The merged list stands where the first of the two stood, under both names: ``LA+NG``.

    Raises
    ------
    EstimateError
        The positions are not those of two lists.
    """
    if one == other or not {one, other} <= set(range(table.t)):
        raise EstimateError("a merge needs two lists", reason="unknown-list")
    return table.merged(min(one, other), max(one, other))


def _adapted(estimator: Estimator, lists: tuple[str, ...], renamed: Mapping[str, str]) -> Estimator:
    """Carry the groups of lists that an estimator names over to a table with fewer lists.

    A group goes where a list of it is gone, where a merge leaves one list of it, or where it would join all the lists.
    """
    if not dataclasses.is_dataclass(estimator) or isinstance(estimator, type):
        return estimator
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(estimator):
        if field.name in _GROUPS and getattr(estimator, field.name):
            groups: dict[tuple[str, ...], None] = {}
            for group in getattr(estimator, field.name):
                moved = tuple(dict.fromkeys(renamed.get(name, name) for name in group))
                whole = len(moved) > 2 and len(moved) == len(lists)
                if len(moved) > 1 and set(moved) <= set(lists) and not whole:
                    groups[moved] = None
            changes[field.name] = tuple(groups)
    return dataclasses.replace(estimator, **changes) if changes else estimator


def fit_variant(table: HistoryTable, estimator: Estimator, renamed: Mapping[str, str] | None = None) -> Result:
    """Fit an estimator to what is left of a table.

    Parameters
    ----------
    table
        Without empty lists (:func:`drop_empty`). Fewer than two lists are a refusal, not an error.
    estimator
        With the names of the whole table's lists in its parameters.
    renamed
        New names of lists that were merged.
    """
    if table.t < 2 or not table.observed:
        return refused("", "", "too-few-lists")
    return _adapted(estimator, table.lists, renamed or {}).fit(table)


def _variant(
    change: str, lists: tuple[str, ...], table: HistoryTable, estimator: Estimator, renamed: Mapping[str, str]
) -> Variant:
    table, _ = drop_empty(table)
    result = fit_variant(table, estimator, renamed)
    numbers = (finite(v) if result.ok else None for v in (result.n_hat, result.lower, result.upper))
    n_hat, lower, upper = numbers
    return Variant(change, lists, table.lists, table.observed, n_hat, lower, upper, result.status, result.model)


def leave_one_out(table: HistoryTable, estimator: Estimator) -> tuple[Variant, ...]:
    """Estimate without each list in turn, in the order of the lists.

    People on that list alone leave the table, so the number may change for that reason too: compare estimates, not
    the unseen. A parameter of the estimator that names a pair with the list goes with it.
    """
    return tuple(
        _variant("left-out", (name,), table.without(position), estimator, {})
        for position, name in enumerate(table.lists)
    )


def merge_pairs(table: HistoryTable, estimator: Estimator) -> tuple[Variant, ...]:
    """Estimate with each pair of lists taken for one, in the order 12, 13, ..., 1t, 23, ...

    Nobody leaves the table, so all these estimate the same number.
    """
    variants = []
    for i, j in combinations(range(table.t), 2):
        pair = table.lists[i], table.lists[j]
        renamed = dict.fromkeys(pair, f"{pair[0]}+{pair[1]}")
        variants.append(_variant("merged", pair, merged(table, i, j), estimator, renamed))
    return tuple(variants)
