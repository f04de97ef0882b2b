"""The report: one page that needs nothing else, made from the public document alone, readable by everybody."""

from __future__ import annotations

import json
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from linkage.research.estimate.families import HEADLINE
from linkage.research.figures import METHODS, bars, draw_all
from linkage.research.report import render_report
from linkage.research.verify import read_release

VOID = {"meta", "br"}
HATCHED = " A hatched bar marked [c] is a withheld count: its length says nothing."


class Page(HTMLParser):
    """Checks nesting and collects what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.captions = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(small_release: Any) -> str:
    return (small_release.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_has_no_script_and_refers_to_nothing_outside(page: Page, text: str) -> None:
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == page.tags["img"] == 0
    for tag, name, value in page.attributes:
        assert name not in ("src", "srcset", "action", "data") and not name.startswith("on"), (tag, name)
        if name.endswith("href"):
            assert value is not None and value.startswith("#"), (tag, value)
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert "url(" not in text.replace("url(#", "")


def test_ids_are_unique_and_every_reference_has_its_target(page: Page, text: str) -> None:
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert [value for value, count in ids.items() if count > 1] == []
    targets = {value[1:] for _, name, value in page.attributes if name.endswith("href") and value}
    assert targets <= set(ids)
    assert {value for _, name, value in page.attributes if name == "aria-labelledby"} <= set(ids)


def test_tables_have_captions_and_scopes_and_figures_have_words(page: Page) -> None:
    assert page.tags["table"] == page.tags["caption"] > 15
    scopes = [value for tag, name, value in page.attributes if tag == "th" and name == "scope"]
    assert len(scopes) == page.tags["th"]
    assert set(scopes) == {"col", "row"}
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == page.tags["svg"] == page.tags["figure"] == 5
    assert all(label and len(label) > 40 for label in labels)
    assert ("html", "lang", "en") in page.attributes
    assert page.tags["h1"] == 1


def test_the_report_is_made_from_the_public_document_alone(small_release: Any, text: str) -> None:
    assert render_report(read_release(small_release.folder)) == text


def test_headline_policy_agreements_and_limits_are_said(small_release: Any, text: str) -> None:
    document = small_release.document
    assert f'id="persons">{document.persons:,}<' in text
    assert f'id="estimate">{document.estimate.low:,} to {document.estimate.high:,}<' in text
    assert "No count from 1 to 10 is shown" in text
    assert "the output checker" in text
    for source in document.sources:
        assert source.ends in text
    assert "research agreement &lt;of counsel&gt;" in text  # what a contract file says is text, never markup
    assert "<of counsel>" not in text
    assert "0.98 (0.97 to 1.00)" in text


def test_withheld_counts_are_hatched_over_the_whole_width_and_said_beside_each_figure(
    small_release: Any, large_release: Any, text: str
) -> None:
    drawings = {drawing.name: drawing for drawing in draw_all(small_release.document)}
    assert drawings["systems"].svg.count(">[c]</text>") == 4
    assert "known to 2 systems: withheld" in drawings["systems"].words
    every = [drawing for made in (small_release, large_release) for drawing in draw_all(made.document)]
    assert {("[c]</text>" in d.svg, HATCHED in d.words) for d in every} == {(True, True), (False, False)}
    hatched = [drawing for drawing in drawings.values() if HATCHED in drawing.words]
    assert unescape(text).count(HATCHED) == 2 * len(hatched)  # for those who see it and for those who hear it
    for across in (True, False):
        axes = Figure().subplots()
        bars(axes, ["few", "hidden", "many"], [12, None, 400], across=across)
        few, hidden, many = axes.patches
        length = Rectangle.get_width if across else Rectangle.get_height
        end = (axes.get_xlim() if across else axes.get_ylim())[1]
        assert length(few) == 12 and length(many) == 400 < length(hidden) == end
        assert hidden.get_hatch() and not many.get_hatch()


def test_overlaps_are_drawn_from_published_counts_with_withheld_ones_last(sparse_release: Any) -> None:
    document = sparse_release.document
    cells = {cell.values: cell.count for entry in document.tables if entry.name == "overlaps" for cell in entry.cells}
    counts = {(a, b): cells[a, b] for i, a in enumerate(document.lists) for b in document.lists[i + 1 :]}
    hidden = [pair for pair, count in counts.items() if count is None]
    drawing = next(drawing for drawing in draw_all(document) if drawing.name == "overlaps")
    assert len(counts) == 6 and len(hidden) > 2 and drawing.svg.count(">[c]</text>") == len(hidden)
    said = drawing.words.removesuffix(HATCHED).removesuffix(".").split("; ")
    shown = [f"on both {a} and {b}: {count}" for (a, b), count in counts.items() if count is not None]
    assert set(said[: len(shown)]) == set(shown)
    # In the order of the lists, which tells nothing of how large they are.
    assert said[len(shown) :] == [f"on both {a} and {b}: withheld" for a, b in hidden]
    assert "whatever other lists" in drawing.title and "no other" not in drawing.words


def test_families_and_how_often_they_held_are_said_for_the_lists_at_hand(
    small_release: Any, three_release: Any, sparse_release: Any
) -> None:
    four, three = render_report(small_release.document), render_report(three_release.document)
    assert three_release.document.estimate.families == small_release.document.estimate.families == HEADLINE
    assert "held the true number in 197" in four and "it was not" not in four
    study = json.loads((Path(__file__).parents[1] / "bench/coverage_study/coverage.json").read_text("utf-8"))
    held = {(row["method"], row["data"]): row["covered"] for row in study["methods"]}
    assert held.pop(("headline", "draws")) == 197
    single = [count for (name, _), count in held.items() if name not in ("headline", "narrow", "averaged-aic")]
    assert max(single) == 132 and "by AIC in 132 at most" in four
    assert "held the true number" not in three and "for 3 it was not" in three
    for text in (four, three):
        assert "over seven families of assumptions" in text and "Not offered" not in text
        assert all(METHODS[name] in unescape(text) for name in HEADLINE)
        assert "found from the true counts" in text
    few = three_release.document.estimate.model_copy(update={"families": HEADLINE[:4]})
    text = render_report(three_release.document.model_copy(update={"estimate": few}))
    assert "over four families of assumptions" in text and "Not offered for so many lists" in text
    assert 'id="families"' not in render_report(sparse_release.document)


def test_a_refusal_is_said_in_words_and_draws_no_estimate(small_release: Any) -> None:
    document = small_release.document
    refused = document.estimate.model_copy(
        update={
            "status": "refused",
            "reason": "too-few-lists",
            "words": "too few lists & no more",
            "low": None,
            "high": None,
        }
    )
    page = render_report(document.model_copy(update={"estimate": refused, "persons": None}))
    Page(page)
    assert 'id="estimate">no number<' in page
    assert "too few lists &amp; no more" in page
    assert "Estimates by method" not in page and "Methods and what must be true" not in page
    assert "is part of the log-linear models" not in page and "in the estimate only as far" not in page
    assert "Rounding of estimates" not in page and "any estimate" not in page and "inside the range" not in page
    assert 'id="persons"><abbr' in page


def test_nothing_depends_on_when_it_was_drawn(small_release: Any, text: str) -> None:
    first, second = draw_all(small_release.document), draw_all(small_release.document)
    assert first == second
    assert all("<metadata" not in drawing.svg for drawing in first)
    assert "matplotlib" not in text.lower()


def with_estimate(document: Any, **changes: Any) -> Any:
    return document.model_copy(update={"estimate": document.estimate.model_copy(update=changes)})


def with_count(document: Any, table: str, values: tuple[str, ...], count: int | None) -> Any:
    """Change one count of a document."""
    tables = []
    for entry in document.tables:
        cells = [
            cell.model_copy(update={"count": count}) if entry.name == table and cell.values == values else cell
            for cell in entry.cells
        ]
        tables.append(entry.model_copy(update={"cells": tuple(cells)}))
    return document.model_copy(update={"tables": tuple(tables)})


def test_what_is_withheld_is_inside_the_range_where_that_is_of_the_same_persons(small_release: Any) -> None:
    document = small_release.document
    assert any(m.status == "withheld" and m.method in HEADLINE for m in document.estimate.methods)
    on_map, over_draws = (
        render_report(with_estimate(document, reason=reason)) for reason in ("range-on-map", "range-over-draws")
    )
    assert ">inside the range<" in on_map and "Neither the range in the headline nor" in on_map
    assert "inside the range" not in over_draws and ">withheld<" in over_draws
    assert "It includes what the linkage leaves open" in over_draws and "Neither the range" not in over_draws
    assert "The methods' own intervals contain none of it" in over_draws


def test_ends_that_no_line_of_the_table_explains_are_explained(small_release: Any) -> None:
    document = small_release.document
    plain = with_estimate(document, low=document.persons + 10, high=document.persons + 20)
    uppers = [m.upper for m in plain.estimate.methods if m.upper is not None]
    assert uppers
    text = render_report(with_estimate(plain, high=max(uppers)))
    assert "number of persons counted: rounding" not in text and "The upper end of the range lies above" not in text
    text = render_report(with_estimate(plain, low=document.persons, high=max(uppers) + 1000))
    assert "the lower end is the number counted" in text and "number of persons counted: rounding" in text
    above = text[text.index("The upper end of the range lies above") :].split("</p>")[0]
    assert METHODS["averaged-aic"] in above and METHODS["independence"] not in above


def test_how_often_ranges_held_is_said_where_four_lists_have_people(small_release: Any) -> None:
    empty = with_count(small_release.document, "overlaps", ("medical", "total"), 0)
    text = render_report(empty)
    assert "held the true number" not in text and "for 3 it was not" in text


def test_lists_and_words_are_spelt_out(small_release: Any, text: str) -> None:
    for source in small_release.document.sources:
        assert f"<strong>{source.source}</strong>: {source.title}" in text
    for word in ("confirmed", "believed", "role unknown", "multiple", "recurrence", "spec", "key epoch"):
        assert f"<dt>{word}</dt>" in text
    assert "<dt>GUILD</dt>" in text and "<dt>RECORD</dt>" in text
    assert "stays confidential" not in text


def test_how_many_have_an_unknown_history_is_said(maker: Any, two_release: Any, tmp_path: Path) -> None:
    assert 'id="unknown"' not in render_report(two_release.document)
    made = maker.world(250, 3, {"mpd": 0.4, "dcf": 0.35})
    silent = pl.when(pl.col("pseudonym") < "8").then(None).otherwise(pl.col("history_drug")).alias("history_drug")
    made.facts = {name: frame.with_columns(silent) for name, frame in made.facts.items()}
    summary = maker.release(made, tmp_path / "release")
    number = summary.count("history_drug", "unknown", "total")
    assert number is not None and number >= 11
    text = (summary.folder / "report.html").read_text(encoding="utf-8")
    assert "are among the hundred per cent" in text and f"Of unknown history are, by kind: drug {number:,}.</p>" in text
