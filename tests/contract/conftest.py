"""One good file of each kind, and the faults that make it a bad one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

SOURCE: dict[str, Any] = {
    "source_schema": 1,
    "source": "harbor",
    "title": "Harbor House, a row a night",
    "person_number": "Guest",
    "deduplicated": False,
    "missing": ["-", "Zzyzx-nothing"],
    "tolerance": 0.05,
    "identifiers": {
        "given_name": {"column": "Called", "required": True},
        "family_name": {"column": "Surname"},
        "birth_date": {"column": "Born", "formats": ["%d.%m.%Y"]},
        "sex": {"column": "Sex", "codes": {"w": "F", "m": "M"}},
        "phone": {"column": "Phones", "split": "/"},
    },
    "aliases": {"column": "Also", "split": "/", "order": "family, given"},
    "event_date": {"column": "Night", "formats": ["%Y-%m-%d"]},
    "facts": {
        "sex": {"column": "Sex", "codes": {"w": "female", "m": "male"}},
        "contact": {"constant": "other"},
        "jurisdiction": {"column": "Town", "codes": {"Zzyzx Springs": "elsewhere"}},
    },
    "flags": {"out_of_home_care": {"column": "Care", "yes": ["x"], "no": ["o"]}},
    "tiers": [
        {"tier": "confirmed", "when": {"all": [{"column": "Told", "among": ["x"]}, {"age_below": 18}]}},
        {"tier": "believed", "when": {"columns": ["A", "B", "C"], "among": ["x"], "at_least": 2}},
    ],
}
SPEC: dict[str, Any] = {
    "linkage_spec": 1,
    "name": "one",
    "title": "One filter of everything",
    "rules": 1,
    "bits": 1024,
    "hashing": {"kind": "fixed_hashes", "hashes": 20},
    "diffusion": {"bits": 2048, "inputs": 4},
    "presence_masks": False,
    "variants": 2,
    "visible_edges": 0.5,
    "fields": {"given_name": {"kind": "name"}, "birth_date": {"kind": "date"}, "phone": {"kind": "digits"}},
    "filters": [
        {
            "name": "clk",
            "parts": [
                {"field": "given_name", "tokens": "bigrams", "weight": 1},
                {"field": "birth_date", "tokens": "date", "weight": 1},
                {"field": "phone", "tokens": "positional", "weight": 0.5},
            ],
        }
    ],
}
AGREEMENT: dict[str, Any] = {
    "agreement": 1,
    "project": "test",
    "source": "harbor",
    "title": "An agreement",
    "legal_basis": "a statute",
    "authority": "an order",
    "mode": "full",
    "profile": "one",
    "identifiers": ["given_name", "family_name", "birth_date", "aliases"],
    "facts": ["month", "age", "tier", "sex"],
    "floor": 11,
    "starts": "2026-01-01",
    "ends": "2027-12-31",
}
POLICY: dict[str, Any] = {
    "release_policy": 1,
    "project": "test",
    "title": "A policy",
    "scope": {"first_month": "2013-01", "last_month": "2016-12", "max_age": 25, "jurisdiction": "a city"},
    "lists": ["harbor"],
    "floor": 11,
    "round_estimates_to": 10,
    "contact": "somebody",
}
GOOD = {"source": SOURCE, "spec": SPEC, "agreement": AGREEMENT, "policy": POLICY}


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with one entry, named by a dotted path, set to a value; ``...`` takes it out."""
    copy = deepcopy(content)
    place: Any = copy
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.fixture(scope="session")
def good() -> Callable[[str], dict[str, Any]]:
    return lambda kind: deepcopy(GOOD[kind])


@pytest.fixture(scope="session")
def bad() -> Callable[..., dict[str, Any]]:
    """A good content with entries changed, by dotted paths."""

    def make(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
        content = deepcopy(GOOD[kind])
        for path, value in changes.items():
            content = changed(content, path, value)
        return content

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a contract file; text as it is, anything else as YAML."""

    def to_file(content: Any, name: str = "file.yaml") -> Path:
        path = tmp_path / name
        text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path

    return to_file
