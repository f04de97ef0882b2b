"""How the number moves with an assumption that the data cannot test: dependence put in by hand as an offset.

Two curves. The **odds ratio** of a pair of lists is fixed at w instead of being left out (w = 1) or estimated; with
two lists N(w) = n11 + n10 + n01 + w n10 n01 / n11 (Gerritse, van der Heijden & Bakker 2015). The **highest-order
interaction**, which joins all the lists and the unseen and which every estimate takes for zero, is set to xi:
n0(xi) = exp(xi) n0(0) (Aleshin-Guendel, Sadinle & Wakefield 2024). No data can say which point of a curve is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linkage.errors import EstimateError
from linkage.research.estimate.gate import check, reduce_model
from linkage.research.estimate.lattice import Floats, contains, design, name_model
from linkage.research.estimate.loglinear import Fit, fit_model
from linkage.research.estimate.result import OK
from linkage.research.estimate.table import HistoryTable

__all__ = ["RATIOS", "XIS", "HighestOrderCurve", "OddsRatioCurve", "highest_order_curve", "odds_ratio_curve"]

RATIOS = tuple(2.0 ** (step / 2) for step in range(-4, 5))
"""Odds ratios from 1/4 to 4, evenly spaced on the logarithm."""

XIS = (-1.0, -0.5, 0.0, 0.5, 1.0)

_NONE, _STUCK = "model-not-estimable", "not-converged"
_TOLERANCE, _MAX_STEPS = 1e-10, 100  # Newton decrement in units of log-likelihood, as for fits without an offset


@dataclass(frozen=True)
class OddsRatioCurve:
    """The estimated number against the odds ratio of one pair of lists.

    Attributes
    ----------
    lists
        The pair.
    model
        The other interactions of the model.
    ratios, n_hats, statuses
        One entry a point: the odds ratio of the pair among people on none of the other lists, the estimate
        (``None`` where there is none) and ``"ok"`` or the code of the reason.
    fitted
        The ratio that the model itself has: its estimate where the pair is in the model (0 where the overlap is
        empty), 1 where it is not, ``None`` where the model has no estimate.
    """

    lists: tuple[str, str]
    model: str
    ratios: tuple[float, ...]
    n_hats: tuple[float | None, ...]
    statuses: tuple[str, ...]
    fitted: float | None

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON; ``withhold`` takes the estimates out."""
        return {
            "lists": list(self.lists),
            "model": self.model,
            "ratios": list(self.ratios),
            "n_hats": [None if withhold else value for value in self.n_hats],
            "statuses": list(self.statuses),
            "fitted": None if withhold else self.fitted,
        }


@dataclass(frozen=True)
class HighestOrderCurve:
    """The estimated number against the interaction that joins all lists.

    Attributes
    ----------
    model
        ``"saturated"``, or the interactions of the model.
    xis, n_hats
        Log-scale size of the interaction, and the estimate there; ``None`` where there is none.
    status
        ``"ok"`` or the code of the reason why no point has an estimate.
    """

    model: str
    xis: tuple[float, ...]
    n_hats: tuple[float | None, ...]
    status: str

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON; ``withhold`` takes the estimates out."""
        return {
            "model": self.model,
            "xis": list(self.xis),
            "n_hats": [None if withhold else value for value in self.n_hats],
            "status": self.status,
        }


def _pair_term(table: HistoryTable, pair: tuple[str, str]) -> int:
    if len(set(pair)) != 2 or not set(pair) <= set(table.lists):
        raise EstimateError("a pair names something other than two lists", reason="unknown-list")
    return sum(1 << table.lists.index(name) for name in pair)


def _likelihood(counts: Floats, eta: Floats) -> float:
    value = float(counts @ eta - np.exp(eta).sum())
    return value if math.isfinite(value) else -math.inf


def _newton(left: Floats, counts: Floats, offset: Floats, beta: Floats) -> tuple[Floats, bool]:
    """Maximise the Poisson likelihood of log mu = offset + left @ beta; steps that lower it are halved."""
    eta = offset + left @ beta
    value = _likelihood(counts, eta)
    for _ in range(_MAX_STEPS):
        mu = np.exp(eta)
        score = left.T @ (counts - mu)
        try:
            step = np.linalg.solve((left.T * mu) @ left, score)
        except np.linalg.LinAlgError:
            return beta, False
        decrement = abs(float(score @ step))
        floor = value - 1e-10 * (1 + abs(value))  # rounding must not stop the last steps
        for _ in range(30):
            eta = offset + left @ (beta + step)
            new = _likelihood(counts, eta)
            if new >= floor:
                break
            step = step / 2
        beta, value = beta + step, new
        if decrement < _TOLERANCE:
            return beta, True
        if not math.isfinite(decrement):
            break
    return beta, False


def _start(left: Floats, counts: Floats, offset: Floats) -> Floats:
    """Weighted least squares on the logarithms of the counts, empty cells raised a little."""
    lifted = counts + min(0.1, counts.sum() / counts.size)
    return np.asarray(np.linalg.solve((left.T * lifted) @ left, left.T @ (lifted * (np.log(lifted) - offset))))


def _points(table: HistoryTable, rest: tuple[int, ...], term: int, ratios: Sequence[float]) -> list[float | str]:
    """Estimate at each ratio, or the reason why there is none.

    An offset multiplies expected counts by finite factors, which changes neither the rank of the design nor whether
    the sufficient statistic lies inside its cone: the gate's answer holds for the whole curve.
    """
    if table.t < 2 or not table.observed or check(table.counts, table.t, rest):
        return [_NONE] * len(ratios)
    if table.t == 2:
        one, other, both = (float(count) for count in table.counts)  # all above zero, or the gate had closed
        return [table.observed + ratio * one * other / both for ratio in ratios]
    model = reduce_model(table.counts, table.t, rest)
    left = design(table.t, model.finite)[model.keep]
    counts = table.counts[model.keep].astype(np.float64)
    held = contains(table.t, (term,))[0][model.keep]
    beta: Floats | None = None
    points: list[float | str] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for ratio in ratios:
            offset = held * math.log(ratio)
            first = _start(left, counts, offset) if beta is None else beta  # the next point lies near the last
            found, converged = _newton(left, counts, offset, first)
            beta = found if converged else None
            points.append(table.observed + float(np.exp(found[0])) if converged else _STUCK)
    return points


def _fitted(table: HistoryTable, terms: tuple[int, ...], term: int) -> float | None:
    """Odds ratio of the pair in the model as it stands."""
    if table.t < 2 or not table.observed:
        return None
    if term not in terms or table.t == 2:
        return 1.0
    if check(table.counts, table.t, terms):
        return None
    fit = fit_model(table, terms)
    if isinstance(fit, int) or not fit.converged:
        return None
    if term in fit.minus_infinity:
        return 0.0
    finite = [other for other in terms if other not in fit.minus_infinity]
    return float(np.exp(fit.beta[1 + table.t + finite.index(term)]))


def odds_ratio_curve(
    table: HistoryTable, terms: Sequence[int], pair: tuple[str, str], ratios: Sequence[float] = RATIOS
) -> OddsRatioCurve:
    """Estimate the number with the odds ratio of one pair of lists fixed at each of several values.

    Parameters
    ----------
    table
        Two lists or more.
    terms
        Interactions of the model, such as ``Result.terms`` of a selection. The pair's own term gives way to the
        fixed ratio; all other terms stay and are fitted again. With two lists this is the closed form.
    pair
        Names of the two lists.
    ratios
        Odds ratios above 0; 1 is no dependence, above 1 the lists share more people than chance would have it.

    Raises
    ------
    EstimateError
        The pair is not two lists of the table, or a ratio is not a positive number.
    """
    if not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios):
        raise EstimateError("an odds ratio is not a positive number", reason="bad-ratio")
    term = _pair_term(table, pair)
    held = tuple(terms)
    rest = tuple(other for other in held if other != term)
    points = _points(table, rest, term, ratios)
    return OddsRatioCurve(
        lists=(pair[0], pair[1]),
        model=name_model(rest, table.lists),
        ratios=tuple(float(ratio) for ratio in ratios),
        n_hats=tuple(None if isinstance(point, str) else point for point in points),
        statuses=tuple(point if isinstance(point, str) else OK for point in points),
        fitted=_fitted(table, held, term),
    )


def _saturated(table: HistoryTable) -> float | None:
    """Unseen number of the saturated model: product of the odd cells over that of the even ones.

    An empty cell leaves more parameters than cells, or a fit on the edge of its cone: then there is none.
    """
    if table.t < 2 or not (table.counts > 0).all():
        return None
    signs = np.array([1.0 if cell.bit_count() % 2 else -1.0 for cell in range(1, 2**table.t)])
    exponent = float(signs @ np.log(table.counts.astype(np.float64)))
    return math.exp(exponent) if exponent < math.log(2.0**53) else None


def highest_order_curve(
    table: HistoryTable, terms: Sequence[int] | None = None, xis: Sequence[float] = XIS
) -> HighestOrderCurve:
    """Estimate the number with the interaction of all lists set to each of several values.

    Parameters
    ----------
    table
        Two lists or more.
    terms
        Interactions of a hierarchical model; ``None`` for the saturated one, which needs every cell occupied.
    xis
        Values of the interaction on the log scale; 0 is what every log-linear estimate assumes.

    Raises
    ------
    EstimateError
        The model is not hierarchical, or a value is not a number.
    """
    if not all(math.isfinite(xi) for xi in xis):
        raise EstimateError("a value of the interaction is not a number", reason="bad-ratio")
    unseen: float | None
    status = OK
    if terms is None:
        unseen, model = _saturated(table), "saturated"
    else:
        model = name_model(terms, table.lists)
        fit: Fit | int = fit_model(table, terms) if table.t >= 2 and table.observed else 2
        unseen = None if isinstance(fit, int) else fit.n_hat - fit.n
        if not isinstance(fit, int) and not fit.converged:
            unseen, status = None, _STUCK
    if unseen is None:
        empty = (None,) * len(xis)
        return HighestOrderCurve(model, tuple(xis), empty, _NONE if status == OK else status)
    numbers = tuple(table.observed + math.exp(xi) * unseen for xi in xis)
    return HighestOrderCurve(model, tuple(xis), numbers, OK)
