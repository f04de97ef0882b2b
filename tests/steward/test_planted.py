"""Test persons: the file, and that they are standardised as the source's own persons are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import ExtractError
from linkage.exchange import create_party, load_party
from linkage.steward.planted import planted_facts, planted_identifiers, planted_pseudonyms, read_planted

MADE_FOR = {"project": "milwaukee", "epoch": "2026-1", "source": "shelter"}
FOR = ",".join(MADE_FOR.values())
HEADER = "test_person,given_name,family_name,birth_date,phone,aliases"
ROW = "t1,Maria,Garcia,1998-05-17,414-272-1111;(414) 272-2222,Coco Garcia; Mimi"


def text(header: str, *lines: str) -> str:
    """Write a file of test persons that says for whom it was made."""
    return "\n".join([f"{','.join(MADE_FOR)},{header}", *(f"{FOR},{line}" for line in lines)]) + "\n"


def file(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "planted.csv"
    path.write_text(text(header, *lines), encoding="utf-8")
    return path


def test_they_have_what_the_source_can_fill_and_may_send(
    tmp_path: Path, make_schema: Callable[..., Any], tiered: Callable[..., pl.DataFrame]
) -> None:
    planted = read_planted(file(tmp_path, ROW, "t2,Ana,,1997,,"), **MADE_FOR)
    agreed = ["given_name", "family_name", "birth_date", "phone", "aliases", "ssn4", "medicaid_id"]
    schema = make_schema()
    found = planted_identifiers(planted, schema, agreed, 4)
    # The same person as one of the extract, but for its number.
    from linkage.steward.group import identifiers

    usual = {"FIRST": "Maria", "LAST": "Garcia", "DOB": "05/17/1998", "SSN": "", "AKA": "Coco Garcia;Mimi"}
    row = usual | {"PHONES": "414-272-1111;(414) 272-2222"}
    own = identifiers(tiered(row, schema=schema), schema, agreed, 4)
    assert found.schema == own.schema
    first = found.filter(local_id="t1")
    assert first.drop("local_id").equals(own.drop("local_id"))
    assert first.height == 3
    assert found.filter(local_id="t2").select("given_name", "family_name", "birth_date", "ssn4").row(0) == (
        ["ANA"],
        [],
        ["1997"],
        [],
    )
    without = planted_identifiers(planted, schema, ["given_name"], 4)
    assert without.columns == ["local_id", "variant", "given_name"]


def test_an_alias_is_given_name_first_whatever_the_source_writes(
    tmp_path: Path, make_schema: Callable[..., Any]
) -> None:
    planted = read_planted(file(tmp_path, ROW), **MADE_FOR)
    turned = make_schema(aliases={"column": "AKA", "split": "|", "order": "family, given"})
    found = planted_identifiers(planted, turned, ["given_name", "family_name", "aliases"], 4)
    assert (["COCO"], ["GARCIA"]) in found.select("given_name", "family_name").rows()
    none = make_schema(aliases=None)
    assert planted_identifiers(planted, none, ["given_name", "family_name", "aliases"], 4).height == 1


FAULTS: dict[str, tuple[str, list[str], str]] = {
    "unknown column": (HEADER + ",mother", [ROW + ",Ann"], "column 10: not known"),
    "column twice": (HEADER + ",phone", [ROW + ",1"], "phone: twice"),
    "no id": (
        "given_name,family_name",
        ["Maria,Garcia"],
        "project, epoch, source, test_person and a name must be there",
    ),
    "no name": ("test_person,birth_date", ["t1,1998"], "project, epoch, source, test_person and a name must be there"),
    "short row": (HEADER, ["t1,Maria"], "row 2: another number of cells than the header"),
    "bad id": (HEADER, ["T 1,Maria,Garcia,,,"], "row 2: test_person: code"),
    "id twice": (HEADER, [ROW, ROW], "row 3: test_person: twice"),
    "nameless": (HEADER, ["t1,,,1998,,"], "row 2: no name"),
    "american date": (HEADER, ["t1,Maria,Garcia,05/17/1998,,"], "row 2: birth_date: date-format"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_none_is_refused_without_a_value(tmp_path: Path, fault: str) -> None:
    header, lines, problem = FAULTS[fault]
    with pytest.raises(ExtractError) as caught:
        read_planted(file(tmp_path, *lines, header=header), **MADE_FOR)
    assert caught.value.reason == "malformed"
    assert caught.value.problems == (problem,) or list(caught.value.problems) == [problem]
    assert not any(word in str(caught.value) for word in ("Maria", "Garcia", "1998"))


@pytest.mark.parametrize("end", ["\n", "\r\n\r\n", "  \n", ",,,,,,,,\n"])
def test_empty_rows_at_the_end_are_none(tmp_path: Path, end: str) -> None:
    path = file(tmp_path, ROW)
    plain = read_planted(path, **MADE_FOR)
    path.write_bytes(path.read_bytes() + end.encode())
    assert read_planted(path, **MADE_FOR).equals(plain)
    path.write_bytes(path.read_bytes() + f"{FOR},{ROW.replace('t1', 't2')}\n".encode())
    with pytest.raises(ExtractError) as caught:  # one in the middle may be a row that was lost
        read_planted(path, **MADE_FOR)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "malformed"),
        (text(HEADER).encode(), "empty"),
        (text(HEADER).encode() + b"\n\n", "empty"),
        (text(HEADER).encode() + b"milwaukee,2026-1,shelter,t1,Jos\xe9,Garcia,,,\n", "encoding"),
        (text(HEADER).encode() + b'milwaukee,2026-1,shelter,t1,"Maria,Garcia,,,\n', "malformed"),
        (b"PK\x03\x04\x00\x00", "malformed"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "planted.csv"
    path.write_bytes(content)
    with pytest.raises(ExtractError) as caught:
        read_planted(path, **MADE_FOR)
    assert caught.value.reason == reason
    with pytest.raises(ExtractError) as caught:
        read_planted(tmp_path / "gone.csv", **MADE_FOR)
    assert caught.value.reason == "not-found" and "test-persons-shelter.csv" in str(caught.value.hint)


def test_a_file_without_a_word_on_whom_it_was_made_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "planted.csv"
    path.write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8")
    with pytest.raises(ExtractError) as caught:
        read_planted(path, **MADE_FOR)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("name", MADE_FOR)
@pytest.mark.parametrize("value", ["zzyzx", ""])
def test_one_row_that_was_made_for_another_is_enough_to_refuse(tmp_path: Path, name: str, value: str) -> None:
    path = file(tmp_path, ROW, "t2,Ana,Cruz,1997,,")
    lines = path.read_text().splitlines()
    foreign = ",".join((MADE_FOR | {name: value}).values())
    path.write_text("\n".join([*lines[:-1], lines[-1].replace(FOR, foreign)]) + "\n")
    with pytest.raises(ExtractError) as caught:
        read_planted(path, **MADE_FOR)
    assert caught.value.reason == f"other-{name}"
    assert "zzyzx" not in str(caught.value) and MADE_FOR[name] in caught.value.message


def test_no_local_number_has_the_pseudonym_of_a_test_person(tmp_path: Path) -> None:
    party, other = (load_party(create_party(tmp_path / name, name)[0]) for name in ("mpd", "dcf"))
    codes = planted_pseudonyms(["t1", "t2"], "mpd", party)
    assert codes == planted_pseudonyms(["t1", "t2"], "mpd", party)
    assert all(len(code) == 32 for code in codes)
    others = [*planted_pseudonyms(["t1"], "mpd", other), *planted_pseudonyms(["t1"], "dcf", party)]
    local = party.pseudonyms(["t1", "mpd:t1", "t2", "mpd:t2"])
    assert len({*codes, *others, *local}) == 8


def test_their_facts_say_only_who_they_are() -> None:
    frame = planted_facts(["t1", "t1", "t2"], ["a" * 32, "a" * 32, "b" * 32]).sort("test_person")
    assert frame.schema == pl.Schema(FACT_SCHEMA)
    assert frame.select("pseudonym", "decoy", "test_person").rows() == [
        ("a" * 32, True, "t1"),
        ("b" * 32, True, "t2"),
    ]
    assert frame.drop("pseudonym", "decoy", "test_person").null_count().sum_horizontal()[0] == 2 * (frame.width - 3)
