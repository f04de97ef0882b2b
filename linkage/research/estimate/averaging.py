"""Averaging over all hierarchical log-linear models with weights exp(-BIC/2) (Raftery 1995; Hook & Regal 1997).

The estimate is the weighted mean of the models' estimates. Each model says n + exp(b_0) with b_0 normal around its
estimate by the Fisher information; the interval is that of the mixture of these distributions, so it covers what the
models say differently as well as what each leaves open. Models without an estimate have no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

from linkage.errors import EstimateError
from linkage.research.estimate.chains import table_seed
from linkage.research.estimate.lattice import Floats, terms_from_names
from linkage.research.estimate.models import (
    Criterion,
    check_lists,
    describe,
    fit_models,
    hierarchical_models,
    name_generators,
    rank,
)
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["Averaged", "Mixture"]

_NOTED = 1e-3
_FURTHEST = 1e6  # an upper end beyond this many times the observed number is none, as in the profile interval
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


@dataclass(frozen=True)
class Averaged:
    """Average of all hierarchical log-linear models, weighted by exp(-BIC/2) or exp(-AIC/2).

    Parameters
    ----------
    criterion
        ``"bic"`` (approximates the models' posterior probabilities) or ``"aic"``.
    referrals
        Pairs of list names that are in every model.
    seed
        Seed of the draws. Without it the seed comes from the table.

    Assumptions
    -----------
    One of the models is right: lists depend on each other only through interactions of fewer lists than all (five
    lists: of pairs), and before the data none of them is more likely than another.

    Attributes
    ----------
    The interval is the equal-tailed one of the mixture of the models' Wald distributions of the log of the unseen
    number, by summation and not by sampling; ``draws`` are draws from the mixture. ``terms`` are those of the best
    model; ``details`` hold the weights of the best models and the least and greatest estimate among models that have
    at least a thousandth of the weight.
    """

    criterion: Criterion = "bic"
    referrals: tuple[tuple[str, str], ...] = ()
    seed: int | None = None

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of two to five lists."""
        method = f"averaged-{self.criterion}"
        if self.criterion not in ("bic", "aic"):
            raise EstimateError("models are weighted by bic or aic", reason="bad-parameter")
        reason = check_lists(table)
        if reason:
            return refused(method, "", reason)
        models = hierarchical_models(table.t, terms_from_names(self.referrals, table.lists))
        fits = fit_models(table.counts, table.t, models, errors=True)
        order, weights = rank(fits, self.criterion)
        details = describe(fits, models, table, self.criterion)
        if not order.size:
            return refused(method, "", "model-not-estimable", details=details)
        if not np.isfinite(fits.se_intercept[0, order]).all():
            return refused(method, "", "beyond-precision", details=details)
        n_hats = fits.n_hat[0, order]
        noted = n_hats[weights >= _NOTED]
        details |= {"least_noted": float(noted.min()), "greatest_noted": float(noted.max())}
        mixture = Mixture(weights, fits.intercept[0, order], fits.se_intercept[0, order])
        low, high = (mixture.quantile(level) for level in (0.025, 0.975))
        best, furthest = models[order[0]], float(np.log(_FURTHEST * table.observed))
        n_hat = float((weights * n_hats).sum())
        # A model of hardly any weight can still carry the mean away from where nearly all of the weight is.
        if high > furthest or not np.exp(low) <= n_hat - table.observed <= np.exp(high):
            return refused(method, name_generators(best, table.lists), "unbounded", details=details, terms=best)
        drawn = np.minimum(mixture.draws(_DRAWS, table_seed(table, self.seed)), furthest)
        return Result(
            method,
            f"average over {int(order.size)} models, the best: {name_generators(best, table.lists)}",
            n_hat,
            table.observed + float(np.exp(low)),
            table.observed + float(np.exp(high)),
            interval="mixture of the models' Wald distributions of the log of the unseen number",
            assumption="lists depend on each other as in one of the hierarchical log-linear models that are averaged",
            details=details,
            terms=best,
            draws=table.observed + np.exp(drawn),
        )
