"""Keys of a locality-sensitive hash: every colliding pair once, as many matches as were promised, bounded in masses."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkage.contract import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub import pilot
from linkage.hub.block import log_miss, share_reached
from linkage.hub.collisions import collide
from linkage.hub.compare import Candidates, compare, examine, gather, plan_comparison
from linkage.hub.encoded import Encoded, stack
from linkage.hub.kernels import pair_distances
from linkage.hub.locality import KEY_BYTES, Keys, Rows, collide_reference
from linkage.hub.plan import deal, load_found, load_plan, save_found, save_plan

SPEC = LinkageSpec.model_validate(
    {**load_spec("default").model_dump(), "bits": 512, "diffusion": {"bits": 512, "inputs": 4}}
)
BYTES, FILTERS = SPEC.diffusion.bits // 8, len(SPEC.filters)
NONE = np.zeros(0, np.uint64)


def bits(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, FILTERS, BYTES), dtype=np.uint8)


def noisy(filters: np.ndarray, share: float | np.ndarray, seed: int) -> np.ndarray:
    flips = np.random.default_rng(seed).random((*filters.shape, 8)) < np.reshape(share, (-1, 1, 1, 1))
    return filters ^ np.packbits(flips, axis=-1)[..., 0]


def frame(filters: np.ndarray, prefix: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "pseudonym": [f"{prefix}{place:031d}" for place in range(len(filters))],
            "variant": pl.Series([0] * len(filters), dtype=pl.UInt8),
            **{
                entry.name: pl.Series([row.tobytes() for row in filters[:, number]], dtype=pl.Binary)
                for number, entry in enumerate(SPEC.filters)
            },
        }
    )


def encode(a: np.ndarray, b: np.ndarray, *, repeats: bool = False) -> Encoded:
    return stack({"a": frame(a, "a"), "b": frame(b, "b")}, SPEC, {"a": True, "b": not repeats})


def two_sources(shared: int, others: int, *, share: float | np.ndarray = 0.1, repeats: bool = False) -> Encoded:
    one = bits(shared, 1)
    second = np.concatenate([noisy(one, share, 3), bits(others, 4)])
    return encode(np.concatenate([one, bits(others, 2)]), second, repeats=repeats)


def rows_of(encoded: Encoded, *, threshold: float = -1.0, watch: bool = True) -> Rows:
    flat = np.zeros((FILTERS, 1, BYTES * 8 + 1))
    source = encoded.source[encoded.record].astype(np.int64)
    watched = np.full(len(source), watch)
    return Rows(
        encoded.words, encoded.width, encoded.classes, encoded.strata, encoded.record,
        encoded.known[encoded.record], source, encoded.deduplicated, watched,
        flat.astype(np.uint8), flat.astype(np.float32), np.float32(threshold),
    )  # fmt: skip


def keys_of(length: int, bound: int, by_line: int, seed: int = 1) -> Keys:
    rng = np.random.default_rng(seed)
    size = (length + 7) // 8 + 2
    places = np.array([rng.permutation(KEY_BYTES)[:size] for _ in range(FILTERS * by_line)], np.uint8)
    line = np.repeat(np.arange(FILTERS), by_line)
    return Keys(places, line, length, bound, NONE, NONE, np.zeros(0, np.uint8), np.uint64(7))


def found_pairs(rows: Rows, keys: Keys, first: int, last: int, threads: int = 2) -> list[tuple[int, int]]:
    found = collide(rows, keys, first, last, capacity=50_000, most=10**6, threads=threads)
    assert found.kept.max() <= 50_000
    return sorted(
        (int(found.left[t, at]), int(found.right[t, at])) for t in range(threads) for at in range(found.kept[t])
    )


@pytest.mark.parametrize(("length", "bound", "by_line"), [(5, 90, 3), (9, 78, 20), (16, 192, 30), (19, 96, 30)])
@pytest.mark.parametrize("repeats", [False, True])
def test_every_pair_that_shares_a_key_is_examined_once_at_the_first(
    length: int, bound: int, by_line: int, repeats: bool
) -> None:
    encoded = two_sources(60, 30, share=np.linspace(0, 0.3, 60), repeats=repeats)
    encoded.classes[5, 0] = encoded.classes[120, 1] = 0  # filters that are not there have no key
    rows, keys = rows_of(encoded), keys_of(length, bound, by_line)
    first = collide_reference(rows, keys)
    for start, end in ((0, by_line), (by_line, 2 * by_line), (3, by_line + 2)):
        left, right = np.nonzero(np.triu((first >= start) & (first < end), 1))
        expected = sorted(zip(left.tolist(), right.tolist(), strict=True))
        assert found_pairs(rows, keys, start, end) == expected
        assert expected


def test_pairs_within_a_source_are_sought_only_between_watched_records_of_two_persons() -> None:
    encoded = encode(np.repeat(bits(20, 1), 2, axis=0), bits(30, 2))
    known = replace(encoded, known=np.where(np.arange(70) < 10, np.arange(70) // 2, np.arange(70)))
    assert len(found_pairs(rows_of(known), keys_of(12, 60, 2), 0, 4)) == 15
    assert len(found_pairs(rows_of(encoded), keys_of(12, 60, 2), 0, 4)) == 20
    assert found_pairs(rows_of(encoded, watch=False), keys_of(12, 60, 2), 0, 4) == []


@pytest.mark.parametrize("flips", [0.05, 0.15, 0.22])
def test_as_many_pairs_collide_as_the_flipped_bits_promise(flips: float) -> None:
    one = bits(4_000, 1)
    encoded = encode(one, noisy(one, flips, 2))
    length, bound, by_line = 14, 54, 2
    pairs = found_pairs(rows_of(encoded, watch=False), keys_of(length, bound, by_line), 0, FILTERS * by_line)
    hits = sum(right - left == 4_000 for left, right in pairs)
    miss = log_miss(length, bound, np.full(FILTERS, by_line), encoded.width)
    left = np.arange(4_000)
    distances = pair_distances(encoded.words, encoded.width, left, left + 4_000)
    expected = share_reached(miss, distances, np.ones(distances.shape, np.bool_))
    assert 0.05 < expected.mean() < 0.9999
    assert abs(hits - expected.sum()) < 5 * np.sqrt((expected * (1 - expected)).sum()) + 0.01 * expected.sum()


def same(one: Candidates, other: Candidates) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Candidates)]
    return all(np.array_equal(a, b) for a, b in pairs)


def test_the_candidates_of_a_blocking_do_not_depend_on_how_the_work_is_cut(tmp_path: Path) -> None:
    encoded = two_sources(1_500, 2_500, repeats=True)
    whole = compare(encoded, seed=3, budget=2e5)
    assert whole.comparison["mode"] == "blocked"
    save_plan(plan_comparison(encoded, seed=3, budget=2e5), tmp_path / "plan.npz")
    plan = load_plan(tmp_path / "plan.npz")
    shards = deal(encoded, plan, 9)
    assert {shard.kind for shard in shards} == {"rows", "keys"} and len(shards) == 9
    for place, shard in enumerate(shards):
        save_found(examine(encoded, plan, shard), tmp_path / f"{place}.npz")
    founds = [load_found(tmp_path / f"{place}.npz") for place in reversed(range(9))]
    assert same(whole, gather(encoded, plan, founds))
    with pytest.raises(LinkError) as error:
        gather(encoded, plan, founds[1:])
    assert error.value.reason == "shards-missing"


def test_the_asked_share_of_the_matches_is_found_and_what_is_promised_holds() -> None:
    share = np.random.default_rng(9).choice([0.0, 0.15, 0.22], 3_000, p=[0.4, 0.2, 0.4])
    candidates = compare(two_sources(3_000, 3_000, share=share), budget=8e5, recall=0.97)
    said = candidates.comparison
    assert said["mode"] == "blocked" and said["reason"] == "beyond-budget"
    matches = candidates.left + 6_000 == candidates.right
    measured = matches[candidates.left < 3_000].sum() / 3_000
    assert measured >= 0.96
    assert said["settled_matches"] > 1_000
    # Among what the easy matches leave a few of the pilot's matches are none: the promise errs on the low side.
    assert -0.03 < said["expected_candidate_recall"] - measured < 0.015
    assert abs(said["measured_candidate_recall"] - measured) < 0.03
    # What each match's reach says, all of them together keep: 1 / reach counts those that were missed.
    assert abs((1 / candidates.reach[matches]).sum() - 3_000) < 60
    unlike = ~candidates.linkable
    assert unlike.any() and ((candidates.reach > 0) & (candidates.reach <= 1)).all()


def test_within_the_budget_or_where_keys_cost_more_all_pairs_are_compared() -> None:
    encoded = two_sources(300, 600, share=0.22)
    assert compare(encoded).comparison["reason"] == "within-budget"
    candidates = compare(encoded, budget=700_000)
    assert candidates.comparison["mode"] == "exact" and (candidates.reach == 1).all()


def test_where_no_affordable_keys_find_enough_it_is_said() -> None:
    # Two bits in five differ: a key of ten bits finds one match in a hundred and sixty.
    encoded = two_sources(4_000, 2_000, share=0.4)
    assert compare(encoded, budget=1.2e7).comparison["mode"] == "exact"
    said = compare(encoded, budget=3e4).comparison
    assert said["mode"] == "blocked" and said["reason"] == "recall-not-reached"
    assert said["expected_candidate_recall"] < 0.9


@pytest.mark.parametrize("share", [0.002, 0.02])
def test_all_records_nearly_identical_end_in_bounded_candidates_or_a_refusal(share: float) -> None:
    encoded = with_crowd(8_000, 0, share)
    try:
        candidates = compare(encoded, budget=5e5)
    except LinkError as error:
        assert error.reason == "indistinguishable-records"
    else:
        assert len(candidates.left) < 100 * 16_000


def with_crowd(crowd: int, persons: int, share: float) -> Encoded:
    """Build sources of which ``crowd`` records each are all but one and the same, and the others persons in both."""
    one, mass = bits(persons, 1), np.repeat(bits(1, 9), crowd, axis=0)
    a, b = np.concatenate([one, noisy(mass, share, 5)]), np.concatenate([noisy(one, 0.05, 3), noisy(mass, share, 6)])
    return encode(a, b)


def test_a_mass_of_records_that_share_every_key_does_not_hide_the_persons() -> None:
    encoded = with_crowd(6_000, 2_000, 0.0)
    plan = plan_comparison(encoded, budget=5e5)
    assert plan.blocking is not None and len(plan.blocking.crowds)
    founds = [examine(encoded, plan, shard) for shard in deal(encoded, plan, 3)]
    candidates = gather(encoded, plan, founds)
    persons = (candidates.left < 2_000) & (candidates.left + 8_000 == candidates.right)
    assert persons.sum() >= 1_900
    within_mass = (candidates.left >= 2_000) & (candidates.right >= 10_000) & candidates.linkable
    assert within_mass.sum() < 6_000 * 100, "each of the mass is compared with few others, not with six thousand"
    assert candidates.comparison["pairs_skipped"] > 3e7
    assert same(candidates, compare(encoded, budget=5e5))


def test_all_records_identical_are_refused_or_bounded() -> None:
    encoded = with_crowd(8_000, 0, 0.0)
    with pytest.raises(LinkError) as error:
        compare(encoded, budget=5e5)
    assert error.value.reason == "indistinguishable-records"


def test_more_pairs_than_can_be_kept_are_refused() -> None:
    encoded = two_sources(2_000, 2_000, share=0.22)
    plan = plan_comparison(encoded, budget=2e5)
    assert plan.blocking is not None
    few = replace(plan, most=100)
    keys = next(shard for shard in deal(encoded, few, 2) if shard.kind == "keys")
    with pytest.raises(LinkError) as error:
        examine(encoded, few, keys)
    assert error.value.reason == "indistinguishable-records"


def test_the_pilot_tells_likely_matches_from_the_best_of_chance() -> None:
    rng = np.random.default_rng(4)
    matched = rng.random(500) < 0.6
    best = rng.gumbel(10, 1, 500)
    by_chance = np.column_stack([best - rng.exponential(0.4, 500), best])
    first = np.where(matched, np.maximum(rng.normal(22, 2, 500), by_chance[:, 1]), by_chance[:, 1])
    second = np.where(matched, by_chance[:, 1], by_chance[:, 0])
    order = np.argsort(-first)
    weight = pilot._likely(first[order], second[order])
    assert abs(weight.sum() - matched.sum()) < 20
    assert weight[~matched[order]].sum() < 10


def test_matches_of_middling_difficulty_are_settled_too_and_the_promise_holds() -> None:
    share = np.random.default_rng(9).choice([0.0, 0.22, 0.3], 3_000, p=[0.3, 0.5, 0.2])
    encoded = two_sources(3_000, 3_000, share=share)
    plan = plan_comparison(encoded, budget=8e5, recall=0.97)
    assert plan.easy is not None and plan.easy.middle is not None and plan.blocking is not None
    settled = plan.easy.settled
    assert settled[:3_000][share == 0.22].mean() > 0.5, "none of these is all but identical"
    assert (settled[:3_000] == settled[6_000:9_000]).mean() > 0.995 and settled[3_000:6_000].mean() < 0.02
    assert plan.easy.matches.sum() == settled.sum() / 2
    assert (
        plan.easy.found.last == len(plan.easy.blocking.line) + len(plan.easy.middle.line) == len(plan.easy.found.scored)
    )
    candidates = compare(encoded, budget=8e5, recall=0.97)
    matches = candidates.left + 6_000 == candidates.right
    assert matches[candidates.left < 3_000].sum() / 3_000 >= 0.96
    assert abs((1 / candidates.reach[matches]).sum() - 3_000) < 60
