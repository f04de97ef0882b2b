"""Labelled files as others write them: types, gaps, formats, and what is told when they do not fit."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import polars as pl
import pytest

from linkage.contract import load_spec, schemas_folder
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError
from linkage.lab.labelled import TestKey, encode_labelled, read_labelled
from linkage.steward.standardise import standardise_value

BASE = load_spec("default").model_dump()
SPEC = LinkageSpec.model_validate(
    {
        **BASE,
        "fields": {
            "given": {"kind": "name", "column": "first"},
            "born": {"kind": "date"},
            "zip": {"kind": "digits"},
            "source": {"kind": "text", "column": "town"},
        },
        "filters": [
            {
                "name": "all",
                "parts": [
                    {"field": "given", "tokens": "bigrams", "weight": 1},
                    {"field": "born", "tokens": "date", "weight": 1},
                    {"field": "zip", "tokens": "positional", "weight": 1},
                    {"field": "source", "tokens": "bigrams", "weight": 1},
                ],
            }
        ],
    }
)
ROWS = pl.DataFrame(
    {
        "who": [1, 1, 2],
        "file": [10, 20, 10],
        "first": ["Ann", "Anne", "Bo"],
        "born": ["1990-01-31", "1990-01-30", "1985"],
        "zip": ["53202", "53202", None],
        "town": ["Milwaukee", "milwaukee", "Racine"],
    }
)


def write(frame: pl.DataFrame, folder: Path, suffix: str = ".parquet") -> Path:
    path = folder / f"records{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if suffix == ".tsv" else ",")
    return path


def read(path: Path, spec: LinkageSpec = SPEC, source: str | None = "file", entity: str = "who") -> pl.DataFrame:
    return read_labelled(path, spec, source_column=source, entity_column=entity).frame


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv"])
def test_one_file_three_ways(tmp_path: Path, suffix: str) -> None:
    frame = read(write(ROWS, tmp_path, suffix))
    assert frame["source"].to_list() == ["10", "20", "10"]
    assert frame["entity"].to_list() == ["1", "1", "2"]
    assert frame["field:given"].to_list() == ["ANN", "ANNE", "BO"]
    assert frame["field:born"].to_list() == ["19900131", "19900130", "1985"]
    assert frame["field:zip"].to_list() == ["53202", "53202", None]
    assert frame["field:source"].to_list() == ["MILWAUKEE", "MILWAUKEE", "RACINE"]


@pytest.mark.parametrize("kind", [pl.Float64, pl.Int16, pl.String, pl.Categorical])
def test_sources_and_entities_of_any_type(tmp_path: Path, kind: type[pl.DataType]) -> None:
    columns = [
        pl.col(name).cast(pl.String if kind == pl.Categorical else pl.Int64).cast(kind) for name in ("who", "file")
    ]
    frame = read(write(ROWS.with_columns(columns), tmp_path))
    assert frame["source"].to_list() == ["10", "20", "10"]
    assert frame["entity"].to_list() == ["1", "1", "2"]


def test_typed_dates_and_numbers(tmp_path: Path) -> None:
    typed = ROWS.with_columns(
        born=pl.Series([dt.date(1990, 1, 31), dt.date(1990, 1, 30), None]), zip=pl.Series([53202.0, 53202.0, None])
    )
    frame = read(write(typed, tmp_path))
    assert frame["field:born"].to_list() == ["19900131", "19900130", None]
    assert frame["field:zip"].to_list() == ["53202", "53202", None]


def test_several_values_in_a_cell(tmp_path: Path) -> None:
    several = ROWS.with_columns(first=pl.Series([["Ann", "Nancy"], [], None], dtype=pl.List(pl.String)))
    path = write(several, tmp_path)
    labelled = read_labelled(path, SPEC, source_column="file", entity_column="who")
    assert labelled.frame["field:given"].to_list() == [["ANN", "NANCY"], [], []]
    assert not labelled.unreadable
    both = encode_labelled(labelled.frame, SPEC, TestKey(1))["10"]
    alone = encode_labelled(read(write(ROWS, tmp_path)), SPEC, TestKey(1))["10"]
    assert both["all"][0] != alone["all"][0]


def test_without_a_column_of_sources_all_is_one(tmp_path: Path) -> None:
    frame = read(write(ROWS, tmp_path), source=None)
    encodings = encode_labelled(frame, SPEC, TestKey(1))
    assert list(encodings) == ["all"]
    assert encodings["all"]["pseudonym"].to_list() == [f"{place:012d}" for place in range(3)]


def test_encodings_hold_a_record_each_at_its_place(tmp_path: Path) -> None:
    said: list[str] = []
    encodings = encode_labelled(read(write(ROWS, tmp_path)), SPEC, TestKey(1), progress=said.append)
    assert {source: frame["pseudonym"].to_list() for source, frame in encodings.items()} == {
        "10": ["000000000000", "000000000002"],
        "20": ["000000000001"],
    }
    assert said == ["encoding source 1 of 2: 2 records", "encoding source 2 of 2: 1 records"]


def test_cells_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    frame = ROWS.with_columns(born=pl.Series(["1990-01-31", "31.01.1990", " "]), first=pl.Series(["Ann", "?", ""]))
    labelled = read_labelled(write(frame, tmp_path), SPEC, source_column="file", entity_column="who")
    assert labelled.unreadable == {"born": 1, "given": 1}


@pytest.mark.parametrize("dates", [["31/01/1990", "01/30/1990", "1.1.85"], ["Jan 1990", "x", ""]])
def test_a_column_in_another_format_is_refused_with_the_formats(tmp_path: Path, dates: list[str]) -> None:
    with pytest.raises(ContractError) as error:
        read(write(ROWS.with_columns(born=pl.Series(dates)), tmp_path))
    assert error.value.reason == "unreadable-field"
    assert "column born" in error.value.message and "YYYY-MM-DD" in str(error.value.hint)
    assert "1990" not in str(error.value) + str(error.value.hint)


def test_a_field_that_is_empty_throughout_is_no_fault(tmp_path: Path) -> None:
    assert read(write(ROWS.with_columns(born=pl.lit("")), tmp_path))["field:born"].null_count() == 3


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(ROWS.drop("first", "zip"), tmp_path)
    with pytest.raises(ContractError) as error:
        read(path, source="nowhere", entity="nobody")
    assert error.value.problems == ("first", "nobody", "nowhere", "zip")
    assert error.value.reason == "missing-columns" and "born" in str(error.value.hint)


def test_a_shipped_profile_on_a_file_that_has_none_of_it(tmp_path: Path) -> None:
    path = write(pl.DataFrame({"source": ["a"], "entity": ["1"]}), tmp_path, ".csv")
    with pytest.raises(ContractError) as error:
        read(path, load_spec("default"), "source", "entity")
    assert "family_name" in error.value.problems


@pytest.mark.parametrize("column", ["who", "file"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_without_a_source_or_an_entity(tmp_path: Path, column: str, suffix: str) -> None:
    gap = ROWS.with_columns(pl.Series(column, [1, None, 2]))
    with pytest.raises(ContractError) as error:
        read(write(gap, tmp_path, suffix))
    assert error.value.reason == "missing-label" and column in error.value.message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.csv", None, "not-found"),
        ("records.parquet", b"who,file\n1,2\n", "unreadable-file"),
        ("records.csv", b"", "unreadable-file"),
        ("records.csv", "who,file,first,born,zip,town\n1,2,Zo\xeb,1990,1,X\n".encode("latin-1"), "unreadable-file"),
        ("records.csv", b"who,file\n1,2,3,4\n", "unreadable-file"),
        ("records.csv", b"who,file,first,born,zip,town\n", "no-records"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ContractError) as error:
        read(tmp_path / name)
    assert error.value.reason == reason
    assert "Zo" not in str(error.value)


def test_every_example_spec_is_one_of_a_labelled_file() -> None:
    specs = sorted((schemas_folder() / "linkage" / "examples").glob("*.yaml"))
    assert specs
    for path in specs:
        assert load_spec(path).visible_edges == 1.0, "made-up or public people: no owner refuses to seal them"


def test_the_manual_says_how_dates_are_read() -> None:
    manual = (schemas_folder() / "linkage" / "README.md").read_text(encoding="utf-8")
    rows = [line.strip(" |\n").split(" | ") for line in manual.splitlines() if line.startswith("   | `")]
    read = {words.split(":")[0]: re.findall(r"`([^`]+)`", examples) for examples, words in rows}
    told = {words: {standardise_value("date", text) for text in examples} for words, examples in read.items()}
    assert told == {
        "the day": {"19980517"},
        "the month": {"199805"},
        "the year": {"1998"},
        "as it stands": {"19981340"},
        "missing": {None},
        "not at all": {None},
    }
    assert min(len(examples) for words, examples in read.items() if words != "as it stands") > 1
