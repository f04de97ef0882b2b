from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.contract import LinkageSpec, load_spec
from linkage.errors import ContractError

Bad = Callable[..., dict[str, Any]]
Good = Callable[[str], dict[str, Any]]
Write = Callable[..., Path]

PART = {"field": "given_name", "tokens": "bigrams", "weight": 1}


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"filters.0.parts.0.field": "nickname"}, ["filters.0"]),
        ({"filters.0.parts.0.tokens": "date"}, ["filters.0"]),
        ({"filters.0.parts.0.tokens": "trigrams"}, ["filters.0.parts.0.tokens"]),
        ({"filters.0.parts.1": PART}, ["filters.0"]),
        ({"filters": []}, ["filters"]),
        ({"filters.0.parts": []}, ["filters.0.parts"]),
        ({"filters.0.parts.0.weight": 0}, ["filters.0.parts.0.weight"]),
        ({"filters.0.parts.0.weight": float("nan")}, ["filters.0.parts.0.weight"]),
        ({"filters": [{"name": "a", "parts": [PART]}, {"name": "a", "parts": [PART]}]}, ["filters"]),
        ({"filters": [{"name": "A b", "parts": [PART]}]}, ["filters.0.name"]),
        ({"hashing.kind": "Zzyzx"}, ["hashing"]),
        ({"hashing.hashes": 201}, ["hashing.fixed_hashes.hashes"]),
        ({"hashing": {"kind": "constant_fill", "fill": 0.6}}, ["hashing.constant_fill.fill"]),
        ({"bits": 1000, "diffusion.bits": 1000}, ["bits", "diffusion.bits"]),
        ({"bits": 256, "diffusion.inputs": 33}, ["diffusion.inputs"]),
        ({"variants": 9, "visible_edges": 0, "rules": 0}, ["rules", "variants", "visible_edges"]),
        ({"fields.phone.kind": "number", "title": ...}, ["title", "fields.phone.kind"]),
        (
            {"surplus": "Zzyzx", "bits": 7, "filters.0.parts.0.field": "nickname", "filters.0.parts.2.tokens": "year"},
            ["bits", "filters.0", "filters.0", "surplus"],
        ),
    ],
    ids=str,
)
def test_all_faults_are_told_at_once_by_place(
    bad: Bad, good: Good, write: Write, changes: dict[str, Any], places: list[str]
) -> None:
    load_spec(write(good("spec")))
    with pytest.raises(ContractError) as caught:
        load_spec(write(bad("spec", changes)))
    assert [problem.split(":")[0] for problem in caught.value.problems] == places
    assert "Zzyzx" not in str(caught.value) and "nickname" not in str(caught.value)


def test_an_unknown_kind_of_hashing_names_the_known_ones(bad: Bad, write: Write) -> None:
    with pytest.raises(ContractError) as caught:
        load_spec(write(bad("spec", {"hashing.kind": "Zzyzx"})))
    assert caught.value.problems == ("hashing: kind: should be one of 'constant_fill', 'fixed_hashes'",)


def test_more_fields_than_a_mask_has_bits(bad: Bad, good: Good) -> None:
    fields = {f"field_{number}": {"kind": "name"} for number in range(17)}
    parts = [PART | {"field": name} for name in fields]
    assert LinkageSpec.model_validate(
        bad("spec", {"fields": fields, "filters": [{"name": "all", "parts": parts[:16]}]})
    ).filters
    with pytest.raises(ValueError, match="more than 16 fields"):
        LinkageSpec.model_validate(bad("spec", {"fields": fields, "filters": [{"name": "all", "parts": parts}]}))


def test_one_filter_of_all_a_filter_a_field_and_a_field_cut_in_several_ways_are_all_specs(bad: Bad) -> None:
    parts = bad("spec", {})["filters"][0]["parts"]
    apart = [{"name": part["field"], "parts": [part]} for part in parts]
    assert len(LinkageSpec.model_validate(bad("spec", {"filters": apart})).filters) == 3
    several = [{"name": "all", "parts": [*parts, PART | {"tokens": "whole"}]}]
    assert LinkageSpec.model_validate(bad("spec", {"filters": several})).filters[0].parts[-1].tokens == "whole"


OTHER: dict[str, Any] = {
    "name": "two",
    "rules": 2,
    "bits": 512,
    "hashing": {"kind": "fixed_hashes", "hashes": 21},
    "diffusion": {"bits": 2048, "inputs": 5},
    "presence_masks": True,
    "variants": 3,
    "visible_edges": 0.4,
    "fields": {
        "given_name": {"kind": "name", "column": "x"},
        "birth_date": {"kind": "date"},
        "phone": {"kind": "digits"},
    },
    "filters": [{"name": "clk", "parts": [PART]}],
}


def test_the_digest_ignores_the_title_and_changes_with_anything_else(good: Good) -> None:
    assert {*OTHER, "linkage_spec", "title"} == set(LinkageSpec.model_fields)
    content = good("spec")
    usual = LinkageSpec.model_validate(content).digest
    assert LinkageSpec.model_validate(content | {"title": "another"}).digest == usual
    digests = {LinkageSpec.model_validate(content | {key: value}).digest for key, value in OTHER.items()}
    assert len(digests | {usual}) == len(OTHER) + 1
    assert len(usual) == 64


@given(keys=st.permutations(list(OTHER)), whole=st.booleans())
@settings(max_examples=20)
def test_the_digest_does_not_depend_on_how_a_file_is_written(keys: list[str], whole: bool) -> None:
    content: dict[str, Any] = {key: OTHER[key] for key in keys} | {"linkage_spec": 1, "title": "x"}
    usual = LinkageSpec.model_validate(OTHER | {"linkage_spec": 1, "title": "x"}).digest
    content["fields"] = dict(reversed(content["fields"].items()))
    content["hashing"] = {"hashes": 21 if whole else 21.0, "kind": "fixed_hashes"}
    assert LinkageSpec.model_validate(content).digest == usual


def test_the_order_of_filters_and_parts_counts(good: Good, bad: Bad) -> None:
    """A mask's bits follow the parts and the pairs of filters their order, so two orders are two specs."""
    parts = good("spec")["filters"][0]["parts"]
    turned = bad("spec", {"filters.0.parts": parts[::-1]})
    assert LinkageSpec.model_validate(turned).digest != LinkageSpec.model_validate(good("spec")).digest


@pytest.mark.parametrize("shares", [0.4, 1, {100: 0.1, 10_000: 0.5}, {10_000: 0.5, 100: 0.1}, {"100": 0.1}])
def test_visible_edges_are_a_share_or_shares_by_size_and_read_back_the_same(good: Good, shares: Any) -> None:
    spec = LinkageSpec.model_validate(good("spec") | {"visible_edges": shares})
    assert LinkageSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert LinkageSpec.model_validate_json(spec.model_dump_json()).digest == spec.digest
    if not isinstance(shares, dict):
        assert {spec.edges_allowed(records) for records in (1, 500, 10**6)} == {shares}
    elif len(shares) > 1:
        assert [spec.edges_allowed(records) for records in (1, 100, 1_000, 10_000, 10**6)] == pytest.approx(
            [0.1, 0.1, 0.3, 0.5, 0.5]
        )


@pytest.mark.parametrize("shares", [0, 1.01, True, "Zzyzx", [0.1], {}, {100: 0}, {0: 0.1}, {"x": 0.1}, {100: "0.1"}])
def test_visible_edges_that_are_no_shares(bad: Bad, write: Write, shares: Any) -> None:
    with pytest.raises(ContractError) as caught:
        load_spec(write(bad("spec", {"visible_edges": shares})))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["visible_edges"]
    assert "Zzyzx" not in str(caught.value)
