"""Figures of estimates: methods side by side, sensitivity, omissions, overlaps, posterior and bootstrap densities.

Each function takes plain frozen data, names and numbers or ``None``, and shows nothing else: a caller who may publish
only part of what is known passes only that part. The style is that of the release's figures (static SVG, text as text,
one dark colour on white, no fonts fetched). Every number that is drawn stands in the text alternative, but for the
round numbers on an axis, which are of the scale alone. Places in an SVG can be measured to several digits, so a caller
who rounds passes the rounded number and not the exact one.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import gaussian_kde

from linkage.errors import EstimateError
from linkage.research.estimate.consistency import Consistency
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.omission import Variant
from linkage.research.estimate.result import OK, REASONS, Result
from linkage.research.figures import FILL, INK, PALE, WIDTH, Drawing, draw
from linkage.research.figures_axes import EDGE, above, along, beside, clear, spread
from linkage.research.figures_axes import number as _number
from linkage.research.figures_overlap import Combination, overlaps, panels

__all__ = [
    "Combination",
    "Curve",
    "Density",
    "Row",
    "curves",
    "densities",
    "density_of",
    "forest",
    "overlaps",
    "row_of",
    "variations",
]

_LOW = 0.3  # share of an axis at its foot in which a label stands above its point
_FEWEST_DRAWS, _MOST_DRAWS = 50, 5000
_DASHES = (0, (4, 3))


@dataclass(frozen=True)
class Row:
    """An estimate by its name; without ``point`` the ``refusal`` says in words why there is none."""

    name: str
    point: float | None
    lower: float | None = None
    upper: float | None = None
    refusal: str = ""

    def __post_init__(self) -> None:
        _require_finite((self.point, self.lower, self.upper))


@dataclass(frozen=True)
class Curve:
    """Estimates against an odds ratio, ``None`` where there is none."""

    name: str
    ratios: tuple[float, ...]
    numbers: tuple[float | None, ...]

    def __post_init__(self) -> None:
        _require_finite((*self.ratios, *self.numbers))
        if len(self.ratios) != len(self.numbers) or any(ratio <= 0 for ratio in self.ratios):
            raise EstimateError("a curve needs one number for each positive ratio", reason="bad-shape")


@dataclass(frozen=True)
class Density:
    """A density over numbers of people, with its middle and the ends of its interval."""

    name: str
    at: tuple[float, ...]
    heights: tuple[float, ...]
    middle: float
    lower: float
    upper: float

    def __post_init__(self) -> None:
        _require_finite((*self.at, *self.heights, self.middle, self.lower, self.upper))
        if len(self.at) != len(self.heights) or len(self.at) < 2:
            raise EstimateError("a density needs one height for each of two numbers or more", reason="bad-shape")


def _require_finite(numbers: Sequence[float | None]) -> None:
    if any(number is not None and not math.isfinite(number) for number in numbers):
        raise EstimateError("a figure is given a number that is not finite", reason="not-finite")


def row_of(name: str, found: Result | Variant | Consistency) -> Row:
    """Turn an estimate into a row; a refusal is named by its reason in words."""
    if found.status == OK:
        return Row(name, found.n_hat, found.lower, found.upper)
    return Row(name, None, refusal=REASONS[found.status][0] if found.status in REASONS else found.status)


def density_of(
    name: str, draws: Floats, *, middle: float | None = None, lower: float | None = None, upper: float | None = None
) -> Density | None:
    """Smooth posterior or bootstrap draws into a density.

    The kernel works on the logarithm, so that nothing falls below zero, and the outermost half per cent at either end
    is cut off. Draws that are not finite are left out; ``None`` where fewer than 50 remain or all are the same.

    Parameters
    ----------
    name
        Of the method.
    draws
        Numbers of people, shape ``(B,)``.
    middle, lower, upper
        Of the published interval; median and 2.5% and 97.5% quantiles of the draws without them.
    """
    values = np.asarray(draws, dtype=np.float64).ravel()
    values = values[np.isfinite(values) & (values > 0)]
    if values.size < _FEWEST_DRAWS or not np.ptp(values) > 1e-9 * values.max():
        return None
    first, low, half, high, last = (float(q) for q in np.quantile(values, [0.005, 0.025, 0.5, 0.975, 0.995]))
    logs = np.log(values[:: -(-values.size // _MOST_DRAWS)])
    at = np.exp(np.linspace(math.log(first), math.log(last), 160))
    if not last > first:
        return None
    heights = gaussian_kde(logs)(np.log(at)) / at
    return Density(
        name,
        tuple(at.tolist()),
        tuple(heights.tolist()),
        half if middle is None else middle,
        low if lower is None else lower,
        high if upper is None else upper,
    )


def _ratio(value: float) -> str:
    inverse = 1 / value
    if value < 1 and abs(inverse - round(inverse)) < 1e-9:
        return f"1/{inverse:.0f}"
    return f"{value:.3g}"


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [textwrap.fill(name, 26) for name in names])
    axes.set_ylim(len(names) - 0.15, -1.0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _label(row: Row) -> str:
    if row.point is None:
        return f"no estimate: {row.refusal}" if row.refusal else "no estimate"
    if row.lower is None or row.upper is None:
        return _number(row.point)
    return f"{_number(row.point)} ({_number(row.lower)} to {_number(row.upper)})"


def _said(row: Row) -> str:
    if row.point is None:
        return f"{row.name}: no estimate" + (f", since {row.refusal}" if row.refusal else "")
    if row.lower is None or row.upper is None:
        return f"{row.name}: {_number(row.point)}"
    return f"{row.name}: {_number(row.point)}, from {_number(row.lower)} to {_number(row.upper)}"


def _paint_row(axes: Axes, at: int, row: Row) -> None:
    if row.point is None:
        where = axes.get_yaxis_transform()
        text = textwrap.fill(_label(row), 64)
        axes.text(0.02, at, text, transform=where, va="center", style="italic", fontsize=9, bbox=clear(), zorder=4)
        return
    if row.lower is not None and row.upper is not None:
        axes.plot([row.lower, row.upper], [at, at], color=INK, lw=1.6, solid_capstyle="butt")
        axes.plot([row.lower, row.upper], [at, at], "|", color=INK, ms=9, mew=1.6)
    axes.plot([row.point], [at], "D", color=FILL, ms=7)
    above(axes, row.point, at, _label(row), 8)


def _mark(axes: Axes, value: float, label: str, rows: int) -> None:
    axes.axvline(value, color=INK, lw=1, ls=_DASHES, zorder=1)
    beside(axes, value, rows - 0.5, f"{label}: {_number(value)}")


def _rows(
    name: str,
    title: str,
    rows: Sequence[Row],
    mark: tuple[str, float] | None,
    band: tuple[float, float] | None,
    axis: str,
) -> Drawing:
    numbers = [v for row in rows for v in (row.point, row.lower, row.upper) if v is not None and row.point is not None]
    numbers += [*(band or ()), *([mark[1]] if mark else [])]
    _require_finite(numbers)

    def paint(axes: Axes) -> None:
        logarithmic = spread(axes, numbers)
        if band:
            axes.axvspan(*band, facecolor=PALE, edgecolor=INK, lw=0.6, zorder=0)
            end = band[0] if along(axes, band[0]) <= 1 - 2 * EDGE else band[1]
            beside(axes, end, -0.8, f"range: {_number(band[0])} to {_number(band[1])}")
        if mark:
            _mark(axes, mark[1], mark[0], len(rows))
        for at, row in enumerate(rows):
            _paint_row(axes, at, row)
        _names(axes, [row.name for row in rows])
        axes.set_xlabel(f"{axis}; logarithmic scale" if logarithmic else axis)

    parts = [f"range: {_number(band[0])} to {_number(band[1])}"] if band else []
    parts += [f"{mark[0]}: {_number(mark[1])}"] if mark else []
    words = "; ".join([*parts, *(_said(row) for row in rows)]) + "." if rows or parts else "Nothing to show."
    return draw(name, title, words, (WIDTH, 1.0 + 0.5 * max(len(rows), 1)), paint)


def forest(
    rows: Sequence[Row],
    *,
    counted: int | None = None,
    band: tuple[float, float] | None = None,
    name: str = "methods",
    title: str = "Estimates by method, with 95% intervals",
) -> Drawing:
    """Draw estimates below one another, refusals with their reason.

    Parameters
    ----------
    rows
        In the order in which they stand.
    counted
        People counted, as a dashed line; ``None`` for no line.
    band
        The headline's range, shaded.
    name, title
        Of the figure; ``name`` is part of the ids in the SVG.

    Raises
    ------
    EstimateError
        A number is not finite.
    """
    mark = None if counted is None else ("counted", float(counted))
    return _rows(name, title, rows, mark, band, "estimated persons, seen and unseen")


def variations(
    rows: Sequence[Row],
    *,
    base: float | None = None,
    name: str = "variations",
    title: str = "The estimate without each list, and with two lists taken for one",
) -> Drawing:
    """Draw what becomes of an estimate, as dots around the estimate from all lists (``base``, dashed).

    Raises
    ------
    EstimateError
        A number is not finite.
    """
    mark = None if base is None else ("all lists", base)
    return _rows(name, title, rows, mark, None, "estimated persons, seen and unseen")


def _ends(curve: Curve) -> list[tuple[float, float]]:
    """Points of a curve that are written out: the first, the one nearest to independence, the last."""
    points = [(r, n) for r, n in zip(curve.ratios, curve.numbers, strict=True) if n is not None]
    if not points:
        return []
    middle = min(points, key=lambda point: abs(math.log(point[0])))
    return list(dict.fromkeys((points[0], middle, points[-1])))


def _paint_curve(axes: Axes, curve: Curve, numbers: Sequence[float], base: float | None) -> None:
    axes.set_title(textwrap.fill(curve.name, 24), fontsize=9)
    axes.set_xscale("log")
    ends = _ends(curve)
    shown = [ratio for ratio, _ in ends]
    axes.set_xticks(shown, [_ratio(ratio) for ratio in shown], fontsize=8)
    axes.set_xticks([], minor=True)
    if curve.ratios:
        axes.set_xlim(min(curve.ratios) / 1.5, max(curve.ratios) * 1.5)
    spread(axes, numbers, vertical=True, room=0.2)
    if base is not None:
        axes.axhline(base, color=INK, lw=0.8, ls=_DASHES, zorder=1)
    values = [math.nan if number is None else number for number in curve.numbers]
    axes.plot(curve.ratios, values, "-o", color=FILL, lw=1.6, ms=3, zorder=3)
    for at, (ratio, number) in enumerate(ends):
        side = "left" if at == 0 else "right" if at == len(ends) - 1 else "center"
        below = side == "center" and along(axes, number, vertical=True) > _LOW
        away = {"left": -6, "center": 0, "right": 6}[side], -12 if below else 5
        where: dict[str, Any] = {
            "textcoords": "offset points",
            "ha": side,
            "fontsize": 8,
            "bbox": clear(),
            "zorder": 2,
        }
        axes.annotate(_number(number), (ratio, number), away, **where)
    if not ends:
        axes.text(0.5, 0.5, "no estimate", transform=axes.transAxes, ha="center", style="italic", fontsize=9)


def curves(
    lines: Sequence[Curve],
    *,
    base: float | None = None,
    name: str = "sensitivity",
    title: str = "The estimate against the odds ratio of each two lists",
) -> Drawing:
    """Draw sensitivity curves as small panels on one scale; the estimate itself (``base``) is dashed.

    Raises
    ------
    EstimateError
        The base is not finite.
    """
    numbers = [number for line in lines for number in line.numbers if number is not None]
    numbers += [] if base is None else [base]
    _require_finite(numbers)
    columns = 3 if len(lines) <= 6 else 4
    columns = min(columns, max(len(lines), 1))
    rows = -(-max(len(lines), 1) // columns)

    def paint(axes: Axes) -> None:
        grid = panels(axes, rows, columns)
        for panel, line in zip(grid, lines, strict=False):
            _paint_curve(panel, line, numbers, base)
        for panel in grid[len(lines) :]:
            panel.remove()
        figure = grid[0].get_figure(root=True)
        if figure is not None:
            upwards = "estimated persons" + ("; logarithmic scale" if grid[0].get_yscale() == "log" else "")
            figure.supxlabel(f"odds ratio of the two lists (1: no dependence); upwards: {upwards}", fontsize=9)

    parts = [] if base is None else [f"dashed, the estimate itself: {_number(base)}"]
    for line in lines:
        told = ", ".join(f"{_number(number)} at {_ratio(ratio)}" for ratio, number in _ends(line)) or "no estimate"
        missing = [_ratio(r) for r, n in zip(line.ratios, line.numbers, strict=True) if n is None]
        gap = f", no estimate at {', '.join(missing)}" if missing and told != "no estimate" else ""
        parts.append(f"{line.name}: {told}{gap}")
    words = "; ".join(parts) + "." if parts else "Nothing to show."
    return draw(name, title, words, (WIDTH, 0.3 + 1.65 * rows), paint)


def _paint_density(axes: Axes, at: int, shape: Density, *, logarithmic: bool) -> None:
    x, y = np.array(shape.at), np.array(shape.heights)
    # On a logarithmic axis the density of the logarithm: what is seen of an area is then its share of the draws.
    y = y * x if logarithmic else y
    y = at + 0.4 - 0.72 * y / (y.max() or 1.0)
    inside = (x >= shape.lower) & (x <= shape.upper)
    axes.fill_between(x, y, at + 0.4, facecolor=PALE, edgecolor=INK, lw=0.8)
    axes.fill_between(x, y, at + 0.4, where=inside.tolist(), facecolor=FILL, edgecolor=INK, lw=0.8)
    top = float(np.interp(shape.middle, x, y))
    axes.plot([shape.middle, shape.middle], [top, at + 0.4], color="white", lw=1.8)
    text = f"{_number(shape.middle)} ({_number(shape.lower)} to {_number(shape.upper)})"
    above(axes, shape.middle, at - 0.34, text, 3)


def densities(
    shapes: Sequence[Density],
    *,
    counted: int | None = None,
    name: str = "densities",
    title: str = "Where each method puts the number: densities of its draws, the 95% interval dark",
) -> Drawing:
    """Draw posterior or bootstrap densities below one another; heights are not comparable between methods."""
    numbers = [v for s in shapes for v in (*s.at, s.lower, s.middle, s.upper)]
    numbers += [] if counted is None else [float(counted)]

    def paint(axes: Axes) -> None:
        logarithmic = spread(axes, numbers)
        if counted is not None:
            _mark(axes, float(counted), "counted", len(shapes))
        for at, shape in enumerate(shapes):
            _paint_density(axes, at, shape, logarithmic=logarithmic)
        _names(axes, [shape.name for shape in shapes])
        axes.set_xlabel("estimated persons, seen and unseen" + ("; logarithmic scale" if logarithmic else ""))

    parts = [] if counted is None else [f"counted: {counted:,}"]
    for s in shapes:
        parts.append(f"{s.name}: {_number(s.middle)}, from {_number(s.lower)} to {_number(s.upper)}")
    words = "; ".join(parts) + "." if parts else "Nothing to show."
    return draw(name, title, words, (WIDTH, 1.0 + 0.8 * max(len(shapes), 1)), paint)
