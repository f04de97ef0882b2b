"""A source schema says all there is to say: a new source is a new file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from linkage.contract import Agreement, SourceSchema, load_source
from linkage.contract.source import FlagFact, Identifier
from linkage.contract.spec import digest
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import ContractError, ExtractError
from linkage.steward.extract import check_rows, read_extract
from linkage.steward.facts import facts
from linkage.steward.group import identifiers
from linkage.steward.tiers import add_tiers

Bad = Callable[..., dict[str, Any]]
Good = Callable[[str], dict[str, Any]]
Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"identifiers.nickname": {"column": "Zzyzx"}}, ["identifiers.nickname"]),
        ({"identifiers.birth_date.formats": []}, ["identifiers.birth_date"]),
        ({"identifiers.phone.formats": ["%Y"]}, ["identifiers.phone"]),
        ({"facts.tier": {"constant": "confirmed"}}, ["facts.tier"]),
        ({"facts.month": {"constant": "2014-01"}}, ["facts.month"]),
        ({"facts.contact.constant": "Zzyzx"}, ["facts.contact"]),
        ({"facts.sex.codes.w": "Zzyzx"}, ["facts.sex"]),
        ({"facts.sex.codes": {}}, ["facts.sex"]),
        ({"facts.sex.constant": "female"}, ["facts.sex"]),
        ({"facts.sex": {}}, ["facts.sex"]),
        ({"flags.decoy": {"column": "Zzyzx", "yes": ["x"], "no": ["o"]}}, ["flags.decoy"]),
        ({"flags.out_of_home_care.no": []}, ["flags.out_of_home_care.no"]),
        ({"person_number": ..., "deduplicated": True}, ["deduplicated"]),
        ({"tolerance": 0.51, "encoding": "Zzyzx", "separator": ""}, ["encoding", "separator", "tolerance"]),
        ({"tiers": []}, ["tiers"]),
        ({"tiers.0.tier": "Zzyzx"}, ["tiers.0.tier"]),
        ({"tiers.1.when": {"column": "Zzyzx"}}, ["tiers.1.when"]),
        ({"tiers.1.when": "Zzyzx"}, ["tiers.1.when"]),
        ({"tiers.1.when.at_least": 0}, ["tiers.1.when.at_least.at_least"]),
        ({"tiers.0.when.all.1": {"age_below": 0}}, ["tiers.0.when.all.all.1.age_below.age_below"]),
        ({"aliases.order": "Zzyzx"}, ["aliases.order"]),
        ({"event_date.formats": []}, ["event_date.formats"]),
        ({"source": "Zzyzx House"}, ["source"]),
        (
            {
                "surplus": "Zzyzx",
                "title": ...,
                "identifiers.nickname": {"column": "Zzyzx"},
                "identifiers.birth_date.formats": [],
                "facts.contact.constant": "Zzyzx",
                "flags.decoy": {"column": "Zzyzx", "yes": ["x"], "no": ["o"]},
                "tiers.0.tier": "Zzyzx",
            },
            [
                "title",
                "identifiers.nickname",
                "identifiers.birth_date",
                "facts.contact",
                "flags.decoy",
                "tiers.0.tier",
                "surplus",
            ],
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_all_faults_are_told_at_once_by_place_and_never_a_value(
    bad: Bad, good: Good, write: Write, changes: dict[str, Any], places: list[str]
) -> None:
    load_source(write(good("source")))
    with pytest.raises(ContractError) as caught:
        load_source(write(bad("source", changes)))
    assert [problem.split(":")[0] for problem in caught.value.problems] == places
    assert "Zzyzx" not in str(caught.value)


def test_columns_are_all_that_are_read_each_once(good: Good, bad: Bad) -> None:
    columns = SourceSchema.model_validate(good("source")).columns()
    assert columns == "Guest Called Surname Born Sex Phones Also Night Town Care Told A B C".split()
    nested = {"any": [{"all": [{"column": "In", "filled": True}]}, {"column": "Dx", "starts_with": ["T74"]}]}
    assert SourceSchema.model_validate(bad("source", {"tiers.0.when": nested})).columns()[-5:] == "In Dx A B C".split()


def test_the_digest_ignores_the_title_and_changes_with_the_rest(good: Good, bad: Bad) -> None:
    usual = digest(SourceSchema.model_validate(good("source")))
    assert digest(SourceSchema.model_validate(bad("source", {"title": "another"}))) == usual
    changes: list[dict[str, Any]] = [
        {"source": "haven"},
        {"missing": []},
        {"tolerance": 0.04},
        {"deduplicated": True},
        {"separator": ";"},
        {"identifiers.phone.split": ","},
        {"facts.sex.codes.w": "other"},
        {"tiers.1.when.at_least": 3},
        {"flags": {}},
        {"aliases": ...},
    ]
    digests = {digest(SourceSchema.model_validate(bad("source", change))) for change in changes}
    assert len(digests | {usual}) == len(changes) + 1


CSV = """\
Guest,Night,Called,Surname,Born,Sex,Phones,Also,Town,Care,Told,A,B,C,Remarks
7,2014-03-02,Bob,Peña-Ruiz,17.05.1998,w,414 272 1111/414-272-2222,"Ruiz, Roberta",zzyzx springs,x,x,,,,not read
7,2014-04-09,Roberta,Pena Ruiz,-,w,,,-,o,x,,,,
8,2014-05-01,Ann,,03.04.1990,m,Zzyzx-nothing,,,,,x,x,,
9,2014-06-01,Sue,Lee,01.01.1990,m,,,,,x,x,,,
"""


def test_a_fifth_source_is_a_file_and_no_code(good: Good, write: Write, tmp_path: Path) -> None:
    schema = load_source(write(good("source"), "harbor.yaml"))
    agreement = Agreement.model_validate(good("agreement") | {"identifiers": [*schema.identifiers, "aliases"]})
    extract = tmp_path / "nights.csv"
    extract.write_text(CSV, encoding="utf-8")
    checked = check_rows(read_extract(extract, schema), schema, today=dt.date(2026, 11, 22))
    assert checked.rows == 4 and checked.failures.is_empty()
    tiered = add_tiers(checked.good, schema, agreement, today=dt.date(2026, 11, 22))
    # A juvenile who told; two of three signs; an adult who told and shows one sign is under no rule.
    assert tiered["tier"].to_list() == ["confirmed", "confirmed", "believed", None]
    assert tiered["age"].to_list() == [15, 15, 24, 24]

    persons = identifiers(tiered, schema, agreement.identifiers, 4)
    assert persons["local_id"].unique().sort().to_list() == ["7", "8"]
    main = persons.filter(local_id="7", variant=0).row(0, named=True)
    assert main["family_name"] == ["PENARUIZ"] and main["birth_date"] == ["19980517"] and main["sex"] == ["F"]
    assert sorted(main["phone"]) == ["4142721111", "4142722222"]
    assert ["RUIZ"] in persons.filter(local_id="7")["family_name"].to_list()
    other = persons.filter(local_id="8").row(0, named=True)
    assert other["family_name"] == [] and other["phone"] == []

    sent = facts(tiered, schema, agreement)
    assert sent.columns == ["local_id", *(name for name in FACT_SCHEMA if name != "pseudonym")]
    assert sent.select("local_id", "month", "age", "tier", "sex").rows() == [
        ("7", "2014-03", 15, "confirmed", "female"),
        ("7", "2014-04", 15, "confirmed", "female"),
        ("8", "2014-05", 24, "believed", "male"),
    ]
    assert sent.select("contact", "out_of_home_care", "jurisdiction").null_count().row(0) == (3, 3, 3)  # not agreed
    whole = facts(tiered, schema, Agreement.model_validate(good("agreement") | {"facts": ["jurisdiction", "contact"]}))
    assert whole.filter(pl.col("jurisdiction").is_not_null())["jurisdiction"].to_list() == ["elsewhere"]
    assert set(whole["contact"]) == {"other"}


def test_an_extract_of_it_that_breaks_its_rules_is_told_by_row_and_rule(
    good: Good, write: Write, tmp_path: Path
) -> None:
    schema = load_source(write(good("source"), "harbor.yaml"))
    extract = tmp_path / "nights.csv"
    broken = (
        CSV.replace("03.04.1990", "04/03/1990")
        .replace(",w,,,-,o", ",Zzyzx,,,-,Zzyzx")
        .replace("9,2014-06-01,Sue", "9,2014-06-01,-")
    )
    extract.write_text(broken, encoding="utf-8")
    with pytest.raises(ExtractError) as caught:
        check_rows(read_extract(extract, schema), schema, today=dt.date(2026, 11, 22))
    assert set(caught.value.problems) == {
        "row 3: Sex: code",
        "row 3: Care: flag",
        "row 4: Born: date-format",
        "row 5: Called: required",
    }
    assert "Zzyzx" not in str(caught.value)


def test_an_entry_cannot_mean_yes_and_no() -> None:
    with pytest.raises(ValidationError, match="both yes and no"):
        FlagFact(column="X", yes=("Y", "yes"), no=("N", "YES"))


def test_a_column_is_not_cut_at_nothing() -> None:
    with pytest.raises(ValidationError):
        Identifier(column="X", split="")
