"""The classifiers that can weigh the pairs of a labelled file: the engine's own, and one of another library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.hub.cluster import cluster
from linkage.hub.compare import TAILS, compare
from linkage.hub.encoded import stack
from linkage.hub.kernels import MISSING
from linkage.hub.link import link
from linkage.lab.measures import f1_of

__all__ = ["Classifier", "Weighed", "weigh"]

Classifier = Literal["linkage", "ecm"]

_AGREES = 1e-4
"""A filter agrees if no larger share of unlike pairs is at least so close: ECM takes yes or no.
Of shares from 1e-2 to 1e-5, the best on FEBRL4 and hist3 together."""


@dataclass(frozen=True)
class Weighed:
    """What a classifier made of the encodings.

    Attributes
    ----------
    persons
        Frame (source, pseudonym, person), one row a record.
    left, right, probability
        The weighed pairs, by row of ``persons``.
    repeats
        int64, shape (repeats, 2): pairs of records of a source without repeats that are one person all the same.
    expected
        ``precision``, ``recall``, ``f1`` and ``expected_matches`` that follow from the probabilities alone.
    """

    persons: pl.DataFrame
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    probability: NDArray[np.float64]
    repeats: NDArray[np.int64]
    expected: dict[str, float | None]


def weigh(
    classifier: Classifier,
    encodings: dict[str, pl.DataFrame],
    spec: LinkageSpec,
    repeats: frozenset[str],
    *,
    progress: Callable[[str], None] | None = None,
) -> Weighed:
    """Link encodings by one of the classifiers.

    ``linkage`` is the engine as it is. ``ecm`` takes the engine's candidate pairs; a filter agrees if it is at least as
    close as one in ten thousand unlike pairs, and disagrees if it is not or is missing; recordlinkage's ECM classifier
    estimates a probability from these, and the engine's clustering makes persons of the probabilities.

    Raises
    ------
    LinkError
        See :func:`linkage.hub.link.link`; or the classifier came to no estimate.
    """
    if classifier == "ecm":
        return _ecm(encodings, spec, repeats, progress or (lambda _: None))
    linked = link(encodings, spec, repeats=repeats, progress=progress)
    rates = {key: (linked.quality.get(key) or {}).get("value") for key in ("precision", "recall", "f1")}
    return Weighed(
        linked.persons,
        linked.left,
        linked.right,
        linked.probability,
        linked.repeats,
        {**rates, "expected_matches": linked.quality.get("expected_matches", 0.0)},
    )


def _ecm(
    encodings: dict[str, pl.DataFrame], spec: LinkageSpec, repeats: frozenset[str], progress: Callable[[str], None]
) -> Weighed:
    from linkage.hub.adapters.recordlinkage import ecm_probability  # takes seconds: only who asks for it waits

    encoded = stack(encodings, spec, {source: source not in repeats for source in encodings})
    progress("comparing")
    candidates = compare(encoded)
    progress("weighing")
    pair = np.flatnonzero(candidates.linkable)
    left, right, levels = candidates.left[pair], candidates.right[pair], candidates.levels[pair]
    cut = 1 + next(number for number, share in enumerate(TAILS) if share <= _AGREES)
    probability = ecm_probability((levels != MISSING) & (levels >= cut), [entry.name for entry in spec.filters])
    none = np.zeros((0, 2), np.int64)
    person = cluster(left, right, probability, encoded.source, encoded.deduplicated, none)
    linked, matches = person[left] == person[right], float(probability.sum())
    found = float(probability[linked].sum())
    precision = found / int(linked.sum()) if linked.any() else None
    recall = found / matches if matches > 0 else None
    rates = {"precision": precision, "recall": recall, "f1": f1_of(precision, recall)}
    expected = {key: None if rate is None else round(rate, 4) for key, rate in rates.items()}
    persons = encoded.labels.with_columns(person=pl.Series(person, dtype=pl.UInt32))
    return Weighed(persons, left, right, probability, none, expected | {"expected_matches": round(matches, 1)})
