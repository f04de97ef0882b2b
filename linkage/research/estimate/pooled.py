"""One estimate from many partitions: every draw of who is who goes through the estimator, and the answers are pooled.

The hub draws R partitions from the posterior of its linkage (:mod:`linkage.research.draws`). Each gives a table, each
table an estimate. Estimators with posterior or bootstrap draws are pooled as draws with equal weight (linkage
averaging, Sadinle 2018, arXiv:1812.09590); those without by the rules of Rubin (1987) on q = log(N - n_r):

    q = mean q_r, W = mean variance within, B = variance of q_r, T = W + (1 + 1/R) B,
    nu = (R - 1) (1 + W / ((1 + 1/R) B))^2, N = mean(n_r) + exp(q +- t_nu sqrt(T)).

Software of HRDAG (verdata) has 1/(R + 1) instead of R/(R + 1) in front of W/B, which makes nu much smaller and
intervals a little wider. Rubin's is used here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from scipy.special import ndtri, stdtrit

from linkage.errors import EstimateError
from linkage.research.estimate.confidence import confidence_draws, log_scale, people, spread
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.result import FURTHEST, Result, refused
from linkage.research.estimate.table import COUNT, HistoryTable

__all__ = ["FEWEST", "PooledResult", "Rubin", "draw_tables", "over_draws", "rubin"]

FEWEST = 20
"""Partition draws to ask for."""

_MOST_WITHOUT = 0.05
_LEAST_WORTH = 2.0  # the variance between partitions cannot be known from fewer
_SIZE = 1000  # draws that stand for the interval of an estimator that has none, a table
_MOST = 400_000  # draws kept of all tables together
_LEVELS = (0.025, 0.5, 0.975)
_DECLINED = "no-interval"  # an estimate without an interval: as good as none


@dataclass(frozen=True)
class Rubin:
    """Estimates of several tables pooled; names as in the module's formulas.

    Attributes
    ----------
    share
        (1 + 1/R) B / T: how much of the variance comes from the differences between tables.
    """

    q: float
    within: float
    between: float
    total: float
    nu: float
    share: float

    def quantiles(self, levels: Sequence[float] | Floats) -> Floats:
        """Quantiles of q by Student's t."""
        u = np.asarray(levels, dtype=np.float64)
        deviations = stdtrit(self.nu, u) if np.isfinite(self.nu) else ndtri(u)
        return np.asarray(self.q + deviations * np.sqrt(self.total))


def rubin(points: Floats, variances: Floats, *, effective: float | None = None) -> Rubin:
    """Pool estimates by Rubin's rules.

    Parameters
    ----------
    points, variances
        Shape ``(R,)``: the estimate of each table and its variance.
    effective
        How many independent tables they are worth, R without it: tables that hang together vary less than they should.
    """
    number = len(points)
    worth = max(float(number) if effective is None else min(float(number), effective), 1.0 + 1e-6)
    q, within = float(np.mean(points)), float(np.mean(variances))
    between = float(np.var(points, ddof=1)) if number > 1 else 0.0
    if number > 1 and worth < number:
        between *= (1 - 1 / number) / (1 - 1 / worth)
    across = (1 + 1 / worth) * between
    total = within + across
    nu = float((worth - 1) * (1 + within / across) ** 2) if across > 0 else np.inf
    return Rubin(q, within, between, total, nu, across / total if total > 0 else 0.0)


@dataclass(frozen=True, eq=False)
class PooledResult:
    """What an estimator says over all partition draws.

    Attributes
    ----------
    result
        The pooled estimate; its ``draws`` hold the tables' draws with equal weight.
    by_draw
        Shape ``(R, D)``: draws of each table, moved apart as in ``result``; rows of NaN where the estimator declined.
        Sums and differences of estimates from the same partitions are taken row by row
        (:mod:`linkage.research.estimate.arithmetic`): all rows r are moved the same way, by one factor on the log scale
        for all estimates, so a sum is spread as its parts are and in a difference what they share still cancels.
    points, observed
        Shape ``(R,)``: the estimate on each table (NaN where there is none), and the people seen there.
    reasons
        How many tables gave no estimate, by reason.
    effective
        How many independent tables the draws are worth.
    linkage_share, width_share
        Of the variance of log N (Rubin's rules: of log(N - n)), how much comes from linkage; and by what share the
        interval would be shorter if who is who were known, 1 - sqrt(W/T).
    monte_carlo_error
        Standard error of the estimate, in people, because draws are finite in number.
    partitions
        What the partitions were (or whatever else row r of several results shares, such as a joint posterior draw), so
        that results are paired only where they are of the same ones; ``None`` for never.
    notes
        What the reader should know besides.
    """

    result: Result
    by_draw: Floats
    points: Floats
    observed: Floats
    reasons: Mapping[str, int]
    effective: float
    linkage_share: float | None
    width_share: float | None
    monte_carlo_error: float | None
    partitions: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether there is a pooled estimate."""
        return self.result.ok

    def to_dict(self, *, withhold: bool = False) -> dict[str, object]:
        """Give plain values for JSON; single draws stay out of it."""
        return {
            **self.result.to_dict(withhold=withhold),
            "without_estimate": dict(self.reasons),
            "notes": list(self.notes),
        }


def _seed(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256(":".join(parts).encode()).digest()[:8], "big")


def draw_tables(
    frame: pl.DataFrame, lists: Sequence[str], by: Sequence[str] = (), *, number: int | None = None
) -> dict[tuple[str, ...], tuple[HistoryTable, ...]]:
    """Split capture histories of draws (:func:`linkage.research.draws.draw_histories`) into tables by stratum and draw.

    Parameters
    ----------
    frame
        ``draw``, the 0/1 columns of the lists, strata, ``count``.
    by
        Strata; rows are summed over all others.
    number
        How many draws there are; the greatest in the frame and one more without it.

    Returns
    -------
    dict
        Values of the strata -> one table a draw; a stratum that nobody of a draw is in has an empty table there. The
        key is ``()`` without strata.

    Raises
    ------
    EstimateError
        ``bad-histories``: a column is missing, or a list holds something other than 0 and 1.
    """
    wanted = ["draw", *lists, *by, COUNT]
    if not lists or len(set(wanted)) != len(wanted) or not set(wanted) <= set(frame.columns):
        raise EstimateError("the draws lack a column, or one is named twice", reason="bad-histories")
    if frame.select(pl.any_horizontal([~pl.col(name).is_in([0, 1]).fill_null(False) for name in lists]).any()).item():
        raise EstimateError("a list holds something other than 0 and 1", reason="bad-histories")
    total = number if number is not None else int(frame.get_column("draw").max() or 0) + 1  # type: ignore[arg-type]
    cell = pl.sum_horizontal([pl.col(name).cast(pl.Int64) * 2**place for place, name in enumerate(lists)])
    strata = [pl.col(name).cast(pl.String).fill_null("unknown") for name in by]
    rows = frame.select(pl.col("draw").cast(pl.Int64), *strata, cell.alias("cell"), pl.col(COUNT))
    if (
        rows.filter((pl.col("cell") == 0) & (pl.col(COUNT) != 0)).height
        or not rows["draw"].is_between(0, total - 1).all()
    ):
        raise EstimateError("a row is on no list, or of a draw that there is not", reason="bad-histories")
    tables: dict[tuple[str, ...], Floats] = {}
    for draw, *key, where, count in rows.sort(*by, "draw", "cell").iter_rows():
        tables.setdefault(tuple(key), np.zeros((total, 2 ** len(lists)), dtype=np.int64))[draw, where] += count
    return {key: tuple(HistoryTable(tuple(lists), c[1:]) for c in counts) for key, counts in tables.items()}


def over_draws(
    tables: Sequence[HistoryTable],
    fit: Callable[[HistoryTable], Result],
    *,
    effective: float | None = None,
    partitions: str | None = None,
) -> PooledResult:
    """Send every partition draw's table through an estimator and pool the answers.

    Parameters
    ----------
    tables
        One a draw; 20 or more are asked for.
    fit
        The estimator, such as ``DecomposableGraphs().fit``; run once for each distinct table.
    effective
        How many independent draws they are worth (:func:`linkage.research.draws.effective_draws`).
    partitions
        A name of the partitions (a digest of the draws' file); results with the same name are paired in sums and
        differences.

    Returns
    -------
    PooledResult
        Refused with ``draws-without-estimate`` where the estimator declines on more than 5% of the tables, with
        ``resamples-without-estimate`` where tables and resamples together are more than 5% without, with
        ``draws-too-alike`` where the draws are worth fewer than two, and with ``unbounded`` where the upper end is more
        than :data:`~linkage.research.estimate.result.FURTHEST` times the people seen.

    Raises
    ------
    EstimateError
        No tables, or tables over different lists.
    """
    if not tables:
        raise EstimateError("there are no draws to pool", reason="no-draws")
    if len({table.lists for table in tables}) > 1:
        raise EstimateError("draws are over different lists", reason="bad-histories")
    known: dict[str, Result] = {}
    for table in tables:
        if table.digest not in known:
            known[table.digest] = fit(table)
    pool = _Pool(tables, [known[table.digest] for table in tables], effective, partitions)
    return pool.pooled()


class _Pool:
    """The results of all tables, with their draws."""

    def __init__(
        self, tables: Sequence[HistoryTable], results: list[Result], effective: float | None, partitions: str | None
    ) -> None:
        self.results, self.partitions = results, partitions
        self.observed = np.array([table.observed for table in tables], dtype=np.float64)
        self.number = len(tables)
        self.worth = float(self.number) if effective is None else min(float(self.number), max(1.0, effective))
        self.sampled = any(r.ok and r.draws is not None and r.draws.size for r in results)
        sizes = [r.draws.size for r in results if r.ok and r.draws is not None and r.draws.size]
        self.size = max(1, min(max(sizes, default=_SIZE), _MOST // self.number))
        seed = _seed(*(table.digest for table in tables))
        self.by_draw = np.full((self.number, self.size), np.nan)
        self.points = np.full(self.number, np.nan)
        reasons: Counter[str] = Counter()
        for place, result in enumerate(results):
            rng = np.random.default_rng([seed, place])
            draws = confidence_draws(result, self.observed[place], self.size, rng)
            if draws is None or result.n_hat is None:
                reasons[_DECLINED if result.ok else result.status] += 1
                continue
            self.by_draw[place], self.points[place] = draws, result.n_hat
        self.reasons = dict(sorted(reasons.items()))
        self.there = np.isfinite(self.points)

    def pooled(self) -> PooledResult:
        """Pool, or refuse."""
        notes = self._notes()
        first = next((r for r, there in zip(self.results, self.there, strict=True) if there), self.results[0])
        details: dict[str, float | int | str | None] = {
            "partition_draws": self.number,
            "effective_draws": self.worth,
            "draws_without_estimate": self.number - int(self.there.sum()),
        }
        reason = self._declines(details)
        if reason:
            result = refused(first.method, first.model, reason, assumption=first.assumption, details=details)
            return self._wrap(result, notes, None, None)
        models = Counter(r.model for r, there in zip(self.results, self.there, strict=True) if there)
        model, held = models.most_common(1)[0]
        details["draws_with_this_model"] = held
        point, limits, draws, parts, error = self._mixture(details) if self.sampled else self._by_rules()
        details |= {"within": parts.within, "between": parts.between, "linkage_share": parts.share}
        details["monte_carlo_error"] = error
        if not limits[1] <= FURTHEST * self.observed[self.there].mean():
            result = refused(first.method, model, "unbounded", assumption=first.assumption, details=details)
            return self._wrap(result, notes, None, None)
        how = "draws of all partitions with equal weight" if self.sampled else "Rubin's rules over partitions"
        result = Result(
            first.method,
            model,
            point,
            float(limits[0]),
            float(limits[1]),
            interval=f"{how}; within each: {first.interval}",
            assumption=first.assumption,
            details=details,
            terms=first.terms if held == int(self.there.sum()) else (),
            draws=draws,
        )
        return self._wrap(result, notes, parts, error)

    def _declines(self, details: dict[str, float | int | str | None]) -> str | None:
        """Give the reason for which nothing is pooled; resamples over all draws go into the details."""
        asked = [_count(r.details, "resamples") if there else 0 for r, there in self._each()]
        without = [_count(r.details, "resamples_without_estimate") if there else 0 for r, there in self._each()]
        if any(asked):
            details |= {"resamples": sum(asked), "resamples_without_estimate": sum(without)}
        lost = np.where(self.there, np.array(without) / np.maximum(asked, 1), 1.0)
        if (~self.there).mean() > _MOST_WITHOUT:
            return "draws-without-estimate"
        if lost.sum() > _MOST_WITHOUT * self.number + 1e-9:  # shares of whole numbers add up but for rounding
            return "resamples-without-estimate"
        return "draws-too-alike" if self.worth < _LEAST_WORTH else None

    def _each(self) -> list[tuple[Result, bool]]:
        return list(zip(self.results, self.there.tolist(), strict=True))

    def _wrap(self, result: Result, notes: tuple[str, ...], parts: Rubin | None, error: float | None) -> PooledResult:
        width = None if parts is None else (1 - float(np.sqrt(parts.within / parts.total)) if parts.total > 0 else 0.0)
        return PooledResult(
            result,
            self.by_draw,
            self.points,
            self.observed,
            self.reasons,
            self.worth,
            None if parts is None else parts.share,
            width,
            error,
            self.partitions,
            notes,
        )

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.number < FEWEST:
            notes.append(f"fewer than {FEWEST} partition draws: what linkage adds to the interval is itself uncertain")
        elif self.worth < FEWEST:
            notes.append(f"the partition draws hang together and are worth fewer than {FEWEST} independent ones")
        if self.reasons:
            notes.append(f"partition draws without an estimate: {sum(self.reasons.values())} of {self.number}")
        return tuple(notes)

    def _spread(self) -> Floats:
        """Move the draws of the tables apart for what they are worth, and give them."""
        rows = spread(self.by_draw[self.there], self.observed[self.there], self.worth)
        self.by_draw[self.there] = rows
        return rows

    def _mixture(self, details: dict[str, float | int | str | None]) -> tuple[float, Floats, Floats, Rubin, float]:
        """Draws of all tables as one; the parts of their variance are of log N.

        The details hold the quantiles of the draws as they came, which are linkage averaging with as many draws as
        anyone could ask for.
        """
        rows = self.by_draw[self.there]
        logs = np.log(rows)
        within = logs.var(axis=1, ddof=1) if self.size > 1 else np.zeros(len(rows))
        # The mean of few draws varies even where the tables are alike: that is not the linkage's doing.
        parts = rubin(logs.mean(axis=1), within, effective=self.worth)
        noise = parts.within / self.size
        parts = _less(parts, noise, self.worth)
        plain = np.quantile(rows, _LEVELS).tolist()
        details |= dict(zip(("unspread_lower", "unspread_median", "unspread_upper"), plain, strict=True))
        rows = self._spread()
        low, median, high = np.quantile(rows, _LEVELS)
        bootstrapped = any(r.ok and "acceleration" in r.details for r in self.results)
        point = float(self.points[self.there].mean()) if bootstrapped else float(median)
        error = point * float(np.sqrt(parts.between / self.worth + noise / len(rows)))
        return point, np.array([low, high]), rows.ravel(), parts, error

    def _by_rules(self) -> tuple[float, Floats, Floats, Rubin, float]:
        """Rubin's rules on log(N - n), and beside it the variance of n, which differs between tables by itself."""
        chosen = [(r, n) for r, n, there in zip(self.results, self.observed, self.there, strict=True) if there]
        scales = np.array([log_scale(r, float(n)) for r, n in chosen], dtype=np.float64)
        parts = rubin(scales[:, 0], scales[:, 1] ** 2, effective=self.worth)
        numbers = np.array([n for _, n in chosen])
        seen, least = float(numbers.mean()), float(numbers.min())
        across = float(np.sqrt((1 + 1 / self.worth) * numbers.var(ddof=1))) if len(numbers) > 1 else 0.0
        rng, unseen = np.random.default_rng(0), float(np.exp(parts.q))
        levels = (np.arange(self.size * 4) + 0.5) / (self.size * 4)
        draws = rng.permutation(people(seen, parts.quantiles(levels))) + across * rng.permutation(ndtri(levels))
        ends = people(seen, parts.quantiles([_LEVELS[0], _LEVELS[2]])) - (seen + unseen)
        limits = seen + unseen + np.sign(ends) * np.hypot(ends, across * ndtri(_LEVELS[2]))
        self._spread()
        error = float(np.hypot(unseen * np.sqrt(parts.between), across) / np.sqrt(self.worth))
        return seen + unseen, np.maximum(limits, least), np.maximum(draws, least), parts, error


def _count(details: Mapping[str, object], name: str) -> int:
    value = details.get(name)
    return value if isinstance(value, int) else 0


def _less(parts: Rubin, noise: float, worth: float) -> Rubin:
    """Take the Monte Carlo noise of the tables' means out of the variance between them."""
    between = max(0.0, parts.between - noise)
    across = (1 + 1 / worth) * between
    total = parts.within + across
    return Rubin(parts.q, parts.within, between, total, parts.nu, across / total if total > 0 else 0.0)
