"""Figures of a release, drawn from its public document and from nothing else.

Static SVG with text as text, without a date or a random id: the same document gives the same bytes. One dark colour and
hatching, so that they read in black and white and with any colour vision. A withheld count is a hatched stub marked
``[c]`` of a length that says nothing. Each figure has its text alternative.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.colors
import matplotlib.patches
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linkage.research.bundle import Document, TableEntry
from linkage.research.tables import TOTAL

__all__ = ["FILL", "GRID", "INK", "METHODS", "PALE", "WIDTH", "Drawing", "bars", "draw", "draw_all"]

INK, FILL, PALE, GRID = "#1a1a1a", "#1f4e79", "#dfe7ef", "#d0d0d0"
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "linkage release",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a dollar sign in the name of a list is a dollar sign
}
WIDTH, _HALF = 7.2, 3.9  # inches: the column of the report, and half of it

METHODS = {
    "chao": "Chao's lower bound",
    "chao-few-lists": "Chao's lower bound, form for few lists",
    "independence": "Independent lists",
    "stepwise": "Dependence chosen by the data",
    "zelterman": "Zelterman",
}
"""Name of each method for a reader."""


@dataclass(frozen=True)
class Drawing:
    """A figure: its SVG, and the same in words."""

    name: str
    title: str
    svg: str
    words: str


def draw_all(document: Document) -> list[Drawing]:
    """Draw the figures for which the document has anything to show."""
    drawings = [_lists(document), _overlaps(document), _systems(document)]
    drawings += [_years(document)]
    if document.estimate.status == "estimated":
        drawings.append(_estimates(document))
    return drawings


def table_of(document: Document, name: str) -> TableEntry:
    """Return a table of the document."""
    return next(entry for entry in document.tables if entry.name == name)


def _counts(entry: TableEntry) -> dict[str, int | None]:
    """Return value -> count of a table of one dimension, without the total."""
    return {cell.values[0]: cell.count for cell in entry.cells if cell.values[0] != TOTAL}


def _said(count: int | None, unit: str = "") -> str:
    return "withheld" if count is None else f"{count:,}{unit}"


def draw(name: str, title: str, words: str, size: tuple[float, float], paint: Callable[[Axes], None]) -> Drawing:
    """Draw on one pair of axes in the house style, and give the figure with its text alternative."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.subplots())
        target = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(target, format="svg", metadata=metadata, transparent=True)
    return Drawing(name, title, _inline(target.getvalue(), name, title, words), words)


def _inline(svg: str, name: str, title: str, words: str) -> str:
    """Make a stand-alone SVG file one that can stand in a page: own ids, a role and a description, no prolog."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|xlink:href=")#([^)"]+)', svg))
    svg = re.sub(r'\s+id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r'\s+xmlns:xlink="[^"]*"|\s+xmlns="[^"]*"', "", svg)
    label = f'role="img" aria-label="{_escape(f"{title}. {words}")}"'
    svg = re.sub(r'<svg\b[^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" {label}>', svg, count=1)
    # Blanks at the ends of lines and empty groups are the writer's; they only make the page longer.
    return re.sub(r"[ \t]+\n", "\n", svg).strip()


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("\\", "")


def bars(axes: Axes, labels: Sequence[str], counts: Sequence[int | None], *, across: bool) -> None:
    """Draw bars with their counts; a withheld one is a stub of fixed length."""
    longest = max([count for count in counts if count is not None], default=0) or 1
    stub = longest * 0.06
    places = list(range(len(labels)))
    for at, count in zip(places, counts, strict=True):
        size = stub if count is None else float(count)
        corner, width, height = ((0, at - 0.33), size, 0.66) if across else ((at - 0.33, 0), 0.66, size)
        bar = matplotlib.patches.Rectangle(
            corner,
            width,
            height,
            facecolor=FILL if count is not None else "white",
            edgecolor=FILL if count is not None else INK,
            hatch=None if count is not None else "////",
        )
        axes.add_patch(bar)
        text = "[c]" if count is None else f"{count:,}"
        gap = longest * 0.015
        if across:
            axes.text(size + gap, at, text, va="center", ha="left")
        else:
            axes.text(at, size + gap, text, va="bottom", ha="center")
    if across:
        axes.set_yticks(places, labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, longest * 1.15)
        axes.tick_params(axis="y", length=0)
    else:
        axes.set_xticks(places, labels)
        axes.set_xlim(-0.6, len(labels) - 0.4)
        axes.set_ylim(0, longest * 1.12)
        axes.tick_params(axis="x", length=0)
    # The bars carry their numbers: ticks would only repeat them, and could be read below the floor.
    (axes.set_xticks if across else axes.set_yticks)([])
    axes.spines["bottom" if across else "left"].set_visible(False)


def _lists(document: Document) -> Drawing:
    cells = {cell.values: cell.count for cell in table_of(document, "overlaps").cells}
    counts = [cells[name, TOTAL] for name in document.lists]
    labels = [*document.lists, "all, each once"]
    counts.append(document.persons)
    words = "; ".join(f"{label}: {_said(count)}" for label, count in zip(labels, counts, strict=True)) + "."
    title = "Persons on each list, and all together counted once"
    return draw(
        "lists", title, words, (WIDTH, 0.3 + 0.36 * len(labels)), lambda a: bars(a, labels, counts, across=True)
    )


def _overlaps(document: Document) -> Drawing:
    """Draw the triangle of pairs as numbers on shade; the diagonal is the list itself."""
    cells = {cell.values: cell.count for cell in table_of(document, "overlaps").cells}
    lists = document.lists
    shown = [count for count in (cells[a, b] for a in lists for b in lists if a != b) if count]
    most = max(shown, default=1)

    def paint(axes: Axes) -> None:
        for row, one in enumerate(lists):
            for column, other in enumerate(lists[: row + 1]):
                same = row == column
                count = cells[one, TOTAL if same else other]
                strength = 0.0 if same or not count else 0.15 + 0.85 * count / most
                _square(axes, column, row, count, strength, same=same)
        axes.set_xlim(-0.5, len(lists) - 0.5)
        axes.set_ylim(len(lists) - 0.5, -0.5)
        axes.set_xticks(range(len(lists)), lists)
        axes.set_yticks(range(len(lists)), lists)
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    pairs = [(a, b) for i, a in enumerate(lists) for b in lists[i + 1 :]]
    words = "; ".join(f"on both {a} and {b}: {_said(cells[a, b])}" for a, b in pairs) + "."
    return draw(
        "overlaps", "Persons on both of two lists", words or "One list.", (_HALF, 0.5 + 0.44 * len(lists)), paint
    )


def _square(axes: Axes, x: int, y: int, count: int | None, strength: float, *, same: bool) -> None:
    ground = tuple(1 - strength * (1 - part) for part in matplotlib.colors.to_rgb(FILL))
    hatch = "////" if count is None else None
    face = "white" if same or count is None else ground
    axes.add_patch(
        matplotlib.patches.Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, facecolor=face, edgecolor=GRID, hatch=hatch)
    )
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if count is None else None
    text = "[c]" if count is None else f"{count:,}"
    ink = "white" if strength > 0.72 else INK
    axes.text(x, y, text, ha="center", va="center", color=ink, bbox=box, style="italic" if same else "normal")


def _systems(document: Document) -> Drawing:
    counts = _counts(table_of(document, "systems"))
    labels = [f"{size} system" + ("s" if size != "1" else "") for size in counts]
    words = "; ".join(f"known to {label}: {_said(count)}" for label, count in zip(labels, counts.values(), strict=True))
    numbers = list(counts.values())
    size = (_HALF, 0.5 + 0.44 * len(labels))
    title = "Persons by the number of systems that know them"
    return draw("systems", title, f"{words}.", size, lambda a: bars(a, labels, numbers, across=True))


def _years(document: Document) -> Drawing:
    counts = _counts(table_of(document, "years"))
    words = "; ".join(f"{year}: {_said(count)}" for year, count in counts.items()) + "."
    labels, numbers = list(counts), list(counts.values())
    title = "Persons by year; a person counts once in each year"
    return draw("years", title, words, (WIDTH, 2.6), lambda a: bars(a, labels, numbers, across=False))


def _estimates(document: Document) -> Drawing:
    """Draw a forest of intervals, the range over the families behind it, and the persons counted."""
    verdict = document.estimate
    shown = [
        (METHODS.get(m.method, m.method), m.n_hat, m.lower, m.upper)
        for m in verdict.methods
        if m.n_hat is not None and m.lower is not None and m.upper is not None
    ]

    def paint(axes: Axes) -> None:
        if verdict.low is not None and verdict.high is not None:
            axes.axvspan(verdict.low, verdict.high, color=PALE, lw=0, zorder=0)
            axes.text(verdict.low, -0.62, f" range: {verdict.low:,} to {verdict.high:,}", va="center")
        for at, (_, point, lower, upper) in enumerate(shown):
            axes.plot([lower, upper], [at, at], color=INK, lw=1.6, solid_capstyle="butt")
            axes.plot([lower, upper], [at, at], "|", color=INK, ms=9, mew=1.6)
            axes.plot([point], [at], "D", color=FILL, ms=7)
            label = f"{point:,} ({lower:,} to {upper:,})"
            axes.annotate(label, (point, at), (0, 9), textcoords="offset points", ha="center", fontsize=9)
        if document.persons is not None:
            axes.axvline(document.persons, color=INK, lw=1, ls=(0, (4, 3)))
            words = f"counted: {document.persons:,}"
            axes.annotate(words, (document.persons, len(shown) - 0.4), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(
            range(len(shown)), [name.replace(" chosen", "\nchosen").replace(", ", ",\n") for name, *_ in shown]
        )
        axes.set_ylim(len(shown) - 0.2, -0.9)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
        axes.set_xlabel("estimated persons, seen and unseen (95% interval)")

    parts = [f"{name}: {point:,}, from {lower:,} to {upper:,}" for name, point, lower, upper in shown]
    whole = f"Range over the families of assumptions: {_said(verdict.low)} to {_said(verdict.high)}."
    counted = f" Counted: {_said(document.persons)}."
    words = f"{whole}{counted} {'; '.join(parts)}{'.' if parts else ''}".strip()
    title = "Estimates by method, with 95% intervals"
    return draw("estimates", title, words, (WIDTH, 1.0 + 0.56 * max(len(shown), 1)), paint)
