"""Log-linear estimation with a given model (Fienberg 1972): independence, or named interactions.

log mu_x = sum of b_T over the terms T that the cell x contains; the unseen number is exp(b_0). AIC = 2k - 2 log L and
BIC = k log(n) - 2 log L in Rcapture's convention: the likelihood is that of the Poisson table, n the number of people
(not cells), and k counts the parameters at minus infinity too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import norm

from linkage.errors import EstimateError
from linkage.research.estimate.gate import check, reduce_model
from linkage.research.estimate.lattice import Floats, all_terms, name_model, terms_from_names
from linkage.research.estimate.poisson import fit_poisson, information, intercept_error
from linkage.research.estimate.profile import profile_interval
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["MOST_PEOPLE", "Fit", "Independence", "LogLinear", "fit_model"]


# Log-likelihoods grow with the counts, and what is left of a double's digits must tell differences of about 1.
MOST_PEOPLE = 10**12


@dataclass(frozen=True, eq=False)
class Fit:
    """A log-linear model on a table; it has passed the gate.

    Attributes
    ----------
    interactions, minus_infinity
        All interactions as given, and those at minus infinity among them.
    beta
        Intercept, main effects, finite interactions in the order given.
    mu
        Fitted counts over the 2^t - 1 cells; 0 in removed cells.
    n_hat, se_intercept
        Estimated number of people; standard error of b_0 from the Fisher information, not scaled (NaN where rounding
        leaves none).
    deviance, aic, bic
        In Rcapture's convention.
    converged
        Whether Newton's method came to rest.
    """

    interactions: tuple[int, ...]
    minus_infinity: tuple[int, ...]
    beta: Floats
    mu: Floats
    n: int
    n_hat: float
    se_intercept: float
    deviance: float
    aic: float
    bic: float
    converged: bool

    @property
    def se_n_hat(self) -> float:
        """Standard error of the number of people: of exp(b_0), and the Poisson spread of the unseen around it."""
        unseen = self.n_hat - self.n
        return float(np.sqrt(unseen + (unseen * self.se_intercept) ** 2))

    def wald(self, level: float = 0.95) -> tuple[float, float]:
        """Interval n + exp(b_0 +- z se): conditional on the model."""
        z = float(norm.ppf((1 + level) / 2))
        low, high = (self.n + float(np.exp(self.beta[0] + sign * z * self.se_intercept)) for sign in (-1, 1))
        return low, high


def _hierarchical(t: int, interactions: Sequence[int]) -> None:
    held = set(interactions)
    for term in interactions:
        if term.bit_count() < 2 or term >= 2**t or term.bit_count() > t - 1:
            raise EstimateError(
                "an interaction must join two lists or more, and fewer than all of them", reason="bad-model"
            )
        members = [1 << j for j in range(t) if term >> j & 1]
        if term.bit_count() > 2 and any(sum(sub) not in held for sub in combinations(members, term.bit_count() - 1)):
            raise EstimateError("the model is not hierarchical: an interaction lacks a part of it", reason="bad-model")


def fit_model(table: HistoryTable, interactions: Sequence[int] = ()) -> Fit | int:
    """Fit a hierarchical model, or give the gate's code (1, 2, 3) where that cannot be done.

    Raises
    ------
    EstimateError
        The model is not hierarchical or names lists that are not there.
    """
    interactions = tuple(interactions)
    _hierarchical(table.t, interactions)
    counts = table.counts.astype(np.float64)
    code = check(counts, table.t, interactions)
    if code:
        return code
    model = reduce_model(counts, table.t, interactions)
    terms = all_terms(table.t, model.finite)
    active = np.ones((1, len(terms)), dtype=bool)
    fits = fit_poisson(table.t, terms, counts[None, :], model.keep[None, :], active)
    beta, mu = fits.beta[0], fits.mu[0]
    error = intercept_error(information(table.t, terms, np.append(0.0, mu)[None, :], active))
    log_likelihood = float((xlogy(counts, mu) - mu - gammaln(counts + 1)).sum())
    k = 1 + table.t + len(interactions)
    with np.errstate(divide="ignore"):  # a fit that has not come to rest may hold a zero, and is refused by its caller
        ratio = np.divide(counts, mu, out=np.ones_like(counts), where=counts > 0)
    return Fit(
        interactions=interactions,
        minus_infinity=model.minus_infinity,
        beta=beta,
        mu=mu,
        n=table.observed,
        n_hat=table.observed + float(np.exp(beta[0])),
        se_intercept=float(error[0]),
        deviance=2 * float((xlogy(counts, ratio) - (counts - mu)).sum()),
        aic=2 * k - 2 * log_likelihood,
        bic=k * float(np.log(table.observed)) - 2 * log_likelihood,
        converged=bool(fits.converged[0]),
    )


@dataclass(frozen=True)
class LogLinear:
    """Log-linear estimate with a given model and its profile-likelihood interval.

    Parameters
    ----------
    interactions
        Groups of list names that interact; the model must be hierarchical.

    Assumptions
    -----------
    Interactions that are not named are absent; in particular none joins all the lists, the unseen included. Everybody
    is on a list with the same probability; nobody comes or goes; links between lists are right.

    Attributes
    ----------
    The interval is the multinomial profile likelihood's and is conditional on the model.
    """

    interactions: tuple[tuple[str, ...], ...] = ()
    method: str = "loglinear"

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of at least two lists."""
        terms = terms_from_names(self.interactions, table.lists)
        name = name_model(terms, table.lists)
        assumption = (
            "given everything else, whether a person is on one list says nothing about any other"
            if not terms
            else f"lists depend on each other in no other way than {name}"
        )
        if table.observed > MOST_PEOPLE:
            return refused(self.method, name, "beyond-precision", assumption=assumption)
        fit = fit_model(table, terms)
        if isinstance(fit, int):
            return refused(self.method, name, "model-not-estimable", assumption=assumption, details={"code": fit})
        if not fit.converged:
            return refused(self.method, name, "not-converged", assumption=assumption)
        if not np.isfinite(fit.se_intercept):
            return refused(self.method, name, "beyond-precision", assumption=assumption)
        profile = profile_interval(table.counts.astype(np.float64), table.t, terms, near=fit.n_hat - fit.n)
        if profile.upper is None:
            return refused(self.method, name, "unbounded", assumption=assumption, terms=terms)
        wald = fit.wald()
        return Result(
            method=self.method,
            model=name,
            n_hat=fit.n_hat,
            lower=profile.lower,
            upper=profile.upper,
            interval="multinomial profile likelihood, conditional on the model",
            assumption=assumption,
            details={
                "profile_maximum": profile.n_hat,
                "wald_lower": wald[0],
                "wald_upper": wald[1],
                "se": fit.se_n_hat,
                "deviance": fit.deviance,
                "aic": fit.aic,
                "bic": fit.bic,
            },
            terms=terms,
        )


@dataclass(frozen=True)
class Independence:
    """The log-linear model without interactions, but for pairs of lists that are known to refer people to each other.

    Parameters
    ----------
    referrals
        Pairs of list names that are forced into the model.

    Assumptions
    -----------
    Apart from the referrals, being on one list makes no other more or less likely. Where this fails, lists
    mostly depend positively and the estimate is too low.
    """

    referrals: tuple[tuple[str, str], ...] = ()

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of at least two lists; two that refer to each other leave nothing to go by."""
        if any(set(pair) == set(table.lists) for pair in self.referrals):
            return refused("independence", "", "start-not-estimable")
        result = LogLinear(self.referrals, method="independence").fit(table)
        # This model is where selection starts: a failure here has its own remedy.
        return replace(result, status="start-not-estimable") if result.status == "model-not-estimable" else result
