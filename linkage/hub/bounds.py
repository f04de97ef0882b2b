"""Cheap upper bounds of a pair's score, so that only the few pairs that may pass are looked up one by one.

A score is a sum of table look-ups, and a look-up costs about as much as the distance that is looked up. But weights
fall with distance along much the same curve in every stratum of a filter. So a few straight lines are laid over the
curve, and each stratum moves its distances until the lines cover its own table. What the lines let through is then
scored exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["MISSING", "Bound", "bound_scores"]

MISSING = 255
_FAR = np.float32(-1e9)  # moves a distance so far out that only the flat part of the bound is left


@dataclass(frozen=True)
class Bound:
    """An upper bound of scores: the sum over filters of ``max(flat, max over lines of height - slope * (d - shift))``.

    Attributes
    ----------
    lines
        float32, shape (filters, 1 + 2 * lines): flat, then a height and a slope a line.
    shifts
        float32, shape (filters, classes, classes): by the two records' presence masks.
    floor
        A pair whose score reaches the threshold has a bound of at least this.
    """

    lines: NDArray[np.float32]
    shifts: NDArray[np.float32]
    floor: np.float32


def bound_scores(weight_of: NDArray[np.float32], strata: NDArray[np.uint8], threshold: float) -> Bound:
    """Lay lines over the weights, as near to them as matters for the threshold.

    Parameters
    ----------
    weight_of
        float32, shape (filters, strata, bits + 1): any table; the bound is tight where weights fall with distance.
    strata
        uint8, shape (filters, classes, classes): stratum of two masks; 255 where the filter is missing, which weighs 0.
    """
    filters = len(weight_of)
    missing = (strata == MISSING).any(axis=(1, 2))
    # Far beyond any real weight, but small enough to count with.
    weight = np.nan_to_num(weight_of.astype(np.float64), nan=-1e6, posinf=1e6, neginf=-1e6).clip(-1e6, 1e6)
    least = np.minimum(weight.min(axis=(1, 2)), np.where(missing, 0.0, np.inf))
    # A filter that weighs more than the others could take away again lets the pair pass: no need to tell by how much.
    cap = np.maximum(threshold - (least.sum() - least), least)
    # One filter alone passes or not by one distance; more of them make up for one another.
    number_of_lines = 1 if filters == 1 else 3
    lines = np.zeros((filters, 1 + 2 * number_of_lines), np.float32)
    shifts = np.zeros(strata.shape, np.float32)
    for number in range(filters):
        weights = np.minimum(weight[number], cap[number])
        # No stratum may need moving for what its far distances weigh, nor a missing filter, which weighs nothing.
        low = max(weights[:, -1].max(), 0.0 if missing[number] else -np.inf)
        if filters == 1:
            weights[weights < cap[number]] = low
        lines[number] = _lines(weights[0], low, number_of_lines)
        shift = np.array([_shift(lines[number], row) for row in weights])
        lines[number, 0] = max([lines[number, 0], *(row.max() for row in weights[np.isnan(shift)])])
        shift = np.where(np.isnan(shift), _FAR, shift)
        there = strata[number] != MISSING
        shifts[number] = np.where(there, shift[np.where(there, strata[number], 0)], _FAR)
    # Sums of 32-bit floats: of the heights, and of the exact score itself.
    error = 16 * np.finfo(np.float32).eps * (np.abs(lines[:, :-1]).sum() + np.abs(cap).sum() + abs(threshold))
    return Bound(lines, shifts, np.float32(threshold - error - 1e-6))


def _lines(weights: NDArray[np.float64], low: float, number: int) -> NDArray[np.float32]:
    """Cover the first stratum, which is that of most pairs: chords between weights evenly spaced in their roots."""
    curve = np.maximum.accumulate(weights[::-1])[::-1]
    high = max(low, curve[0])
    # Short of the very top, which rare weights reach slowly or only at no distance.
    goals = low + (high - low) * np.minimum((np.arange(number, 0, -1) / number) ** 2, 0.97)
    ends = [int((curve >= min(goal, curve[0])).sum()) - 1 for goal in goals] + [int((curve > low).sum())]
    parts = [np.arange(near, max(near, min(far, len(curve) - 1)) + 1) for near, far in pairwise(ends)]
    slopes = [max((curve[part[0]] - curve[part[-1]]) / max(len(part) - 1, 1), 1e-3) for part in parts]
    # A line steeper than one nearer in would lie far above that one's part: the furthest part may be but a step.
    slopes[-1] = min(slopes[-2:])
    slopes = np.maximum.accumulate(slopes[::-1])[::-1].tolist()
    slopes[0] = max(slopes[0], (high - low) / len(curve))
    result = [low]
    for part, slope in zip(parts, slopes, strict=True):
        result += [float((curve[part] + slope * part).max()), slope]
    return np.array(result, np.float32)


def _shift(lines: NDArray[np.float32], weights: NDArray[np.float64]) -> float:
    """Return how far a stratum's distances must be moved for the lines to cover its weights; NaN if no way would do."""
    size = len(weights)
    at = np.arange(-size, 2 * size)
    height, slope = lines[1::2].astype(np.float64), lines[2::2].astype(np.float64)
    bound = np.maximum((height - slope * at[:, None]).max(axis=1), float(lines[0]))
    if weights.max() > bound[0]:
        return np.nan
    needed = np.flatnonzero(weights > float(lines[0]))
    # The bound falls: a distance may lie no further out than where the bound is still its weight.
    furthest = at[np.searchsorted(-bound, -weights[needed], side="right") - 1]
    return float((needed - furthest).max()) if len(needed) else float(_FAR)
