"""The estimator: isotonic weights against an oracle, calibration against known truth, no links where none are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.contract import load_spec
from linkage.hub.calibration import _Tail
from linkage.hub.compare import compare
from linkage.hub.encoded import Encoded, stack
from linkage.hub.fellegi_sunter import _fall_among_chance, fit
from linkage.hub.isotonic import never_falling

SPEC = load_spec("default")
WIDTH = SPEC.diffusion.bits // 8


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 10)), min_size=1, max_size=30),
)
@settings(deadline=None)
def test_weights_never_fall_and_agree_with_an_oracle(points: list[tuple[float, float]]) -> None:
    from sklearn.isotonic import IsotonicRegression

    values, weights = (np.array(column) for column in zip(*points, strict=True))
    found = never_falling(values, weights)
    oracle = IsotonicRegression().fit_transform(np.arange(len(values)), values, sample_weight=weights)
    assert np.allclose(found, oracle, atol=1e-6)


def two_sources(shared: int, alone: int, seed: int) -> tuple[Encoded, np.ndarray]:
    """Encode two sources; noise differs from person to person, so that some matches are hard. Truth by record."""
    rng = np.random.default_rng(seed)
    bits = (rng.random((shared, len(SPEC.filters), WIDTH * 8)) < 0.5).astype(np.uint8)
    noise = rng.uniform(0.05, 0.47, (shared, 1, 1))
    other = bits ^ (rng.random(bits.shape) < noise)
    frames = {}
    for source, known in (("a", bits), ("b", other)):
        filters = np.concatenate([known, rng.integers(0, 2, (alone, *bits.shape[1:]), dtype=np.uint8)])
        packed = np.packbits(filters, axis=2)
        frames[source] = pl.DataFrame(
            {
                "pseudonym": [f"{source}{place:031d}" for place in range(len(filters))],
                "variant": pl.Series([0] * len(filters), dtype=pl.UInt8),
                **{
                    e.name: [packed[row, k].tobytes() for row in range(len(filters))]
                    for k, e in enumerate(SPEC.filters)
                },
            }
        )
    encoded = stack(frames, SPEC, {"a": True, "b": True})
    place = encoded.labels["pseudonym"].str.slice(1).cast(pl.Int64).to_numpy()
    own = np.arange(len(place)) + shared
    return encoded, np.where(place < shared, place, own)


@pytest.mark.parametrize(("shared", "alone"), [(400, 300), (60, 900)])
def test_probabilities_are_calibrated(shared: int, alone: int) -> None:
    encoded, entity = two_sources(shared, alone, 1)
    candidates = compare(encoded)
    fitted = fit(encoded, candidates)
    true = entity[candidates.left[fitted.pair]] == entity[candidates.right[fitted.pair]]
    bands = np.minimum((fitted.probability * 10).astype(int), 9)
    gaps = [abs((fitted.probability[bands == b] - true[bands == b]).sum()) for b in range(10) if (bands == b).any()]
    assert sum(gaps) <= 0.12 * shared
    assert (
        abs(fitted.probability[fitted.probability > 0.5].sum() - true[fitted.probability > 0.5].sum()) <= 0.05 * shared
    )
    assert fitted.matches.sum() == pytest.approx(fitted.probability.sum(), rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_no_links_where_the_data_show_none(seed: int) -> None:
    encoded, _ = two_sources(0, 500, seed)
    fitted = fit(encoded, compare(encoded))
    assert not fitted.shown
    assert (fitted.probability == 0).all() and fitted.matches.sum() == 0


def test_the_tail_goes_on_as_it_fell() -> None:
    rng = np.random.default_rng(1)
    beyond = np.sort(rng.exponential(2.0, 20_000))[::-1]
    _, edges, share = _Tail(beyond, np.ones(20_000)).cut(0.01, 2e6, 30, 60.0)
    assert (np.diff(edges) > 0).all() and (share > 0).all()
    assert share.sum() == pytest.approx(1)
    tail = share[::-1].cumsum()[::-1][1:]
    deep = edges > 25
    assert np.allclose(np.log(tail[deep] / 0.01), -edges[deep] / 2, atol=2.5), "extrapolated at the pace of the law"


def test_pairs_found_by_chance_stand_for_those_that_were_not() -> None:
    rng = np.random.default_rng(3)
    beyond = np.sort(rng.exponential(2.0, 200_000))[::-1]
    reach = 1 / (1 + np.exp(-(beyond - 8)))
    found = rng.random(len(beyond)) < reach
    tails = []
    for total, count in ((beyond, np.ones(len(beyond))), (beyond[found], 1 / reach[found])):
        _, edges, share = _Tail(total, count).cut(0.01, 1e7, 30, 60.0)
        tails.append(np.interp([10.0, 20.0, 30.0], edges, np.log(share[::-1].cumsum()[::-1][1:])))
    assert np.allclose(*tails, atol=1)


def test_a_few_repeats_do_not_bend_the_tail() -> None:
    rng = np.random.default_rng(2)
    beyond = np.sort(rng.exponential(1.5, 5_000))[::-1]
    with_repeats = np.sort(np.concatenate([np.full(6, 40.0), beyond]))[::-1]
    tails = []
    for sample in (beyond, with_repeats):
        _, edges, share = _Tail(sample, np.ones(len(sample))).cut(0.01, 100.0 * len(sample), 30, 60.0)
        tails.append(np.interp(20.0, edges, np.log(share[::-1].cumsum()[::-1][1:])))
    assert abs(tails[0] - tails[1]) < 2


def test_where_chance_outnumbers_them_matches_only_become_fewer() -> None:
    counts = np.array([9.0, 12.0, 30.0, 2.0, 5.0, 40.0, 3.0])
    chance = np.array([1e5, 1e3, 100.0, 10.0, 1.0, 0.1, 0.01])
    assert _fall_among_chance(counts, chance).tolist() == [2.0, 2.0, 2.0, 2.0, 5.0, 40.0, 3.0]
    nearest_empty = np.array([1.0, 20.0, 0.0])
    assert _fall_among_chance(nearest_empty, np.array([1e3, 10.0, 0.01])).tolist() == [1.0, 20.0, 0.0]


def test_sums_that_tie_are_not_parted_by_the_lowest_level() -> None:
    tied = np.concatenate([np.arange(700, 500, -1) / 50, np.full(30_000, 8.0), np.full(100, 1.0)])
    tail = _Tail(tied, np.ones(len(tied)))
    base, edges, chance = tail.cut(0.03, 1e6, 5.0, 14.0)
    above = np.searchsorted(edges + base, tied, side="right") > 0
    assert np.isclose(chance[1:].sum() * 1e6, above.sum(), rtol=0.02)
    assert len(np.unique(above[tied == 8.0])) == 1
