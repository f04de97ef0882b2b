"""The decision, and what is kept of the draws."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage.contract import load_spec
from linkage.errors import LinkError
from linkage.hub import Linked, link
from linkage.hub.decide import best_threshold, open_records
from linkage.hub.partitions import Draws

SPEC = load_spec("default")
WIDTH = SPEC.diffusion.bits // 8

chances = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@given(chances)
def test_the_threshold_is_the_one_of_greatest_expected_f1(probabilities: list[float]) -> None:
    """Expected F1 of a choice of pairs: twice the expected right ones over links and expected matches."""
    given_ = np.array(probabilities)
    threshold = best_threshold(given_)

    def f1(chosen: NDArray[np.bool_]) -> float:
        both = chosen.sum() + given_.sum()
        return float(2 * given_[chosen].sum() / both) if both > 0 else 0.0

    best = max(f1(np.array(chosen, np.bool_)) for chosen in np.ndindex(*(2,) * len(given_)))
    if 0 < best / 2 < 0.25:  # so little is expected to match that a link would be a guess
        assert threshold == 0.25
    else:
        assert f1(given_ > threshold) == pytest.approx(best, abs=1e-9)
    assert 0 <= threshold <= 0.5


@given(st.floats(0.01, 100), chances)
def test_a_cost_sets_the_threshold_whatever_the_probabilities(cost: float, probabilities: list[float]) -> None:
    threshold = best_threshold(np.array(probabilities), cost)
    assert threshold == pytest.approx(cost / (1 + cost))
    # At the threshold a link costs as much as it saves.
    assert (1 - threshold) * cost == pytest.approx(threshold)


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cost_that_is_none_is_refused(cost: float) -> None:
    with pytest.raises(LinkError) as error:
        best_threshold(np.array([0.5]), cost)
    assert error.value.reason == "bad-cost"


@pytest.mark.parametrize("probabilities", [[], [0.0, 0.0]])
def test_without_a_likely_pair_one_half_is_the_threshold(probabilities: list[float]) -> None:
    assert best_threshold(np.array(probabilities)) == 0.5


def first_of(label: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return first[inverse]


def same_partition(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    return bool((first_of(one) == first_of(other)).all())


def rebuilt(person: NDArray[np.int64], draws: Draws, draw: int) -> NDArray[np.int64]:
    """Return the partition of a draw: open records' persons take numbers that nobody else has."""
    whole = person.copy()
    whole[draws.record] = len(person) + draws.person[draw].astype(np.int64)
    return whole


@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 6), st.integers(1, 8))
def test_what_is_kept_of_the_draws_says_every_draw(seed: int, records: int, draws: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    # Blocks of records that never meet, some of them with one partition in all draws.
    block = np.sort(rng.integers(0, spread, records))
    labels = np.empty((draws, records), np.int64)
    for number in range(spread):
        inside = np.flatnonzero(block == number)
        fixed = rng.integers(0, 3, len(inside))
        for draw in range(draws):
            part = fixed if number % 2 else rng.integers(0, 3, len(inside))
            labels[draw, inside] = inside[first_of(part)]
    usual = labels[0] if rng.random() < 0.5 else np.arange(records)
    person = np.unique(np.where(block % 3 == 0, labels[-1], usual), return_inverse=True)[1].ravel()
    person = np.unique(first_of(person), return_inverse=True)[1].ravel()
    varies = np.flatnonzero((labels != labels[0]).any(axis=0))
    kept = open_records(person, labels[0], varies, labels[:, varies])
    assert kept.person.dtype == np.uint32 and kept.person.shape == (draws, len(kept.record))
    for draw in range(draws):
        assert same_partition(rebuilt(person, kept, draw), labels[draw])
    closed = np.setdiff1d(np.arange(records), kept.record)
    for i in closed:
        assert not (person[kept.record] == person[i]).any()
    # Nothing is open without need: its person is another one in some draw.
    for i in kept.record:
        mine = set(np.flatnonzero(person == person[i]).tolist())
        assert any(set(np.flatnonzero(label == label[i]).tolist()) != mine for label in labels)


def encodings(filters: list[bytes], prefix: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "pseudonym": [f"{prefix}{place:031d}" for place in range(len(filters))],
            "variant": pl.Series([0] * len(filters), dtype=pl.UInt8),
            **{entry.name: pl.Series(filters, dtype=pl.Binary) for entry in SPEC.filters},
        }
    )


@cache
def linked(seed: int) -> Linked:
    """Link three sources, of some persons with so much noise that it is not sure who they are."""
    rng = np.random.default_rng(0)
    persons = np.array([rng.integers(0, 256, WIDTH, np.uint8) for _ in range(220)])

    def noisy(rows: NDArray[np.uint8]) -> list[bytes]:
        share = rng.choice([0.2, 0.38, 0.41, 0.43], (len(rows), 1))
        flips = np.packbits(rng.random((len(rows), WIDTH * 8)) < share, axis=1)
        return [row.tobytes() for row in rows ^ flips]

    sources = {"a": persons[:150], "b": persons[60:190], "c": persons[100:220]}
    return link({name: encodings(noisy(rows), name) for name, rows in sources.items()}, SPEC, draws=200, seed=seed)


def test_draws_of_a_file_hold_as_many_links_as_are_expected() -> None:
    found = linked(1)
    person = found.persons["person"].to_numpy().astype(np.int64)
    source = found.persons["source"].rank("dense").to_numpy()
    links = []
    for draw in range(len(found.draws.person)):
        whole = rebuilt(person, found.draws, draw)
        held = set(zip(whole.tolist(), source.tolist(), strict=True))
        assert len(held) == len(whole) - len(found.repeats)
        sizes = np.unique(whole, return_counts=True)[1]
        links.append(float((sizes * (sizes - 1)).sum() / 2))
    assert len(found.draws.record) > 0  # there is something in doubt
    assert np.mean(links) == pytest.approx(found.quality["expected_matches"], rel=0.01, abs=1)
    assert np.mean(links) == pytest.approx(found.probability.sum(), rel=0.03, abs=1)


def test_each_pair_of_a_file_is_together_as_often_as_its_probability_says() -> None:
    found = linked(1)
    person = found.persons["person"].to_numpy().astype(np.int64)
    whole = np.array([rebuilt(person, found.draws, draw) for draw in range(200)])
    mean = (whole[:, found.left] == whole[:, found.right]).mean(axis=0)
    spread = np.sqrt(found.probability * (1 - found.probability) / 200)
    assert (np.abs(mean - found.probability) < 6 * spread + 0.06).all()


def test_a_seed_gives_the_same_persons_draws_and_quality() -> None:
    one, other = linked(1), linked.__wrapped__(1)
    assert one.persons.equals(other.persons)
    assert (one.draws.record == other.draws.record).all() and (one.draws.person == other.draws.person).all()
    assert (one.probability == other.probability).all()
    assert one.quality["posterior"] == other.quality["posterior"]


def test_the_quality_says_how_the_draws_were_made() -> None:
    posterior = linked(1).quality["posterior"]
    assert {"summed_records", "sampled_records", "largest_component"} <= set(posterior)
    assert not posterior["sampled_records"] or {"r_hat", "effective_draws"} <= set(posterior)
