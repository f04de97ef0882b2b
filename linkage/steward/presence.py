"""Presence masks that single nobody out: a value that few others have or lack is left out before it is encoded.

With presence masks the hub sees which fields a record has. A pattern of fields that few records of the file share
points at them for whoever has the agency's list, so records give up values until each pattern is that of enough others
(Samarati 2001: k-anonymity by suppression). A value that is left out is missing for all that follows: mask, filter and
fill say the same, and the hub's comparison, neutral where a field is missing, needs to know nothing of it.

Leakage: which fields are filled, of groups of at least :data:`LEAST` records; of a smaller file, of all together.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec

__all__ = ["LEAST", "share_patterns"]

LEAST = 5
"""Records that share a pattern, at least."""

Numbers = NDArray[np.int64]


def share_patterns(
    records: pl.DataFrame, spec: LinkageSpec, owners: Sequence[str], key: bytes, *, least: int = LEAST
) -> pl.DataFrame:
    """Leave out values until every pattern of filled fields is that of enough records, or of no field at all.

    Parameters
    ----------
    records
        A row a name; the columns are those that :func:`linkage.steward.encode.encode` takes, and others.
    spec
        The spec. Without presence masks, nothing is left out.
    owners
        Whose name each row is: all rows of a record have its pattern.
    key
        A secret of this agency alone. Where a record of a common pattern keeps a rare one company, it decides which:
        by an order that others knew, they could tell it from those whose pattern it is.
    least
        How many records are enough; in a file of fewer, all of them.

    Returns
    -------
    pl.DataFrame
        The same rows and columns, with null (an empty list) where a value is left out.

    Notes
    -----
    The rarest pattern comes first and takes the way that costs least, a value counting by what it tells on average
    (one bit and the entropy of its column): its records fall back to what they
    have in common with another pattern, and of that pattern as many records with them as are wanting. A record without
    any field is compared with nobody, which is the last resort and never singles out by what it has.
    """
    named = dict.fromkeys(part.field for entry in spec.filters for part in entry.parts)
    fields = [name for name in named if name in records.columns]
    if not spec.presence_masks or not fields or records.is_empty():
        return records
    filled = records.select(_is_filled(records, name) for name in fields).to_numpy()
    owner, of = np.unique(np.asarray(owners, np.str_), return_inverse=True)
    has = np.ones((len(owner), len(fields)), np.bool_)
    np.logical_and.at(has, of, filled)
    places = [hmac.digest(key, str(one).encode(), "sha256") for one in owner]
    order = np.array(sorted(range(len(owner)), key=places.__getitem__), np.int64)
    bits = 1 << np.arange(len(fields), dtype=np.int64)
    worth = np.array([1 + _entropy(records[name]) for name in fields])
    shared = _shared((has @ bits).astype(np.int64), order, min(least, len(owner)), worth)
    kept = (shared[of][:, None] & bits[None, :]) != 0
    columns = []
    for number, name in enumerate(fields):
        if (filled[:, number] & ~kept[:, number]).any():
            nothing = pl.lit([] if isinstance(records.schema[name], pl.List) else None, dtype=records.schema[name])
            columns.append(pl.when(pl.Series(kept[:, number])).then(pl.col(name)).otherwise(nothing).alias(name))
    return records.with_columns(columns)


def _is_filled(records: pl.DataFrame, name: str) -> pl.Expr:
    """Say of which rows a column has a value, as the encoder sees it."""
    if isinstance(records.schema[name], pl.List):
        return pl.col(name).list.eval((pl.element() != "").fill_null(False)).list.any().fill_null(False)
    return (pl.col(name).cast(pl.String) != "").fill_null(False)


def _entropy(column: pl.Series) -> float:
    """Return how many bits a value of this column tells, about."""
    values = column.explode() if isinstance(column.dtype, pl.List) else column
    shares = values.drop_nulls().value_counts()["count"].to_numpy() / max(len(values) - values.null_count(), 1)
    return float(-(shares * np.log2(shares)).sum())


def _shared(patterns: Numbers, order: Numbers, least: int, worth: NDArray[np.float64]) -> Numbers:
    """Return the pattern that each record shows: a part of its own, and that of enough records, or none."""
    now = patterns.copy()
    counts = Counter(patterns.tolist())
    while rare := [pattern for pattern, count in counts.items() if pattern and count < least]:
        pattern = min(rare, key=lambda one: (counts[one], one))
        other, company = _cheapest(pattern, counts, least, worth)
        common = pattern & other
        joining = order[now[order] == other][:company]
        moved = np.concatenate([np.flatnonzero(now == pattern), joining])
        now[moved] = common
        counts[pattern] = 0
        counts[other] -= len(joining)
        counts[common] += len(moved)
        counts = +counts
    return now


def _cheapest(pattern: int, counts: Counter[int], least: int, worth: NDArray[np.float64]) -> tuple[int, int]:
    """Return with which other pattern a rare one is cheapest to merge, and how many of that one's records are to join.

    A common pattern gives as many as are wanting, and only if enough remain; any other gives all.
    """
    others = np.array([0, *(one for one in sorted(counts) if one and one != pattern)], np.int64)
    several = np.array([counts[one] for one in others.tolist()], np.int64)
    common = others & pattern
    wanting = least - counts[pattern]
    company = np.where(several >= least + wanting, wanting, several)
    company[common == others] = 0  # what they have in common is all that the other has: its records lose nothing
    given_up, theirs = (_sum(lost, worth) for lost in (pattern ^ common, others ^ common))
    cost = given_up * counts[pattern] + theirs * company
    best = int(np.lexsort((-several, cost))[0])
    return int(others[best]), int(company[best])


def _sum(patterns: Numbers, worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the fields of each pattern are worth together."""
    bits = np.arange(len(worth))
    return ((patterns[:, None] >> bits) & 1) @ worth
