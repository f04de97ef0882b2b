from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.errors import NotPermittedError

Schema = Callable[..., SourceSchema]
Tiered = Callable[..., pl.DataFrame]


@pytest.fixture
def tiers_of(tiered: Tiered, make_schema: Schema) -> Callable[..., list[str | None]]:
    """The tiers that one condition gives to rows: confirmed where it holds."""

    def tiers(condition: dict[str, Any], *changes: dict[str, str]) -> list[str | None]:
        schema = make_schema(tiers=[{"tier": "confirmed", "when": condition}])
        return tiered(*changes, schema=schema)["tier"].to_list()

    return tiers


YES, NO = "confirmed", None


def test_among_is_without_case_and_never_holds_for_nothing(tiers_of: Callable[..., list[str | None]]) -> None:
    rows = [{"TOLD": entry} for entry in ("Y", " y ", "Yes", "N", "")]
    assert tiers_of({"column": "TOLD", "among": ["y", "YES"]}, *rows) == [YES, YES, YES, NO, NO]


def test_codes_are_compared_without_dots_and_case_from_their_start(tiers_of: Callable[..., list[str | None]]) -> None:
    entries = ["T74.51XA", "t7451xd", "Z00.1; T74.52", "Z00;T76.51", "AT74.51", "T74.5", "T74-51", ""]
    condition = {"column": "ICD", "starts_with": ["T74.51", "t7452"], "split": ";"}
    expected = [YES, YES, YES, NO, NO, NO, NO, NO]
    assert tiers_of(condition, *[{"ICD": entry} for entry in entries]) == expected
    assert tiers_of({"column": "ICD", "starts_with": ["T74.51"]}, {"ICD": "Z00;T74.51"}, {"ICD": "T74.51"}) == [NO, YES]


def test_filled_takes_placeholders_for_nothing(tiers_of: Callable[..., list[str | None]]) -> None:
    rows = [{"SSN": entry} for entry in ("321-54-6780", "", "unknown", "000-00-0000")]
    assert tiers_of({"column": "SSN", "filled": True}, *rows) == [YES, NO, NO, NO]
    assert tiers_of({"column": "SSN", "filled": False}, *rows) == [NO, YES, YES, YES]


def test_count_of_indicators(tiers_of: Callable[..., list[str | None]]) -> None:
    rows = [{"I1": a, "I2": b, "I3": c} for a, b, c in ("YYY", "Y Y", "NYN", "   ")]
    assert tiers_of({"columns": ["I1", "I2", "I3"], "among": ["Y"], "at_least": 2}, *rows) == [YES, YES, NO, NO]


def test_age_is_of_the_day_of_contact(tiers_of: Callable[..., list[str | None]]) -> None:
    rows = [
        {"DOB": "03/05/1996", "SEEN": "03/04/2014"},  # 18 tomorrow
        {"DOB": "03/04/1996", "SEEN": "03/04/2014"},
        {"DOB": "02/29/1996", "SEEN": "02/28/2014"},
        {"DOB": "", "YOB": "1997", "SEEN": "03/04/2014"},  # 16 or 17
        {"DOB": "", "YOB": "1996", "SEEN": "12/31/2014"},  # 17 or 18: taken as 18, nobody is made a minor
        {"DOB": "", "YOB": "", "SEEN": "03/04/2014"},
    ]
    assert tiers_of({"age_below": 18}, *rows) == [YES, NO, YES, YES, NO, NO]


def test_all_and_any(tiers_of: Callable[..., list[str | None]]) -> None:
    told, coded = {"column": "TOLD", "among": ["Y"]}, {"column": "ICD", "filled": True}
    rows = [{"TOLD": told, "ICD": icd} for told, icd in (("Y", "Z00"), ("Y", ""), ("", "Z00"), ("", ""))]
    assert tiers_of({"all": [told, coded]}, *rows) == [YES, NO, NO, NO]
    assert tiers_of({"any": [told, coded]}, *rows) == [YES, YES, YES, NO]
    assert tiers_of({"all": [{"any": [told, coded]}, {"column": "TOLD", "filled": False}]}, *rows) == [NO, NO, YES, NO]


def test_the_first_rule_that_holds_counts(tiered: Tiered) -> None:
    frame = tiered(
        {"TOLD": "Y", "I1": "Y", "I2": "Y"},
        {"TOLD": "", "I1": "Y", "I2": "Y"},
        {"TOLD": "", "ICD": "T74.52", "I1": "Y", "I2": "Y"},
        {"TOLD": "", "I1": "Y"},
    )
    assert frame["tier"].to_list() == ["confirmed", "believed", "confirmed", None]


def test_one_person_has_one_birth_date(tiered: Tiered) -> None:
    same = {"PID": "7"}
    frame = tiered(
        same | {"DOB": "05/17/1998", "SEEN": "05/17/2014"},
        same | {"DOB": "05/17/1998", "SEEN": "05/16/2015"},
        same | {"DOB": "05/17/1989", "SEEN": "05/17/2016"},
        same | {"DOB": "", "YOB": "1990", "SEEN": "05/17/2016"},
        {"DOB": "05/17/2015"},  # born after the contact: unknown
    )
    assert frame["age"].to_list() == [16, 16, 18, 18, None]
    assert frame["age"].dtype == pl.Int16


@pytest.fixture
def consent(make_agreement: Callable[..., Agreement]) -> Agreement:
    return make_agreement(mode="consent")


def test_only_persons_with_a_live_release(tiered: Tiered, consent: Agreement) -> None:
    frame = tiered(
        {"RELEASE": "11/22/2026"},  # ends today
        {"RELEASE": "11/21/2026"},
        {"RELEASE": ""},
        {"PID": "renewed", "SEEN": "01/01/2014", "RELEASE": "01/01/2015"},
        {"PID": "renewed", "SEEN": "01/01/2016", "RELEASE": "01/01/2027"},
        {"PID": "withdrawn", "SEEN": "01/01/2014", "RELEASE": "01/01/2027"},
        {"PID": "withdrawn", "SEEN": "01/01/2016", "RELEASE": ""},
        {"PID": "two on a day", "SEEN": "01/01/2014", "RELEASE": "01/01/2027"},
        {"PID": "two on a day", "SEEN": "01/01/2014", "RELEASE": "01/01/2026"},
        agreement=consent,
    )
    sent = dict.fromkeys(frame.filter(pl.col("tier").is_not_null())["local_id"])
    assert list(sent) == ["1", "renewed"]
    assert frame.filter(local_id="renewed")["tier"].null_count() == 0


def test_a_release_withdrawn_in_a_row_that_fails_is_withdrawn(
    tiered: Tiered, make_schema: Schema, consent: Agreement
) -> None:
    first = {"SEEN": "01/01/2014", "RELEASE": "01/01/2027"}
    frame = tiered(
        {"PID": "in words"} | first,
        {"PID": "in words", "SEEN": "01/01/2016", "RELEASE": "withdrawn"},
        {"PID": "other fault"} | first,
        {"PID": "other fault", "SEEN": "01/01/2016", "RELEASE": "", "RACE": "?"},
        {"PID": "no day"} | first,
        {"PID": "no day", "SEEN": "some day", "RELEASE": ""},
        {"PID": "same day"} | first,
        {"PID": "same day", "SEEN": "01/01/2014", "RELEASE": "", "RACE": "?"},
        {"PID": "earlier"} | first,
        {"PID": "earlier", "SEEN": "01/01/2013", "RELEASE": "none", "RACE": "?"},
        {"PID": "untouched"} | first,
        schema=make_schema(tolerance=0.5),
        agreement=consent,
    )
    sent = frame.filter(pl.col("tier").is_not_null())["local_id"].to_list()
    assert sent == ["earlier", "untouched"]


def test_consent_without_a_column_for_it(tiered: Tiered, make_schema: Schema, consent: Agreement) -> None:
    with pytest.raises(NotPermittedError) as caught:
        tiered({}, schema=make_schema(consent=None), agreement=consent)
    assert caught.value.reason == "no-consent-column"
