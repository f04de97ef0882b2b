"""Plan, examine, gather: the same candidates however the work is cut, bounded whatever the records are."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkage.contract import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub.compare import Candidates, compare, examine, gather, plan_comparison
from linkage.hub.encoded import Encoded, stack
from linkage.hub.plan import MOST_COUNTED, deal, load_found, load_plan, save_found, save_plan

SPEC = LinkageSpec.model_validate(
    {**load_spec("default").model_dump(), "bits": 512, "diffusion": {"bits": 512, "inputs": 4}}
)
BYTES = SPEC.diffusion.bits // 8


def bits(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, len(SPEC.filters), BYTES), dtype=np.uint8)


def noisy(filters: np.ndarray, share: float, seed: int) -> np.ndarray:
    flips = np.random.default_rng(seed).random((*filters.shape, 8)) < share
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


def two_sources(shared: int, others: int, *, share: float = 0.15, repeats: bool = False) -> Encoded:
    one = bits(shared, 1)
    sources = {
        "a": frame(np.concatenate([one, bits(others, 2)]), "a"),
        "b": frame(np.concatenate([noisy(one, share, 3), bits(others, 4)]), "b"),
    }
    return stack(sources, SPEC, {"a": True, "b": not repeats})


def same(one: Candidates, other: Candidates) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Candidates)]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("number", [2, 7])
def test_the_candidates_do_not_depend_on_how_the_work_is_cut(number: int, tmp_path: Path) -> None:
    encoded = two_sources(300, 900, repeats=True)
    whole = compare(encoded, seed=3)
    assert len(whole.left) > 300
    save_plan(plan_comparison(encoded, seed=3), tmp_path / "plan.npz")
    plan = load_plan(tmp_path / "plan.npz")
    shards = deal(encoded, plan, number)
    assert len(shards) == number
    for place, shard in enumerate(shards):
        save_found(examine(encoded, plan, shard), tmp_path / f"{place}.npz")
    founds = [load_found(tmp_path / f"{place}.npz") for place in reversed(range(number))]
    assert same(whole, gather(encoded, plan, founds))


def test_all_matches_are_among_the_candidates_and_each_pair_is_there_once() -> None:
    candidates = compare(two_sources(300, 2_000))
    pairs = set(zip(candidates.left.tolist(), candidates.right.tolist(), strict=True))
    assert len(pairs) == len(candidates.left) and all(a < b for a, b in pairs)
    assert {(place, 2_300 + place) for place in range(300)} <= pairs
    assert (candidates.reach == 1).all()
    assert candidates.pairs.sum() == 2_300**2


def test_a_shard_that_is_missing_or_there_twice_is_noticed() -> None:
    encoded = two_sources(100, 400)
    plan = plan_comparison(encoded)
    founds = [examine(encoded, plan, shard) for shard in deal(encoded, plan, 3)]
    for wrong in (founds[:2], founds[1:], [*founds, founds[1]], []):
        with pytest.raises(LinkError) as error:
            gather(encoded, plan, wrong)
        assert error.value.reason == "shards-missing"


def test_a_plan_for_other_encodings_is_refused() -> None:
    plan = plan_comparison(two_sources(100, 400))
    with pytest.raises(LinkError) as error:
        deal(two_sources(100, 401), plan, 2)
    assert error.value.reason == "plan-differs"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_plan(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plan.npz").write_bytes(content)
    with pytest.raises(LinkError) as error:
        load_plan(tmp_path / "plan.npz")
    assert error.value.reason == "unreadable"


def test_findings_are_no_plan(tmp_path: Path) -> None:
    encoded = two_sources(50, 50)
    plan = plan_comparison(encoded)
    save_found(examine(encoded, plan, deal(encoded, plan, 1)[0]), tmp_path / "found.npz")
    with pytest.raises(LinkError):
        load_plan(tmp_path / "found.npz")


def test_records_that_are_all_identical_are_refused_in_bounded_memory() -> None:
    one = np.repeat(bits(1, 1), 3_000, axis=0)
    encoded = stack({"a": frame(one, "a"), "b": frame(one, "b")}, SPEC, {"a": True, "b": True})
    with pytest.raises(LinkError) as error:
        compare(encoded)
    assert error.value.reason == "indistinguishable-records"


def test_filters_that_are_all_missing_are_refused() -> None:
    spec = LinkageSpec.model_validate({**SPEC.model_dump(), "presence_masks": True})
    masks = {f"{entry.name}_mask": pl.lit(0, pl.UInt16) for entry in SPEC.filters}
    sources = {name: frame(bits(3_000, seed), name).with_columns(**masks) for seed, name in enumerate("ab")}
    with pytest.raises(LinkError) as error:
        compare(stack(sources, spec, {"a": True, "b": True}))
    assert error.value.reason == "indistinguishable-records"


def test_filters_of_padding_only_make_no_near_pair() -> None:
    # Without masks, what is missing is sent as random bits: they are as far apart as those of strangers.
    candidates = compare(two_sources(0, 3_000))
    near = candidates.levels[candidates.linkable].min(axis=1)
    assert len(near) and (near <= 17).all()


def test_a_mass_that_ties_stays_below_the_threshold_and_the_matches_above() -> None:
    # A third of either source is one and the same record; the others are persons, some of them in both.
    shared, crowd = bits(500, 1), np.repeat(bits(1, 9), 1_000, axis=0)
    sources = {
        "a": frame(np.concatenate([shared, bits(1_500, 2), noisy(crowd, 0.2, 5)]), "a"),
        "b": frame(np.concatenate([noisy(shared, 0.1, 3), bits(1_500, 4), noisy(crowd, 0.2, 6)]), "b"),
    }
    encoded = stack(sources, SPEC, {"a": True, "b": True})
    plan = plan_comparison(encoded, most=400_000)
    candidates = gather(encoded, plan, [examine(encoded, plan, shard) for shard in deal(encoded, plan, 2)])
    pairs = set(zip(candidates.left.tolist(), candidates.right.tolist(), strict=True))
    assert len(pairs & {(place, 3_000 + place) for place in range(500)}) >= 495
    assert len(pairs) <= 400_000


def test_more_candidates_than_may_be_kept_are_refused_whole_or_in_shards() -> None:
    encoded = two_sources(300, 900)
    plan = replace(plan_comparison(encoded), most=5_000)
    with pytest.raises(LinkError) as error:
        examine(encoded, plan, deal(encoded, plan, 1)[0])
    assert error.value.reason == "indistinguishable-records"
    founds = [examine(encoded, plan, shard) for shard in deal(encoded, plan, 200)]
    with pytest.raises(LinkError) as error:
        gather(encoded, plan, founds)
    assert error.value.reason == "indistinguishable-records"


def test_records_of_many_variants_are_sampled_until_their_rows_no_longer_fit_into_the_counts() -> None:
    records, variants = 280, 256
    rows = {
        source: pl.DataFrame(
            {
                "pseudonym": np.repeat([f"{source}{place:031d}" for place in range(records)], variants),
                "variant": pl.Series(np.tile(np.arange(variants), records), dtype=pl.UInt8),
                **{
                    entry.name: pl.Series([row.tobytes() for row in bits(records * variants, number)[:, 0]])
                    for number, entry in enumerate(SPEC.filters)
                },
            }
        )
        for source in "ab"
    }
    plan = plan_comparison(stack(rows, SPEC, dict.fromkeys(rows, True)))
    sampled = np.diff(plan.own_starts)
    assert (sampled <= MOST_COUNTED).all() and (sampled > MOST_COUNTED - variants).all()
    records_sampled = MOST_COUNTED // variants
    within = records_sampled * (records_sampled - 1) / 2 + records_sampled * (records - records_sampled)
    assert plan.unlike_pairs == 2 * within
