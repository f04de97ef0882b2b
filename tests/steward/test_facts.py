from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import NotPermittedError
from linkage.steward.facts import facts

Agreed = Callable[..., Agreement]
Tiered = Callable[..., pl.DataFrame]


@pytest.fixture
def schema(make_schema: Callable[..., SourceSchema]) -> SourceSchema:
    return make_schema()


def test_a_contact_without_day_and_birth_date(tiered: Tiered, schema: SourceSchema, make_agreement: Agreed) -> None:
    frame = facts(tiered({"RAN": "Y", "GENDER": "TF"}), schema, make_agreement())
    expected = {"local_id": pl.String()} | {k: v for k, v in FACT_SCHEMA.items() if k != "pseudonym"}
    assert dict(frame.schema) == expected
    filled = {name: value for name, value in frame.row(0, named=True).items() if value is not None}
    assert filled == {
        "local_id": "1",
        "month": "2014-03",
        "age": 15,
        "sex": "transgender_female",
        "race": "black",
        "tier": "confirmed",
        "contact": "outreach_contact",
        "missing_ever": True,
        "decoy": False,
    }


def test_contacts_that_do_not_count_are_not_sent(tiered: Tiered, schema: SourceSchema, make_agreement: Agreed) -> None:
    same = {"PID": "7"}
    frame = facts(tiered(same, same | {"SEEN": "05/04/2014", "TOLD": ""}, {"TOLD": ""}), schema, make_agreement())
    assert frame.select("local_id", "month").rows() == [("7", "2014-03")]


def test_contacts_alike_in_one_month_are_one(tiered: Tiered, schema: SourceSchema, make_agreement: Agreed) -> None:
    same = {"PID": "7"}
    frame = facts(
        tiered(
            same | {"SEEN": "03/04/2014"},
            same | {"SEEN": "03/20/2014"},
            same | {"SEEN": "03/20/2014", "RAN": "Y"},
            same | {"SEEN": "04/04/2014"},
            {"PID": "8"},
        ),
        schema,
        make_agreement(),
    )
    assert frame.select("local_id", "month", "missing_ever").rows() == [
        ("7", "2014-03", False),
        ("7", "2014-03", True),
        ("7", "2014-04", False),
        ("8", "2014-03", False),
    ]


def test_facts_that_are_not_agreed_are_null(tiered: Tiered, schema: SourceSchema, make_agreement: Agreed) -> None:
    frame = facts(tiered({}, {"RACE": "W"}), schema, make_agreement(facts=["month", "tier"]))
    assert frame.columns == ["local_id", *list(FACT_SCHEMA)[1:]]
    assert {name for name in frame.columns if frame[name].null_count() == 0} == {"local_id", "month", "tier", "decoy"}
    assert dict(frame.schema)["age"] == pl.Int16()


def test_the_age_serves_the_tier_even_where_it_may_not_be_sent(
    tiered: Tiered, make_schema: Callable[..., SourceSchema], make_agreement: Agreed
) -> None:
    schema = make_schema(tiers=[{"tier": "confirmed", "when": {"age_below": 18}}])
    frame = facts(tiered({}, {"DOB": "05/17/1990"}, schema=schema), schema, make_agreement(facts=["month", "tier"]))
    assert frame.select("local_id", "age", "tier").rows() == [("1", None, "confirmed")]


def test_consent(tiered: Tiered, schema: SourceSchema, make_agreement: Agreed) -> None:
    agreement = make_agreement(mode="consent")
    frame = facts(tiered({"RELEASE": "01/01/2027"}, {"RELEASE": ""}, agreement=agreement), schema, agreement)
    assert frame["local_id"].to_list() == ["1"]


def test_counts_only(tiered: Tiered, schema: SourceSchema, make_agreement: Agreed) -> None:
    with pytest.raises(NotPermittedError) as caught:
        facts(tiered({}), schema, make_agreement(mode="aggregate"))
    assert caught.value.reason == "aggregate-only"
