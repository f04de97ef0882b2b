"""Axes and labels of figures of estimates: limits, logarithmic scales, and labels that stay inside their axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

__all__ = ["EDGE", "above", "along", "beside", "clear", "number", "spread"]

_LOG_ABOVE = 5.0  # largest over smallest number from which an axis is logarithmic: one wide interval hides all others
EDGE = 0.2  # share of an axis at either end in which a label runs inwards and not over what stands beside the axes


def number(value: float) -> str:
    """Write a number of people."""
    return f"{value:,.0f}"


def clear() -> dict[str, object]:
    """Give the ground of a label: what it lies on does not strike it through."""
    return {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


def spread(axes: Axes, numbers: Sequence[float], *, vertical: bool = False, room: float = 0.1) -> bool:
    """Set the limits around the numbers, on a logarithmic axis where they differ much; say whether it is one."""
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    logarithmic = low > 0 and high > _LOG_ABOVE * low
    if logarithmic:
        (axes.set_yscale if vertical else axes.set_xscale)("log")
        margin = (high / low) ** room
        limits = low / margin, high * margin
    else:
        margin = room * (high - low) or room * max(abs(high), 1.0)
        limits = low - margin, high + margin
    (axes.set_ylim if vertical else axes.set_xlim)(*limits)
    axis = axes.yaxis if vertical else axes.xaxis
    # The marks carry their numbers: an axis with numbers of its own would say more than the text alternative.
    axis.set_ticks([], minor=False)
    axis.set_ticks([], minor=True)
    return logarithmic


def along(axes: Axes, value: float, *, vertical: bool = False) -> float:
    """Tell where on an axis a number lies, from 0 to 1; limits are set before anything is painted."""
    point = (axes.get_xlim()[0], value) if vertical else (value, axes.get_ylim()[0])
    x, y = axes.transAxes.inverted().transform(axes.transData.transform(point))
    return float(y if vertical else x)


def beside(axes: Axes, value: float, at: float, text: str) -> None:
    """Write to the right of a number, to its left where that would leave the axes."""
    side, away = ("right", -4) if along(axes, value) > 1 - EDGE else ("left", 4)
    where: dict[str, Any] = {"textcoords": "offset points", "va": "center", "ha": side, "bbox": clear()}
    axes.annotate(text, (value, at), (away, 0), **where)


def above(axes: Axes, value: float, at: float, text: str, lift: float) -> None:
    """Write above a number, in its middle; near an end of the axis inwards from it."""
    share = along(axes, value)
    side, away = ("left", -6) if share < EDGE else ("right", 6) if share > 1 - EDGE else ("center", 0)
    where: dict[str, Any] = {"textcoords": "offset points", "ha": side, "bbox": clear(), "fontsize": 9}
    axes.annotate(text, (value, at), (away, lift), **where)
