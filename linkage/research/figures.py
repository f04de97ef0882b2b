"""Figures of a release, drawn from its public document and from nothing else.

Static SVG with text as text, without a date or a random id: the same document gives the same bytes. One dark colour and
hatching, so that they read in black and white and with any colour vision. A withheld count is hatched lightly over
the whole width and marked ``[c]``, so that nobody takes it for a small one; the words beside each figure that has such
a bar say so. Each figure has its text alternative.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.patches
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linkage.research.bundle import Document, TableEntry
from linkage.research.tables import TOTAL

__all__ = ["FILL", "GRID", "INK", "METHODS", "PALE", "WIDTH", "Drawing", "bars", "draw", "draw_all", "head_of_lists"]

INK, FILL, PALE, GRID = "#1a1a1a", "#1f4e79", "#dfe7ef", "#d0d0d0"
_LINES = "#8c8c8c"  # of hatching: as light as can be seen
_HATCHED = " A hatched bar marked [c] is a withheld count: its length says nothing."
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
WIDTH = 7.2  # inches: the column of the report

METHODS = {
    "chao": "Chao's lower bound",
    "chao-few-lists": "Chao's lower bound, form for few lists",
    "independence": "Independent lists",
    "stepwise": "Dependence chosen by the data",
    "averaged-bic": "Average of all hierarchical log-linear models, weighted by BIC",
    "averaged-aic": "The same average, weighted by AIC",
    "decomposable-graphs": "Decomposable graphs",
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
    drawings = [_lists(document), *([_overlaps(document)] if len(document.lists) > 1 else [])]
    drawings += [_systems(document), _years(document)]
    if document.estimate.status == "estimated":
        drawings.append(_estimates(document))
    return drawings


def table_of(document: Document, name: str) -> TableEntry:
    """Return a table of the document."""
    return next(entry for entry in document.tables if entry.name == name)


def _counts(entry: TableEntry) -> dict[str, int | None]:
    """Return value -> count of a table of one dimension, without the total."""
    return {cell.values[0]: cell.count for cell in entry.cells if cell.values[0] != TOTAL}


def _in_words(parts: Sequence[str], counts: Sequence[int | None]) -> str:
    """Write the counts of a figure; where one is withheld, what its bar is."""
    return f"{'; '.join(parts)}.{_HATCHED if None in counts else ''}"


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
    """Draw bars with their counts; a withheld one is hatched lightly over the whole width."""
    longest = max([count for count in counts if count is not None], default=0) or 1
    whole = longest * (1.15 if across else 1.12)
    gap = longest * 0.015
    places = list(range(len(labels)))
    for at, count in zip(places, counts, strict=True):
        size = whole if count is None else float(count)
        corner, width, height = ((0, at - 0.33), size, 0.66) if across else ((at - 0.33, 0), 0.66, size)
        bar = matplotlib.patches.Rectangle(
            corner,
            width,
            height,
            facecolor=FILL if count is not None else "white",
            edgecolor=FILL if count is not None else _LINES,
            hatch=None if count is not None else "////",
        )
        axes.add_patch(bar)
        end = gap if count is None else size + gap
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if count is None else None
        text = "[c]" if count is None else f"{count:,}"
        if across:
            axes.text(end, at, text, va="center", ha="left", bbox=behind)
        else:
            axes.text(at, end, text, va="bottom", ha="center", bbox=behind)
    if across:
        axes.set_yticks(places, labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, whole)
        axes.tick_params(axis="y", length=0)
    else:
        axes.set_xticks(places, labels)
        axes.set_xlim(-0.6, len(labels) - 0.4)
        axes.set_ylim(0, whole)
        axes.tick_params(axis="x", length=0)
    # The bars carry their numbers: ticks would only repeat them, and could be read below the floor.
    (axes.set_xticks if across else axes.set_yticks)([])
    axes.spines["bottom" if across else "left"].set_visible(False)


def _lists(document: Document) -> Drawing:
    cells = {cell.values: cell.count for cell in table_of(document, "overlaps").cells}
    counts = [cells[name, TOTAL] for name in document.lists]
    labels = [*document.lists, "all, each once"]
    counts.append(document.persons)
    words = _in_words([f"{label}: {_said(count)}" for label, count in zip(labels, counts, strict=True)], counts)
    title = "Persons on each list, and all together counted once"
    return draw(
        "lists", title, words, (WIDTH, 0.3 + 0.36 * len(labels)), lambda a: bars(a, labels, counts, across=True)
    )


def _overlaps(document: Document) -> Drawing:
    """Draw who is on two lists as lines of dots and bars, in the manner of an UpSet figure (Lex et al. 2014).

    A release tells how many are on both of two lists, whatever others they are on, and not who is on exactly which. The
    frequent pairs come first; withheld ones follow in the order of the lists, so that their place says nothing. There
    are two lists at least.
    """
    cells = {cell.values: cell.count for cell in table_of(document, "overlaps").cells}
    lists = document.lists
    every = [(cells[a, b], at, i) for at, a in enumerate(lists) for i, b in enumerate(lists) if at < i]
    pairs = sorted(every, key=lambda row: (row[0] is None, -(row[0] or 0), row[1:]))

    def paint(axes: Axes) -> None:
        matrix, right = _side_by_side(axes, max(1.0, 0.5 * len(lists)), 4)
        for at, (_, *both) in enumerate(pairs):
            matrix.plot(range(len(lists)), [at] * len(lists), "o", mfc="white", mec=GRID, ms=7, zorder=2)
            matrix.plot(both, [at, at], "-o", color=INK, lw=1.4, ms=7, zorder=3)
        head_of_lists(matrix, lists, len(pairs))
        bars(right, [""] * len(pairs), [count for count, *_ in pairs], across=True)

    parts = [f"on both {lists[a]} and {lists[b]}: {_said(count)}" for count, a, b in pairs]
    words = _in_words(parts, [count for count, *_ in pairs])
    title = "Persons on both of two lists, whatever other lists they are on"
    height = 0.5 + 0.07 * max(len(name) for name in lists) + 0.27 * len(pairs)
    return draw("overlaps", title, words, (WIDTH, height), paint)


def head_of_lists(axes: Axes, labels: Sequence[str], rows: int) -> None:
    """Name the columns of a matrix of dots above it, a list each, and leave out all other parts of the axes."""
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _side_by_side(axes: Axes, *widths: float) -> list[Axes]:
    """Put axes of some relative widths, side by side, in place of one."""
    figure = axes.get_figure(root=True)
    axes.remove()
    return [*figure.subplots(1, len(widths), width_ratios=widths)] if isinstance(figure, Figure) else []


def _systems(document: Document) -> Drawing:
    counts = _counts(table_of(document, "systems"))
    labels = [f"{size} system" + ("s" if size != "1" else "") for size in counts]
    numbers = list(counts.values())
    words = _in_words(
        [f"known to {label}: {_said(count)}" for label, count in zip(labels, numbers, strict=True)], numbers
    )
    size = (WIDTH, 0.3 + 0.36 * len(labels))
    title = "Persons by the number of systems that know them"
    return draw("systems", title, words, size, lambda a: bars(a, labels, numbers, across=True))


def _years(document: Document) -> Drawing:
    counts = _counts(table_of(document, "years"))
    labels, numbers = list(counts), list(counts.values())
    words = _in_words([f"{year}: {_said(count)}" for year, count in counts.items()], numbers)
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
