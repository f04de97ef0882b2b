from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from linkage.contract.source import SourceSchema
from linkage.contract.vocabulary import IDENTIFIER_KINDS
from linkage.steward.group import identifiers

Tiered = Callable[..., pl.DataFrame]
ALL = (*IDENTIFIER_KINDS, "aliases")


@pytest.fixture
def grouped(tiered: Tiered, make_schema: Callable[..., SourceSchema]) -> Callable[..., pl.DataFrame]:
    """The identifiers of changed rows, all of person 7 unless they say otherwise."""

    def make(*changes: dict[str, str], fields: tuple[str, ...] = ALL, variants: int = 4) -> pl.DataFrame:
        schema = make_schema(tolerance=0)
        return identifiers(
            tiered(*({"PID": "7"} | change for change in changes), schema=schema), schema, fields, variants
        )

    return make


def names(frame: pl.DataFrame) -> list[tuple[str, ...]]:
    """Given, middle and family name of each variant; missing ones are dashes."""
    parts = frame.select(pl.col("given_name", "middle_name", "family_name").list.first().fill_null("-"))
    return parts.rows()


def test_one_row_becomes_one_record_in_standard_form(grouped: Callable[..., pl.DataFrame]) -> None:
    frame = grouped({"FIRST": "Bob", "MIDDLE": "t.", "LAST": "O'Brien Jr", "GENDER": "M"})
    assert frame.schema == {"local_id": pl.String, "variant": pl.UInt8} | {
        name: pl.List(pl.String) for name in IDENTIFIER_KINDS if name != "medicaid_id"
    }
    assert frame.rows(named=True) == [
        {
            "local_id": "7",
            "variant": 0,
            "given_name": ["ROBERT"],
            "middle_name": ["T"],
            "family_name": ["OBRIEN"],
            "suffix": ["JR"],
            "birth_date": ["19980517"],
            "sex": ["M"],
            "ssn4": ["6780"],
            "phone": ["4142721111"],
            "street": ["12 N 27TH ST"],
            "postal_code": ["53208"],
        }
    ]


def test_missing_is_an_empty_list_and_never_an_empty_string(grouped: Callable[..., pl.DataFrame]) -> None:
    nothing = dict.fromkeys(("FIRST", "DOB", "SSN", "PHONES", "ADDRESS", "ZIP"), "")
    frame = grouped(nothing | {"LAST": "LNU", "GENDER": "TF"})
    assert frame.height == 1
    assert all(value == [] for value in frame.row(0)[2:])


def test_the_most_frequent_value_then_the_most_recent(grouped: Callable[..., pl.DataFrame]) -> None:
    frame = grouped(
        {"SSN": "1111", "GENDER": "F", "SEEN": "01/01/2014", "DOB": "05/17/1998"},
        {"SSN": "1111", "GENDER": "M", "SEEN": "01/01/2015", "DOB": "05/17/1997"},
        {"SSN": "2222", "GENDER": "TF", "SEEN": "01/01/2016", "DOB": "05/17/1997"},
    )
    assert frame.select("ssn4", "sex", "birth_date").rows() == [(["1111"], ["M"], ["19970517"])]


def test_a_whole_birth_date_goes_before_frequent_years(grouped: Callable[..., pl.DataFrame]) -> None:
    year = {"DOB": "", "YOB": "1999"}
    assert grouped(year, year, {"DOB": "05/17/1998"})["birth_date"].to_list() == [["19980517"]]
    assert grouped(year, year)["birth_date"].to_list() == [["1999"]]


def test_several_phones_and_places_the_most_recent_ones(grouped: Callable[..., pl.DataFrame]) -> None:
    frame = grouped(
        {"SEEN": "01/01/2014", "PHONES": "4142720001", "ADDRESS": "1 A St", "ZIP": "53201"},
        {"SEEN": "01/01/2015", "PHONES": "4142720002;4142720003", "ADDRESS": "2 B St", "ZIP": "53202"},
        {"SEEN": "01/01/2016", "PHONES": "4142720004;4142720002", "ADDRESS": "3 C Street", "ZIP": "53202"},
        {"SEEN": "01/01/2016", "PHONES": "", "ADDRESS": "3 C St Apt 1", "ZIP": ""},
    )
    assert frame["phone"].to_list() == [["4142720002", "4142720004", "4142720003"]]
    assert frame["street"].to_list() == [["3 C ST", "2 B ST"]]
    assert frame["postal_code"].to_list() == [["53202", "53201"]]


def test_variants_are_the_other_names_by_frequency_then_the_aliases(grouped: Callable[..., pl.DataFrame]) -> None:
    frame = grouped(
        {"LAST": "Garcya", "SEEN": "01/01/2016"},
        {"LAST": "Garcia", "SEEN": "01/01/2014", "AKA": "Peaches; Tina Turner"},
        {"LAST": "Garcia", "SEEN": "01/01/2014", "MIDDLE": "Luz", "AKA": "Maria Garcia;Peaches"},
        {"LAST": "Lopez", "SEEN": "01/01/2013"},
        variants=8,
    )
    assert names(frame) == [
        ("MARIA", "LUZ", "GARCIA"),
        ("MARIA", "LUZ", "GARCYA"),
        ("MARIA", "LUZ", "LOPEZ"),
        ("PEACHES", "LUZ", "GARCIA"),
        ("TINA", "LUZ", "TURNER"),
    ]
    assert frame["variant"].to_list() == [0, 1, 2, 3, 4]
    assert frame["phone"].n_unique() == 1


def test_variants_are_capped_and_the_main_name_stays(grouped: Callable[..., pl.DataFrame]) -> None:
    row = {"AKA": "A One;B Two;C Three;D Four"}
    assert names(grouped(row, variants=2)) == [("MARIA", "-", "GARCIA"), ("A", "-", "ONE")]
    assert names(grouped(row, variants=1)) == [("MARIA", "-", "GARCIA")]


def test_half_a_name_is_filled_from_the_other_rows_and_is_no_variant(grouped: Callable[..., pl.DataFrame]) -> None:
    frame = grouped({"FIRST": ""}, {"MIDDLE": "L"}, {"FIRST": "unknown"})
    assert names(frame) == [("MARIA", "L", "GARCIA")]


def test_jane_doe_is_nobody_and_another_doe_is_somebody(grouped: Callable[..., pl.DataFrame]) -> None:
    assert names(grouped({"FIRST": "Jane", "LAST": "Doe"})) == [("-", "-", "-")]
    assert names(grouped({"FIRST": "NFN", "LAST": "Doe"})) == [("-", "-", "-")]
    assert names(grouped({"FIRST": "Jane", "LAST": "Doe"}, {})) == [("MARIA", "-", "GARCIA")]
    assert names(grouped({"FIRST": "Maria", "LAST": "Doe"})) == [("MARIA", "-", "DOE")]


def test_only_persons_with_a_contact_that_counts_but_all_of_their_rows(grouped: Callable[..., pl.DataFrame]) -> None:
    frame = grouped({"TOLD": "", "LAST": "Lopez"}, {"TOLD": "Y"}, {"PID": "8", "TOLD": ""}, {"PID": "10"})
    assert frame["local_id"].to_list() == ["10", "7", "7"]
    assert names(frame.filter(local_id="7")) == [("MARIA", "-", "GARCIA"), ("MARIA", "-", "LOPEZ")]


def test_fields_that_are_not_agreed_never_appear(grouped: Callable[..., pl.DataFrame]) -> None:
    row = {"AKA": "Tina Turner"}
    frame = grouped(row, fields=("birth_date", "family_name"))
    assert frame.columns == ["local_id", "variant", "family_name", "birth_date"]
    assert frame.rows() == [("7", 0, ["GARCIA"], ["19980517"])]
    frame = grouped(row, fields=("family_name", "aliases"))
    assert frame["family_name"].to_list() == [["GARCIA"], ["TURNER"]]
    frame = grouped(row, fields=("ssn4",))
    assert frame.rows() == [("7", 0, ["6780"])]
    frame = grouped({"MIDDLE": "Luz"}, fields=("middle_name",))
    assert frame.rows() == [("7", 0, ["LUZ"])]


def test_nobody_in_scope_is_an_empty_frame_of_the_same_shape(grouped: Callable[..., pl.DataFrame]) -> None:
    assert grouped({"TOLD": ""}).schema == grouped({}).schema
    assert grouped({"TOLD": ""}).height == 0


def test_order_of_the_rows_does_not_matter(grouped: Callable[..., pl.DataFrame]) -> None:
    rows = [
        {"PID": str(person), "LAST": last, "SEEN": seen, "ADDRESS": f"{seen[-1]} A St", "SSN": f"{person}{seen[-3:]}"}
        for person in (1, 2)
        for last, seen in (("Garcia", "01/01/2014"), ("Lopez", "01/01/2014"), ("Diaz", "01/02/2015"))
    ]
    assert grouped(*rows).equals(grouped(*reversed(rows)))
