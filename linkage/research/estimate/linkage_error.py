"""What errors of the linkage do to an estimate, put right from error rates: a cross-check beside the partition draws.

Missed links take people off the overlap and raise the estimate, false links lower it. With a the chance that a true
match is linked, b the chance that a record without one is linked all the same, m* links from a list of n_A records to
one of n_B, and N = n_A n_B / m:

- Ding & Fienberg (1994, Survey Methodology 20:149): E m* = a m + b (n_A - m), so m = (m* - b n_A) / (a - b);
- Di Consiglio & Tuoto (2015, JOS 31:415) let a missed match be falsely linked too: E m* = a m + b (n_A - a m), so
  m = (m* - b n_A) / (a (1 - b)).

For more lists see :mod:`linkage.research.estimate.composite`.

Error rates are taken as known: no interval here holds their own uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import nnls

from linkage.errors import EstimateError
from linkage.research.estimate.composite import CompositeLink
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["PairRates", "TwoListCorrection", "cross_check", "orphaning", "pair_rates"]

_MOST_WITHOUT = 0.05
_LEVELS = (0.025, 0.975)

Mechanism = Literal["ding-fienberg", "di-consiglio-tuoto"]


# --- error rates


@dataclass(frozen=True)
class PairRates:
    """Error rates of the links between two lists.

    Attributes
    ----------
    sources
        The two lists; the first is linked to the second.
    recall
        a: chance that a true match is linked.
    false_link
        b: chance that a record of the first list without a match is linked, as Ding and Fienberg have it.
    false_link_any
        b as Di Consiglio and Tuoto have it: of a record whose match is missing or missed.
    matches
        Expected true matches.
    """

    sources: tuple[str, str]
    recall: float
    false_link: float
    false_link_any: float
    matches: float


def _rate(entry: Mapping[str, Any], name: str) -> float | None:
    value = (entry.get(name) or {}).get("value")
    return float(value) if isinstance(value, int | float) and 0 < value <= 1 else None


def pair_rates(quality: Mapping[str, Any], lists: Sequence[str]) -> tuple[PairRates, ...]:
    """Read error rates by pair of lists from what a person map says of its quality.

    Pairs without links or matches, of which nothing is said, are left out.

    Parameters
    ----------
    quality
        As the hub writes it: ``records`` by source, and ``by_sources`` with ``sources``, ``links``,
        ``expected_matches``, ``precision`` and ``recall``.
    lists
        The lists of the table, in order.

    Raises
    ------
    EstimateError
        ``no-quality``: the map says nothing of the links between these lists.
    """
    found: dict[tuple[int, int], PairRates] = {}
    for entry in quality.get("by_sources") or ():
        one, other = entry["sources"]
        recall, precision = _rate(entry, "recall"), _rate(entry, "precision")
        if one == other or not {one, other} <= set(lists) or recall is None or precision is None:
            continue
        key = tuple(sorted((lists.index(one), lists.index(other))))
        first, second = (lists[place] for place in key)
        matches, wrong = float(entry["expected_matches"]), float(entry["links"]) * (1 - precision)
        records = float(quality["records"][first])
        alone, unlinked = max(records - matches, 1.0), max(records - recall * matches, 1.0)
        rates = PairRates((first, second), recall, min(wrong / alone, 1.0), min(wrong / unlinked, 1.0), matches)
        found[key[0], key[1]] = rates
    if not found:
        raise EstimateError("the person map says nothing of links between these lists", reason="no-quality")
    return tuple(rates for _, rates in sorted(found.items()))


def orphaning(rates: Sequence[PairRates], lists: Sequence[str]) -> dict[str, float]:
    """Give each list's probability that a record is parted from its person.

    Two records stay together if neither is orphaned, so -log recall is the sum of two lists' rates: least squares with
    the expected matches as weights, no rate negative.

    Raises
    ------
    EstimateError
        ``no-quality``: of a list nothing is said.
    """
    known = {name for pair in rates for name in pair.sources}
    if known != set(lists):
        raise EstimateError("the person map says nothing of the links of a list", reason="no-quality")
    weights = np.sqrt(np.maximum([pair.matches for pair in rates], 1e-6))
    rows = np.array([[float(name in pair.sources) for name in lists] for pair in rates])
    solved = nnls(rows * weights[:, None], -np.log([pair.recall for pair in rates]) * weights)[0]
    return dict(zip(lists, (-np.expm1(-solved)).tolist(), strict=True))


# --- two lists


@dataclass(frozen=True)
class TwoListCorrection:
    """Lincoln-Petersen with the overlap put right for known error rates.

    Parameters
    ----------
    recall, false_link
        a and b of the module's formulas; a > b.
    mechanism
        Whose formula.
    resamples
        Bootstrap tables for interval and draws.
    seed
        Seed of the resampling; without it the seed comes from the table.

    Assumptions
    -----------
    The lists are independent; each list has a person once; the error rates are right and the same for everybody.

    Attributes
    ----------
    The interval is the percentile bootstrap's over people, the error rates as given.
    """

    recall: float
    false_link: float
    mechanism: Mechanism = "ding-fienberg"
    resamples: int = 1000
    seed: int | None = None

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of two lists, counts as they are after linkage.

        Raises
        ------
        EstimateError
            ``bad-parameter``; ``bad-histories`` for more or fewer than two lists.
        """
        if not 0 < self.recall <= 1 or not 0 <= self.false_link < self.recall or self.resamples < 1:
            raise EstimateError("rates must be chances, with more links found than made up", reason="bad-parameter")
        if self.mechanism not in ("ding-fienberg", "di-consiglio-tuoto"):
            raise EstimateError("there is no such correction", reason="bad-parameter")
        if table.t != 2:
            raise EstimateError("this correction is for two lists", reason="bad-histories")
        model = f"{table.lists[0]} linked to {table.lists[1]}"
        assumption = "the two lists are independent, and links err at the given rates for everybody alike"
        point = float(self.estimate(table.counts[None, :].astype(np.float64))[0])
        if table.overlap == 0 or not np.isfinite(point):
            return refused(self.mechanism, model, "linkage-too-weak", assumption=assumption)
        rng = np.random.default_rng(self.seed if self.seed is not None else int(table.digest[:16], 16))
        n = table.observed
        draws = self.estimate(rng.multinomial(n, table.counts / n, size=self.resamples).astype(np.float64))
        there = np.isfinite(draws)
        naive = float(table.totals[0]) * float(table.totals[1]) / table.overlap
        details: dict[str, float | int | str | None] = {
            "recall": self.recall,
            "false_link": self.false_link,
            "uncorrected": naive,
            "overlap": table.overlap,
            "corrected_overlap": float(table.totals[0]) * float(table.totals[1]) / point,
            "resamples_without_estimate": int((~there).sum()),
        }
        if (~there).sum() > _MOST_WITHOUT * self.resamples:
            reason = "resamples-without-estimate"
            return refused(self.mechanism, model, reason, assumption=assumption, details=details)
        low, high = np.quantile(draws[there], _LEVELS, method="median_unbiased")
        how = "percentile bootstrap, error rates as given"
        return Result(
            self.mechanism, model, point, float(low), float(high), "ok", how, assumption, details, (), draws[there]
        )

    def estimate(self, counts: Floats) -> Floats:
        """Estimate from counts on the first list alone, the second alone, both: shape ``(B, 3)``; NaN without one."""
        first, second, linked = counts[:, 0] + counts[:, 2], counts[:, 1] + counts[:, 2], counts[:, 2]
        a, b = self.recall, self.false_link
        scale = a - b if self.mechanism == "ding-fienberg" else a * (1 - b)
        matches = (linked - b * first) / scale
        # More matches than the shorter list is long is the noise of small lists: everybody on it is on the other.
        matches = np.minimum(matches, np.minimum(first, second))
        return np.asarray(np.divide(first * second, matches, out=np.full(len(counts), np.nan), where=matches > 0))


# --- all together


def cross_check(
    table: HistoryTable,
    quality: Mapping[str, Any],
    *,
    interactions: tuple[tuple[str, ...], ...] = (),
    resamples: int = 500,
) -> tuple[Result, ...]:
    """Put the errors right that a person map expects of itself.

    Returns
    -------
    tuple of Result
        For each pair of lists both two-list corrections, on the pair alone; for three lists and more the composite link
        last, with the interactions given. ``details`` have the uncorrected estimate beside it.

    Raises
    ------
    EstimateError
        ``no-quality``: the map says nothing of the links of a list.
    """
    rates = pair_rates(quality, table.lists)
    results: list[Result] = []
    for pair in rates:
        small = table
        for place in reversed(range(table.t)):
            if table.lists[place] not in pair.sources:
                small = small.without(place)
        chances: tuple[tuple[Mechanism, float], ...] = (
            ("ding-fienberg", pair.false_link),
            ("di-consiglio-tuoto", pair.false_link_any),
        )
        for mechanism, false_link in chances:
            if false_link >= pair.recall:
                results.append(refused(mechanism, f"{small.lists[0]} linked to {small.lists[1]}", "linkage-too-weak"))
                continue
            results.append(TwoListCorrection(pair.recall, false_link, mechanism, resamples).fit(small))
    if table.t > 2:
        results.append(CompositeLink(orphaning(rates, table.lists), interactions, resamples).fit(table))
    return tuple(results)
