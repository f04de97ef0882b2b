"""The hub's one job: encodings of several sources in, persons out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub.cluster import cluster
from linkage.hub.compare import Candidates, compare
from linkage.hub.encoded import Encoded, stack
from linkage.hub.fellegi_sunter import Fit, fit
from linkage.hub.quality import assess

__all__ = ["Linked", "link"]


@dataclass(frozen=True)
class Linked:
    """What the linkage found.

    Attributes
    ----------
    persons
        Frame (source, pseudonym, person): one row a record; person is UInt32, dense, from 0.
    quality
        Aggregates that describe the linkage, see :func:`linkage.hub.quality.assess`.
    left, right, probability
        The weighed pairs of records by row of ``persons``, for evaluation in memory. They are never written.
    repeats
        Pairs of records of one source, of shape (repeats, 2), found to be one person although the source says that it
        has no repeats.
    """

    persons: pl.DataFrame
    quality: dict[str, Any]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    probability: NDArray[np.float64]
    repeats: NDArray[np.int64]


def link(
    encodings: dict[str, pl.DataFrame], spec: LinkageSpec, *, repeats: frozenset[str] = frozenset(), seed: int = 0
) -> Linked:
    """Link records of several sources into persons.

    Parameters
    ----------
    encodings
        Source -> encodings frame: ``pseudonym`` String, ``variant`` UInt8, a Binary column for each filter of the
        spec and, where the spec has presence masks, ``<filter>_mask`` UInt16.
    spec
        The linkage spec that the encodings were made by.
    repeats
        Sources in which one person can have several records. All others give at most one record to a person.
    seed
        Of the samples of unlike pairs on large files.

    Returns
    -------
    Linked

    Raises
    ------
    LinkError
        No records at all, or encodings that do not fit the spec.
    """
    filled = {source: frame for source, frame in encodings.items() if len(frame)}
    if not filled:
        raise LinkError("no source holds a record", reason="nothing-to-link")
    encoded = stack(filled, spec, {source: source not in repeats for source in filled})
    if len(filled) == 1 and encoded.deduplicated.all():
        return _apart(encoded)
    candidates = compare(encoded, seed=seed)
    fitted = fit(encoded, candidates)
    return _linked(encoded, candidates, fitted)


def _linked(encoded: Encoded, candidates: Candidates, fitted: Fit) -> Linked:
    left, right = candidates.left[fitted.pair], candidates.right[fitted.pair]
    repeats = np.column_stack([candidates.left[fitted.repeats], candidates.right[fitted.repeats]])
    person = cluster(left, right, fitted.probability, encoded.source, encoded.deduplicated, repeats)
    persons = encoded.labels.with_columns(person=pl.Series(person, dtype=pl.UInt32))
    return Linked(persons, assess(encoded, candidates, fitted, person), left, right, fitted.probability, repeats)


def _apart(encoded: Encoded) -> Linked:
    """One source that has deduplicated itself: every record is a person."""
    number = len(encoded.source)
    persons = encoded.labels.with_columns(person=pl.int_range(number, dtype=pl.UInt32))
    quality = {"records": {encoded.sources[0]: number}, "persons": number, "person_sizes": {"1": number}, "links": 0}
    return Linked(
        persons, quality, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2), np.int64)
    )
