"""From weighed pairs to persons: the decision, and the draws beside it.

Which pairs become links is decided so that F1 is expected to be the greatest, or by the stated cost of a false link
in missed ones; no similarity is picked by hand. Records found to be repeats of one another go as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.hub.cluster import cluster
from linkage.hub.compare import Candidates
from linkage.hub.competition import units
from linkage.hub.encoded import Encoded
from linkage.hub.fellegi_sunter import Fit
from linkage.hub.partitions import Draws, Question, posterior

__all__ = ["Decision", "best_threshold", "decide", "open_records", "repeat_pairs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SURE = 1e-4  # doubt below which two records of one source, found to be one person, are not parted again
_LEAST = 0.25  # probability from which a pair may be a link: where next to nothing matches, any F1 is a chance one


@dataclass(frozen=True)
class Decision:
    """Persons, and how sure they are.

    Attributes
    ----------
    person
        int64, shape (records,): person of each record, dense, numbered by first record.
    probability
        float64, shape (pairs,): of each weighed pair of ``Fit.pair``, that it is one person, under the posterior over
        partitions.
    draws
        Partitions drawn from that posterior.
    threshold
        Probability from which a pair is a link.
    diagnostics
        Of the posterior, see :class:`linkage.hub.partitions.Posterior`.
    """

    person: Ints
    probability: Floats
    draws: Draws
    threshold: float
    diagnostics: dict[str, Any]


def best_threshold(probability: Floats, cost: float | None = None) -> float:
    """Return the probability from which a link is worth making.

    Parameters
    ----------
    probability
        float64, shape (pairs,): calibrated.
    cost
        Cost of a false link in missed ones; by default F1 shall be expected to be the greatest. A pair of
        probability p then gains if p is more than half of the F1 that is reached (Lipton, Elkan and Naryanaswamy 2014).

    Raises
    ------
    LinkError
        A cost that is not a positive number.
    """
    if cost is not None:
        if not 0 < cost < float("inf"):
            raise LinkError("the cost of a false link is not a positive number", reason="bad-cost")
        return cost / (1 + cost)
    descending = np.sort(probability)[::-1]
    if not len(descending) or descending[0] <= 0:
        return 0.5
    reached = 2 * np.cumsum(descending) / (np.arange(1, len(descending) + 1) + descending.sum())
    return max(_LEAST, float(reached.max() / 2))


def repeat_pairs(candidates: Candidates, fitted: Fit) -> Ints:
    """Return the pairs of records that are one person under two numbers of one source: int64 (repeats, 2)."""
    return np.column_stack([candidates.left[fitted.repeats], candidates.right[fitted.repeats]])


def decide(
    encoded: Encoded, candidates: Candidates, fitted: Fit, *, cost: float | None, draws: int, seed: int
) -> Decision:
    """Make persons of records.

    Parameters
    ----------
    cost
        See :func:`best_threshold`.
    draws
        Partitions to draw.
    seed
        Of the draws.
    """
    left, right = candidates.left[fitted.pair], candidates.right[fitted.pair]
    repeats = repeat_pairs(candidates, fitted)
    threshold = best_threshold(fitted.probability, cost)
    person = cluster(
        left, right, fitted.probability, encoded.source, encoded.deduplicated, repeats, threshold=threshold
    )
    if not fitted.shown:
        none = Draws(np.zeros(0, np.int64), np.zeros((draws, 0), np.uint32))
        return Decision(person, fitted.probability, none, threshold, {})
    # Records of one source that are one person beyond doubt go as one: a hundred visits would take for ever.
    sure = (encoded.source[left] == encoded.source[right]) & (person[left] == person[right])
    sure &= fitted.probability > 1 - _SURE
    joined = np.concatenate([repeats, np.column_stack([left[sure], right[sure]])])
    unit = np.unique(units(len(person), joined[:, 0], joined[:, 1]), return_inverse=True)[1]
    first = np.unique(unit, return_index=True)[1]
    source = encoded.source[first].astype(np.int64)
    open_pair = np.flatnonzero(unit[left] != unit[right])
    question, place = _ask(encoded, fitted, source, unit[left], unit[right], open_pair)
    answer = posterior(question, draws=draws, seed=seed)
    probability = fitted.probability.copy()
    probability[open_pair] = answer.probability[place]
    record, column = _records_of(unit, answer.open)
    partitions = open_records(person, first[answer.label[unit]], record, first[answer.drawn][:, column])
    return Decision(person, probability, partitions, threshold, answer.diagnostics)


def _records_of(unit: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Return the records of some units, and of which of these each is."""
    place = np.full(len(unit), -1)
    place[chosen] = np.arange(len(chosen))
    record = np.flatnonzero(place[unit] >= 0)
    return record, place[unit[record]]


def _ask(encoded: Encoded, fitted: Fit, source: Ints, left: Ints, right: Ints, chosen: Ints) -> tuple[Question, Ints]:
    """Pose the question between units; say for each chosen pair of records which pair of units it is."""
    low, high = np.minimum(left, right)[chosen], np.maximum(left, right)[chosen]
    weight, probability = fitted.weight[chosen], fitted.probability[chosen]
    key = low * len(source) + high
    order = np.argsort(key, kind="stable")
    new = np.diff(key[order], prepend=-1) != 0
    if not new.all():  # of the pairs between two units the one of greatest weight is asked about
        order = np.lexsort((-weight, key))
    best = order[new]
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(new) - 1
    return Question(
        source=source,
        single=encoded.deduplicated,
        left=low[best],
        right=high[best],
        weight=weight[best],
        probability=probability[best],
        far=np.full((len(encoded.sources),) * 2, fitted.far),
        matches=fitted.matches,
    ), place


def open_records(person: Ints, label: Ints, record: Ints, drawn: Ints) -> Draws:
    """Keep of drawn partitions what differs from the persons decided on, or from draw to draw.

    Parameters
    ----------
    person
        int64, shape (records,): as decided, dense, numbered by first record.
    label
        int64, shape (records,): the first record of each record's person in every draw, but for
    record, drawn
        int64, shape (open,) and (draws, open): records where it varies, ascending, and what it is in each draw.

    Returns
    -------
    Draws
    """
    decided = np.unique(person, return_index=True)[1][person]
    label = label.copy()
    label[record] = decided[record]
    constant = np.flatnonzero(label != decided)
    column, changed = np.nonzero((drawn != decided[record]).T)
    touched = np.zeros(len(person), np.bool_)
    # A person that lost a record, and one that won it: its first record names it.
    for lost, won in ((constant, label[constant]), (record[column], drawn[changed, column])):
        touched[person[lost]] = True
        touched[person[won]] = True
    chosen = np.flatnonzero(touched[person])
    partitions = np.tile(label[chosen].astype(np.uint32), (len(drawn), 1))
    partitions[:, np.isin(chosen, record)] = drawn[:, np.isin(record, chosen)]
    return Draws(chosen, partitions)
