"""Clusters under source rules, held to the plain twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.errors import LinkError
from linkage.hub.cluster import cluster, cluster_reference

NONE = np.zeros((0, 2), np.int64)

pairs_of = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 11), st.floats(0.3, 1)).filter(lambda p: p[0] < p[1]),
    max_size=25,
    unique_by=lambda p: p[:2],
)


@settings(deadline=None)
@given(
    pairs_of,
    st.lists(st.integers(0, 3), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=4, max_size=4),
    pairs_of,
)
def test_twin_and_rule(pairs: list, sources: list[int], single: list[bool], repeated: list) -> None:
    left, right, probability = (
        np.array([p[k] for p in pairs], t) for k, t in ((0, np.int64), (1, np.int64), (2, float))
    )
    source, deduplicated = np.array(sources, np.int16), np.array(single)
    repeats = np.array([p[:2] for p in repeated if sources[p[0]] == sources[p[1]]][:2], np.int64).reshape(-1, 2)
    found = cluster(left, right, probability, source, deduplicated, repeats)
    assert (found == cluster_reference(left, right, probability, source, deduplicated, repeats)).all()
    assert found[0] == 0 and set(found.tolist()) == set(range(found.max() + 1))
    if not len(repeats):
        for person in range(found.max() + 1):
            held = [s for s in source[found == person].tolist() if single[s]]
            assert len(held) == len(set(held)), "a source without repeats gives one record to a person at most"


@settings(deadline=None)
@given(pairs_of, st.lists(st.integers(0, 3), min_size=12, max_size=12), st.lists(st.booleans(), min_size=4, max_size=4))
def test_sums_that_are_kept_are_those_added_up(pairs: list, sources: list[int], single: list[bool]) -> None:
    left, right = (np.array([p[k] for p in pairs], np.int64) for k in (0, 1))
    # Eighths: sums of them are exact in any order.
    asked = left, right, np.array([round(8 * p[2]) / 8 for p in pairs], float), np.array(sources, np.int16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linkage.hub.cluster._CROWD", 1)
        for threshold in (0.3, 0.5):
            found = cluster(*asked, np.array(single), NONE, threshold=threshold)
            assert (found == cluster_reference(*asked, np.array(single), NONE, threshold=threshold)).all()


def test_a_crowd_is_parted_as_the_plain_twin_parts_it() -> None:
    rng = np.random.default_rng(0)
    entity, source = rng.integers(0, 3, 90), rng.integers(0, 2, 90).astype(np.int16)
    left, right = np.triu_indices(90, 1)
    match = entity[left] == entity[right]
    probability = np.where(match, rng.beta(4, 2, len(left)), rng.beta(1, 6, len(left)))
    repeats = np.array([[i, j] for i in range(90) for j in range(i) if source[i] == source[j]][:3])
    asked = left, right, probability, source, np.array([False, False]), np.sort(repeats, axis=1)
    for threshold in (0.2, 0.5, 0.8):
        found = cluster(*asked, threshold=threshold)
        assert (found == cluster_reference(*asked, threshold=threshold)).all()


def test_the_better_pair_wins_where_both_cannot_be() -> None:
    source, single = np.array([0, 1, 1], np.int16), np.array([True, True])
    found = cluster(np.array([0, 0]), np.array([1, 2]), np.array([0.6, 0.9]), source, single, NONE)
    assert found[0] == found[2] != found[1]


def test_a_doubtful_pair_does_not_fuse_persons_whose_other_records_contradict_it() -> None:
    source, single = np.array([0, 1, 2], np.int16), np.array([True, True, True])
    pairs = np.array([0, 1]), np.array([1, 2])
    assert len(set(cluster(*pairs, np.array([0.99, 0.6]), source, single, NONE).tolist())) == 2
    assert (
        len(set(cluster(np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([0.99, 0.6, 0.5]), source, single, NONE)))
        == 1
    )


def test_no_transitive_closure_through_a_second_record() -> None:
    # 0 and 2 are of one source: 0-1 and 1-2 cannot both hold.
    found = cluster(
        np.array([0, 1]),
        np.array([1, 2]),
        np.array([0.9, 0.8]),
        np.array([0, 1, 0], np.int16),
        np.array([True, True]),
        NONE,
    )
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_probabilities_that_are_none(bad: float) -> None:
    with pytest.raises(LinkError) as error:
        cluster(np.array([0]), np.array([1]), np.array([bad]), np.array([0, 1], np.int16), np.array([True, True]), NONE)
    assert error.value.reason == "bad-weights"
