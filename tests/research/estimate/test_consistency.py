"""Estimators on numbers that are known: the people on one list."""

from __future__ import annotations

import math

import pytest

from linkage.research.estimate import Independence, Stepwise, fit_model
from linkage.research.estimate.consistency import Consistency, alarm, internal_consistency, summarise
from linkage.research.estimate.omission import drop_empty

ESTIMATORS = {"stepwise": Stepwise(resamples=0), "main": Independence()}


@pytest.mark.parametrize("key", ESTIMATORS)
@pytest.mark.parametrize("name", ["UKdat", "UKdat_5", "NewOrl_5", "Kosovo"])
def test_every_list_agrees_with_the_reference_or_is_refused_where_that_failed(name, key, tables, reference):
    wanted = reference[name]["diagnostics"]["internal_consistency"]
    rows = internal_consistency(tables[name], ESTIMATORS[key])
    assert [row.list for row in rows] == list(tables[name].lists)
    for row in rows:
        target = wanted[row.list]
        assert row.truth == target["truth"]
        point = target.get(key, {}).get("point")
        if point is None or point > 1e6:
            assert row.n_hat is None
            assert row.status in ("start-not-estimable", "too-few-lists")
            continue
        assert row.n_hat == pytest.approx(point, rel=1e-6)
        assert row.observed == target["n_observed_on_others"]
        assert row.others == tuple(target["lists"])
        assert row.log_ratio == pytest.approx(math.log(point / target["truth"]), abs=1e-6)


def test_the_intervals_of_the_reference_are_wald_in_the_selected_model(tables, reference):
    wanted = reference["Kosovo"]["diagnostics"]["internal_consistency"]
    for position, name in enumerate(tables["Kosovo"].lists):
        inside, _ = drop_empty(tables["Kosovo"].given(position))
        fit = fit_model(inside, Stepwise(resamples=0).fit(inside).terms)
        low, high = fit.wald()
        target = wanted[name]["stepwise"]
        assert low == pytest.approx(target["lo"], rel=1e-4)
        assert high == pytest.approx(target["hi"], rel=1e-4)


@pytest.mark.parametrize("name", ["UKdat", "UKdat_5"])
@pytest.mark.parametrize("key", ESTIMATORS)
def test_the_list_on_which_the_reference_says_hundreds_of_billions_is_a_refusal(name, key, tables):
    row = next(row for row in internal_consistency(tables[name], ESTIMATORS[key]) if row.list == "GP")
    assert (row.n_hat, row.status, row.truth, row.observed) == (None, "start-not-estimable", 336, 20)
    assert (row.log_ratio, row.covered) == (None, None)


def test_coverage_is_whether_the_interval_holds_the_truth(uk):
    rows = internal_consistency(uk, Independence())
    for row in rows:
        if row.lower is None:
            assert row.covered is None
        else:
            assert row.covered == (row.lower <= row.truth <= row.upper)
    assert any(row.covered for row in rows)
    assert [row.covered for row in internal_consistency(uk, Stepwise(resamples=0))] == [None] * 5


def test_the_summary_counts_lists_without_an_estimate(uk):
    rows = internal_consistency(uk, Independence())
    summary = summarise(rows)
    assert (summary["lists"], summary["estimated"], summary["with_interval"]) == (5, 4, 4)
    ratios = sorted(row.log_ratio for row in rows if row.log_ratio is not None)
    assert summary["median_log_ratio"] == pytest.approx((ratios[1] + ratios[2]) / 2)
    assert summary["covered"] == sum(bool(row.covered) for row in rows) / 4
    assert summarise(())["median_log_ratio"] is None


def test_withheld_rows_keep_counts_and_lose_estimates(uk):
    row = internal_consistency(uk, Independence())[0]
    plain = row.to_dict(withhold=True)
    assert (plain["truth"], plain["observed"]) == (row.truth, row.observed)
    assert all(plain[key] is None for key in ("n_hat", "lower", "upper", "log_ratio", "covered"))


def known(truth: int, n_hat: float | None, covered: bool | None = None) -> Consistency:
    status = "ok" if n_hat is not None else "too-few-lists"
    ratio = math.log(n_hat / truth) if n_hat else None
    return Consistency("A", truth, 9, ("B", "C"), n_hat, None, None, status, "", ratio, covered)


def test_the_alarm_is_raised_where_most_lists_fall_short():
    short = alarm([known(82, 36.2), known(39, 28.6), known(35, 60.0), known(50, None)])
    assert short == (
        "estimated from the other lists, 2 of 3 lists come out smaller than they are (the middle one 0.73 times):"
        " the number above is likely to be too low as well"
    )
    assert alarm([known(82, 36.2), known(39, 41.0)]) == ""  # half is not most
    assert alarm([known(82, 81.6), known(39, 38.7)]) == ""  # in whole people they are right
    assert alarm([known(82, 36.0)]) == alarm([known(82, None)]) == alarm([]) == ""
    assert summarise([known(82, 36.2), known(39, 41.0), known(5, None)])["short"] == 1


def test_the_alarm_is_raised_where_every_interval_misses():
    missed = alarm([known(82, 90.0, covered=False), known(39, 50.0, covered=False), known(9, 12.0)])
    assert missed == "its interval misses the known number of all 2 lists that can be checked"
    assert alarm([known(82, 90.0, covered=False), known(39, 50.0, covered=True)]) == ""
    both = alarm([known(82, 40.0, covered=False), known(39, 20.0, covered=False)])
    assert both.startswith(missed) and both.endswith("too low as well")
