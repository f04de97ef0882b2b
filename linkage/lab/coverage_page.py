"""The study of coverage for a reader: a table, and two figures that can stand in a file of their own.

Style of the release's figures: text as text, one dark colour and hatching, so that they read in black and white.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.ticker
import polars as pl
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from linkage.exchange.files import atomic_write
from linkage.lab.coverage import HEAD, NARROW, ON_MAP, OVER_DRAWS, TRUE_PERSONS, summary
from linkage.research.estimate.families import BESIDE
from linkage.research.figures import FILL, INK, WIDTH, Drawing, draw
from linkage.research.figures import METHODS as RELEASED

__all__ = [
    "NAMES",
    "WANTED",
    "caterpillar",
    "label",
    "methods_figure",
    "stand_alone",
    "table_page",
    "verdict_line",
    "write_study",
]

WANTED = 0.9
"""Share of runs in which the headline should hold the truth."""

NAMES = {
    HEAD: "**range over all families**",
    NARROW: "**range of four narrow families**",
    **RELEASED,
    "averaged-bic": "Average over all models, by BIC",
    "averaged-aic": "Average over all models, by AIC",
    "decomposable-graphs": "Decomposable graphs",
}
"""Name of each method and range for a reader, ranges in bold."""

_DATA = {OVER_DRAWS: "partition draws", ON_MAP: "person map"}
_WHITE = '<rect width="100%" height="100%" fill="white"/>'
_HEADER = (
    "method",
    "on",
    "covered",
    "of",
    "share (95% interval)",
    "all below",
    "all above",
    "refused",
    "median interval",
    "median width",
    "median bias of point",
)


def label(row: Mapping[str, Any]) -> str:
    """Name a row of the summary in plain words."""
    return f"{NAMES.get(row['method'], row['method']).replace('*', '')}, {_DATA[row['data']]}"


def table_page(summed: pl.DataFrame) -> str:
    """Write the summary as a table in Markdown."""
    lines = [f"| {' | '.join(_HEADER)} |", "|---|---|" + "---:|" * (len(_HEADER) - 2)]
    for row in summed.iter_rows(named=True):
        cells = (
            NAMES.get(row["method"], row["method"]) + (" (not in the range)" if row["method"] in BESIDE else ""),
            _DATA[row["data"]],
            f"{row['covered']:,}",
            f"{row['runs'] - row['refused']:,}",
            _share(row),
            f"{row['below']:,}",
            f"{row['above']:,}",
            f"{row['refused']:,}",
            "" if row["lower"] is None else f"{row['lower']:,.0f} to {row['upper']:,.0f}",
            "" if row["width"] is None else f"{row['width']:,.0f}",
            "" if row["bias"] is None else f"{row['bias']:+.1%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(row: Mapping[str, Any]) -> str:
    if row["share"] is None:
        return ""
    return f"{row['share']:.1%} ({row['share_low']:.1%} to {row['share_high']:.1%})"


def verdict_line(summed: pl.DataFrame) -> str:
    """Say in one sentence whether the headline does what it should; a refusal does not count as holding the truth."""
    row = summed.row(by_predicate=(pl.col("method") == HEAD) & (pl.col("data") == OVER_DRAWS), named=True)
    share = row["covered"] / row["runs"]
    held = "reached" if share >= WANTED else "not reached"
    refused = f", {row['refused']:,} of them refused" if row["refused"] else ""
    return (
        f"the headline's range holds the truth in {row['covered']:,} of {row['runs']:,} runs{refused} ({share:.1%});"
        f" wanted: {WANTED:.0%}, {held}"
    )


def caterpillar(frame: pl.DataFrame) -> Drawing:
    """Draw the headline's range of every run, in order of its upper end, with the truth; a tick marks those that miss.

    Parameters
    ----------
    frame
        As :func:`linkage.lab.coverage.coverage` gives it.
    """
    chosen = frame.filter(pl.col("method") == HEAD, pl.col("data") == OVER_DRAWS)
    given = chosen.drop_nulls(["lower", "upper"]).sort("upper", "lower", "seed")
    lows, highs = given["lower"].to_list(), given["upper"].to_list()
    true = int(frame[TRUE_PERSONS][0])
    missed = [at for at, held in enumerate(given["covered"], start=1) if not held]

    def paint(axes: Axes) -> None:
        axes.vlines(range(1, len(lows) + 1), lows, highs, color=FILL, lw=1.3)
        axes.vlines(missed, 0, 0.05, color=INK, lw=1.5, transform=axes.get_xaxis_transform())
        axes.axhline(true, color="white", lw=2.0)
        axes.axhline(true, color=INK, lw=1.2, ls=(0, (5, 3)))
        axes.annotate(
            f"truth:\n{true:,}",
            (1, true),
            (4, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
        )
        axes.set_xlim(0.4, max(len(lows), 1) + 0.6)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_yscale("log")
        if lows:
            axes.set_ylim(0.75 * min(lows), 1.15 * max(highs))
        axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(10, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_xlabel("runs, in order of the upper end; a tick at the foot marks a range that misses the truth")
        axes.set_ylabel("persons, seen and unseen")

    title = f"The headline's range in {len(lows):,} made-up populations"
    words = (
        f"Truth {true:,}, in {len(lows) - len(missed):,} of {len(lows):,} ranges; runs refused:"
        f" {chosen.height - len(lows):,}. Lower ends {_spread(lows)}; upper ends {_spread(highs)}."
    )
    return draw("coverage-ranges", title, words, (WIDTH, 3.6), paint)


def _spread(ends: Sequence[float]) -> str:
    return f"from {min(ends):,.0f} to {max(ends):,.0f}" if ends else "none"


def methods_figure(summed: pl.DataFrame) -> Drawing:
    """Draw how often each method's interval holds the truth, with Wilson's interval, against the 95% that it claims."""
    rows = [row for row in summed.iter_rows(named=True) if row["share"] is not None]

    def paint(axes: Axes) -> None:
        for at, row in enumerate(rows):
            over = row["data"] == OVER_DRAWS
            face, hatch = (FILL, None) if over else ("white", "////")
            axes.add_patch(Rectangle((0, at - 0.33), row["share"], 0.66, edgecolor=FILL, facecolor=face, hatch=hatch))
            ends = [row["share_low"], row["share_high"]]
            axes.plot(ends, [at, at], color="white", lw=3.6, solid_capstyle="butt")
            axes.plot(ends, [at, at], color=INK, lw=1.4, solid_capstyle="butt")
            axes.text(1.03, at, f"{row['share']:.0%}", va="center")
        axes.axvline(0.95, color=INK, lw=1, ls=(0, (5, 3)))
        axes.annotate("95%", (0.95, -0.6), (-3, 0), textcoords="offset points", ha="right", va="center")
        axes.set_yticks(range(len(rows)), [label(row) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -1.0)
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
        axes.tick_params(axis="y", length=0)
        # Wrapped: the names of the methods leave the axis little more than half of the figure.
        axes.set_xlabel("share of intervals that hold the truth;\nlines: 95% interval by Wilson")

    words = "; ".join(f"{label(row)}: {_share(row)}" for row in rows) + "." if rows else "No intervals."
    size = (WIDTH, 0.9 + 0.29 * max(len(rows), 1))
    return draw("coverage-methods", "How often nominal 95% intervals hold the truth, by method", words, size, paint)


def stand_alone(drawing: Drawing) -> str:
    """Make a drawing a file that any browser shows, also on a dark page."""
    root, end, rest = drawing.svg.partition(">")
    return root.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + end + _WHITE + rest + "\n"


def write_study(out: Path, frame: pl.DataFrame, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Write the study's table and figures.

    Parameters
    ----------
    out
        Folder for ``coverage.json``, ``coverage.md``, ``ranges.svg`` and ``methods.svg``.
    frame
        As :func:`linkage.lab.coverage.coverage` gives it.
    asked
        Settings of the study, for the file.

    Returns
    -------
    dict
        What ``coverage.json`` holds.
    """
    summed = summary(frame)
    content = {**asked, TRUE_PERSONS: int(frame[TRUE_PERSONS][0]), "wanted": WANTED, "methods": summed.to_dicts()}
    files = {
        "coverage.json": json.dumps(content, indent=2, allow_nan=False) + "\n",
        "coverage.md": f"{table_page(summed)}\n",
        "ranges.svg": stand_alone(caterpillar(frame)),
        "methods.svg": stand_alone(methods_figure(summed)),
    }
    for name, text in files.items():
        with atomic_write(out / name) as temporary:
            temporary.write_text(text, "utf-8")
    return content
