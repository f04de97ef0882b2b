"""Averaging over decomposable graphs (Madigan & York 1997, Biometrika 84:19-31).

A graph joins lists that depend on each other. Under a hyper-Dirichlet prior (Dawid & Lauritzen 1993) the probability of
a table given a decomposable graph and the number n0 of unseen people has a closed form, so the posterior over
(graph, n0) is summed and never sampled. With N = n + n0, prior 1/N on N and all graphs alike,

    log w(g, n0) = logG(N+1) - logG(n0+1) - log N + sum over cliques of M - sum over separators of M,
    M(A) = logG(2^t d) - logG(N + 2^t d) + sum over cells a of the margin of A of
           logG(n_a + d 2^(t-|A|)) - logG(d 2^(t-|A|)),

where n_a of the cell on no list of A includes n0, and logG is the logarithm of the gamma function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from linkage.errors import EstimateError
from linkage.research.estimate.chains import table_seed, unfit
from linkage.research.estimate.chordal import MOST_LISTS, ChordalGraphs, chordal_graphs
from linkage.research.estimate.lattice import Floats, name_term, terms_from_names
from linkage.research.estimate.result import Result, refused
from linkage.research.estimate.table import HistoryTable

__all__ = ["DecomposableGraphs", "Posterior", "posterior"]

_REACH = 10_000  # the grid of n0 ends at this many times the people seen
_EDGE, _EDGE_MASS = 0.99, 1e-4  # what may lie in the last hundredth of the grid
_NEGLIGIBLE = 45.0  # log-density below the best at which a graph is left out; a peak is at least e^-15 wide
_LEFT_OUT = 1e-9
_COARSE, _FINE, _LINEAR = 1.05, 1.01, 2**12
_LUMP, _OUTSIDE = 1e-3, 1e-10
_CHUNK = 2**22
_COMPLETE = 0.05
_DRAWS = 4000
_SHOWN = 8
_LEVELS = (0.025, 0.5, 0.975)

Ints = npt.NDArray[np.int64]


class _Scores:
    """Log-density of graphs at values of n0, for one table and one delta."""

    def __init__(self, table: HistoryTable, graphs: ChordalGraphs, delta: float) -> None:
        t, self.n, self.all = table.t, table.observed, delta * 2**table.t
        self.graphs = graphs
        cells = np.arange(1, 2**t)
        self.none, self.prior = np.zeros(2**t), np.zeros(2**t)
        constant = np.zeros(2**t)
        for lists in range(1, 2**t):
            alpha = delta * 2 ** (t - lists.bit_count())
            margin = np.bincount(cells & lists, weights=table.counts, minlength=lists + 1)
            seen = margin[1:][margin[1:] > 0]
            constant[lists] = gammaln(self.all) - gammaln(alpha) + (gammaln(seen + alpha) - gammaln(alpha)).sum()
            self.none[lists], self.prior[lists] = margin[0], alpha
        self.constant = graphs.coefficients @ constant
        # Separators on nothing are left out, so the coefficients of a graph sum to its number of components.
        self.components = graphs.coefficients.sum(axis=1)

    def __call__(self, live: Ints, n0: Floats) -> Floats:
        """Log-density, shape ``(len(live), len(n0))``."""
        total = self.n + n0
        zero = gammaln(self.none[1:, None] + self.prior[1:, None] + n0)
        shared = gammaln(total + 1) - gammaln(n0 + 1) - np.log(total)
        value = self.graphs.coefficients[live][:, 1:] @ zero
        value -= self.components[live][:, None] * gammaln(total + self.all)
        value += self.constant[live][:, None] + shared
        return np.asarray(value)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior of the number of people on a grid of cells of n0.

    Attributes
    ----------
    n
        People seen.
    first, last
        Ends of the cells, whole numbers, ends included; shape ``(K,)``.
    mass
        Posterior of each cell.
    graphs
        Posterior of each graph, shape ``(G,)``; exactly 0 for graphs that were left out as negligible.
    graph_means
        Posterior mean of N given each graph; NaN for graphs that were left out.
    """

    n: int
    first: Floats
    last: Floats
    mass: Floats
    graphs: Floats
    graph_means: Floats

    @property
    def mean(self) -> float:
        """Posterior mean of the number of people."""
        return float(self.n + self.mass @ ((self.first + self.last) / 2))

    @property
    def edge(self) -> float:
        """Mass in the last hundredth of the grid."""
        return float(self.mass[self.first > _EDGE * self.last[-1]].sum())

    def quantiles(self, levels: Sequence[float] | Floats) -> Floats:
        """Give the least whole N with at least so much posterior at or below it, for each level."""
        below = np.concatenate([[0.0], np.cumsum(self.mass)])
        wanted = np.asarray(levels, dtype=np.float64) * below[-1]
        cell = np.clip(np.searchsorted(below, wanted, side="left") - 1, 0, self.mass.size - 1)
        width = self.last[cell] - self.first[cell] + 1
        share = (wanted - below[cell]) / np.maximum(self.mass[cell], np.finfo(float).tiny)
        inside = np.clip(np.ceil(share * width - 1e-9) - 1, 0, width - 1)
        return np.asarray(self.n + self.first[cell] + inside)


def _geometric(limit: int, ratio: float) -> Floats:
    """Whole numbers from 1 to a limit, each the former times a ratio, and at least one more."""
    steps = int(np.ceil(np.log(limit) / np.log(ratio)))
    return np.unique(np.minimum(np.floor(ratio ** np.arange(steps + 1)), limit))


def _survey(scores: _Scores, nodes: Floats) -> tuple[Ints, float, float]:
    """Find the graphs that count and the range of n0 where they do.

    Works on the density of log(n0). A peak between two nodes shows as a curved top: what a parabola through the top
    three nodes adds is what may be missed, so nodes are brought closer until that is small.
    """
    live: Ints = np.arange(len(scores.constant))
    low, high = 1.0, float(nodes[-1])
    for _ in range(30):
        value = scores(live, nodes) + np.log(nodes)
        top = value.argmax(axis=1)
        rows, middle = np.arange(live.size), np.clip(top, 1, nodes.size - 2)
        left, centre, right = (value[rows, middle + k] for k in (-1, 0, 1))
        bend = np.minimum(left - 2 * centre + right, -1e-9)
        gain = np.where(
            middle == top, np.minimum((left - right) ** 2 / (-8 * bend), centre - np.minimum(left, right)), 0
        )
        kept = value[rows, top] + 3 * gain >= value.max() - _NEGLIGIBLE
        live, gain, top, value = live[kept], gain[kept], top[kept], value[kept]
        counts = np.flatnonzero((value >= value.max() - _NEGLIGIBLE).any(axis=0))
        low = float(nodes[max(0, min(counts[0], top.min()) - 1)])
        high = float(nodes[min(nodes.size - 1, max(counts[-1], top.max()) + 1)])
        if gain.max() < 1 or high - low < nodes.size:
            break
        nodes = np.unique(np.floor(np.linspace(low, high, nodes.size)))
    return _weighty(scores, live, value, nodes), low, high


def _weighty(scores: _Scores, live: Ints, value: Floats, nodes: Floats) -> Ints:
    """Leave out the graphs that together hold next to nothing; the complete graph stays."""
    mass = np.exp(value - value.max()) @ np.gradient(np.log(nodes))
    order = np.argsort(mass, kind="stable")
    few = np.cumsum(mass[order]) < _LEFT_OUT * mass.sum()
    return np.union1d(live[order[~few]], [scores.graphs.complete])


def _summed(scores: _Scores, live: Ints, first: Floats, last: Floats) -> Posterior:
    """Sum the live graphs over cells, each with the density of its middle."""
    width, nodes = last - first + 1, (first + last) / 2
    mass, graph, moment = np.zeros(nodes.size), np.zeros(live.size), np.zeros(live.size)
    step = max(1, _CHUNK // live.size)
    top = -np.inf
    for at in range(0, nodes.size, step):
        part = slice(at, at + step)
        value = scores(live, nodes[part])
        if value.max() > top:  # what is summed so far is put in units of the new top
            scale = np.exp(top - value.max())
            mass, graph, moment, top = mass * scale, graph * scale, moment * scale, float(value.max())
        weight = np.exp(value - top) * width[part]
        mass[part] = weight.sum(axis=0)
        graph += weight.sum(axis=1)
        moment += weight @ nodes[part]
    total = mass.sum()
    posteriors = np.zeros(len(scores.constant))
    posteriors[live] = graph / total
    means = np.full(posteriors.size, np.nan)
    means[live] = np.divide(moment, graph, out=np.full(live.size, np.nan), where=graph > 0) + scores.n
    return Posterior(scores.n, first, last, mass / total, posteriors, means)


def _refined(scores: _Scores, live: Ints, low: float, high: float, limit: int) -> Posterior:
    """Sum over all n0 up to the limit: every whole number where mass lies as far as that is affordable."""
    everywhere = _geometric(limit, _FINE)
    while True:
        last = np.union1d(everywhere, np.floor(np.linspace(low, high, _LINEAR)))
        first = np.append(1.0, last[:-1] + 1)
        found = _summed(scores, live, first, last)
        lump = found.mass[last > first].max(initial=0.0)
        held = np.flatnonzero(found.mass > _OUTSIDE)
        nearer = float(first[held[0]]), float(last[held[-1]])
        if lump < _LUMP or nearer[1] - nearer[0] > 0.5 * (high - low):
            return found
        low, high = nearer


def posterior(
    table: HistoryTable,
    delta: float,
    *,
    grid: Sequence[int] | Ints | None = None,
    joined: tuple[int, ...] = (),
) -> Posterior:
    """Compute the posterior over graphs and numbers of people.

    Parameters
    ----------
    table
        One to six lists, at least one person.
    delta
        Prior count in each cell of the full table.
    grid
        Increasing values of n0, from 1, that alone are possible, all alike. Without it n0 runs over every whole number
        from 1 to 10,000 n, summed in cells so narrow that the density hardly changes inside. (At n0 = 0 the complete
        graph, which knows nothing of the unseen, has a spike of size gamma(delta).)
    joined
        Pairs of lists, as bitmasks, that are joined in every graph.
    """
    scores = _Scores(table, chordal_graphs(table.t, joined), delta)
    if grid is None:
        limit = _REACH * table.observed
        live, low, high = _survey(scores, _geometric(limit, _COARSE))
        return _refined(scores, live, low, high, limit)
    nodes = np.asarray(grid, dtype=np.float64)
    picked = np.searchsorted(nodes, _geometric(int(nodes[-1]), _COARSE)).clip(0, nodes.size - 1)
    live, _, _ = _survey(scores, nodes[np.unique(picked)])
    return _summed(scores, live, nodes, nodes)


@dataclass(frozen=True)
class DecomposableGraphs:
    """Bayesian averaging over all decomposable graphs on three to six lists (Madigan & York 1997).

    Parameters
    ----------
    delta
        Prior count in each of the 2^t cells; 2^-t without it. Large values favour the complete graph, which knows
        nothing of the unseen, so the answer falls to just above the number seen: see ``details``.
    grid
        Increasing values of n0 that alone are possible. Without it all up to 10,000 times the people seen.
    seed
        Seed of the draws. Without it the seed comes from the table.
    referrals
        Pairs of list names that are joined in every graph: the prior is uniform over the graphs that join them all.

    Assumptions
    -----------
    Lists depend on each other only as in some decomposable graph; all people with one history are alike; before the
    data all graphs (that join the referrals) are alike and the number of people has density 1/N.

    Attributes
    ----------
    The estimate is the posterior median, the interval the equal-tailed 95% posterior interval, summed and not
    sampled; ``draws`` are stratified draws from it. ``details`` hold the posterior mean, the posterior of the complete
    graph (with a warning above 5%), the most probable graphs, and median and interval at delta 2^-t, 2^-(t-1) and
    2^-(t-2). Refused with ``grid-edge`` where the last hundredth of the grid holds 1e-4 of the mass or more, and with
    ``model-not-estimable`` where referrals leave the complete graph alone, which has no information about the unseen.
    """

    delta: float | None = None
    grid: Sequence[int] | None = None
    seed: int | None = None
    referrals: tuple[tuple[str, str], ...] = ()

    def fit(self, table: HistoryTable) -> Result:
        """Estimate from a table of three to six lists.

        Raises
        ------
        EstimateError
            ``delta`` is not positive, ``grid`` is not three or more increasing numbers from 1, or a referral names no
            pair of lists.
        """
        self._check()
        joined = terms_from_names(self.referrals, table.lists)
        if any(pair.bit_count() != 2 for pair in joined):
            raise EstimateError("a referral must name a pair of lists", reason="unknown-list")
        assumption = "lists depend on each other as in one of the decomposable graphs, averaged over all of them"
        reason = unfit(table, MOST_LISTS)
        if reason:
            return refused("decomposable-graphs", "average", reason, assumption=assumption)
        graphs = chordal_graphs(table.t, joined)
        if len(graphs.coefficients) == 1:
            return refused("decomposable-graphs", "complete graph", "model-not-estimable", assumption=assumption)
        base = 2.0**-table.t
        delta = base if self.delta is None else self.delta
        deltas = sorted({delta, base, 2 * base, 4 * base})
        every = {d: posterior(table, d, grid=self.grid, joined=joined) for d in deltas}
        found = every[delta]
        details = _describe(found, graphs, table.lists) | {"delta": delta} | _sensitivity(every, graphs)
        if found.edge >= _EDGE_MASS:
            return refused("decomposable-graphs", "average", "grid-edge", assumption=assumption, details=details)
        lower, median, upper = found.quantiles(_LEVELS).tolist()
        best = int(found.graphs.argmax())
        return Result(
            "decomposable-graphs",
            f"average; most probable {_name(graphs, best, table.lists)}",
            median,
            lower,
            upper,
            interval="equal-tailed posterior interval, averaged over graphs",
            assumption=assumption,
            details=details,
            terms=_interactions(graphs, best),
            draws=self._draws(table, found),
        )

    def _check(self) -> None:
        if self.delta is not None and not (np.isfinite(self.delta) and self.delta > 0):
            raise EstimateError("delta must be a positive number", reason="bad-parameter")
        if self.grid is not None:
            grid = np.asarray(self.grid)
            if grid.ndim != 1 or grid.size < 3 or grid[0] < 1 or (np.diff(grid) <= 0).any():
                raise EstimateError("the grid must be three or more increasing numbers from 1", reason="bad-parameter")

    def _draws(self, table: HistoryTable, found: Posterior) -> Floats:
        rng = np.random.default_rng(table_seed(table, self.seed))
        levels = (np.arange(_DRAWS) + rng.random(_DRAWS)) / _DRAWS
        return np.asarray(rng.permutation(found.quantiles(levels)))


def _interactions(graphs: ChordalGraphs, graph: int) -> tuple[int, ...]:
    """All sets of two lists or more inside a clique."""
    cliques = graphs.cliques(graph)
    return tuple(s for s in range(2**graphs.t) if s.bit_count() > 1 and any(s & c == s for c in cliques))


def _name(graphs: ChordalGraphs, graph: int, lists: tuple[str, ...]) -> str:
    return "".join(f"[{name_term(clique, lists)}]" for clique in graphs.cliques(graph))


def _describe(found: Posterior, graphs: ChordalGraphs, lists: tuple[str, ...]) -> dict[str, float | int | str | None]:
    """Figures beside the estimate."""
    complete = float(found.graphs[graphs.complete])
    order = np.argsort(-found.graphs, kind="stable")[:_SHOWN]
    shown = [f"{_name(graphs, int(g), lists)} {found.graphs[g]:.3f}" for g in order if found.graphs[g] >= 5e-4]
    warning = (
        "the complete graph, which has no information about the unseen, is probable" if complete > _COMPLETE else None
    )
    return {
        "mean": found.mean,
        "graphs": len(found.graphs),
        "top_graphs": "; ".join(shown),
        "complete_graph": complete,
        "warning": warning,
        "largest_unseen": float(found.last[-1]),
        "mass_at_edge": found.edge,
    }


def _sensitivity(every: dict[float, Posterior], graphs: ChordalGraphs) -> dict[str, float | int | str | None]:
    """Median, interval and complete graph at each delta."""
    details: dict[str, float | int | str | None] = {}
    for delta, found in every.items():
        values = found.quantiles(_LEVELS).tolist()
        details |= {
            f"{name}_at_delta_{delta:g}": v for name, v in zip(("lower", "median", "upper"), values, strict=True)
        }
        details[f"complete_graph_at_delta_{delta:g}"] = float(found.graphs[graphs.complete])
    return details
