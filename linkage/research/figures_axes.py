"""Axes and labels of figures of estimates: limits, logarithmic scales, and labels that stay inside their axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

__all__ = ["EDGE", "SCALE", "above", "along", "beside", "clear", "number", "spread", "ticks"]

SCALE = "#595959"
"""Colour of the numbers on an axis of people, which are of the scale and say nothing of the data."""

_ACROSS, _UPWARDS = 7, 5  # numbers on an axis at most; of fewer than five only one may be left
_STEPS = (1.0, 2.0, 5.0)
_LEAST_LOG = 10.0  # below it whole numbers are too few for a logarithmic axis
_LOG_ABOVE = 5.0  # largest over smallest number from which an axis is logarithmic: one wide interval hides all others
EDGE = 0.2  # share of an axis at either end in which a label runs inwards and not over what stands beside the axes


def number(value: float) -> str:
    """Write a number of people."""
    return f"{value:,.0f}"


def clear() -> dict[str, object]:
    """Give the ground of a label: what it lies on does not strike it through."""
    return {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


def ticks(low: float, high: float, most: int, *, logarithmic: bool) -> tuple[float, ...]:
    """Give round whole numbers between two limits: 1, 2 or 5 times a power of ten, or multiples of one of these.

    Returns
    -------
    tuple of float
        Two at least where the limits hold two whole numbers (a logarithmic axis: from 1 on, and 5 times apart); about
        ``most`` at most.
    """
    low = max(low, 1.0 if logarithmic else 0.0)
    if not high > low:
        return ()
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = [step * 10.0**power for power in range(first, last + 1) for step in _STEPS]
        held = [value for value in every if low <= value <= high]
        tens = [value for value in held if round(math.log10(value), 6).is_integer()]
        if len(held) <= most or len(tens) < 2:
            return tuple(held[:: -(-len(held) // most)])
        return tuple(tens[:: -(-len(tens) // most)])
    power = math.floor(math.log10((high - low) / most))
    steps = (max(step * 10.0 ** (power + up), 1.0) for up in range(3) for step in _STEPS)
    step = next(step for step in steps if math.floor(high / step) - math.ceil(low / step) < most)
    return tuple(step * at for at in range(math.ceil(low / step), math.floor(high / step) + 1))


def spread(axes: Axes, numbers: Sequence[float], *, vertical: bool = False, room: float = 0.1) -> bool:
    """Set the limits around the numbers and round numbers on the axis; say whether it is logarithmic.

    It is where the numbers differ much. Where the limits hold fewer than two whole numbers they are moved outwards.
    """
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    logarithmic = low > 0 and high > _LOG_ABOVE * low and high >= _LEAST_LOG
    if logarithmic:
        (axes.set_yscale if vertical else axes.set_xscale)("log")
        margin = (high / low) ** room
        limits = low / margin, high * margin
    else:
        margin = room * (high - low) or room * max(abs(high), 1.0)
        limits = low - margin, high + margin
    most = _UPWARDS if vertical else _ACROSS
    shown = ticks(*limits, most, logarithmic=logarithmic)
    if len(shown) < 2:
        limits = max(math.floor(limits[0]), 0) - 0.1, math.ceil(limits[1]) + 0.1
        shown = ticks(*limits, most, logarithmic=False)
    (axes.set_ylim if vertical else axes.set_xlim)(*limits)
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_ticks([], minor=True)
    axis.set_ticks(shown, [number(value) for value in shown])
    axis.set_tick_params(length=3, labelsize=8, labelcolor=SCALE)
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
