"""Expected quality against counting by hand, and the list of near-ties."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from linkage.hub.partitions import Draws
from linkage.hub.quality import _widened, assess


def judged(
    source: list[int],
    pairs: list[tuple[int, int, float]],
    person: list[int],
    draws: Draws | None = None,
    within: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Assess a linkage of weighed pairs; sources are linked within where ``within`` says so."""
    left, right, chance = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0),) * 3
    number = max(source) + 1
    encoded = SimpleNamespace(source=np.array(source, np.int16), sources=tuple("abc"[:number]))
    candidates = SimpleNamespace(
        left=left.astype(np.int64),
        right=right.astype(np.int64),
        pairs=np.triu(np.ones((number, number)), 0 if within else 1),
    )
    fitted = SimpleNamespace(
        pair=np.arange(len(pairs)),
        probability=chance.astype(float),
        weight=np.log(np.maximum(chance, 1e-9)) * 3,
        repeats=np.zeros(0, np.int64),
        shown=True,
    )
    return assess(encoded, candidates, fitted, np.array(person), draws=draws, **more)  # type: ignore[arg-type]


def test_without_draws_the_rates_are_those_of_the_probabilities() -> None:
    found = judged([0, 0, 0, 1, 1, 1], [(0, 3, 0.9), (1, 4, 0.8), (2, 5, 0.3)], [0, 1, 2, 0, 1, 3])
    assert (found["links"], found["expected_matches"], found["draws"]) == (2, 2.0, 0)
    assert found["precision"]["value"] == 0.85 and found["recall"]["value"] == 0.85 and found["f1"]["value"] == 0.85
    half = 1.96 * np.sqrt(0.09 + 0.16) / 2
    assert found["precision"]["low"] == pytest.approx(0.85 - half, abs=1e-4)
    assert found["precision"]["high"] == 1.0
    assert found["person_sizes"] == {"1": 2, "2": 2}
    assert found["person_sources"] == {"1": 2, "2": 2}
    assert sum(found["weight_bands"].values()) == sum(found["probability_bands"].values()) == 3
    assert found["probability_bands"]["0.7-0.9"] == 1 and found["probability_bands"]["0.9-0.99"] == 1
    assert found["by_sources"][0]["weight_bands"]["-5 to 0"] == 3
    assert "blocking" not in found


def test_what_the_engine_says_of_blocking_goes_in() -> None:
    facts = {"mode": "exact", "expected_candidate_recall": 1.0, "measured_candidate_recall": None}
    assert judged([0, 1], [], [0, 1], blocking=facts)["blocking"] == facts


def test_nothing_linked_and_nothing_to_link() -> None:
    found = judged([0, 1], [], [0, 1])
    assert (found["links"], found["precision"], found["recall"], found["f1"]) == (0, None, None, None)
    empty = Draws(np.zeros(0, np.int64), np.zeros((5, 0), np.uint32))
    assert judged([0, 1], [], [0, 1], empty)["precision"] is None


@pytest.mark.parametrize("seed", range(6))
def test_with_draws_pairs_are_counted_as_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = np.sort(rng.integers(0, 3, 14))
    person = np.unique(rng.integers(0, 6, 14), return_inverse=True)[1]
    open_records = np.flatnonzero(np.isin(person, rng.choice(person, 3)))
    drawn = rng.integers(0, 5, (40, len(open_records))).astype(np.uint32)
    found = judged(source.tolist(), [], person.tolist(), Draws(open_records, drawn), within=True)

    links = {(i, j) for i, j in combinations(range(14), 2) if person[i] == person[j]}
    rates = []
    for row in drawn:
        place = dict(zip(open_records.tolist(), row.tolist(), strict=True))
        true = {
            (i, j)
            for i, j in combinations(range(14), 2)
            if (place[i] == place[j] if i in place and j in place else (i, j) in links)
        }
        rates.append((true & links, true))
    for a, b in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (None, None)]:

        def here(some: set[tuple[int, int]], a: Any = a, b: Any = b) -> int:
            return sum(a is None or sorted((source[i], source[j])) == [a, b] for i, j in some)

        entry = found
        if a is not None:
            entry = next(e for e in found["by_sources"] if e["sources"] == ["abc"[a], "abc"[b]])
        right, true = (np.array([here(pair[place]) for pair in rates], float) for place in (0, 1))
        assert entry["links"] == here(links)
        assert entry["expected_matches"] == pytest.approx(true.mean(), abs=0.051)
        if here(links):
            assert entry["precision"]["value"] == pytest.approx(right.mean() / here(links), abs=1e-4)
            # Student's t with 39 degrees of freedom, and one draw more for the mean.
            low = max(0, right.mean() - 2.0227 * np.sqrt(1 + 1 / 40) * right.std(ddof=1)) / here(links)
            assert entry["precision"]["low"] == pytest.approx(low, abs=1e-4)
        if true.any():
            assert entry["recall"]["value"] == pytest.approx(right.mean() / true.mean(), abs=1e-4)


def test_where_pairs_are_independent_draws_and_probabilities_say_the_same() -> None:
    rng = np.random.default_rng(1)
    number = 400
    chance = rng.beta(4, 1, number)
    pairs = [(i, number + i, p) for i, p in enumerate(chance)]
    person = np.concatenate([np.arange(number), np.where(chance > 0.5, np.arange(number), number + np.arange(number))])
    person = np.unique(person, return_inverse=True)[1]
    source = [0] * number + [1] * number
    apart = number + np.arange(number)
    drawn = np.concatenate(
        [np.tile(np.arange(number), (500, 1)), np.where(rng.random((500, number)) < chance, np.arange(number), apart)],
        1,
    )
    # Half of the records are said to be in no doubt: their pairs enter with their probability.
    half = np.concatenate([np.arange(200), number + np.arange(200)])
    plain = judged(source, pairs, person.tolist())
    for record in (np.arange(2 * number), half):
        found = judged(source, pairs, person.tolist(), Draws(record, drawn[:, record].astype(np.uint32)))
        assert found["links"] == plain["links"]
        assert found["expected_matches"] == pytest.approx(plain["expected_matches"], rel=0.01)
        for name in ("precision", "recall", "f1"):
            assert found[name]["value"] == pytest.approx(plain[name]["value"], abs=0.005)
            widths = [rates[name]["high"] - rates[name]["low"] for rates in (found, plain)]
            assert widths[0] == pytest.approx(widths[1], rel=0.15)


def test_pairs_that_stand_and_fall_together_widen_the_interval() -> None:
    person = np.arange(100).repeat(4)
    source = np.tile([0, 0, 1, 1], 100)
    order = np.argsort(source, kind="stable")
    person, source = person[order], source[order]
    drawn = np.random.default_rng(2).random((300, 100)) < 0.7
    # Each person is one, or four: six links right, or none.
    numbers = np.where(drawn[:, person], person, 100 + np.arange(400)).astype(np.uint32)
    found = judged(source.tolist(), [], person.tolist(), Draws(np.arange(400), numbers), within=True)
    width = found["precision"]["high"] - found["precision"]["value"]
    assert found["precision"]["value"] == pytest.approx(0.7, abs=0.01)
    assert width == pytest.approx(1.96 * np.sqrt(0.21 / 100), rel=0.1)


def test_an_interval_from_draws_that_hang_together_is_as_wide_as_one_from_as_many_as_they_are_worth() -> None:
    rng = np.random.default_rng(3)
    source, person = [0] * 300 + [1] * 300, np.tile(np.arange(300), 2)

    def width(states: NDArray[np.bool_], effective: float | None) -> float:
        apart = np.where(states, np.arange(300), 300 + np.arange(300))
        drawn = np.concatenate([np.tile(np.arange(300), (len(states), 1)), apart], axis=1).astype(np.uint32)
        found = judged(source, [], person.tolist(), Draws(np.arange(600), drawn), effective=effective)
        return float(found["precision"]["high"] - found["precision"]["low"])

    # Ten draws, each five times over, are worth ten; and so are ten.
    ten = rng.random((200, 10, 300)) < 0.7
    repeated = np.mean([width(states.repeat(5, axis=0), 10.0) for states in ten])
    assert repeated == pytest.approx(np.mean([width(states, None) for states in ten]), rel=0.01)
    assert repeated > 1.2 * np.mean([width(states.repeat(5, axis=0), None) for states in ten])


@pytest.mark.parametrize(("hold", "most"), [(0.0, 0.98), (0.6, 0.98), (0.9, 1.0)])
def test_intervals_hold_the_truth_as_often_as_they_say_whatever_the_draws_are_worth(hold: float, most: float) -> None:
    # A number that wanders: what is true is one more state of the same kind, far from all that were drawn.
    rng = np.random.default_rng(4)
    draws, runs = 50, 2000
    walk = rng.normal(size=(runs, 1))
    for _ in range(draws - 1):
        walk = np.append(walk, hold * walk[:, -1:] + np.sqrt(1 - hold**2) * rng.normal(size=(runs, 1)), axis=1)
    factor, deviations = _widened(draws, draws * (1 - hold) / (1 + hold))
    half = deviations * np.sqrt(factor * walk.var(axis=1, ddof=1))
    held = np.abs(rng.normal(size=runs) - walk.mean(axis=1)) < half
    assert 0.935 < held.mean() <= most  # of draws that are worth two or three, too wide is all that can be had
