"""A release says what it may and nothing else, in every file of it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.errors import EstimateError, NotPermittedError, ReleaseError
from linkage.research.bundle import protected_tables
from linkage.research.disclosure import compare_releases
from linkage.research.draws import by_record
from linkage.research.estimate import HistoryTable, estimate
from linkage.research.estimate.families import HEADLINE
from linkage.research.figures import draw_all
from linkage.research.headline import Headline
from linkage.research.histories import capture_histories, stack
from linkage.research.release import _drawn, earlier_releases, in_scope, referrals, release, scoped_persons
from linkage.research.report import render_report
from linkage.research.statement import (
    ON_MAP,
    OVER_DRAWS,
    STATED,
    TOO_WEAK,
    families_of,
    places,
    source_entries,
    worth_sparing,
)
from linkage.research.tables import TOTAL, build_tables
from linkage.research.verify import verify_release


def true_counts(maker: Any, world: Any) -> dict[tuple[str, tuple[str, ...]], int]:
    people = scoped_persons(world.facts, world.person_map, maker.policy())
    tables = build_tables(people, maker.lists)
    return {
        (table.name, tuple(values)): count
        for table in tables
        for *values, count in table.frame.select(*table.dimensions, "count").iter_rows()
    }


def csv_counts(folder: Path) -> dict[tuple[str, tuple[str, ...]], tuple[str, str]]:
    found = {}
    for path in sorted((folder / "tables").iterdir()):
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header[-2:] == ["count", "status"]
        found |= {(path.stem, tuple(row[:-2])): (row[-2], row[-1]) for row in rows}
    return found


class Texts(HTMLParser):
    """Collects the texts of elements of interest: counts in tables, and everything inside figures."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[str] = []
        self.figures: list[str] = []
        self.stack: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.stack.append((tag, dict(attrs).get("class") or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(kind == "count" for _, kind in self.stack):
            self.counts.append(data.strip())
        if any(tag == "svg" for tag, _ in self.stack) and self.stack[-1][0] == "text":
            self.figures.append(data.strip())


def test_a_release_counts_persons_once_and_shows_no_count_below_the_floor_in_any_csv(
    maker: Any, small: Any, small_release: Any
) -> None:
    truth, shown = true_counts(maker, small), csv_counts(small_release.folder)
    assert set(shown) == set(truth)
    small_cells = {place for place, count in truth.items() if 0 < count < 11}
    assert len(small_cells) > 30  # the test has something to find
    for place, (count, status) in shown.items():
        if place in small_cells:
            assert (count, status) == ("", "suppressed")
        elif truth[place] == 0:
            assert (count, status) == ("0", "zero")
        else:
            assert (count, status) in ((str(truth[place]), "published"), ("", "suppressed"))
    assert shown["persons", ("total",)][0] == str(truth["persons", ("total",)])


def test_release_json_has_no_number_that_is_not_meant(small_release: Any) -> None:
    document = json.loads((small_release.folder / "release.json").read_text(encoding="utf-8"))
    for table in document["tables"]:
        for cell in table["cells"]:
            assert cell["count"] is None or cell["count"] == 0 or cell["count"] >= 11
    estimates = [document["estimate"][name] for name in ("low", "high")]
    estimates += [m[name] for m in document["estimate"]["methods"] for name in ("n_hat", "lower", "upper")]
    assert all(number is None or number == document["persons"] or number % 10 == 0 for number in estimates)
    assert all(source["records_about"] % 20 == 0 for source in document["sources"])
    assert all(
        source["records_about"] >= small_release.count("overlaps", source["source"], TOTAL)
        for source in document["sources"]
    )


def test_records_are_counted_by_their_facts_without_decoys(maker: Any, small: Any, small_release: Any) -> None:
    decoys = pl.concat([small.facts["mpd"].head(1)] * 200).with_columns(
        decoy=True, pseudonym=pl.Series([f"{number:032x}" for number in range(200)])
    )
    agreements = {name: maker.agreement(name) for name in maker.lists}
    protected = protected_tables(small_release.document)
    plain = source_entries(maker.policy(), agreements, small.manifests, small.facts, protected, 11)
    more = small.facts | {"mpd": pl.concat([small.facts["mpd"], decoys])}
    assert source_entries(maker.policy(), agreements, small.manifests, more, protected, 11) == plain
    for entry in plain:
        real = small.facts[entry.source].filter(~pl.col("decoy"))["pseudonym"].n_unique()
        size = small_release.count("overlaps", entry.source, TOTAL)
        assert max(real, size + 10) <= entry.records_about < max(real, size + 10) + 20 and real > 40


def test_no_number_of_records_bounds_a_list_whose_size_is_withheld(maker: Any, tmp_path: Path) -> None:
    made = maker.world(200, 3, {"mpd": 0.5, "dcf": 0.4, "pohsey": 0.03})
    summary = maker.release(made, tmp_path / "release")
    assert 0 < made.facts["pohsey"].filter(~pl.col("decoy"))["pseudonym"].n_unique() < 20
    sizes = {name: summary.count("overlaps", name, TOTAL) for name in made.facts}
    assert sizes["pohsey"] is None
    for entry in summary.document.sources:
        assert (entry.records_about is None) == (sizes[entry.source] is None)
    text = (summary.folder / "report.html").read_text(encoding="utf-8")
    known = sum(entry.records_about or 0 for entry in summary.document.sources)
    without = " and ".join(name for name, size in sizes.items() if size is None)
    assert f"<b>about {known:,}</b>records received" in text and f"without those of {without}," in text


def test_nothing_of_the_hubs_numbers_of_links_and_records_gets_out(small_release: Any, sparse_release: Any) -> None:
    for made in (small_release, sparse_release):
        for path in made.folder.rglob("*"):
            if path.is_file() and path.name not in ("manifest.json", "manifest.sig"):
                assert not re.search(r"7\W?71[23]\d", path.read_text(encoding="utf-8"))
        linkage = made.document.linkage
        assert (linkage.precision.value, linkage.precision.low, linkage.precision.high) == (0.98, 0.97, 1.0)
        overlaps = next(entry for entry in made.document.tables if entry.name == "overlaps")
        published = {cell.values for cell in overlaps.cells if cell.count}
        assert {entry.sources for entry in linkage.by_sources} <= published
    assert small_release.document.linkage.by_sources and any(cell.count is None for cell in overlaps.cells)


def test_of_draws_on_which_the_chains_did_not_agree_no_quality_is_said(
    maker: Any, two: Any, two_release: Any, tmp_path: Path
) -> None:
    posterior = {"r_hat": 1.31, "effective_draws": 4.2, "converged": False}
    made = maker.release(two, tmp_path / "apart", quality=two.quality | {"posterior": posterior})
    linkage = json.loads((made.folder / "release.json").read_text(encoding="utf-8"))["linkage"]
    assert linkage["withheld"] == "not-converged" and "by_group" not in linkage
    assert (linkage["precision"], linkage["recall"], linkage["by_sources"]) == (None, None, [])
    text = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "No expected precision or recall is given" in text and "Expected precision" not in text
    assert "The expected figures are computed" not in text
    text = (two_release.folder / "report.html").read_text(encoding="utf-8")
    agreed = two_release.document
    assert agreed.linkage.precision is not None and agreed.linkage.by_sources and "Expected precision" in text
    assert "The expected figures are computed" in text
    assert "withheld" not in json.loads((two_release.folder / "release.json").read_text(encoding="utf-8"))["linkage"]
    assert [entry.cells for entry in agreed.tables] == [entry.cells for entry in made.document.tables]


def test_report_and_figures_print_published_counts_only(maker: Any, small: Any, small_release: Any) -> None:
    page = Texts()
    page.feed((small_release.folder / "report.html").read_text(encoding="utf-8"))
    numbers = [int(text.replace(",", "")) for text in page.counts if text != "[c]"]
    assert len(numbers) > 100
    assert "[c]" in page.counts
    assert all(number == 0 or number >= 11 for number in numbers)
    labels = [int(text.replace(",", "")) for text in page.figures if re.fullmatch(r"[\d,]+", text)]
    assert len(labels) > 10
    assert all(number >= 11 for number in labels)
    assert "[c]" in page.figures


def test_the_same_inputs_give_the_same_bytes(maker: Any, three: Any, three_release: Any, tmp_path: Path) -> None:
    shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=5) for name, frame in three.facts.items()}
    again = release(
        dict(reversed(shuffled.items())),
        three.person_map.reverse(),
        month="2026-11",
        quality=three.quality,
        policy=maker.policy(lists=tuple(three.facts)),
        agreements=maker.agreements(three.facts)[::-1],
        manifests=three.manifests,
        party=maker.party,
        out=tmp_path / "again",
        today=maker.today,
    )
    names = sorted(p.relative_to(again.folder) for p in again.folder.rglob("*") if p.is_file())
    assert len(names) > 20 and again.document.estimate.status == "estimated"
    for name in names:
        if name.name != "manifest.sig":  # ML-DSA is hedged: its signatures have random bits
            assert (again.folder / name).read_bytes() == (three_release.folder / name).read_bytes(), name


def test_summary_says_lists_overlaps_persons_and_estimate(small_release: Any, large_release: Any) -> None:
    for summary in (small_release, large_release):
        text = summary.text()
        assert f"deduplicated persons: {summary.document.persons:,}" in text
        assert f"{summary.document.estimate.low:,} to {summary.document.estimate.high:,}" in text
    assert "[c]" in small_release.text()


# --- the estimate


def test_where_all_its_counts_are_published_an_estimate_is_printed_to_the_base(
    maker: Any, large: Any, large_release: Any
) -> None:
    people = scoped_persons(large.facts, large.person_map, maker.policy())
    exact = estimate(capture_histories(people, maker.lists), lists=maker.lists, referrals=[("dcf", "pohsey")])
    said = large_release.document.estimate
    assert said.status == "estimated" and [m.method for m in said.methods] == list(STATED)
    assert exact.table.observed <= said.low <= exact.verdict.low and exact.verdict.high <= said.high
    by_method = {entry.method: entry for entry in said.methods}
    for result in (result for result in exact.results if result.method in STATED):
        entry = by_method[result.method]
        assert abs(entry.n_hat - result.n_hat) <= 5
        if result.method == "stepwise":  # resampled from histories that four lists' overlaps do not give
            assert (entry.lower, entry.upper) == (None, None)
        else:
            assert entry.lower <= result.lower <= result.upper <= entry.upper
        for name, values in places(exact)[result.method]:
            assert large_release.count(name, *values) is not None


def test_where_its_counts_are_withheld_only_a_coarse_range_is_printed(
    maker: Any, small: Any, small_release: Any
) -> None:
    said = small_release.document.estimate
    assert said.status == "estimated"
    assert small_release.count("systems", "2") is None
    assert said.range_rounded_to > 10
    assert {m.method for m in said.methods if m.n_hat is not None} <= {"independence", "stepwise"}
    people = scoped_persons(small.facts, small.person_map, maker.policy())
    exact = estimate(capture_histories(people, maker.lists), lists=maker.lists, referrals=[("dcf", "pohsey")])
    assert Headline(exact)(exact.table) == (exact.verdict.low, exact.verdict.high)
    assert exact.table.observed <= said.low <= exact.verdict.low and exact.verdict.high <= said.high
    # It says no more than other counts would have said, but more than nothing.
    assert said.high < 2 * exact.verdict.high


def test_the_range_runs_over_draws_on_which_the_chains_agree(maker: Any, small: Any, small_release: Any) -> None:
    draws = pl.DataFrame(
        {name: [0, 1] for name in ("record", "draw_0", "draw_1")}, schema_overrides={"record": pl.UInt32}
    )
    given = (small.facts, small.person_map, draws, maker.policy())
    agreed = small.quality | {"posterior": {"converged": True}}
    people = scoped_persons(small.facts, small.person_map, maker.policy())
    drawn = _drawn(*given, agreed)
    assert len(drawn) == 2 and all(people.height <= table.observed <= people.height + 2 for table in drawn)
    assert _drawn(*given, small.quality | {"posterior": {"converged": False}}) == ()
    assert _drawn(*given, small.quality | {"posterior": {"converged": True, "effective_draws": 1.4}}) == ()
    assert _drawn(small.facts, small.person_map, None, maker.policy(), agreed) == ()
    assert small_release.document.estimate.reason == ON_MAP
    report = render_report(small_release.document)
    assert "What the linkage leaves open is not in it" in report and "seven families of assumptions" in report
    said = small_release.document.estimate.model_copy(update={"reason": OVER_DRAWS})
    report = render_report(small_release.document.model_copy(update={"estimate": said}))
    assert "It includes what the linkage leaves open" in report


def test_a_release_uses_the_draws_that_the_analyst_uses(maker: Any, two: Any) -> None:
    policy = maker.policy(lists=tuple(two.facts))
    rows = in_scope(stack(two.facts, by_record(two.person_map)), policy.scope).get_column("person")
    # In draws of odd numbers two records are one person, in the others not; of 200 every second one is used.
    columns = {"record": [rows.min(), rows.max()]} | {f"draw_{at}": [0, 1 - at % 2] for at in range(200)}
    draws = pl.DataFrame(columns, schema_overrides={"record": pl.UInt32})
    drawn = _drawn(two.facts, two.person_map, draws, policy, two.quality)
    alike = draws.select("record", draw_0="draw_1", draw_1="draw_3")
    one = _drawn(two.facts, two.person_map, alike, policy, two.quality)
    assert len(drawn) == 100 and {table.observed for table in drawn} == {one[0].observed + 1}


THIN = {"mpd": 0.5, "dcf": 0.02, "pohsey": 0.02, "medical": 0.01}


def test_a_refusal_has_a_reason_that_bounds_no_withheld_count(
    maker: Any, sparse: Any, sparse_release: Any, tmp_path: Path
) -> None:
    # One has a range that would have to be rounded too coarsely, the other too little overlap: nobody sees which.
    thin = maker.world(250, 4, THIN)
    exact = []
    for world in (sparse, thin):
        people = scoped_persons(world.facts, world.person_map, maker.policy())
        exact.append(estimate(capture_histories(people, maker.lists), lists=maker.lists).verdict.status)
    assert exact == ["estimated", "refused"]
    said = sparse_release.document.estimate
    assert maker.release(thin, tmp_path / "thin").document.estimate == said
    assert (said.status, said.reason, said.low, said.high) == ("refused", TOO_WEAK, None, None)
    assert all(m.n_hat is None and m.lower is None and m.upper is None for m in said.methods)
    report = (sparse_release.folder / "report.html").read_text(encoding="utf-8")
    assert '<p class="big" id="estimate">no number</p>' in report
    assert said.words in report
    for path in sparse_release.folder.rglob("*"):
        assert path.is_dir() or "fewer than ten" not in path.read_text(encoding="utf-8")
    assert "no number is defensible" in sparse_release.text()


@pytest.mark.parametrize("lists", [1, 2])
def test_one_list_or_two_are_counted_and_not_estimated(
    maker: Any, two: Any, two_release: Any, tmp_path: Path, lists: int
) -> None:
    if lists == 2:
        summary = two_release
    else:
        records = two.person_map.filter(pl.col("source") == "mpd")
        records = records.with_columns((pl.col("person").rank("dense") - 1).cast(pl.UInt32))
        world = type(two)({"mpd": two.facts["mpd"]}, records, two.quality, {"mpd": two.manifests["mpd"]})
        summary = maker.release(world, tmp_path / "release")
    document = summary.document
    assert verify_release(summary.folder, maker.party.public).ok
    people = scoped_persons(two.facts, two.person_map, maker.policy(lists=("mpd", "dcf")))
    on_mpd = people.get_column("on_mpd").sum()
    assert document.persons == (on_mpd if lists == 1 else people.height) and summary.count("overlaps", "mpd", TOTAL)
    said = document.estimate
    assert (said.status, said.reason, said.low, said.families) == ("refused", "too-few-lists", None, ())
    assert [(m.method, m.status, m.n_hat) for m in said.methods] == [(name, "too-few-lists", None) for name in STATED]
    words = {drawing.name: drawing.words for drawing in draw_all(document)}
    text = (summary.folder / "report.html").read_text(encoding="utf-8")
    if lists == 2:
        assert words["overlaps"] == f"on both mpd and dcf: {summary.count('overlaps', 'mpd', 'dcf')}."
        assert "2 systems" in text and "at least one of the 2 lists" in text
    else:
        assert "overlaps" not in words and not re.search(
            r"\b1 (systems|lists)|whatever other lists|several lists", text
        )
        assert "on the one list" in text


def test_which_counts_are_spared_hangs_on_no_estimate(maker: Any, large: Any, small: Any, sparse: Any) -> None:
    referred = [("dcf", "pohsey")]
    found = []
    for world in (large, small, sparse, maker.world(250, 4, THIN)):
        people = scoped_persons(world.facts, world.person_map, maker.policy())
        spared = worth_sparing(build_tables(people, maker.lists), maker.lists, referred, 11)
        exact = estimate(capture_histories(people, maker.lists), lists=maker.lists, referrals=referred)
        assert set(places(exact)["independence"]) == set(spared[-2]) and spared[-1] == ()
        assert len(spared) < 3 or set(places(exact)["chao"]) <= set(spared[0])
        found.append((exact.verdict.status, spared))
    # A refusal spares what an estimate spares: so nothing that is withheld tells why there is none.
    assert [status for status, _ in found] == ["estimated", "estimated", "estimated", "refused"]
    assert all(spared[-2:] == found[0][1][-2:] for _, spared in found)


@pytest.mark.parametrize("lists", [3, 4, 7])
def test_which_families_make_the_range_hangs_on_the_number_of_lists_alone(lists: int) -> None:
    found = set()
    for seed, least in ((1, 1), (2, 0)):
        counts = np.random.default_rng(seed).integers(least, 60 if least else 9, 2**lists - 1)
        report = estimate(HistoryTable(tuple("abcdefg"[:lists]), counts), resamples=40)
        found.add(families_of(report))
    assert len(found) == 1 and (lists > 5 or found == {HEADLINE})


# --- permission


def refuses(maker: Any, world: Any, out: Path, **changes: Any) -> NotPermittedError:
    with pytest.raises(NotPermittedError) as caught:
        maker.release(world, out / "release", **changes)
    assert list(out.iterdir()) == []
    return caught.value


def test_an_expired_agreement_refuses(maker: Any, small: Any, tmp_path: Path) -> None:
    expired = [maker.agreement(n, ends="2026-11-21" if n == "dcf" else "2028-12-31") for n in maker.lists]
    assert refuses(maker, small, tmp_path, agreements=expired).reason == "no-agreement"


def test_sources_agreements_and_policy_must_match(maker: Any, small: Any, tmp_path: Path) -> None:
    error = refuses(maker, small, tmp_path, agreements=maker.agreements()[1:])
    assert error.problems == ("list mpd: no agreement",)
    error = refuses(maker, small, tmp_path, policy=maker.policy(lists=maker.lists[:3]))
    assert "source medical: not a list of the policy" in error.problems
    error = refuses(maker, small, tmp_path, policy=maker.policy(lists=(*maker.lists, "da")))
    assert set(error.problems) == {"list da: no agreement", "list da: no batch"}
    error = refuses(maker, small, tmp_path, policy=maker.policy(project="racine"))
    assert "source mpd: agreement of another project" in error.problems


def test_a_fact_that_is_not_agreed_refuses(maker: Any, small: Any, tmp_path: Path) -> None:
    narrow = [maker.agreement(n, facts=["month", "age"]) if n == "mpd" else maker.agreement(n) for n in maker.lists]
    error = refuses(maker, small, tmp_path, agreements=narrow)
    assert "source mpd: 'race' is not an agreed fact" in error.problems
    counts = [maker.agreement(n, mode="aggregate") if n == "mpd" else maker.agreement(n) for n in maker.lists]
    assert "source mpd: the agreement allows counts only" in refuses(maker, small, tmp_path, agreements=counts).problems


def test_the_strictest_floor_holds(maker: Any, two: Any, tmp_path: Path) -> None:
    strict = [maker.agreement(n, floor=15) if n == "dcf" else maker.agreement(n) for n in two.facts]
    summary = maker.release(two, tmp_path / "release", agreements=strict)
    counts = [cell.count for entry in summary.document.tables for cell in entry.cells]
    assert summary.document.floor == 15
    assert all(count is None or count == 0 or count >= 15 for count in counts)


# --- whole or not at all


def test_what_is_there_is_never_overwritten(maker: Any, small: Any, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "notes.txt").write_text("mine")
    with pytest.raises(ReleaseError) as caught:
        maker.release(small, tmp_path / "release")
    assert caught.value.reason == "exists"
    assert [p.name for p in tmp_path.rglob("*")] == ["release", "notes.txt"]


def test_a_failure_leaves_nothing(maker: Any, small: Any, tmp_path: Path) -> None:
    with pytest.raises(EstimateError):
        release(
            small.facts,
            small.person_map.head(10),
            month="2026-11",
            quality=small.quality,
            policy=maker.policy(),
            agreements=maker.agreements(),
            manifests=small.manifests,
            party=maker.party,
            out=tmp_path / "release",
            today=maker.today,
        )
    assert list(tmp_path.iterdir()) == []


# --- earlier releases


def test_a_later_release_does_not_show_small_differences(
    maker: Any, large: Any, large_release: Any, tmp_path: Path
) -> None:
    gone = large.person_map.filter(pl.col("source") == "mpd").get_column("pseudonym").sort().head(6)
    later = maker.world(2500, 2)
    later.facts["mpd"] = later.facts["mpd"].filter(~pl.col("pseudonym").is_in(gone.implode()))
    later.person_map = later.person_map.filter(~pl.col("pseudonym").is_in(gone.implode()))
    previous = earlier_releases(large_release.folder.parent, "milwaukee")
    assert previous == [large_release.folder]
    summary = maker.release(later, tmp_path / "later", month="2026-12", previous=previous)
    before, now = protected_tables(large_release.document), protected_tables(summary.document)
    assert compare_releases(before, now, floor=11) == []
    first, second = true_counts(maker, large), true_counts(maker, later)
    hidden = [
        place
        for place, count in second.items()
        if count >= 11 and 0 < abs(count - first[place]) < 11 and large_release.count(place[0], *place[1]) is not None
    ]
    assert len(hidden) > 10  # there was something to hide
    assert all(summary.count(name, *values) is None for name, values in hidden)


@pytest.mark.parametrize("lost", ["manifest.json", "manifest.sig", "release.json"])
def test_an_earlier_release_that_has_lost_a_part_is_not_passed_over(
    maker: Any, small: Any, small_release: Any, tmp_path: Path, lost: str
) -> None:
    shutil.copytree(small_release.folder, tmp_path / "all" / "earlier")
    (tmp_path / "all" / "earlier" / lost).unlink()
    with pytest.raises(ReleaseError) as caught:
        maker.release(small, tmp_path / "release", previous=earlier_releases(tmp_path / "all", "milwaukee"))
    assert caught.value.reason in ("earlier-release", "malformed")
    assert not (tmp_path / "release").exists()


def test_another_scope_of_the_same_period_is_refused(
    maker: Any, small: Any, small_release: Any, tmp_path: Path
) -> None:
    scope = {"first_month": "2013-01", "last_month": "2016-11", "max_age": 25, "jurisdiction": "City of Milwaukee"}
    with pytest.raises(ReleaseError) as caught:
        maker.release(small, tmp_path / "release", policy=maker.policy(scope=scope), previous=[small_release.folder])
    assert caught.value.reason == "overlapping-scope"
    assert list(tmp_path.iterdir()) == []


# --- scope


def test_scope_drops_other_places_and_keeps_unknown_ones(maker: Any) -> None:
    events = pl.DataFrame(
        {
            "month": ["2014-01"] * 3 + ["2017-01"],
            "age": [20, 20, 20, 20],
            "jurisdiction": ["City of Milwaukee", None, "elsewhere", None],
        }
    )
    kept = in_scope(events, maker.policy().scope)
    assert kept.get_column("jurisdiction").to_list() == ["City of Milwaukee", None]


def test_referrals_are_pairs_of_lists_at_hand(maker: Any) -> None:
    agreed = {
        a.source: a
        for a in [maker.agreement("dcf", refers_to=["pohsey", "da"]), maker.agreement("pohsey", refers_to=["dcf"])]
    }
    assert referrals(agreed) == [("dcf", "pohsey")]
