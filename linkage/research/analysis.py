"""What the analyst sees, in the enclave: a verdict and everything that stands beside it. Confidential, never released.

Facts, person map and draws go in; a verdict comes out, with what each family of assumptions says on the map and over
the draws, how far the number moves with what cannot be tested, what errors of the linkage do to it, the same by stratum
and year, and, where the site gives populations, per 1,000. All counts in it are exact. What may leave is made by
:mod:`linkage.research.release` and by nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from linkage import __version__
from linkage.contract.agreement import ReleasePolicy
from linkage.errors import EstimateError
from linkage.research import histories
from linkage.research.analysis_parts import Dimension, RateRange, Years, rate_range
from linkage.research.analysis_strata import DIMENSIONS, Counted, Effort, by_stratum, by_year
from linkage.research.draws import by_record, converged, effective_draws, number_of_draws, spread, take, usable
from linkage.research.estimate import (
    Diagnostics,
    HistoryTable,
    Report,
    Result,
    assumption_text,
    cross_check,
    diagnostics,
    draw_tables,
    estimate,
    parse_histories,
)
from linkage.research.estimate.families import HEADLINE
from linkage.research.estimate.omission import drop_empty
from linkage.research.estimate.pooled import PooledResult
from linkage.research.release import in_scope, scoped_persons

__all__ = ["CONFIDENTIAL", "Analysis", "Check", "Effort", "Family", "analyse"]

CONFIDENTIAL = "confidential: exact counts, not for release"
"""What stands at the head of everything that is written here."""


@dataclass(frozen=True, eq=False)
class Family:
    """What one method says: on the map's table, and over the draws where it went through them.

    Attributes
    ----------
    headline
        Whether its interval is in the verdict's range.
    """

    on_map: Result
    over_draws: PooledResult | None
    headline: bool

    @property
    def best(self) -> Result:
        """The result over the draws where there is one."""
        return self.on_map if self.over_draws is None else self.over_draws.result

    def to_dict(self, *, withhold: bool) -> dict[str, object]:
        """Give plain values for JSON."""
        pooled = self.over_draws
        shown = pooled is not None and not withhold
        return {
            "method": self.on_map.method,
            "headline": self.headline,
            "assumption": assumption_text(self.best, withhold=withhold),
            "on_map": self.on_map.to_dict(withhold=withhold),
            "over_draws": None if pooled is None else pooled.to_dict(withhold=withhold),
            "width_from_linkage": pooled.width_share if pooled is not None and shown else None,
            "variance_from_linkage": pooled.linkage_share if pooled is not None and shown else None,
        }


@dataclass(frozen=True)
class Check:
    """The estimate put right for the error rates that the hub expects; without results ``words`` say why."""

    results: tuple[Result, ...]
    words: str = ""

    def to_dict(self, *, withhold: bool) -> dict[str, object]:
        """Give plain values for JSON."""
        return {"results": [result.to_dict(withhold=withhold) for result in self.results], "why_none": self.words}


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything that the analyst sees. Exact counts: confidential.

    Where the verdict is a refusal, counts stay and no estimate is in :meth:`to_dict`.

    Attributes
    ----------
    title, month, scope
        Of the release policy; of the run.
    report, diagnostics, check
        Of everybody.
    draws, draws_there
        Partition draws that were used, of how many.
    dimensions, years
        The same by stratum and by year; empty and ``None`` where the verdict is a refusal.
    rate
        The verdict's range per 1,000; ``None`` without populations.
    notes
        What the reader should know besides.
    """

    title: str
    month: str
    scope: Mapping[str, Any]
    report: Report
    diagnostics: Diagnostics
    check: Check
    draws: int
    draws_there: int
    dimensions: tuple[Dimension, ...]
    years: Years | None
    rate: RateRange | None
    notes: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether no number is given."""
        return self.report.verdict.status == "refused"

    @property
    def alarms(self) -> tuple[str, ...]:
        """What speaks against the number beside which it stands: methods that go wrong on numbers that are known."""
        return () if self.refused else tuple(panel.alarm for panel in self.diagnostics.panels if panel.alarm)

    @property
    def families(self) -> tuple[Family, ...]:
        """Every method, on the map and over the draws."""
        pooled = {result.result.method: result for result in self.report.pooled}
        return tuple(Family(r, pooled.get(r.method), r.method in HEADLINE) for r in self.report.results)

    @property
    def combinations(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Lists, and how many people are on exactly these; the frequent first."""
        table = self.report.table
        found = [
            (tuple(name for place, name in enumerate(table.lists) if cell >> place & 1), int(count))
            for cell, count in enumerate(table.counts.tolist(), start=1)
            if count
        ]
        return tuple(sorted(found, key=lambda row: -row[1]))

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain values for JSON: no NaN, no infinity, no single draw, nothing of a person."""
        withhold = self.refused
        report = self.report.to_dict()
        plain: dict[str, Any] = _plain(
            {
                "analysis": 1,
                "confidential": CONFIDENTIAL,
                "tool_version": __version__,
                "title": self.title,
                "month": self.month,
                "scope": dict(self.scope),
                "lists": list(self.report.table.lists),
                "referrals": report["referrals"],
                "verdict": report["verdict"],
                "alarms": list(self.alarms),
                "per_1000": None if self.rate is None else self.rate.to_dict(),
                "partition_draws": {"used": self.draws, "there": self.draws_there},
                "families": [family.to_dict(withhold=withhold) for family in self.families],
                "histories": [{"lists": list(lists), "count": count} for lists, count in self.combinations],
                "diagnostics": self.diagnostics.to_dict(withhold=withhold),
                "linkage_check": self.check.to_dict(withhold=withhold),
                "strata": [found.to_dict() for found in self.dimensions],
                "series": None if self.years is None else self.years.to_dict(),
                "notes": list(self.notes),
            }
        )
        return plain


def analyse(
    facts: Mapping[str, pl.DataFrame],
    person_map: pl.DataFrame,
    *,
    month: str,
    draws: pl.DataFrame,
    quality: Mapping[str, Any],
    policy: ReleasePolicy,
    referrals: Sequence[tuple[str, str]] = (),
    denominators: pl.DataFrame | None = None,
    effort: Effort | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Analysis:
    """Make everything that the analyst sees of one run.

    Parameters
    ----------
    facts, person_map, draws, quality
        As :func:`linkage.research.inputs.open_inputs` opens them; whether they may be used is the caller's to check
        (:func:`linkage.research.release.check_permitted`). Draws that are not usable
        (:func:`linkage.research.draws.usable`) are not used.
    month
        Of the run.
    policy
        Lists and scope.
    referrals
        Lists that refer people to each other (:func:`linkage.research.release.referrals`).
    denominators
        Populations (:func:`linkage.research.estimate.read_denominators`).
    effort
        How much time is given to what takes time.
    progress
        Told in words what is being done.

    Raises
    ------
    EstimateError
        ``no-persons``: nobody is in scope. ``map-mismatch``: facts and person map are not of the same records.
    """
    effort = effort or Effort()
    progress("counting persons, on the map and in the draws")
    counted, notes = _counted(facts, person_map, draws, quality, policy, tuple(referrals), effort)
    table = parse_histories(counted.on_map(), lists=counted.lists).pooled
    drawn = draw_tables(counted.in_draws(), counted.lists, number=counted.number).get((), ()) if counted.number else ()
    progress("estimating: all families, over the draws, and the methods that take their time")
    worth, name = counted.effective, counted.partitions
    report = estimate(
        table,
        referrals=counted.referrals,
        resamples=effort.resamples,
        slow=effort.chains,
        draws=drawn,
        effective=worth,
        partitions=name,
    )
    progress("what the number hangs on")
    beside = diagnostics(table, referrals=counted.referrals)
    check = _check(table, quality, counted.referrals)
    over = range(int(policy.scope.first_month[:4]), int(policy.scope.last_month[:4]) + 1)
    dimensions: list[Dimension] = []
    years = None
    if report.verdict.status == "estimated":
        parts = counted.for_parts(effort)
        if parts.number < counted.number:
            notes.append(f"strata and years use {parts.number} of the {counted.number} draws, for the time it takes")
        for by in DIMENSIONS:
            progress(f"by {by}")
            dimensions.append(by_stratum(parts, by, effort, denominators, over, report))
        progress("by year")
        years = by_year(parts, effort, denominators, over, report)
    else:
        notes.append("strata and years are not estimated, since nothing can be said of everybody")
    return Analysis(
        policy.title,
        month,
        policy.scope.model_dump(),
        report,
        beside,
        check,
        counted.number,
        number_of_draws(draws),
        tuple(dimensions),
        years,
        rate_range(report, denominators, over, {}, counted.having(denominators)),
        (*notes, *report.notes),
    )


def _counted(
    facts: Mapping[str, pl.DataFrame],
    person_map: pl.DataFrame,
    draws: pl.DataFrame,
    quality: Mapping[str, Any],
    policy: ReleasePolicy,
    referrals: tuple[tuple[str, str], ...],
    effort: Effort,
) -> tuple[Counted, list[str]]:
    people = scoped_persons(facts, person_map, policy)
    if not people.height:
        hint = "check period, ages and jurisdiction of the release policy"
        raise EstimateError("nobody is on the lists in this scope", reason="no-persons", hint=hint)
    events = in_scope(histories.stack(facts, by_record(person_map)), policy.scope)
    there = number_of_draws(draws)
    places = spread(there, len(policy.lists), most=effort.draws)
    places = places if usable(quality, len(places)) else []
    used, number = take(draws, places), len(places)
    notes = []
    if not there:
        notes.append("the person map holds no partition draws: intervals do not hold what linkage does not know")
    elif not converged(quality):
        notes.append("the chains of the linkage did not agree, so its draws are not used: intervals are without it")
    elif not number:
        notes.append(
            "the partition draws are worth fewer than two independent ones, so they are not used: intervals do not hold"
            " what linkage does not know; let its chains run longer, or draw more partitions"
        )
    elif number < there:
        notes.append(f"of {there} partition draws {number} are used, evenly spread, for the time it takes")
    name = hashlib.sha256(np.ascontiguousarray(used.to_numpy()).tobytes()).hexdigest()
    lists, worth = tuple(policy.lists), effective_draws(quality, there)
    return Counted(people, events, person_map, used, number, lists, referrals, worth, name), notes


def _check(table: HistoryTable, quality: Mapping[str, Any], referrals: Sequence[tuple[str, str]]) -> Check:
    """Put the hub's expected errors right, on the lists that anybody is on."""
    reduced, _ = drop_empty(table)
    if reduced.t < 2:
        return Check((), "it needs two lists with people on them")
    known = tuple(pair for pair in referrals if set(pair) <= set(reduced.lists))
    try:
        return Check(cross_check(reduced, quality, interactions=known))
    except EstimateError as error:
        if error.reason != "no-quality":
            raise
        return Check((), error.message)


def _plain(value: Any) -> Any:
    """Give a value as JSON has it: tuples as lists, what is not a finite number as none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
