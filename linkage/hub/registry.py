"""The register of persons: ids that stay the same from month to month, and from epoch to epoch.

Every run links everything afresh and numbers its persons from 0. What makes a person of this month the person of the
month before are the records that both hold, by their pseudonyms: each person inherits the id of an earlier one such
that as many records as possible keep their id (a greatest assignment on the overlaps); where that leaves a choice,
the older id stays. A person who inherits none gets a new id: 128 random bits, which follow from nothing and mean
nothing elsewhere. Who split and who merged is on record, by ids and month; no score is.

Pseudonyms do not depend on the linkage key. So ids carry over from one epoch to the next, and nothing else does.

Assumptions
-----------
One pseudonym is one local person, for ever. An agency that changes its pseudonyms says which became which
(:mod:`linkage.hub.bridge`), or its records are strangers from then on.

Everything here is confidential and stays at the hub.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from linkage.errors import LinkError

__all__ = ["CHANGES", "RECORDS", "Carried", "Registry", "carry", "forget", "inherit", "rename"]

RECORDS: dict[str, pl.DataType] = {
    "source": pl.String(),
    "pseudonym": pl.String(),
    "id": pl.String(),
    "first": pl.String(),
    "last": pl.String(),
}
"""One row a record that was ever linked: its person's id, the first and the last month (YYYY-MM) it was seen in."""

CHANGES: dict[str, pl.DataType] = {
    "month": pl.String(),
    "kind": pl.String(),
    "before": pl.String(),
    "after": pl.String(),
}
"""One row for each part of a ``split`` or a ``merge``: records of person ``before`` are ``after``'s from then on."""

_KEY = ["source", "pseudonym"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Registry:
    """Persons before: frames of :data:`RECORDS` and :data:`CHANGES`, in one order whatever theirs was."""

    records: pl.DataFrame
    changes: pl.DataFrame

    @classmethod
    def empty(cls) -> Registry:
        """Return the register of a hub that has linked nothing yet."""
        return cls(pl.DataFrame(schema=RECORDS), pl.DataFrame(schema=CHANGES))


@dataclass(frozen=True)
class Carried:
    """The register after a run, and what the run did to it.

    Attributes
    ----------
    registry
        Persons now and before.
    ids
        The id of each person of the run, by its number.
    carried, new
        Persons with an id from before, and with one made now; together all persons.
    split, merged
        Ids whose records are several persons' now; persons who hold records of several ids.
    known
        Source -> share of its records that were in the register: of those that could have been, which is the smaller
        of how many it has now and had in the last month it was linked in. A source that was never linked is not here.
    """

    registry: Registry
    ids: list[str]
    carried: int
    new: int
    split: int
    merged: int
    known: dict[str, float]


def carry(
    persons: pl.DataFrame, before: Registry, month: str, *, new_id: Callable[[], str] = lambda: secrets.token_hex(16)
) -> Carried:
    """Give the persons of a run their ids.

    Parameters
    ----------
    persons
        Frame (source, pseudonym, person): one row a record; ``person`` counts from 0 without gaps.
    before
        The register so far. Records that are not in the run keep their place in it.
    month
        The run's month, ``YYYY-MM``.
    new_id
        Makes an id; one that was ever given is not given again.
    """
    number = 0 if persons.is_empty() else int(persons["person"].to_numpy().max()) + 1
    known = persons.select(*_KEY, pl.col("person").cast(pl.Int64)).join(before.records, on=_KEY, how="inner")
    edges = known.group_by("person", "id").agg(overlap=pl.len().cast(pl.Int64))
    ages = before.records.group_by("id").agg(since=pl.col("first").min()).sort("since", "id").with_row_index("age")
    places = persons.sort(_KEY).unique("person", keep="first", maintain_order=True).with_row_index("place")
    edges = (
        edges.join(ages.select("id", "age"), on="id")
        .join(places.select(pl.col("person").cast(pl.Int64), "place"), on="person")
        .sort("place", "age")
    )
    kept = inherit(
        edges["place"].to_numpy().astype(np.int64),
        edges["age"].to_numpy().astype(np.int64),
        edges["overlap"].to_numpy(),
    )
    ids: list[str] = [""] * number
    for person, found in edges.filter(pl.Series(kept, dtype=pl.Boolean)).select("person", "id").iter_rows():
        ids[person] = found
    used = set(before.records["id"]) | set(before.changes["before"]) | set(before.changes["after"])
    carried = number - ids.count("")
    for person in places["person"]:
        while not ids[person]:
            made = new_id()
            if made not in used:
                used.add(made)
                ids[person] = made
    parts = edges.with_columns(
        after=pl.Series(ids, dtype=pl.String).gather(edges["person"]),
        parts=pl.len().over("id"),
        origins=pl.len().over("person"),
    )
    return Carried(
        Registry(_seen(persons, ids, before.records, month), _changed(parts, before.changes, month)),
        ids,
        carried,
        number - carried,
        parts.filter(pl.col("parts") > 1)["id"].n_unique(),
        parts.filter(pl.col("origins") > 1)["person"].n_unique(),
        _known(persons, known, before.records),
    )


def inherit(person: Ints, age: Ints, overlap: Ints) -> NDArray[np.bool_]:
    """Choose for each person at most one earlier id, and for each id at most one person.

    Of all such choices one under which most records keep their id; of these, one that keeps the oldest ids (greatest
    sum of ranks by age, within what hangs together); of these, one that goes by the order of rows alone.

    Parameters
    ----------
    person, age, overlap
        Shape (edges,), sorted by person and age, each pair once: persons and earlier ids (0 is the oldest) that share
        ``overlap`` > 0 records.

    Returns
    -------
    NDArray
        bool (edges,): which edges are chosen.
    """
    if not len(person):
        return np.zeros(0, bool)
    chosen: NDArray[np.bool_] = (np.bincount(person)[person] == 1) & (np.bincount(age)[age] == 1)
    rest = np.flatnonzero(~chosen)
    if not len(rest):
        return chosen
    # What is not plain, densely numbered: ids are rows. Each has a column of its own besides, for staying unused.
    row = np.unique(age[rest], return_inverse=True)[1]
    column = np.unique(person[rest], return_inverse=True)[1]
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    points = _points(row, column, rows, columns)
    # One record more is worth more than all that age can be worth in one component; all are integers below 2^53.
    worth = overlap[rest] * (1 + int(points.max())) ** 2 + points
    ceiling = int(worth.max()) + 1
    cost = np.concatenate([ceiling - worth, np.full(rows, ceiling)]).astype(np.float64)
    where = (np.concatenate([row, np.arange(rows)]), np.concatenate([column, columns + np.arange(rows)]))
    matched_row, matched = min_weight_full_bipartite_matching(
        csr_array(coo_array((cost, where), (rows, columns + rows)))
    )
    partner = np.full(rows, -1)
    partner[matched_row] = matched
    chosen[rest[partner[row] == column]] = True
    return chosen


def _points(row: Ints, column: Ints, rows: int, columns: int) -> Ints:
    """Return what keeping each edge's id is worth by its age: 1 for the youngest of its component, 2 ..."""
    graph = coo_array((np.ones(len(row), bool), (row, rows + column)), (rows + columns, rows + columns))
    component = connected_components(graph, directed=False)[1][:rows]
    order = np.lexsort((-np.arange(rows), component))
    start = np.searchsorted(component[order], component[order], side="left")
    points = np.empty(rows, np.int64)
    points[order] = np.arange(rows) - start + 1
    of_edge: Ints = points[row]
    return of_edge


def _seen(persons: pl.DataFrame, ids: list[str], before: pl.DataFrame, month: str) -> pl.DataFrame:
    """Return the records' table after a run: those of the run as they are now, the others as they were."""
    of_record = pl.Series(ids, dtype=pl.String).gather(persons["person"])
    now = persons.select(*_KEY, id=of_record, month=pl.lit(month)).join(before.drop("id"), on=_KEY, how="left")
    now = now.select(*_KEY, "id", first=pl.min_horizontal("first", "month"), last=pl.max_horizontal("last", "month"))
    return pl.concat([now, before.join(now, on=_KEY, how="anti")]).sort(_KEY)


def _changed(parts: pl.DataFrame, before: pl.DataFrame, month: str) -> pl.DataFrame:
    """Return the table of splits and merges after a run."""
    told = [
        parts.filter(pl.col(several) > 1).select(
            month=pl.lit(month), kind=pl.lit(kind), before=pl.col("id"), after=pl.col("after")
        )
        for kind, several in (("split", "parts"), ("merge", "origins"))
    ]
    return pl.concat([before, *told]).unique().sort(list(CHANGES))


def _known(persons: pl.DataFrame, known: pl.DataFrame, before: pl.DataFrame) -> dict[str, float]:
    last = before.filter(pl.col("last") == pl.col("last").max().over("source"))
    counts = {
        name: dict(frame.group_by("source").len().iter_rows())
        for name, frame in (("now", persons), ("before", last), ("known", known))
    }
    return {
        source: min(1.0, counts["known"].get(source, 0) / min(counts["now"][source], number))
        for source, number in sorted(counts["before"].items())
        if source in counts["now"]
    }


def forget(registry: Registry, source: str, pseudonyms: Collection[str] | None) -> Registry:
    """Forget records entirely: what was withdrawn, or whose time is over.

    An id that no record holds any more by that is gone from the splits and merges, too.

    Parameters
    ----------
    source, pseudonyms
        Which records; None for all of the source.
    """
    gone = pl.col("source") == source
    if pseudonyms is not None:
        gone &= pl.col("pseudonym").is_in(list(pseudonyms))
    records = registry.records.filter(~gone)
    lost = set(registry.records.filter(gone)["id"]) - set(records["id"])
    named = pl.col("before").is_in(list(lost)) | pl.col("after").is_in(list(lost))
    return Registry(records, registry.changes.filter(~named))


def rename(registry: Registry, source: str, pairs: pl.DataFrame) -> tuple[Registry, int]:
    """Give records of a source their new pseudonyms; ids stay.

    Parameters
    ----------
    source
        The agency.
    pairs
        Frame (before, after) of pseudonyms, none twice in its column. A pseudonym that the register does not know is
        passed over: the agency may hold persons that were never sent.

    Returns
    -------
    registry, renamed
        The register, and how many records of it were renamed.

    Raises
    ------
    LinkError
        ``already-known`` if a new pseudonym is another record's already.
    """
    new = pairs.select(pseudonym="before", after="after").with_columns(source=pl.lit(source))
    renamed = registry.records.join(new, on=_KEY, how="left")
    changed = int(renamed["after"].is_not_null().sum())
    records = renamed.with_columns(pseudonym=pl.coalesce("after", "pseudonym")).select(list(RECORDS)).sort(_KEY)
    if records.select(_KEY).is_duplicated().any():
        raise LinkError(
            f"some of the new pseudonyms of source {source} are in the register already",
            reason="already-known",
            hint="its records were linked under them before; take a bridge file in before the first run that needs it",
        )
    return Registry(records, registry.changes), changed
