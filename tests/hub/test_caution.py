"""What an operator is told where nothing, or nobody of a source, was linked: held to the real engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.contract import load_spec
from linkage.hub import link
from linkage.hub.caution import link_warnings

SPEC = load_spec("default")
NAMES = [entry.name for entry in SPEC.filters]


def people(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((number, len(NAMES), SPEC.diffusion.bits)) < 0.5


def encodings(bits: np.ndarray, prefix: str) -> pl.DataFrame:
    octets = np.packbits(bits, axis=2)
    filters = {
        name: pl.Series([row.tobytes() for row in octets[:, number]], dtype=pl.Binary)
        for number, name in enumerate(NAMES)
    }
    names = [f"{prefix}{place:031d}" for place in range(len(bits))]
    return pl.DataFrame({"pseudonym": names, "variant": pl.Series([0] * len(bits), dtype=pl.UInt8), **filters})


def warned(sources: dict[str, np.ndarray], repeats: frozenset[str] = frozenset()) -> list[str]:
    given = {name: encodings(bits, name[0]) for name, bits in sources.items()}
    quality = link(given, SPEC, repeats=repeats).quality
    return link_warnings(quality["records"], quality.get("by_sources", ()), quality.get("expected_matches", 0.0))


def test_nothing_is_said_where_every_source_has_a_link() -> None:
    shared = people(60, 1)
    assert warned({"a": shared, "b": shared[:40], "c": np.concatenate([shared[30:], people(20, 2)])}) == []


@pytest.mark.parametrize("repeats", [frozenset(), frozenset({"a", "b"})])
def test_strangers_are_told_to_be_strangers(repeats: frozenset[str]) -> None:
    (sentence,) = warned({"a": people(80, 1), "b": people(80, 2)}, repeats)
    assert sentence.startswith("no pair is surely a match: nothing is linked; ")
    assert "share nobody" in sentence and "encodings do not agree (keys, rules, columns)" in sentence


def test_a_crowd_of_all_but_identical_records_is_told_of() -> None:
    crowd = people(1, 1) ^ (np.random.default_rng(2).random((120, len(NAMES), SPEC.diffusion.bits)) < 0.01)
    (sentence,) = warned({"a": crowd[:60], "b": crowd[60:]})
    assert sentence.startswith("no pair is surely a match: nothing is linked; ")


def test_one_source_alone() -> None:
    (sentence,) = warned({"a": people(50, 1)})
    assert sentence.startswith("only one source holds records")
    (sentence,) = warned({"a": people(50, 1)}, frozenset({"a"}))
    assert "nobody stands in the source twice" in sentence


def test_a_source_with_no_link_to_any_other_is_named() -> None:
    shared = people(60, 1)
    (sentence,) = warned({"a": shared, "b": shared, "lonely": people(60, 2)})
    assert sentence.startswith("source lonely has no link to any other: ")


def test_repeats_that_were_not_declared_are_named_as_a_cause() -> None:
    strangers = {"a": people(80, 1), "b": people(80, 2)}
    (sentence,) = warned(strangers)
    assert "or a source said to hold each person once (a, b) holds repeats" in sentence
    assert "--repeats" in sentence and "deduplicated: false" in sentence
    (sentence,) = warned(strangers, frozenset({"a"}))
    assert "or a source said to hold each person once (b) holds repeats" in sentence
    (sentence,) = warned(strangers, frozenset({"a", "b"}))
    assert "repeats" not in sentence
    (sentence,) = warned({"a": people(50, 1)})
    assert "unless it holds repeats" in sentence


def test_a_source_without_records_is_named() -> None:
    shared = people(60, 1)
    given = {name: encodings(bits, name[0]) for name, bits in {"a": shared, "b": shared, "c": shared[:0]}.items()}
    quality = link(given, SPEC).quality
    told = link_warnings(quality["records"], quality["by_sources"], quality["expected_matches"], sources=given)
    assert told == ["source c holds no record at all"]
    assert link_warnings({"a": 9, "b": 9, "c": 0}, [entry("a", "b", 3)], 3.0, sources="abc") == told


def entry(one: str, other: str, links: int) -> dict[str, Any]:
    return {"sources": [one, other], "links": links}


def test_links_within_a_source_are_no_links_to_another() -> None:
    only_within = [entry("a", "a", 5), entry("a", "b", 0)]
    (sentence,) = link_warnings({"a": 10, "b": 10}, only_within, 5.0)
    assert sentence.startswith("no source has a link to another one")
    assert link_warnings({"a": 10}, [entry("a", "a", 5)], 5.0) == []
    named = link_warnings({"a": 9, "b": 9, "c": 9}, [entry("a", "b", 1), entry("c", "c", 4), entry("a", "c", 0)], 5.0)
    assert [sentence.split(" has ")[0] for sentence in named] == ["source c"]


def test_matches_that_are_expected_and_not_linked_are_spoken_of() -> None:
    (sentence,) = link_warnings({"a": 10, "b": 10}, [entry("a", "b", 0)], 2.5)
    assert "none is likely enough" in sentence
    assert not any(letter.isdigit() for letter in sentence)
