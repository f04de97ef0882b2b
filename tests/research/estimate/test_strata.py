"""Totals over strata: draws are added, what is not estimated is named, and the pooled table stands beside."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import Chao, HistoryTable, Independence, Result, Stepwise, parse_histories
from linkage.research.estimate.confidence import confidence_draws
from linkage.research.estimate.strata import over_strata, over_strata_draws, screened

LISTS = ("A", "B", "C")


def seen(number: int, chances: tuple[float, ...], seed: int) -> HistoryTable:
    """People on independent lists."""
    rng = np.random.default_rng(seed)
    on = rng.random((number, len(chances))) < chances
    return HistoryTable(LISTS, np.bincount(on @ (1, 2, 4), minlength=8)[1:])


def rows(table: HistoryTable, stratum: str) -> pl.DataFrame:
    cells = np.arange(1, 8)
    lists = {name: (cells >> j) & 1 for j, name in enumerate(table.lists)}
    return pl.DataFrame({**lists, "count": table.counts, "age": [stratum] * 7})


def posterior(table: HistoryTable) -> Result:
    """A stand-in for a posterior: gamma draws around independence."""
    rng = np.random.default_rng(table.observed)
    draws = table.observed + rng.gamma(25, 4 * table.observed / 25, 2000)
    low, middle, high = np.quantile(draws, (0.025, 0.5, 0.975))
    return Result("posterior", "x", middle, low, high, draws=draws)


def test_a_total_adds_draws_and_not_intervals() -> None:
    tables = [seen(1000, (0.3, 0.3, 0.3), seed) for seed in range(4)]
    found = over_strata(
        parse_histories(pl.concat([rows(t, f"s{i}") for i, t in enumerate(tables)]), lists=LISTS), posterior
    )
    spreads = [posterior(t).draws.std() for t in tables]
    draws = found.total.result.draws
    assert draws.std() == pytest.approx(np.sqrt(np.sum(np.square(spreads))), rel=0.05)
    assert draws.mean() == pytest.approx(sum(posterior(t).draws.mean() for t in tables), rel=0.01)
    width = sum(s.result.upper - s.result.lower for s in found.strata)
    assert found.total.result.upper - found.total.result.lower < 0.6 * width
    assert found.complete and found.observed_outside == 0
    assert found.total.observed == sum(t.observed for t in tables)
    assert found.total.result.model == "sum of all strata"


def test_two_equal_strata_are_independent_all_the_same() -> None:
    table = seen(1000, (0.3, 0.3, 0.3), 1)
    found = over_strata(parse_histories(pl.concat([rows(table, "a"), rows(table, "b")]), lists=LISTS), posterior)
    assert found.total.result.draws.std() == pytest.approx(np.sqrt(2) * posterior(table).draws.std(), rel=0.05)


def test_strata_without_an_estimate_are_named_and_not_in_the_total() -> None:
    tables = {
        "18-25": seen(2000, (0.3, 0.25, 0.2), 1),
        "under 18": seen(2000, (0.25, 0.3, 0.2), 2),
        "unknown": HistoryTable(LISTS, np.array([40, 30, 2, 20, 0, 0, 0])),
        "few": HistoryTable(LISTS, np.array([40, 30, 2, 20, 3, 2, 0])),
    }
    histories = parse_histories(pl.concat([rows(t, name) for name, t in tables.items()]), lists=LISTS)
    found = over_strata(histories, Chao().fit)
    assert [dict(values) for values in found.not_estimated] == [{"age": "few"}, {"age": "unknown"}]
    assert [s.result.status for s in found.strata] == ["ok", "too-little-overlap", "ok", "too-few-lists"]
    assert found.observed_outside == tables["unknown"].observed + tables["few"].observed
    assert found.total.result.model == "sum of the 2 estimated strata of 4"
    assert found.total.observed == tables["18-25"].observed + tables["under 18"].observed
    both = HistoryTable(LISTS, tables["18-25"].counts + tables["under 18"].counts)
    assert found.pooled_alike.result.n_hat == pytest.approx(Chao().fit(both).n_hat)
    assert found.pooled.observed == histories.pooled.observed
    assert found.ratio == pytest.approx(found.total.result.n_hat / Chao().fit(both).n_hat)
    plain = found.to_dict()
    assert plain["not_estimated"] == [{"age": "few"}, {"age": "unknown"}]
    assert found.to_dict(withhold=True)["total"]["n_hat"] is None


def test_strata_that_differ_are_seen_in_the_ratio() -> None:
    # Who is often seen on all lists and who is not: pooled they look like dependent lists.
    tables = [seen(4000, (0.6, 0.5, 0.5), 1), seen(4000, (0.1, 0.1, 0.1), 2)]
    found = over_strata(
        parse_histories(pl.concat([rows(t, f"s{i}") for i, t in enumerate(tables)]), lists=LISTS), Independence().fit
    )
    assert found.ratio > 1.3
    assert found.total.result.lower < 8000 < found.total.result.upper
    assert found.pooled.result.upper < 8000


def test_a_list_nobody_of_a_stratum_is_on_is_left_out_there() -> None:
    cells = np.arange(1, 16)
    base = seen(2000, (0.3, 0.3, 0.3), 3)
    counts = np.zeros(15, dtype=int)
    counts[:7] = base.counts
    table = HistoryTable((*LISTS, "D"), counts)
    assert cells.size == table.counts.size
    assert screened(Chao().fit)(table).n_hat == Chao().fit(base).n_hat


def test_no_estimated_stratum_is_a_refusal_and_no_strata_an_error() -> None:
    poor = HistoryTable(LISTS, np.array([40, 30, 2, 20, 0, 0, 0]))
    found = over_strata(parse_histories(rows(poor, "a"), lists=LISTS), Chao().fit)
    assert found.total.result.status == "no-stratum-estimated" and found.ratio is None
    with pytest.raises(EstimateError) as caught:
        over_strata(parse_histories(rows(poor, "a").drop("age"), lists=LISTS), Chao().fit)
    assert caught.value.reason == "no-strata"


def test_an_estimate_without_an_interval_is_not_added() -> None:
    histories = parse_histories(rows(seen(2000, (0.3, 0.3, 0.3), 3), "a"), lists=LISTS)
    found = over_strata(histories, Stepwise(resamples=0).fit)
    assert found.not_estimated and found.total.result.status == "no-stratum-estimated"


def test_over_partition_draws_totals_are_paired() -> None:
    rng = np.random.default_rng(9)
    base = [seen(3000, (0.3, 0.3, 0.3), seed) for seed in (1, 2)]
    # Linkage that misses more overlaps in some draws than in others, in all strata alike.
    lost = rng.uniform(0, 0.3, 25)
    tables = {}
    for name, table in zip(("x", "y"), base, strict=True):
        draws = []
        for share in lost:
            counts = table.counts.copy()
            for cell in (3, 5, 6):
                gone = int(share * counts[cell - 1])
                counts[cell - 1] -= gone
                for j in range(3):
                    counts[(1 << j) - 1] += gone if cell >> j & 1 else 0
            draws.append(HistoryTable(LISTS, counts))
        tables[name,] = tuple(draws)
    found = over_strata_draws(tables, ["age"], Chao().fit, partitions="p")
    alone = [s.result.draws.var() for s in found.strata]
    shared = [s.estimate.points.std(ddof=1) for s in found.strata]
    # Both rise and fall with the partition: standard deviations add up.
    expected = sum(alone) + 2 * shared[0] * shared[1]
    assert found.total.estimate.by_draw.var() == pytest.approx(expected, rel=0.2)
    assert found.total.estimate.by_draw.var() > 1.3 * sum(alone)
    assert found.total.estimate.linkage_share > 0.5
    assert found.total.estimate.partitions == "p"
    assert found.total.observed == pytest.approx(np.mean([t.observed for draws in tables.values() for t in draws]) * 2)
    assert dict(found.strata[1].values) == {"age": "y"}
    with pytest.raises(EstimateError):
        over_strata_draws({**tables, ("z",): tables["x",][:3]}, ["age"], Chao().fit, partitions="p")


def test_draws_of_a_result_have_its_interval(kosovo: HistoryTable) -> None:
    for result in (Chao().fit(kosovo), Independence().fit(kosovo), Stepwise(resamples=500).fit(kosovo)):
        draws = confidence_draws(result, kosovo.observed, 4000, np.random.default_rng(0))
        assert np.quantile(draws, [0.025, 0.975]) == pytest.approx([result.lower, result.upper], rel=0.01)
