"""All hierarchical log-linear models of a table at once, and the best of them by BIC or AIC.

A hierarchical model holds with an interaction all parts of it. Over t lists interactions go up to t - 1 lists for t <=
4 (1, 1, 8 and 113 models for 1 to 4 lists) and join pairs only for t = 5 (1,024 models); beyond that there are too many
to fit them all, and a search takes what matters for an average (:mod:`linkage.research.estimate.search`). Only models
that pass the gate take part: ordinary software ranks models that have no estimate, and its best one can say 10^13.

The interval repeats the whole selection in every resample (Silverman, Chan & Vincent 2024): one that takes the chosen
model as given is far too short.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, xlogy

from linkage.errors import EstimateError
from linkage.research.estimate import gate
from linkage.research.estimate.bootstrap import Interval, bca_interval
from linkage.research.estimate.chains import table_seed
from linkage.research.estimate.lattice import (
    Floats,
    all_terms,
    name_term,
    subset_sums,
    superset_sums,
    terms_from_names,
)
from linkage.research.estimate.loglinear import MOST_PEOPLE, Fit, fit_model
from linkage.research.estimate.poisson import fit_poisson, information, intercept_error, whole
from linkage.research.estimate.profile import profile_interval
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = [
    "ENUMERATED",
    "MOST_LISTS",
    "AllModels",
    "Criterion",
    "ModelFits",
    "Models",
    "check_lists",
    "describe",
    "fit_models",
    "hierarchical_models",
    "name_generators",
    "notation",
    "rank",
]

MOST_LISTS = 5
"""Lists up to which all models are ranked."""

ENUMERATED = 6
"""Lists up to which all models over pairs are fitted."""

_ALL_ORDERS = 4  # up to so many lists, interactions of every order below t
_TOP = {5: 100}  # models that are fitted again in each resample
_TOP_ELSE = 20
_MOST_WITHOUT = 0.05
_ROWS = 2048  # fits in one go: bounds memory, and the stack stays in the processor's cache
_SHOWN = 10

Criterion = Literal["bic", "aic"]
Details = dict[str, float | int | str | None]
Models = tuple[tuple[int, ...], ...]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@lru_cache(maxsize=32)
def hierarchical_models(t: int, forced: tuple[int, ...] = (), order: int | None = None) -> Models:
    """All hierarchical models over ``t`` lists that hold the forced interactions, small ones first.

    Parameters
    ----------
    order
        Most lists in an interaction, never all: by default all but one up to four lists, and two from five on. Three
        over five lists make 6,212 models.

    Raises
    ------
    EstimateError
        More than six lists, more than five with interactions of three, or forced interactions that no model holds.
    """
    most = min(order or (t if t <= _ALL_ORDERS else 2), t - 1)
    if t > (ENUMERATED if most <= 2 else MOST_LISTS):
        raise EstimateError("there are too many models over so many lists", reason="too-many-lists")
    found: list[tuple[int, ...]] = [()]
    for order in range(2, most + 1):
        groups = [sum(1 << j for j in group) for group in combinations(range(t), order)]
        found = [(*model, *more) for model in found for more in _subsets(_allowed(groups, model, order))]
    kept = [model for model in found if set(forced) <= set(model)]
    if not kept:
        raise EstimateError("no model holds the forced interactions", reason="bad-model")
    return tuple(sorted(kept, key=len))


def _allowed(groups: list[int], model: tuple[int, ...], order: int) -> list[int]:
    """Give the interactions whose parts are all in the model already."""
    held = set(model)
    return [g for g in groups if order == 2 or all(p in held for p in range(g) if p & g == p and p.bit_count() > 1)]


def _subsets(groups: list[int]) -> list[tuple[int, ...]]:
    return [some for size in range(len(groups) + 1) for some in combinations(groups, size)]


def _generators(t: int, interactions: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Positions in the largest terms of a model, main effects included: long ones first, then in order."""
    terms = (*(1 << j for j in range(t)), *interactions)
    largest = [a for a in terms if not any(a != b and a & b == a for b in terms)]
    return sorted((tuple(j for j in range(t) if a >> j & 1) for a in largest), key=lambda g: (-len(g), g))


def notation(t: int, interactions: tuple[int, ...]) -> str:
    """Write a model by its generators as the literature does: ``[123,14,5]``, and of ten lists ``[1:2:3,1:10]``."""
    groups = _generators(t, interactions)
    return "[" + ",".join((":" if t > 9 else "").join(str(j + 1) for j in group) for group in groups) + "]"


def name_generators(interactions: tuple[int, ...], lists: tuple[str, ...]) -> str:
    """Write a model by the names of the lists in its largest interactions: ``A:B:C, A:D``, or ``independence``."""
    groups = [g for g in _generators(len(lists), interactions) if len(g) > 1]
    return ", ".join(name_term(sum(1 << j for j in group), lists) for group in groups) or "independence"


@dataclass(frozen=True, eq=False)
class ModelFits:
    """M models on B tables.

    Attributes
    ----------
    passed
        Shape ``(B, M)``: whether the model has an estimate on the table: it exists, is identified, and was found.
    intercept
        b_0, shape ``(B, M)``; NaN where not passed. The number of people is n + exp(b_0).
    se_intercept
        Its standard error by the Fisher information, shape ``(B, M)``; NaN where not passed or not asked for.
    n_hat
        Shape ``(B, M)``; NaN where not passed.
    aic, bic
        Shape ``(B, M)``, parameters at minus infinity counted; infinite where not passed.
    """

    passed: Bools
    intercept: Floats
    se_intercept: Floats
    n_hat: Floats
    aic: Floats
    bic: Floats

    def criterion(self, which: Criterion) -> Floats:
        """AIC or BIC."""
        return self.bic if which == "bic" else self.aic

    def best(self, which: Criterion) -> tuple[Ints, Floats]:
        """Give each table's best model (the first of equals) and its estimate, NaN where none passed."""
        values = self.criterion(which)
        chosen = np.argmin(values, axis=1)
        return np.asarray(chosen), self.n_hat[np.arange(len(values)), chosen]


class _Stack:
    """Every model on every table as one stack of fits."""

    def __init__(self, tables: Floats, t: int, models: Models) -> None:
        self.tables, self.t, self.models = tables, t, models
        self.interactions = tuple(sorted({term for model in models for term in model}))
        self.terms = all_terms(t, self.interactions)
        self.masks = np.array(self.interactions, dtype=np.int64)
        self.member = np.array(
            [[term in model for term in self.interactions] for model in map(set, models)], dtype=bool
        )
        self.member = self.member.reshape(len(models), len(self.interactions))
        self.empty = superset_sums(whole(tables, t), t)[:, self.masks] == 0
        self.passed = np.zeros((len(tables), len(models)), dtype=bool)
        self.intercept, self.se_intercept = (np.full(self.passed.shape, np.nan) for _ in range(2))
        self.minus_two_log = np.full(self.passed.shape, np.inf)

    @cached_property
    def constant(self) -> Floats:
        return np.asarray(gammaln(self.tables + 1).sum(axis=1))

    def identified(self) -> tuple[Ints, Ints]:
        """Pairs of table and model that are identified; the rank depends on which overlaps are empty and no more.

        A finite interaction has its own cell, which no empty overlap takes away, so the intercept alone is in question.
        Where the model lacks the pair of A and B, those on A alone, on B alone and on these two give it. The gate takes
        longer than a fit and is asked for models with all pairs only.
        """
        patterns, which = np.unique(self.empty, axis=0, return_inverse=True)
        held = self.member[:, np.bitwise_count(self.masks) == 2].sum(axis=1)
        sound = np.tile(held < self.t * (self.t - 1) // 2, (len(patterns), 1))
        for pattern, m in zip(*np.nonzero(~sound), strict=True):
            sound[pattern, m] = self._identifiable(m, patterns[pattern])
        rows, columns = np.nonzero(sound[which.ravel()])
        return rows, columns

    def fit(self, rows: Ints, columns: Ints, *, errors: bool) -> None:
        """Fit models to tables, pair by pair, and keep those with an estimate."""
        held, empty = self.member[columns], self.empty[rows]
        active = np.column_stack([np.ones((len(rows), 1 + self.t), dtype=bool), held & ~empty])
        removed = np.zeros((len(rows), 2**self.t))
        removed[:, self.masks] = held & empty
        keep = subset_sums(removed, self.t)[:, 1:] == 0
        counts = self.tables[rows]
        fits = fit_poisson(self.t, self.terms, counts, keep, active)
        there = fits.converged.copy()
        for i in np.flatnonzero(there & ~fits.certified):
            there[i] = self._exists(rows[i], columns[i])
        log_likelihood = (xlogy(counts, fits.mu) - fits.mu).sum(axis=1) - self.constant[rows]
        self.passed[rows, columns] = there
        self.intercept[rows, columns] = np.where(there, fits.beta[:, 0], np.nan)
        self.minus_two_log[rows, columns] = np.where(there, -2 * log_likelihood, np.inf)
        if errors:
            matrix = information(self.t, self.terms, whole(fits.mu[there], self.t), active[there])
            self.se_intercept[rows[there], columns[there]] = intercept_error(matrix)

    def _parts(self, model: int, empty: Bools) -> tuple[tuple[int, ...], tuple[int, ...]]:
        held = self.member[model]
        finite, minus = ([self.interactions[i] for i in np.flatnonzero(held & e)] for e in (~empty, empty))
        return tuple(finite), tuple(minus)

    def _identifiable(self, model: int, empty: Bools) -> bool:
        return gate.identifiable(self.t, *self._parts(model, empty))

    def _exists(self, row: int, model: int) -> bool:
        return gate.exists(self.t, *self._parts(model, self.empty[row]), np.packbits(self.tables[row] > 0).tobytes())


def fit_models(counts: npt.NDArray[np.generic], t: int, models: Models, *, errors: bool = False) -> ModelFits:
    """Fit every model to every table, through the gate.

    Parameters
    ----------
    counts
        Shape ``(B, 2**t - 1)`` or ``(2**t - 1,)``.
    models
        Hierarchical models, as :func:`hierarchical_models` gives them.
    errors
        Whether to work out standard errors as well.
    """
    tables = np.atleast_2d(np.asarray(counts, dtype=np.float64))
    stack = _Stack(tables, t, models)
    rows, columns = stack.identified()
    for start in range(0, len(rows), _ROWS):
        stack.fit(rows[start : start + _ROWS], columns[start : start + _ROWS], errors=errors)
    total = tables.sum(axis=1)[:, None]
    parameters = np.array([1 + t + len(model) for model in models])
    bic = parameters * np.log(np.maximum(total, 1)) + stack.minus_two_log
    aic = 2 * parameters + stack.minus_two_log
    n_hat = total + np.exp(stack.intercept)
    return ModelFits(stack.passed, stack.intercept, stack.se_intercept, n_hat, aic, bic)


def rank(fits: ModelFits, criterion: Criterion) -> tuple[Ints, Floats]:
    """Order the models of the one table that pass the gate, best first.

    Returns
    -------
    tuple
        Their positions, and their weights exp(-criterion/2), summing to 1.
    """
    values = fits.criterion(criterion)[0]
    order = np.argsort(values, kind="stable")[: int(fits.passed[0].sum())]
    weights = np.exp(-(values[order] - values[order[:1]]) / 2)
    return np.asarray(order), np.asarray(weights / weights.sum() if weights.size else weights)


def check_lists(table: HistoryTable, most: int = MOST_LISTS) -> str | None:
    """Say why models cannot be ranked on a table, as a reason's code."""
    if table.t > most:
        return "too-many-lists"
    if table.observed > MOST_PEOPLE:
        return "beyond-precision"
    return "too-few-lists" if table.t < 2 else None


def describe(models: Models, t: int, criterion: Criterion, order: Ints, weights: Floats) -> Details:
    """Figures over all models, given those with an estimate, best first, and their weights."""
    shown = [f"{notation(t, models[m])} {w:.3f}" for m, w in zip(order[:_SHOWN], weights, strict=False)]
    return {
        "criterion": criterion,
        "models": len(models),
        "models_with_estimate": len(order),
        "weight_of_best": float(weights[0]) if weights.size else None,
        "top_models": "; ".join(shown),
    }


@dataclass(frozen=True)
class AllModels:
    """The best of all hierarchical models by BIC or AIC, its interval by a bootstrap that repeats the selection.

    Parameters
    ----------
    criterion
        ``"bic"`` or ``"aic"``. BIC is k log n - 2 log L with n the number of people, not of cells.
    referrals
        Pairs of list names that are in every model.
    resamples
        Number of bootstrap tables; 0 for none (then there is no interval).
    top
        How many of the best models are tried again in each resample: 20, and 100 for five lists, without it.
    seed
        Seed of the resampling. Without it the seed comes from the table.

    Assumptions
    -----------
    Lists depend on each other only through interactions of fewer lists than all (five lists: of pairs), the dependence
    is the one that the criterion finds, and none of it concerns the unseen. Models that fit equally well can
    say very different numbers.

    Attributes
    ----------
    The interval is BCa over resamples of people, the selection over the ``top`` models repeated in each. ``details``
    hold the model's own Wald and profile-likelihood intervals, which take it as given and are too short.
    """

    criterion: Criterion = "bic"
    referrals: tuple[tuple[str, str], ...] = ()
    resamples: int = 1000
    top: int | None = None
    seed: int | None = None

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of two to five lists."""
        method = f"all-models-{self.criterion}"
        if self.criterion not in ("bic", "aic") or (self.top is not None and self.top < 1):
            raise EstimateError("models are ranked by bic or aic, and at least one of them", reason="bad-parameter")
        reason = check_lists(table)
        if reason:
            return refused(method, "", reason)
        models = hierarchical_models(table.t, terms_from_names(self.referrals, table.lists))
        fits = fit_models(table.counts, table.t, models)
        order, weights = rank(fits, self.criterion)
        details = describe(models, table.t, self.criterion, order, weights)
        found = fit_model(table, models[order[0]]) if order.size else 1
        if isinstance(found, int):
            return refused(method, "", "model-not-estimable", details=details)
        if not found.converged:
            return refused(method, "", "not-converged", details=details)
        return self._result(method, table, found, [models[m] for m in order], details)

    def _result(
        self,
        method: str,
        table: HistoryTable,
        found: Fit,
        ranked: list[tuple[int, ...]],
        details: Details,
    ) -> Result:
        model = name_generators(found.interactions, table.lists)
        assumption = f"lists depend on each other only as in the model that {self.criterion.upper()} finds: {model}"
        details |= _own(table, found)
        if not self.resamples:
            return Result(method, model, found.n_hat, None, None, "ok", "", assumption, details, found.interactions)
        top = self.top or _TOP.get(table.t, _TOP_ELSE)
        interval = self._interval(table, found.n_hat, tuple(ranked[:top]))
        details |= {"resamples": self.resamples, "resamples_without_estimate": interval.missing, "top": top}
        if interval.missing > _MOST_WITHOUT * self.resamples:
            reason = "resamples-without-estimate"
            return refused(method, model, reason, assumption=assumption, details=details, terms=found.interactions)
        details |= {"acceleration": interval.acceleration, "bias_correction": interval.bias_correction}
        return Result(
            method,
            model,
            found.n_hat,
            interval.lower,
            interval.upper,
            interval=f"{interval.kind} bootstrap with the selection repeated in each resample",
            assumption=assumption,
            details=details,
            terms=found.interactions,
            draws=interval.draws,
        )

    def _interval(self, table: HistoryTable, n_hat: float, models: Models) -> Interval:
        def estimate(counts: Floats) -> Floats:
            return fit_models(counts, table.t, models).best(self.criterion)[1]

        seed = table_seed(table, self.seed)
        return bca_interval(table.counts, n_hat, estimate, resamples=self.resamples, seed=seed)


def _own(table: HistoryTable, found: Fit) -> Details:
    """Give the chosen model's own figures, as if nothing had been chosen."""
    counts = table.counts.astype(np.float64)
    profile = profile_interval(counts, table.t, found.interactions, near=found.n_hat - found.n)
    low, high = found.wald()
    return {
        "notation": notation(table.t, found.interactions),
        "minus_infinity": ", ".join(name_term(term, table.lists) for term in found.minus_infinity) or None,
        "aic": found.aic,
        "bic": found.bic,
        "deviance": found.deviance,
        "profile_maximum": profile.n_hat,
        "profile_lower": profile.lower,
        "profile_upper": profile.upper,
        "wald_lower": low,
        "wald_upper": high,
        "se": found.se_n_hat,
    }
