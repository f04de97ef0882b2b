"""The study of coverage: real runs on tiny populations, and what the summary and the figures make of frames."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from linkage.contract import load_spec
from linkage.errors import ContractError, EstimateError
from linkage.lab import coverage as study
from linkage.lab.coverage_page import caterpillar, methods_figure, stand_alone, table_page, verdict_line, write_study
from linkage.lab.population import TIGHT
from linkage.research.estimate.families import BESIDE, HEADLINE

RUNS, PEOPLE = 2, 260


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[Path]:
    return study.linked_runs(folder, RUNS, load_spec("default"), first=3, people=PEOPLE)


@pytest.fixture(scope="module")
def frame(paths: list[Path]) -> pl.DataFrame:
    return study.coverage(paths, draws=4, resamples=40)


def _one(frame: pl.DataFrame, seed: int, method: str, data: str) -> dict[str, Any]:
    row: dict[str, Any] = frame.row(
        by_predicate=(pl.col("seed") == seed) & (pl.col("method") == method) & (pl.col("data") == data), named=True
    )
    return row


def test_each_run_says_every_method_on_the_map_and_over_draws(frame: pl.DataFrame) -> None:
    expected = {
        *((method, "map") for method in HEADLINE + BESIDE),
        *((method, "draws") for method in HEADLINE),
        ("headline", "draws"),
        ("headline", "map"),
        ("narrow", "map"),
    }
    assert frame["seed"].unique().sort().to_list() == [3, 4]
    assert frame[study.TRUE_PERSONS].unique().to_list() == [PEOPLE]
    for seed in (3, 4):
        rows = frame.filter(pl.col("seed") == seed)
        assert sorted(rows.select("method", "data").rows()) == sorted(expected)


def test_ranges_run_over_the_intervals_of_their_families(frame: pl.DataFrame) -> None:
    """A second reckoning of the ranges, from the families' own rows."""
    checked = 0
    for method, data, families in (
        ("headline", "draws", HEADLINE),
        ("headline", "map", HEADLINE),
        ("narrow", "map", study.NARROW_FAMILIES),
    ):
        for seed in (3, 4):
            whole = _one(frame, seed, method, data)
            rows = [_one(frame, seed, family, data) for family in families]
            if whole["status"] != "ok":
                assert whole["lower"] is None and whole["upper"] is None and whole["covered"] is None
                continue
            assert whole["lower"] == max(min(row["lower"] for row in rows), whole["observed"])
            assert whole["upper"] == max(row["upper"] for row in rows)
            assert whole["covered"] == (whole["lower"] <= PEOPLE <= whole["upper"])
            checked += 1
    assert checked, "all runs refused: the test shows nothing"


def test_a_stopped_study_goes_on(folder: Path, paths: list[Path], frame: pl.DataFrame) -> None:
    kept = [folder / "estimates" / path.name for path in paths]
    before = [path.stat().st_mtime_ns for path in (*paths, *kept)]
    kept[1].unlink()
    again = study.coverage(
        study.linked_runs(folder, RUNS, load_spec("default"), first=3, people=PEOPLE), draws=4, resamples=40
    )
    assert_frame_equal(again, frame)
    after = [path.stat().st_mtime_ns for path in (*paths, *kept)]
    assert after[:3] == before[:3] and after[3] != before[3]


def test_other_settings_are_estimated_anew_and_the_key_tells_histories_apart(
    folder: Path, paths: list[Path], frame: pl.DataFrame
) -> None:
    key = pl.read_parquet(folder / "estimates" / paths[0].name)["key"][0]
    other = study.coverage(paths[:1], draws=2, resamples=40)
    changed = pl.read_parquet(folder / "estimates" / paths[0].name)["key"][0]
    assert changed != key
    same = pl.col("data") == "map"
    bootstrapped = pl.col("method").is_in(["stepwise", "headline", "narrow"])
    assert_frame_equal(other.filter(same & ~bootstrapped), frame.filter((pl.col("seed") == 3) & same & ~bootstrapped))
    assert_frame_equal(study.coverage(paths[:1], draws=4, resamples=40), frame.filter(pl.col("seed") == 3))


def test_a_folder_holds_one_study(folder: Path, paths: list[Path]) -> None:
    for spec, people in (("default", PEOPLE + 1), ("precise", PEOPLE)):
        with pytest.raises(ContractError) as caught:
            study.linked_runs(folder, RUNS, load_spec(spec), first=3, people=people)
        assert caught.value.reason == "other-study"
    with pytest.raises(ContractError) as caught:
        study.linked_runs(folder, RUNS, load_spec("default"), first=3, people=PEOPLE, scenario=TIGHT)
    assert caught.value.reason == "other-study"


def test_a_run_without_draws_is_refused(paths: list[Path]) -> None:
    histories = pl.read_parquet(paths[0])
    with pytest.raises(EstimateError) as caught:
        study.run_estimates(histories.filter(pl.col("draw") < 0), study.referral_pairs())
    assert caught.value.reason == "no-draws"


def test_a_refused_run_has_no_numbers() -> None:
    """Lists that share nobody: the verdict is a refusal on the map, and no method is said to have an interval."""
    single = pl.DataFrame({"mpd": [1, 0, 0, 0], "dcf": [0, 1, 0, 0], "pohsey": [0, 0, 1, 0], "medical": [0, 0, 0, 1]})
    histories = pl.concat([single.with_columns(draw=pl.lit(draw), count=9, true_persons=100) for draw in (-1, 0, 1)])
    rows = study.run_estimates(histories, study.referral_pairs())
    assert (rows["status"] != "ok").all()
    assert rows["lower"].is_null().all() and rows["upper"].is_null().all() and rows["covered"].is_null().all()
    summed = study.summary(rows.with_columns(seed=pl.lit(1)))
    assert (summed["refused"] == 1).all() and (summed["covered"] == 0).all() and summed["share"].is_null().all()


def test_referrals_are_those_of_the_agreements() -> None:
    assert study.referral_pairs() == (("dcf", "pohsey"),)


_INTERVAL = st.none() | st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted)


def _made_up(intervals: list[list[int] | None], truth: int = 100) -> pl.DataFrame:
    rows = [
        {
            "seed": seed,
            "method": "headline",
            "data": "draws",
            "status": "ok" if ends else "unbounded",
            "point": None if ends is None else sum(ends) / 2,
            "lower": None if ends is None else float(ends[0]),
            "upper": None if ends is None else float(ends[1]),
            "covered": None if ends is None else ends[0] <= truth <= ends[1],
            "observed": 50,
            "true_persons": truth,
        }
        for seed, ends in enumerate(intervals)
    ]
    return pl.DataFrame(rows, schema=study._ROWS)


@given(st.lists(_INTERVAL, min_size=1, max_size=40))
def test_the_summary_counts_every_run_once(intervals: list[list[int] | None]) -> None:
    row = study.summary(_made_up(intervals)).row(0, named=True)
    there = [ends for ends in intervals if ends is not None]
    assert row["runs"] == len(intervals) == row["refused"] + row["covered"] + row["below"] + row["above"]
    assert row["refused"] == len(intervals) - len(there)
    assert row["covered"] == sum(low <= 100 <= high for low, high in there)
    assert row["below"] == sum(high < 100 for _, high in there)
    if there:
        assert row["share"] == row["covered"] / len(there)
        assert 0 <= row["share_low"] <= row["share"] + 1e-12 and row["share"] - 1e-12 <= row["share_high"] <= 1
        assert math.isclose(row["bias"], statistics.median(sum(ends) / 200 for ends in there) - 1, abs_tol=1e-9)
    else:
        assert row["share"] is None and row["lower"] is None and row["bias"] is None


def test_wilson_is_the_published_interval() -> None:
    """Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    for found, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        share, lower, upper = study.wilson(found, of)
        assert share == found / of
        assert lower == pytest.approx(low, abs=5e-5) and upper == pytest.approx(high, abs=5e-5)
    assert study.wilson(0, 0) == (None, None, None)


def test_a_refusal_does_not_count_as_holding_the_truth() -> None:
    nine = [[50, 150]] * 9
    assert "90.0%); wanted: 90%, reached" in verdict_line(study.summary(_made_up([*nine, [101, 150]])))
    assert "1 of them refused (81.8%); wanted: 90%, not reached" in verdict_line(
        study.summary(_made_up([*nine, [1, 99], None]))
    )


def test_figures_mark_what_misses_and_say_it_in_words() -> None:
    made = _made_up([[50, 150], [90, 99], [101, 160], None, [40, 170]])
    drawing = caterpillar(made)
    assert "Truth 100, in 2 of 4 ranges; runs refused: 1." in drawing.words
    assert "Lower ends from 40 to 101; upper ends from 99 to 170." in drawing.words
    missing, none = (
        caterpillar(frame).svg.count("stroke-width: 1.5") for frame in (made, made.filter(pl.col("covered")))
    )
    assert (missing, none) == (2, 0)
    assert "range over all families, partition draws: 50.0% (" in methods_figure(study.summary(made)).words


def test_runs_are_counted_in_whole_numbers() -> None:
    for number in (1, 2, 3, 40, 200):
        drawing = caterpillar(_made_up([[50, 150]] * number))
        texts = ["".join(text.itertext()) for text in ElementTree.fromstring(drawing.svg).iter("text")]
        runs = texts[
            : texts.index("runs, in order of the upper end; a tick at the foot marks a range that misses the truth")
        ]
        assert runs and all(text.isdigit() and 1 <= int(text) <= number for text in runs), runs


def test_no_label_of_an_axis_leaves_its_figure() -> None:
    made = _made_up([[50, 150]] * 3)
    named = pl.concat([made, *(made.with_columns(method=pl.lit(name)) for name in HEADLINE)])
    root = ElementTree.fromstring(methods_figure(study.summary(named)).svg)
    left, _, width, _ = (float(part) for part in (root.get("viewBox") or "").split())
    checked = 0
    for text in root.iter("text"):
        style, words = text.get("style") or "", "".join(text.itertext())
        if "interval" not in words:
            continue
        moved = re.search(r"translate\((-?[\d.]+)", text.get("transform") or "")
        start, long = float(moved[1] if moved else text.get("x") or "nan"), 0.55 * 10 * len(words)
        start -= long / 2 if "text-anchor: middle" in style else 0.0
        assert left <= start and start + long <= left + width, words
        checked += 1
    assert checked


def test_the_study_is_written_in_files_that_stand_alone(frame: pl.DataFrame, tmp_path: Path) -> None:
    written = write_study(tmp_path, frame, {"runs": RUNS})
    assert json.loads((tmp_path / "coverage.json").read_text("utf-8")) == written
    summed = study.summary(frame)
    page = (tmp_path / "coverage.md").read_text("utf-8")
    assert page == table_page(summed) + "\n" and len(page.splitlines()) == 2 + summed.height
    for name, drawing in (("ranges", caterpillar(frame)), ("methods", methods_figure(summed))):
        text = (tmp_path / f"{name}.svg").read_text("utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("role") == "img"
        assert drawing.words in (root.get("aria-label") or "")
        assert text == stand_alone(drawing), "the same frame draws the same bytes"


def test_the_command_goes_through_a_study(folder: Path, frame: pl.DataFrame) -> None:
    asked = ["--runs", "2", "--seed", "3", "--people", str(PEOPLE), "--draws", "4", "--resamples", "40", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "linkage", "lab", "coverage", str(folder), *asked], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["methods"] == study.summary(frame).to_dicts()
    assert told["spec"] == "default" and told["runs"] == 2
    assert "the headline's range holds the truth in" in done.stderr
    wrong = subprocess.run(
        [sys.executable, "-m", "linkage", "lab", "coverage", str(folder), "--runs", "0"], capture_output=True, text=True
    )
    assert wrong.returncode == 2 and "a study needs a run" in wrong.stderr
