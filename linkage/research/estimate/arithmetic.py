"""Sums and differences of estimates by their draws, never by their intervals.

Estimates from the same partitions of the linkage err together, so they are paired: row r of each is from partition r.
All others are taken as independent. People who are in both of two tables make the two estimates rise and fall together:
then the interval of a difference is rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linkage.errors import EstimateError
from linkage.research.estimate.confidence import allowance, confidence_draws
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.pooled import PooledResult, rubin
from linkage.research.estimate.result import Result

__all__ = ["Contrast", "Estimated", "aligned", "contrast", "paired", "total"]

_LEVELS = (0.025, 0.5, 0.975)


@dataclass(frozen=True, eq=False)
class Estimated:
    """An estimate with what it is of.

    Attributes
    ----------
    values
        Stratum columns (``year`` among them) and their values; empty for everybody.
    observed
        People seen; the mean over partition draws.
    estimate
        The result, pooled or not.
    """

    values: Mapping[str, str | None]
    observed: float
    estimate: Result | PooledResult

    @property
    def result(self) -> Result:
        """The result, the pooled one where there are partition draws."""
        return self.estimate.result if isinstance(self.estimate, PooledResult) else self.estimate

    @property
    def ok(self) -> bool:
        """Whether there is an estimate."""
        return self.result.ok


def paired(items: Sequence[Estimated]) -> bool:
    """Tell whether all estimates are from the same partitions."""
    pooled = [item.estimate for item in items if isinstance(item.estimate, PooledResult)]
    same = {(e.partitions, len(e.by_draw)) for e in pooled}
    return len(pooled) == len(items) and len(same) == 1 and pooled[0].partitions is not None


def aligned(items: Sequence[Estimated], *, size: int = 10_000, seed: int = 0) -> list[Floats]:
    """Give draws of several estimates, one array each of one shape, that may be added and subtracted entry by entry.

    Estimates from the same partitions are paired: row r of each is from partition r, and inside a row they are
    independent. All others are independent altogether.

    Parameters
    ----------
    items
        Estimates with an interval.
    size
        Draws of each, at least.

    Raises
    ------
    EstimateError
        ``no-estimate``: one of them has no estimate.
    """
    rows = len(items[0].estimate.by_draw) if paired(items) and isinstance(items[0].estimate, PooledResult) else 1
    width = -(-size // rows)
    arrays = []
    for place, item in enumerate(items):
        rng = np.random.default_rng([seed, place])
        if not item.ok:
            raise EstimateError("an estimate that declined cannot be added or subtracted", reason="no-estimate")
        if isinstance(item.estimate, PooledResult):
            arrays.append(_rows(item.estimate, rows, width, rng))
            continue
        draws = confidence_draws(item.estimate, item.observed, width, rng)
        if draws is None:
            raise EstimateError("an estimate without an interval cannot be added or subtracted", reason="no-estimate")
        arrays.append(draws[None, :])
    return arrays


def _rows(pooled: PooledResult, rows: int, width: int, rng: np.random.Generator) -> Floats:
    """Draws of each partition, or of all as one row; partitions without an estimate borrow from all the others."""
    there = pooled.by_draw[np.isfinite(pooled.by_draw).all(axis=1)]
    levels = (np.arange(width) + 0.5) / width
    if rows == 1:
        source = pooled.result.draws if pooled.result.draws is not None else there
        return np.asarray(rng.permutation(np.quantile(source, levels))[None, :])
    filled = pooled.by_draw.copy()
    for row in np.flatnonzero(~np.isfinite(filled).all(axis=1)):
        filled[row] = rng.choice(there.ravel(), filled.shape[1])
    return np.asarray(rng.permuted(np.quantile(filled, levels, axis=1).T, axis=1))


def total(items: Sequence[Estimated], *, method: str, model: str, assumption: str, seed: int = 0) -> Estimated:
    """Add estimates up, draw by draw.

    Returns
    -------
    Estimated
        Its number is the median of the summed draws; pooled over the same partitions where all parts are.

    Raises
    ------
    EstimateError
        ``no-estimate``: a part has none.
    """
    summed = np.sum(aligned(items, seed=seed), axis=0)
    low, middle, high = np.quantile(summed, _LEVELS)
    points = [item.result.n_hat for item in items if item.result.n_hat is not None]
    result = Result(
        method,
        model,
        float(middle),
        float(low),
        float(high),
        interval="sums of draws" + (", paired by partition" if paired(items) else ""),
        assumption=assumption,
        details={"parts": len(items), "sum_of_estimates": float(np.sum(points))},
        draws=summed.ravel(),
    )
    observed = float(sum(item.observed for item in items))
    if not paired(items):
        return Estimated({}, observed, result)
    parts = [item.estimate for item in items if isinstance(item.estimate, PooledResult)]
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Estimated({}, observed, _pooled(summed, result, parts, notes))


def _pooled(summed: Floats, result: Result, parts: Sequence[PooledResult], notes: tuple[str, ...]) -> PooledResult:
    """Wrap sums by partition, with what linkage has in their variance."""
    effective = min(part.effective for part in parts)
    linkage: float | None = None
    width: float | None = None
    if all(part.linkage_share is not None for part in parts) and summed.shape[1] > 1:
        logs = np.log(summed)
        within = logs.var(axis=1, ddof=1)
        centres = logs.mean(axis=1)
        # The rows were moved apart for what the draws are worth; Rubin's rules allow for that themselves.
        centres = centres.mean() + (centres - centres.mean()) / allowance(effective)
        split = rubin(centres, within, effective=effective)
        linkage = split.share
        width = 1 - float(np.sqrt(split.within / split.total)) if split.total > 0 else 0.0
    return PooledResult(
        result,
        summed,
        summed.mean(axis=1),
        np.sum([part.observed for part in parts], axis=0),
        {},
        effective,
        linkage,
        width,
        None,
        parts[0].partitions,
        notes,
    )


@dataclass(frozen=True, eq=False)
class Contrast:
    """How two estimates, or two rates, differ: the second less the first, and over the first.

    Attributes
    ----------
    difference, ratio
        Medians over draws, with the ends of their 95% intervals.
    increase
        Share of draws in which the second is the greater.
    paired
        Whether the two come from the same partitions.
    draws
        Of the difference, shape as :func:`aligned` has it.
    """

    difference: float
    difference_lower: float
    difference_upper: float
    ratio: float
    ratio_lower: float
    ratio_upper: float
    increase: float
    paired: bool
    draws: Floats

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "difference": [self.difference, self.difference_lower, self.difference_upper],
            "ratio": [self.ratio, self.ratio_lower, self.ratio_upper],
            "increase": self.increase,
            "paired": self.paired,
        }


def contrast(
    first: Estimated, second: Estimated, *, scales: tuple[float, float] = (1.0, 1.0), seed: int = 0
) -> Contrast:
    """Compare two estimates by their draws.

    Parameters
    ----------
    first, second
        Such as the estimates of an earlier and a later period.
    scales
        What each is divided by, such as the population over a thousand.

    Raises
    ------
    EstimateError
        ``no-estimate``: one of them has none; ``bad-parameter``: a scale that is not positive.
    """
    if not all(np.isfinite(scale) and scale > 0 for scale in scales):
        raise EstimateError("estimates are divided by positive numbers", reason="bad-parameter")
    one, two = (draws / scale for draws, scale in zip(aligned([first, second], seed=seed), scales, strict=True))
    low, middle, high = np.quantile(two - one, _LEVELS).tolist()
    least, usual, most = np.quantile(two / one, _LEVELS).tolist()
    increase = float((two > one).mean() + 0.5 * (two == one).mean())
    return Contrast(middle, low, high, usual, least, most, increase, paired([first, second]), two - one)
