"""One small source with everything a schema can say, and extracts for it."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.contract.vocabulary import FACT_MARKS, FACT_SCHEMA, IDENTIFIER_KINDS
from linkage.steward.extract import check_rows, read_extract
from linkage.steward.tiers import add_tiers

SCHEMA: dict[str, Any] = {
    "source_schema": 1,
    "source": "shelter",
    "title": "A source with everything",
    "person_number": "PID",
    "deduplicated": False,
    "missing": ["UNKNOWN", "N/A", "1900-01-01"],
    "tolerance": 0.1,
    "identifiers": {
        "given_name": {"column": "FIRST"},
        "middle_name": {"column": "MIDDLE"},
        "family_name": {"column": "LAST", "required": True},
        "birth_date": {"column": "DOB", "formats": ["%m/%d/%Y", "%Y-%m-%d"]},
        "sex": {"column": "GENDER", "codes": {"F": "female", "M": "male", "TF": "transgender_female"}},
        "ssn4": {"column": "SSN", "missing": ["000-00-0000"]},
        "phone": {"column": "PHONES", "split": ";"},
        "street": {"column": "ADDRESS"},
        "postal_code": {"column": "ZIP"},
    },
    "aliases": {"column": "AKA", "split": ";", "order": "given family"},
    "birth_year": {"column": "YOB", "missing": ["0000"]},
    "event_date": {"column": "SEEN", "formats": ["%m/%d/%Y"]},
    "facts": {
        "sex": {"column": "GENDER", "codes": {"F": "female", "M": "male", "TF": "transgender_female"}},
        "race": {"column": "RACE", "codes": {"B": "black", "W": "white"}, "missing": ["U"]},
        "contact": {"constant": "outreach_contact"},
    },
    "flags": {"missing_ever": {"column": "RAN", "yes": ["Y", "1", "TRUE"], "no": ["N", "0", "FALSE"]}},
    "tiers": [
        {"tier": "confirmed", "when": {"column": "TOLD", "among": ["Y"]}},
        {"tier": "confirmed", "when": {"column": "ICD", "starts_with": ["T74.51", "T74.52"], "split": ";"}},
        {"tier": "believed", "when": {"columns": ["I1", "I2", "I3"], "among": ["Y"], "at_least": 2}},
    ],
    "consent": {"column": "RELEASE", "formats": ["%m/%d/%Y"]},
}
ROW = {
    "PID": "1",
    "FIRST": "Maria",
    "MIDDLE": "",
    "LAST": "Garcia",
    "DOB": "05/17/1998",
    "GENDER": "F",
    "SSN": "321-54-6780",
    "PHONES": "(414) 272-1111",
    "ADDRESS": "12 North 27th Street, Apt 4",
    "ZIP": "53208-1234",
    "AKA": "",
    "YOB": "",
    "SEEN": "03/04/2014",
    "RACE": "B",
    "RAN": "N",
    "TOLD": "Y",
    "ICD": "",
    "I1": "",
    "I2": "",
    "I3": "",
    "RELEASE": "",
}
TODAY = dt.date(2026, 11, 22)


@pytest.fixture(scope="session")
def today() -> dt.date:
    return TODAY


@pytest.fixture(scope="session")
def make_schema() -> Callable[..., SourceSchema]:
    """The schema, with top-level keys changed; a key given as None is left out."""

    def make(**changes: Any) -> SourceSchema:
        content = deepcopy(SCHEMA) | changes
        return SourceSchema.model_validate({key: value for key, value in content.items() if value is not None})

    return make


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict[str, str]]]:
    """Rows like the usual one, each with the given entries changed; every row is a person of their own."""

    def make(*changes: dict[str, str]) -> list[dict[str, str]]:
        return [ROW | {"PID": str(number)} | change for number, change in enumerate(changes, start=1)]

    return make


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: list[dict[str, str]], name: str = "extract.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        with path.open("w", newline="", encoding=encoding) as target:
            writer = csv.DictWriter(target, list(rows[0] if rows else ROW))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture
def tiered(
    make_schema: Callable[..., SourceSchema],
    make_rows: Callable[..., list[dict[str, str]]],
    write_csv: Callable[..., Path],
) -> Callable[..., pl.DataFrame]:
    """From changed rows, by way of a real file, to checked rows with tiers."""

    def make(
        *changes: dict[str, str], schema: SourceSchema | None = None, agreement: Agreement | None = None
    ) -> pl.DataFrame:
        schema = schema or make_schema()
        raw = read_extract(write_csv(make_rows(*changes)), schema)
        return add_tiers(check_rows(raw, schema, today=TODAY).good, schema, agreement, today=TODAY)

    return make


@pytest.fixture(scope="session")
def make_agreement() -> Callable[..., Agreement]:
    def make(**changes: Any) -> Agreement:
        content: dict[str, Any] = {
            "agreement": 1,
            "project": "test",
            "source": "shelter",
            "title": "An agreement",
            "legal_basis": "a statute",
            "authority": "an order",
            "mode": "full",
            "profile": "default",
            "identifiers": [*IDENTIFIER_KINDS, "aliases"],
            "facts": [name for name in FACT_SCHEMA if name not in FACT_MARKS],
            "floor": 11,
            "starts": "2026-01-01",
            "ends": "2027-12-31",
        }
        return Agreement.model_validate(content | changes)

    return make
