"""Bootstrap over people with bias-corrected and accelerated intervals (Efron 1987; DiCiccio & Efron 1996)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from linkage.errors import EstimateError
from linkage.research.estimate.lattice import Floats

__all__ = ["Interval", "acceleration", "bca_interval"]

Estimate = Callable[[Floats], Floats]  # tables (B, cells) -> numbers (B,), NaN where there is none


@dataclass(frozen=True, eq=False)
class Interval:
    """A bootstrap interval.

    Attributes
    ----------
    kind
        ``"BCa"``, or ``"percentile"`` where all resamples fall on one side of the estimate or the correction breaks
        down; ``"none"`` where no resample has an estimate. Either is stretched to hold the estimate.
    draws
        The resampled estimates that there are.
    missing
        Number of resamples without one.
    """

    lower: float | None
    upper: float | None
    kind: str
    acceleration: float
    bias_correction: float | None
    draws: Floats
    missing: int


def acceleration(counts: npt.NDArray[np.int64], estimate: Estimate) -> float:
    """Jackknife by distinct history: leave one person of each out.

    With N_j the estimate without one person of history j and r_j = sum(n_j N_j)/n - N_j, the acceleration is
    sum(n_j r_j^3) / (6 (sum n_j r_j^2)^1.5). Histories whose table without one person has no estimate take no part.
    """
    seen = np.flatnonzero(counts > 0)
    tables = np.repeat(counts[None, :].astype(np.float64), len(seen), axis=0)
    tables[np.arange(len(seen)), seen] -= 1
    values, weights = estimate(tables), counts[seen].astype(np.float64)
    there = np.isfinite(values)
    values, weights = values[there], weights[there]
    if not values.size:
        return 0.0
    r = (weights * values).sum() / weights.sum() - values
    spread = float((weights * r**2).sum())
    return float((weights * r**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0


def bca_interval(
    counts: npt.NDArray[np.int64],
    n_hat: float,
    estimate: Estimate,
    *,
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> Interval:
    """Resample people from the observed histories and estimate anew, everything included.

    Parameters
    ----------
    counts
        Shape ``(cells,)``.
    n_hat
        The estimate on the table itself.
    estimate
        The whole procedure, selection included, on a stack of tables.

    Raises
    ------
    EstimateError
        ``bad-parameter``: less than one resample.
    """
    if resamples < 1:
        raise EstimateError("resamples must be 1 or more", reason="bad-parameter")
    generator = np.random.default_rng(seed)
    n = int(counts.sum())
    tables = generator.multinomial(n, counts / n, size=resamples).astype(np.float64)
    draws = estimate(tables)
    there = np.isfinite(draws)
    missing, draws = int((~there).sum()), draws[there]
    a = acceleration(counts, estimate)
    if not draws.size:
        return Interval(None, None, "none", a, None, draws, missing)
    share = float((draws < n_hat).mean())
    z0 = float(norm.ppf(share)) if 0 < share < 1 else None
    levels = np.array([(1 - level) / 2, (1 + level) / 2])
    corrected = levels
    if z0 is not None:
        z = z0 + norm.ppf(levels)
        if (1 - a * z > 0).all():
            corrected = norm.cdf(z0 + z / (1 - a * z))
    kind = "percentile" if corrected is levels else "BCa"
    lower, upper = np.quantile(draws, corrected, method="median_unbiased")
    # Where nearly all resamples are on one side, an interval of them would be without its estimate.
    lower, upper = min(float(lower), n_hat), max(float(upper), n_hat)
    return Interval(lower, upper, kind, a, z0, draws, missing)
