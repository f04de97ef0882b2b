"""Near-ties: pairs of records that can hardly be told from strangers, or from a rival, for the stewards to look at.

Pairs are named by pseudonym and carry no score. Each agency gets a list of its own, with its own pseudonyms alone; the
name of a tie is what two agencies have in common when they talk about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["MOST_TIES", "near_ties", "ties_by_source"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_TIES = 1000
"""Pairs that a list of near-ties names."""

_NAME = 10


def near_ties(
    persons: pl.DataFrame, left: Ints, right: Ints, probability: Floats, *, most: int = MOST_TIES
) -> pl.DataFrame:
    """List pairs of records that can hardly be told from strangers, or from a rival, for the stewards to look at.

    Parameters
    ----------
    persons
        Frame (source, pseudonym, ...), one row a record.
    left, right, probability
        The weighed pairs, by row of ``persons``.
    most
        Pairs that the list may name; those nearest to a tie are taken.

    Returns
    -------
    polars.DataFrame
        ``source``, ``pseudonym``, ``other_source``, ``other_pseudonym``, ``band``: ``even`` or ``leaning``, and no
        score, but nearest to a tie first: :func:`ties_by_source` takes that order away. A pair is in it that is a match
        with a probability from .3 to .7, or whose record has in that source a second partner at least half as likely.

    Notes
    -----
    Leakage: each line says that a record of one agency may be a person of another agency's list.
    """
    source = persons["source"].rank("dense").to_numpy().astype(np.int64)
    distance = np.abs(probability - 0.5)
    rival = np.maximum(_rivalry(left, source[right], probability), _rivalry(right, source[left], probability))
    tied = (distance <= 0.2) | (rival >= 0.5)
    # How far from even, by either way of being a tie: 0 is a toss-up, 1 the edge of the list.
    off = np.minimum(distance / 0.2, (1 - rival) / 0.5)
    chosen = np.flatnonzero(tied)
    chosen = chosen[np.argsort(off[chosen], kind="stable")][:most]
    one, other = persons[left[chosen]], persons[right[chosen]]
    return pl.DataFrame(
        {
            "source": one["source"],
            "pseudonym": one["pseudonym"],
            "other_source": other["source"],
            "other_pseudonym": other["pseudonym"],
            "band": pl.Series(np.where(off[chosen] <= 0.5, "even", "leaning").tolist(), dtype=pl.String),
        }
    )


def ties_by_source(ties: pl.DataFrame, sources: Iterable[str], label: str) -> dict[str, pl.DataFrame]:
    """Give each source the near-ties that its own records are in, under names that all lists share.

    Parameters
    ----------
    ties
        As :func:`near_ties` returns them.
    sources
        All sources; one without a tie gets an empty list, so that the list being there says nothing.
    label
        The run's name, which the names depend on.

    Returns
    -------
    dict
        Source -> frame of ``tie`` (10 hex digits), ``pseudonym`` of the source's own record, ``other_source`` and
        ``band``, in the order of these names. A tie of two records of one source is two rows of its list.

    Notes
    -----
    Leakage: a line says that this record may be a person on the list of ``other_source``, as the steward must know to
    ask there, and nothing of who. A tie is named by the first 40 bits of a digest of both pseudonyms, of which an
    agency knows one: neither name nor order says anything about the other's pseudonyms or, as a dense number would,
    how many ties there are in all lists, and a run that is made again gives the same names.
    """
    names = [hashlib.sha256("\0".join((label, *row)).encode()).hexdigest() for row in ties.drop("band").iter_rows()]
    named = ties.with_columns(tie=pl.Series([name[:_NAME] for name in names], dtype=pl.String))
    here = named.select("tie", "source", "pseudonym", "other_source", "band")
    there = named.select("tie", source="other_source", pseudonym="other_pseudonym", other_source="source", band="band")
    rows = pl.concat([here, there]).sort("tie", "pseudonym")
    return {source: rows.filter(pl.col("source") == source).drop("source") for source in sources}


def _rivalry(record: Ints, source: Ints, probability: Floats) -> Floats:
    """Return how near each record's two likeliest partners in a source are: second over first, for these two pairs.

    Zero for all other pairs, where the first is itself beyond doubt (.7) or out of the question (.1).
    """
    order = np.lexsort((-probability, source, record))
    key = record[order] * (int(source.max(initial=0)) + 1) + source[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])
    first = first[first + 1 < len(key)]
    first = first[key[first] == key[first + 1]]
    best, second = probability[order[first]], probability[order[first + 1]]
    open_to_doubt = (best >= 0.1) & (best <= 0.7)
    ratio = np.where(open_to_doubt, second / np.maximum(best, 0.1), 0.0)
    rivalry = np.zeros(len(record))
    rivalry[order[first]] = rivalry[order[first + 1]] = ratio
    return rivalry
