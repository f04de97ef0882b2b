"""Small models of partitions, drawn at random, and what a list of all partitions says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from linkage.hub.weights import Model

Partition = frozenset[frozenset[int]]


def small_model(rng: np.random.Generator, records: int, *, sources: int = 3) -> Model:
    """Draw a model: sources with and without repeats, pairs that are not listed, persons that shrink and floors."""
    source = rng.integers(0, sources, records)
    single = rng.random(sources) < 0.5
    weight = rng.normal(0, 3, (records, records))
    listed = np.triu(rng.random((records, records)) < 0.7, 1)
    near = listed & (rng.random((records, records)) < 0.8)
    far = rng.normal(-3, 1, (sources, sources))
    person = np.append(-np.inf, rng.normal(1, 1, (1 << sources) - 1))
    repeat = np.log(rng.uniform(0.05, 0.6, sources))
    shrink = (2 / np.maximum(np.arange(8), 2)) ** rng.choice([0.0, 1.0])
    bounds = (float(rng.choice([-np.inf, -3.0])), float(rng.choice([0.0, np.inf])))
    return model_of(source, single, weight, listed, near, (far + far.T) / 2, person, repeat, shrink, *bounds)


def model_of(
    source: NDArray[np.int64],
    single: NDArray[np.bool_],
    weight: NDArray[np.float64],
    listed: NDArray[np.bool_],
    near: NDArray[np.bool_],
    far: NDArray[np.float64],
    person: NDArray[np.float64],
    repeat: NDArray[np.float64],
    shrink: NDArray[np.float64],
    floor: float = -3.0,
    ceiling: float = 0.0,
) -> Model:
    """Make a model of full matrices; of ``weight``, ``listed`` and ``near`` the upper triangle counts."""
    apart = ~((source[:, None] == source) & single[source][:, None])
    whole = np.triu(weight, 1) + np.triu(weight, 1).T
    parts = []
    for pairs in (listed, near):
        both = np.triu(pairs & apart, 1)
        rows, others = np.nonzero(both | both.T)
        parts.append((np.searchsorted(rows, np.arange(len(source) + 1)), others.astype(np.int32), whole[rows, others]))
    return Model(source, single, person, repeat, shrink, *parts[0], *parts[1], far, floor, ceiling)


def partition_of(label: NDArray[np.int64] | NDArray[np.int32]) -> Partition:
    """Return the persons that labels say."""
    return frozenset(frozenset(np.flatnonzero(label == person).tolist()) for person in np.unique(label))


def pair_probabilities(known: Mapping[tuple[frozenset[int], ...], float]) -> dict[tuple[int, int], float]:
    """Add up, for every pair of records, the chances of the partitions in which it is one person."""
    together: dict[tuple[int, int], float] = {}
    for partition, chance in known.items():
        for person in partition:
            for i in person:
                for j in person:
                    if i < j:
                        together[i, j] = together.get((i, j), 0.0) + chance
    return together


def keeps_the_rules(model: Model, label: NDArray[np.int64]) -> bool:
    """Say whether labels name every person by its first record and no source without repeats occurs in one twice."""
    named = all(label[person] == person and person <= i for i, person in enumerate(label.tolist()))
    held = [(person, s) for person, s in zip(label.tolist(), model.source.tolist(), strict=True) if model.single[s]]
    return named and len(held) == len(set(held))
