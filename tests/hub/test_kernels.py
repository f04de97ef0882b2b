"""Compiled kernels against their plain twins."""

from __future__ import annotations

import numpy as np
import pytest

from linkage.hub.compare import cut_distances
from linkage.hub.kernels import MISSING, count_distances, emit_candidates, pair_distances, pair_distances_reference

WIDTH, FILTERS = 2, 3


@pytest.fixture
def words() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**64, (40, FILTERS * WIDTH), dtype=np.uint64)


def all_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.triu_indices(n, 1)
    return left.astype(np.int64), right.astype(np.int64)


def test_pair_distances_match_the_twin(words: np.ndarray) -> None:
    left, right = all_pairs(40)
    expected = pair_distances_reference(words, WIDTH, left, right)
    assert (pair_distances(words, WIDTH, left, right) == expected).all()
    assert expected.max() > 64, "the filters are compared whole"


def test_count_distances_by_stratum(words: np.ndarray) -> None:
    left, right = all_pairs(40)
    classes = (np.arange(40)[:, None] % 3 * np.ones((1, FILTERS), int)).astype(np.uint8)
    strata = np.full((FILTERS, 3, 3), MISSING, np.uint8)
    strata[:, 1, 1], strata[:, 1, 2], strata[:, 2, 1], strata[:, 2, 2] = 0, 1, 1, 2
    counts = count_distances(words, WIDTH, classes, strata, left, right, 4)
    expected = np.zeros_like(counts)
    distances = pair_distances_reference(words, WIDTH, left, right)
    for i, j, row in zip(left, right, distances, strict=True):
        for number in range(FILTERS):
            stratum = strata[number, classes[i, number], classes[j, number]]
            if stratum != MISSING:
                expected[number, stratum, row[number]] += 1
    assert (counts == expected).all() and counts.sum() > 0


def test_emit_candidates_matches_a_plain_loop(words: np.ndarray) -> None:
    rows, bits = 40, WIDTH * 64
    classes = np.ones((rows, FILTERS), np.uint8)
    classes[5, 0] = 0
    strata = np.full((FILTERS, 2, 2), MISSING, np.uint8)
    strata[:, 1, 1] = 0
    level_of = np.broadcast_to((np.arange(bits + 1) < 62).astype(np.uint8), (FILTERS, 1, bits + 1)).copy()
    weight_of = level_of.astype(np.float32)
    spans = np.array([[20, 40]] * 20 + [[40, 40]] * 20, np.int64)
    own, own_spans = np.arange(rows), np.array([[0, 20]] * 20 + [[20, 40]] * 20, np.int64)
    every = np.ones(rows, np.bool_)
    left, right, levels, kept_strata, kept, counts = emit_candidates(
        words,
        WIDTH,
        classes,
        strata,
        level_of,
        weight_of,
        np.float32(2),
        spans,
        own,
        own_spans,
        own,
        every,
        0,
        rows,
        5000,
        8,
    )
    found = {
        (int(i), int(j)): (tuple(lv), tuple(s))
        for t in range(8)
        for i, j, lv, s in zip(left[t, : kept[t]], right[t, : kept[t]], levels[t], kept_strata[t], strict=False)
    }
    expected, own_levels = {}, np.zeros_like(counts)
    for i in range(rows):
        for j in range(rows):
            distance = pair_distances_reference(words, WIDTH, np.array([i]), np.array([j]))[0]
            there = [classes[i, g] and classes[j, g] for g in range(FILTERS)]
            level = tuple(int(level_of[g, 0, distance[g]]) if there[g] else MISSING for g in range(FILTERS))
            if i != j and (i < 20) == (j < 20):
                for g in range(FILTERS):
                    if there[g]:
                        own_levels[i, g, level[g]] += 1
            if i < j and sum(x for x in level if x != MISSING) >= 2:
                expected[i, j] = (level, tuple(0 if t else MISSING for t in there))
    assert found == expected and len(found) > 20
    assert (counts == own_levels).all()


def test_lost_pairs_are_counted(words: np.ndarray) -> None:
    rows = 40
    one = np.ones((rows, FILTERS), np.uint8)
    strata = np.zeros((FILTERS, 2, 2), np.uint8)
    flat = np.zeros((FILTERS, 1, WIDTH * 64 + 1))
    nothing = np.zeros(0, np.int64), np.zeros((rows, 2), np.int64)
    spans = np.array([[20, 40]] * 20 + [[40, 40]] * 20, np.int64)
    none = np.zeros(rows, np.bool_)
    kept = emit_candidates(
        words,
        WIDTH,
        one,
        strata,
        flat.astype(np.uint8),
        flat.astype(np.float32),
        np.float32(0),
        spans,
        *nothing,
        np.arange(rows),
        none,
        0,
        rows,
        3,
        8,
    )[4]
    assert kept.sum() == 400


def test_levels_grow_nearer_and_follow_the_tail() -> None:
    histogram = np.zeros(2049, np.int64)
    histogram[900:1100] = 10_000
    level = cut_distances(histogram)
    assert (np.diff(level.astype(int)) <= 0).all()
    assert level[2048] == 0 and level[0] == level.max()
    half = int(np.flatnonzero(level >= 1).max())
    assert abs(histogram[: half + 1].sum() / histogram.sum() - 0.5) < 0.01


def test_levels_of_next_to_no_pairs_are_only_steps_of_distance() -> None:
    level = cut_distances(np.bincount([1000, 1010], minlength=2049))
    assert level[0] == level.max() and level[2048] == 0
