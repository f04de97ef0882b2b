"""The verdict: a range with reasons, or a refusal with one; and no number where there is a refusal."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest

from linkage.errors import EstimateError
from linkage.research import estimate
from linkage.research.estimate import REASONS, HistoryTable, Report, Result, Stepwise, diagnostics
from linkage.research.estimate.families import BESIDE, HEADLINE, beside, families, over_partitions
from linkage.research.estimate.verdict import judge


def table(lists: str, **counts: int) -> HistoryTable:
    cells = np.zeros(2 ** len(lists) - 1, dtype=np.int64)
    for history, count in counts.items():
        cells[sum(1 << lists.index(name) for name in history) - 1] = count
    return HistoryTable(tuple(lists), cells)


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, float) else []


REFUSALS = {
    "too-few-lists": [
        table("AB", A=100, B=120, AB=40),
        table("A", A=50),
        table("ABC", A=40, B=30, C=20, AB=16),  # C meets nobody
        table("ABC", A=100, B=120, AB=40),  # nobody is on C
        table("ABC"),
    ],
    "too-little-overlap": [table("ABC", A=40, B=30, C=20, AB=3, AC=3, BC=3)],
    "identical-lists": [table("ABC", AB=60, C=80, ABC=30), table("ABCD", AB=60, C=80, ABC=30, D=50, CD=12)],
    "nested-list": [table("ABC", A=300, AB=90, C=400, AC=60, ABC=12)],
    "resamples-without-estimate": [table("ABC", A=60, B=50, C=1, AB=20, AC=1)],
}


@pytest.mark.parametrize(("reason", "case"), [(r, c) for r, cases in REFUSALS.items() for c in cases])
def test_refusals(reason, case):
    report = estimate(case, resamples=200)
    assert report.verdict.reason == reason
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["verdict"] == {
        "status": "refused",
        "reason": reason,
        "words": REASONS[reason][0],
        "remedy": REASONS[reason][1],
        "low": None,
        "high": None,
        "families": [],
    }
    assert [entry["method"] for entry in plain["estimates"]] == [*HEADLINE, *BESIDE]
    for entry in plain["estimates"]:
        assert entry["n_hat"] is None and entry["lower"] is None and entry["upper"] is None
        assert entry["status"] != "ok"


def test_a_list_nobody_is_on_is_left_out_when_three_others_remain(kosovo):
    cells = np.zeros(31, dtype=np.int64)
    cells[:15] = kosovo.counts
    wider = estimate(HistoryTable((*kosovo.lists, "NONE"), cells), resamples=100, seed=1)
    plain = estimate(kosovo, resamples=100, seed=1)
    assert (wider.verdict.low, wider.verdict.high) == (plain.verdict.low, plain.verdict.high)
    assert any("NONE" in note for note in wider.notes)
    assert wider.table.lists[-1] == "NONE"


def test_interface_of_the_json(kosovo):
    plain = estimate(kosovo, resamples=200).to_dict()
    text = json.dumps(plain, allow_nan=False)
    assert not any(math.isnan(n) or math.isinf(n) for n in numbers(json.loads(text)))
    assert plain["observed"] == 4400
    assert plain["lists"] == ["EXH", "ABA", "OSCE", "HRW"]
    assert [entry["method"] for entry in plain["estimates"]] == [*HEADLINE, *BESIDE]
    for entry in plain["estimates"]:
        assert {"method", "model", "n_hat", "lower", "upper", "status", "assumption", "interval"} <= set(entry)
        assert entry["lower"] <= entry["n_hat"] <= entry["upper"]
        assert entry["assumption"]
    assert {"status", "reason", "low", "high"} <= set(plain["verdict"])
    assert "strata" not in plain


def test_strata_are_judged_each_and_the_refused_ones_are_named(kosovo):
    cells = [[(cell >> j) & 1 for j in range(4)] for cell in range(1, 16)]
    frame = pl.DataFrame(
        {
            **{name: [row[j] for row in cells] * 2 for j, name in enumerate(kosovo.lists)},
            "count": [int(c) for c in kosovo.counts] + [1] * 4 + [0] * 11,
            "period": ["spring"] * 15 + ["summer"] * 15,
        }
    )
    report = estimate(frame, resamples=100)
    plain = report.to_dict()
    assert plain["observed"] == 4404
    assert [s["stratum"] for s in plain["strata"]] == [{"period": "spring"}, {"period": "summer"}]
    assert [s["verdict"]["status"] for s in plain["strata"]] == ["estimated", "refused"]
    assert plain["not_identified"] == [{"period": "summer"}]
    alone = estimate(kosovo, resamples=100)
    assert plain["strata"][0]["verdict"] == alone.verdict.to_dict()


def test_truth_is_inside_the_range_when_lists_are_independent():
    generator = np.random.default_rng(3)
    on = generator.random((4000, 4)) < [0.15, 0.1, 0.2, 0.12]
    counts = np.bincount(on @ (1 << np.arange(4)), minlength=16)[1:]
    verdict = estimate(HistoryTable(tuple("ABCD"), counts), resamples=200).verdict
    assert verdict.status == "estimated"
    assert verdict.low < 4000 < verdict.high
    assert verdict.reason == "families-agree"


def test_truth_is_inside_the_range_when_people_differ_in_visibility():
    generator = np.random.default_rng(5)
    hidden = generator.random(3000) < 0.7
    chances = np.where(hidden[:, None], [0.20, 0.18, 0.25, 0.15], [0.35, 0.30, 0.40, 0.25])
    counts = np.bincount((generator.random((3000, 4)) < chances) @ (1 << np.arange(4)), minlength=16)[1:]
    report = estimate(HistoryTable(tuple("ABCD"), counts), resamples=200)
    by_method = {result.method: result for result in report.results}
    assert by_method["independence"].upper < 3000  # one family's interval alone would have missed
    assert report.verdict.low < 3000 < report.verdict.high


def test_judge_refuses_when_an_interval_is_missing(kosovo):
    whole = Result("a", "m", 10.0, 9.0, 12.0)
    assert judge(kosovo, [whole, Result("b", "m", 10.0, 9.0, None)]).reason == "unbounded"
    assert judge(kosovo, [whole, Result("b", "m", None, None, None, "not-converged")]).reason == "not-converged"
    assert judge(kosovo, [whole, Result("b", "m", 15.1, 11.0, 20.0)]).reason == "families-differ"
    low = judge(kosovo, [whole, Result("b", "m", 14.9, 11.0, 20.0)])
    assert (low.reason, low.low, low.high) == ("families-agree", 4400.0, 20.0)  # never below those who were seen


def answers(**status: str) -> list[Result]:
    """One result of each method that makes the range; some with a status other than ``ok``."""
    said = {name.replace("_", "-"): reason for name, reason in status.items()}
    whole = [Result(name, "m", 5000.0, 4500.0, 6000.0) for name in HEADLINE]
    return [Result(r.method, "m", None, None, None, said[r.method]) if r.method in said else r for r in whole]


def test_the_verdict_says_what_its_range_is_made_of(kosovo):
    assert judge(kosovo, answers()).families == HEADLINE
    without = judge(kosovo, answers(decomposable_graphs="too-many-lists"))
    assert without.families == tuple(name for name in HEADLINE if name != "decomposable-graphs")
    assert without.to_dict()["families"] == list(without.families)
    one = judge(kosovo, answers(averaged_aic="too-many-lists"))
    assert one.status == "estimated" and "averaged-aic" not in one.families
    assert judge(kosovo, answers(stepwise="not-converged")).families == ()
    assert list(estimate(kosovo, resamples=100).to_dict()["verdict"]["families"]) == list(HEADLINE)
    over_draws = estimate(kosovo, resamples=100, draws=[kosovo] * 20).verdict
    assert over_draws.families == HEADLINE


def test_a_range_without_the_averages_would_be_too_narrow_and_is_refused(kosovo):
    few = answers(averaged_bic="too-many-lists", averaged_aic="too-many-lists", decomposable_graphs="too-many-lists")
    verdict = judge(kosovo, few)
    assert (verdict.status, verdict.reason, verdict.low, verdict.high) == ("refused", "too-many-lists", None, None)
    assert "too narrow" in verdict.words
    assert "merge lists" in verdict.remedy and "diagnostics" in verdict.remedy
    assert verdict.families == ()
    # A study may look at some of the families by themselves.
    narrow = [result for result in answers() if not result.method.startswith("averaged")]
    assert judge(kosovo, narrow).status == "estimated"


@pytest.mark.parametrize("case", [table("A", A=50), table("A"), table("AB", A=100, B=120, AB=40)])
def test_one_list_or_two_are_a_refusal_on_every_road(case):
    for report in (estimate(case, slow=True), estimate(case, draws=[case] * 20, effective=10.0)):
        assert (report.verdict.status, report.verdict.reason) == ("refused", "too-few-lists")
        assert report.verdict.remedy and report.pooled == ()
    frame = pl.DataFrame({"A": [1, 1], "count": [40, 10], "year": ["2013", "2014"]})
    report = estimate(frame, lists=["A"])
    assert [s.report.verdict.reason for s in report.strata] == ["too-few-lists"] * 2
    for name, fit in {**families((), 100, None), **beside((), slow=True)}.items():
        result = fit(table("A", A=50))
        assert not result.ok and result.status in REASONS, name
    assert Stepwise().fit(table("A", A=50)).status == "too-few-lists"
    assert over_partitions([case] * 3, (), 100, None)[0].result.method == "chao"
    json.dumps(diagnostics(case).to_dict(withhold=True), allow_nan=False)


def test_known_referrals_are_said_to_be_in_what_can_hold_them(kosovo):
    report = estimate(kosovo, referrals=[("ABA", "HRW")], resamples=100)
    held = {result.method: 0b1010 in result.terms for result in report.results}
    assert held["independence"] and held["stepwise"] and held["decomposable-graphs"]
    assert held["averaged-bic"] and held["averaged-aic"]
    assert not held["chao"] and not held["chao-few-lists"]
    for text in (Report.__doc__, estimate.__doc__, families.__doc__):
        assert "every model" not in text and "Chao's bounds" in text


@pytest.mark.parametrize("referrals", [[("EXH", "NOBODY")], [("EXH", "EXH")]])
def test_unknown_referrals_are_an_error(kosovo, referrals):
    with pytest.raises(EstimateError):
        estimate(kosovo, referrals=referrals)


def test_referral_that_cannot_be_estimated_is_refused():
    # A:B forced: nobody is on B but not on A, so the pair's parameter has no finite estimate.
    case = table("ABC", A=300, AB=90, C=400, AC=60, ABC=12)
    report = estimate(case, referrals=[("A", "B")], resamples=100)
    assert report.verdict.reason == "start-not-estimable"


def test_twelve_lists():
    generator = np.random.default_rng(1)
    on = generator.random((3000, 12)) < generator.uniform(0.02, 0.2, size=12)
    counts = np.bincount(on @ (1 << np.arange(12)), minlength=2**12)[1:]
    result = Stepwise(resamples=0).fit(HistoryTable(tuple("ABCDEFGHIJKL"), counts))
    assert result.ok
    assert 2700 < result.n_hat < 3300
