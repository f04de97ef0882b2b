"""Strata and years: of which family sums and differences are, what is in no draw, and a reason wherever nothing is."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.research.analysis_page import in_text, render_analysis
from linkage.research.analysis_parts import SUMMED_BY, Unit, Years, compare_years, rate_range, summing_family
from linkage.research.analysis_strata import DIMENSIONS, Counted, Effort, by_stratum, by_year, values_of_strata
from linkage.research.draws import by_record, spread, take
from linkage.research.estimate import HistoryTable, Report, estimate
from linkage.research.estimate.arithmetic import Estimated
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.series import Series
from linkage.research.histories import stack
from linkage.research.release import in_scope, scoped_persons

EFFORT = Effort(resamples=100, chains=False, pooling=None)
YEARS = range(2013, 2017)


def none_in_doubt(number: int) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(["record", *(f"draw_{i}" for i in range(number))], pl.UInt32))


@pytest.fixture(scope="module")
def counted(maker: Any) -> Counted:
    """Seven hundred persons; two draws, which are the map."""
    world, scope = maker.world(1000, 2), maker.policy().scope
    people = scoped_persons(world.facts, world.person_map, maker.policy())
    events = in_scope(stack(world.facts, by_record(world.person_map)), scope)
    return Counted(people, events, world.person_map, none_in_doubt(2), 2, maker.lists, (), 2.0, "p")


@pytest.fixture(scope="module")
def whole(counted: Counted) -> Report:
    return estimate(counted.on_map(), lists=counted.lists, resamples=100)


def not_averaged(report: Report) -> Report:
    """Give the report as it is where hierarchical models are not averaged over for so many lists."""
    declined = [
        refused(r.method, "", "too-many-lists") if r.method.startswith("averaged") else r for r in report.results
    ]
    kept = [pooled for pooled in report.pooled if not pooled.result.method.startswith("averaged")]
    return replace(report, results=tuple(declined), pooled=tuple(kept))


# --- the family of sums and differences


def test_sums_are_of_the_average_where_it_answers_and_else_of_the_stepwise_choice(whole: Report) -> None:
    units = [Unit("a", whole), Unit("b", whole)]
    assert summing_family(whole, units) == "averaged-aic"
    assert summing_family(not_averaged(whole), units) == "stepwise"
    assert summing_family(whole, [units[0], Unit("b", not_averaged(whole))]) == "stepwise"
    refusal = estimate(HistoryTable(("a", "b", "c"), np.array([9, 9, 0, 9, 0, 0, 0])), resamples=100)
    assert refusal.verdict.status == "refused"
    assert summing_family(whole, [units[0], Unit("b", refusal)]) == "averaged-aic"
    nothing = replace(whole, results=tuple(refused(r.method, "", "unbounded") for r in whole.results))
    assert summing_family(nothing, []) == SUMMED_BY[-1]


def test_strata_years_and_their_sums_carry_the_name_of_their_family(counted: Counted, whole: Report) -> None:
    for report, family in ((whole, "averaged-aic"), (not_averaged(whole), "stepwise")):
        found = by_stratum(counted, "sex", EFFORT, None, YEARS, report)
        plain = found.to_dict()
        assert found.family == plain["family"] == family
        assert found.summed is not None and found.why_none == plain["why_no_sum"] == ""
        assert {item.result.method for item in found.summed.strata} == {family} == {found.summed.total.result.method}
        for item in found.summed.strata:
            unit = next(unit for unit in found.units if unit.value == item.values["sex"])
            shown = unit.by_family(family)
            assert shown is not None and shown.n_hat == pytest.approx(item.result.n_hat)


def test_the_page_names_the_family_that_it_shows(seen_without: Any) -> None:
    page = render_analysis(seen_without("stepwise"))
    assert "By sex, by one family of assumptions (dependence chosen by the data), with 95% intervals" in page
    assert "Sum by one family (dependence chosen by the data) of" in page
    assert "by one family (dependence chosen by the data): " in page
    assert in_text("averaged-aic") not in page.split('id="strata"')[1]
    page = render_analysis(seen_without("averaged-aic"))
    assert "By year, by one family of assumptions (average of hierarchical models, by AIC)" in page


@pytest.fixture(scope="module")
def seen_without(counted: Counted, whole: Report, maker: Any) -> Any:
    """An analysis whose strata and years are by one family, as if the others were not there."""
    from linkage.research.analysis import Analysis, Check
    from linkage.research.estimate import diagnostics

    def made(family: str) -> Analysis:
        report = whole if family == "averaged-aic" else not_averaged(whole)
        sex = by_stratum(counted, "sex", EFFORT, None, YEARS, report)
        years = by_year(counted, EFFORT, None, YEARS, report)
        if family != "averaged-aic":
            sex = replace(sex, units=tuple(replace(u, report=not_averaged(u.report)) for u in sex.units))
            years = replace(years, units=tuple(replace(u, report=not_averaged(u.report)) for u in years.units))
        scope = maker.policy().scope.model_dump()
        check = Check((), "x")
        return Analysis("t", "2026-11", scope, report, diagnostics(whole.table), check, 2, 2, (sex,), years, None, ())

    return made


def test_with_many_lists_strata_and_years_use_fewer_draws_unless_told(counted: Counted) -> None:
    six, draws = (*counted.lists, "e", "f"), none_in_doubt(25)
    many = replace(counted, lists=six, draws=draws, number=25)
    fewer = many.for_parts(EFFORT)
    assert fewer.number == 10 and fewer.draws.equals(take(draws, spread(25, 6, most=10)))
    assert fewer.partitions != many.partitions
    assert many.for_parts(replace(EFFORT, draws=25)) is many
    few = replace(many, lists=six[:5])
    assert few.for_parts(EFFORT) is few


def test_ages_stand_in_their_order(counted: Counted, whole: Report) -> None:
    alone = replace(counted, number=0, draws=none_in_doubt(0))
    found = by_stratum(alone, "age", EFFORT, None, YEARS, whole)
    assert [unit.value for unit in found.units] == ["under 14", "14-17", "18-25"]


# --- populations


def file_of(column: str, *values: str) -> pl.DataFrame:
    rows = [(value, year, 100_000) for year in YEARS for value in values]
    return pl.DataFrame(rows, schema={column: pl.String, "year": pl.Int64, "population": pl.Int64}, orient="row")


def test_everybody_is_not_divided_by_part_of_the_people(counted: Counted, whole: Report, seen_without: Any) -> None:
    alone = replace(counted, number=0, draws=none_in_doubt(0))
    women = file_of("sex", "female")
    rate = rate_range(whole, women, YEARS, {}, counted.having(women))
    assert rate is not None and (rate.status, rate.low, rate.population) == ("partial-population", None, None)
    assert "male" in rate.lacking[0] and "unknown" not in rate.words
    assert rate.to_dict()["no_population_for"] == list(rate.lacking)
    sex = by_stratum(alone, "sex", EFFORT, women, YEARS, whole)
    statuses = {unit.value: unit.rate.status for unit in sex.units if unit.rate is not None}
    assert statuses == {value: "ok" if value == "female" else "no-denominator" for value in statuses}
    years = by_year(alone, EFFORT, women, YEARS, whole)
    assert {unit.rate.status for unit in years.units if unit.rate is not None} == {"partial-population"}
    assert years.rate_difference is None and "sex male" in years.why_no_rates
    page = render_analysis(replace(seen_without("averaged-aic"), dimensions=(sex,), years=years, rate=rate))
    assert f"No number per 1,000: {rate.words}." in page and "Per 1,000 of" not in page
    assert f"Nothing is said per 1,000: {rate.words}." in page
    every = file_of("sex", *{row["sex"] for row in counted.having(women)} - {"unknown"})
    found = rate_range(whole, every, YEARS, {}, counted.having(every))
    assert found is not None and found.status == "ok" and found.words == ""


def test_what_a_rate_is_of_is_said(counted: Counted, whole: Report, seen_without: Any) -> None:
    people = pl.DataFrame({"year": list(YEARS), "population": [100_000, 110_000, 120_000, 130_000]})
    assert counted.having(people) == ()
    rate = rate_range(whole, people, YEARS, {})
    assert rate is not None and rate.population == 115_000
    meaning = rate.to_dict()["meaning"]
    assert meaning == (
        "mean of the yearly populations of 2013 to 2016; the rate is of persons over the whole period and not yearly"
    )
    assert f"Per 1,000 of 115,000 ({meaning})" in render_analysis(replace(seen_without("averaged-aic"), rate=rate))
    year = rate_range(whole, people, [2014], {})
    assert year is not None and year.meaning == "population of the year; the rate is of persons of that year"


def test_a_file_of_populations_may_name_what_strata_are_called(counted: Counted) -> None:
    values = values_of_strata()
    assert tuple(values) == DIMENSIONS
    assert values["age"] == ("under 14", "14-17", "18-25", "26 and over")
    for by in DIMENSIONS:
        assert set(counted.on_map([by])[by]) <= {*values[by], "unknown"}


# --- in no draw


def test_a_stratum_in_no_draw_says_so_and_is_in_no_sum(counted: Counted, whole: Report, seen_without: Any) -> None:
    gone = replace(counted, events=counted.events.filter(pl.col("sex") != "male"))
    found = by_stratum(gone, "sex", EFFORT, None, YEARS, whole)
    notes = {unit.value: unit.notes for unit in found.units}
    assert notes.pop("male") == ("in no draw: estimated on the map alone",)
    assert notes and not any(notes.values())
    assert "male" in found.left_out and "male" not in found.added
    plain = {entry["value"]: entry for entry in json.loads(json.dumps(found.to_dict()))["strata"]}
    assert "in no draw: estimated on the map alone" in plain["male"]["notes"]
    assert not any("in no draw" in note for note in plain["female"]["notes"])
    page = render_analysis(replace(seen_without("averaged-aic"), dimensions=(found,)))
    assert 'male <span class="soft">(in no draw: estimated on the map alone)</span>' in page
    nobody = by_stratum(replace(counted, events=counted.events.head(0)), "sex", EFFORT, None, YEARS, whole)
    assert nobody.summed is None and nobody.why_none == "fewer than two strata are identified and in a draw"
    alone = replace(counted, number=0, draws=none_in_doubt(0))
    assert not any(unit.notes for unit in by_stratum(alone, "sex", EFFORT, None, YEARS, whole).units)


# --- two years


STATES = ("absent", "refused", "in no draw", "no interval", "declined", "ok")
POPULATIONS = {
    "none": None,
    "both": {2013: 50_000, 2016: 60_000},
    "first": {2013: 50_000},
    "last": {2016: 60_000},
    "first too small": {2013: 10, 2016: 60_000},
    "last too small": {2013: 50_000, 2016: 10},
    "between": {2013: 50_000, 2016: 5_000},
}


def population_of(numbers: dict[int, int] | None) -> pl.DataFrame | None:
    if numbers is None:
        return None
    return pl.DataFrame({"year": list(numbers), "population": list(numbers.values())})


def item_of(year: int, state: str) -> Estimated:
    draws = np.random.default_rng(year).normal(8_000, 100, 4_000)
    result = Result("averaged-aic", "x", 8_000.0, 7_800.0, 8_200.0, draws=draws)
    if state == "no interval":
        result = replace(result, lower=None, upper=None, draws=None)
    if state == "declined":
        result = refused("averaged-aic", "", "unbounded")
    return Estimated({"year": str(year)}, 700, result)


def compared(first: str, last: str, numbers: dict[int, int] | None, whole: Report, *, one: bool = False) -> Years:
    """Compare two years of which each is in some state; the whole range of each lies below nearly any population."""
    states = {2013: first} if one else {2013: first, 2016: last}
    denominators, units, items = population_of(numbers), [], []
    verdict = whole.verdict
    refusal = replace(verdict, status="refused", reason="unbounded", low=None, high=None)
    for year, state in states.items():
        if state == "absent":
            continue
        report = replace(whole, verdict=refusal if state == "refused" else verdict)
        units.append(Unit(str(year), report, rate_range(report, denominators, [year], {})))
        if state in ("no interval", "declined", "ok"):
            items.append(item_of(year, state))
    found = Series(tuple(items)) if items else None
    return compare_years(2013, 2013 if one else 2016, tuple(units), "averaged-aic", found, denominators)


def test_there_is_a_difference_or_words_why_there_is_none(whole: Report) -> None:
    assert whole.verdict.low > 10
    for first, last, name in itertools.product(STATES, STATES, POPULATIONS):
        case = (first, last, name)
        found = compared(first, last, POPULATIONS[name], whole)
        assert (found.difference is not None) == (first == last == "ok"), case
        assert (found.rate_difference is not None) == (case == ("ok", "ok", "both")), case
        assert (found.difference is None) == bool(found.why_none), case
        assert (found.rate_difference is None) == bool(found.why_no_rates), case
        plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert plain["why_no_difference"] == found.why_none
        assert plain["why_no_difference_per_1000"] == found.why_no_rates
        one = compared(first, last, POPULATIONS[name], whole, one=True)
        assert one.difference is None is one.rate_difference
        assert one.why_none == one.why_no_rates == "the scope is of one year"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "no populations are given"),
        ("first", "2016: the file of populations has none for it"),
        ("last", "2013: the file of populations has none for it"),
        ("first too small", "2013: the estimate is above the population"),
        ("last too small", "2016: the estimate is above the population"),
        ("between", "the estimate is above the population"),
    ],
)
def test_a_rate_that_is_not_there_is_not_compared(whole: Report, name: str, words: str) -> None:
    found = compared("ok", "ok", POPULATIONS[name], whole)
    assert found.difference is not None and found.why_none == ""
    assert found.rate_difference is None and found.why_no_rates.startswith(words)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("absent", "nobody was seen in 2016"),
        ("refused", "2016 is not identified"),
        ("in no draw", "2016 is in no draw"),
        ("no interval", "2016: the family that years are compared by gives no interval"),
        ("declined", "2016: the family that years are compared by gives no interval"),
    ],
)
def test_the_year_that_is_not_there_is_named(whole: Report, state: str, words: str) -> None:
    assert compared("ok", state, POPULATIONS["both"], whole).why_none == words
    assert compared(state, "ok", POPULATIONS["both"], whole).why_none == words.replace("2016", "2013")
