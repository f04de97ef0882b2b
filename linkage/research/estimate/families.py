"""The families of assumptions that a verdict puts side by side, on one table or over all partition draws.

Each answers the question that the data leave open in another way: how visible people differ (Chao's bound in both
forms), that lists are independent, that they depend in the pairs which the data show (stepwise), that any of the
hierarchical models may hold (averages by BIC and by AIC), that dependence is that of a decomposable graph. None is
right: in populations made up to be like Milwaukee's, with people who differ and lists that depend, the narrow ones
miss the truth far more often than their intervals say, and the average by AIC hardly ever
(:mod:`linkage.lab.coverage`). So the range runs over all of them.

Beside them stand methods that are looked at and do not make the range: Zelterman's, and where they are asked for
latent classes and Bayesian thresholding, whose chains take their time and may not agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from linkage.research.estimate.averaging import Averaged
from linkage.research.estimate.bounds import Chao, Zelterman
from linkage.research.estimate.graphs import DecomposableGraphs
from linkage.research.estimate.latent import LatentClasses
from linkage.research.estimate.loglinear import Independence
from linkage.research.estimate.omission import drop_empty
from linkage.research.estimate.pooled import PooledResult, over_draws
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.stepwise import Stepwise
from linkage.research.estimate.table import HistoryTable
from linkage.research.estimate.thresholding import Thresholding

__all__ = ["AVERAGES", "BESIDE", "HEADLINE", "NOT_OFFERED", "SLOW", "beside", "families", "over_partitions"]

HEADLINE = (
    "chao",
    "chao-few-lists",
    "independence",
    "stepwise",
    "averaged-bic",
    "averaged-aic",
    "decomposable-graphs",
)
"""Methods whose intervals make the range of the verdict, in their order."""

BESIDE = ("zelterman",)
"""Methods that are shown beside them."""

SLOW = ("latent-classes", "thresholding")
"""Methods that are shown beside them where they are asked for."""

NOT_OFFERED = frozenset({"too-many-lists"})
"""Reasons for which a family takes no part in the range, and does not speak against a number either."""

AVERAGES = ("averaged-bic", "averaged-aic")
"""The families without which the range of the others is too narrow to stand: see :mod:`linkage.lab.coverage`."""

_FEWEST_LISTS = 3
_LEAST_RESAMPLES = 200  # of a draw
_EFFECTIVE = 100  # draws of a search over models, for each partition draw
Fit = Callable[[HistoryTable], Result]


def families(
    referrals: tuple[tuple[str, str], ...], resamples: int, seed: int | None, *, draws: int = 0
) -> Mapping[str, Fit]:
    """Return the estimators that make the range, by method.

    Over partition draws the resamples of the stepwise selection are shared out, but every draw gets 200 at least: a
    BCa interval (Efron 1987, J. Amer. Statist. Assoc. 82:171-185) takes its bias correction z0 from the share of
    resamples below the estimate and its ends from the outermost of them. With 40 a draw, z0 has a standard error of 0.2
    and each end of a draw's interval hangs on one resample; with 200, z0 has one of 0.09. On four lists that makes 45
    instead of 30 ms a draw. Resamples without an estimate are then judged over all draws together and not draw by draw,
    where one or two more than 5% of them would be chance. A search over models may be a thinner one for each draw,
    since what it leaves uncertain averages out over them.

    Parameters
    ----------
    referrals
        Pairs of lists whose dependence is in every log-linear model and in every graph. Chao's bounds hold none.
    resamples, seed
        Of the bootstrap, on all draws together; without a seed it follows from the table.
    draws
        Number of partition draws over which the results will be pooled; 0 for one table that stands for itself.
    """
    stepwise = Stepwise(referrals=referrals, resamples=resamples, seed=seed)
    bic, aic = Averaged("bic", referrals=referrals), Averaged("aic", referrals=referrals, order=3)
    if draws:
        stepwise = replace(stepwise, resamples=max(_LEAST_RESAMPLES, -(-resamples // draws)), most_without=1.0)
        bic, aic = replace(bic, effective=_EFFECTIVE), replace(aic, effective=_EFFECTIVE)
    return {
        "chao": Chao().fit,
        "chao-few-lists": Chao(few_lists=True).fit,
        "independence": Independence(referrals).fit,
        "stepwise": stepwise.fit,
        "averaged-bic": bic.fit,
        "averaged-aic": aic.fit,
        "decomposable-graphs": DecomposableGraphs(referrals=referrals).fit,
    }


def beside(referrals: tuple[tuple[str, str], ...], *, slow: bool) -> Mapping[str, Fit]:
    """Return the estimators that are shown beside the range, by method."""
    quick: dict[str, Fit] = {"zelterman": Zelterman().fit}
    if not slow:
        return quick
    return quick | {"latent-classes": LatentClasses().fit, "thresholding": Thresholding(referrals=referrals).fit}


def over_partitions(
    draws: Sequence[HistoryTable],
    referrals: tuple[tuple[str, str], ...],
    resamples: int,
    seed: int | None,
    *,
    offered: Sequence[str] = HEADLINE,
    effective: float | None = None,
    partitions: str | None = None,
) -> tuple[PooledResult, ...]:
    """Send every partition draw through every family that makes the range.

    Parameters
    ----------
    draws
        One table a draw.
    referrals, resamples, seed
        As for :func:`families`; of the resamples in all.
    offered
        The families that are offered for so many lists.
    effective, partitions
        As for :func:`linkage.research.estimate.pooled.over_draws`.

    Returns
    -------
    tuple of PooledResult
        In the order of :data:`HEADLINE`, of those that are offered.
    """

    def fit(family: str, table: HistoryTable) -> Result:
        there, _ = drop_empty(table)  # a list that nobody is on in this draw, though it has people in others
        if there.t < _FEWEST_LISTS:
            return refused(family, "", "too-few-lists")
        here = tuple(pair for pair in referrals if set(pair) <= set(there.lists))
        return families(here, resamples, seed, draws=len(draws))[family](there)

    pool = partial(over_draws, draws, effective=effective, partitions=partitions)
    return tuple(pool(partial(fit, family)) for family in HEADLINE if family in offered)
