"""Log-linear estimation where linkage has parted records from their persons: composite link (Thompson & Baker 1981).

Every record is orphaned, that is parted from its person, with its list's probability e_j, and E n* = T exp(A b), where
T[o, x] counts the clusters on lists o that a person on lists x becomes. Then N = sum exp(A b) + exp(b_0) and not
n* + exp(b_0): n* counts who is split more than once. False links are not in it, for they join two people and T would
depend on the counts. Error rates are taken as known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from linkage.errors import EstimateError
from linkage.research.estimate.gate import reduce_model
from linkage.research.estimate.lattice import Floats, design, name_model, terms_from_names
from linkage.research.estimate.loglinear import fit_model
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["CompositeLink", "splitting"]

_MOST_LISTS = 8  # T has 4^t entries
_MOST_WITHOUT = 0.05
_MOST_STEPS = 100
_TOLERANCE = 1e-10
_LEVELS = (0.025, 0.975)


def splitting(orphaned: Sequence[float]) -> Floats:
    """Give the expected clusters on lists o (rows) from a person on lists x (columns), ``(2**t - 1, 2**t - 1)``.

    Parameters
    ----------
    orphaned
        Each list's probability that a record is parted from its person. Orphans stay alone, the others stay together.
    """
    t = len(orphaned)
    matrix = np.zeros((2**t - 1, 2**t - 1))
    for x in range(1, 2**t):
        members = [j for j in range(t) if x >> j & 1]
        for size in range(len(members) + 1):
            for kept in combinations(members, size):
                parted = [j for j in members if j not in kept]
                chance = np.prod([1 - orphaned[j] for j in kept]) * np.prod([orphaned[j] for j in parted])
                if kept:
                    matrix[sum(1 << j for j in kept) - 1, x - 1] += chance
                for j in parted:
                    matrix[(1 << j) - 1, x - 1] += chance
    return matrix


@dataclass(frozen=True)
class CompositeLink:
    """Log-linear estimate from a table in which records have been parted from their persons at known rates.

    Parameters
    ----------
    orphaned
        List name -> probability that a record of it is orphaned, below 1.
    interactions
        Groups of list names that interact; the model must be hierarchical.
    resamples
        Bootstrap tables for interval and draws.
    seed
        Seed of the resampling; without it the seed comes from the table.

    Assumptions
    -----------
    Interactions that are not named are absent; records are orphaned independently at the given rates; no link is false;
    each list has a person once.

    Attributes
    ----------
    The interval is the percentile bootstrap's over clusters, model and rates as given.
    """

    orphaned: Mapping[str, float]
    interactions: tuple[tuple[str, ...], ...] = ()
    resamples: int = 500
    seed: int | None = None

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of at least two lists, counts as they are after linkage.

        Raises
        ------
        EstimateError
            ``bad-parameter``: a rate is missing or no probability; a model that is not hierarchical.
        """
        rates = [self.orphaned.get(name, -1.0) for name in table.lists]
        if not all(0 <= rate < 1 for rate in rates) or self.resamples < 1:
            raise EstimateError("every list needs a rate from 0 to below 1", reason="bad-parameter")
        terms = terms_from_names(self.interactions, table.lists)
        name = name_model(terms, table.lists)
        assumption = f"lists depend on each other only so: {name}; records are parted from persons at the given rates"
        if table.t > _MOST_LISTS:
            return refused("composite-link", name, "too-many-lists", assumption=assumption)
        start = fit_model(table, terms)
        if isinstance(start, int):
            code = {"code": start}
            return refused("composite-link", name, "model-not-estimable", assumption=assumption, details=code)
        kept = reduce_model(table.counts.astype(np.float64), table.t, terms)
        link = _Link(splitting(rates)[:, kept.keep], design(table.t, kept.finite)[kept.keep])
        fit = link.fit(table.counts[None, :].astype(np.float64), start.beta)
        if not fit.done[0]:
            return refused("composite-link", name, "not-converged", assumption=assumption)
        rng = np.random.default_rng(self.seed if self.seed is not None else int(table.digest[:16], 16))
        n = table.observed
        counts = rng.multinomial(n, table.counts / n, size=self.resamples).astype(np.float64)
        again = link.fit(counts, fit.beta[0])
        draws = again.n_hat[again.done & np.isfinite(again.n_hat)]
        details: dict[str, float | int | str | None] = {
            "uncorrected": start.n_hat,
            "clusters": n,
            "people_behind_them": float(fit.seen[0]),
            **{f"orphaned_{list_}": rate for list_, rate in zip(table.lists, rates, strict=True)},
            "resamples_without_estimate": self.resamples - draws.size,
        }
        if self.resamples - draws.size > _MOST_WITHOUT * self.resamples:
            reason = "resamples-without-estimate"
            return refused("composite-link", name, reason, assumption=assumption, details=details)
        low, high = np.quantile(draws, _LEVELS, method="median_unbiased")
        how = "percentile bootstrap, model and error rates as given"
        point = float(fit.n_hat[0])
        return Result(
            "composite-link", name, point, float(low), float(high), "ok", how, assumption, details, terms, draws
        )


@dataclass(frozen=True, eq=False)
class _LinkFit:
    """``beta`` (B, k); people on a list ``seen`` and in all ``n_hat`` (B,); whether scoring came to rest (B,)."""

    beta: Floats
    seen: Floats
    n_hat: Floats
    done: npt.NDArray[np.bool_]


class _Link:
    """Poisson likelihood of E n* = T exp(A b), by Fisher scoring on many tables at once."""

    def __init__(self, matrix: Floats, rows: Floats) -> None:
        self.fed = matrix.sum(axis=1) > 0  # a cluster that no person can become has no part
        self.matrix, self.rows = matrix[self.fed], rows

    def _means(self, beta: Floats) -> tuple[Floats, Floats]:
        people = np.exp(beta @ self.rows.T)
        return people, people @ self.matrix.T

    def _value(self, counts: Floats, beta: Floats) -> Floats:
        mu = self._means(beta)[1]
        return np.asarray((counts * np.log(mu) - mu).sum(axis=1))

    def fit(self, counts: Floats, start: Floats) -> _LinkFit:
        counts = counts[:, self.fed]
        beta = np.repeat(start[None, :], len(counts), axis=0)
        done = np.zeros(len(counts), dtype=bool)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            now = self._value(counts, beta)
            for _ in range(_MOST_STEPS):
                live = np.flatnonzero(~done)
                if not live.size:
                    break
                step, decrement = self._step(counts[live], beta[live])
                done[live] = decrement < _TOLERANCE
                for _ in range(30):
                    after = self._value(counts[live], beta[live] + step)
                    worse = ~(after >= now[live] - 1e-10 * (1 + np.abs(now[live])))
                    if not worse.any():
                        break
                    step[worse] /= 2
                beta[live] += step
                now[live] = self._value(counts[live], beta[live])
        seen = self._means(beta)[0].sum(axis=1)
        return _LinkFit(beta, seen, seen + np.exp(beta[:, 0]), done)

    def _step(self, counts: Floats, beta: Floats) -> tuple[Floats, Floats]:
        people, mu = self._means(beta)
        jacobian = np.einsum("ox,bx,xk->bok", self.matrix, people, self.rows, optimize=True)
        score = np.einsum("bok,bo->bk", jacobian, counts / mu - 1)
        information = np.einsum("bok,bol->bkl", jacobian, jacobian / mu[:, :, None])
        step = np.einsum("bkl,bl->bk", np.linalg.pinv(information, hermitian=True), score)
        return step, np.abs((score * step).sum(axis=1))
