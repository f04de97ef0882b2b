"""Persons and capture histories, on facts small enough to count by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.contract.vocabulary import FACT_SCHEMA, SEXES
from linkage.errors import EstimateError
from linkage.research.histories import capture_histories, lists_of, persons, scope, stack


def facts(*rows: Mapping[str, Any]) -> pl.DataFrame:
    default = {"tier": "believed", "contact": "other", "month": "2014-05", "age": 16, "decoy": False}
    return pl.DataFrame([default | row for row in rows], schema=FACT_SCHEMA)


def person_map(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"source": pl.String, "pseudonym": pl.String, "person": pl.UInt32}, orient="row")


@dataclass(frozen=True)
class Period:
    first_month: str = "2013-01"
    last_month: str = "2016-12"
    max_age: int = 25


MPD = facts(
    {"pseudonym": "m1", "sex": "female", "race": "black", "month": "2013-02", "age": 15, "history_drug": "none"},
    {"pseudonym": "m1", "sex": "male", "race": "black", "month": "2014-03", "tier": "confirmed", "missing_ever": False},
    {"pseudonym": "m1", "sex": "female", "race": "black", "month": "2014-09", "history_drug": "suspect"},
    {"pseudonym": "m2", "sex": "male", "history_drug": "none", "missing_as_juvenile": True, "missing_ever": False},
    {"pseudonym": "m9", "decoy": True, "tier": "confirmed"},
    {"pseudonym": "m8", "decoy": True},
)
DCF = facts(
    {"pseudonym": "d1", "sex": "transgender_male", "race": "latino", "month": "2014-03", "history_drug": "victim"},
    {"pseudonym": "d3", "sex": "other", "race": "white", "month": "2016-01"},
    {"pseudonym": "d3", "month": "2016-01", "out_of_home_care": True},
)
POHSEY = facts({"pseudonym": "p1", "sex": "female", "race": "white", "month": "2013-12"})
MAP = person_map(
    ("mpd", "m1", 0),
    ("dcf", "d1", 0),
    ("pohsey", "p1", 0),
    ("mpd", "m2", 1),
    ("dcf", "d3", 2),
    ("mpd", "m9", 3),
    ("mpd", "m8", 2),
)
ALL = {"mpd": MPD, "dcf": DCF, "pohsey": POHSEY}


@pytest.fixture
def people() -> dict[int, dict[str, Any]]:
    return {row["person"]: row for row in persons(stack(ALL, MAP)).to_dicts()}


def test_decoys_leave_neither_a_person_nor_a_list_nor_a_tier(people: dict[int, dict[str, Any]]) -> None:
    assert sorted(people) == [0, 1, 2]
    assert not people[2]["on_mpd"]  # the hub took a decoy of mpd for this person
    assert stack(ALL, MAP).height == 8
    assert {"pseudonym", "decoy"}.isdisjoint(stack(ALL, MAP).columns)


def test_lists_systems_and_years(people: dict[int, dict[str, Any]]) -> None:
    assert [people[0][f"on_{name}"] for name in ("mpd", "dcf", "pohsey")] == [True, True, True]
    assert [people[n]["systems"] for n in range(3)] == [3, 1, 1]
    assert people[0]["years_mpd"] == [2013, 2014]
    assert people[0]["years_dcf"] == [2014]
    assert (people[0]["first_year"], people[0]["last_year"], people[0]["years"]) == (2013, 2014, [2013, 2014])
    assert lists_of(persons(stack(ALL, MAP))) == ("dcf", "mpd", "pohsey")


def test_tier_is_the_highest_and_age_that_of_the_first_contact(people: dict[int, dict[str, Any]]) -> None:
    assert [people[n]["tier"] for n in range(3)] == ["confirmed", "believed", "believed"]
    assert [people[n]["age_first"] for n in range(3)] == [15, 16, 16]


def test_sex_one_vote_a_source_and_the_majority_wins(people: dict[int, dict[str, Any]]) -> None:
    # mpd says female twice and male once: female; pohsey says female; dcf stands alone
    assert (people[0]["sex"], people[0]["sex_disagrees"]) == ("female", True)
    assert (people[1]["sex"], people[1]["sex_disagrees"]) == ("male", False)


def test_a_tie_goes_by_the_stated_order(people: dict[int, dict[str, Any]]) -> None:
    assert (people[0]["race"], people[0]["race_disagrees"]) == ("latino", True)  # black, latino, white: one each
    assert (people[1]["race"], people[1]["race_disagrees"]) == (None, None)


def test_roles_combine_over_sources_and_unknown_stays_unknown(people: dict[int, dict[str, Any]]) -> None:
    assert people[0]["history_drug"] == "multiple"  # suspect at mpd, victim at dcf
    assert people[1]["history_drug"] == "none"
    assert people[2]["history_drug"] is None


def test_one_source_that_says_missing_is_enough(people: dict[int, dict[str, Any]]) -> None:
    assert people[0]["missing_ever"] is False
    assert people[1]["missing_ever"] is True  # as a juvenile, so ever
    assert people[2]["missing_ever"] is None
    assert people[2]["out_of_home_care"] is True


def test_recurrence(people: dict[int, dict[str, Any]]) -> None:
    assert [people[n]["recurrence"] for n in range(3)] == ["several_years", "once", "once"]
    assert (people[2]["contacts"], people[2]["months"]) == (2, 1)
    again = facts({"pseudonym": "m1"}, {"pseudonym": "m1", "month": "2014-06"})
    assert persons(stack({"mpd": again}, person_map(("mpd", "m1", 0))))["recurrence"].to_list() == ["within_one_year"]


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        (MAP.filter(pl.col("pseudonym") != "m2"), "no person: 1"),
        (pl.concat([MAP, person_map(("dcf", "d7", 3))]), "no facts: 1"),
        (pl.concat([MAP, person_map(("dcf", "d1", 2))]), "more than one row in the person map: 1"),
    ],
)
def test_a_map_of_other_records_is_refused_with_counts_only(changed: pl.DataFrame, count: str) -> None:
    with pytest.raises(EstimateError) as caught:
        stack(ALL, changed)
    assert caught.value.reason == "map-mismatch"
    assert count in str(caught.value)
    assert not any(name in str(caught.value) for name in ("m2", "d7", "d1"))


def test_a_decoy_may_be_absent_from_the_map_but_not_be_half_a_decoy() -> None:
    assert stack(ALL, MAP.filter(pl.col("pseudonym") != "m9")).height == 8
    half = {**ALL, "mpd": pl.concat([MPD, facts({"pseudonym": "m9"})])}
    with pytest.raises(EstimateError, match="a decoy in one row and none in another: 1"):
        stack(half, MAP)


def test_facts_of_another_shape_are_refused() -> None:
    with pytest.raises(EstimateError, match="source mpd: column 'tier'"):
        stack({"mpd": MPD.drop("tier")}, MAP)
    with pytest.raises(EstimateError, match="without pseudonym or decoy flag"):
        stack({"mpd": MPD.with_columns(pl.lit(None, dtype=pl.Boolean).alias("decoy"))}, MAP)
    with pytest.raises(EstimateError):
        stack({}, MAP)


def test_scope_is_the_period_and_the_age_with_both_ends_in() -> None:
    rows = facts(
        {"pseudonym": "a", "month": "2012-12"},
        {"pseudonym": "b", "month": "2013-01", "age": 25},
        {"pseudonym": "c", "month": "2016-12", "age": 26},
        {"pseudonym": "d", "month": "2016-12", "age": None},
        {"pseudonym": "e", "month": "2017-01"},
        {"pseudonym": "f", "month": None},
    )
    events = stack({"mpd": rows}, person_map(*[("mpd", name, n) for n, name in enumerate("abcdef")]))
    assert scope(events, Period())["person"].sort().to_list() == [1, 3]


def test_a_source_outside_the_scope_keeps_its_list_when_named() -> None:
    people = persons(stack({"mpd": MPD}, MAP.filter(pl.col("source") == "mpd")), lists=["mpd", "medical"])
    assert people["on_medical"].to_list() == [False, False]
    assert people["years_medical"].to_list() == [[], []]


def test_capture_histories_by_hand() -> None:
    table = capture_histories(persons(stack(ALL, MAP)), ["mpd", "dcf", "pohsey"])
    assert table.schema == {"mpd": pl.UInt8, "dcf": pl.UInt8, "pohsey": pl.UInt8, "count": pl.Int64}
    assert table.rows() == [(0, 1, 0, 1), (1, 0, 0, 1), (1, 1, 1, 1)]
    # on fewer lists the person of dcf alone is on none
    assert capture_histories(persons(stack(ALL, MAP)), ["mpd", "pohsey"]).rows() == [(1, 0, 1), (1, 1, 1)]


def test_a_year_counts_a_person_on_the_lists_that_saw_them_in_that_year() -> None:
    table = capture_histories(persons(stack(ALL, MAP)), ["mpd", "dcf", "pohsey"], ["year"])
    assert table.rows() == [
        ("2013", 1, 0, 1, 1),
        ("2014", 1, 0, 0, 1),
        ("2014", 1, 1, 0, 1),
        ("2016", 0, 1, 0, 1),
    ]


def test_strata_name_the_unknown() -> None:
    table = capture_histories(persons(stack(ALL, MAP)), ["mpd", "dcf"], ["race"])
    assert table.select("race", "count").rows() == [("latino", 1), ("unknown", 1), ("white", 1)]


@pytest.mark.parametrize(("lists", "by"), [(["mpd", "zoo"], []), (["mpd"], ["zoo"]), ([], []), (["mpd", "mpd"], [])])
def test_lists_and_strata_must_be_there(lists: list[str], by: list[str]) -> None:
    with pytest.raises(EstimateError) as caught:
        capture_histories(persons(stack(ALL, MAP)), lists, by)
    assert caught.value.reason == "bad-histories"


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.sampled_from([*SEXES, None]), st.integers(0, 47)),
        min_size=1,
        max_size=40,
    )
)
def test_every_person_is_counted_once_and_on_every_list(rows: list[tuple[str, int, str | None, int]]) -> None:
    by_source = {
        source: facts(
            *[
                {"pseudonym": f"{source}{n}", "sex": sex, "month": f"{2013 + month // 12}-{month % 12 + 1:02d}"}
                for name, n, sex, month in rows
                if name == source
            ]
        )
        for source in {name for name, *_ in rows}
    }
    links = person_map(*sorted({(source, f"{source}{n}", n) for source, n, *_ in rows}))
    people = persons(stack(by_source, links))
    lists = lists_of(people)
    table = capture_histories(people, lists)
    assert table["count"].sum() == people.height == len({n for _, n, *_ in rows})
    for name in lists:
        assert table.filter(pl.col(name) == 1)["count"].sum() == len({n for source, n, *_ in rows if source == name})
    years = capture_histories(people, lists, ["year"])
    assert years["count"].sum() == len({(n, month // 12) for _, n, _, month in rows})
    assert capture_histories(people, lists, ["sex"])["count"].sum() == people.height
