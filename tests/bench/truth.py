"""F1 of weighed pairs at the threshold that the truth would choose. Needs numpy alone: peers' environments have it."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_STEPS = 400


def read_truth(file: str) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Return number of the source and of the person by record, and the sources' names."""
    with Path(file).open(encoding="utf-8", newline="") as stream:
        rows = [(row["source"], row["entity"]) for row in csv.DictReader(stream)]
    sources, source = np.unique([row[0] for row in rows], return_inverse=True)
    return source.astype(np.int64), np.unique([row[1] for row in rows], return_inverse=True)[1], list(sources)


def matches(source: NDArray[np.int64], entity: NDArray[np.int64], within: NDArray[np.bool_]) -> int:
    """Count the true pairs: all of a person's, leaving out pairs within a source that has no repeats."""
    both = _pairs(entity)
    for number in np.flatnonzero(~within):
        both -= _pairs(entity[source == number])
    return both


def _pairs(group: NDArray[np.int64]) -> int:
    sizes = np.bincount(group)
    return int((sizes * (sizes - 1) // 2).sum())


def f1(hits: float, links: float, true: int) -> float:
    return 2 * hits / (links + true) if links + true else 0.0


def best_of_pairs(score: NDArray[np.float64], right: NDArray[np.bool_], true: int) -> dict[str, float]:
    """Return the best F1 over all thresholds, equal scores going together."""
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(right[order])
    ends = np.flatnonzero(np.diff(score, append=-np.inf))
    if not len(ends):
        return {"f1": 0.0, "threshold": 1.0}
    values = 2 * hits[ends] / (ends + 1 + true)
    at = int(values.argmax())
    return {"f1": round(float(values[at]), 4), "threshold": round(float(score[ends[at]]), 4)}


def one_to_one(
    left: Iterable[int], right: Iterable[int], score: NDArray[np.float64], source: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Keep, best first, the pairs whose two records have no partner yet in the other's source."""
    left, right = np.asarray(left), np.asarray(right)
    taken: set[tuple[int, int]] = set()
    kept = np.zeros(len(score), np.bool_)
    of = source.tolist()
    for place in np.argsort(-score, kind="stable").tolist():
        a, b = int(left[place]), int(right[place])
        if (a, of[b]) not in taken and (b, of[a]) not in taken:
            taken.update(((a, of[b]), (b, of[a])))
            kept[place] = True
    return kept


def best(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    score: NDArray[np.float64],
    source: NDArray[np.int64],
    entity: NDArray[np.int64],
    within: NDArray[np.bool_],
) -> dict[str, float | str]:
    """Return the best F1 of the pairs as they are and, where sources have no repeats, of greedy one-to-one pairs."""
    allowed = (source[left] != source[right]) | within[source[left]]
    left, right, score = left[allowed], right[allowed], score[allowed]
    same, true = entity[left] == entity[right], matches(source, entity, within)
    found: dict[str, float | str] = {**best_of_pairs(score, same, true), "how": "pairs"}
    if not within.any():
        kept = one_to_one(left, right, score, source)
        greedy: dict[str, float | str] = {**best_of_pairs(score[kept], same[kept], true), "how": "one-to-one"}
        found = max(found, greedy, key=lambda entry: float(entry["f1"]))
    return {**found, "pairs_true": true, "candidates": len(score)}
