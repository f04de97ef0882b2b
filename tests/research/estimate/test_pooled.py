"""Partition draws through an estimator: pooling, pairing, refusal, and the numbers of the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import Chao, HistoryTable, Independence, Result, Stepwise
from linkage.research.estimate.arithmetic import Estimated, aligned, contrast, total
from linkage.research.estimate.confidence import allowance, confidence_draws, spread
from linkage.research.estimate.families import over_partitions
from linkage.research.estimate.pooled import PooledResult, draw_tables, over_draws, rubin
from linkage.research.estimate.result import REASONS, refused


@pytest.fixture(scope="module")
def vector(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference" / "mse.json").read_text(encoding="utf-8"))["rubin"]


def sized(n: int) -> HistoryTable:
    """A table over three lists with n people in it, so that a fit can tell tables apart."""
    return HistoryTable(("A", "B", "C"), np.array([n - 60, 10, 10, 10, 10, 10, 10]))


def answering(results: dict[int, Result]) -> Callable[[HistoryTable], Result]:
    return lambda table: results[table.observed]


def posterior(draws: np.ndarray) -> Result:
    low, mid, high = np.quantile(draws, (0.025, 0.5, 0.975))
    return Result("m", "x", mid, low, high, draws=draws)


def resampled(table: HistoryTable, number: int, seed: int = 1) -> list[HistoryTable]:
    rng = np.random.default_rng(seed)
    n = table.observed
    return [HistoryTable(table.lists, rng.multinomial(n, table.counts / n)) for _ in range(number)]


def test_rubins_rules_give_the_reference_numbers(vector: dict[str, Any]) -> None:
    logs = np.log(np.array(vector["n0_draws"]))
    parts = rubin(logs.mean(axis=1), logs.var(axis=1, ddof=1))
    target = vector["log_n0"]
    assert parts.q == pytest.approx(target["qbar"], rel=1e-9)
    assert parts.within == pytest.approx(target["W"], rel=1e-9)
    assert parts.between == pytest.approx(target["B"], rel=1e-9)
    assert parts.total == pytest.approx(target["T"], rel=1e-9)
    assert parts.nu == pytest.approx(target["nu_rubin"], rel=1e-9)
    assert parts.share == pytest.approx(1.125 * target["B"] / target["T"], rel=1e-9)
    limits = np.mean(vector["n_obs"]) + np.exp(parts.quantiles([0.025, 0.975]))
    assert limits == pytest.approx(vector["CI95_N_rubin"], rel=1e-6)


def test_posterior_draws_are_pooled_as_one_with_equal_weight(vector: dict[str, Any]) -> None:
    results = {n: posterior(n + np.array(d)) for n, d in zip(vector["n_obs"], vector["n0_draws"], strict=True)}
    pooled = over_draws([sized(n) for n in vector["n_obs"]], answering(results))
    target, result = vector["linkage_averaging_mixture_quantiles_N"], pooled.result
    unspread = [result.details[f"unspread_{end}"] for end in ("lower", "median", "upper")]
    assert unspread == pytest.approx((target["2.5%"], target["50%"], target["97.5%"]), rel=1e-9)
    # Eight partitions: the interval is about as wide as Rubin's rules make it, which allow for so few.
    low, high = vector["CI95_N_rubin"]
    assert result.lower < unspread[0] < unspread[2] < result.upper
    assert (result.lower, result.upper) == pytest.approx((low, high), rel=0.02)
    assert result.n_hat == pytest.approx(unspread[1], rel=0.005)
    assert pooled.result.draws is not None and pooled.result.draws.size == 1600
    assert any("fewer than 20" in note for note in pooled.notes)


def test_tables_with_fewer_draws_weigh_as_much_as_the_others() -> None:
    few, many = np.linspace(100, 101, 50), np.linspace(200, 201, 450)
    pooled = over_draws([sized(80), sized(90)], answering({80: posterior(few), 90: posterior(many)}))
    assert pooled.result.draws is not None
    assert (pooled.result.draws < 150).mean() == 0.5


def test_an_estimator_without_draws_is_pooled_on_the_log_of_the_unseen(kosovo: HistoryTable) -> None:
    tables = resampled(kosovo, 20)
    fits = {table.digest: Independence().fit(table) for table in tables}
    pooled = over_draws(tables, lambda table: fits[table.digest])
    q = np.log([f.n_hat - kosovo.observed for f in fits.values()])
    se = np.array([np.log((f.upper - kosovo.observed) / (f.lower - kosovo.observed)) for f in fits.values()]) / (
        2 * 1.959964
    )
    between = 21 / 20 * q.var(ddof=1)
    total = (se**2).mean() + between
    assert pooled.result.n_hat == pytest.approx(kosovo.observed + np.exp(q.mean()))
    assert pooled.linkage_share == pytest.approx(between / total)
    assert pooled.width_share == pytest.approx(1 - np.sqrt((se**2).mean() / total))
    # The t quantile lies just above the normal one.
    half = np.log((pooled.result.upper - kosovo.observed) / (pooled.result.lower - kosovo.observed)) / 2
    assert 1.95996 * np.sqrt(total) < half < 2.03 * np.sqrt(total)
    assert np.quantile(pooled.result.draws, 0.975) == pytest.approx(pooled.result.upper, rel=2e-3)


def test_with_one_partition_in_all_draws_nothing_comes_from_linkage(uk: HistoryTable) -> None:
    fit = Stepwise(resamples=400)
    pooled = over_draws([uk] * 30, fit.fit)
    alone = fit.fit(uk)
    assert pooled.linkage_share == pytest.approx(0, abs=1e-3)
    assert pooled.width_share == pytest.approx(0, abs=1e-3)
    # Bootstrap draws enter at the levels of BCa, so that the interval is the estimator's own.
    assert pooled.result.n_hat == pytest.approx(alone.n_hat)
    assert pooled.result.lower == pytest.approx(alone.lower, rel=0.01)
    assert pooled.result.upper == pytest.approx(alone.upper, rel=0.03)


def test_draws_that_hang_together_say_less(kosovo: HistoryTable) -> None:
    tables = resampled(kosovo, 40)
    free, bound = over_draws(tables, Chao().fit), over_draws(tables, Chao().fit, effective=5)
    assert bound.effective == 5
    assert bound.result.upper - bound.result.lower > free.result.upper - free.result.lower
    assert bound.monte_carlo_error > 2 * free.monte_carlo_error
    assert any("hang together" in note for note in bound.notes)


def hung_together(worth: int, times: int, rng: np.random.Generator, spread: float = 0.3) -> list[float]:
    """Logs of the unseen, ``worth`` independent ones each so many times over."""
    return rng.normal(np.log(900), spread, worth).repeat(times).tolist()


def pooled_around(logs: list[float], *, effective: float | None, within: float = 0.02, size: int = 200) -> PooledResult:
    """Pool posteriors around given logs of the unseen."""
    rng = np.random.default_rng(8)
    results = {100 + r: posterior(100 + r + np.exp(q + within * rng.normal(size=size))) for r, q in enumerate(logs)}
    return over_draws([sized(n) for n in results], answering(results), effective=effective, partitions="p")


def test_a_mixture_of_draws_that_hang_together_is_as_wide_as_of_as_many_as_they_are_worth() -> None:
    logs = hung_together(5, 8, np.random.default_rng(2))
    pooled, few = pooled_around(logs, effective=5), pooled_around(logs[::8], effective=None)
    free = pooled_around(logs, effective=None)
    widths = [np.log(p.result.upper / p.result.lower) for p in (pooled, few, free)]
    assert widths[0] == pytest.approx(widths[1], rel=0.15)
    assert widths[0] > 1.5 * widths[2]
    assert 1.05 < allowance(40) < allowance(20) < allowance(5) < allowance(2)


def test_interval_and_draws_and_rows_of_a_mixture_are_one_and_lie_above_those_seen() -> None:
    pooled = pooled_around(hung_together(4, 10, np.random.default_rng(3), spread=1.5), effective=4, within=1.0)
    result = pooled.result
    assert np.sort(result.draws) == pytest.approx(np.sort(pooled.by_draw.ravel()))
    limits = (result.lower, result.n_hat, result.upper)
    assert np.quantile(pooled.by_draw, (0.025, 0.5, 0.975)) == pytest.approx(limits)
    assert (pooled.by_draw > pooled.observed[:, None]).all()
    assert result.lower < result.details["unspread_lower"] and result.upper > result.details["unspread_upper"]


@pytest.mark.parametrize("worth", [3, 5, 20])
def test_a_mixture_holds_the_truth_as_often_as_it_says_whatever_its_draws_are_worth(worth: int) -> None:
    rng = np.random.default_rng(11)
    seen, times, held, before = np.full(worth * 4, 100.0), 300, 0, 0
    for _ in range(times):
        centres = rng.normal(6, 0.4, worth).repeat(4)
        truth = 100 + np.exp(rng.normal(6, 0.4) + 0.2 * rng.normal())
        rows = 100 + np.exp(centres[:, None] + 0.2 * rng.normal(size=(worth * 4, 50)))
        for place, found in enumerate((rows, spread(rows, seen, worth))):
            low, high = np.quantile(found, (0.025, 0.975))
            if place:
                held += low <= truth <= high
            else:
                before += low <= truth <= high
    assert held / times > 0.92
    assert worth == 20 or before / times < 0.9


def test_rows_by_rules_are_spread_as_the_interval_is(kosovo: HistoryTable) -> None:
    tables = resampled(kosovo, 40)
    pooled = over_draws(tables, Independence().fit, effective=5)
    low, high = np.quantile(pooled.by_draw, (0.025, 0.975))
    unseen = np.log(np.array([low, high, pooled.result.lower, pooled.result.upper]) - kosovo.observed)
    # All rows are moved by one factor, which is a little more than Rubin's rules ask for where much lies within.
    assert 1 < (unseen[1] - unseen[0]) / (unseen[3] - unseen[2]) < 1.2


def test_what_linkage_shares_in_a_sum_is_not_counted_twice() -> None:
    logs = hung_together(5, 8, np.random.default_rng(2))
    part = pooled_around(logs, effective=5, within=0.6)
    alone = total([Estimated({}, 100, part)], method="m", model="x", assumption="a")
    assert alone.estimate.linkage_share == pytest.approx(part.linkage_share, abs=0.03)
    assert (alone.result.lower, alone.result.upper) == pytest.approx((part.result.lower, part.result.upper), rel=0.03)
    change = contrast(Estimated({}, 100, part), Estimated({}, 100, pooled_around(logs, effective=5, within=0.6)))
    # What the two share cancels, spread or not: only what each leaves open within a partition is left.
    assert change.paired and change.ratio_upper / change.ratio_lower < np.exp(2 * 1.96 * 0.6 * 1.5)


def test_an_upper_end_beyond_all_measure_is_none() -> None:
    far = pooled_around([*np.linspace(5, 6, 38), 22.0, 23.0], effective=None)
    assert far.result.status == "unbounded" and far.result.n_hat is None and far.result.upper is None
    # Ends that lie apart by a large factor, pooled from draws that say next to nothing of how far.
    logs = np.repeat(np.linspace(4, 9, 5), 8)
    ends = {100 + r: Result("m", "x", 100 + r + np.exp(q), 100 + r + 1.0, 1e5) for r, q in enumerate(logs)}
    found = [over_draws([sized(n) for n in ends], answering(ends), effective=worth).result for worth in (2.0, 40.0)]
    assert [result.status for result in found] == ["unbounded", "ok"]
    endless = {100: Result("m", "x", 500.0, 200.0, 1e300)}
    assert over_draws([sized(100)] * 20, answering(endless)).result.status == "unbounded"


@pytest.mark.parametrize(("number", "effective"), [(40, 1.9), (40, 1.0), (1, None)])
def test_draws_that_are_worth_fewer_than_two_say_nothing_of_linkage(number: int, effective: float | None) -> None:
    for fit in (lambda table: posterior(np.linspace(200, 300, 50)), Chao().fit):
        pooled = over_draws([sized(100)] * number, fit, effective=effective)
        assert pooled.result.status == "draws-too-alike" and pooled.result.upper is None
    assert "draws-too-alike" in REASONS
    assert over_draws([sized(100)] * 40, Chao().fit, effective=2.0).ok


def with_missing(missing: list[int], *, resamples: int = 200) -> PooledResult:
    """Pool results of which so many resamples have no estimate; -1 for a table without any."""
    rng = np.random.default_rng(9)
    results = {}
    for r, gone in enumerate(missing):
        drawn = posterior(1000 + rng.normal(0, 30, resamples - max(gone, 0)))
        counted = {"resamples": resamples, "resamples_without_estimate": gone}
        fine = replace(drawn, details=counted)
        results[100 + r] = fine if gone >= 0 else refused("m", "x", "start-not-estimable")
    return over_draws([sized(n) for n in results], answering(results))


def test_resamples_without_an_estimate_are_judged_over_all_draws_together() -> None:
    uneven = with_missing([30] * 5 + [0] * 15)  # 15% in a quarter of the draws, 3.75% in all
    assert uneven.ok
    assert uneven.result.details["resamples"] == 4000
    assert uneven.result.details["resamples_without_estimate"] == 150
    assert with_missing([10] * 20).ok
    assert with_missing([11] * 20).result.status == "resamples-without-estimate"
    # A table without an estimate counts in full: one in twenty leaves no room for another resample.
    assert with_missing([-1] + [0] * 19).ok
    assert with_missing([-1] + [1] + [0] * 18).result.status == "resamples-without-estimate"
    assert with_missing([-1, -1] + [0] * 18).result.status == "draws-without-estimate"


def test_a_family_over_draws_is_not_lost_to_a_toss_of_coins() -> None:
    # One resample in 27 has nobody on C and another list, and no estimate: below 5%, but in 40 it often is not.
    table = HistoryTable(("A", "B", "C"), np.array([60, 50, 20, 1, 2, 1, 0]))
    draws = [replace_count(table, extra) for extra in range(20)]
    alone = [Stepwise(resamples=40).fit(draw) for draw in draws]
    assert sum(not result.ok for result in alone) > 1
    (pooled,) = over_partitions(draws, (), 1000, None, offered=["stepwise"])
    assert pooled.ok
    assert pooled.result.details["resamples"] == 200 * 20
    assert 0.01 < pooled.result.details["resamples_without_estimate"] / 4000 < 0.05


def replace_count(table: HistoryTable, extra: int) -> HistoryTable:
    return HistoryTable(table.lists, table.counts + np.array([extra, 0, 0, 0, 0, 0, 0]))


def test_tables_without_an_estimate_are_counted_and_above_one_in_twenty_refused() -> None:
    rng = np.random.default_rng(3)
    fine = {n: posterior(n + rng.gamma(9, 50, 100)) for n in range(100, 120)}
    tables = [sized(n) for n in fine]
    one = over_draws(tables, answering({**fine, 100: refused("m", "x", "unbounded")}))
    assert one.ok and one.reasons == {"unbounded": 1}
    assert one.result.details["draws_without_estimate"] == 1
    assert np.isnan(one.by_draw[0]).all() and np.isfinite(one.by_draw[1:]).all()
    two = over_draws(
        tables, answering({**fine, 100: refused("m", "x", "unbounded"), 119: refused("m", "x", "grid-edge")})
    )
    assert two.result.status == "draws-without-estimate" and two.result.n_hat is None
    assert two.reasons == {"grid-edge": 1, "unbounded": 1}
    assert "draws-without-estimate" in REASONS


def test_an_estimate_without_an_interval_counts_as_none() -> None:
    bare = Result("m", "x", 500.0, None, None)
    assert confidence_draws(bare, 100, 10, np.random.default_rng(0)) is None
    assert over_draws([sized(100)], lambda table: bare).reasons == {"no-interval": 1}


def test_distinct_tables_are_fitted_once_and_the_answer_is_always_the_same(kosovo: HistoryTable) -> None:
    calls = []

    def fit(table: HistoryTable) -> Result:
        calls.append(table.digest)
        return Chao().fit(table)

    tables = resampled(kosovo, 3) * 10
    first, second = over_draws(tables, fit), over_draws(tables, fit)
    assert len(calls) == 6
    assert np.array_equal(first.by_draw, second.by_draw)
    assert first.to_dict() == second.to_dict()


def test_estimates_from_the_same_partitions_are_paired_and_others_are_not() -> None:
    rng = np.random.default_rng(5)
    shift = np.arange(30) * 20.0
    results = {100 + r: posterior(1000 + shift[r] + rng.normal(0, 5, 200)) for r in range(30)}
    later = {100 + r: posterior(1100 + shift[r] + rng.normal(0, 5, 200)) for r in range(30)}
    tables = [sized(n) for n in results]
    a = over_draws(tables, answering(results), partitions="p")
    b = over_draws(tables, answering(later), partitions="p")
    one, two = aligned([Estimated({}, 100, a), Estimated({}, 100, b)])
    assert one.shape == two.shape == (30, 334)
    assert (two - one).std() < 10  # what the partitions share cancels
    assert (two - one).mean() == pytest.approx(100, abs=1)
    x, y = aligned([Estimated({}, 100, a), Estimated({}, 100, replace(b, partitions="q"))])
    assert x.shape == y.shape == (1, 10_000)
    assert (y - x).std() > 150
    z = aligned([Estimated({}, 100, a), Estimated({}, 100, posterior(rng.normal(1000, 5, 200)))])
    assert z[1].std() == pytest.approx(5, rel=0.2)


def test_sums_and_differences_are_of_draws_and_keep_the_partitions() -> None:
    rng = np.random.default_rng(6)
    shift = rng.normal(0, 100, 50)
    one = {100 + r: posterior(1000 + shift[r] + rng.normal(0, 30, 300)) for r in range(50)}
    two = {100 + r: posterior(2000 + shift[r] + rng.normal(0, 40, 300)) for r in range(50)}
    tables = [sized(n) for n in one]
    parts = [Estimated({}, 100, over_draws(tables, answering(r), partitions="p")) for r in (one, two)]
    both = total(parts, method="m", model="x", assumption="a")
    # What is shared adds up in full: (2 * 100)^2 + 30^2 + 40^2, and cancels in the difference.
    assert both.estimate.by_draw.std() == pytest.approx(np.hypot(2 * shift.std(), 50), rel=0.05)
    assert both.estimate.linkage_share > 0.9
    change = contrast(*parts)
    assert change.paired and change.draws.std() == pytest.approx(50, rel=0.05)
    assert (change.difference, change.increase) == pytest.approx((1000, 1), rel=0.02)
    apart = [Estimated({}, 100, replace(p.estimate, partitions=None)) for p in parts]
    loose = total(apart, method="m", model="x", assumption="a")
    assert loose.result.draws.std() == pytest.approx(np.sqrt(2 * shift.std() ** 2 + 50**2), rel=0.05)
    assert contrast(*apart).draws.std() == pytest.approx(np.sqrt(2 * shift.std() ** 2 + 50**2), rel=0.05)


def test_a_ratio_is_over_what_each_is_divided_by() -> None:
    rng = np.random.default_rng(6)
    parts = [Estimated({}, 10, posterior(rng.normal(mean, 1, 1000))) for mean in (100, 300)]
    change = contrast(*parts, scales=(2.0, 3.0))
    assert change.difference == pytest.approx(50, rel=0.01)
    assert change.ratio == pytest.approx(2, rel=0.01)
    assert change.difference_lower < 50 < change.difference_upper
    for scales in ((0.0, 1.0), (1.0, float("nan"))):
        with pytest.raises(EstimateError):
            contrast(*parts, scales=scales)


def test_partitions_without_an_estimate_borrow_in_sums() -> None:
    rng = np.random.default_rng(5)
    results = {100 + r: posterior(rng.normal(1000, 5, 200)) for r in range(40)}
    pooled = over_draws(
        [sized(n) for n in results], answering({**results, 100: refused("m", "x", "unbounded")}), partitions="p"
    )
    (draws,) = aligned([Estimated({}, 100, pooled)])
    assert np.isfinite(draws).all()


def test_what_declined_is_not_added() -> None:
    with pytest.raises(EstimateError) as caught:
        aligned([Estimated({}, 10, refused("m", "x", "unbounded"))])
    assert caught.value.reason == "no-estimate"
    with pytest.raises(EstimateError):
        aligned([Estimated({}, 10, Result("m", "x", 500.0, None, None))])


def test_draws_are_split_into_tables_with_empty_ones_where_nobody_is() -> None:
    frame = pl.DataFrame(
        {
            "draw": [0, 0, 1, 1, 1],
            "year": ["2013", "2014", "2013", "2013", "2013"],
            "A": [1, 0, 1, 1, 1],
            "B": [0, 1, 0, 1, 1],
            "count": [5, 3, 4, 2, 1],
        },
        # As linkage.research.draws.draw_histories has them.
        schema_overrides={"draw": pl.UInt16, "A": pl.UInt8, "B": pl.UInt8, "count": pl.Int64},
    )
    split = draw_tables(frame, ["A", "B"], ["year"])
    assert [t.counts.tolist() for t in split["2013",]] == [[5, 0, 0], [4, 0, 3]]
    assert [t.counts.tolist() for t in split["2014",]] == [[0, 3, 0], [0, 0, 0]]
    assert [t.observed for t in draw_tables(frame, ["A", "B"], number=3)[()]] == [8, 7, 0]


@pytest.mark.parametrize(
    ("frame", "lists"),
    [
        ({"A": [1], "count": [1]}, ["A"]),
        ({"draw": [0], "A": [2], "count": [1]}, ["A"]),
        ({"draw": [0], "A": [None], "count": [1]}, ["A"]),
        ({"draw": [0], "A": [0], "count": [1]}, ["A"]),
        ({"draw": [0], "A": [1], "count": [1]}, ["A", "A"]),
        ({"draw": [0], "A": [1], "count": [1]}, []),
    ],
)
def test_frames_that_are_no_draws_are_refused(frame: dict[str, list[int]], lists: list[str]) -> None:
    with pytest.raises(EstimateError) as caught:
        draw_tables(pl.DataFrame(frame), lists)
    assert caught.value.reason == "bad-histories"


def test_no_tables_and_tables_over_different_lists_are_refused(kosovo: HistoryTable, uk: HistoryTable) -> None:
    for tables in ([], [kosovo, uk]):
        with pytest.raises(EstimateError):
            over_draws(tables, Chao().fit)
