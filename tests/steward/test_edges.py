"""The owner's gate: what resembles itself inside one file is seen before it is sealed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from linkage.contract.files import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.errors import NotPermittedError
from linkage.steward import edges
from linkage.steward.edges import ANY, JOINT, require_few_edges, visible_edges

BITS = 2048


@pytest.fixture(scope="module")
def spec() -> LinkageSpec:
    return load_spec("default").model_copy(update={"visible_edges": 0.10})


def frame(spec: LinkageSpec, filters: dict[str, np.ndarray], variant: int = 0) -> pl.DataFrame:
    """Encodings from matrices of bits, one a filter; each row is a person's."""
    records = len(next(iter(filters.values())))
    columns: dict[str, list[object]] = {"pseudonym": [f"{number:032x}" for number in range(records)]}
    columns |= {name: [row.tobytes() for row in np.packbits(bits, axis=1)] for name, bits in filters.items()}
    assert set(columns) == {"pseudonym", *(entry.name for entry in spec.filters)}
    return pl.DataFrame(columns).with_columns(variant=pl.lit(variant, dtype=pl.UInt8))


def noise(records: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (records, BITS), np.uint8)


def random(spec: LinkageSpec, records: int) -> dict[str, np.ndarray]:
    return {entry.name: noise(records, seed) for seed, entry in enumerate(spec.filters)}


@pytest.mark.parametrize("records", [300, 1_000, 4_500])
def test_random_records_have_next_to_no_edges(spec: LinkageSpec, records: int) -> None:
    """By chance about 0.3% a filter have one, at a thousand records as at more."""
    shares = visible_edges(frame(spec, random(spec, records)), spec)
    assert list(shares) == [*(entry.name for entry in spec.filters), JOINT, ANY]
    assert 0 <= shares["any"] < 0.02
    require_few_edges(shares, records, spec)


@pytest.mark.parametrize("planted", [1, 30, 100])
def test_planted_repeats_are_measured_and_refused_above_the_limit(spec: LinkageSpec, planted: int) -> None:
    """So many people are in the file twice, with 30% of their bits changed in one filter only."""
    filters = random(spec, 500)
    name = spec.filters[0].name
    flips = np.random.default_rng(9).random((planted, BITS)) < 0.3
    filters[name][250 : 250 + planted] = filters[name][:planted] ^ flips
    shares = visible_edges(frame(spec, filters), spec)
    assert shares[name] == pytest.approx(2 * planted / 500, abs=0.01)
    assert shares[spec.filters[1].name] < 0.02
    assert shares["any"] >= shares[name]
    if planted < 20:
        require_few_edges(shares, 500, spec)
        return
    with pytest.raises(NotPermittedError) as caught:
        require_few_edges(shares, 500, spec)
    assert caught.value.reason == "visible-edges"
    assert spec.name in str(caught.value) and f"{shares['any']:.1%}" in str(caught.value)
    assert [line.partition(":")[0] for line in caught.value.problems] == [entry.name for entry in spec.filters] + [
        JOINT
    ]
    assert caught.value.problems[0] == f"{name}: {shares[name]:.1%}"


def test_what_is_too_faint_in_each_filter_is_seen_in_both_together(spec: LinkageSpec) -> None:
    """Pairs whose filters correlate at 3.8 sigma each: hidden in either, at 5.4 sigma of the sum together."""
    filters = random(spec, 400)
    for number, bits in enumerate(filters.values()):
        surplus = np.random.default_rng(number).random((200, BITS)) < 1 - 3.8 / np.sqrt(BITS)
        bits[200:] = np.where(surplus, noise(200, 70 + number), bits[:200])
    shares = visible_edges(frame(spec, filters), spec)
    alone = [shares[entry.name] for entry in spec.filters]
    assert max(alone) < 0.45
    assert shares[JOINT] > max(0.6, *alone)
    assert shares[ANY] >= shares[JOINT]


def test_a_spec_of_one_filter_has_nothing_jointly(spec: LinkageSpec) -> None:
    one = spec.model_copy(update={"filters": spec.filters[:1]})
    filters = {one.filters[0].name: noise(60)}
    filters[one.filters[0].name][30] = filters[one.filters[0].name][0]
    assert visible_edges(frame(one, filters), one) == {one.filters[0].name: 2 / 60, ANY: 2 / 60}


def test_what_is_likest_in_opposite_is_no_edge(spec: LinkageSpec) -> None:
    filters = random(spec, 100)
    for bits in filters.values():
        bits[50:] = 1 - bits[:50]
    assert visible_edges(frame(spec, filters), spec)["any"] < 0.05


def test_the_limit_lies_where_its_description_says(spec: LinkageSpec) -> None:
    """Two records agree in so many bits more than half that the correlation is just under or over 4.5 / sqrt(bits)."""
    surplus = 4.5 * np.sqrt(BITS) / 2
    for more, share in ((-2, 0.0), (3, 1.0)):
        filters = {}
        for entry in spec.filters:
            bits = noise(2)
            bits[1] = 1 - bits[0]
            bits[1, : int(BITS / 2 + surplus) + more] = bits[0, : int(BITS / 2 + surplus) + more]
            filters[entry.name] = bits
        shares = visible_edges(frame(spec, filters), spec)
        assert {shares[entry.name] for entry in spec.filters} == {share}


def test_other_names_of_one_person_are_no_edge_and_of_two_people_are_one(spec: LinkageSpec) -> None:
    filters = random(spec, 50)
    both = pl.concat([frame(spec, filters), frame(spec, filters, variant=1)])
    assert visible_edges(both, spec)["any"] == visible_edges(frame(spec, filters), spec)["any"] < 0.05
    others = {name: noise(50, 90 + number) for number, name in enumerate(filters)}
    for name, bits in others.items():
        bits[7] = filters[name][31]  # the alias of one is the name of another
    aliases = pl.concat([frame(spec, filters), frame(spec, others, variant=1)])
    assert visible_edges(aliases, spec)["any"] == pytest.approx(2 / 50, abs=0.02)


@pytest.mark.parametrize("records", [0, 1])
def test_nobody_resembles_anybody_in_a_file_of_one(spec: LinkageSpec, records: int) -> None:
    shares = visible_edges(frame(spec, random(spec, records)), spec)
    assert set(shares.values()) == {0.0}


def test_a_large_file_is_measured_on_a_sample_against_all(monkeypatch: pytest.MonkeyPatch, spec: LinkageSpec) -> None:
    filters = random(spec, 900)
    for bits in filters.values():
        bits[450:] = bits[:450]
    monkeypatch.setattr(edges, "_MOST_LEFT", 40)
    monkeypatch.setattr(edges, "_BLOCK", 128)
    assert visible_edges(frame(spec, filters), spec)["any"] == 1.0
    assert visible_edges(frame(spec, random(spec, 900)), spec)["any"] < 0.1


def test_exactly_the_limit_is_allowed(spec: LinkageSpec) -> None:
    require_few_edges({"any": 0.10}, 500, spec)
    with pytest.raises(NotPermittedError):
        require_few_edges({"any": 0.1001}, 500, spec)


def test_the_limit_is_that_of_the_files_size(spec: LinkageSpec) -> None:
    by_size = spec.model_copy(update={"visible_edges": {100: 0.1, 10_000: 0.5}})
    for records, allowed in ((2, 0.1), (100, 0.1), (1_000, 0.3), (10_000, 0.5), (1_000_000, 0.5)):
        assert by_size.edges_allowed(records) == pytest.approx(allowed)
        require_few_edges({"any": allowed - 1e-6}, records, by_size)
        with pytest.raises(NotPermittedError):
            require_few_edges({"any": allowed + 1e-6}, records, by_size)


@pytest.mark.parametrize("profile", ["default", "guarded"])
def test_shipped_limits_grow_with_the_file_and_end_somewhere(profile: str) -> None:
    shipped = load_spec(profile)
    allowed = [
        shipped.edges_allowed(records) for records in (1, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 10**7)
    ]
    assert allowed == sorted(allowed) and allowed[0] <= 0.2 and allowed[-1] <= 0.6
