from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.errors import ExtractError
from linkage.steward.profile import check

Rows = Callable[..., list[dict[str, str]]]
Schema = Callable[..., SourceSchema]
Write = Callable[..., Path]


def test_counts_of_everything(make_schema: Schema, make_rows: Rows, write_csv: Write, today: dt.date) -> None:
    same = {"PID": "7"}
    rows = make_rows(
        same | {"AKA": "Peaches", "SEEN": "12/31/2013"},
        same | {"TOLD": "", "I1": "Y", "I2": "Y"},
        {"SSN": "", "FIRST": "unknown", "TOLD": "", "I1": "Y", "I2": "Y", "SEEN": "07/01/2016"},
        {"TOLD": "", "SEEN": "07/01/2017"},
        {"DOB": "02/30/1999", "RACE": "Q"},
        {"DOB": "yesterday"},
    )
    report = check(write_csv(rows), make_schema(tolerance=0.5), today=today)
    assert (report.rows, report.failed_rows, report.accepted) == (6, 2, True)
    assert [(failure.column, failure.rule, failure.count, failure.rows) for failure in report.failures] == [
        ("DOB", "date-format", 1, (7,)),
        ("DOB", "date-range", 1, (6,)),
        ("RACE", "code", 1, (6,)),
    ]
    assert (report.persons, report.persons_counted, report.contacts_not_counted) == (3, 2, 1)
    assert report.contacts_by_tier == {"confirmed": 1, "believed": 2}
    assert report.persons_by_tier == {"confirmed": 1, "believed": 1}
    assert (report.first_month, report.last_month) == ("2013-12", "2016-07")
    assert report.contacts_by_year == {"2013": 1, "2014": 1, "2016": 1}
    assert report.several_names == {1: 1, 2: 1}
    shares = report.completeness
    assert (shares["given_name"], shares["ssn4"], shares["family_name"], shares["middle_name"]) == (0.5, 0.5, 1, 0)
    assert report.not_agreed == ()


def test_json_holds_counts_and_no_value(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    entries = dict.fromkeys(("FIRST", "LAST", "MIDDLE", "ADDRESS", "AKA"), "Zzyzx")
    report = check(write_csv(make_rows(entries, entries | {"RACE": "Zzyzx"})), make_schema())
    text = report.to_json()
    assert "zzyzx" not in text.lower()
    assert "19980517" not in text
    content = json.loads(text)
    assert content["failures"] == [{"column": "RACE", "rule": "code", "count": 1, "rows": [3]}]
    assert content["persons_counted"] == 1


def test_too_many_failures_are_reported_not_raised(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    report = check(write_csv(make_rows(*[{"DOB": "x"}] * 30, {})), make_schema())
    assert not report.accepted
    assert (report.failures[0].count, len(report.failures[0].rows)) == (30, 20)
    assert report.persons_counted == 1


def test_an_extract_in_which_every_row_fails(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    report = check(write_csv(make_rows({"DOB": "x"})), make_schema())
    assert (report.accepted, report.persons, report.first_month, report.completeness) == (False, 0, None, {})


def test_with_an_agreement_only_what_it_allows_is_counted(
    make_schema: Schema, make_rows: Rows, write_csv: Write, make_agreement: Callable[..., Agreement], today: dt.date
) -> None:
    agreement = make_agreement(
        mode="consent", identifiers=["family_name", "birth_date", "suffix"], facts=["month", "tier", "sex"]
    )
    path = write_csv(make_rows({"RELEASE": "01/01/2027"}, {}))
    report = check(path, make_schema(), agreement, today=today)
    assert report.persons_counted == 1
    assert report.completeness == {"family_name": 1.0, "suffix": 0.0, "birth_date": 1.0}
    assert set(report.not_agreed) == {
        *(f"identifiers.{name}" for name in ("given_name", "middle_name", "sex", "ssn4", "phone", "street")),
        "identifiers.postal_code",
        "identifiers.aliases",
        *(f"facts.{name}" for name in ("age", "race", "contact", "missing_ever")),
    }


def test_a_file_that_cannot_be_read_is_an_error(make_schema: Schema, write_csv: Write) -> None:
    with pytest.raises(ExtractError):
        check(write_csv([]), make_schema())
