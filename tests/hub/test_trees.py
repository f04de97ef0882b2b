"""Spanning trees of large persons, kept as records come and go, held to those found from nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.hub.sampling import sample
from linkage.hub.trees import adopt, graft, new_forest, plant, prune
from linkage.hub.weights import Model, set_weight
from tests.hub.small_models import keeps_the_rules, model_of, small_model

RECORDS = 24


def repeating(rng: np.random.Generator) -> Model:
    """Draw a model in which any records can be one person; few distinct weights, so that there are ties."""
    model = small_model(rng, RECORDS)
    weight, listed = np.zeros((RECORDS, RECORDS)), np.zeros((RECORDS, RECORDS), np.bool_)
    rows = np.repeat(np.arange(RECORDS), np.diff(model.starts))
    weight[rows, model.others] = np.round(model.weights * rng.choice([0.3, 3.0]))
    listed[rows, model.others] = True
    near = listed & (rng.random(listed.shape) < 0.5)
    rest = model.far, model.person, model.repeat, model.shrink, model.floor, model.ceiling
    return model_of(model.source, np.zeros(3, np.bool_), weight, listed, near, *rest)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, RECORDS - 1), st.integers(1, 12))
def test_records_that_come_and_go_leave_the_heaviest_tree(seed: int, size: int, moves: int) -> None:
    rng = np.random.default_rng(seed)
    model, trees = repeating(rng), new_forest(RECORDS)
    order = rng.permutation(RECORDS)
    inside, outside = list(order[:size]), list(order[size:])

    def weight_of(members: list[int]) -> float:
        return float(set_weight(model, np.array(members, np.int64), len(members), np.empty(len(members))))

    assert plant(model, trees, 0, np.array(inside), size) == pytest.approx(weight_of(inside), abs=1e-8)
    for _ in range(moves):
        comes = bool(outside) and (len(inside) < 3 or rng.random() < 0.5)
        record = (outside if comes else inside).pop(int(rng.integers(len(outside if comes else inside))))
        members, number = np.array([*inside, record]), len(inside)
        weight, pairs = (graft if comes else prune)(model, trees, 0, members, number, record)
        (inside if comes else outside).append(record)
        assert weight == pytest.approx(weight_of(inside), abs=1e-8)
        if rng.random() < 0.3:  # proposed, and not taken over
            (inside if comes else outside).remove(record)
            (outside if comes else inside).append(record)
        else:
            adopt(trees, 0, np.array(inside), len(inside), pairs)
        assert np.isnan(trees.known).all()


def test_a_chain_of_large_persons_keeps_their_weights_right() -> None:
    # Thirty records of two persons, of whom every record could be either's; one source gives one record to a person.
    rng = np.random.default_rng(4)
    entity, source = np.arange(30) % 2, np.repeat([0, 1, 1, 1, 1, 1], 5)
    single = np.array([True, False])
    source[:5] = [0, 0, 1, 1, 1]
    weight = np.where(entity[:, None] == entity, 2.0, -2.0) + rng.normal(0, 1.5, (30, 30))
    listed = np.ones((30, 30), np.bool_)
    person, shrink = np.array([-np.inf, 0.0, 0.0, 1.0]), 2 / np.maximum(np.arange(40), 2)
    model = model_of(source, single, weight, listed, listed, np.zeros((2, 2)), person, np.full(2, -0.1), shrink)
    everyone, none = np.ones(30, np.bool_), np.zeros(0, np.int64)
    kept, _, _, pairs = sample(model, everyone, np.arange(30) % 2, 0, 400, 1, none, 1)
    for label in kept[::40]:
        first = np.array([np.flatnonzero(label == number)[0] for number in label])
        assert keeps_the_rules(model, first)
    sizes = np.array([np.bincount(label).max() for label in kept])
    assert sizes.max() > 12 and len(set(sizes)) > 1  # persons with trees, and records that come and go
    # From single records, through persons without trees, the same posterior.
    again = sample(model, everyone, np.arange(30), 3_000, 400, 1, none, 2)[3]
    assert np.abs(pairs / 400 - again / 400).mean() < 0.05
