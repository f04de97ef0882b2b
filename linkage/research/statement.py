"""What of an estimate and of the linkage's quality may be said in public.

An estimate is a function of counts. Rounding does not hide them: Chao's bound with 400 persons seen once moves by
hundreds when the number seen twice changes by one. So a method's own numbers are printed only where every count that
they are made of (its sufficient statistics) is itself published, and then they tell nothing that the tables do not;
:func:`known` asks the protection of the tables to spare those counts. The range over all families depends on all
capture histories; it is printed so coarsely that it gives no withheld count back (:mod:`linkage.research.coarsen`).
Where that cannot be had the verdict is a refusal, under a code that does not tell this from an overlap that is too
small. Whether the families agree is not said: it would be one more thing that only some tables have, and the width of
the range shows it.

Which families make the range hangs on the number of lists alone, and so does which draws are used. Which counts the
protection spares hangs on the tables (:func:`worth_sparing`), so that the pattern of withheld cells is the same
whatever becomes of the estimate.

The stepwise method chooses its pairs by all overlaps, and its interval is resampled from all histories, with a seed
that they give. So its number is printed only where nothing in ``systems`` and ``overlaps`` is withheld, and its
interval only where these give every history too (:func:`everything_known`), which is so for three lists and hardly ever
for more.

Left over: how coarse the rounding of the range is, whether a range that must be coarser than the number unseen is
refused, and which cells are withheld beside the small ones, are found from the true counts. One who knows this very
program can run it on every table that agrees with what is published and strike those out for which it would have
printed something else. Where only few tables agree - small populations, low floors - that can leave a single one, and
so a withheld count to the last person; of larger populations and floors more are left (:mod:`linkage.research.coarsen`,
:mod:`linkage.research.disclosure.protect`). The sizes of lists are spared where that can be: one that is withheld is
more often than not small itself.

Numbers of links are never printed: between two sources that have no repeats they are the overlap. Sizes of clusters
are the systems table. The people who are on a list are often all its records but a few. So numbers of records are
rounded up, to more than the floor and to more than the persons published by as much, and there is none for a list whose
size is withheld: it would bound that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.exchange import BatchManifest
from linkage.research.bundle import (
    EstimateEntry,
    GroupEntry,
    LinkageEntry,
    MeasuredEntry,
    MethodEntry,
    PairEntry,
    Rate,
    SourceEntry,
)
from linkage.research.coarsen import outwards, printed_range
from linkage.research.disclosure import ProtectedTable, round_estimate
from linkage.research.draws import converged
from linkage.research.estimate import Report, Result
from linkage.research.estimate.families import HEADLINE, NOT_OFFERED
from linkage.research.headline import Headline
from linkage.research.tables import TOTAL, Grid, Table

__all__ = [
    "ON_MAP",
    "OVER_DRAWS",
    "STATED",
    "TOO_WEAK",
    "Place",
    "estimate_entry",
    "everything_known",
    "families_of",
    "known",
    "linkage_entry",
    "places",
    "source_entries",
    "worth_sparing",
]

Place = tuple[str, tuple[str, ...]]
"""A table and a value in each of its dimensions."""

STATED = ("chao", "chao-few-lists", "independence", "stepwise", "zelterman")
"""Methods whose own numbers a release can print; the others are in the range alone."""

ON_MAP, OVER_DRAWS = "range-on-map", "range-over-draws"
"""Reason of an estimate: what the range runs over besides the families of assumptions."""

_WORDS = {
    ON_MAP: "the range covers the 95% intervals of all families of assumptions offered for so many lists",
    OVER_DRAWS: "the range covers the 95% intervals of all families of assumptions offered for so many lists, over the "
    "linkage's partition draws",
}
TOO_WEAK = "overlap-too-weak"
_TOO_WEAK = (
    "the lists share too few people, or share them too unevenly, for a number to be defended, or to be printed without "
    "giving away a count that must be withheld",
    "add a source, widen the period or the area, or use the deduplicated count alone",
)
# The one exact reason that zeros in the overlaps, which are always published, show anyway. Any other, such as "fewer
# than ten people on two lists", would bound a withheld count: all of them go under one code.
_VISIBLE_REASONS = frozenset({"too-few-lists"})


def families_of(report: Report) -> tuple[str, ...]:
    """Return the methods whose intervals make the range: those that are offered for so many lists."""
    return tuple(r.method for r in report.results if r.method in HEADLINE and r.status not in NOT_OFFERED)


def places(report: Report) -> dict[str, tuple[Place, ...]]:
    """Return, for each method of :data:`STATED`, the cells that its estimate is a function of."""
    lists = [name for name, total in zip(report.table.lists, report.table.totals, strict=True) if total > 0]
    forced = [pair for pair in report.referrals if set(pair) <= set(lists)]
    found: dict[str, tuple[Place, ...]] = {}
    for result in _stated(report):
        if result.method == "independence":
            found[result.method] = (*_sizes(lists), *[("overlaps", pair) for pair in forced])
        elif result.method == "stepwise":
            found[result.method] = _everything(report.table.lists)
        else:
            found[result.method] = _frequencies(report.table.lists)
    return found


def _everything(lists: Sequence[str]) -> tuple[Place, ...]:
    """Return all of both tables: which pairs are chosen depends on every overlap."""
    pairs: tuple[Place, ...] = tuple(("overlaps", pair) for pair in combinations(lists, 2))
    return (*_sizes(lists), *pairs, *[("systems", (str(size),)) for size in range(1, len(lists) + 1)])


def _sizes(lists: Sequence[str]) -> tuple[Place, ...]:
    return (("systems", (TOTAL,)), *(("overlaps", (name, TOTAL)) for name in lists))


def _frequencies(lists: Sequence[str]) -> tuple[Place, ...]:
    return (("systems", (TOTAL,)), *(("systems", (str(size),)) for size in range(1, min(len(lists), 2) + 1)))


def worth_sparing(
    tables: Sequence[Table], lists: Sequence[str], referrals: Sequence[tuple[str, str]], floor: int
) -> list[tuple[Place, ...]]:
    """Return the counts that estimates are made of: what to spare, where that cannot be what next, and so on.

    Which models the data choose and whether there is an estimate at all has no part in it. So what is withheld is a
    function of the tables alone, and says nothing of why an estimate is refused. Overlaps without a referral are not
    spared: the more of them are published, the fewer histories fit, and the coarser the range must be.

    Parameters
    ----------
    tables
        True counts, ``systems`` among them.
    lists, referrals
        Of the policy, in its order; of the agreements.
    floor
        Of the release.
    """
    pairs: tuple[Place, ...] = tuple(("overlaps", pair) for pair in referrals)
    sizes, frequencies = (*_sizes(lists), *pairs), _frequencies(lists)
    # List sizes and the numbers seen once and twice give those seen more often: a small one rules the two out.
    systems = next(table for table in tables if table.name == "systems").frame.get_column("count")
    with_frequencies = [] if systems.is_between(1, floor - 1).any() else [(*sizes, *frequencies)]
    return [*with_frequencies, sizes, ()]


def _stated(report: Report) -> list[Result]:
    return [result for result in report.results if result.method in STATED]


def known(tables: Sequence[Table], wanted: Iterable[Place], floor: int) -> ProtectedTable:
    """Write counts as a table of things already known, so that the protection leaves them and covers others.

    Parameters
    ----------
    tables
        True counts.
    wanted
        Cells of ``systems`` and ``overlaps``; those below the floor are passed over, zeros are not.
    floor
        Of the release.
    """
    by_name = {table.name: table for table in tables}
    atoms: dict[str, tuple[str, ...]] = {}
    counts: list[int] = []
    for name, values in dict.fromkeys(wanted):
        table = by_name[name]
        count = _count(table, values)
        conditions = [table.condition(d, v) for d, v in zip(table.dimensions, values, strict=True) if v != TOTAL]
        if count is None or not conditions or 0 < count < floor:
            continue
        common = set.intersection(*(set(condition["lists"]) for condition in conditions))
        atoms[f"{name} {' '.join(values)}"] = tuple(sorted(common))
        counts.append(count)
    frame = pl.DataFrame(
        {"statistic": [*atoms, TOTAL], "count": [*counts, _count(by_name["systems"], (TOTAL,))]},
        schema={"statistic": pl.String, "count": pl.Int64},
    )
    meaning = {"statistic": {label: {"lists": patterns} for label, patterns in atoms.items()}}
    domains = {"lists": by_name["systems"].domains["lists"]}
    return ProtectedTable("statistics", "Counts that the estimates need", ("statistic",), frame, meaning, domains)


def _count(table: Grid, values: Sequence[str]) -> int | None:
    """Read one cell; None where it is withheld."""
    conditions = [pl.col(d) == v for d, v in zip(table.dimensions, values, strict=True)]
    count: int | None = table.frame.filter(*conditions).get_column("count").item()
    return count


def everything_known(tables: Sequence[ProtectedTable]) -> bool:
    """Tell whether ``systems`` and ``overlaps`` are published whole and give every capture history.

    They do where their cells, as sums of histories, leave none undetermined: on three lists, and on more where zeros
    rule enough histories out.
    """
    atoms: list[str] = []
    rows, counts = [], []
    for table in (table for table in tables if table.name in ("systems", "overlaps")):
        atoms = atoms or list(table.domains["lists"])
        for *values, count in table.frame.select(*table.dimensions, "count").iter_rows():
            kept = set(atoms)
            for dimension, value in zip(table.dimensions, values, strict=True):
                kept &= set(atoms if value == TOTAL else table.condition(dimension, value)["lists"])
            rows.append([atom in kept for atom in atoms])
            counts.append(count)
    if None in counts:
        return False
    sums = np.array(rows)
    nobody = sums[np.array(counts) == 0].any(axis=0)
    left = sums[:, ~nobody].astype(np.float64)
    return bool(np.linalg.matrix_rank(left) == left.shape[1])


def estimate_entry(
    report: Report, tables: Sequence[Table], protected: Sequence[ProtectedTable], *, floor: int, base: int
) -> EstimateEntry:
    """Say of the estimate what may be said.

    Parameters
    ----------
    report
        As the estimators gave it: exact, confidential.
    tables, protected
        All tables, true and protected, ``systems`` and ``overlaps`` among them.
    floor
        Of the release.
    base
        Points are rounded to it, ends of intervals outwards; never below the number of persons counted. The range is
        rounded to a multiple of it where it must be.
    """
    by_name = {table.name: table for table in protected}
    n = _count(by_name["systems"], (TOTAL,))
    printed = None
    if report.verdict.status == "estimated" and n is not None:
        headline = Headline(report)
        printed = printed_range(headline, report.table, tables, protected, floor=floor, base=base, like=headline.like)
    if printed is None or n is None:
        return _refusal(report, base)
    reason = OVER_DRAWS if report.pooled else ON_MAP
    public = {
        method: all(_count(by_name[name], values) is not None for name, values in cells)
        for method, cells in places(report).items()
    }
    resampled = everything_known(protected)
    return EstimateEntry(
        status="estimated",
        reason=reason,
        words=_WORDS[reason],
        remedy="",
        low=printed.low,
        high=printed.high,
        rounded_to=base,
        range_rounded_to=max(printed.bases),
        families=families_of(report),
        referrals=report.referrals,
        methods=tuple(
            _method(r, show=public[r.method], ends=resampled or r.method != "stepwise", b=base, n=n)
            for r in _stated(report)
        ),
    )


def _refusal(report: Report, base: int) -> EstimateEntry:
    """Refuse; the methods' entries are the same for whatever it was, since why would bound counts."""
    reason, (words, remedy) = TOO_WEAK, _TOO_WEAK
    if report.verdict.reason in _VISIBLE_REASONS:
        reason, words, remedy = report.verdict.reason, report.verdict.words, report.verdict.remedy
    return EstimateEntry(
        status="refused",
        reason=reason,
        words=words,
        remedy=remedy,
        low=None,
        high=None,
        rounded_to=base,
        range_rounded_to=base,
        families=(),
        referrals=report.referrals,
        methods=tuple(_unsaid(result.method, reason) for result in _stated(report)),
    )


def _unsaid(method: str, reason: str) -> MethodEntry:
    """Write a method of a refused release: nothing but its name."""
    return MethodEntry(
        method=method, model="", n_hat=None, lower=None, upper=None, status=reason, interval="", assumption=""
    )


def _method(result: Result, *, show: bool, ends: bool, b: int, n: int) -> MethodEntry:
    """Write one method: its number, model and the pairs of lists that it names if shown, its interval if ends are."""
    model, assumption = result.model, result.assumption
    if result.method == "stepwise" and not show:
        model = "pairs of lists that the data choose"
        assumption = "lists depend on each other only in pairs and only so as the data choose"
    shown = show and result.ok and result.n_hat is not None
    lower, upper = outwards(result.lower, result.upper, (b, b), n) if shown and ends else (None, None)
    if result.ok:
        status = "ok" if shown else "withheld"
    else:
        status = result.status if result.status in _VISIBLE_REASONS else TOO_WEAK
    return MethodEntry(
        method=result.method,
        model=model,
        n_hat=max(round_estimate(result.n_hat, base=b), n) if shown and result.n_hat is not None else None,
        lower=lower,
        upper=upper,
        status=status,
        interval=result.interval if shown and ends else "",
        assumption=assumption,
    )


def linkage_entry(
    quality: Mapping[str, Any],
    manifests: Mapping[str, BatchManifest],
    tables: Sequence[ProtectedTable],
    agreements: Mapping[str, Agreement],
    records_base: int,
    *,
    groups: Sequence[GroupEntry] = (),
    measured: MeasuredEntry | None = None,
) -> LinkageEntry:
    """Say of the linkage what may be said: rates, and no number of links.

    Rates between two sources are given where the overlap of their lists is published; those of groups and of test
    persons come from :mod:`linkage.research.linkage_quality`. Expected rates are means over the draws, and none is
    given where the chains did not agree on these.
    """
    agreed_on = converged(quality)
    overlaps = next(table for table in tables if table.name == "overlaps")
    by_sources = []
    for entry in quality.get("by_sources", ()) if agreed_on else ():
        one, other = entry["sources"]
        if one != other and {one, other} <= set(manifests) and _count(overlaps, (one, other)):
            rates = {name: _rate(entry.get(name)) for name in ("precision", "recall")}
            by_sources.append(PairEntry(sources=(one, other), **rates))
    first = next(iter(manifests.values()))
    return LinkageEntry(
        profile=", ".join(sorted({agreement.profile for agreement in agreements.values()})),
        spec_digest=first.spec_digest,
        rules_version=first.rules_version,
        epoch=first.epoch,
        records_rounded_to=records_base,
        precision=_rate(quality.get("precision")) if agreed_on else None,
        recall=_rate(quality.get("recall")) if agreed_on else None,
        by_sources=tuple(by_sources),
        by_group=tuple(groups),
        measured=measured,
        withheld="" if agreed_on else "not-converged",
    )


def _rate(rate: Mapping[str, float] | None) -> Rate | None:
    """Round a rate to two digits, its interval outwards."""
    if rate is None:
        return None
    return Rate(
        value=round(rate["value"], 2),
        low=math.floor(rate["low"] * 100) / 100,
        high=min(1.0, math.ceil(rate["high"] * 100) / 100),
    )


def records_base(floor: int) -> int:
    """Return the base to which numbers of records are rounded: the least multiple of ten not below the floor."""
    return math.ceil(floor / 10) * 10


def source_entries(
    policy: ReleasePolicy,
    agreements: Mapping[str, Agreement],
    manifests: Mapping[str, BatchManifest],
    facts: Mapping[str, pl.DataFrame],
    tables: Sequence[ProtectedTable],
    floor: int,
) -> tuple[SourceEntry, ...]:
    """Write where each list comes from, in the order of the policy; each record has facts, by which it is counted."""
    overlaps = next(table for table in tables if table.name == "overlaps")
    real = {name: facts[name].filter(~pl.col("decoy"))["pseudonym"].n_unique() for name in policy.lists}
    return tuple(
        SourceEntry(
            source=name,
            title=agreements[name].title,
            legal_basis=agreements[name].legal_basis,
            authority=agreements[name].authority,
            mode=agreements[name].mode,
            floor=agreements[name].floor,
            starts=agreements[name].starts.isoformat(),
            ends=agreements[name].ends.isoformat(),
            refers_to=agreements[name].refers_to,
            records_about=_records_about(real[name], _count(overlaps, (name, TOTAL)), floor),
            deduplicated=manifests[name].deduplicated,
            batch_month=manifests[name].month,
            tool_version=manifests[name].tool_version,
        )
        for name in policy.lists
    )


def _records_about(records: int, persons: int | None, floor: int) -> int | None:
    """Round a number of records up, so far that fewer out of scope than the floor look like any other so few."""
    if persons is None:
        return None
    base = records_base(floor)
    return math.ceil(max(records, persons + floor - 1) / base) * base
