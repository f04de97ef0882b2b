"""Belief propagation against enumeration, and greedy matching."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.hub.matching import Matching, greedy_matching, matching_marginals_reference


def test_a_tree_is_exact() -> None:
    # Two records compete for one, which has a second suitor: a path, on which messages are exact.
    odds = np.array([3.0, 0.5, 20.0])
    left, right = np.array([0, 1, 1]), np.array([10, 10, 11])
    assert np.allclose(
        Matching(left, right).marginals(odds), matching_marginals_reference(odds, left, right), atol=1e-6
    )


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1e-3, 1e3), st.integers(0, 3), st.integers(10, 13)),
        min_size=1,
        max_size=7,
        unique_by=lambda e: e[1:],
    )
)
def test_marginals_stay_near_the_exact_ones(pairs: list[tuple[float, int, int]]) -> None:
    odds = np.array([p[0] for p in pairs])
    left, right = np.array([p[1] for p in pairs]), np.array([p[2] for p in pairs])
    found, exact = Matching(left, right).marginals(odds), matching_marginals_reference(odds, left, right)
    assert ((found >= 0) & (found <= 1)).all()
    # Loops of four records make the messages approximate; they never turn a clear decision round.
    assert not ((exact > 0.75) & (found < 0.5)).any()
    assert not ((exact < 0.25) & (found > 0.5)).any()


def test_without_limits_every_pair_stands_alone() -> None:
    odds = np.array([1.0, 3.0])
    free = np.array([-1, -1])
    assert np.allclose(Matching(free, free).marginals(odds), [0.5, 0.75])


def test_overwhelming_odds_do_not_cancel() -> None:
    odds = np.array([1e20, 1e20, 1e-3])
    left, right = np.array([0, 1, 0]), np.array([10, 11, 11])
    assert np.allclose(Matching(left, right).marginals(odds), [1, 1, 0], atol=1e-6)


def test_greedy_takes_the_best_and_blocks_its_slots() -> None:
    taken = greedy_matching(np.array([1.0, 3.0, 2.0]), np.array([0, 0, 1]), np.array([10, 11, 11]))
    assert taken.tolist() == [1, 0] or taken.tolist() == [1]
    assert taken[0] == 1 and 2 not in taken.tolist()
