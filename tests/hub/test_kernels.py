"""Compiled kernels against their plain twins."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage.hub.bounds import bound_scores
from linkage.hub.compare import cut_distances
from linkage.hub.kernels import MISSING, count_distances, emit_candidates, pair_distances
from linkage.hub.plain import count_distances_reference, emit_candidates_reference, pair_distances_reference

Arguments = dict[str, Any]


def draw_words(rng: np.random.Generator, rows: int, words: int) -> NDArray[np.uint64]:
    """Return filters of which some are much alike."""
    few = rng.integers(0, 2**64, (rows // 2 + 1, words), dtype=np.uint64)
    noise = np.bitwise_and.reduce(rng.integers(0, 2**64, (3, rows, words), dtype=np.uint64))
    drawn: NDArray[np.uint64] = few[rng.integers(0, len(few), rows)] ^ noise
    return drawn


def draw_strata(
    rng: np.random.Generator, rows: int, filters: int, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return classes, of which 0 says that the filter is missing, and the strata of their pairs."""
    strata = np.full((filters, classes + 1, classes + 1), MISSING, np.uint8)
    low, high = np.triu_indices(classes)
    strata[:, low + 1, high + 1] = strata[:, high + 1, low + 1] = np.arange(len(low))
    return rng.integers(0, classes + 1, (rows, filters)).astype(np.uint8), strata


def draw_tables(
    rng: np.random.Generator, filters: int, strata: int, bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return levels and weights that rise with nearness, by another curve in each stratum."""
    spread = np.sqrt(bits) / 2 * rng.uniform(0.7, 1.5, (filters, strata, 1))
    centre = bits / 2 - rng.uniform(0, 3, (filters, strata, 1)) * spread
    curve = np.maximum((centre - np.arange(bits + 1)) / spread, 0) ** 2
    return np.minimum(curve, 28).astype(np.uint8), (np.floor(curve) / 2).astype(np.float32).clip(0, 20)


def draw_case(seed: int, rows: int, filters: int, width: int, classes: int, threshold: float) -> Arguments:
    """Return all that the pass over all pairs asks for: a source without repeats, then one in which they are sought."""
    rng = np.random.default_rng(seed)
    of_row, strata = draw_strata(rng, rows, filters, classes)
    level_of, weight_of = draw_tables(rng, filters, classes * (classes + 1) // 2, 64 * width)
    half = rows // 2
    sampled = rng.random(rows) < 0.4
    own = np.flatnonzero(sampled)
    cut = int(np.searchsorted(own, half))
    first, last = sorted(rng.integers(0, rows + 1, 2).tolist())
    return {
        "words": draw_words(rng, rows, filters * width),
        "width": width,
        "classes": of_row,
        "strata": strata,
        "level_of": level_of,
        "weight_of": weight_of,
        "threshold": np.float32(threshold),
        "spans": np.array([[half, rows]] * half + [[i + 1, rows] for i in range(half, rows)], np.int64),
        "own": own,
        "own_spans": np.array([[0, cut]] * half + [[cut, len(own)]] * (rows - half), np.int64),
        "record": np.cumsum(rng.random(rows) < 0.8),
        "sampled": sampled,
        "first": first,
        "last": last,
    }


def assert_same(case: Arguments) -> int:
    """Hold the compiled pass to its twin bit for bit; return how many pairs were kept."""
    left, right, levels, strata, kept, counts = emit_candidates(**case, capacity=100_000, threads=8)
    parts = [np.concatenate([part[t, : kept[t]] for t in range(len(kept))]) for part in (left, right, levels, strata)]
    order = np.lexsort((parts[1], parts[0]))
    expected = emit_candidates_reference(**case)
    for found, wanted in zip([*(part[order] for part in parts), counts], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    return len(order)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 150),
    filters=st.integers(1, 5),
    width=st.sampled_from([1, 2, 3, 8, 16, 31, 32, 128]),
    classes=st.integers(1, 12),
    threshold=st.sampled_from([-1, 0, 1, 4, 9, 16, 25, 60]),
)
def test_the_pass_over_all_pairs_matches_its_twin(
    seed: int, rows: int, filters: int, width: int, classes: int, threshold: float
) -> None:
    assert_same(draw_case(seed, rows, filters, width, classes, threshold))


def test_some_pairs_pass_and_some_do_not() -> None:
    case = {**draw_case(3, 150, 3, 32, 2, 9), "first": 0, "last": 150}
    assert 10 < assert_same(case) < 5_000
    assert emit_candidates_reference(**case)[4].sum() > 1_000, "own-source rows are counted"


def test_shards_add_up_to_the_whole() -> None:
    case = {**draw_case(5, 90, 2, 8, 3, 4), "first": 0, "last": 90}
    whole = emit_candidates(**case, capacity=10_000, threads=8)
    parts = [
        emit_candidates(**{**case, "first": a, "last": b}, capacity=10_000, threads=8)
        for a, b in ((0, 17), (17, 17), (17, 90))
    ]
    assert sum(part[4].sum() for part in parts) == whole[4].sum() > 0
    np.testing.assert_array_equal(np.concatenate([part[5] for part in parts]), whole[5])


@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan])
def test_weights_that_are_no_numbers(weight: float) -> None:
    case = draw_case(7, 80, 2, 8, 2, 4)
    case["weight_of"][0, :, 200:300] = weight
    assert_same({**case, "first": 0, "last": 80})


def test_tables_of_no_order(words: NDArray[np.uint64]) -> None:
    """The bound is only worth its cost where weights fall with distance, but right for any table."""
    rng = np.random.default_rng(9)
    case = {**draw_case(9, 40, 3, 2, 2, 3), "words": words, "first": 0, "last": 40}
    case["weight_of"] = rng.normal(size=case["weight_of"].shape).astype(np.float32)
    case["level_of"] = rng.integers(0, 29, case["level_of"].shape).astype(np.uint8)
    assert assert_same({**case, "threshold": np.float32(1)}) > 20


def test_the_bound_spares_most_look_ups() -> None:
    """What the lines let through beyond what must pass is a small share, or they are laid wrong."""
    rng = np.random.default_rng(11)
    _, strata = draw_strata(rng, 1, 3, 1)
    deviations = np.maximum((1024 - np.arange(2049)) / 22.6, 0)
    weight_of = np.repeat((np.floor(deviations**2) / 2).astype(np.float32)[None, None], 3, axis=0)
    distances = rng.binomial(2048, 0.5, (200_000, 3))
    score = weight_of[0, 0, distances].sum(axis=1)
    bound = bound_scores(weight_of, strata, 6.0)
    moved = distances - bound.shifts[0, 1, 1]
    lines = bound.lines[0, 1::2] - bound.lines[0, 2::2] * moved[..., None]
    hopeful = np.maximum(lines.max(axis=2), bound.lines[0, 0]).sum(axis=1) >= bound.floor
    assert hopeful[score >= 6].all()
    assert hopeful.mean() < 10 * (score >= 6).mean() < 0.2


def test_lost_pairs_are_counted() -> None:
    case = {**draw_case(1, 40, 2, 2, 1, -1), "first": 0, "last": 20, "own_spans": np.zeros((40, 2), np.int64)}
    left, *_, kept, _ = emit_candidates(**case, capacity=3, threads=8)
    assert kept.sum() == 400 and left.shape == (8, 3)


@pytest.fixture
def words() -> NDArray[np.uint64]:
    return np.random.default_rng(1).integers(0, 2**64, (40, 6), dtype=np.uint64)


def all_pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    left, right = np.triu_indices(n, 1)
    return left.astype(np.int64), right.astype(np.int64)


def test_pair_distances_match_the_twin(words: NDArray[np.uint64]) -> None:
    left, right = all_pairs(40)
    expected = pair_distances_reference(words, 2, left, right)
    np.testing.assert_array_equal(pair_distances(words, 2, left, right), expected)
    assert expected.max() > 64, "the filters are compared whole"


@pytest.mark.parametrize(("filters", "width", "classes"), [(3, 2, 3), (1, 32, 1), (5, 16, 9)])
def test_count_distances_by_stratum(filters: int, width: int, classes: int) -> None:
    rng = np.random.default_rng(2)
    words = draw_words(rng, 40, filters * width)
    of_row, strata = draw_strata(rng, 40, filters, classes)
    left, right = all_pairs(40)
    counts = count_distances(words, width, of_row, strata, left, right, 8)
    np.testing.assert_array_equal(counts, count_distances_reference(words, width, of_row, strata, left, right))
    assert counts.sum() > 0


OLD_PROCESSOR = """
import numba
from linkage.hub.kernels import _compare_all
from tests.hub.test_kernels import assert_same, draw_case
assert assert_same({**draw_case(3, 70, 2, 16, 2, 9), "first": 0, "last": 70}) > 5
(assembly,) = _compare_all.inspect_asm().values()
assert "vpopcntq" not in assembly
"""


@pytest.mark.slow
def test_a_processor_without_long_vectors(pytestconfig: pytest.Config) -> None:
    environment = {**os.environ, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2", "PYTHONPATH": "."}
    subprocess.run([sys.executable, "-c", OLD_PROCESSOR], check=True, env=environment, cwd=pytestconfig.rootpath)


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
