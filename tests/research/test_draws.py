"""Partitions drawn: a draw is a map, and the tables of all draws are those of each draw counted by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from linkage.errors import EstimateError
from linkage.research import draws as drawn
from linkage.research.draws import by_record, draw_histories, number_of_draws, partition, spread, take, usable
from linkage.research.histories import capture_histories, persons, stack
from linkage.research.release import in_scope

MAP = pl.DataFrame(
    {
        "source": ["a", "a", "b", "b", "c"],
        "pseudonym": [letter * 32 for letter in "12345"],
        "person": pl.Series([0, 1, 1, 2, 0], dtype=pl.UInt32),
    }
)
DRAWS = pl.DataFrame(
    {"record": [1, 2, 3], "draw_0": [0, 0, 1], "draw_1": [0, 1, 0], "draw_2": [0, 1, 2]},
    schema=dict.fromkeys(["record", "draw_0", "draw_1", "draw_2"], pl.UInt32),
)


def test_a_draw_is_a_map() -> None:
    assert number_of_draws(DRAWS) == 3
    found = [partition(MAP, DRAWS, draw)["person"].to_list() for draw in range(3)]
    assert found == [[0, 3, 3, 4, 0], [0, 3, 4, 3, 0], [0, 3, 4, 5, 0]]
    assert partition(MAP, DRAWS, 0).schema == MAP.schema
    assert MAP["person"].to_list() == [0, 1, 1, 2, 0]
    for draw in (-1, 3):
        with pytest.raises(EstimateError) as caught:
            partition(MAP, DRAWS, draw)
        assert caught.value.reason == "no-such-draw"


def test_draws_that_are_used_are_evenly_spread_and_fewer_for_many_lists() -> None:
    assert spread(3, 4) == [0, 1, 2] and spread(0, 4) == spread(0, 6) == []
    assert spread(100, 4) == list(range(100)) and spread(25, 5) == list(range(25))
    assert spread(200, 4) == spread(200, 2) == list(range(0, 200, 2))
    assert spread(100, 5) == spread(100, 12) == list(range(0, 100, 4))
    assert spread(8, 4, most=4) == spread(8, 6, most=4) == [0, 2, 4, 6]
    assert spread(8, 4, most=9) == list(range(8))
    for there in (101, 137, 999):
        for lists in (3, 7):
            steps = np.diff(spread(there, lists))
            assert steps.min() >= 1 and steps.max() - steps.min() <= 1


def test_draws_are_used_where_chains_agreed_and_they_are_worth_two() -> None:
    assert usable({}, 2) and usable({"posterior": {"converged": True, "effective_draws": 2.0}}, 100)
    assert not usable({}, 1) and not usable({}, 0)
    assert not usable({"posterior": {"converged": True, "effective_draws": 1.9}}, 100)
    assert not usable({"posterior": {"converged": False, "effective_draws": 90.0}}, 100)


def test_draws_are_taken_by_number_and_numbered_anew() -> None:
    assert take(DRAWS, [0, 2]).to_dict(as_series=False) == {
        "record": [1, 2, 3],
        "draw_0": [0, 0, 1],
        "draw_1": [0, 1, 2],
    }
    assert take(DRAWS, []).columns == ["record"]
    assert take(DRAWS, spread(3, 4)).equals(DRAWS)


def made(person_map: pl.DataFrame, number: int, seed: int) -> pl.DataFrame:
    """Draw partitions in which some of the persons of a map part, and some of the parts meet others."""
    rng = np.random.default_rng(seed)
    in_doubt = person_map["person"].unique().sort().sample(fraction=0.2, seed=seed)
    record = person_map.with_row_index("row").filter(pl.col("person").is_in(in_doubt.implode()))["row"]
    columns = {f"draw_{i}": rng.integers(0, len(record), len(record)).astype(np.uint32) for i in range(number)}
    return pl.DataFrame({"record": record.cast(pl.UInt32), **columns})


@pytest.mark.parametrize("by", [(), ("tier", "sex"), ("year",)])
@pytest.mark.parametrize("rows", [1, 2_000_000])
def test_all_draws_at_once_are_each_draw_by_itself(
    maker: Any, small: Any, by: tuple[str, ...], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn, "_ROWS", rows)
    person_map = small.person_map.sort("source", "pseudonym")
    draws, scope = made(person_map, 4, 1), maker.policy().scope
    events = in_scope(stack(small.facts, by_record(person_map)), scope)
    found = draw_histories(events, person_map, draws, maker.lists, by)
    assert found["draw"].unique().sort().to_list() == [0, 1, 2, 3]
    for draw in range(4):
        one = in_scope(stack(small.facts, partition(person_map, draws, draw)), scope)
        expected = capture_histories(persons(one, maker.lists), maker.lists, by)
        assert_frame_equal(found.filter(pl.col("draw") == draw).drop("draw"), expected)


def test_where_nothing_is_in_doubt_every_draw_is_the_map(maker: Any, small: Any) -> None:
    person_map = small.person_map.sort("source", "pseudonym")
    draws = pl.DataFrame(schema=dict.fromkeys(["record", "draw_0", "draw_1"], pl.UInt32))
    events = in_scope(stack(small.facts, by_record(person_map)), maker.policy().scope)
    found = draw_histories(events, person_map, draws, maker.lists)
    people = persons(in_scope(stack(small.facts, person_map), maker.policy().scope), maker.lists)
    for draw in range(2):
        assert_frame_equal(found.filter(draw=draw).drop("draw"), capture_histories(people, maker.lists))
    assert draw_histories(events, person_map, draws.select("record"), maker.lists).is_empty()
