"""How well people were recognised, by group and on agreed test persons: what the hub cannot know.

By group: the hub has no sex, race or age, and the analysis has no probabilities. But it has partitions drawn from the
posterior: what is together in a draw is what is true in it. Of a group's links in the map, the share that is together
in a draw is the precision there; of its links in the draw, the share that the map has is the recall.

On test persons: made-up people whom several agencies have planted (``linkage steward submit --test-persons``). Who of
them is who is known, so that recall and precision are counted, not expected.

Leakage
-------
A rate of a few links gives their number away, and a rate by group is printed only where many links are sure to lie
under it. Whether one is printed is decided from published counts alone: the persons of a group on each list, less
those of the group, are links at least. So that it is there says nothing that the tables do not. Rates by group are
rounded to a fiftieth. Test persons are nobody, and their numbers need no cover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from linkage.research.bundle import Dimension, GroupEntry, MeasuredEntry, MeasuredPair, Rate
from linkage.research.disclosure import ProtectedTable
from linkage.research.draws import converged, effective_draws, number_of_draws
from linkage.research.tables import TOTAL, age_group

__all__ = ["FEWEST_DRAWS", "FEWEST_LINKS", "STEP", "by_group", "measured", "wilson"]

DIMENSIONS: tuple[Dimension, ...] = ("sex", "race", "age")

FEWEST_LINKS = 50
"""Links that published counts must show a group to have, or its rates are not printed."""

FEWEST_DRAWS = 20
"""Draws, as many as they are worth, fewer of which make no interval."""

STEP = 0.02
"""Rates by group are rounded to it, their intervals outwards."""

_NORMAL = 1.959964  # standard deviations of a 95% interval

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


# --- by group, from the draws


def by_group(
    events: pl.DataFrame,
    people: pl.DataFrame,
    person_map: pl.DataFrame,
    draws: pl.DataFrame,
    protected: Sequence[ProtectedTable],
    quality: Mapping[str, Any] | None = None,
) -> tuple[GroupEntry, ...]:
    """Return expected precision and recall by sex, race and age.

    Parameters
    ----------
    events
        Contacts in scope, stacked with :func:`linkage.research.draws.by_record` of this map; decoys are out of them.
    people
        Persons in scope (:func:`linkage.research.histories.persons`): a record is of the group of its person.
    person_map, draws
        As opened.
    protected
        The tables as they will be published, ``profile_<dimension>`` among them.
    quality
        What the map says of the draws: whether they are of one distribution, and how many independent ones they are
        worth.

    Returns
    -------
    tuple of GroupEntry
        Groups that can be shown, in the order of the tables; none without draws, nor from draws that are worth too few
        or of which the chains did not agree. A link is a pair of records in scope
        of one person, and is a group's if one of the two is.
    """
    number = number_of_draws(draws)
    worth = effective_draws(quality or {}, number)
    if worth < FEWEST_DRAWS or not converged(quality or {}):
        return ()
    wider = _wider(number, worth)
    row = events.get_column("person").unique().sort()
    person = person_map.get_column("person").to_numpy()[row.to_numpy()].astype(np.int64)
    known = people.select("person", "sex", "race", age_group())
    group_of = pl.DataFrame({"person": pl.Series(person, dtype=pl.UInt32)}).join(known, on="person", how="left")
    shown = [(dimension, value) for dimension in DIMENSIONS for value in _showable(dimension, protected)]
    masks = [(group_of[dimension].fill_null("unknown") == value).to_numpy() for dimension, value in shown]
    precision, recall = _shares(person, _drawn(row, draws), masks)
    return tuple(
        GroupEntry(
            dimension=dimension,
            value=value,
            precision=_rate(precision[place], wider),
            recall=_rate(recall[place], wider),
        )
        for place, (dimension, value) in enumerate(shown)
    )


def _showable(dimension: str, protected: Sequence[ProtectedTable]) -> list[str]:
    """Return the values of a dimension that are sure, by published counts, to have many links."""
    table = next(table for table in protected if table.name == f"profile_{dimension}")
    counts = {(source, value): count for source, value, count in table.frame.iter_rows()}
    lists = [source for source in table.values("source")]

    def links(value: str) -> int:
        everybody = counts[TOTAL, value]
        # A withheld count is not zero. Who is on k lists has k - 1 links at least.
        on_lists = sum(1 if counts[source, value] is None else counts[source, value] for source in lists)
        return -1 if everybody is None else on_lists - everybody

    return [value for value in table.values(dimension) if links(value) >= FEWEST_LINKS]


def _drawn(row: pl.Series, draws: pl.DataFrame) -> tuple[Ints, Ints]:
    """Return which of the rows are open, and their persons in each draw, shape (draws, open)."""
    here = draws.filter(pl.col("record").is_in(row.implode()))
    place = np.searchsorted(row.to_numpy(), here.get_column("record").to_numpy())
    return place.astype(np.int64), here.drop("record").to_numpy().T.astype(np.int64)


def _shares(person: Ints, drawn: tuple[Ints, Ints], masks: Sequence[Flags]) -> tuple[list[Ints], list[Ints]]:
    """Return precision and recall of each group in each draw; NaN where there is no link."""
    place, persons = drawn
    settled = np.ones(len(person), np.bool_)
    settled[place] = False
    sure = [_links(person[settled], mask[settled]) for mask in masks]
    mine, inside = person[place], [mask[place] for mask in masks]
    claimed = [_links(mine, mask) for mask in inside]
    precision, recall = np.full((2, len(masks), len(persons)), np.nan)
    for draw, theirs in enumerate(persons):
        both = mine * (int(theirs.max(initial=0)) + 1) + theirs
        for group, mask in enumerate(inside):
            right = sure[group] + _links(both, mask)
            precision[group, draw] = right / max(sure[group] + claimed[group], 1)
            recall[group, draw] = right / max(sure[group] + _links(theirs, mask), 1)
    return list(precision), list(recall)


def _links(person: Ints, mask: Flags) -> int:
    """Count pairs of records of one person of which one at least is in the group."""
    number = np.unique(person, return_inverse=True)[1]
    every = np.bincount(number)
    others = np.bincount(number[~mask], minlength=len(every))
    return int((every * (every - 1) - others * (others - 1)).sum() // 2)


def _wider(number: int, worth: float) -> float:
    """Return how much further out than the draws the ends of an interval lie.

    Draws that hang together lie closer than they should; their mean is as uncertain as one draw of so many as they are
    worth (Rubin 1987), and so few say little of their spread (Student's t).
    """
    spread = (1 - 1 / number) / (1 - 1 / worth) * (1 + 1 / worth)
    return math.sqrt(spread) * float(stdtrit(worth - 1, 0.975)) / _NORMAL


def _rate(shares: Ints, wider: float) -> Rate:
    """Write the mean over the draws, and what lies within 95% of them and as much further as is said, coarsely."""
    mean = shares.mean()
    low, high = np.clip(mean + wider * (np.quantile(shares, (0.025, 0.975)) - mean), 0, 1)
    return Rate(
        value=_clean(round(float(mean) / STEP) * STEP),
        low=_clean(math.floor(float(low) / STEP + 1e-9) * STEP),
        high=_clean(math.ceil(float(high) / STEP - 1e-9) * STEP),
    )


def _clean(share: float) -> float:
    return min(1.0, max(0.0, round(share, 2)))


# --- on test persons


def measured(facts: Mapping[str, pl.DataFrame], person_map: pl.DataFrame) -> MeasuredEntry | None:
    """Count what the map has made of the agreed test persons; None where there are none on two lists.

    Parameters
    ----------
    facts
        Source -> facts frame as opened, decoys included.
    person_map
        ``source``, ``pseudonym``, ``person``.

    Returns
    -------
    MeasuredEntry
        Recall: pairs of records of one test person on two lists, and the share of them that the map has, by pair of
        lists and together, with Wilson intervals (pairs as independent). Precision: of the map's links across lists of
        which one record is a test person's, the share that are of one and the same.
    """
    known = [
        frame.select(pl.lit(source).alias("source"), "pseudonym", "test_person").unique()
        for source, frame in sorted(facts.items())
    ]
    names = pl.concat(known).filter(pl.col("test_person").is_not_null())
    records = person_map.select("source", "pseudonym", "person").join(names, on=["source", "pseudonym"], how="left")
    planted = records.filter(pl.col("test_person").is_not_null())
    true = _pairs(planted, planted, "test_person")
    if true.is_empty():
        return None
    pairs = []
    for one, other in combinations(sorted(facts), 2):
        here = true.filter(source=one, source_right=other)
        if here.height:
            found = int((here["person"] == here["person_right"]).sum())
            pairs.append(MeasuredPair(sources=(one, other), pairs=here.height, recall=wilson(found, here.height)))
    # Links of a test person, with another test person or with anybody: each pair of records once.
    links = _pairs(planted, planted, "person")
    strangers = _pairs(planted, records.filter(pl.col("test_person").is_null()), "person", ordered=False)
    right, linked = int((links["test_person"] == links["test_person_right"]).sum()), links.height + strangers.height
    found = int((true["person"] == true["person_right"]).sum())
    return MeasuredEntry(
        persons=planted["test_person"].n_unique(),
        pairs=true.height,
        recall=wilson(found, true.height),
        precision=wilson(right, linked) if linked else None,
        by_sources=tuple(pairs),
    )


def _pairs(left: pl.DataFrame, right: pl.DataFrame, on: str, *, ordered: bool = True) -> pl.DataFrame:
    """Return pairs of records on two lists that have the same value of a column."""
    keys = ["source", "pseudonym", "person", "test_person"]
    other = right.select(pl.col(keys).name.suffix("_right"))
    joined = left.join(other, left_on=on, right_on=f"{on}_right", how="inner", coalesce=False)
    apart = pl.col("source") < pl.col("source_right") if ordered else pl.col("source") != pl.col("source_right")
    return joined.filter(apart)


def wilson(found: int, of: int) -> Rate:
    """Return a share with its 95% interval by Wilson (1927), ends rounded outwards to two digits."""
    z, p = _NORMAL, found / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Rate(
        value=round(p, 2), low=math.floor(low * 100 + 1e-9) / 100, high=min(1.0, math.ceil(high * 100 - 1e-9) / 100)
    )
