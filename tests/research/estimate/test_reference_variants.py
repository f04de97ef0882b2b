"""Agreement with the R packages on what is done to tables and models: lists left out, merged and conditioned on, the
jackknife, coefficients, and every set of pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from linkage.research.estimate import Fit, HistoryTable, Stepwise, fit_model
from linkage.research.estimate.gate import check, identifiable, reduce_model
from linkage.research.estimate.lattice import contains, pairs, terms_from_names
from linkage.research.estimate.models import fit_models, hierarchical_models, notation
from linkage.research.estimate.stepwise import select

SPARSE = (
    "UKdat",
    "UKdat_5",
    "UKdat_4",
    "Ned_modslavmse",
    "NewOrl",
    "NewOrl_5",
    "Kosovo",
    "Artificial_3",
    "Korea",
    "HIV",
)
DIAGNOSED = ("UKdat", "UKdat_5", "NewOrl_5", "Kosovo")
STEPWISE = tuple(f"stepwise_p{p}" for p in ("0.001", "0.01", "0.02", "0.05"))


def close(value: float, target: float, relative: float = 1e-4) -> bool:
    return bool(np.isclose(value, target, rtol=relative, atol=0))


def _terms(names, lists):
    return set(terms_from_names([name.split(":") for name in names], lists))


def _filled(table: HistoryTable) -> HistoryTable:
    """Leave out the lists that nobody is on."""
    for position in reversed(range(table.t)):
        if table.totals[position] == 0:
            table = table.without(position)
    return table


def _agrees(table: HistoryTable, target: dict) -> None:
    """Main effects and stepwise: number, Wald interval, and pairs in the order in which they came in."""
    assert table.observed == target["n"]
    stepwise = Stepwise(resamples=0).fit(table)
    names = [part.removesuffix("(-inf)") for part in stepwise.model.split(", ") if part != "independence"]
    lists = tuple(name.replace("+", "_") for name in table.lists)
    assert _terms([name.replace("+", "_") for name in names], lists) == _terms(target["stepwise"]["terms"], lists)
    for row, terms in ((target["main"], ()), (target["stepwise"], stepwise.terms)):
        fit = fit_model(table, terms)
        assert isinstance(fit, Fit)
        low, high = fit.wald()
        assert close(fit.n_hat, row["point"]) and close(low, row["lo"]) and close(high, row["hi"])


@pytest.mark.parametrize("name", DIAGNOSED)
def test_one_list_left_out(name, tables, reference):
    table, rows = tables[name], reference[name]["diagnostics"]["leave_one_list_out"]
    assert set(rows) == set(table.lists)
    for left_out, target in rows.items():
        _agrees(table.without(table.lists.index(left_out)), target)


@pytest.mark.parametrize("name", DIAGNOSED)
def test_every_merge_of_two_lists(name, tables, reference):
    table, rows = tables[name], reference[name]["diagnostics"]["merge_two_lists"]
    assert len(rows) == table.t * (table.t - 1) // 2
    for merged, target in rows.items():
        first, second = (table.lists.index(part) for part in merged.split("+"))
        after = table.merged(first, second)
        assert merged in after.lists and after.t == table.t - 1
        _agrees(after, target)


@pytest.mark.parametrize("name", DIAGNOSED)
def test_conditioning_on_one_list(name, tables, reference):
    table, rows = tables[name], reference[name]["diagnostics"]["internal_consistency"]
    assert set(rows) == set(table.lists)
    for given, target in rows.items():
        position = table.lists.index(given)
        part = _filled(table.given(position))
        if "error" in target.get("main", {"error": True}):  # it stops; its stepwise then says 8.4e11 for the UK
            assert Stepwise(resamples=0).fit(part).n_hat is None
            continue
        assert table.totals[position] == target["truth"] and list(part.lists) == target["lists"]
        _agrees(part, target)


@pytest.mark.parametrize("name", SPARSE)
def test_jackknife_by_history(name, tables, reference):
    table = tables[name]
    # A history that a table lists twice is there twice, with a mark.
    target = {p.split(".")[0]: number for p, number in reference[name]["SparseMSE"]["bca"]["jackknife"].items()}
    cells = {p: sum(1 << j for j, digit in enumerate(p) if digit == "1") for p in target}
    seen = {pattern: number for pattern, number in target.items() if table.counts[cells[pattern] - 1] > 0}
    assert len(seen) == (table.counts > 0).sum()
    for pattern, number in seen.items():
        cell = cells[pattern]
        counts = table.counts.copy()
        counts[cell - 1] -= 1
        assert close(select(counts, table.t).n_hat[0], number, 1e-7)


@pytest.mark.parametrize("name", SPARSE)
def test_coefficients_and_wald_of_every_model(name, tables, reference):
    table = tables[name]
    for key in (*STEPWISE, "all_pairs"):
        target = reference[name]["SparseMSE"].get(key)
        if target is None:
            assert key == "all_pairs" and check(table.counts, table.t, pairs(table.t)) > 0
            continue
        finite, minus = target["interactions"]["finite"], target["interactions"]["neg_inf"]
        model = terms_from_names([pair.split(":") for pair in (*finite, *minus)], table.lists)
        fit = fit_model(table, model)
        assert isinstance(fit, Fit)
        assert set(fit.minus_infinity) == _terms(minus, table.lists)
        names = ["(Intercept)", *table.lists, *finite]
        wanted = [target["coef"][n] for n in names]
        np.testing.assert_allclose(fit.beta, wanted, rtol=1e-5, atol=1e-5)
        assert close(fit.n_hat, target["point"], 1e-7)
        assert close(fit.se_intercept, target["se_intercept"])  # R stops its iterations sooner
        low, high = fit.wald()
        assert close(low, target["ci_wald_log_2.5"]) and close(high, target["ci_wald_log_97.5"])
        assert close(fit.deviance, target["deviance"], 1e-6)
        assert close(fit.aic, target["aic_adj"], 1e-6)
        _cells_and_empty_overlaps(table, fit, target)


def _cells_and_empty_overlaps(table: HistoryTable, fit: Fit, target: dict) -> None:
    """Degrees of freedom, and how likely an empty overlap was under the model without its parameter."""
    kept = reduce_model(table.counts, table.t, fit.interactions).keep.sum()
    assert kept - len(fit.beta) == target["df_residual"]
    for pair, p in dict(target["poisspempty"] or {}).items():
        (term,) = _terms([pair], table.lists)
        without = fit_model(table, [other for other in fit.interactions if other != term])
        assert isinstance(without, Fit)
        assert close(np.exp(-(contains(table.t, [term]) @ without.mu)[0]), p)


@pytest.mark.parametrize("name", SPARSE)
def test_models_without_an_estimate_are_exactly_those_of_the_reference(name, tables, reference):
    table, target = tables[name], reference[name]["SparseMSE"]
    if "checkallmodels" not in target:
        assert table.t > 5
        return
    if table.t == 5:  # a thousand linear programs: the fits tell as much
        assert target["checkallmodels"]["n_nonexistent"] == 0
        assert fit_models(table.counts, 5, hierarchical_models(5)).passed.all()
        return
    every = [model for size in range(len(pairs(table.t)) + 1) for model in combinations(pairs(table.t), size)]
    missing = {model for model in every if check(table.counts, table.t, model) & 1}
    models = [[model] if isinstance(model, str) else model for model in target["checkallmodels"]["models"]]
    assert {tuple(sorted(model)) for model in missing} == {
        tuple(sorted(_terms(model, table.lists))) for model in models
    }
    assert len(missing) == target["checkallmodels"]["n_nonexistent"]


@pytest.mark.parametrize("name", SPARSE)
def test_all_pairs_need_three_lists_that_overlap_in_pairs(name, tables, reference):
    table, target = tables[name], reference[name]["SparseMSE"]
    triples = sum(
        all(table.together(i, j) > 0 for i, j in combinations(three, 2)) for three in combinations(range(table.t), 3)
    )
    assert triples == target["count_triples"]
    if triples == 0:
        assert check(table.counts, table.t, pairs(table.t)) & 2
        model = reduce_model(table.counts, table.t, pairs(table.t))
        assert not identifiable(table.t, model.finite, model.minus_infinity)


@pytest.mark.parametrize("name", [n for n in SPARSE if n != "Ned_modslavmse"])  # the package is without that table
def test_stepwise_of_the_other_package(name, tables, reference):
    table, target = tables[name], reference[name]["MultipleSystemsEstimation"]
    result = Stepwise(resamples=0).fit(table)
    assert close(result.n_hat, target["stepwise_p0.02"]["popest"], 1e-7)
    assert notation(table.t, result.terms) == target["stepwise_p0.02"]["model"]


@pytest.mark.parametrize("name", SPARSE)
def test_standard_error_of_the_number(name, tables, reference):
    fit = fit_model(tables[name])
    assert isinstance(fit, Fit)
    target = reference[name]["Rcapture"]["closedp_t"]["table"]["Mt"]
    assert close(fit.n_hat, target["abundance"], 1e-7) and close(fit.se_n_hat, target["stderr"])
