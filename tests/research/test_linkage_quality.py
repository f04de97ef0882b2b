"""Quality of the linkage by group and on test persons: against counting by hand, and what of it may be said."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.exchange.draws import draws_frame
from linkage.research.bundle import document_bytes
from linkage.research.disclosure import ProtectedTable
from linkage.research.draws import by_record, draw_histories, partition
from linkage.research.histories import stack
from linkage.research.linkage_quality import FEWEST_DRAWS, FEWEST_LINKS, STEP, _wider, by_group, measured, wilson
from linkage.research.release import in_scope, scoped_persons
from linkage.research.tables import TOTAL, build_tables


def drawn(person_map: pl.DataFrame, number: int = 40, share: float = 0.3, seed: int = 1) -> pl.DataFrame:
    """Draw partitions: a share of the persons on several lists lose a record in half of the draws."""
    rng = np.random.default_rng(seed)
    several = person_map.group_by("person").len().filter(pl.col("len") > 1)["person"].sort()
    chosen = several.sample(fraction=share, seed=seed)
    rows = person_map.with_row_index("row").filter(pl.col("person").is_in(chosen.implode()))
    own = rows["person"].to_numpy().astype(np.int64)
    first = ~rows["person"].is_duplicated() | rows["person"].is_first_distinct()
    alone = first.to_numpy() & (rng.random((number, len(own))) < 0.5)
    person = np.where(alone, 100_000 + np.arange(len(own)), own).astype(np.uint32)
    return draws_frame(rows["row"].to_numpy().astype(np.int64), person)


@pytest.fixture(scope="module")
def parts(maker: Any, large: Any) -> tuple[Any, ...]:
    person_map = large.person_map.sort("source", "pseudonym")
    policy = maker.policy()
    events = in_scope(stack(large.facts, by_record(person_map)), policy.scope)
    people = scoped_persons(large.facts, person_map, policy)
    tables = [
        ProtectedTable.restore({**_structure(table)}, table.frame) for table in build_tables(people, policy.lists)
    ]
    return events, people, person_map, tables


def _structure(table: Any) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "dimensions": table.dimensions,
        "meaning": {d: {v: dict(c) for v, c in m.items()} for d, m in table.meaning.items()},
        "domains": dict(table.domains),
        "links": [],
    }


def test_rates_by_group_are_those_counted_by_hand(parts: tuple[Any, ...]) -> None:
    events, people, person_map, tables = parts
    draws = drawn(person_map)
    found = {(entry.dimension, entry.value): entry for entry in by_group(events, people, person_map, draws, tables)}
    assert {("sex", "female"), ("race", "black"), ("age", "14-17")} <= set(found)

    rows = events["person"].unique().to_list()
    sex = dict(people.select("person", "sex").iter_rows())
    own = person_map["person"].to_list()

    def links(persons: list[int], value: str) -> set[tuple[int, int]]:
        members: dict[int, list[int]] = {}
        for row in rows:
            members.setdefault(persons[row], []).append(row)
        pairs = (pair for group in members.values() for pair in combinations(group, 2))
        return {pair for pair in pairs if value in (sex[own[pair[0]]], sex[own[pair[1]]])}

    for value in ("female", "male"):
        if ("sex", value) not in found:
            continue
        claimed = links(own, value)
        right, true = [], []
        for draw in range(draws.width - 1):
            together = links(partition(person_map, draws, draw)["person"].to_list(), value)
            right.append(len(claimed & together) / len(claimed))
            true.append(len(claimed & together) / len(together))
        entry = found["sex", value]
        assert abs(entry.precision.value - np.mean(right)) <= STEP / 2 + 1e-9
        assert abs(entry.recall.value - np.mean(true)) <= STEP / 2 + 1e-9
        assert entry.precision.low <= np.quantile(right, 0.025) and entry.precision.high >= np.quantile(right, 0.975)
        assert 0.5 < entry.precision.value < 0.95
        assert entry.recall.value == 1.0  # in no draw is there a link that the map has not


def test_only_groups_that_published_counts_show_to_have_links(parts: tuple[Any, ...]) -> None:
    events, people, person_map, tables = parts
    draws = drawn(person_map)

    def shown(protected: list[Any]) -> set[str]:
        return {entry.value for entry in by_group(events, people, person_map, draws, protected)}

    profile = next(table for table in tables if table.name == "profile_sex")
    counts = {(source, sex): count for source, sex, count in profile.frame.iter_rows()}
    for sex in profile.values("sex"):
        sure = sum(counts[source, sex] for source in profile.values("source")) - counts[TOTAL, sex]
        assert (sex in shown(tables)) == (sure >= FEWEST_LINKS)
    assert "transgender_female" not in shown(tables)
    # Where the number of the group is withheld, or most of its lists are, nothing is said.
    for hidden in (pl.col("source") == TOTAL, pl.col("source") != TOTAL):
        count = pl.when(hidden & (pl.col("sex") == "female")).then(None).otherwise(pl.col("count"))
        frame = profile.frame.with_columns(count=count)
        others = [table for table in tables if table.name != "profile_sex"]
        assert "female" not in shown([*others, ProtectedTable.restore(_structure(profile), frame)])
    assert "female" in shown(tables)


def test_without_enough_draws_nothing_is_said_by_group(parts: tuple[Any, ...]) -> None:
    events, people, person_map, tables = parts
    assert by_group(events, people, person_map, drawn(person_map, FEWEST_DRAWS - 1), tables) == ()
    assert by_group(events, people, person_map, drawn(person_map, FEWEST_DRAWS), tables) != ()


def test_draws_that_are_worth_too_few_or_of_chains_that_did_not_agree_say_nothing(parts: tuple[Any, ...]) -> None:
    events, people, person_map, tables = parts

    def said(**posterior: Any) -> tuple[Any, ...]:
        return by_group(events, people, person_map, drawn(person_map, 40), tables, {"posterior": posterior})

    assert said() and said(r_hat=1.04, effective_draws=20.0, converged=True)
    assert said(r_hat=1.02, effective_draws=FEWEST_DRAWS - 0.1, converged=True) == ()
    assert said(r_hat=1.2, effective_draws=40.0, converged=False) == ()
    # A map that says R-hat alone, as they once did; None is that chains stood still apart.
    assert said(r_hat=1.1) and said(r_hat=1.11) == said(r_hat=None) == ()


def test_intervals_are_the_wider_the_less_the_draws_are_worth(parts: tuple[Any, ...]) -> None:
    events, people, person_map, tables = parts
    draws = drawn(person_map, 80)
    widths = []
    for worth in (80.0, 40.0, 20.0):
        quality = {"posterior": {"r_hat": 1.0, "effective_draws": worth, "converged": True}}
        entries = by_group(events, people, person_map, draws, tables, quality)
        widths.append(sum(entry.precision.high - entry.precision.low for entry in entries))
    assert widths[0] <= widths[1] <= widths[2] and widths[0] < widths[2]
    assert _wider(50, 50.0) == pytest.approx(np.sqrt(1 + 1 / 50) * 2.0096 / 1.96, rel=1e-4)
    assert _wider(50, 20.0) > _wider(50, 49.0)
    for entry in by_group(events, people, person_map, draws, tables):
        assert entry.recall.high <= 1.0


def test_where_nothing_is_in_doubt_all_is_right(parts: tuple[Any, ...]) -> None:
    events, people, person_map, tables = parts
    draws = pl.DataFrame(schema=dict.fromkeys(["record", *(f"draw_{i}" for i in range(20))], pl.UInt32))
    for entry in by_group(events, people, person_map, draws, tables):
        assert (entry.precision.value, entry.precision.low, entry.recall.high) == (1.0, 1.0, 1.0)


# --- test persons


def with_test_persons(world: Any, found: int, missed: int, wrong: int) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Plant test persons on mpd and dcf, and some on mpd that the map gives to real persons of medical."""
    rng = np.random.default_rng(9)
    top = int(world.person_map["person"].max()) + 1
    mapping: list[tuple[str, str, int]] = []
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in world.facts}
    victims = world.person_map.filter(source="medical").head(wrong)["person"].to_list()

    def plant(source: str, name: str, person: int) -> None:
        pseudonym = rng.bytes(16).hex()
        mapping.append((source, pseudonym, person))
        rows[source].append({"pseudonym": pseudonym, "decoy": True, "test_person": name})

    for number in range(found + missed + wrong):
        linked = number < found
        plant("mpd", f"t{number}", top if number < found + missed else victims.pop())
        plant("dcf", f"t{number}", top if linked else top + 1)
        top += 2
    frame = pl.DataFrame(mapping, schema=world.person_map.schema, orient="row")
    facts = {
        name: pl.concat([frame, pl.DataFrame(rows[name], schema=FACT_SCHEMA)]) for name, frame in world.facts.items()
    }
    return facts, pl.concat([world.person_map, frame])


def test_recall_and_precision_on_test_persons_are_counted(maker: Any, small: Any) -> None:
    facts, person_map = with_test_persons(small, found=40, missed=7, wrong=3)
    got = measured(facts, person_map)
    assert got is not None
    assert (got.persons, got.pairs) == (50, 50)
    assert [(pair.sources, pair.pairs) for pair in got.by_sources] == [(("dcf", "mpd"), 50)]
    assert got.recall == got.by_sources[0].recall == wilson(40, 50)
    assert got.precision is not None
    # 40 right; three records stand with a real person, who may be on several lists.
    taken = person_map.join(
        person_map.filter(pl.col("pseudonym").is_in(facts["mpd"].filter(test_person="t49")["pseudonym"].implode())),
        on="person",
        how="semi",
    )
    assert taken.height >= 2
    assert 0.8 < got.precision.value < 1.0
    assert measured(small.facts, small.person_map) is None
    one_list = {name: frame if name == "mpd" else small.facts[name] for name, frame in facts.items()}
    assert measured(one_list, person_map) is None


def test_test_persons_are_in_no_count(maker: Any, small: Any, small_release: Any, tmp_path: Path) -> None:
    facts, person_map = with_test_persons(small, found=40, missed=7, wrong=3)
    made = type(small)(facts, person_map, small.quality, small.manifests)
    summary = maker.release(made, tmp_path / "release")
    plain = json.loads(document_bytes(small_release.document))
    planted = json.loads(document_bytes(summary.document))
    assert planted["linkage"].pop("measured")["pairs"] == 50
    assert "measured" not in plain["linkage"]
    assert planted == plain
    page = (tmp_path / "release" / "report.html").read_text(encoding="utf-8")
    assert "Measured on 50 test persons" in page and "t49" not in page

    policy, ordered = maker.policy(), person_map.sort("source", "pseudonym")
    empty = pl.DataFrame(schema=dict.fromkeys(["record", "draw_0"], pl.UInt32))
    counted = [
        draw_histories(in_scope(stack(which, by_record(where)), policy.scope), where, empty, maker.lists)
        for which, where in ((facts, ordered), (small.facts, small.person_map.sort("source", "pseudonym")))
    ]
    assert counted[0].equals(counted[1])


def test_a_release_with_draws_says_how_well_groups_were_recognised(maker: Any, large: Any, tmp_path: Path) -> None:
    person_map = large.person_map.sort("source", "pseudonym")
    made = type(large)(large.facts, person_map, large.quality, large.manifests)
    summary = maker.release(made, tmp_path / "release", draws=drawn(person_map))
    entries = summary.document.linkage.by_group
    assert {entry.dimension for entry in entries} == {"sex", "race", "age"}
    for entry in entries:
        for rate in (entry.precision, entry.recall):
            assert all(round(share * 50, 6) == round(share * 50) for share in (rate.value, rate.low, rate.high))
    page = (tmp_path / "release" / "report.html").read_text(encoding="utf-8")
    assert "Expected quality by group" in page
    assert "race: black" in page


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_and_stays_inside(of: int, data: Any) -> None:
    found = data.draw(st.integers(0, of))
    rate = wilson(found, of)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert (rate.low == 0) == (found == 0 or rate.low < 0.01)
    assert (found < of) or rate.high == 1


def test_wilson_as_published() -> None:
    # Newcombe 1998, table I: 81 of 263 is .2553 to .3662; 15 of 148 is .0624 to .1605.
    assert (wilson(81, 263).low, wilson(81, 263).high) == (0.25, 0.37)
    assert (wilson(15, 148).low, wilson(15, 148).high) == (0.06, 0.17)
