"""The weight of a person and the sampler of partitions, held to plain twins and to exact sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree

from linkage.hub.enumeration import enumerate_components
from linkage.hub.members import SIZES
from linkage.hub.sampling import sample
from linkage.hub.weights import Model, find, set_weight
from tests.hub.small_models import keeps_the_rules, model_of, small_model

SWEEPS = 6000


def weight_of(model: Model, members: list[int]) -> float:
    return float(set_weight(model, np.array(members, np.int64), len(members), np.empty(len(members))))


def between(model: Model, i: int, j: int) -> float:
    listed = dict(
        zip(
            model.others[model.starts[i] : model.starts[i + 1]].tolist(),
            model.weights[model.starts[i] : model.starts[i + 1]].tolist(),
            strict=True,
        )
    )
    return float(listed.get(j, model.far[model.source[i], model.source[j]]))


def plain_weight(model: Model, members: list[int]) -> float:
    """Weigh a person by the spanning tree that scipy finds."""
    source = model.source[members]
    lists, counts = np.unique(source, return_counts=True)
    if (model.single[lists] & (counts > 1)).any():
        return -np.inf
    total = float(model.person[sum(1 << int(s) for s in lists)])
    for s, count in zip(lists, counts, strict=True):
        orders = (np.log(2) - np.log(k - 1) / 2 if k <= 6 else np.log(k) for k in range(2, count + 1))
        total += float(model.repeat[s]) * (count - 1) + float(sum(orders))
    size = len(members)
    if size < 2:
        return total
    pairs = np.array([[between(model, i, j) if i != j else 0.0 for j in members] for i in members])
    tree = minimum_spanning_tree(np.triu(1000.0 - pairs, 1)).tocoo()
    kept = pairs[tree.row, tree.col]
    over = np.array([pairs[a, b] for a in range(size) for b in range(a)])
    if size == 2:
        return total + float(kept.sum())
    rest = np.clip(over, model.floor, model.ceiling).sum() - np.clip(kept, model.floor, model.ceiling).sum()
    return total + float(kept.sum() + model.shrink[min(size, len(model.shrink) - 1)] * rest)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_a_person_weighs_as_its_heaviest_spanning_tree(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    model = small_model(rng, 12)
    members = rng.permutation(12)[:size].tolist()
    assert weight_of(model, members) == pytest.approx(plain_weight(model, members), abs=1e-9)
    assert weight_of(model, members) == pytest.approx(weight_of(model, members[::-1]), abs=1e-9)


@given(st.lists(st.sets(st.integers(0, 20), max_size=8), min_size=1, max_size=4), st.integers(0, 20))
def test_a_neighbour_is_found_where_it_stands(rows: list[set[int]], wanted: int) -> None:
    others = np.array([j for row in rows for j in sorted(row)], np.int32)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    for i, row in enumerate(rows):
        place = find(starts, others, i, wanted)
        assert (others[place] == wanted and starts[i] <= place < starts[i + 1]) if wanted in row else place == -1


def run(model: Model, active: NDArray[np.bool_], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sample a small model, hold its bookkeeping to its partitions; return lists and pair probabilities."""
    records = len(model.source)
    start = np.arange(records)
    watch = np.arange(len(model.person))
    kept, traces, lists, pairs = sample(model, active, start, 100, SWEEPS, 1, watch, seed)
    assert (start == np.arange(records)).all()
    first = np.array([[np.flatnonzero(one == number)[0] for number in one] for one in kept[::50]])
    assert all(keeps_the_rules(model, one) for one in first)
    together = kept[:, :, None] == kept[:, None, :]
    assert traces[0] == pytest.approx((together.sum(axis=(1, 2)) - records) / 2)
    sizes = np.minimum(together.sum(axis=1), SIZES + 1)
    for size in range(1, SIZES + 1):
        assert traces[size] == pytest.approx((sizes == size).sum(axis=1) / size)
    assert traces[1 : SIZES + 2].sum(axis=0) == pytest.approx(traces[SIZES + 2 :].sum(axis=0))
    assert traces[SIZES + 2 :].mean(axis=1) == pytest.approx(lists)
    for i in range(records):
        for place in range(model.starts[i], model.starts[i + 1]):
            assert pairs[place] == (together[:, i, model.others[place]].sum() if i < model.others[place] else 0)
    return lists, pairs / SWEEPS


def joined(model: Model) -> Model:
    """Let every record move to the next one's person, so that the chain reaches what the sums count, and no further."""
    records = len(model.source)
    pairs = [(i, int(j)) for i in range(records) for j in model.near[model.near_starts[i] : model.near_starts[i + 1]]]
    near = np.zeros((records, records), np.bool_)
    for i, j in pairs:
        near[i, j] = True
    near |= np.eye(records, k=1, dtype=np.bool_)
    listed = np.zeros((records, records), np.bool_)
    listed[np.repeat(np.arange(records), np.diff(model.starts)), model.others] = True
    weight = np.array([[between(model, i, j) if i != j else 0.0 for j in range(records)] for i in range(records)])
    return model_of(model.source, model.single, weight, listed | near, near, *rest_of(model))


def rest_of(model: Model) -> tuple[Any, ...]:
    return model.far, model.person, model.repeat, model.shrink, model.floor, model.ceiling


def agree(model: Model, active: NDArray[np.bool_], seed: int, tolerance: float) -> None:
    exact = np.zeros(len(model.others))
    records = len(model.source)
    lists, _ = enumerate_components(model, np.arange(records), np.array([0, records]), 0, 0, exact)
    found_lists, found = run(model, active, seed)
    assert found == pytest.approx(exact, abs=tolerance)
    assert found_lists == pytest.approx(lists, abs=3 * tolerance)


@settings(max_examples=12, deadline=None, derandomize=True)  # chance decides how near it comes
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_the_sampler_agrees_with_the_exact_sums(seed: int, records: int) -> None:
    rng = np.random.default_rng(seed)
    agree(joined(small_model(rng, records)), rng.random(records) < 0.7, seed % 2**31, 0.06)


def line(rng: np.random.Generator, records: int) -> Model:
    """Draw records of which each is near to the next one only, but of which any can be one person."""
    near = np.eye(records, k=1, dtype=np.bool_)
    weight = rng.normal(1, 1.5, (records, records))
    person = np.append(-np.inf, rng.normal(0, 0.5, 7))
    far = np.full((3, 3), rng.uniform(-4, 0))
    shrink = 2 / np.maximum(np.arange(8), 2)
    repeat = np.log(np.full(3, 0.4))
    return model_of(np.arange(records) % 3, rng.random(3) < 0.4, weight, near, near, far, person, repeat, shrink)


@settings(max_examples=15, deadline=None, derandomize=True)  # chance decides how near it comes
@given(st.integers(0, 2**32 - 1), st.integers(3, 7))
def test_a_record_finds_back_to_a_person_with_which_it_has_no_near_pair(seed: int, records: int) -> None:
    # In a person a-b-c the middle one may go and leave a and c together, whom no pair brought together.
    rng = np.random.default_rng(seed)
    agree(line(rng, records), np.ones(records, np.bool_), seed % 2**31, 0.05)


def rivals() -> Model:
    """Two records of one single source and two of another: all four pairs are likely, so that places are full."""
    source, single = np.array([0, 0, 1, 1]), np.array([True, True])
    weight = np.zeros((4, 4))
    weight[0, 2], weight[1, 3], weight[0, 3], weight[1, 2] = 14.0, 14.0, 13.5, 13.0
    pairs = weight > 0
    person = np.array([-np.inf, 0.0, 0.0, 0.0])
    return model_of(source, single, weight, pairs, pairs, np.full((2, 2), -5.0), person, np.zeros(2), np.ones(4))


def test_two_records_that_compete_for_two_partners_change_places() -> None:
    # A single step out of a place costs e^-13: without exchanges the chain would stay where it once was.
    agree(rivals(), np.ones(4, np.bool_), 1, 0.04)


def test_records_that_are_rarely_visited_change_places_too() -> None:
    agree(rivals(), np.array([True, False, True, False]), 2, 0.06)
    agree(rivals(), np.zeros(4, np.bool_), 3, 0.1)


def test_exchanges_between_records_with_unlike_numbers_of_partners_are_balanced() -> None:
    source, single = np.array([0, 0, 1, 1, 2]), np.array([True, True, True])
    weight = np.array(
        [[0, 0, 8.0, 7.5, 6.0], [0, 0, 8.5, 8.0, 0], [0, 0, 0, 0, 5.0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.float64
    )
    pairs = weight > 0
    person = np.append(-np.inf, np.linspace(0, 1, 7))
    far = np.full((3, 3), -1.0)
    model = model_of(source, single, weight, pairs, pairs, far, person, np.zeros(3), np.ones(4))
    # What the sums count and the chain cannot reach, persons whose records no chain of partners joins, has no weight.
    agree(model, np.ones(5, np.bool_), 4, 0.04)


def test_a_chain_is_that_of_its_seed() -> None:
    model = joined(small_model(np.random.default_rng(5), 8))
    runs = [sample(model, np.ones(8, np.bool_), np.arange(8), 10, 40, 4, np.arange(0), seed)[0] for seed in (1, 1, 2)]
    assert runs[0].shape == (10, 8)
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


def test_records_without_likely_partners_stay_apart() -> None:
    model = small_model(np.random.default_rng(6), 6)
    alone = model._replace(near_starts=np.zeros(7, np.int64), near=model.near[:0], near_weights=model.near_weights[:0])
    kept, traces, _, _ = sample(alone, np.ones(6, np.bool_), np.arange(6), 0, 8, 8, np.arange(0), 0)
    assert (kept == np.arange(6)).all() and not traces[0].any() and (traces[1] == 6).all()
