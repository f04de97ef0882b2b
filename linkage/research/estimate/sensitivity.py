"""What the analyst sees beside an estimate: what it assumes, and how far it moves when the assumptions do.

:func:`assumption_text` says in plain words what must be true of the world; :func:`diagnostics` collects list sizes,
overlaps, two-list estimates, sensitivity curves, estimates without each list and with each two merged, and how the
estimators do on numbers that are known. Exact counts: confidential until protected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

from linkage.errors import EstimateError
from linkage.research.estimate.bounds import PairEstimate, pair_estimates
from linkage.research.estimate.consistency import Consistency, alarm, internal_consistency, summarise
from linkage.research.estimate.loglinear import Independence
from linkage.research.estimate.offset import (
    RATIOS,
    HighestOrderCurve,
    OddsRatioCurve,
    highest_order_curve,
    odds_ratio_curve,
)
from linkage.research.estimate.omission import (
    Estimator,
    Variant,
    drop_empty,
    fit_variant,
    leave_one_out,
    merge_pairs,
)
from linkage.research.estimate.result import REASONS, Result
from linkage.research.estimate.stepwise import Stepwise
from linkage.research.estimate.table import HistoryTable

__all__ = ["ALWAYS", "ASSUMPTIONS", "Diagnostics", "Panel", "assumption_text", "diagnostics", "model_words"]

_UNCHECKED = (
    "How the lists hang together must be no different among the people whom no list has, and nobody can check that."
)
_PAIRS = f"Two lists may share more or fewer people than chance would have it, where the data show it. {_UNCHECKED}"
_ALL_MODELS = f"Lists depend on each other in the way that fits the people whom somebody saw. {_UNCHECKED}"
_AVERAGED = f"Lists depend on each other in one of the ways that were averaged over. {_UNCHECKED}"
_TWO = "Of the two lists, being on one makes a person no more and no less likely to be on the other, and {}."
_FLOOR = (
    "This method gives a floor and no estimate: if lists act alike, there are at least about so many people. People "
    "who can be on no list at all are not counted. It takes no notice of which lists are known to refer people to each "
    "other."
)

ASSUMPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "independence": (
            "Being on one list makes a person no more and no less likely to be on any other, but for known referrals. "
            "Agencies that share clients break this, and then what it gives is usually too low."
        ),
        "stepwise": _PAIRS,
        "loglinear": f"Lists depend on each other only in the ways that are named here. {_UNCHECKED}",
        "all-models-bic": _ALL_MODELS,
        "all-models-aic": _ALL_MODELS,
        "averaged-bic": _AVERAGED,
        "averaged-aic": _AVERAGED,
        "decomposable-graphs": (
            f"Lists depend on each other in one of the simple patterns that were averaged over. {_UNCHECKED}"
        ),
        "latent-classes": (
            "People fall into kinds. Within a kind, being on one list makes no other more or less likely, and each "
            "kind is seen often enough that its hidden part can be worked out. People who can be on no list at all are "
            "not counted. Lists that share clients within a kind make what it gives too low."
        ),
        "thresholding": _PAIRS,
        "doubly-robust": (
            "Among people who are alike in what the records say of them, being on the one list makes the other no more "
            "and no less likely, and everybody has some chance to be on both."
        ),
        "composite-link": (
            f"Lists depend on each other only in the ways that are named here. {_UNCHECKED} How often one person's "
            "records are put together wrongly is known, and it is alike for everybody."
        ),
        "ding-fienberg": _TWO.format("the rates of missed and false links are known and alike for everybody"),
        "di-consiglio-tuoto": _TWO.format("the rates of missed and false links are known and alike for everybody"),
        "chao": _FLOOR,
        "chao-few-lists": _FLOOR,
        "zelterman": (
            "People who were seen once or twice are seen at one common rate, and those never seen share it. If some "
            "people are much harder to see than others, what it gives is wrong, and it can be far too high."
        ),
    }
)
"""What must be true for each method's number to be right, for a reader who is no statistician."""

_FLOORS = ("chao", "chao-few-lists")
_ONE_MODEL = ("independence", "stepwise", "loglinear", "all-models-bic", "all-models-aic", "composite-link")

ALWAYS = (
    "In every case: all lists are about the same place, period and kind of person; hardly anybody came or left in "
    "between; nobody is on a list by mistake; and the records of a person were put together correctly, or the error of "
    "that is counted in."
)
"""What every method assumes besides."""


def model_words(model: str) -> str:
    """Name a model with what an interaction of minus infinity says: of two lists, that nobody is on both."""
    return model.replace("(-inf)", " (nobody on both)")


def assumption_text(result: Result, *, withhold: bool = False) -> str:
    """Say in plain words what must be true of the world for a result to be right.

    A refusal says why there is no number first. A method without words of its own gives its ``assumption``. With
    ``withhold``, for a table whose verdict is a refusal, nothing is said of a number or a model that is not shown. A
    floor is said to be one and is right under no assumption of its own.
    """
    parts = []
    if not result.ok:
        reason = REASONS[result.status][0] if result.status in REASONS else result.status
        parts.append(f"No number is given: {reason}.")
    shown = result.ok and not withhold
    lead = "The number is right" if shown else "A number from this method would be right"
    words = ASSUMPTIONS.get(result.method)
    if words is None:
        told = result.assumption.strip().rstrip(".") or "the model that was used is true"
        words = f"{told[0].upper()}{told[1:]}."
    parts.append(words if result.method in _FLOORS else f"{lead} only if this holds. {words}")
    if result.terms and shown and result.method in _ONE_MODEL:
        parts.append(f"Dependence that the model allows for: {model_words(result.model)}.")
    parts.append(ALWAYS)
    return " ".join(parts)


@dataclass(frozen=True, eq=False)
class Panel:
    """One estimator on the whole table, on all tables with a list fewer, and on the numbers that are known."""

    result: Result
    left_out: tuple[Variant, ...]
    merges: tuple[Variant, ...]
    consistency: tuple[Consistency, ...]

    @property
    def alarm(self) -> str:
        """That the estimator goes wrong on numbers that are known; empty where it does not."""
        found = alarm(self.consistency)
        return f"known numbers, by {self.result.method}: {found}" if found else ""

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON; ``withhold`` takes the estimates out."""
        return {
            "result": self.result.to_dict(withhold=withhold),
            "assumption": assumption_text(self.result, withhold=withhold),
            "left_out": [row.to_dict(withhold=withhold) for row in self.left_out],
            "merges": [row.to_dict(withhold=withhold) for row in self.merges],
            "consistency": [row.to_dict(withhold=withhold) for row in self.consistency],
            "consistency_summary": {} if withhold else summarise(self.consistency),
            "consistency_alarm": "" if withhold else self.alarm,
        }


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """Everything that stands beside an estimate. Exact counts: confidential until protected.

    Attributes
    ----------
    lists, sizes
        Lists and people on each.
    empty
        Lists that nobody is on: left out of all that follows but the pairs.
    observed, frequencies
        People on at least one list; on exactly 1, 2, ..., t lists.
    pairs
        Overlap and two-list estimate of every pair.
    model
        The interactions in the first estimator's model, as bitmasks over the lists that are not empty.
    curves
        The number against every pair's odds ratio, in that model.
    highest_order
        The number against the interaction that joins all lists: in the saturated model where every history occurs,
        in the first estimator's model otherwise.
    panels
        One for each estimator.
    """

    lists: tuple[str, ...]
    sizes: tuple[int, ...]
    empty: tuple[str, ...]
    observed: int
    frequencies: tuple[int, ...]
    pairs: tuple[PairEstimate, ...]
    model: tuple[int, ...]
    curves: tuple[OddsRatioCurve, ...]
    highest_order: HighestOrderCurve
    panels: tuple[Panel, ...]

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON: no NaN and no infinity.

        With ``withhold``, for a table whose verdict is a refusal, counts stay and every estimate goes.
        """
        return {
            "observed": self.observed,
            "list_sizes": dict(zip(self.lists, self.sizes, strict=True)),
            "empty_lists": [*self.empty],
            "frequencies": [*self.frequencies],
            "pairs": [pair.to_dict(withhold=withhold) for pair in self.pairs],
            "odds_ratio_curves": [curve.to_dict(withhold=withhold) for curve in self.curves],
            "highest_order_curve": self.highest_order.to_dict(withhold=withhold),
            "estimators": [panel.to_dict(withhold=withhold) for panel in self.panels],
        }


def _panel(table: HistoryTable, estimator: Estimator) -> Panel:
    return Panel(
        fit_variant(table, estimator),
        leave_one_out(table, estimator),
        merge_pairs(table, estimator),
        internal_consistency(table, estimator),
    )


def diagnostics(
    table: HistoryTable,
    *,
    referrals: Sequence[tuple[str, str]] = (),
    estimators: Sequence[Estimator] | None = None,
    ratios: Sequence[float] = RATIOS,
) -> Diagnostics:
    """Collect what should stand beside an estimate by default.

    Parameters
    ----------
    table
        Any table; what cannot be estimated is named with its reason.
    referrals
        Pairs of lists that refer people to each other, in all models of the default estimators.
    estimators
        The first gives the model of the curves. By default the stepwise selection without its bootstrap, which is
        too slow to repeat for every list and pair, and independence.
    ratios
        Odds ratios of the curves.

    Raises
    ------
    EstimateError
        A ratio is not a positive number, or a referral names something other than two lists.
    """
    if not all(len(set(pair)) == 2 and set(pair) <= set(table.lists) for pair in referrals):
        raise EstimateError("a referral names something other than two lists", reason="unknown-list")
    whole, empty = drop_empty(table)
    if estimators is None:
        known = tuple((a, b) for a, b in referrals)
        estimators = (Stepwise(referrals=known, resamples=0), Independence(known))
    panels = tuple(_panel(whole, estimator) for estimator in estimators)
    terms = panels[0].result.terms if panels else ()
    curves = tuple(odds_ratio_curve(whole, terms, pair, ratios) for pair in combinations(whole.lists, 2))
    full = whole.t >= 2 and bool((whole.counts > 0).all())
    return Diagnostics(
        lists=table.lists,
        sizes=tuple(table.totals.tolist()),
        empty=empty,
        observed=table.observed,
        frequencies=tuple(table.frequencies.tolist()),
        pairs=pair_estimates(table),
        model=terms,
        curves=curves,
        highest_order=highest_order_curve(whole, None if full else terms),
        panels=panels,
    )
