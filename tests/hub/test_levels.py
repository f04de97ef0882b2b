"""Distances of pairs among which matches may be."""

from __future__ import annotations

import numpy as np

from linkage.hub.levels import fall_on, sum_weights


def test_a_bump_of_matches_is_taken_off_and_the_rest_stays() -> None:
    distance = np.arange(400)
    chance = np.round(20_000 * np.exp(-((distance - 250) ** 2) / (2 * 25**2))).astype(np.int64)
    matches = np.where((distance > 60) & (distance < 120), 20, 0)
    (found,) = fall_on((chance + matches)[None, None], 6e-3)[0]
    assert found[60:120].sum() < 0.2 * matches.sum()
    beyond = np.flatnonzero(np.cumsum(chance) > 0.02 * chance.sum())
    assert (found[beyond] == chance[beyond]).all()
    assert (found <= chance + matches).all()


def test_too_few_pairs_are_left_as_they_are() -> None:
    few = np.zeros((1, 1, 50), np.int64)
    few[0, 0, 20:40] = 10
    assert (fall_on(few, 0.01) == few).all()


def test_weights_of_missing_filters_count_nothing() -> None:
    table = np.arange(12.0).reshape(2, 2, 3)
    levels = np.array([[2, 255], [1, 0]], np.uint8)
    strata = np.array([[1, 255], [0, 1]], np.uint8)
    assert sum_weights(table, levels, strata).tolist() == [table[0, 1, 2], table[0, 0, 1] + table[1, 1, 0]]
