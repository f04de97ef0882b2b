from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage.contract.source import SourceSchema
from linkage.errors import ContractError, ExtractError
from linkage.steward.dates import completed_years, parse_dates
from linkage.steward.extract import check_rows, find_failures, read_extract

Rows = Callable[..., list[dict[str, str]]]
Schema = Callable[..., SourceSchema]
Write = Callable[..., Path]

SENTINEL = "Zzyzx"


def everything(error: ExtractError) -> str:
    """All text that an error can carry into a log."""
    chain = [error, error.__cause__, None if error.__suppress_context__ else error.__context__]
    return " ".join([repr(chain), str(error), str(error.args), error.hint or "", *error.problems])


def refused(path: Path, schema: SourceSchema) -> ExtractError:
    with pytest.raises(ExtractError) as caught:
        check_rows(read_extract(path, schema), schema)
    assert SENTINEL.lower() not in everything(caught.value).replace(str(path), "").lower()
    return caught.value


# --- reading ----------------------------------------------------------------------------------------------------------


def test_csv_gives_text_and_the_row_numbers_of_a_spreadsheet(
    make_schema: Schema, make_rows: Rows, write_csv: Write
) -> None:
    rows = make_rows({"LAST": "O'Brien, Jr", "ADDRESS": "1 A St\nrear"}, {"LAST": "0012"})
    raw = read_extract(write_csv([row | {"NOTES": "not in the schema"} for row in rows]), make_schema())
    assert raw["row"].to_list() == [2, 3]
    assert raw["LAST"].to_list() == ["O'Brien, Jr", "0012"]
    assert raw.columns == ["row", *make_schema().columns()]
    assert set(raw.dtypes[1:]) == {pl.String}


def test_blank_rows_count_in_the_numbering_and_are_no_rows(
    make_schema: Schema, make_rows: Rows, write_csv: Write
) -> None:
    path = write_csv(make_rows({}, {}))
    lines = path.read_text().splitlines()
    commas = "," * (len(make_rows({})[0]) - 1)
    path.write_text("\r\n".join([lines[0], "", lines[1], commas, lines[2], ""]))
    assert read_extract(path, make_schema())["row"].to_list() == [3, 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf8_with_and_without_byte_order_mark(
    make_schema: Schema, make_rows: Rows, write_csv: Write, encoding: str
) -> None:
    path = write_csv(make_rows({"LAST": "Muñoz"}), encoding=encoding)
    assert read_extract(path, make_schema())["LAST"].to_list() == ["Muñoz"]


def test_windows_1252_only_where_the_schema_says_so(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    path = write_csv(make_rows({}, {"LAST": f"Muñoz{SENTINEL}"}), encoding="windows-1252")
    raw = read_extract(path, make_schema(encoding="windows-1252"))
    assert raw["LAST"].to_list() == ["Garcia", f"Muñoz{SENTINEL}"]
    error = refused(path, make_schema())
    assert error.reason == "encoding"
    assert "row 3" in str(error)


@pytest.mark.parametrize("declared", ["utf-8", "windows-1252"])
def test_mixed_encodings_are_found_whichever_is_declared(
    make_schema: Schema, make_rows: Rows, write_csv: Write, declared: str
) -> None:
    path = write_csv(make_rows({}, {}, {"LAST": f"Muñoz{SENTINEL}"}), encoding=declared)
    other = "windows-1252" if declared == "utf-8" else "utf-8"
    path.write_bytes(path.read_bytes() + (",".join(["Peña" + SENTINEL] * len(make_rows({})[0])) + "\r\n").encode(other))
    error = refused(path, make_schema(encoding=declared))
    assert error.reason == "encoding"
    assert error.problems == ("row 5: encoding",)


def test_a_row_after_a_line_break_inside_quotes_keeps_its_number(
    make_schema: Schema, make_rows: Rows, write_csv: Write
) -> None:
    path = write_csv(make_rows({"ADDRESS": "1 A St\nrear\nup"}, {"LAST": "Peña"}), encoding="windows-1252")
    assert refused(path, make_schema()).problems == ("row 3: encoding",)


def test_utf16_is_not_taken_for_anything_else(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    assert refused(write_csv(make_rows({}), encoding="utf-16-le"), make_schema()).reason == "encoding"


def test_all_missing_and_doubled_columns_are_named_together(
    make_schema: Schema, make_rows: Rows, write_csv: Write
) -> None:
    rows = [{k: v for k, v in row.items() if k not in ("DOB", "ZIP")} for row in make_rows({"LAST": SENTINEL})]
    path = write_csv(rows)
    path.write_text(path.read_text().replace("MIDDLE", "FIRST"))
    error = refused(path, make_schema())
    assert error.reason == "missing-column"
    assert set(error.problems) == {
        "column DOB is missing",
        "column ZIP is missing",
        "column MIDDLE is missing",
        "column FIRST stands twice",
    }


def test_a_file_without_header_does_not_show_its_first_row(
    make_schema: Schema, make_rows: Rows, write_csv: Write
) -> None:
    path = write_csv(make_rows(*[{key: SENTINEL for key in ("FIRST", "LAST", "AKA")}] * 2))
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    assert refused(path, make_schema()).reason == "missing-column"


def test_ragged_rows(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    path = write_csv(make_rows({}, {}))
    path.write_text(path.read_text() + f"{SENTINEL},short\n" + ",".join([SENTINEL] * 40) + "\n")
    error = refused(path, make_schema())
    assert error.reason == "ragged"
    assert [problem.split(":")[0] for problem in error.problems] == ["row 4", "row 5"]


@pytest.mark.parametrize("tail", [f'"{SENTINEL}', f'"a"{SENTINEL},b'])
def test_quotes_that_do_not_fit(make_schema: Schema, make_rows: Rows, write_csv: Write, tail: str) -> None:
    path = write_csv(make_rows({}))
    path.write_text(path.read_text() + tail)
    error = refused(path, make_schema())
    assert error.reason == "malformed"
    assert "row 3" in str(error)


@pytest.mark.parametrize("content", ["", "header", "header and blank"])
def test_no_row_at_all(make_schema: Schema, make_rows: Rows, write_csv: Write, content: str) -> None:
    path = write_csv([])
    if content == "":
        path.write_bytes(b"")
    elif content == "header and blank":
        path.write_text(path.read_text() + "\n\n")
    assert refused(path, make_schema()).reason == "empty"


def test_not_found_and_unknown_type(make_schema: Schema, tmp_path: Path) -> None:
    with pytest.raises(ExtractError) as caught:
        read_extract(tmp_path / "nowhere.csv", make_schema())
    assert caught.value.reason == "not-found"
    (tmp_path / "extract.doc").write_text("x")
    with pytest.raises(ExtractError) as caught:
        read_extract(tmp_path / "extract.doc", make_schema())
    assert caught.value.reason == "unknown-type"


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
def test_a_file_that_is_not_what_its_suffix_says(make_schema: Schema, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"extract{suffix}"
    path.write_text(f"{SENTINEL},{SENTINEL}")
    assert refused(path, make_schema()).reason == "unreadable"


def test_parquet_types_become_what_a_person_would_have_typed(
    make_schema: Schema, make_rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "extract.parquet"
    frame = pl.DataFrame(make_rows({}, {})).with_columns(
        PID=pl.Series([17, 18]),
        DOB=pl.Series([dt.date(1998, 5, 17), None]),
        SEEN=pl.Series(["2014-03-04 13:05:00", "2014-03-05 00:00:00"]).str.to_datetime(),
        ZIP=pl.Series([53208.0, None]),
        RAN=pl.Series([True, False]),
        PHONES=pl.Series([["4142721111", "4142722222"], []]),
        RACE=pl.Series(["B", "W"], dtype=pl.Categorical),
    )
    frame.write_parquet(path)
    raw = read_extract(path, make_schema())
    assert raw["row"].to_list() == [1, 2]
    assert raw["PID"].to_list() == ["17", "18"]
    assert raw["DOB"].to_list() == ["05/17/1998", None]
    assert raw["SEEN"].to_list() == ["03/04/2014", "03/05/2014"]
    assert raw["ZIP"].to_list() == ["53208", None]
    assert raw["RAN"].to_list() == ["true", "false"]
    assert raw["PHONES"].to_list() == ["4142721111;4142722222", ""]
    good = check_rows(raw, make_schema()).good
    assert good["flag.missing_ever"].to_list() == [True, False]


def write_excel(path: Path, rows: list[dict[str, Any]], *, sheet: str = "Data", blank_rows: int = 0) -> Path:
    with xlsxwriter.Workbook(path) as book:
        date = book.add_format({"num_format": "mm/dd/yyyy"})
        page = book.add_worksheet(sheet)
        page.write_row(blank_rows, 0, list(rows[0]))
        for line, row in enumerate(rows, start=blank_rows + 1):
            for place, value in enumerate(row.values()):
                if isinstance(value, dt.date):
                    page.write_datetime(line, place, value, date)
                elif value != "":
                    page.write(line, place, value)
    return path


def test_excel_with_typed_and_written_dates_numbers_and_blank_rows(
    make_schema: Schema, make_rows: Rows, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in make_rows({}, {}, {})]
    rows[0] |= {"PID": 1001, "DOB": dt.date(1998, 5, 17), "ZIP": 53208, "SEEN": dt.date(2014, 3, 4)}
    rows[1] = dict.fromkeys(rows[1], "")
    path = write_excel(tmp_path / "extract.xlsx", rows, blank_rows=2)
    raw = read_extract(path, make_schema())
    assert raw["row"].to_list() == [4, 6]
    assert raw["PID"].to_list() == ["1001", "3"]
    assert raw["DOB"].to_list() == ["05/17/1998", "05/17/1998"]
    assert raw["SEEN"].to_list() == ["03/04/2014", "03/04/2014"]
    assert raw["ZIP"].to_list() == ["53208", "53208-1234"]
    assert check_rows(raw, make_schema()).failed_rows == 0


def test_excel_sheet_by_name_missing_column_and_empty(make_schema: Schema, make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows({"LAST": SENTINEL})
    path = write_excel(tmp_path / "extract.xlsx", rows, sheet="Clients")
    assert read_extract(path, make_schema(sheet="Clients")).height == 1
    assert refused(path, make_schema(sheet="Persons")).reason == "missing-sheet"
    path = write_excel(tmp_path / "less.xlsx", [{key: row[key] for key in row if key != "LAST"} for row in rows])
    assert refused(path, make_schema()).problems == ("column LAST is missing",)
    with xlsxwriter.Workbook(tmp_path / "empty.xlsx") as book:
        book.add_worksheet("Data")
    assert refused(tmp_path / "empty.xlsx", make_schema()).reason == "empty"


def test_the_three_kinds_of_file_give_the_same_rows(
    make_schema: Schema, make_rows: Rows, write_csv: Write, tmp_path: Path
) -> None:
    rows = make_rows({"AKA": "Bobby Lee; Peaches"}, {"DOB": "", "YOB": "1997"})
    schema = make_schema()
    pl.DataFrame(rows).write_parquet(tmp_path / "extract.parquet")
    frames = [
        check_rows(read_extract(path, schema), schema).good.drop("row")
        for path in (
            write_csv(rows),
            tmp_path / "extract.parquet",
            write_excel(tmp_path / "extract.xlsx", [dict(row) for row in rows]),
        )
    ]
    assert frames[0].equals(frames[1], null_equal=True)
    assert frames[0].equals(frames[2], null_equal=True)


# --- checking ---------------------------------------------------------------------------------------------------------


def failures(path: Path, schema: SourceSchema, today: dt.date) -> list[tuple[int, str, str]]:
    return find_failures(read_extract(path, schema), schema, today=today).failures.rows()


@pytest.mark.parametrize(
    ("entry", "column", "rule"),
    [
        ({"PID": "unknown"}, "PID", "person-number"),
        ({"LAST": " n/a "}, "LAST", "required"),
        ({"SEEN": ""}, "SEEN", "required"),
        ({"SEEN": "2014-03-04"}, "SEEN", "date-format"),
        ({"SEEN": "03/04/14"}, "SEEN", "date-format"),
        ({"SEEN": "11/23/2026"}, "SEEN", "date-range"),
        ({"DOB": "17.05.1998"}, "DOB", "date-format"),
        ({"DOB": "02/30/1998"}, "DOB", "date-range"),
        ({"DOB": "13/32/1991"}, "DOB", "date-format"),
        ({"DOB": "17/05/1998"}, "DOB", "date-format"),
        ({"DOB": "12/32/1998"}, "DOB", "date-format"),
        ({"DOB": "00/01/1998"}, "DOB", "date-format"),
        ({"DOB": "12/31/1899"}, "DOB", "date-range"),
        ({"DOB": "05/17/2998"}, "DOB", "date-range"),
        ({"YOB": "98"}, "YOB", "date-format"),
        ({"YOB": "2098"}, "YOB", "date-range"),
        ({"RACE": SENTINEL}, "RACE", "code"),
        ({"RAN": "maybe"}, "RAN", "flag"),
        ({"RELEASE": "soon"}, "RELEASE", "date-format"),
        ({"RELEASE": "12/31/9999"}, "RELEASE", "date-range"),
    ],
)
def test_each_rule_fails_its_row_and_only_it(
    make_schema: Schema,
    make_rows: Rows,
    write_csv: Write,
    today: dt.date,
    entry: dict[str, str],
    column: str,
    rule: str,
) -> None:
    assert failures(write_csv(make_rows({}, entry)), make_schema(), today) == [(3, column, rule)]


def test_an_unknown_code_of_an_identifier_and_a_fact_is_one_failure(
    make_schema: Schema, make_rows: Rows, write_csv: Write, today: dt.date
) -> None:
    assert failures(write_csv(make_rows({"GENDER": "Q"})), make_schema(), today) == [(2, "GENDER", "code")]


def test_placeholders_are_missing_in_any_case_and_in_any_date_format(
    make_schema: Schema, make_rows: Rows, write_csv: Write, today: dt.date
) -> None:
    schema = make_schema()
    raw = read_extract(
        write_csv(make_rows({"FIRST": " unknown ", "DOB": "01/01/1900", "SSN": "000-00-0000", "RACE": "u"})), schema
    )
    good = check_rows(raw, schema, today=today).good
    assert good["identifier.given_name"].to_list() == [[]]
    assert good["identifier.birth_date"].to_list() == [[]]
    assert good["birth_date"].to_list() == [None]
    assert good["identifier.ssn4"].to_list() == [[]]
    assert good["fact.race"].to_list() == [None]
    assert good["flag.missing_ever"].to_list() == [False]


def test_a_code_list_goes_before_a_placeholder(make_rows: Rows, write_csv: Write, make_schema: Schema) -> None:
    race = {"race": {"column": "RACE", "codes": {"N/A": "native", "B": "black"}}}
    schema = make_schema(facts=race)
    good = check_rows(read_extract(write_csv(make_rows({"RACE": "n/a"})), schema), schema).good
    assert good["fact.race"].to_list() == ["native"]


def test_typed_columns(make_schema: Schema, make_rows: Rows, write_csv: Write, today: dt.date) -> None:
    schema = make_schema()
    rows = make_rows(
        {"PHONES": "414-272-1111; unknown;414-272-2222", "GENDER": "tf", "AKA": "Peaches;; Bo Lee", "RAN": "y"},
        {"DOB": "", "YOB": "1997", "PID": " 0042 "},
    )
    good = check_rows(read_extract(write_csv(rows), schema), schema, today=today).good
    assert good["local_id"].to_list() == ["1", "0042"]
    assert good["event_date"].to_list() == [dt.date(2014, 3, 4)] * 2
    assert good["birth_date"].to_list() == [dt.date(1998, 5, 17), None]
    assert good["birth_year"].to_list() == [1998, 1997]
    assert good["identifier.birth_date"].to_list() == [["19980517"], ["1997"]]
    assert good["identifier.phone"].to_list() == [["414-272-1111", "414-272-2222"], ["(414) 272-1111"]]
    assert good["identifier.sex"].to_list() == [["transgender_female"], ["female"]]
    assert good["aliases"].to_list() == [["Peaches", "Bo Lee"], []]
    assert good["fact.contact"].to_list() == ["outreach_contact"] * 2
    assert good["flag.missing_ever"].to_list() == [True, False]


def test_without_person_numbers_every_row_is_a_record(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    schema = make_schema(person_number=None)
    good = check_rows(read_extract(write_csv(make_rows({"PID": ""}, {})), schema), schema).good
    assert good["local_id"].to_list() == ["row-2", "row-3"]


@pytest.mark.parametrize("broken", [2, 3])
def test_broken_rows_are_left_out_up_to_the_tolerance_and_stop_all_above_it(
    make_schema: Schema, make_rows: Rows, write_csv: Write, broken: int
) -> None:
    wrong = {"DOB": f"99/99/{SENTINEL}", "LAST": SENTINEL, "RACE": SENTINEL}
    path = write_csv(make_rows(*[{}] * (20 - broken), *[wrong] * broken))
    schema = make_schema()  # tolerates a tenth
    if broken == 2:
        checked = check_rows(read_extract(path, schema), schema)
        assert checked.good["row"].to_list() == list(range(2, 20))
        assert (checked.rows, checked.failed_rows, checked.failures.height) == (20, 2, 4)
        assert SENTINEL not in str(checked.failures.rows())
    else:
        error = refused(path, schema)
        assert error.reason == "too-many-failures"
        assert "3 of 20 rows" in error.message
        assert error.problems[0] == "row 19: DOB: date-format"


def test_a_long_list_of_problems_is_cut(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    error = refused(write_csv(make_rows(*[{"DOB": SENTINEL}] * 50)), make_schema())
    assert len(error.problems) == 21
    assert error.problems[-1] == "and 30 more"


def test_tolerance_zero_stops_at_the_first_broken_row(make_schema: Schema, make_rows: Rows, write_csv: Write) -> None:
    path = write_csv(make_rows(*[{}] * 99, {"DOB": SENTINEL}))
    assert refused(path, make_schema(tolerance=0)).reason == "too-many-failures"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entry=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    column=st.sampled_from(["DOB", "RACE", "LAST", "AKA", "PHONES", "SEEN"]),
)
def test_no_entry_breaks_the_check_or_gets_into_its_errors(
    make_schema: Schema, make_rows: Rows, write_csv: Write, entry: str, column: str
) -> None:
    schema = make_schema(tolerance=0)
    path = write_csv(make_rows({column: SENTINEL + entry.replace("\0", "").replace("\r", "")}))
    try:
        good = check_rows(read_extract(path, schema), schema).good
    except ExtractError as error:
        assert SENTINEL.lower() not in everything(error).lower()
    else:
        assert good.height == 1


# --- dates ------------------------------------------------------------------------------------------------------------

WIDE = {"earliest": dt.date(1900, 1, 1), "latest": dt.date(2026, 11, 22)}


@pytest.mark.parametrize(
    ("text", "formats", "digits"),
    [
        ("2/3/1998", ["%m/%d/%Y"], "19980203"),
        ("2/3/1998", ["%d/%m/%Y"], "19980302"),
        ("17/05/1998", ["%m/%d/%Y", "%d/%m/%Y"], "19980517"),
        ("19980517", ["%Y%m%d"], "19980517"),
        ("1998517", ["%Y%m%d"], None),
        ("17-MAY-1998", ["%d-%b-%Y"], "19980517"),
        ("May 17, 1998", ["%B %d, %Y"], "19980517"),
        ("05/17/98", ["%m/%d/%y"], "19980517"),
        ("05/17/26", ["%m/%d/%y"], "20260517"),
        ("05/17/27", ["%m/%d/%y"], "19270517"),
        ("05/1998", ["%m/%Y"], "199805"),
        ("1998", ["%Y"], "1998"),
        ("05/17/1998 13:05:59", ["%m/%d/%Y %H:%M:%S"], "19980517"),
        ("05/17/1998 ", ["%m/%d/%Y"], None),
        ("05/17/1998x", ["%m/%d/%Y"], None),
        ("٠٥/١٧/١٩٩٨", ["%m/%d/%Y"], None),
    ],
)
def test_strict_dates(text: str, formats: list[str], digits: str | None) -> None:
    row = parse_dates(pl.Series([text]), formats, **WIDE).row(0, named=True)
    assert row["digits"] == digits
    assert row["rule"] == (None if digits else "date-format")
    assert row["date"] == (dt.date.fromisoformat(digits) if digits and len(digits) == 8 else None)


@given(
    day=st.dates(dt.date(1900, 1, 1), dt.date(2026, 11, 22)), form=st.sampled_from(["%m/%d/%Y", "%Y%m%d", "%d %b %Y"])
)
def test_every_date_is_read_back(day: dt.date, form: str) -> None:
    row = parse_dates(pl.Series([day.strftime(form)]), [form], **WIDE).row(0, named=True)
    assert (row["date"], row["rule"]) == (day, None)


@pytest.mark.parametrize("form", ["%m/%d", "%Y %j", "%Y/%Y"])
def test_a_format_that_cannot_be_kept_is_a_fault_of_the_schema(form: str) -> None:
    with pytest.raises(ContractError):
        parse_dates(pl.Series(["1998"]), [form], **WIDE)


@given(
    birth=st.dates(dt.date(1950, 1, 1), dt.date(2026, 1, 1)), event=st.dates(dt.date(1950, 1, 1), dt.date(2026, 1, 1))
)
def test_completed_years(birth: dt.date, event: dt.date) -> None:
    age = event.year - birth.year - ((event.month, event.day) < (birth.month, birth.day))
    frame = pl.DataFrame({"birth": [birth, None], "year": [birth.year, birth.year], "event": [event, event]})
    years = frame.select(completed_years(pl.col("birth"), pl.col("year"), pl.col("event"))).to_series().to_list()
    by_year = event.year - birth.year
    assert years == [age if age >= 0 else None, by_year if by_year >= 0 else None]
