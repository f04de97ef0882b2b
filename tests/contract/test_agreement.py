from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from linkage.contract import Agreement, load_agreement, load_policy, load_spec
from linkage.contract.spec import digest
from linkage.contract.vocabulary import FACT_MARKS, FACT_SCHEMA, IDENTIFIER_KINDS
from linkage.errors import ContractError, NotPermittedError

Bad = Callable[..., dict[str, Any]]
Good = Callable[[str], dict[str, Any]]
Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"identifiers.1": "maiden_name"}, ["identifiers.1"]),
        ({"facts.0": "pseudonym"}, ["facts.0"]),
        ({"facts.0": "decoy"}, ["facts.0"]),
        ({"identifiers": ["Zzyzx; x", "month"], "facts.3": "phone"}, ["identifiers.0", "identifiers.1", "facts.3"]),
        ({"ends": "2025-12-31"}, ["ends"]),
        ({"ends": "yesterday", "facts.0": "day"}, ["facts.0", "ends"]),
        ({"mode": "some", "floor": 1, "identifiers.0": "name"}, ["mode", "identifiers.0", "floor"]),
        ({"floor": 1001, "starts": ...}, ["floor", "starts"]),
        ({"legal_basis": "", "authority": ""}, ["legal_basis", "authority"]),
        ({"project": "Milwaukee", "source": "m p d", "profile": "../default"}, ["project", "source", "profile"]),
        ({"refers_to": ["POHSEY"]}, ["refers_to.0"]),
        ({"agreement": 2}, ["agreement"]),
    ],
    ids=str,
)
def test_all_faults_are_told_at_once_by_place(
    bad: Bad, good: Good, write: Write, changes: dict[str, Any], places: list[str]
) -> None:
    load_agreement(write(good("agreement")))
    with pytest.raises(ContractError) as caught:
        load_agreement(write(bad("agreement", changes)))
    assert [problem.split(":")[0] for problem in caught.value.problems] == places
    for value in ("Zzyzx", "maiden_name", "yesterday", "2025", "some", "m p d", "POHSEY"):
        assert value not in " ".join(caught.value.problems)


def test_every_word_of_the_vocabularies_can_be_agreed_and_no_other(bad: Bad) -> None:
    facts = [name for name in FACT_SCHEMA if name not in FACT_MARKS]
    content = bad("agreement", {"identifiers": [*IDENTIFIER_KINDS, "aliases"], "facts": facts})
    assert set(Agreement.model_validate(content).facts) == set(facts)
    assert Agreement.model_validate(content | {"identifiers": [], "facts": []}).facts == ()


@pytest.mark.parametrize(
    ("day", "holds"),
    [
        (dt.date(2025, 12, 31), False),
        (dt.date(2026, 1, 1), True),
        (dt.date(2027, 12, 31), True),
        (dt.date(2028, 1, 1), False),
    ],
)
def test_in_force_from_the_first_to_the_last_day(good: Good, day: dt.date, holds: bool) -> None:
    agreement = Agreement.model_validate(good("agreement"))
    if holds:
        agreement.check_in_force(day)
        return
    with pytest.raises(NotPermittedError, match="harbor") as caught:
        agreement.check_in_force(day)
    assert caught.value.reason == "no-agreement"
    assert day.isoformat() in str(caught.value)


@pytest.mark.parametrize("spec", ["default", "guarded", "precise"])
def test_a_spec_that_shows_much_is_opened_in_approved_runs_alone(good: Good, spec: str) -> None:
    by_hub = Agreement.model_validate(good("agreement") | {"opening": "hub"})
    approved = Agreement.model_validate(good("agreement") | {"opening": "approval"})
    assert Agreement.model_validate(good("agreement")).opening == "approval"
    approved.check_opening(load_spec(spec))
    if spec != "precise":
        by_hub.check_opening(load_spec(spec))
        return
    with pytest.raises(NotPermittedError) as caught:
        by_hub.check_opening(load_spec(spec))
    assert caught.value.reason == "needs-approval"


def test_one_day_is_an_agreement_and_nothing_can_be_changed(bad: Bad) -> None:
    agreement = Agreement.model_validate(bad("agreement", {"ends": "2026-01-01"}))
    agreement.check_in_force(dt.date(2026, 1, 1))
    with pytest.raises(ValidationError):
        agreement.ends = dt.date(2030, 1, 1)  # type: ignore[misc]


def test_the_digest_ignores_the_title_and_changes_with_anything_else(good: Good) -> None:
    content = good("agreement") | {"refers_to": []}
    other: dict[str, Any] = {
        "project": "other",
        "source": "other",
        "legal_basis": "another",
        "authority": "another",
        "mode": "consent",
        "profile": "other",
        "identifiers": content["identifiers"][:-1],
        "facts": content["facts"][:-1],
        "floor": 12,
        "starts": "2026-01-02",
        "ends": "2027-12-30",
        "refers_to": ["pohsey"],
        "opening": "hub",
    }
    assert {*other, "agreement", "title"} == set(Agreement.model_fields)
    usual = digest(Agreement.model_validate(content))
    assert digest(Agreement.model_validate(content | {"title": "another"})) == usual
    assert digest(Agreement.model_validate(dict(reversed(content.items())))) == usual
    digests = {digest(Agreement.model_validate(content | {key: value})) for key, value in other.items()}
    assert len(digests | {usual}) == len(other) + 1


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"scope.last_month": "2012-12"}, ["scope.last_month"]),
        ({"scope.first_month": "2013-13", "floor": 1}, ["scope.first_month", "floor"]),
        ({"scope.max_age": 0, "lists": [], "round_estimates_to": 0}, ["scope.max_age", "lists", "round_estimates_to"]),
        ({"lists": ["MPD"], "contact": ...}, ["lists.0", "contact"]),
    ],
    ids=str,
)
def test_faults_of_a_policy(bad: Bad, good: Good, write: Write, changes: dict[str, Any], places: list[str]) -> None:
    load_policy(write(good("policy")))
    with pytest.raises(ContractError) as caught:
        load_policy(write(bad("policy", changes)))
    assert [problem.split(":")[0] for problem in caught.value.problems] == places


def test_an_agreement_can_raise_the_floor_and_nothing_lowers_it(good: Good) -> None:
    policy = load_policy()
    agreements = [Agreement.model_validate(good("agreement") | {"floor": floor}) for floor in (2, 30, 5)]
    assert policy.effective_floor([]) == policy.floor == policy.effective_floor(agreements[:1])
    assert policy.effective_floor(agreements) == 30
