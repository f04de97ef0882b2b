"""Agencies that encode alike have one fingerprint; whatever makes them encode otherwise changes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.contract.files import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.exchange import LinkageKey, create_linkage_key, load_linkage_key
from linkage.steward import encode, names, rules, standardise
from linkage.steward import fingerprint as module
from linkage.steward.fingerprint import fingerprint
from linkage.steward.tokens import Cut, Piece, cut


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> LinkageKey:
    return create_linkage_key(tmp_path_factory.mktemp("keys") / "linkage.key", "milwaukee", "2026-1")


@pytest.fixture(scope="module")
def spec() -> LinkageSpec:
    return load_spec("default")


@pytest.fixture(scope="module")
def usual(spec: LinkageSpec, key: LinkageKey) -> str:
    return fingerprint(spec, key)


@pytest.fixture
def fresh_tables() -> Iterator[None]:
    """Rule tables are read once; a test that changes one has them read anew, and so does who comes after it."""

    tables = (rules.rows, rules.nicknames, rules.streets, rules.words, standardise._street_placeholders)

    def forget() -> None:
        for table in tables:
            table.cache_clear()

    forget()
    yield
    forget()


def changed(spec: LinkageSpec, **changes: Any) -> LinkageSpec:
    return LinkageSpec.model_validate(spec.model_dump() | changes)


def test_it_is_the_same_again_and_from_the_key_file(
    spec: LinkageSpec, key: LinkageKey, usual: str, tmp_path: Path
) -> None:
    assert re.fullmatch("[0-9a-f]{64}", usual)
    assert fingerprint(spec, key) == usual
    made = create_linkage_key(tmp_path / "k", "milwaukee", "2026-1")
    assert fingerprint(spec, made) == fingerprint(spec, load_linkage_key(tmp_path / "k")) != usual


def test_another_epoch_or_project_differs(spec: LinkageSpec, key: LinkageKey, usual: str) -> None:
    assert fingerprint(spec, LinkageKey(key.project, "2026-2", key._secret)) != usual
    assert fingerprint(spec, LinkageKey("madison", key.epoch, key._secret)) != usual
    assert fingerprint(spec, LinkageKey(key.project, key.epoch, key._secret)) == usual


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"bits": 512},
        {"hashing": {"kind": "constant_fill", "fill": 0.4200001}},
        {"diffusion": {"bits": 2048, "inputs": 6}},
        {"variants": 3},
    ],
    ids=str,
)
def test_another_spec_differs(spec: LinkageSpec, key: LinkageKey, usual: str, change: dict[str, Any]) -> None:
    assert fingerprint(changed(spec, **change), key) != usual


def test_titles_and_the_order_of_fields_do_not_count(spec: LinkageSpec, key: LinkageKey, usual: str) -> None:
    content = spec.model_dump()
    backwards = dict(reversed(content["fields"].items()))
    assert list(backwards) != list(content["fields"])
    same = changed(spec, title="Another title", fields=backwards)
    assert same.digest == spec.digest
    assert fingerprint(same, key) == usual


@pytest.mark.parametrize("table", rules.TABLES)
def test_another_line_in_a_rule_table_differs(
    monkeypatch: pytest.MonkeyPatch, fresh_tables: None, spec: LinkageSpec, key: LinkageKey, usual: str, table: str
) -> None:
    """Also a line that no one in the panel is touched by: two agencies must not link with different tables."""
    real = rules.rows
    assert fingerprint(spec, key) == usual
    extra = (("QQQQ", "QQQR"),)
    monkeypatch.setattr(rules, "rows", lambda name: real(name) + (extra if name == table else ()))
    assert fingerprint(spec, key) != usual


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (standardise, "RULES", 2),
        (standardise, "_SEX", {"F": "F", "M": "M"}),
        (standardise, "_SSN_PLACEHOLDERS", ("123456789",)),
        (names, "SUFFIXES", {"JR": "JR"}),
        (names, "SUFFIX_COLUMN", {"JR": "JR"}),
        (names, "SPECIAL_LETTERS", {"Æ": "AE"}),
    ],
)
def test_other_rules_differ(
    monkeypatch: pytest.MonkeyPatch, spec: LinkageSpec, key: LinkageKey, usual: str, place: Any, name: str, value: Any
) -> None:
    monkeypatch.setattr(place, name, value)
    assert fingerprint(spec, key) != usual


@pytest.mark.parametrize("kind", ["bigrams", "positional", "year", "month_and_day"])
def test_tokens_cut_otherwise_differ(
    monkeypatch: pytest.MonkeyPatch, spec: LinkageSpec, key: LinkageKey, usual: str, kind: str
) -> None:
    def without_last(values: pl.Series, of: Piece) -> Cut:
        found = cut(values, of)
        if of != kind:
            return found
        return replace(found, numbers=np.delete(found.numbers, np.cumsum(found.length) - 1), length=found.length - 1)

    monkeypatch.setattr(encode, "cut", without_last)
    assert fingerprint(spec, key) != usual


@pytest.mark.parametrize("identifier", ["given_name", "phone", "street", "postal_code", "ssn4"])
def test_code_that_standardises_otherwise_differs(
    monkeypatch: pytest.MonkeyPatch, spec: LinkageSpec, key: LinkageKey, usual: str, identifier: str
) -> None:
    """The tables alone do not say it: the panel is standardised by the code at hand."""
    before = standardise.rules_digest()
    monkeypatch.setitem(standardise._IDENTIFIER_RULES, identifier, lambda series: series.str.to_uppercase())
    assert standardise.rules_digest() == before
    assert fingerprint(spec, key) != usual


@pytest.mark.parametrize("profile", ["default", "guarded", "precise"])
def test_it_holds_nothing_of_the_panel_and_every_profile_has_its_own(
    spec: LinkageSpec, key: LinkageKey, usual: str, profile: str
) -> None:
    made = fingerprint(load_spec(profile), key)
    assert (made == usual) == (profile == "default")
    content = bytes.fromhex(made)
    entries = [entry.encode() for several in module._PANEL.values() for entry in several if entry]
    assert not [entry for entry in entries if len(entry) > 3 and entry in content]
    assert len(content) == 32 < sum(map(len, entries))


def test_a_field_out_of_the_vocabulary_or_of_another_kind_than_its_name_is_no_obstacle(key: LinkageKey) -> None:
    spec = changed(
        load_spec("default"),
        fields={"nom": {"kind": "name"}, "birth_date": {"kind": "digits"}},
        filters=[
            {
                "name": "all",
                "parts": [
                    {"field": "nom", "tokens": "bigrams", "weight": 1},
                    {"field": "birth_date", "tokens": "positional", "weight": 1},
                ],
            }
        ],
    )
    as_text = changed(spec, fields={"nom": {"kind": "text"}, "birth_date": {"kind": "digits"}})
    assert re.fullmatch("[0-9a-f]{64}", fingerprint(spec, key))
    assert fingerprint(spec, key) != fingerprint(as_text, key)
