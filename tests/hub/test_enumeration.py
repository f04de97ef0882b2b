"""The exact sums over partitions, held to the plain twin that lists them all."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.hub.enumeration import MOST, enumerate_components, enumerate_reference
from linkage.hub.weights import Model
from tests.hub.small_models import keeps_the_rules, pair_probabilities, partition_of, small_model


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_the_sums_are_those_of_the_plain_twin(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    model = small_model(rng, number + 2)
    records = np.sort(rng.choice(number + 2, number, replace=False))
    pairs = np.full(len(model.others), -1.0)
    lists, _ = enumerate_components(model, records, np.array([0, number]), 0, 0, pairs)
    known = enumerate_reference(model, records)
    expected = np.zeros_like(lists)
    for partition, chance in known.items():
        for person in partition:
            expected[sum(1 << s for s in {int(model.source[i]) for i in person})] += chance
    assert lists == pytest.approx(expected, abs=1e-9)
    together = pair_probabilities(known)
    for i in range(number + 2):
        for place in range(model.starts[i], model.starts[i + 1]):
            j = int(model.others[place])
            if i < j and i in records and j in records:
                assert pairs[place] == pytest.approx(together.get((i, j), 0.0), abs=1e-9)
            else:
                assert pairs[place] == -1


@settings(max_examples=12, deadline=None, derandomize=True)  # chance decides how near they come
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_draws_come_as_often_as_the_plain_twin_says(seed: int, number: int) -> None:
    model = small_model(np.random.default_rng(seed), number)
    draws = 4000
    _, label = enumerate_components(model, np.arange(number), np.array([0, number]), draws, seed % 2**31, np.zeros(0))
    known = enumerate_reference(model, np.arange(number))
    found = Counter(partition_of(draw) for draw in label)
    for partition, chance in known.items():
        spread = np.sqrt(chance * (1 - chance) / draws)
        assert abs(found[frozenset(partition)] / draws - chance) < 5.5 * spread + 1 / draws


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, MOST), min_size=1, max_size=4))
def test_every_draw_is_a_partition_that_keeps_the_rules_of_the_sources(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    model = small_model(rng, int(bounds[-1]))
    records = rng.permutation(bounds[-1])
    records = np.concatenate([np.sort(records[a:b]) for a, b in itertools.pairwise(bounds)])
    lists, label = enumerate_components(model, records, bounds, 20, 1, np.zeros(0))
    assert lists.sum() <= bounds[-1] + 1e-9 and (lists >= 0).all()
    component = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(records)]
    for draw in label:
        whole = np.empty(bounds[-1], np.int64)
        whole[records] = draw
        assert keeps_the_rules(model, whole)
        assert (component[whole] == component).all()


def test_weights_that_are_beyond_doubt_do_not_overflow() -> None:
    model = small_model(np.random.default_rng(0), MOST)
    sure = model._replace(weights=np.full(len(model.weights), 1e6), single=np.zeros(3, np.bool_))
    pairs = np.zeros(len(model.others))
    lists, label = enumerate_components(sure, np.arange(MOST), np.array([0, MOST]), 5, 0, pairs)
    assert np.isfinite(lists).all() and np.isfinite(pairs).all()
    assert lists.sum() >= 1 and label.min() >= 0


def test_without_components_there_is_nothing() -> None:
    model: Model = small_model(np.random.default_rng(0), 3)
    lists, label = enumerate_components(model, np.zeros(0, np.int64), np.zeros(1, np.int64), 3, 0, np.zeros(0))
    assert not lists.any() and label.shape == (3, 0)
