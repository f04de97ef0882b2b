"""The verdict on a table: a range with its reasons, or a refusal with its reason. Never one model's interval alone.

Families of assumptions are put side by side: that people differ in how visible they are (Chao's bound in both forms),
independence of lists, and pairwise dependence found in the data (stepwise). The range runs from the least lower to the
greatest upper end of their intervals, since nothing in the data says which family is right. Chao's plain form belongs
to it although it overshoots on equal, independent lists: where people differ, the others are all too low. Where they
differ very much, so is the range: it is no better than the families in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from linkage.errors import EstimateError
from linkage.research.estimate.bounds import Chao, PairEstimate, Zelterman, pair_estimates
from linkage.research.estimate.lattice import name_term, pairs
from linkage.research.estimate.loglinear import Independence
from linkage.research.estimate.result import REASONS, Result, refused
from linkage.research.estimate.stepwise import Stepwise
from linkage.research.estimate.table import Histories, HistoryTable, parse_histories

__all__ = ["AGREE_WITHIN", "LEAST_LISTS", "LEAST_OVERLAP", "Report", "StratumReport", "Verdict", "estimate", "judge"]

LEAST_LISTS = 3
LEAST_OVERLAP = 10
AGREE_WITHIN = 1.5


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
    """

    status: str
    reason: str
    words: str
    remedy: str
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            "status": self.status,
            "reason": self.reason,
            "words": self.words,
            "remedy": self.remedy,
            "low": self.low,
            "high": self.high,
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
        Estimators in fixed order: chao, chao-few-lists, independence, stepwise, zelterman. Numbers of a refused
        verdict stay here for study and are withheld from :meth:`to_dict`.
    pairs
        Every pair of lists taken alone.
    verdict
        What may be said.
    referrals
        Pairs that were forced into every model.
    notes
        What the reader should know besides.
    strata
        One report a stratum, in order of its values.
    """

    table: HistoryTable
    results: tuple[Result, ...]
    pairs: tuple[PairEstimate, ...]
    verdict: Verdict
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
            "pairs": [pair.to_dict() for pair in self.pairs],
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
    if any(m > 0 and m == totals[i] == totals[j] for (i, j), m in both.items()):
        return "identical-lists"
    informative = {position for pair, m in both.items() if m > 0 for position in pair}
    if len(informative) < LEAST_LISTS:
        return "too-few-lists"
    return "too-little-overlap" if table.overlap < LEAST_OVERLAP else None


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


def judge(table: HistoryTable, families: Sequence[Result]) -> Verdict:
    """Make the verdict from the families' results: the first that declines decides, else the range over all."""
    for result in families:
        if not result.ok:
            return _refusal(result.status)
        if result.method == "stepwise" and _nested(table, result):
            return _refusal("nested-list")
    points = [result.n_hat for result in families if result.n_hat is not None]
    lows = [result.lower for result in families if result.lower is not None]
    highs = [result.upper for result in families if result.upper is not None]
    if not points or len(lows) < len(families) or len(highs) < len(families):
        return _refusal("unbounded")
    low, high = max(min(lows), float(table.observed)), max(highs)
    if max(points) > AGREE_WITHIN * min(points):
        words = "families of assumptions differ by more than 1.5 times: only the range may be quoted"
        return Verdict("estimated", "families-differ", words, "", low, high)
    words = "families of assumptions agree within 1.5 times; the range covers the intervals of all of them"
    return Verdict("estimated", "families-agree", words, "", low, high)


def _drop_empty(table: HistoryTable) -> tuple[HistoryTable, list[str]]:
    """Leave out lists that nobody is on: they say nothing and no model can hold them."""
    notes = []
    for position in reversed(range(table.t)):
        if table.t > 1 and table.totals[position] == 0:
            notes.append(f"nobody is on list {table.lists[position]}: it is left out of every model")
            table = table.without(position)
    return table, notes[::-1]


def _report(table: HistoryTable, referrals: tuple[tuple[str, str], ...], resamples: int, seed: int | None) -> Report:
    reduced, notes = _drop_empty(table)
    reason = _screen(reduced)
    if reason is not None:
        names = ("chao", "chao-few-lists", "independence", "stepwise", "zelterman")
        results = tuple(refused(name, "", reason) for name in names)
        return Report(table, results, pair_estimates(table), _refusal(reason), referrals, tuple(notes))
    forced = tuple(pair for pair in referrals if set(pair) <= set(reduced.lists))
    families = (
        Chao().fit(reduced),
        Chao(few_lists=True).fit(reduced),
        Independence(forced).fit(reduced),
        Stepwise(referrals=forced, resamples=resamples, seed=seed).fit(reduced),
    )
    wanted = families[-1].details.get("wanted_but_not_estimable")
    if wanted:
        notes.append(f"the data ask for a dependence that cannot be estimated: {wanted}")
    results = (*families, Zelterman().fit(reduced))
    return Report(table, results, pair_estimates(table), judge(reduced, families), referrals, tuple(notes))


def estimate(
    table: HistoryTable | pl.DataFrame,
    *,
    lists: Sequence[str] | None = None,
    referrals: Sequence[tuple[str, str]] = (),
    resamples: int = 1000,
    seed: int | None = None,
) -> Report:
    """Estimate how many people there are from who is on which lists, or say why no number is defensible.

    Parameters
    ----------
    table
        A :class:`HistoryTable`, or a frame of capture histories (0/1 columns, ``count``, strata).
    lists
        Which columns of a frame are lists, where the default rule (all 0/1 columns) would be wrong.
    referrals
        Pairs of lists that refer people to each other: their dependence is in every model.
    resamples, seed
        Of the bootstrap. Without a seed it follows from the table, so that the same table gives the same answer.

    Returns
    -------
    Report
        For the table pooled over strata, with a report for every stratum.

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
    pooled = _report(histories.pooled, known, resamples, seed)
    strata = tuple(
        StratumReport(stratum.values, _report(stratum.table, known, resamples, seed)) for stratum in histories.strata
    )
    return Report(pooled.table, pooled.results, pooled.pairs, pooled.verdict, pooled.referrals, pooled.notes, strata)
