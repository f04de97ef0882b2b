"""No pattern of filled fields singles a record out, and no more is left out than that takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.contract import load_agreement, load_source, load_spec
from linkage.contract.spec import LinkageSpec
from linkage.lab.labelled import TestKey
from linkage.lab.population import MILWAUKEE, draw_population
from linkage.steward.decoys import draw_decoys
from linkage.steward.encode import encode
from linkage.steward.extract import find_failures, read_extract
from linkage.steward.group import identifiers
from linkage.steward.presence import LEAST, share_patterns
from linkage.steward.tiers import add_tiers

KEY = b"k" * 32
PRECISE = load_spec("precise")
FIELDS = list(dict.fromkeys(part.field for entry in PRECISE.filters for part in entry.parts))


def frame(rows: list[set[str]]) -> pl.DataFrame:
    content = {name: [["a value"] if name in row else [] for row in rows] for name in FIELDS}
    return pl.DataFrame(content, schema=dict.fromkeys(FIELDS, pl.List(pl.String)))


def patterns(records: pl.DataFrame, owners: list[str]) -> Counter[tuple[Any, ...]]:
    """How many records show each sequence of masks, all names of a record together, as the encoder makes them."""
    found = encode(records, PRECISE, TestKey(1), labels=owners, padding_key=KEY).select(pl.col("^.*_mask$"))
    by_owner: dict[str, set[tuple[int, ...]]] = {}
    for owner, masks in zip(owners, found.iter_rows(), strict=True):
        by_owner.setdefault(owner, set()).add(masks)
    return Counter(tuple(sorted(masks)) for masks in by_owner.values())


def rare(counts: Counter[tuple[Any, ...]], least: int) -> int:
    return sum(count for masks, count in counts.items() if count < least and any(map(any, masks)))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 40), st.sets(st.sampled_from(FIELDS))), min_size=1, max_size=60),
    least=st.integers(1, 12),
)
def test_every_pattern_is_that_of_enough_records_or_empty(rows: list[tuple[int, set[str]]], least: int) -> None:
    owners, records = [f"p{owner}" for owner, _ in rows], frame([fields for _, fields in rows])
    shared = share_patterns(records, PRECISE, owners, KEY, least=least)
    counts = patterns(shared, owners)
    assert rare(counts, min(least, len(set(owners)))) == 0
    assert all(len(masks) == 1 for masks in counts)
    for name in FIELDS:  # nothing is made up or changed
        before, after = records[name].to_list(), shared[name].to_list()
        assert all(new in (old, []) for old, new in zip(before, after, strict=True))


def test_a_rare_record_is_left_what_the_cheapest_way_leaves_it() -> None:
    names = {"given_name", "family_name"}
    rows = [{*names, "sex"}] * 20 + [names] * 20 + [{*names, "sex", "phone"}]
    shared = share_patterns(frame(rows), PRECISE, [str(row) for row in range(41)], KEY, least=5)
    assert shared.height == 41 and not shared["phone"].list.len().sum()
    assert shared["sex"].list.len().sum() == 21
    # Four records fall back to the one that has less, where that costs less than leaving it with nothing.
    names |= {"birth_date", "street", "ssn4"}
    rows = [{*names, "sex"}] * 20 + [names]
    shared = share_patterns(frame(rows), PRECISE, [str(row) for row in range(21)], KEY, least=5)
    assert shared["family_name"].list.len().sum() == 21 and shared["sex"].list.len().sum() == 16


def test_which_records_keep_company_is_drawn_by_a_secret_and_stays() -> None:
    names = set(FIELDS) - {"sex"}
    rows = [{*names, "sex"}] * 200 + [names]
    owners = [f"{row:03d}" for row in range(201)]
    chosen = []
    for key in (KEY, KEY, b"l" * 32):
        shared = share_patterns(frame(rows), PRECISE, owners, key)
        chosen.append([owner for owner, sex in zip(owners[:200], shared["sex"], strict=False) if not len(sex)])
    assert chosen[0] == chosen[1] and len(chosen[0]) == LEAST - 1
    assert chosen[0] != chosen[2] and chosen[0] != owners[: LEAST - 1]
    order = list(reversed(range(201)))
    turned = share_patterns(frame([rows[row] for row in order]), PRECISE, [owners[row] for row in order], KEY)
    assert turned.reverse().equals(share_patterns(frame(rows), PRECISE, owners, KEY))


def test_specs_without_masks_leave_nothing_out() -> None:
    rows = frame([{"given_name"}, {"family_name", "phone"}, set()])
    assert share_patterns(rows, load_spec("default"), ["a", "b", "c"], KEY) is rows
    assert not share_patterns(rows, PRECISE, ["a", "b", "c"], KEY).equals(rows)


def test_plain_columns_and_files_without_records_or_fields() -> None:
    plain = pl.DataFrame({"given_name": ["A", "B", None, ""], "sex": ["f", None, "f", "f"], "other": [1, 2, 3, 4]})
    shared = share_patterns(plain, PRECISE, list("abcd"), KEY, least=2)
    assert shared.columns == plain.columns and shared["other"].to_list() == [1, 2, 3, 4]
    assert shared["sex"].to_list() in ([None, None, "f", "f"], ["f", None, "f", "f"])
    assert share_patterns(plain.head(0), PRECISE, [], KEY).is_empty()
    assert share_patterns(plain.select("other"), PRECISE, list("abcd"), KEY).columns == ["other"]


@pytest.fixture(scope="module")
def persons(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    folder = tmp_path_factory.mktemp("presence")
    draw_population(MILWAUKEE, 1, folder / "population")
    schema, agreement = load_source("mpd"), load_agreement("mpd")
    extract = read_extract(Path(folder, "population", "extracts", "mpd", "mpd.csv"), schema)
    tiered = add_tiers(find_failures(extract, schema).good, schema, agreement, today=agreement.starts)
    return identifiers(tiered, schema, agreement.identifiers, PRECISE.variants)


@pytest.fixture(scope="module")
def spec() -> LinkageSpec:
    return PRECISE


def test_a_real_list_has_many_rare_patterns_before_and_none_after(persons: pl.DataFrame, spec: LinkageSpec) -> None:
    owners = persons["local_id"].to_list()
    assert rare(patterns(persons, owners), LEAST) > 30
    shared = share_patterns(persons, spec, owners, KEY)
    assert rare(patterns(shared, owners), LEAST) == 0
    before, after = (
        int((frame.select(FIELDS).select(pl.all().list.len()).to_numpy() > 0).sum()) for frame in (persons, shared)
    )
    assert before > after > 0.96 * before


def test_decoys_show_no_pattern_that_people_do_not(persons: pl.DataFrame, spec: LinkageSpec) -> None:
    owners = persons["local_id"].to_list()
    shared = share_patterns(persons, spec, owners, KEY)
    decoys = draw_decoys(shared, 150, KEY)
    assert set(patterns(decoys, decoys["local_id"].to_list())) <= set(patterns(shared, owners))
