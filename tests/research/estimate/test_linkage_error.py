"""Corrections for linkage errors: the reference's vectors, and simulations in which the truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import HistoryTable, Independence
from linkage.research.estimate.composite import CompositeLink, splitting
from linkage.research.estimate.linkage_error import PairRates, TwoListCorrection, cross_check, orphaning, pair_rates


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference" / "mse.json").read_text(encoding="utf-8"))["linkage_error"]


@pytest.fixture(scope="module")
def vector(reference: dict[str, Any]) -> dict[str, Any]:
    return reference["three_list_orphaning"]["test_vector"]


def places(patterns: list[str]) -> list[int]:
    """Cells of patterns such as ``011``, first character the first list."""
    return [sum(int(on) << j for j, on in enumerate(pattern)) - 1 for pattern in patterns]


def linked_table(vector: dict[str, Any]) -> HistoryTable:
    counts = np.zeros(7)
    counts[places(vector["patterns"])] = vector["observed_after_linkage"]
    return HistoryTable(("A", "B", "C"), counts)


def two_lists(mechanism: str, seed: int) -> HistoryTable:
    """20,000 people on lists with chances 0.3 and 0.25, of which links are lost and made up."""
    rng = np.random.default_rng(seed)
    first, second = rng.random(20_000) < 0.3, rng.random(20_000) < 0.25
    both = first & second
    found = both & (rng.random(20_000) < 0.85)
    open_ = first & ~both if mechanism == "ding-fienberg" else first & ~found
    linked = int(found.sum() + (open_ & (rng.random(20_000) < 0.02)).sum())
    return HistoryTable(("A", "B"), np.array([first.sum() - linked, second.sum() - linked, linked]))


def parted(rng: np.random.Generator, number: int, rates: list[float]) -> HistoryTable:
    """People on three independent lists, records parted from them one by one."""
    on = rng.random((number, 3)) < (0.3, 0.25, 0.2)
    orphan = on & (rng.random((number, 3)) < rates)
    cells = np.concatenate([(on & ~orphan) @ (1, 2, 4), *(orphan[:, j] * (1 << j) for j in range(3))])
    return HistoryTable(("A", "B", "C"), np.bincount(cells, minlength=8)[1:])


def test_a_person_splits_as_in_the_reference(vector: dict[str, Any]) -> None:
    here = places(vector["patterns"])
    assert splitting(vector["eps"])[np.ix_(here, here)] == pytest.approx(np.array(vector["T"]), abs=1e-12)


def test_splitting_agrees_with_people_split_one_by_one() -> None:
    rates, on = np.array([0.3, 0.2, 0.1, 0.4]), np.array([True, True, False, True])
    rng = np.random.default_rng(1)
    orphan = on & (rng.random((200_000, 4)) < rates)
    together = (on & ~orphan) @ (1, 2, 4, 8)
    expected = np.bincount(together, minlength=16)[1:] / 200_000
    for j in range(4):
        expected[(1 << j) - 1] += orphan[:, j].mean()
    assert splitting(rates.tolist())[:, 0b1011 - 1] == pytest.approx(expected, abs=5e-3)


def test_the_composite_link_gives_the_reference_estimate(vector: dict[str, Any]) -> None:
    result = CompositeLink(dict(zip("ABC", vector["eps"], strict=True)), resamples=50).fit(linked_table(vector))
    assert result.n_hat == pytest.approx(vector["composite_link_independence_N"], rel=1e-6)
    assert result.details["uncorrected"] == pytest.approx(vector["naive_independence_N"], rel=1e-6)
    assert result.lower < 5000 < result.upper


def test_without_orphans_the_composite_link_is_the_plain_model(kosovo: HistoryTable) -> None:
    pairs = (("EXH", "ABA"), ("OSCE", "HRW"))
    plain = CompositeLink(dict.fromkeys(kosovo.lists, 0.0), resamples=10).fit(kosovo)
    assert plain.n_hat == pytest.approx(Independence().fit(kosovo).n_hat, rel=1e-8)
    more = CompositeLink(dict.fromkeys(kosovo.lists, 0.0), pairs, resamples=10).fit(kosovo)
    assert more.n_hat == pytest.approx(more.details["uncorrected"], rel=1e-8)
    assert more.n_hat != pytest.approx(plain.n_hat, rel=1e-3)


def test_empty_overlaps_are_at_minus_infinity_here_too(uk: HistoryTable) -> None:
    result = CompositeLink(dict.fromkeys(uk.lists, 0.05), (("LA", "GP"),), resamples=50).fit(uk)
    assert result.ok and result.n_hat < result.details["uncorrected"]


def test_the_composite_link_is_right_on_average_and_its_interval_covers() -> None:
    rng, found, covered = np.random.default_rng(8), [], 0
    rates = [0.10, 0.15, 0.05]
    for _ in range(60):
        result = CompositeLink(dict(zip("ABC", rates, strict=True)), resamples=100).fit(parted(rng, 5000, rates))
        found.append((result.n_hat, result.details["uncorrected"]))
        covered += result.lower <= 5000 <= result.upper
    corrected, naive = np.mean(found, axis=0)
    # Reference over 200 runs: 5,012 and 6,278, standard deviation of one run 153.
    assert corrected == pytest.approx(5000, abs=70)
    assert naive == pytest.approx(6278, abs=90)
    assert covered >= 50


@pytest.mark.parametrize("mechanism", ["ding-fienberg", "di-consiglio-tuoto"])
def test_two_list_corrections_are_right_on_average(mechanism: str) -> None:
    found, naive, covered = [], [], 0
    for seed in range(80):
        result = TwoListCorrection(0.85, 0.02, mechanism, resamples=200).fit(two_lists(mechanism, seed))
        found.append(result.n_hat)
        naive.append(result.details["uncorrected"])
        covered += result.lower <= 20_000 <= result.upper
    # Reference over 300 runs: naive 21,973 and 21,888, corrected 19,996 and 19,983.
    assert np.mean(found) == pytest.approx(20_000, rel=5e-3)
    assert np.mean(naive) == pytest.approx(21_973 if mechanism == "ding-fienberg" else 21_888, rel=5e-3)
    assert covered >= 68


def test_perfect_links_leave_lincoln_and_petersen_alone() -> None:
    table = HistoryTable(("A", "B"), np.array([60, 40, 30]))
    for mechanism in ("ding-fienberg", "di-consiglio-tuoto"):
        assert TwoListCorrection(1.0, 0.0, mechanism).fit(table).n_hat == pytest.approx(90 * 70 / 30)


def test_links_that_may_all_be_false_are_refused() -> None:
    table = HistoryTable(("A", "B"), np.array([900, 400, 10]))
    assert TwoListCorrection(0.9, 0.02).fit(table).status == "linkage-too-weak"
    near = HistoryTable(("A", "B"), np.array([900, 400, 22]))
    assert TwoListCorrection(0.9, 0.02).fit(near).status == "resamples-without-estimate"
    nobody = HistoryTable(("A", "B"), np.array([900, 400, 0]))
    assert TwoListCorrection(0.9, 0.0).fit(nobody).status == "linkage-too-weak"


def quality(pairs: dict[tuple[str, str], tuple[int, float, float, float]], records: dict[str, int]) -> dict[str, Any]:
    return {
        "records": records,
        "by_sources": [
            {
                "sources": list(sources),
                "links": links,
                "expected_matches": matches,
                "precision": {"value": precision, "low": precision, "high": 1.0},
                "recall": {"value": recall, "low": recall, "high": 1.0},
            }
            for sources, (links, matches, precision, recall) in pairs.items()
        ],
    }


def test_rates_are_read_from_the_quality_of_a_person_map() -> None:
    told = quality(
        {("B", "A"): (100, 110.0, 0.9, 0.8), ("A", "A"): (9, 9.0, 1.0, 1.0), ("A", "Z"): (9, 9.0, 1.0, 1.0)},
        {"A": 510, "B": 300, "Z": 10},
    )
    (pair,) = pair_rates(told, ("A", "B"))
    assert pair.sources == ("A", "B") and pair.recall == 0.8
    assert pair.false_link == pytest.approx(10 / 400)
    assert pair.false_link_any == pytest.approx(10 / (510 - 88))


def test_pairs_of_which_nothing_is_said_are_left_out() -> None:
    told = quality({("A", "B"): (100, 110.0, 0.9, 0.8)}, {"A": 510, "B": 300})
    told["by_sources"].append({"sources": ["A", "C"], "links": 0, "expected_matches": 0.0, "precision": None})
    assert len(pair_rates(told, ("A", "B", "C"))) == 1
    with pytest.raises(EstimateError) as caught:
        orphaning(pair_rates(told, ("A", "B", "C")), ("A", "B", "C"))
    assert caught.value.reason == "no-quality"
    with pytest.raises(EstimateError):
        pair_rates({}, ("A", "B"))


def test_orphaning_is_told_from_the_recall_of_pairs() -> None:
    lost = {"A": 0.1, "B": 0.15, "C": 0.0}
    rates = [PairRates((a, b), (1 - lost[a]) * (1 - lost[b]), 0.0, 0.0, 100.0) for a, b in ("AB", "AC", "BC")]
    assert orphaning(rates, "ABC") == pytest.approx(lost, abs=1e-9)


def test_the_cross_check_uses_every_pair_and_the_composite_link() -> None:
    table = parted(np.random.default_rng(2), 5000, [0.10, 0.15, 0.05])
    records = dict(zip("ABC", table.totals.tolist(), strict=True))
    pairs = {
        ("A", "B"): (table.together(0, 1), 375.0, 1.0, 0.9 * 0.85),
        ("A", "C"): (table.together(0, 2), 300.0, 1.0, 0.9 * 0.95),
        ("B", "C"): (table.together(1, 2), 250.0, 1.0, 0.85 * 0.95),
    }
    results = cross_check(table, quality(pairs, records), resamples=100)
    assert [r.method for r in results] == ["ding-fienberg", "di-consiglio-tuoto"] * 3 + ["composite-link"]
    for result in results:
        assert result.lower < 5000 < result.upper < result.details["uncorrected"] * 1.1
        assert result.n_hat < result.details["uncorrected"]
        assert result.draws is not None and result.draws.size == 100
    weak = cross_check(table, quality({**pairs, ("A", "B"): (300, 300.0, 0.01, 0.1)}, records), resamples=50)
    assert weak[0].status == weak[1].status == "linkage-too-weak"


@pytest.mark.parametrize(
    "estimator",
    [
        TwoListCorrection(0.0, 0.0),
        TwoListCorrection(1.1, 0.0),
        TwoListCorrection(0.5, 0.5),
        TwoListCorrection(0.5, -0.1),
        TwoListCorrection(0.5, 0.1, "another"),
        CompositeLink({"A": 0.1}),
        CompositeLink({"A": 0.1, "B": 1.0}),
        CompositeLink({"A": 0.1, "B": 0.1}, (("A", "C"),)),
    ],
)
def test_bad_rates_are_refused(estimator: TwoListCorrection | CompositeLink) -> None:
    with pytest.raises(EstimateError):
        estimator.fit(HistoryTable(("A", "B"), np.array([60, 40, 30])))


def test_three_lists_are_not_two(kosovo: HistoryTable) -> None:
    with pytest.raises(EstimateError):
        TwoListCorrection(0.9, 0.0).fit(kosovo)


def test_many_lists_are_too_many_for_the_composite_link() -> None:
    lists = tuple("ABCDEFGHI")
    result = CompositeLink(dict.fromkeys(lists, 0.1)).fit(HistoryTable(lists, np.ones(511)))
    assert result.status == "too-many-lists"
