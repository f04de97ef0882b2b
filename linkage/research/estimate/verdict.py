"""The verdict on a table: a range with its reasons, or a refusal with its reason. Never one model's interval alone.

The range runs from the least lower to the greatest upper end of the intervals of all families of assumptions
(:mod:`linkage.research.estimate.families`), since nothing in the data says which family is right; where partitions were
drawn from the linkage's posterior, of their intervals over all draws. Where families differ very much, so is the range:
it is no better than the families in it. A range without the averages over models would be of narrow families only,
which miss the truth too often (:mod:`linkage.lab.coverage`): then there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from linkage.errors import EstimateError
from linkage.research.estimate.bounds import PairEstimate, pair_estimates
from linkage.research.estimate.families import (
    AVERAGES,
    BESIDE,
    HEADLINE,
    NOT_OFFERED,
    SLOW,
    beside,
    families,
    over_partitions,
)
from linkage.research.estimate.lattice import name_term, pairs
from linkage.research.estimate.omission import drop_empty
from linkage.research.estimate.pooled import PooledResult
from linkage.research.estimate.result import REASONS, Result, refused
from linkage.research.estimate.table import Histories, HistoryTable, parse_histories

__all__ = ["AGREE_WITHIN", "LEAST_LISTS", "LEAST_OVERLAP", "Report", "StratumReport", "Verdict", "estimate", "judge"]

LEAST_LISTS = 3
LEAST_OVERLAP = 10
AGREE_WITHIN = 1.5
STUDIED_LISTS = 4
"""Lists up to which it was studied, through the whole road, how often the range holds the truth."""

_TOO_MANY = (
    "no average over models is offered for so many lists, and a range over the other families alone would be too narrow"
)

_UNSTUDIED = (
    "how often such a range holds the truth was studied for four lists; in made-up tables of more lists, whose people"
    " differ much in how visible they are, it held it less often (over six lists in less than half), and was too low in"
    " the others"
)


@dataclass(frozen=True)
class Verdict:
    """What may be said about the number of people.

    Attributes
    ----------
    status
        ``"estimated"`` or ``"refused"``.
    reason
        Code: of the refusal, or ``"families-agree"`` or ``"families-differ"`` (point estimates more than 1.5 times
        apart, so that no single figure should be quoted at all).
    words, remedy
        The same in a sentence, and what can be done; ``remedy`` is empty for an estimate.
    low, high
        Ends of the range over the families' 95% intervals; ``None`` for a refusal.
    families
        Methods whose intervals make the range, in order; those that are not offered for so many lists are left out.
        Empty for a refusal.
    """

    status: str
    reason: str
    words: str
    remedy: str
    low: float | None
    high: float | None
    families: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "status": self.status,
            "reason": self.reason,
            "words": self.words,
            "remedy": self.remedy,
            "low": self.low,
            "high": self.high,
            "families": list(self.families),
        }


@dataclass(frozen=True, eq=False)
class StratumReport:
    """The report of one stratum; ``values`` gives its value in every stratum column."""

    values: Mapping[str, str | None]
    report: Report


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that :func:`estimate` says about a table. Exact counts: confidential until protected.

    Attributes
    ----------
    table
        The table, pooled over strata.
    results
        What each method says of this table: those that make the range, in the order of
        :data:`~linkage.research.estimate.families.HEADLINE`, then the others that were asked for. Numbers of a refused
        verdict stay here for study and are withheld from :meth:`to_dict`.
    pooled
        What the methods that make the range say over all partition draws; empty without draws.
    pairs
        Every pair of lists taken alone.
    verdict
        What may be said.
    referrals
        Pairs that are in every log-linear model and joined in every graph; Chao's bounds hold none.
    notes
        What the reader should know besides.
    strata
        One report a stratum, in order of its values.
    """

    table: HistoryTable
    results: tuple[Result, ...]
    pairs: tuple[PairEstimate, ...]
    verdict: Verdict
    pooled: tuple[PooledResult, ...] = ()
    referrals: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    strata: tuple[StratumReport, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON: no NaN, no infinity, and no estimate where the verdict is a refusal."""
        withhold = self.verdict.status == "refused"
        names = self.table.lists
        plain: dict[str, object] = {
            "observed": self.table.observed,
            "lists": list(names),
            "list_sizes": dict(zip(names, self.table.totals.tolist(), strict=True)),
            "frequencies": self.table.frequencies.tolist(),
            "referrals": [list(pair) for pair in self.referrals],
            "estimates": [result.to_dict(withhold=withhold) for result in self.results],
            "over_draws": [result.to_dict(withhold=withhold) for result in self.pooled],
            "pairs": [pair.to_dict(withhold=withhold) for pair in self.pairs],
            "verdict": self.verdict.to_dict(),
            "notes": list(self.notes),
        }
        if self.strata:
            plain["strata"] = [{"stratum": dict(s.values), **s.report.to_dict()} for s in self.strata]
            plain["not_identified"] = [dict(s.values) for s in self.strata if s.report.verdict.status == "refused"]
        return plain


def _refusal(reason: str) -> Verdict:
    words, remedy = REASONS[reason]
    return Verdict("refused", reason, words, remedy, None, None)


def _screen(table: HistoryTable) -> str | None:
    """Find a reason to refuse the table before any model is fitted."""
    t, totals = table.t, table.totals
    both = {(i, j): table.together(i, j) for i in range(t) for j in range(i + 1, t)}
    # Zeros in the overlaps are published: this reason comes first, so that no other, of counts that may not be, decides
    # whether it is given (linkage.research.statement).
    informative = {position for pair, m in both.items() if m > 0 for position in pair}
    if len(informative) < LEAST_LISTS:
        return "too-few-lists"
    if any(m > 0 and m == totals[i] == totals[j] for (i, j), m in both.items()):
        return "identical-lists"
    if table.overlap < LEAST_OVERLAP:
        return "too-little-overlap"
    return "list-of-everybody" if (totals == table.observed).any() else None


def _nested(table: HistoryTable, stepwise: Result) -> bool:
    """Whether a pair that the data ask for cannot come in because one list lies inside the other."""
    wanted = stepwise.details.get("wanted_but_not_estimable") or ""
    totals = table.totals
    for term in pairs(table.t):
        i, j = (position for position in range(table.t) if term >> position & 1)
        inside = table.together(i, j) == min(totals[i], totals[j])
        if inside and name_term(term, table.lists) in str(wanted).split(", "):
            return True
    return False


def judge(table: HistoryTable, results: Sequence[Result]) -> Verdict:
    """Make the verdict from the families' results: the first that declines decides, else the range over all.

    A family that is not offered for so many lists takes no part; where that is so of all the averages among them, what
    is left is too narrow to be a range.
    """
    averages = [result.status in NOT_OFFERED for result in results if result.method in AVERAGES]
    if averages and all(averages):
        return replace(_refusal("too-many-lists"), words=_TOO_MANY)
    results = [result for result in results if result.status not in NOT_OFFERED]
    for result in results:
        if not result.ok:
            return _refusal(result.status)
        if result.method == "stepwise" and _nested(table, result):
            return _refusal("nested-list")
    points = [result.n_hat for result in results if result.n_hat is not None]
    lows = [result.lower for result in results if result.lower is not None]
    highs = [result.upper for result in results if result.upper is not None]
    if not points or len(lows) < len(results) or len(highs) < len(results):
        return _refusal("unbounded")
    low, high = max(min(lows), float(table.observed)), max(highs)
    made_of = tuple(result.method for result in results)
    if max(points) > AGREE_WITHIN * min(points):
        words = "families of assumptions differ by more than 1.5 times: only the range may be quoted"
        return Verdict("estimated", "families-differ", words, "", low, high, made_of)
    words = (
        "families of assumptions agree within 1.5 times, which they also do where all are wrong in the same direction;"
        " the range covers the intervals of all of them"
    )
    return Verdict("estimated", "families-agree", words, "", low, high, made_of)


@dataclass(frozen=True)
class _Asked:
    """What :func:`estimate` was asked for, as it goes for the whole table and for each stratum."""

    referrals: tuple[tuple[str, str], ...]
    resamples: int
    seed: int | None
    slow: bool
    effective: float | None
    partitions: str | None


def _report(table: HistoryTable, asked: _Asked, draws: Sequence[HistoryTable] = ()) -> Report:
    reduced, gone = drop_empty(table)
    notes = [f"nobody is on list {name}: it is left out of every model" for name in gone]
    names = HEADLINE + BESIDE + (SLOW if asked.slow else ())
    reason = _screen(reduced)
    if reason is not None:
        results = tuple(refused(name, "", reason) for name in names)
        return Report(table, results, pair_estimates(table), _refusal(reason), (), asked.referrals, tuple(notes))
    forced = tuple(pair for pair in asked.referrals if set(pair) <= set(reduced.lists))
    own = {name: fit(reduced) for name, fit in families(forced, asked.resamples, asked.seed).items()}
    wanted = own["stepwise"].details.get("wanted_but_not_estimable")
    if wanted:
        notes.append(f"the data ask for a dependence that cannot be estimated: {wanted}")
    notes += [f"{name}: not offered for so many lists" for name, result in own.items() if result.status in NOT_OFFERED]
    verdict = judge(reduced, list(own.values()))
    if verdict.status == "estimated" and reduced.t > STUDIED_LISTS:
        notes.append(_UNSTUDIED)
    pooled: tuple[PooledResult, ...] = ()
    if draws and verdict.status == "estimated":
        kept = [_only(draw, reduced.lists) for draw in draws]
        pooled = over_partitions(
            kept,
            forced,
            asked.resamples,
            asked.seed,
            offered=[name for name, result in own.items() if result.status not in NOT_OFFERED],
            effective=asked.effective,
            partitions=asked.partitions,
        )
        verdict = judge(reduced, [result.result for result in pooled])
        notes += sorted({note for result in pooled for note in result.notes})
    others = [fit(reduced) for fit in beside(forced, slow=asked.slow).values()]
    results = (*own.values(), *others)
    return Report(table, results, pair_estimates(table), verdict, pooled, asked.referrals, tuple(notes))


def _only(table: HistoryTable, lists: Sequence[str]) -> HistoryTable:
    """Leave out the lists that the table as a whole has nobody on."""
    for position in reversed(range(table.t)):
        if table.lists[position] not in lists:
            table = table.without(position)
    return table


def estimate(
    table: HistoryTable | pl.DataFrame,
    *,
    lists: Sequence[str] | None = None,
    referrals: Sequence[tuple[str, str]] = (),
    resamples: int = 1000,
    seed: int | None = None,
    slow: bool = False,
    draws: Sequence[HistoryTable] = (),
    effective: float | None = None,
    partitions: str | None = None,
) -> Report:
    """Estimate how many people there are from who is on which lists, or say why no number is defensible.

    Parameters
    ----------
    table
        A :class:`HistoryTable`, or a frame of capture histories (0/1 columns, ``count``, strata).
    lists
        Which columns of a frame are lists, where the default rule (all 0/1 columns) would be wrong.
    referrals
        Pairs of lists that refer people to each other: their dependence is in every log-linear model and every graph.
        Chao's bounds, Zelterman's estimate and latent classes hold no pair of lists and take no notice of it.
    resamples, seed
        Of the bootstrap. Without a seed it follows from the table, so that the same table gives the same answer.
    slow
        Also run latent classes and Bayesian thresholding, which do not make the range and can take a minute.
    draws
        Tables of partition draws over the same lists (:func:`linkage.research.estimate.pooled.draw_tables`): the range
        is then that over all of them.
    effective, partitions
        How many independent draws they are worth, and what the partitions were.

    Returns
    -------
    Report
        For the table pooled over strata, with a report for every stratum (strata without draws).

    Raises
    ------
    EstimateError
        The input is not a table of capture histories, or a referral names something other than two lists. A table
        from which nothing can be estimated is no error: its verdict is ``refused``.
    """
    histories = Histories(table, ()) if isinstance(table, HistoryTable) else parse_histories(table, lists=lists)
    known = tuple((str(a), str(b)) for a, b in referrals)
    here = histories.pooled.lists
    if not all(len(set(pair)) == 2 and set(pair) <= set(here) for pair in known):
        raise EstimateError(
            "a referral names something other than two lists",
            reason="unknown-list",
            hint=f"lists of this table are: {', '.join(here)}",
        )
    if any(draw.lists != here for draw in draws):
        raise EstimateError("draws are over other lists than the table", reason="bad-histories")
    asked = _Asked(known, resamples, seed, slow, effective, partitions)
    pooled = _report(histories.pooled, asked, draws)
    each = replace(asked, slow=False)
    strata = tuple(StratumReport(stratum.values, _report(stratum.table, each)) for stratum in histories.strata)
    return replace(pooled, strata=strata)
