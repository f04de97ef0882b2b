"""Averaging over hierarchical log-linear models with weights exp(-BIC/2) (Raftery 1995; Hook & Regal 1997).

Over two to six lists all of them; over seven to twelve those that a search finds
(:mod:`linkage.research.estimate.search`; Madigan & York 1995).

The estimate is the weighted mean of the models' estimates. Each model says n + exp(b_0) with b_0 normal around its
estimate by the Fisher information, and the unseen number Poisson around exp(b_0), so that its logarithm has the
variance se^2 + exp(-b_0); the interval is that of the mixture of these distributions, so it covers what the models say
differently as well as what each leaves open. Models without an estimate have no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

from linkage.errors import EstimateError
from linkage.research.estimate.chains import table_seed
from linkage.research.estimate.lattice import Floats, terms_from_names
from linkage.research.estimate.models import (
    ENUMERATED,
    Criterion,
    Details,
    Ints,
    ModelFits,
    Models,
    check_lists,
    describe,
    fit_models,
    hierarchical_models,
    name_generators,
    rank,
)
from linkage.research.estimate.result import FURTHEST, Result, refused
from linkage.research.estimate.search import EFFECTIVE, Search, search_models
from linkage.research.estimate.table import MAX_LISTS, HistoryTable

__all__ = ["Averaged", "Mixture"]

_FIVE = 5  # lists over which an order can be chosen
_TABLES = 32  # whose fits are kept: more than there are draws of many lists
_NOTED = 1e-3
_DRAWS = 4000


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of normal distributions of the logarithm of the unseen number.

    Attributes
    ----------
    weights, means, deviations
        Shape ``(M,)``; the weights sum to 1.
    """

    weights: Floats
    means: Floats
    deviations: Floats

    def below(self, value: float) -> float:
        """Give the probability of less than a value."""
        return float((self.weights * ndtr((value - self.means) / self.deviations)).sum())

    def quantile(self, level: float) -> float:
        """Invert :meth:`below`: between the models' own quantiles, which enclose it."""
        own = self.means + norm.ppf(level) * self.deviations
        low, high = float(own.min()) - 1e-9, float(own.max()) + 1e-9
        return float(brentq(lambda value: self.below(value) - level, low, high, xtol=1e-12))

    def draws(self, size: int, seed: int) -> Floats:
        """Draw from it, the models by turns of their weight (systematic sampling), in random order."""
        rng = np.random.default_rng(seed)
        levels = (np.arange(size) + rng.random()) / size
        which = np.minimum(np.searchsorted(np.cumsum(self.weights), levels), len(self.weights) - 1)
        values = self.means[which] + self.deviations[which] * rng.standard_normal(size)
        return np.asarray(rng.permutation(values))


@dataclass(frozen=True, eq=False)
class _Weighed:
    """Models with their fits; positions of those with weight, best first, and their weights."""

    models: Models
    fits: ModelFits
    order: Ints
    weights: Floats
    details: Details

    @property
    def best(self) -> tuple[int, ...]:
        """The best model by the criterion."""
        return self.models[self.order[0]]


@lru_cache(maxsize=_TABLES)
def _fits(counts: tuple[int, ...], t: int, models: Models) -> ModelFits:
    """Fit all models; both criteria weigh the same fits, each on all partition draws, and six lists have 32,768."""
    return fit_models(np.array(counts), t, models, errors=True)


def _weigh_all(table: HistoryTable, criterion: Criterion, forced: tuple[int, ...], order: int | None) -> _Weighed:
    models = hierarchical_models(table.t, forced, order)
    fits = _fits(tuple(table.counts.tolist()), table.t, models)
    ranking, weights = rank(fits, criterion)
    return _Weighed(models, fits, ranking, weights, describe(models, table.t, criterion, ranking, weights))


def _weigh_found(table: HistoryTable, criterion: Criterion, found: Search) -> _Weighed:
    order, _ = rank(found.fits, criterion)
    order = order[found.weights[order] > 0]
    weights = found.weights[order]
    rhat, size = found.agreement
    details = describe(found.models, table.t, criterion, order, weights)
    details |= {
        "models": len(found.models),
        "models_with_estimate": int(found.fits.passed.sum()),
        "models_with_weight": len(order),
        "weight_by_visits": found.unknown,
        "acceptance": found.acceptance,
        "rhat": rhat,
        "effective_draws": size,
        "chains": found.trace.shape[1],
        "steps": found.steps,
    }
    return _Weighed(found.models, found.fits, order, weights, details)


@dataclass(frozen=True)
class Averaged:
    """Average of hierarchical log-linear models, weighted by exp(-BIC/2) or exp(-AIC/2).

    Parameters
    ----------
    criterion
        ``"bic"`` (approximates the models' posterior probabilities) or ``"aic"``.
    referrals
        Pairs of list names that are in every model.
    seed
        Seed of the draws and, over more than six lists, of the search. Without it the seed comes from the table.
    effective
        Effective number of draws at which a search over more than six lists may end; chains must agree besides. Fewer
        take less time: where many tables are pooled, such as partition draws, each needs little of its own.
    order
        Most lists in an interaction over five lists: 2, as the literature has it, or 3, which is wider where people
        differ and takes half a second. Up to four lists it is all but one, from six on 2.

    Assumptions
    -----------
    One of the models is right: lists depend on each other only through interactions of fewer lists than all (five
    lists: as many as ``order`` says; more: of pairs), and before the data none of them is more likely than another.

    Attributes
    ----------
    The interval is the equal-tailed one of the mixture of the models' Wald distributions of the log of the unseen
    number, by summation and not by sampling; ``draws`` are draws from the mixture. ``terms`` are those of the best
    model; ``details`` hold the weights of the best models and the least and greatest estimate among models that have
    at least a thousandth of the weight (none has where very many models are alike). Over more than six lists they
    also say how many models were fitted (``models``), how the search went, and whether its chains agree.
    """

    criterion: Criterion = "bic"
    referrals: tuple[tuple[str, str], ...] = ()
    seed: int | None = None
    effective: int = EFFECTIVE
    order: int = 2

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of two to twelve lists.

        Raises
        ------
        EstimateError
            Another criterion or order, an effective number below 1, or a referral that no model holds.
        """
        method = f"averaged-{self.criterion}"
        if self.criterion not in ("bic", "aic") or self.effective < 1 or self.order not in (2, 3):
            words = "models are weighted by bic or aic, hold interactions of two or three, and a search needs draws"
            raise EstimateError(words, reason="bad-parameter")
        reason = check_lists(table, MAX_LISTS)
        if reason:
            return refused(method, "", reason)
        forced = terms_from_names(self.referrals, table.lists)
        if table.t <= ENUMERATED:
            order = self.order if table.t == _FIVE else None
            return self._result(method, table, _weigh_all(table, self.criterion, forced, order))
        seed = table_seed(table, self.seed)
        found = search_models(table.counts, table.t, self.criterion, forced=forced, effective=self.effective, seed=seed)
        if found is None:
            return refused(method, "", "model-not-estimable", details={"models_with_estimate": 0})
        weighed = _weigh_found(table, self.criterion, found)
        if not found.steady:
            model = name_generators(weighed.best, table.lists)
            return refused(method, model, "chains-not-agreed", details=weighed.details, terms=weighed.best)
        return self._result(method, table, weighed)

    def _result(self, method: str, table: HistoryTable, weighed: _Weighed) -> Result:
        fits, order, weights, details = weighed.fits, weighed.order, weighed.weights, weighed.details
        if not order.size:
            return refused(method, "", "model-not-estimable", details=details)
        if not np.isfinite(fits.se_intercept[0, order]).all():
            return refused(method, "", "beyond-precision", details=details)
        n_hats = fits.n_hat[0, order]
        noted = n_hats[weights >= _NOTED]
        if noted.size:
            details |= {"least_noted": float(noted.min()), "greatest_noted": float(noted.max())}
        means = fits.intercept[0, order]
        mixture = Mixture(weights, means, np.sqrt(fits.se_intercept[0, order] ** 2 + np.exp(-means)))
        low, high = (mixture.quantile(level) for level in (0.025, 0.975))
        best, furthest = weighed.best, float(np.log(FURTHEST * table.observed))
        n_hat = float((weights * n_hats).sum())
        # A model of hardly any weight can still carry the mean away from where nearly all of the weight is.
        if high > furthest or not np.exp(low) <= n_hat - table.observed <= np.exp(high):
            return refused(method, name_generators(best, table.lists), "unbounded", details=details, terms=best)
        drawn = np.minimum(mixture.draws(_DRAWS, table_seed(table, self.seed)), furthest)
        pairwise = table.t > _FIVE or (table.t == _FIVE and self.order == 2)
        kind = "pairwise" if pairwise else "hierarchical"
        return Result(
            method,
            f"average over {int(order.size)} models, the best: {name_generators(best, table.lists)}",
            n_hat,
            table.observed + float(np.exp(low)),
            table.observed + float(np.exp(high)),
            interval="mixture of the models' Wald distributions of the log of the unseen number",
            assumption=f"lists depend on each other as in one of the {kind} log-linear models that are averaged",
            details=details,
            terms=best,
            draws=table.observed + np.exp(drawn),
        )
