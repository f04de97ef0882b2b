"""Measures by hand, and against those of recordlinkage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import recordlinkage
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.lab.measures import calibration_error, pair_counts, pairwise, pairwise_by_sources

NAMES = ["a", "b", "c"]

partitions = st.integers(2, 40).flatmap(
    lambda size: st.tuples(
        *(st.lists(st.integers(0, top), min_size=size, max_size=size) for top in (8, 8, 2)),
        st.lists(st.booleans(), min_size=3, max_size=3),
    )
)


def pairs_of(label: np.ndarray, source: np.ndarray, within: np.ndarray) -> pd.MultiIndex:
    """List the pairs that count, one by one."""
    left, right = np.triu_indices(len(label), 1)
    counted = (label[left] == label[right]) & ((source[left] != source[right]) | within[source[left]])
    return pd.MultiIndex.from_arrays([left[counted], right[counted]])


def theirs(person: np.ndarray, entity: np.ndarray, source: np.ndarray, within: np.ndarray) -> dict[str, float]:
    """Measure with recordlinkage; what it cannot divide is 0."""
    found, true = pairs_of(person, source, within), pairs_of(entity, source, within)
    matrix = recordlinkage.confusion_matrix(true, found)
    if matrix[0, 0] == 0:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    precision, recall = recordlinkage.precision(matrix), recordlinkage.recall(matrix)
    return {"precision": precision, "recall": recall, "f1": recordlinkage.fscore(true, found)}


@settings(max_examples=60, deadline=None)
@given(partitions)
def test_random_partitions_against_recordlinkage(drawn: tuple[list[int], list[int], list[int], list[bool]]) -> None:
    person, entity, source, within = (np.array(values) for values in drawn)
    assert pairwise(person, entity, source, within) == pytest.approx(theirs(person, entity, source, within), abs=1e-6)
    for entry in pairwise_by_sources(person, entity, source, within, NAMES):
        a, b = (NAMES.index(name) for name in entry["sources"])
        here = np.isin(source, (a, b))
        # Pairs within a or b are none of this pair's business.
        alone = np.full(3, a == b)
        expected = theirs(person[here], entity[here], source[here], alone)
        assert {key: entry[key] for key in expected} == pytest.approx(expected, abs=1e-6)
        assert entry["pairs_true"] == len(pairs_of(entity[here], source[here], alone))
        assert entry["links"] == len(pairs_of(person[here], source[here], alone))


def test_a_real_file_against_recordlinkage(shared: Path) -> None:
    """Links of the real file by one field alone: neither all right nor all found."""
    frame = pl.read_parquet(shared / "data" / "people" / "hist3.parquet").head(1500)
    person, entity, source = (
        frame[column].rank("dense").to_numpy().astype(np.int64) - 1 for column in ("dob", "entity_id", "source")
    )
    within = np.array([True, False, False])
    found = pairwise(person, entity, source, within)
    assert found == pytest.approx(theirs(person, entity, source, within), abs=1e-6)
    assert 0 < found["precision"] < 1 and 0 < found["recall"] < 1


def test_measures_by_hand() -> None:
    entity, source = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0])
    person = np.array([0, 0, 1, 2, 1])
    none = np.zeros(2, bool)
    # True pairs 0-1 and 2-3; found 0-1; 2-4 is within a source that has no repeats and does not count.
    assert pairwise(person, entity, source, none) == {"precision": 1.0, "recall": 0.5, "f1": 0.666667}
    assert pairwise(person, entity, source, np.array([True, False]))["precision"] == 0.5


def test_nobody_and_nothing() -> None:
    nobody = np.zeros(0, np.int64)
    assert pairwise(nobody, nobody, nobody, np.zeros(2, bool)) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert pair_counts(nobody, nobody, 2).tolist() == [[0, 0], [0, 0]]
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) is None


@pytest.mark.parametrize(
    ("probability", "match", "error"),
    [
        ([0.75] * 4, [1, 1, 1, 0], 0.0),
        ([0.75] * 4, [1, 1, 0, 0], 0.25),
        ([0.02] * 50 + [1.0] * 10, [1] + [0] * 49 + [1] * 10, 0.0),
        ([0.95, 0.55], [0, 1], (0.95 + 0.45) / 2),  # two bins do not make up for one another
        ([0.91, 0.99], [1, 1], 0.05),  # one bin does, within itself: their mean is 0.95
        ([0.01, 0.005], [1, 1], None),  # not above 0.01
        ([0.2, 0.2, 0.01], [0, 0, 1], 0.2),
        ([1.0], [0], 1.0),
    ],
)
def test_calibration_by_hand(probability: list[float], match: list[int], error: Any) -> None:
    found = calibration_error(np.array(probability), np.array(match, bool))
    assert found == (None if error is None else pytest.approx(error, abs=1e-6))


def test_draws_from_the_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    probability = rng.beta(0.3, 0.3, 200_000)
    match = rng.random(200_000) < probability
    assert calibration_error(probability, match) < 0.005
    assert calibration_error(np.sqrt(probability), match) > 0.05
