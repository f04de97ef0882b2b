"""The hub's one job: encodings of several sources in, persons out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub.block import BUDGET, RECALL
from linkage.hub.cluster import THRESHOLD, cluster
from linkage.hub.compare import Candidates, compare
from linkage.hub.decide import decide, repeat_pairs
from linkage.hub.encoded import Encoded, stack
from linkage.hub.fellegi_sunter import Fit, fit
from linkage.hub.partitions import DRAWS, MOST_SOURCES, Draws
from linkage.hub.quality import assess

__all__ = ["Linked", "link"]

_AGAIN = 2  # times that sources with repeats are compared anew, with what is known of their repeats by then
_KNOWN = 0.8  # probability from which two records are known to be one person where no source is free of repeats


@dataclass(frozen=True)
class Linked:
    """What the linkage found.

    Attributes
    ----------
    persons
        Frame (source, pseudonym, person): one row a record; person is UInt32, dense, from 0.
    quality
        Aggregates that describe the linkage, see :func:`linkage.hub.quality.assess`; ``blocking`` says how the
        candidates were found, ``posterior`` how the draws were made, ``threshold`` from which probability on a
        pair was a link.
    draws
        Partitions drawn from the posterior.
    left, right, probability
        The weighed pairs of records by row of ``persons``, and the probability under the posterior over partitions
        that each is one person, for evaluation in memory. They are never written.
    repeats
        Pairs of records of one source, of shape (repeats, 2), found to be one person although the source says that it
        has no repeats.
    """

    persons: pl.DataFrame
    quality: dict[str, Any]
    draws: Draws
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    probability: NDArray[np.float64]
    repeats: NDArray[np.int64]


def link(
    encodings: dict[str, pl.DataFrame],
    spec: LinkageSpec,
    *,
    repeats: frozenset[str] = frozenset(),
    cost: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    budget: float = BUDGET,
    recall: float = RECALL,
    comparer: Callable[[Encoded, int], Candidates] | None = None,
    progress: Callable[[str], None] | None = None,
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
    cost
        Cost of a false link in missed ones; by default pairs are linked so that F1 is expected to be the greatest.
    draws
        Partitions to draw from the posterior.
    seed
        Of all samples and draws.
    budget, recall
        Pairs up to which all are compared, and the share of the matches that shall be found beyond; a ``comparer`` has
        its own.
    comparer
        Who compares the records, given the stacked encodings and a seed: by default this machine
        (:func:`linkage.hub.compare.compare`).
    progress
        Called with a word on what is done now.

    Returns
    -------
    Linked

    Raises
    ------
    LinkError
        No records at all, encodings that do not fit the spec, or a source with repeats that is not there.
    """
    filled = {source: frame for source, frame in encodings.items() if len(frame)}
    if not filled:
        raise LinkError("no source holds a record", reason="nothing-to-link")
    if not repeats <= set(encodings):
        raise LinkError(
            "a source that is said to have repeats is not among the sources",
            reason="unknown-source",
            hint="sources are: " + ", ".join(sorted(encodings)),
        )
    if len(filled) > MOST_SOURCES:
        raise LinkError(f"more than {MOST_SOURCES} sources", reason="too-many-sources")
    say = progress or (lambda word: None)
    say("reading")
    encoded = stack(filled, spec, {source: source not in repeats for source in filled})
    if len(encoded.source) == 1 or (len(filled) == 1 and encoded.deduplicated.all()):
        return _apart(encoded, draws)
    here = functools.partial(compare, seed=seed, budget=budget, recall=recall)
    encoded, candidates, fitted = _weigh(encoded, here if comparer is None else lambda e: comparer(e, seed), say)
    say("drawing")
    decision = decide(encoded, candidates, fitted, cost=cost, draws=draws, seed=seed)
    fitted = replace(fitted, probability=decision.probability)
    quality = assess(
        encoded,
        candidates,
        fitted,
        decision.person,
        draws=decision.draws if draws else None,
        effective=decision.diagnostics.get("effective_draws"),
        blocking=candidates.comparison,
    )
    return Linked(
        persons=encoded.labels.with_columns(person=pl.Series(decision.person, dtype=pl.UInt32)),
        quality=quality | {"threshold": round(decision.threshold, 4), "posterior": decision.diagnostics},
        draws=decision.draws,
        left=candidates.left[fitted.pair],
        right=candidates.right[fitted.pair],
        probability=decision.probability,
        repeats=repeat_pairs(candidates, fitted),
    )


def _weigh(
    encoded: Encoded, comparer: Callable[[Encoded], Candidates], say: Callable[[str], None]
) -> tuple[Encoded, Candidates, Fit]:
    """Compare and weigh; sources with repeats again, with what is known of these by then.

    Where no source is free of repeats, chance is a guess at first, and what passes for a link need not be one. Pairs
    between the persons so found are chance beyond doubt, whether these persons are right or not, and it is by them that
    links are judged in the end.
    """
    lone = not encoded.deduplicated.any()
    turns = 1 if encoded.deduplicated.all() else 1 + _AGAIN
    for turn in range(turns):
        say("comparing" if turn == 0 else "comparing again, knowing repeats")
        candidates = comparer(encoded)
        say("weighing")
        fitted = fit(encoded, candidates, gate=not lone or turn > 0)
        if turn + 1 == turns or not fitted.shown:
            break
        known = _persons(encoded, candidates, fitted, _KNOWN if lone else THRESHOLD)
        if lone and turn and len(np.unique(known)) == len(known):
            break  # judged by what chance does among them, none of the persons is left
        encoded = replace(encoded, known=known)
    return encoded, candidates, fitted


def _persons(encoded: Encoded, candidates: Candidates, fitted: Fit, threshold: float) -> NDArray[np.int64]:
    pairs = candidates.left[fitted.pair], candidates.right[fitted.pair], fitted.probability
    repeats = repeat_pairs(candidates, fitted)
    return cluster(*pairs, encoded.source, encoded.deduplicated, repeats, threshold=threshold)


def _apart(encoded: Encoded, draws: int) -> Linked:
    """One record, or one source that has deduplicated itself: every record is a person."""
    number = len(encoded.source)
    persons = encoded.labels.with_columns(person=pl.int_range(number, dtype=pl.UInt32))
    quality = {"records": {encoded.sources[0]: number}, "persons": number, "person_sizes": {"1": number}, "links": 0}
    none = np.zeros(0, np.int64)
    silent = Draws(none, np.zeros((draws, 0), np.uint32))
    return Linked(persons, quality, silent, none, none, np.zeros(0), np.zeros((0, 2), np.int64))
