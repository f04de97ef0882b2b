"""What the analyst sees: a verdict and all that stands beside it, refusals without a number, files for one account."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from linkage.errors import ContractError, EstimateError
from linkage.research.analysis import CONFIDENTIAL, Analysis, Effort, analyse
from linkage.research.analysis_page import DATA, PAGE, render_analysis, require_new, write_analysis
from linkage.research.analysis_strata import DIMENSIONS, Counted
from linkage.research.draws import by_record
from linkage.research.estimate import assumption_text, estimate
from linkage.research.estimate.families import HEADLINE
from linkage.research.estimate.hierarchical import HierarchicalStrata
from linkage.research.estimate.result import REASONS
from linkage.research.histories import capture_histories, stack
from linkage.research.release import in_scope, scoped_persons

QUICK = Effort(resamples=100, draws=4, chains=False, pooling=HierarchicalStrata(chains=2, warm_up=60, draws=400))
REFERRALS = [("dcf", "pohsey")]
NUMBERS = {"n_hat", "lower", "upper", "low", "high", "chapman", "lincoln_petersen", "fitted", "log_ratio"}
NUMBERS |= {"width_from_linkage", "variance_from_linkage"}


def drawn(person_map: pl.DataFrame, number: int, share: float = 0.2) -> pl.DataFrame:
    """Draw partitions: a share of the persons on several lists lose a record in half of the draws."""
    rng = np.random.default_rng(5)
    several = person_map.group_by("person").len().filter(pl.col("len") > 1)["person"].sort()
    chosen = several.sample(fraction=share, seed=5)
    rows = person_map.with_row_index("row").filter(pl.col("person").is_in(chosen.implode()))
    own = rows["person"].rank("dense").to_numpy().astype(np.int64) - 1
    first = rows["person"].is_first_distinct().to_numpy()
    columns = {"record": rows["row"].cast(pl.UInt32)}
    for draw in range(number):
        person = np.where(first & (rng.random(len(own)) < 0.5), len(own) + np.arange(len(own)), own)
        columns[f"draw_{draw}"] = pl.Series(np.unique(person, return_inverse=True)[1], dtype=pl.UInt32)
    return pl.DataFrame(columns)


def none_drawn() -> pl.DataFrame:
    return pl.DataFrame(schema={"record": pl.UInt32})


def rates(quality: dict[str, Any]) -> dict[str, Any]:
    """Say something of every pair of lists."""
    rate = {"value": 0.95, "low": 0.9, "high": 0.98}
    pairs = [
        {**entry, "links": 100, "expected_matches": 102.0, "precision": rate, "recall": rate}
        for entry in quality["by_sources"]
    ]
    return {**quality, "by_sources": pairs, "posterior": {"converged": True, "effective_draws": 8.0}}


def populations() -> pl.DataFrame:
    sizes = {"female": 60_000, "male": 60_000, "transgender_female": 300, "transgender_male": 300, "other": 400}
    rows = [(sex, year, people) for year in range(2013, 2017) for sex, people in sizes.items()]
    return pl.DataFrame(rows, schema={"sex": pl.String, "year": pl.Int64, "population": pl.Int64}, orient="row")


def made(maker: Any, world: Any, **changes: Any) -> Analysis:
    plain: dict[str, Any] = {
        "month": "2026-11",
        "draws": none_drawn(),
        "quality": rates(world.quality),
        "policy": maker.policy(),
        "referrals": REFERRALS,
        "effort": QUICK,
    }
    return analyse(world.facts, world.person_map, **(plain | changes))


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def world(maker: Any) -> Any:
    """Some seven hundred persons on the lists; of some races there are only a few."""
    return maker.world(1000, 2)


@pytest.fixture(scope="module")
def seen(maker: Any, world: Any, told: list[str]) -> Analysis:
    """Eight draws, of which four are used, and populations by sex."""
    draws = drawn(world.person_map, 8)
    return made(maker, world, draws=draws, denominators=populations(), progress=told.append)


@pytest.fixture(scope="module")
def plain(seen: Analysis) -> dict[str, Any]:
    return seen.to_dict()


@pytest.fixture(scope="module")
def page(seen: Analysis) -> str:
    return render_analysis(seen)


@pytest.fixture(scope="module")
def refusal(maker: Any) -> Analysis:
    """Thirty people hardly any of whom two lists share."""
    world = maker.world(60, 4, dict.fromkeys(maker.lists, 0.1))
    return made(maker, world, draws=drawn(world.person_map, 3, 1.0), denominators=populations())


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give every plain value with where it stands."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from walk(item, path)
    else:
        yield path, value


def words_of(html: str) -> str:
    text = re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_the_verdict_is_that_of_the_map_and_the_draws(seen: Analysis, plain: dict[str, Any], maker: Any, world: Any):
    people = scoped_persons(world.facts, world.person_map, maker.policy())
    alone = estimate(capture_histories(people, maker.lists), lists=maker.lists, referrals=REFERRALS, resamples=100)
    assert [family["method"] for family in plain["families"]] == [*HEADLINE, "zelterman"]
    for family, result in zip(plain["families"], alone.results, strict=True):
        assert family["on_map"]["n_hat"] == pytest.approx(result.n_hat)
        if family["headline"]:
            assert 0 <= family["width_from_linkage"] < 1 and 0 <= family["variance_from_linkage"] < 1
            assert family["over_draws"]["details"]["partition_draws"] == 4
            # records that leave their persons in half of the draws thin out the overlaps
            assert family["over_draws"]["n_hat"] > family["on_map"]["n_hat"]
        else:
            assert family["over_draws"] is None and family["width_from_linkage"] is None
    assert max(family["width_from_linkage"] for family in plain["families"] if family["headline"]) > 0.01
    ends = [family["over_draws"][end] for family in plain["families"][:-1] for end in ("lower", "upper")]
    assert (plain["verdict"]["low"], plain["verdict"]["high"]) == pytest.approx((min(ends), max(ends)))
    assert plain["verdict"]["high"] != pytest.approx(alone.verdict.high)
    assert any("of 8 partition draws 4 are used" in note for note in seen.notes)
    assert plain["partition_draws"] == {"used": 4, "there": 8}


def test_everything_stands_beside_it(seen: Analysis, plain: dict[str, Any]) -> None:
    beside = plain["diagnostics"]
    assert beside["observed"] == sum(row["count"] for row in plain["histories"])
    assert beside["list_sizes"] == {
        name: sum(row["count"] for row in plain["histories"] if name in row["lists"]) for name in plain["lists"]
    }
    assert len(beside["pairs"]) == len(beside["odds_ratio_curves"]) == 6
    stepwise = beside["estimators"][0]
    assert (len(stepwise["left_out"]), len(stepwise["merges"]), len(stepwise["consistency"])) == (4, 6, 4)
    assert plain["referrals"] == [["dcf", "pohsey"]]
    for family, entry in zip(seen.families, plain["families"], strict=True):
        assert entry["assumption"] == assumption_text(family.best)
    methods = [result["method"] for result in plain["linkage_check"]["results"]]
    assert methods.count("ding-fienberg") == methods.count("di-consiglio-tuoto") == 6
    assert methods[-1] == "composite-link"


def test_strata_that_are_not_identified_are_named_and_not_added(seen: Analysis, plain: dict[str, Any], page: str):
    assert [found["by"] for found in plain["strata"]] == list(DIMENSIONS)
    race = plain["strata"][1]
    assert {found["family"] for found in (*plain["strata"], plain["series"])} == {"averaged-aic"}
    named = {entry["value"]: entry["reason"] for entry in race["not_identified"]}
    assert named and set(named.values()) <= set(REASONS)
    for stratum in race["strata"]:
        assert (stratum["value"] in named) == (stratum["verdict"]["low"] is None)
    assert set(race["sum_of"]).isdisjoint(named)
    assert sorted(race["sum_of"] + race["sum_without"]) == [stratum["value"] for stratum in race["strata"]]
    parts = {entry["stratum"]["race"]: entry for entry in race["sum"]["strata"]}
    assert race["sum"]["total"]["details"]["sum_of_estimates"] == pytest.approx(
        sum(parts[value]["n_hat"] for value in race["sum_of"])
    )
    assert race["sum"]["total"]["interval"] == "sums of draws, paired by partition"
    shared = race["strength_shared"]
    assert [entry["stratum"]["race"] for entry in shared["strata"]] == [s["value"] for s in race["strata"]]
    words = words_of(page)
    for value, reason in named.items():
        what, remedy = REASONS[reason]
        assert re.search(rf"{value} \d+ \d+ not identified, no number: {re.escape(what)}; {re.escape(remedy)}", words)
    assert f"without {', '.join(race['sum_without'])}:" in words


def test_strata_and_years_of_every_draw_are_of_the_same_persons(maker: Any, world: Any) -> None:
    events = in_scope(stack(world.facts, by_record(world.person_map)), maker.policy().scope)
    people = scoped_persons(world.facts, world.person_map, maker.policy())
    draws = drawn(world.person_map, 3)
    counted = Counted(people, events, world.person_map, draws, 3, maker.lists, (), 3.0, "x")
    whole = counted.in_draws()
    for by in DIMENSIONS:
        found = counted.in_draws([by])
        summed = found.group_by("draw", *maker.lists).agg(pl.col("count").sum()).sort("draw", *maker.lists)
        assert summed.equals(whole), by
        assert set(found[by]) >= set(counted.on_map([by])[by])
    assert set(counted.on_map(["age"])["age"]) == {"under 14", "14-17", "18-25"}


def test_years_their_difference_and_what_is_said_per_thousand(seen: Analysis, plain: dict[str, Any]) -> None:
    series = plain["series"]
    assert [year["value"] for year in series["years"]] == ["2013", "2014", "2015", "2016"]
    assert series["compared"] == [2013, 2016]
    middle, low, high = series["difference"]["difference"]
    assert low < middle < high and series["difference"]["paired"]
    assert np.array(series["difference_per_1000"]["difference"]) == pytest.approx(np.array([middle, low, high]) / 121)
    rate, verdict = plain["per_1000"], plain["verdict"]
    assert (rate["low"], rate["high"]) == pytest.approx((verdict["low"] / 121, verdict["high"] / 121))
    sex, race = plain["strata"][0], plain["strata"][1]
    female = next(stratum for stratum in sex["strata"] if stratum["value"] == "female")
    assert female["per_1000"]["low"] == pytest.approx(female["verdict"]["low"] / 60)
    assert {stratum["per_1000"]["status"] for stratum in race["strata"]} == {"no-denominator"}
    assert seen.years is not None and seen.years.why_none == seen.years.why_no_rates == ""


def test_the_data_are_plain_json_and_of_nobody(
    plain: dict[str, Any], page: str, world: Any, told: list[str], seen: Analysis
) -> None:
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text) == plain
    assert plain["confidential"] == CONFIDENTIAL
    assert {"verdict", "families", "histories", "diagnostics", "linkage_check", "strata", "series"} <= set(plain)
    pseudonyms = set(world.person_map["pseudonym"])
    found = set(re.findall(r"[0-9a-f]{32}", text + page))
    assert not found & pseudonyms and "pseudonym" not in text + page
    assert all(isinstance(value, str | int | float | bool | None) for _, value in walk(plain))
    assert [words for words in told if words.startswith("by ")] == ["by sex", "by race", "by age", "by year"]


def test_the_page_needs_nothing_else_and_has_its_figures_in_words(page: str, plain: dict[str, Any]) -> None:
    assert page.index(CONFIDENTIAL) < page.index("<h1>")
    assert not re.search(r"<script|<link|<img|https?://|url\((?!#)", page)
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawings) == 9
    labels = []
    for svg in drawings:
        found = ElementTree.fromstring(svg.replace("&nbsp;", " "))
        assert found.get("role") == "img"
        labels.append(found.get("aria-label", ""))
    assert len(set(labels)) == len(drawings) and all(len(label) > 40 for label in labels)
    assert page.count('<p class="words">In words: ') == len(drawings)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    words = words_of(page)
    assert f"{plain['verdict']['low']:,.0f} to {plain['verdict']['high']:,.0f}" in words
    assert "nobody can check that" in words and "None" not in words and "nan" not in words.split()


def test_methods_that_go_wrong_on_known_numbers_are_named_beside_the_headline(seen: Analysis) -> None:
    stepwise, independence = seen.diagnostics.panels
    missed = tuple(replace(row, n_hat=1.0, covered=False) for row in independence.consistency)
    panels = (replace(stepwise, consistency=()), replace(independence, consistency=missed))
    wrong = replace(seen, diagnostics=replace(seen.diagnostics, panels=panels))
    (alarm,) = wrong.to_dict()["alarms"]
    assert alarm.startswith("known numbers, by independence: its interval misses the known number of all 4 lists")
    card = words_of(render_analysis(wrong)).split("people, seen and unseen")[1].split("What must be true")[0]
    assert f"Warning: {alarm}." in card
    right = replace(seen, diagnostics=replace(seen.diagnostics, panels=(panels[0],)))
    assert right.to_dict()["alarms"] == [] and "Warning" not in words_of(render_analysis(right))


def test_a_refusal_has_a_reason_and_a_remedy_and_no_number(refusal: Analysis) -> None:
    assert refusal.refused
    plain, page = refusal.to_dict(), render_analysis(refusal)
    what, remedy = REASONS[plain["verdict"]["reason"]]
    words = words_of(page)
    assert f"Refused ({plain['verdict']['reason']}): {what}" in words and f"What would help: {remedy}" in words
    shown = [(path, value) for path, value in walk(plain) if path[-1] in NUMBERS and value is not None]
    assert shown == []
    assert not any(value is not None for path, value in walk(plain) if path[-1] == "n_hats")
    assert plain["strata"] == [] and plain["series"] is None
    assert "strata and years are not estimated, since nothing can be said of everybody" in plain["notes"]
    assumptions = words.split("What must be true")[2].split("Lists and overlaps")[0]
    assert "would be right" in assumptions and not re.search("(?i)the number", assumptions)
    assert assumptions.count("In every case") == 1 and plain["alarms"] == []
    assert not any("he number is right" in value for path, value in walk(plain) if path[-1] == "assumption")
    assert plain["diagnostics"]["observed"] > 0 and plain["histories"]
    assert len(re.findall("<svg", page)) == 1
    assert not re.search(r"\d to \d", words.replace("2013-01 to 2016-12", ""))


def test_without_draws_or_with_draws_of_chains_that_did_not_agree_it_is_the_map_alone(maker: Any, small: Any) -> None:
    quick = replace(QUICK, pooling=None)
    alone = made(maker, small, effort=quick)
    assert alone.draws == 0 and any("holds no partition draws" in note for note in alone.notes)
    assert all(family.over_draws is None for family in alone.families)
    assert alone.years is not None and alone.years.found is not None
    assert alone.dimensions[1].shared is None and alone.dimensions[1].summed is not None
    assert alone.rate is None and "per 1,000" not in words_of(render_analysis(alone)).lower()
    quality = {**small.quality, "posterior": {"converged": False, "effective_draws": 8.0}}
    other = made(maker, small, draws=drawn(small.person_map, 8), quality=quality, effort=quick)
    assert any("did not agree" in note for note in other.notes)
    assert other.report.verdict == alone.report.verdict
    assert other.check.results == () and "nothing of links" in other.check.words
    assert other.check.words in words_of(render_analysis(other))
    quality = {**small.quality, "posterior": {"converged": True, "effective_draws": 1.6}}
    alike = made(maker, small, draws=drawn(small.person_map, 8), quality=quality, effort=quick)
    assert alike.draws == 0 and any("worth fewer than two" in note for note in alike.notes)
    assert alike.report.verdict == alone.report.verdict and alike.report.verdict.status == "estimated"


def test_three_lists_of_which_two_refer_to_each_other(maker: Any) -> None:
    chance = {"mpd": 0.45, "dcf": 0.4, "pohsey": 0.4, "medical": 0.0}
    found = made(maker, maker.world(400, 6, chance), effort=replace(QUICK, pooling=None))
    assert found.diagnostics.empty == ("medical",)
    for panel in found.diagnostics.panels:
        status = {variant.lists: variant.status for variant in panel.left_out}
        assert status["mpd",] == "start-not-estimable" and status["dcf",] == "ok"
    page = render_analysis(found)
    assert REASONS["start-not-estimable"][0] in words_of(page)
    assert any("nobody is on list medical" in note for note in found.notes)


def test_nobody_in_scope_is_an_error(maker: Any, small: Any) -> None:
    scope = {"first_month": "1999-01", "last_month": "1999-12", "max_age": 25, "jurisdiction": "City of Milwaukee"}
    with pytest.raises(EstimateError) as caught:
        made(maker, small, policy=maker.policy(scope=scope))
    assert caught.value.reason == "no-persons"


def test_files_are_for_their_owner_alone_and_never_overwrite(refusal: Analysis, tmp_path: Path) -> None:
    out = tmp_path / "new" / "analysis"
    write_analysis(refusal, out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert sorted(path.name for path in out.iterdir()) == sorted([PAGE, DATA])
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert json.loads((out / DATA).read_text("utf-8")) == refusal.to_dict()
    before = (out / PAGE).read_bytes()
    with pytest.raises(ContractError) as caught:
        write_analysis(refusal, out)
    assert caught.value.reason == "exists" and (out / PAGE).read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["analysis"]
    releases = tmp_path / "releases"
    releases.mkdir()
    (tmp_path / "link").symlink_to(releases)
    for inside in (releases / "x", releases / "deep" / "x", tmp_path / "link" / "x"):
        with pytest.raises(ContractError) as caught:
            require_new(inside, releases)
        assert caught.value.reason == "inside-releases"
    require_new(tmp_path / "free", releases)
