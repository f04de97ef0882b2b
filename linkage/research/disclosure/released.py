"""A table as it is released, and what can be read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from linkage.errors import ReleaseError
from linkage.research.disclosure.cells import Key, collect
from linkage.research.tables import TOTAL, Grid, Link

__all__ = ["ProtectedTable", "published_counts", "round_estimate", "shares"]


@dataclass(frozen=True)
class ProtectedTable(Grid):
    """A table whose ``count`` is null where it is withheld; otherwise as :class:`linkage.research.tables.Grid`.

    It carries what its cells mean, which is no secret, so that a reader of the release can audit it.
    """

    def structure(self) -> dict[str, Any]:
        """Return all but the counts as plain values for ``release.json``."""
        return {
            "name": self.name,
            "title": self.title,
            "dimensions": list(self.dimensions),
            "meaning": {
                dimension: {value: {a: list(atoms) for a, atoms in c.items()} for value, c in meaning.items()}
                for dimension, meaning in self.meaning.items()
            },
            "domains": {attribute: list(atoms) for attribute, atoms in self.domains.items()},
            "links": [
                [[weight, {a: list(atoms) for a, atoms in condition.items()}] for weight, condition in link.terms]
                for link in self.links
            ],
        }

    @classmethod
    def restore(cls, structure: Mapping[str, Any], frame: pl.DataFrame) -> ProtectedTable:
        """Put a structure and the counts of its CSV file together again.

        Raises
        ------
        ReleaseError
            ``bad-table`` where the two do not fit, or the structure is not one.
        """
        try:
            return cls(
                structure["name"],
                structure["title"],
                tuple(structure["dimensions"]),
                frame,
                {
                    dimension: {value: {a: tuple(s) for a, s in c.items()} for value, c in meaning.items()}
                    for dimension, meaning in structure["meaning"].items()
                },
                {attribute: tuple(atoms) for attribute, atoms in structure["domains"].items()},
                tuple(
                    Link(tuple((int(w), {a: tuple(s) for a, s in condition.items()}) for w, condition in terms))
                    for terms in structure["links"]
                ),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ReleaseError("the structure of a released table is malformed", reason="bad-table") from error


def published_counts(tables: Sequence[ProtectedTable]) -> dict[Key, set[int | None]]:
    """Return each cell's counts in one or several releases; None stands for withheld.

    Each table is read by itself, so that several releases of the same tables can be given together.
    """
    found: dict[Key, set[int | None]] = {}
    for table in tables:
        counts = {tuple(v): count for *v, count in table.frame.select(*table.dimensions, "count").iter_rows()}
        cells = collect([table])
        for key, places in (cells.shown | cells.impossible).items():
            found.setdefault(key, set()).update(counts[values] for _, values in places)
    return found


def shares(table: ProtectedTable, of: str) -> pl.DataFrame:
    """Add each cell's share of its margin over one dimension.

    Parameters
    ----------
    table
        A protected table.
    of
        The dimension whose total is the denominator.

    Returns
    -------
    polars.DataFrame
        The table's frame and ``share`` (Float64), made from published counts only: null where the count or its
        margin is withheld, or the margin is zero.
    """
    if of not in table.dimensions:
        raise ReleaseError(f"table {table.name} has no such dimension to take shares of", reason="bad-table")
    others = [name for name in table.dimensions if name != of]
    margin = table.frame.filter(pl.col(of) == TOTAL).select(*others, pl.col("count").alias("_margin"))
    joined = (
        table.frame.join(margin, on=others, how="left", maintain_order="left")
        if others
        else table.frame.join(margin, how="cross")
    )
    share = pl.when(pl.col("_margin") > 0).then(pl.col("count") / pl.col("_margin")).alias("share")
    return joined.with_columns(share).drop("_margin")


def round_estimate(estimate: float, *, base: int = 10) -> int:
    """Round an estimated number of persons, or a bound of its interval, to a multiple of a base; halves go up.

    A model-based estimate is a function of the observed counts. Printed to the last person it can give a withheld
    count back (Chao's bound is ``n + f1**2 / (2 * f2)``); to the base it is as good as it ever was.

    Raises
    ------
    ReleaseError
        ``bad-estimate`` where the number is negative or not finite: there is none to print.
    """
    if not 0 <= estimate < float("inf") or base < 1:
        raise ReleaseError("an estimate to be rounded is a finite number of persons", reason="bad-estimate")
    return int((estimate + base / 2) // base) * base
