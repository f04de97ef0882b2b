"""The engine on small files whose truth is known, and on input that is no good."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from linkage.contract import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub import link

SPEC = load_spec("default")
WIDTH = SPEC.diffusion.bits // 8


def encodings(filters: list[bytes], prefix: str) -> pl.DataFrame:
    """Make an encodings frame of given filters, the same in every filter of the spec."""
    return pl.DataFrame(
        {
            "pseudonym": [f"{prefix}{place:031d}" for place in range(len(filters))],
            "variant": pl.Series([0] * len(filters), dtype=pl.UInt8),
            **{entry.name: pl.Series(filters, dtype=pl.Binary) for entry in SPEC.filters},
        }
    )


def people(number: int, seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [rng.bytes(WIDTH) for _ in range(number)]


def noisy(filters: list[bytes], share: float, seed: int) -> list[bytes]:
    """Flip a share of the bits of each filter."""
    rng = np.random.default_rng(seed)
    return [
        np.packbits(np.unpackbits(np.frombuffer(raw, np.uint8)) ^ (rng.random(WIDTH * 8) < share)).tobytes()
        for raw in filters
    ]


def together(persons: pl.DataFrame) -> int:
    """Count pairs of records of the two sources with the same place that are one person."""
    places = persons.with_columns(place=pl.col("pseudonym").str.slice(1).cast(pl.Int64))
    return (
        places.group_by("place")
        .agg(same=pl.col("person").n_unique() == 1, n=pl.len())
        .filter(pl.col("same") & (pl.col("n") == 2))
        .height
    )


def test_the_same_people_with_noise_are_found_and_nobody_else() -> None:
    shared = people(200, 1)
    left = encodings(shared + people(100, 2), "a")
    right = encodings(noisy(shared, 0.25, 3) + people(150, 4), "b")
    found = link({"a": left, "b": right}, SPEC)
    assert together(found.persons) >= 198
    assert abs(found.persons["person"].n_unique() - 450) <= 3
    assert found.quality["links_shown"] and found.quality["precision"]["value"] > 0.98


def test_where_nobody_is_shared_nobody_is_linked() -> None:
    found = link({"a": encodings(people(300, 1), "a"), "b": encodings(people(200, 2), "b")}, SPEC)
    assert found.persons["person"].n_unique() == 500
    assert found.quality["links"] == 0


def test_where_nobody_is_shared_people_under_two_numbers_are_no_links() -> None:
    strangers = people(300, 1)
    found = link({"a": encodings(strangers + strangers[:12], "a"), "b": encodings(people(200, 2), "b")}, SPEC)
    assert found.quality["links"] == 0


@pytest.mark.parametrize("twice", [6, 12, 18])
def test_people_under_two_numbers_do_not_hide_those_who_are_shared(twice: int) -> None:
    own, shared = people(300, 1), people(120, 5)
    left = encodings(own + own[:twice] + shared, "a")
    found = link({"a": left, "b": encodings(noisy(shared, 0.2, 6) + people(150, 7), "b")}, SPEC)
    assert found.quality["links_shown"]
    assert abs(found.quality["links"] - 120) <= 6


def test_the_result_does_not_depend_on_the_order_of_rows() -> None:
    shared = people(60, 5)
    left, right = encodings(shared + people(40, 6), "a"), encodings(noisy(shared, 0.2, 7) + people(30, 8), "b")
    one = link({"a": left, "b": right}, SPEC).persons.sort("source", "pseudonym")
    other = link({"b": right.reverse(), "a": left.sample(fraction=1, shuffle=True, seed=1)}, SPEC)
    assert one.equals(other.persons.sort("source", "pseudonym"))


def test_a_person_under_two_numbers_is_one() -> None:
    shared = people(150, 9)
    left = encodings(shared + noisy(shared[:3], 0.1, 10) + people(100, 11), "a")
    found = link({"a": left, "b": encodings(noisy(shared, 0.2, 12) + people(80, 13), "b")}, SPEC)
    persons = dict(found.persons.filter(source="a").select("pseudonym", "person").iter_rows())
    for place in range(3):
        assert persons[f"a{place:031d}"] == persons[f"a{150 + place:031d}"]
    assert found.quality["repeats_found"] == 3


def test_a_source_with_repeats_is_searched_within() -> None:
    once = people(150, 14)
    repeated = encodings(once + noisy(once[:40], 0.2, 15), "a")
    other = encodings(noisy(once, 0.2, 16) + people(50, 17), "b")
    found = link({"a": repeated, "b": other}, SPEC, repeats=frozenset({"a"}))
    persons = dict(found.persons.filter(source="a").select("pseudonym", "person").iter_rows())
    same = sum(persons[f"a{place:031d}"] == persons[f"a{150 + place:031d}"] for place in range(40))
    assert same >= 38


def test_the_best_of_several_names_counts() -> None:
    shared = people(120, 18)
    left = encodings(shared + people(60, 19), "a")
    aliases = left.head(180).with_columns(
        variant=pl.lit(1, pl.UInt8), **{e.name: pl.Series(people(180, 20), dtype=pl.Binary) for e in SPEC.filters}
    )
    # Source a knows everybody under a useless main name and the right one as an alias.
    swapped = pl.concat(
        [left.with_columns(variant=pl.lit(1, pl.UInt8)), aliases.with_columns(variant=pl.lit(0, pl.UInt8))]
    )
    found = link({"a": swapped, "b": encodings(noisy(shared, 0.2, 21) + people(60, 22), "b")}, SPEC)
    assert together(found.persons) >= 117


@pytest.mark.parametrize("sizes", [(1, 1), (1, 50), (2, 2), (0, 30), (30, 0)])
def test_next_to_nothing_to_link(sizes: tuple[int, int]) -> None:
    first, second = sizes
    found = link({"a": encodings(people(first, 1), "a"), "b": encodings(people(second, 2), "b")}, SPEC)
    assert len(found.persons) == first + second
    assert found.persons["person"].n_unique() >= (first + second) - min(first, second)


def test_one_source_alone_is_its_own_persons() -> None:
    found = link({"a": encodings(people(20, 1), "a")}, SPEC)
    assert found.persons["person"].to_list() == list(range(20))


def test_no_record_at_all() -> None:
    with pytest.raises(LinkError) as error:
        link({"a": encodings([], "a")}, SPEC)
    assert error.value.reason == "nothing-to-link"


def test_all_records_identical_keep_the_source_rule() -> None:
    one = people(1, 1) * 40
    found = link({"a": encodings(one, "a"), "b": encodings(one, "b")}, SPEC)
    sizes = found.persons.group_by("person", "source").len()
    assert len(found.persons) == 80
    assert sizes.filter(source="a")["len"].sum() == 40


def test_presence_masks_of_wholly_missing_filters() -> None:
    spec = LinkageSpec.model_validate({**SPEC.model_dump(), "presence_masks": True})
    masks = {f"{entry.name}_mask": pl.lit(0, pl.UInt16) for entry in SPEC.filters}
    left, right = (
        encodings(people(30, 1), "a").with_columns(**masks),
        encodings(people(30, 2), "b").with_columns(**masks),
    )
    found = link({"a": left, "b": right}, spec)
    assert found.persons["person"].n_unique() == 60


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.drop(SPEC.filters[0].name), "wrong-filters"),
        (lambda f: f.with_columns(pl.lit(b"short").alias(SPEC.filters[0].name)), "wrong-length"),
        (lambda f: f.with_columns(pl.lit("text").alias(SPEC.filters[0].name)), "wrong-filters"),
        (lambda f: pl.concat([f, f.head(1)]), "repeated-record"),
        (lambda f: f.drop("pseudonym"), "wrong-columns"),
        (lambda f: f.drop("variant"), "wrong-columns"),
        (lambda f: f.with_columns(pseudonym=pl.lit(1)), "wrong-columns"),
        (lambda f: f.with_columns(pseudonym=pl.lit(None, pl.String)), "wrong-columns"),
        (lambda f: f.with_columns(pl.col("variant").cast(pl.Int64)), "wrong-columns"),
        (lambda f: f.with_columns(variant=pl.lit(None, pl.UInt8)), "wrong-columns"),
    ],
)
def test_encodings_that_do_not_fit_the_spec(change: object, reason: str) -> None:
    good = encodings(people(5, 1), "a")
    with pytest.raises(LinkError) as error:
        link({"a": change(good), "b": encodings(people(5, 2), "b")}, SPEC)  # type: ignore[operator]
    assert error.value.reason == reason
    assert error.value.message.startswith("source a") and error.value.hint


def test_without_draws_the_expected_rates_are_those_of_the_probabilities() -> None:
    shared = people(150, 1)
    frames = {"a": encodings(shared, "a"), "b": encodings(noisy(shared, 0.3, 3), "b")}
    without, drawn = link(frames, SPEC, draws=0).quality, link(frames, SPEC, draws=50).quality
    assert without["precision"]["value"] == pytest.approx(drawn["precision"]["value"], abs=0.02)
    assert without["precision"]["low"] > 0.9
