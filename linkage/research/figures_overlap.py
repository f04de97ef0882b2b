"""Overlaps of lists as an UpSet figure (Lex et al. 2014) in which withheld counts stay withheld.

A row for each combination of lists: dots say which, a bar how many people are on exactly those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linkage.errors import EstimateError
from linkage.research.figures import GRID, INK, WIDTH, Drawing, bars, draw, head_of_lists

__all__ = ["Combination", "overlaps", "panels"]

_LONGEST = 24  # letters of a name in the head of a column


@dataclass(frozen=True)
class Combination:
    """People on exactly these lists; ``None`` is a withheld count."""

    lists: tuple[str, ...]
    count: int | None


def panels(axes: Axes, rows: int, columns: int) -> list[Axes]:
    """Put a grid of axes in place of one; inside a painter of :func:`linkage.research.figures.draw`."""
    figure = axes.get_figure(root=True)
    if not isinstance(figure, Figure):
        raise EstimateError("a drawing has no figure", reason="bad-shape")
    axes.remove()
    return [*figure.subplots(rows, columns, squeeze=False).ravel()]


def _paint_matrix(axes: Axes, lists: Sequence[tuple[str, int | None]], rows: Sequence[Combination]) -> None:
    """Draw a line of dots for each combination: full where people are on the list, a ring where they are not."""
    names = [name for name, _ in lists]
    for at, row in enumerate(rows):
        held = [names.index(name) for name in row.lists]
        axes.plot(range(len(names)), [at] * len(names), "o", mfc="white", mec=GRID, ms=7, zorder=2)
        axes.plot([min(held), max(held)], [at, at], "-", color=INK, lw=1.4, zorder=3)
        axes.plot(held, [at] * len(held), "o", color=INK, ms=7, zorder=4)
    sizes = ["[c]" if size is None else f"{size:,}" for _, size in lists]
    short = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    labels = [f"{name}: {size}" for name, size in zip(short, sizes, strict=True)]
    head_of_lists(axes, labels, len(rows))


def overlaps(
    lists: Sequence[tuple[str, int | None]],
    combinations: Sequence[Combination],
    *,
    most: int = 40,
    name: str = "combinations",
    title: str = "Persons by the exact set of lists that they are on",
) -> Drawing:
    """Draw who is on which lists at once (UpSet, Lex et al. 2014), the frequent combinations first.

    A withheld count is a hatched bar of one length, marked ``[c]``, after all others in the order of the lists:
    neither its place nor its length says anything. That withheld counts do not follow from those shown is the caller's
    to ensure.

    Parameters
    ----------
    lists
        Name and size of each list, ``None`` for a withheld size.
    combinations
        Each of one list or more.
    most
        How many to draw; the number of those left over is said.
    name, title
        Of the figure.

    Raises
    ------
    EstimateError
        A combination names no list, or one that is not there.
    """
    known = {list_name for list_name, _ in lists}
    if any(not row.lists or not set(row.lists) <= known for row in combinations):
        raise EstimateError("a combination names something other than the lists", reason="unknown-list")
    bit = {list_name: 1 << at for at, (list_name, _) in enumerate(lists)}
    # Among withheld counts by their lists alone: the order in which they came may be that of their size.
    ranked = sorted(
        combinations, key=lambda row: (row.count is None, -(row.count or 0), sum(bit[n] for n in row.lists))
    )
    rows, over = ranked[:most], len(ranked[most:])

    def paint(axes: Axes) -> None:
        if not rows:
            axes.set_axis_off()
            return
        matrix, right = panels(axes, 1, 2)
        _paint_matrix(matrix, lists, rows)
        bars(right, [""] * len(rows), [row.count for row in rows], across=True)

    parts = [f"on {list_name}: {_withheld(size)}" for list_name, size in lists]
    parts += [f"on {' and '.join(row.lists)} and no other: {_withheld(row.count)}" for row in rows]
    parts += [f"combinations that are not drawn: {over}"] if over else []
    words = "; ".join(parts) + "." if parts else "Nothing to show."
    head = 0.5 + 0.07 * max((min(len(list_name), _LONGEST) + 9 for list_name, _ in lists), default=0)
    return draw(name, title, words, (WIDTH, head + 0.27 * max(len(rows), 1)), paint)


def _withheld(count: int | None) -> str:
    return "withheld" if count is None else f"{count:,}"
