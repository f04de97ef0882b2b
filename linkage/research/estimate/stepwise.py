"""Forward stepwise selection of pairs (Chan, Silverman & Vincent 2021), on many tables at once.

Start from the main effects (and known referral pairs). At each step every absent pair gets a one-sided Poisson
p-value of its overlap given the fit; the pair with the least p < threshold whose larger model passes the gate goes in.
Pairs with an empty overlap go in at minus infinity. No step back; pairs only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import pdtr, pdtrc

from linkage.research.estimate import gate
from linkage.research.estimate.bootstrap import Interval, bca_interval
from linkage.research.estimate.chains import table_seed
from linkage.research.estimate.lattice import (
    Floats,
    all_terms,
    name_term,
    pairs,
    subset_sums,
    superset_sums,
    terms_from_names,
)
from linkage.research.estimate.loglinear import MOST_PEOPLE, fit_model
from linkage.research.estimate.poisson import fit_poisson, whole
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["THRESHOLD", "Selection", "Stepwise", "select"]

THRESHOLD = 0.02  # chosen by simulation in the paper
_MOST_WITHOUT = 0.05  # of the resamples of a table
_CHUNK = 2**20  # cells of all resamples that are fitted in one go: bounds memory
_PAIR, _FEWEST_LISTS = 2, 3

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """Outcome of the selection on B tables with P pairs.

    Attributes
    ----------
    n_hat
        Shape ``(B,)``; NaN where the start did not pass the gate.
    code
        Shape ``(B,)``: the gate's code of the start; 0 where there is an estimate.
    order
        Shape ``(B, P)``: the step at which a pair came in, from 1; 0 for those that did not.
    barred
        Shape ``(B, P)``: pairs that the data ask for (p < threshold at the end) but the gate keeps out.
    """

    n_hat: Floats
    code: Ints
    order: Ints
    barred: Bools


class _State:
    """The models and fits of a stack of tables while they grow."""

    def __init__(self, counts: Floats, t: int) -> None:
        self.t, self.counts = t, counts
        self.pairs = pairs(t)
        self.masks = np.array(self.pairs, dtype=np.int64)
        self.overlaps = self._over_pairs(counts)
        self.empty = self.overlaps == 0
        self.terms = np.array(all_terms(t, self.pairs))
        self.support = np.packbits(counts > 0, axis=1)
        self.mu = np.zeros_like(counts)
        self.intercept = np.full(len(counts), np.nan)

    def fit(self, rows: Ints, model: Bools) -> Ints:
        """Fit a model to each of some tables, keep the fits that pass the gate, and give all codes."""
        finite, minus = model & ~self.empty[rows], model & self.empty[rows]
        codes = np.array([2 * (not self._identifiable(f, m)) for f, m in zip(finite, minus, strict=True)], dtype=int)
        sound = np.flatnonzero(codes == 0)
        for i in np.flatnonzero(codes):
            codes[i] += self._missing(rows[i], finite[i], minus[i])
        if not sound.size:
            return codes
        used = np.append(np.ones(1 + self.t, dtype=bool), finite[sound].any(axis=0))
        active = np.column_stack([np.ones((sound.size, 1 + self.t), dtype=bool), finite[sound]])[:, used]
        removed = np.zeros((sound.size, 2**self.t))
        removed[:, self.masks] = minus[sound]
        keep = subset_sums(removed, self.t)[:, 1:] == 0
        fits = fit_poisson(self.t, tuple(self.terms[used].tolist()), self.counts[rows[sound]], keep, active)
        for i in np.flatnonzero(~fits.certified):
            missing = self._missing(rows[sound[i]], finite[sound[i]], minus[sound[i]])
            codes[sound[i]] = missing or int(not fits.converged[i])
        passed = codes[sound] == 0
        self.mu[rows[sound[passed]]] = fits.mu[passed]
        self.intercept[rows[sound[passed]]] = fits.beta[passed, 0]
        return codes

    def p_values(self, rows: Ints) -> tuple[Floats, Floats]:
        """One-sided p-values of every pair's overlap given the fits, and the order of those too small for a number.

        Both of shape ``(len(rows), P)``. The second is 0 but where the p-value is: there it is minus the deviance, the
        leading part of its logarithm.
        """
        expected, seen = self._over_pairs(self.mu[rows]), self.overlaps[rows]
        above = np.where(seen > 0, pdtrc(np.maximum(seen - 1, 0), expected), 1.0)
        p = np.asarray(np.minimum(pdtr(seen, expected), above))
        lost = (p == 0) & (expected > 0)
        ratio = np.where(lost & (seen > 0), seen / np.where(lost, expected, 1.0), 1.0)
        return p, np.where(lost, seen - expected - seen * np.log(ratio), 0.0)

    def _over_pairs(self, values: Floats) -> Floats:
        return np.asarray(superset_sums(whole(values, self.t), self.t)[:, self.masks])

    def _terms(self, which: Bools) -> tuple[int, ...]:
        return tuple(self.pairs[i] for i in np.flatnonzero(which))

    def _identifiable(self, finite: Bools, minus: Bools) -> bool:
        return gate.identifiable(self.t, self._terms(finite), self._terms(minus))

    def _missing(self, row: int, finite: Bools, minus: Bools) -> int:
        found = gate.exists(self.t, self._terms(finite), self._terms(minus), self.support[row].tobytes())
        return int(not found)


def _step(state: _State, rows: Ints, model: Bools, threshold: float) -> tuple[Ints, Ints, Bools]:
    """Add to each table its best pair that passes the gate.

    Returns the tables that got one, the pair each got, and (for all tables) the pairs that the gate kept out.
    """
    p, lost = state.p_values(rows)
    p = np.where(model[rows], 1.0, p)
    ranking = np.lexsort((lost, p), axis=1)
    chosen = np.full(len(rows), -1, dtype=np.int64)
    barred = np.zeros_like(p, dtype=bool)
    trying, rank = np.arange(len(rows)), 0
    while trying.size and rank < p.shape[1]:
        candidate = ranking[trying, rank]
        below = p[trying, candidate] < threshold
        trying, candidate = trying[below], candidate[below]
        if not trying.size:
            break
        larger = model[rows[trying]]
        larger[np.arange(len(trying)), candidate] = True
        sound = state.fit(rows[trying], larger) == 0
        chosen[trying[sound]] = candidate[sound]
        barred[trying[~sound], candidate[~sound]] = True
        trying, rank = trying[~sound], rank + 1
    grown = chosen >= 0
    return rows[grown], chosen[grown], barred


def select(
    counts: npt.NDArray[np.generic], t: int, *, threshold: float = THRESHOLD, forced: tuple[int, ...] = ()
) -> Selection:
    """Select a model for every row of ``counts``, shape ``(B, 2**t - 1)``.

    ``forced`` are pairs (as terms) that every model holds from the start.
    """
    tables = np.atleast_2d(np.asarray(counts, dtype=np.float64))
    state = _State(tables, t)
    model = np.zeros((len(tables), len(state.pairs)), dtype=bool)
    model[:, [state.pairs.index(pair) for pair in forced]] = True
    order = np.zeros(model.shape, dtype=np.int64)
    barred = np.zeros_like(model)
    code = state.fit(np.arange(len(tables)), model)
    live, step = np.flatnonzero(code == 0), 0
    while live.size:
        step += 1
        grown, pair, kept_out = _step(state, live, model, threshold)
        barred[live] = kept_out
        model[grown, pair] = True
        order[grown, pair] = step
        live = grown
    return Selection(tables.sum(axis=1) + np.exp(state.intercept), code, order, barred)


@dataclass(frozen=True)
class Stepwise:
    """Stepwise log-linear estimate, its interval by a bootstrap that repeats the selection in every resample.

    Parameters
    ----------
    threshold
        A pair comes in below this p-value.
    referrals
        Pairs of list names forced into every model.
    resamples
        Number of bootstrap tables; 0 for none (then there is no interval).
    seed
        Seed of the resampling. Without it the seed comes from the table, so that a table always gives one answer.
    most_without
        Share of resamples without an estimate above which there is no interval and no number. A pool over partition
        draws (:mod:`linkage.research.estimate.pooled`) takes 1 here and judges the resamples of all draws together.

    Assumptions
    -----------
    Lists depend on each other only in pairs, only in the pairs that the data show, and in no way on which people
    are unseen. No test can show that this is so.

    Attributes
    ----------
    The interval is BCa over resamples of people (Efron 1987; Chan, Silverman & Vincent 2021). A resample that nobody of
    a list is in is estimated from without that list, as a table that nobody of it is in would be, if three are left.
    Resamples without an estimate are counted, and above 5% of them there is no interval and no number.
    """

    threshold: float = THRESHOLD
    referrals: tuple[tuple[str, str], ...] = ()
    resamples: int = 1000
    seed: int | None = None
    most_without: float = _MOST_WITHOUT

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of at least two lists."""
        if table.t < 2:
            return refused("stepwise", "", "too-few-lists")
        if table.observed > MOST_PEOPLE:
            return refused("stepwise", "", "beyond-precision")
        forced = terms_from_names(self.referrals, table.lists)
        chosen = select(table.counts[None, :], table.t, threshold=self.threshold, forced=forced)
        every = pairs(table.t)
        steps = [(int(s), every[i]) for i, s in enumerate(chosen.order[0]) if s]
        terms = forced + tuple(term for _, term in sorted(steps))
        fit = fit_model(table, terms) if chosen.code[0] == 0 else int(chosen.code[0])
        empty = set() if isinstance(fit, int) else set(fit.minus_infinity)
        name = _name(terms, empty, table.lists)
        assumption = f"lists depend on each other only in pairs and only so: {name or 'not at all'}"
        model = name or "independence"
        if isinstance(fit, int):
            return refused("stepwise", model, "start-not-estimable", assumption=assumption, details={"code": fit})
        if not fit.converged:
            return refused("stepwise", model, "not-converged", assumption=assumption, terms=terms)
        barred = [every[i] for i in np.flatnonzero(chosen.barred[0])]
        details: dict[str, float | int | str | None] = {
            "aic": fit.aic,
            "bic": fit.bic,
            "deviance": fit.deviance,
            "wanted_but_not_estimable": ", ".join(name_term(term, table.lists) for term in barred) or None,
        }
        if not self.resamples:
            return Result("stepwise", model, fit.n_hat, None, None, "ok", "", assumption, details, terms)
        interval = self._interval(table, fit.n_hat, forced)
        details |= {"resamples": self.resamples, "resamples_without_estimate": interval.missing}
        if interval.upper is None or interval.missing > self.most_without * self.resamples:
            reason = "resamples-without-estimate"
            return refused("stepwise", model, reason, assumption=assumption, details=details, terms=terms)
        details |= {"acceleration": interval.acceleration, "bias_correction": interval.bias_correction}
        return Result(
            "stepwise",
            model,
            fit.n_hat,
            interval.lower,
            interval.upper,
            interval=f"{interval.kind} bootstrap with the selection repeated in each resample",
            assumption=assumption,
            details=details,
            terms=terms,
            draws=interval.draws,
        )

    def _interval(self, table: HistoryTable, n_hat: float, forced: tuple[int, ...]) -> Interval:
        def estimate(counts: Floats) -> Floats:
            return _select_on_resamples(counts, table.t, self.threshold, forced)

        seed = table_seed(table, self.seed)
        return bca_interval(table.counts, n_hat, estimate, resamples=self.resamples, seed=seed)


def _select_on_resamples(counts: Floats, t: int, threshold: float, forced: tuple[int, ...]) -> Floats:
    """Estimate from each resample, without the lists that nobody in it is on: a table would lose them too."""
    on = (np.arange(1, 2**t)[:, None] >> np.arange(t)) & 1
    patterns, which = np.unique(counts @ on > 0, axis=0, return_inverse=True)
    found = np.full(len(counts), np.nan)
    for pattern, there in enumerate(patterns):
        kept = np.flatnonzero(there)
        if len(kept) < min(t, _FEWEST_LISTS):
            continue
        own = np.arange(1, 2 ** len(kept))
        cells = sum(((own >> i & 1) << int(place) for i, place in enumerate(kept)), start=np.zeros_like(own))
        held = [[int(np.flatnonzero(kept == j)[0]) for j in kept if pair >> int(j) & 1] for pair in forced]
        terms = tuple(sum(1 << i for i in places) for places in held if len(places) == _PAIR)
        every, step = np.flatnonzero(which.ravel() == pattern), max(1, _CHUNK // len(own))
        for rows in (every[i : i + step] for i in range(0, len(every), step)):
            found[rows] = select(counts[rows][:, cells - 1], len(kept), threshold=threshold, forced=terms).n_hat
    return found


def _name(terms: tuple[int, ...], empty: set[int], lists: tuple[str, ...]) -> str:
    return ", ".join(name_term(term, lists) + ("(-inf)" if term in empty else "") for term in terms)
