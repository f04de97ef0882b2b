"""Figures of estimates: sound SVG, every number in words, nothing withheld in sight, readable in grey."""

from __future__ import annotations

import math
import re
import string
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.errors import EstimateError
from linkage.research.estimate import REASONS, HistoryTable, Independence, Stepwise
from linkage.research.estimate.consistency import internal_consistency
from linkage.research.estimate.omission import leave_one_out
from linkage.research.figures import Drawing
from linkage.research.figures_axes import SCALE, ticks
from linkage.research.figures_estimate import (
    Combination,
    Curve,
    Density,
    Row,
    curves,
    densities,
    density_of,
    forest,
    overlaps,
    row_of,
    variations,
)

ROWS = (
    Row("Independent lists", 13444.1, 11985.0, 15166.2),
    Row("Dependence chosen by the data", 11313.0, 9233.0, 13700.0),
    Row("No interval", 12254.0),
    Row("Latent classes", None, refusal=REASONS["chains-not-agreed"][0]),
)
CURVES = (
    Curve("A and B", (0.25, 0.5, 1.0, 2.0, 4.0), (10408.0, 10500.0, 10593.0, 10900.0, 11209.0)),
    Curve("A and C", (0.25, 0.5, 1.0, 2.0, 4.0), (None, 8000.0, 8100.0, 8600.0, None)),
    Curve("B and C", (0.25, 0.5, 1.0, 2.0, 4.0), (None,) * 5),
)
LISTS = (("A", 94), ("B", None), ("C", 1169))
SETS = (
    Combination(("A", "B"), None),
    Combination(("A",), 54),
    Combination(("C",), 995),
    Combination(("A", "B", "C"), None),
    Combination(("B", "C"), 0),
)


def _bell(name: str, middle: float, spread: float) -> Density:
    at = np.linspace(middle - 3 * spread, middle + 3 * spread, 60)
    heights = np.exp(-(((at - middle) / spread) ** 2) / 2)
    return Density(name, tuple(at), tuple(heights), middle, middle - 2 * spread, middle + 2 * spread)


@pytest.fixture(scope="module")
def drawings() -> dict[str, Drawing]:
    made = (
        forest(ROWS, counted=2744, band=(9233.0, 15166.0)),
        variations(ROWS, base=11313.0),
        curves(CURVES, base=10593.0),
        overlaps(LISTS, SETS),
        densities((_bell("One", 11000.0, 900.0), _bell("Other", 21000.0, 2500.0)), counted=2744),
    )
    return {drawing.name: drawing for drawing in made}


NAMES = ("methods", "variations", "sensitivity", "combinations", "densities")


def _texts(drawing: Drawing, *, scale: bool = False) -> list[str]:
    """Give what is written in a figure: on it, or the numbers on its axes of people."""
    texts = ElementTree.fromstring(drawing.svg).iter("text")
    return ["".join(found.itertext()) for found in texts if (SCALE in (found.get("style") or "")) == scale]


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+/\d+|\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?", text))


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_sound_and_stands_alone(name, drawings):
    drawing = drawings[name]
    root = ElementTree.fromstring(drawing.svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == f"{drawing.title}. {drawing.words}"
    assert not re.search(r"@import|@font-face|https?:|<image|<script|<metadata", drawing.svg)
    ids = [found.get("id") for found in root.iter() if found.get("id")]
    assert len(ids) == len(set(ids))
    assert all(one.startswith(f"{name}-") for one in ids)
    for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', drawing.svg):
        assert (target[0] or target[1]) in ids


@pytest.mark.parametrize("name", NAMES)
def test_every_number_that_is_drawn_stands_in_the_words(name, drawings):
    drawing = drawings[name]
    shown = set().union(*(_numbers(text) for text in _texts(drawing)))
    assert len(shown) > 3
    assert shown <= _numbers(f"{drawing.title}. {drawing.words}")


@pytest.mark.parametrize("name", NAMES)
def test_the_same_data_give_the_same_bytes(name, drawings):
    again = {
        "methods": lambda: forest(ROWS, counted=2744, band=(9233.0, 15166.0)),
        "variations": lambda: variations(ROWS, base=11313.0),
        "sensitivity": lambda: curves(CURVES, base=10593.0),
        "combinations": lambda: overlaps(LISTS, SETS),
        "densities": lambda: densities((_bell("One", 11000.0, 900.0), _bell("Other", 21000.0, 2500.0)), counted=2744),
    }[name]()
    assert again == drawings[name]


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _fills(drawing: Drawing) -> dict[str, list[str | None]]:
    """Fill of every shape that is no text, with the strokes it is outlined by."""
    fills: dict[str, list[str | None]] = {}
    for shape in ElementTree.fromstring(drawing.svg).iter():
        style = dict(re.findall(r"([a-z-]+):\s*([^;]+)", shape.get("style") or ""))
        if shape.tag != "text" and re.fullmatch(r"#[0-9a-f]{6}", style.get("fill", "")):
            fills.setdefault(style["fill"], []).append(style.get("stroke"))
    return fills


@pytest.mark.parametrize("name", NAMES)
def test_fills_that_touch_differ_in_grey(name, drawings):
    fills = _fills(drawings[name])
    shades = sorted(set(fills) - {"#ffffff"}, key=_luminance)
    assert shades
    dark = [shade for shade in shades if _contrast(shade, "#ffffff") >= 3]
    for shade in shades:
        if shade in dark:
            continue
        # Pale on white: told apart by its outline, and by its contrast from every dark fill.
        assert all(stroke and _contrast(stroke, shade) >= 3 for stroke in fills[shade])
        assert all(_contrast(shade, other) >= 3 for other in dark)


def test_a_refusal_is_named_with_its_reason_and_without_a_number(drawings):
    for name in ("methods", "variations"):
        drawing = drawings[name]
        words = REASONS["chains-not-agreed"][0]
        assert f"Latent classes: no estimate, since {words}" in drawing.words
        assert f"no estimate: {words}" in " ".join(_texts(drawing))


def test_results_become_rows_and_refusals_lose_their_numbers(uk_small):
    result = Independence().fit(uk_small)
    assert row_of("x", result) == Row("x", result.n_hat, result.lower, result.upper)
    for found in (*leave_one_out(uk_small, Stepwise(resamples=0)), *internal_consistency(uk_small, Independence())):
        row = row_of("x", found)
        assert (row.point is None) == (found.status != "ok")
        assert row.refusal == ("" if found.status == "ok" else REASONS[found.status][0])
    assert any(found.status != "ok" for found in internal_consistency(uk_small, Independence()))


@pytest.fixture
def uk_small() -> HistoryTable:
    # Cells A, B, AB, C, AC, BC, ABC; nobody on C is on two other lists.
    return HistoryTable(("A", "B", "C"), np.array([50, 60, 12, 70, 9, 11, 0]))


def test_numbers_that_differ_much_get_a_logarithmic_axis_that_says_so():
    wide = forest((Row("a", 500.0, 300.0, 900.0), Row("b", 480000.0, 200000.0, 990000.0)))
    assert any("logarithmic" in text for text in _texts(wide))
    assert not any("logarithmic" in text for text in _texts(forest(ROWS)))


def test_one_wide_interval_does_not_squeeze_the_others_into_a_point():
    rows = (Row("a", 1000.0, 980.0, 1020.0), Row("b", 1010.0, 1000.0, 6000.0))
    assert any("logarithmic" in text for text in _texts(forest(rows)))
    steep = Curve("A and B", (0.25, 1.0, 4.0), (900.0, 2000.0, 6000.0))
    assert any("upwards: estimated persons; logarithmic scale" in text for text in _texts(curves((steep,))))
    assert not any("logarithmic" in text for text in _texts(curves(CURVES)))


def _anchors(drawing: Drawing) -> dict[str, str]:
    """Text -> where it is held: start, middle or end."""
    found = {}
    for text in ElementTree.fromstring(drawing.svg).iter("text"):
        held = re.search(r"text-anchor:\s*(\w+)", text.get("style") or "")
        found["".join(text.itertext())] = held[1] if held else "start"
    return found


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("most", [5, 7])
def test_an_axis_of_people_has_two_round_whole_numbers_at_least(most: int, logarithmic: bool) -> None:
    rng = np.random.default_rng(3)
    for ratio in (1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 12.0, 50.0, 333.0, 1e4, 1e5, 1e6):
        if logarithmic and ratio < 5:
            continue
        for low in np.exp(rng.uniform(math.log(10), math.log(1e6), 200)):
            found = ticks(low, low * ratio, most, logarithmic=logarithmic)
            assert 2 <= len(found) <= most, (low, ratio, found)
            assert low <= found[0] and found[-1] <= low * ratio * (1 + 1e-9)
            assert all(value == round(value) for value in found)
            assert all(one < other for one, other in pairwise(found))
            parts = [value for value in found if value] if logarithmic else [found[1] - found[0]]
            assert all(float(f"{value:.6e}"[0]) in (1, 2, 5) for value in parts)


@pytest.mark.parametrize("ratio", [1.0, 1.001, 1.2, 3.0, 6.0, 40.0, 2_000.0, 1e6])
@pytest.mark.parametrize("low", [0.0, 1.0, 1.9, 7.0, 123.0, 98_765.0])
def test_every_axis_of_people_has_numbers(low: float, ratio: float) -> None:
    row = Row("a", low, low, low * ratio)
    line = Curve("A and B", (0.25, 1.0, 4.0), (low, low * ratio, low * ratio))
    made = [forest((row,), counted=int(low)), variations((row,), base=low), curves((line, line), base=low)]
    for drawing in made:
        assert len(set(_texts(drawing, scale=True))) >= 2, drawing.name
        assert all(re.fullmatch(r"[\d,]+", text) for text in _texts(drawing, scale=True))


def test_labels_near_an_end_of_the_axis_run_inwards():
    rows = (Row("left", 100.0, 90.0, 110.0), Row("middle", 500.0, 480.0, 520.0), Row("right", 960.0, 900.0, 1000.0))
    held = _anchors(forest(rows, counted=1000, band=(900.0, 1000.0)))
    assert held["100 (90 to 110)"] == "start"
    assert held["500 (480 to 520)"] == "middle"
    assert held["960 (900 to 1,000)"] == "end"
    assert held["counted: 1,000"] == held["range: 900 to 1,000"] == "end"
    held = _anchors(forest(rows, counted=90, band=(90.0, 1000.0)))
    assert held["counted: 90"] == held["range: 90 to 1,000"] == "start"


def test_on_a_logarithmic_axis_a_density_is_that_of_the_logarithm():
    """A lognormal is then a bell around its median; as a density of numbers its top lies far to the left."""
    draws = np.exp(np.random.default_rng(1).normal(8.0, 1.0, 20_000))
    shape = density_of("x", draws)
    assert max(zip(shape.heights, shape.at, strict=True))[1] < 0.6 * shape.middle
    svg = densities((shape,)).svg
    outline = max(re.findall(r'd="(M [^"]+)"', svg), key=len)
    points = np.array([pair.split() for pair in re.findall(r"[ML] (-?[\d.]+ -?[\d.]+)", outline)], dtype=float)
    top, white = points[np.argmin(points[:, 1]), 0], re.search(r'd="M ([\d.]+) [^"]+"[^>]*stroke: #ffffff', svg)
    assert white is not None
    assert abs(top - float(white[1])) < 0.06 * np.ptp(points[:, 0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value):
    for build in (
        lambda: Row("a", value),
        lambda: Row("a", 1.0, value, 2.0),
        lambda: Curve("a", (1.0,), (value,)),
        lambda: Density("a", (1.0, 2.0), (value, 1.0), 1.0, 1.0, 2.0),
        lambda: variations(ROWS, base=value),
        lambda: curves(CURVES, base=value),
    ):
        with pytest.raises(EstimateError) as caught:
            build()
        assert caught.value.reason == "not-finite"


def test_a_curve_or_density_out_of_shape_is_refused():
    for build in (
        lambda: Curve("a", (1.0, 2.0), (3.0,)),
        lambda: Curve("a", (0.0,), (3.0,)),
        lambda: Density("a", (1.0,), (1.0,), 1.0, 1.0, 1.0),
    ):
        with pytest.raises(EstimateError) as caught:
            build()
        assert caught.value.reason == "bad-shape"


def test_a_curve_says_where_it_has_no_estimate(drawings):
    words = drawings["sensitivity"].words
    assert "A and B: 10,408 at 1/4, 10,593 at 1, 11,209 at 4;" in words
    assert "A and C: 8,000 at 1/2, 8,100 at 1, 8,600 at 2, no estimate at 1/4, 4;" in words
    assert words.endswith("B and C: no estimate.")


def test_withheld_counts_are_hatched_stubs_of_one_length_after_all_others(drawings):
    drawing = drawings["combinations"]
    texts = _texts(drawing)
    assert texts.count("[c]") == 2
    assert [text for text in texts if re.fullmatch(r"\[c\]|[\d,]+", text)] == ["995", "54", "0", "[c]", "[c]"]
    assert "B: [c]" in texts
    assert "on A and B and no other: withheld" in drawing.words
    assert "on B: withheld" in drawing.words
    hatched = re.findall(r'<path d="([^"]+)"[^>]*style="fill: url\(#', drawing.svg)
    assert len(hatched) == 2
    widths = {_width(path) for path in hatched}
    assert len(widths) == 1


def _width(path: str) -> float:
    across = [float(pair.split()[0]) for pair in re.findall(r"[ML] ([-\d.]+ [-\d.]+)", path)]
    return round(max(across) - min(across), 3)


LABEL = st.text(alphabet=string.ascii_letters + "<>&\"'$_{}^ é", min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=8, deadline=None)
@given(
    names=st.lists(LABEL, min_size=2, max_size=4, unique=True),
    data=st.data(),
)
def test_a_withheld_count_appears_nowhere(names, data):
    """The figure of a protected table, whatever was withheld, holds no number but those that were let through."""
    floor = 10
    cells = [group for size in range(1, len(names) + 1) for group in combinations(names, size)]
    counts = data.draw(st.lists(st.integers(0, 300), min_size=len(cells), max_size=len(cells)))
    shown = [Combination(cell, None if 0 < n < floor else n) for cell, n in zip(cells, counts, strict=True)]
    drawing = overlaps([(name, None) for name in names], shown)
    allowed = {str(row.count) for row in shown if row.count is not None}
    found = set().union(*(_numbers(text) for text in _texts(drawing)), _numbers(drawing.words))
    assert found <= allowed
    assert sum(text == "[c]" for text in _texts(drawing)) == sum(row.count is None for row in shown)
    order = [row.count for row in shown if row.count is not None]
    bars = [int(text) for text in _texts(drawing) if text.isdigit()]
    assert sorted(bars) == sorted(order)
    assert all(one >= other for one, other in pairwise(bars))


def test_the_order_in_which_withheld_counts_come_shows_nowhere(drawings):
    assert overlaps(LISTS, SETS[::-1]).svg == drawings["combinations"].svg


def test_more_combinations_than_fit_are_counted():
    drawing = overlaps((*LISTS, ("D" * 40, 5)), SETS, most=2)
    assert f"{'D' * 23}…: 5" in _texts(drawing)
    assert drawing.words.endswith("combinations that are not drawn: 3.")
    assert "[c]" not in _texts(drawing)


@pytest.mark.parametrize("lists", [(), ("Z",)])
def test_a_combination_of_unknown_lists_is_refused(lists):
    with pytest.raises(EstimateError) as caught:
        overlaps(LISTS, (Combination(lists, 3),))
    assert caught.value.reason == "unknown-list"


def test_a_density_has_its_mass_where_the_draws_are():
    draws = np.random.default_rng(5).lognormal(math.log(10000), 0.2, 20000)
    density = density_of("x", draws)
    at, heights = np.array(density.at), np.array(density.heights)
    assert np.trapezoid(heights, at) == pytest.approx(0.99, abs=0.01)
    assert density.middle == pytest.approx(10000, rel=0.01)
    assert (density.lower, density.upper) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    assert at[np.argmax(heights)] == pytest.approx(10000 * math.exp(-0.04), rel=0.03)
    assert draws.max() > at.max()
    assert draws.min() < at.min()
    given_ends = density_of("x", draws, middle=1.0, lower=2.0, upper=3.0)
    assert (given_ends.middle, given_ends.lower, given_ends.upper) == (1.0, 2.0, 3.0)


def test_draws_without_an_estimate_are_left_out_and_too_few_draw_nothing():
    draws = np.random.default_rng(5).lognormal(9, 0.2, 200)
    holes = np.concatenate([draws, [math.nan, math.inf, -math.inf, -1.0]])
    assert density_of("x", holes) == density_of("x", draws)
    assert density_of("x", draws[:20]) is None
    assert density_of("x", np.full(100, 7.0)) is None
    lumps = np.concatenate([np.full(999, 7.0), [9.0]])
    assert density_of("x", lumps) is None


def test_nothing_to_show_is_said():
    for drawing in (forest(()), variations(()), curves(()), overlaps((), ()), densities(())):
        assert drawing.words == "Nothing to show."
        ElementTree.fromstring(drawing.svg)
