"""The gate, and that the fast road to it never disagrees with the linear program."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.errors import EstimateError
from linkage.research.estimate import Fit, HistoryTable, fit_model
from linkage.research.estimate.gate import check, exists, identifiable, reduce_model
from linkage.research.estimate.lattice import all_terms, contains, design, pairs, subset_sums, superset_sums
from linkage.research.estimate.models import fit_models, hierarchical_models
from linkage.research.estimate.poisson import fit_poisson, information
from linkage.research.estimate.stepwise import select

# The artificial table of Chan, Silverman & Vincent (2021), Table 2: A 40, B 30, C 20, AB 6.
ARTIFICIAL = np.array([40, 30, 6, 20, 0, 0, 0])


def test_artificial_table_shows_every_failure():
    ab, ac, bc = 0b011, 0b101, 0b110
    assert check(ARTIFICIAL, 3, ()) == 0
    assert check(ARTIFICIAL, 3, (ab,)) == 1
    assert check(ARTIFICIAL, 3, (ab, ac, bc)) == 2
    assert check(ARTIFICIAL, 3, (ac,)) == 0


def test_a_list_nobody_is_on_has_no_main_effect():
    assert check(np.array([5, 4, 3, 0, 0, 0, 0]), 3, ()) == 1


def test_empty_overlap_goes_to_minus_infinity_with_everything_above_it():
    model = reduce_model(ARTIFICIAL, 3, (0b011, 0b101, 0b111))
    assert model.finite == (0b011,)
    assert model.minus_infinity == (0b101, 0b111)
    assert model.keep.tolist() == [True, True, True, True, False, True, False]


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_certificate_never_contradicts_the_linear_program(seed):
    generator = np.random.default_rng(seed)
    t = int(generator.integers(3, 6))
    counts = generator.poisson(np.exp(generator.normal(-0.5, 2, size=2**t - 1))).astype(float)
    counts[0] += 1
    model = reduce_model(counts, t, [pair for pair in pairs(t) if generator.random() < 0.4])
    if not identifiable(t, model.finite, model.minus_infinity):
        return
    terms = all_terms(t, model.finite)
    fit = fit_poisson(t, terms, counts[None, :], model.keep[None, :], np.ones((1, len(terms)), dtype=bool))
    there = exists(t, model.finite, model.minus_infinity, np.packbits(counts > 0).tobytes())
    assert bool(fit.certified[0]) == there
    if there:
        left = design(t, model.finite)
        np.testing.assert_allclose(left.T @ fit.mu[0], left.T @ (counts * model.keep), rtol=1e-5, atol=1e-5)


# Many people beside few: a cell that falls to zero comes down to the rounding of the sums, and Newton's last step to it
# is any number.
HIDDEN = [
    ([29, 0, 0, 14174, 655, 23, 177995], (0b101, 0b110)),
    ([0, 0, 0, 0, 583784, 3081, 3035], ()),
    ([48, 528617, 240488, 0, 205900, 3368, 2], (0b011,)),
    ([0, 38, 38990, 87784, 1206, 29223, 450898], (0b011, 0b110)),
    ([2, 0, 5664, 119610, 127, 43868, 2, 0, 3, 22, 73, 306, 971, 6, 10859], (3, 5, 9, 6, 10, 7)),
    ([91980, 0, 79827, 0, 3, 83278, 2, 3, 9332, 379813, 0, 1284, 13, 0, 1], (3, 5, 9, 6, 10, 12, 13)),
    ([428571108, 20064434, 0, 36092243089, 195525188, 700623798, 82], (0b011, 0b101, 0b110)),
]


@pytest.mark.parametrize(("counts", "interactions"), HIDDEN)
def test_no_estimate_hides_behind_large_counts(counts, interactions):
    t, cells = len(counts).bit_length(), np.array(counts)
    table = HistoryTable(tuple("ABCD"[:t]), cells)
    model = reduce_model(cells, t, interactions)
    assert not exists(t, model.finite, model.minus_infinity, np.packbits(cells > 0).tobytes())
    assert isinstance(fit_model(table, interactions), int)
    assert not fit_models(cells, t, (interactions,)).passed.any()
    if all(term.bit_count() == 2 for term in interactions):
        assert select(cells, t, forced=interactions).code[0] > 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_certificate_holds_at_any_size_of_count(seed):
    generator = np.random.default_rng(seed)
    t, largest = int(generator.integers(3, 5)), generator.choice([3, 5, 7, 10])
    counts = np.floor(10 ** generator.uniform(-1, largest, size=2**t - 1))
    counts[0] += 1
    models = hierarchical_models(t)
    some = tuple(models[i] for i in generator.permutation(len(models))[:6])
    fits = fit_models(counts, t, some)
    for m, model in enumerate(some):
        if check(counts, t, model):
            assert not fits.passed[0, m]
        elif largest <= 5:  # beyond, rounding may keep the fit from coming to rest, and then there is no number
            assert fits.passed[0, m]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_selection_on_many_tables_is_that_on_each(seed):
    generator = np.random.default_rng(seed)
    t = int(generator.integers(3, 6))
    rates = np.exp(generator.normal(0, 1.5, size=2**t - 1))
    counts = generator.poisson(rates, size=(6, 2**t - 1)).astype(float)
    counts[:, -1] += 1
    together = select(counts, t)
    for i, row in enumerate(counts):
        alone = select(row, t)
        np.testing.assert_array_equal(alone.order[0], together.order[i])
        np.testing.assert_allclose(alone.n_hat[0], together.n_hat[i], rtol=1e-9)
        if together.code[i] == 0:
            model = tuple(np.array(pairs(t))[together.order[i] > 0].tolist())
            assert check(row, t, model) == 0
            fit = fit_model(HistoryTable(tuple("ABCDE"[:t]), row.astype(np.int64)), model)
            assert isinstance(fit, Fit)
            np.testing.assert_allclose(fit.n_hat, together.n_hat[i], rtol=1e-7)


@pytest.mark.parametrize("t", [1, 2, 5])
def test_sums_over_the_lattice_are_those_of_the_plain_twin(t):
    values = np.random.default_rng(t).normal(size=(3, 2**t))
    inside = contains(t, range(2**t), empty_cell=True)  # row T, column x: is T inside x
    np.testing.assert_allclose(superset_sums(values, t), values @ inside.T)
    np.testing.assert_allclose(subset_sums(values, t), values @ inside)


def test_an_empty_stack_has_sums_too():
    assert superset_sums(np.zeros((0, 8)), 3).shape == subset_sums(np.zeros((0, 8)), 3).shape == (0, 8)


def test_information_is_that_of_the_design_matrix():
    t, terms = 4, all_terms(4, (0b0011, 0b1100))
    weights = np.random.default_rng(0).random((2, 15))
    active = np.ones((2, len(terms)), dtype=bool)
    active[1, -1] = False
    matrix = information(t, terms, np.pad(weights, ((0, 0), (1, 0))), active)
    left = design(t, (0b0011, 0b1100))
    np.testing.assert_allclose(matrix[0], left.T @ (weights[0][:, None] * left))
    np.testing.assert_allclose(matrix[1, :-1, :-1], (left.T @ (weights[1][:, None] * left))[:-1, :-1])
    assert matrix[1, -1, -1] == 1
    assert not matrix[1, -1, :-1].any()


def test_counts_have_the_length_of_the_lattice():
    with pytest.raises(EstimateError):
        HistoryTable(("A", "B"), np.array([1, 2]))
