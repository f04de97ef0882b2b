"""The posterior over partitions: how likely it is that records are one person, and partitions drawn from it.

Persons are taken to come from a Poisson process: so many are expected on exactly these lists, for every set of lists,
and which of a list's records belongs to whom is open. A set of records is then one person with the weight

    expected number of persons on exactly its lists x exp(match weights between its records, summed and shrunk),

and a partition with the product over its persons. The expected numbers are learnt from the posterior itself
(expectation-maximisation), so that a record whose like nearly always has a partner is harder left alone, and
two sources that share nobody do not link by chance. The match weights within a person of many records repeat each
other's evidence: of k records only k - 1 pairs are independent, so that their sum counts 2/k of itself.

Components of few records are summed exactly (:mod:`linkage.hub.enumeration`), larger ones sampled in several chains
(:mod:`linkage.hub.sampling`), with diagnostics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from linkage.errors import LinkError
from linkage.hub.enumeration import MOST, enumerate_components
from linkage.hub.sampling import Model, sample

__all__ = ["DRAWS", "Draws", "Posterior", "Question", "posterior"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS = 50
_SOURCES = 16  # lists whose sets are all counted
_NEAR = 0.01  # probability of a pair below which it cannot join persons
_ROUNDS = 10
_CHAINS = 2
_WARM_SWEEPS = 8  # sweeps between two estimates of the expected numbers of persons
_WARM_UP, _SWEEPS, _EVERY = 40, 120, 4  # sweeps of a chain before and while every fourth partition is kept
_PAIRS_OF = 1.0  # power of 2/k by which the summed weights of k records count
_FLOOR = -3.0  # nats that one pair can say against a person of three records or more
_CEILING = 0.0
_LARGEST = 64  # records of a person up to which that factor falls


@dataclass(frozen=True)
class Draws:
    """Partitions drawn from the posterior, written down only where they differ.

    Attributes
    ----------
    record
        int64, shape (open,): records, as rows of ``Linked.persons``, whose person is not the same in every draw. All
        other records keep ``Linked.persons["person"]`` in every draw, and share it with no open record.
    person
        uint32, shape (draws, open): person of each open record in each draw. Within a draw equal numbers are one
        person; numbers from one draw mean nothing in another.
    """

    record: NDArray[np.int64]
    person: NDArray[np.uint32]


@dataclass(frozen=True)
class Question:
    """What is asked: records, and the weighed pairs of them.

    Attributes
    ----------
    source
        int64, shape (records,).
    single
        bool, shape (sources,): whether a source gives at most one record to a person.
    left, right
        int64, shape (pairs,), ``left < right``, each pair once; none of one single source.
    weight
        float64, shape (pairs,): match weight, calibrated.
    probability
        float64, shape (pairs,): as known pair by pair, without the other pairs of the two records' persons.
    far
        float64, shape (sources, sources): match weight of pairs that are not listed.
    matches
        float64, shape (sources, sources): expected matches, upper triangle: where the search starts.
    """

    source: Ints
    single: NDArray[np.bool_]
    left: Ints
    right: Ints
    weight: Floats
    probability: Floats
    far: Floats
    matches: Floats


@dataclass(frozen=True)
class Posterior:
    """The posterior.

    Attributes
    ----------
    probability
        float64, shape (pairs,): probability of each pair to be one person.
    label
        int32, shape (draws, records): person of each record in each draw, by the first of its records.
    diagnostics
        ``summed`` and ``sampled`` records, ``largest_component``, and of the sampled ones the split R-hat and effective
        number of draws of the number of links.
    """

    probability: Floats
    label: NDArray[np.int32]
    diagnostics: dict[str, Any]


def posterior(question: Question, *, draws: int = DRAWS, seed: int = 0) -> Posterior:
    """Compute pair probabilities under the posterior over partitions, and draw from it.

    Raises
    ------
    LinkError
        More than 16 sources.
    """
    if len(question.single) > _SOURCES:
        raise LinkError(f"more than {_SOURCES} sources", reason="too-many-sources")
    graph = _Graph.of(question)
    lists = _start(question)
    label = np.arange(len(graph.large))
    for turn in range(_ROUNDS):
        before = lists
        model = graph.model(question, lists)
        lists, _, _ = enumerate_components(model, graph.small, graph.small_bounds, 0, 0)
        lists += graph.alone
        if len(graph.large):
            label, found = _warm(graph, model, label, seed + turn)
            lists += found
        if np.abs(lists - before).sum() < 0.01 + 1e-4 * lists.sum():
            break
    model = graph.model(question, lists)
    _, pairs, drawn = enumerate_components(model, graph.small, graph.small_bounds, draws, seed)
    diagnostics: dict[str, Any] = {
        "summed_records": len(graph.small),
        "sampled_records": len(graph.large),
        "largest_component": graph.largest,
    }
    if len(graph.large):
        chains = _run_chains(graph, model, label, seed)
        pairs = pairs + chains.pairs
        drawn[:, graph.large] = graph.large[chains.drawn(draws)]
        diagnostics |= chains.diagnostics
    alone = np.flatnonzero(drawn[0] < 0) if draws else np.zeros(0, np.int64)
    drawn[:, alone] = alone
    inside = graph.component[question.left] == graph.component[question.right]
    probability = np.where(inside, pairs[graph.place], np.minimum(question.probability, _NEAR))
    return Posterior(probability, drawn, diagnostics)


def _start(question: Question) -> Floats:
    """Expect as many persons on every pair of lists as there seem to be matches; none on more yet."""
    number = len(question.single)
    lists = np.zeros(1 << number)
    matches = np.triu(question.matches, 1)
    sizes = np.bincount(question.source, minlength=number).astype(float)
    for a in range(number):
        lists[1 << a] = max(sizes[a] - matches[a].sum() - matches[:, a].sum() - question.matches[a, a], 0.05 * sizes[a])
        for b in range(a + 1, number):
            lists[(1 << a) | (1 << b)] = matches[a, b]
    return lists


@dataclass(frozen=True)
class _Graph:
    """Records as nodes, all weighed pairs as edges; components are joined by likely pairs only."""

    starts: Ints
    others: Ints
    weights: Floats
    near_starts: Ints
    near: Ints
    place: Ints  # of each pair, as seen from its left record
    component: Ints
    small: Ints  # records of components that are summed, one component after the other
    small_bounds: Ints
    large: Ints  # records of those that are sampled
    alone: Floats  # (2^sources,) persons who are single records without a likely partner
    largest: int

    @classmethod
    def of(cls, question: Question) -> _Graph:
        records, pairs = len(question.source), len(question.left)
        likely = question.probability > _NEAR
        ends = question.left[likely], question.right[likely]
        joined = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(records, records))
        component = connected_components(joined, directed=False)[1].astype(np.int64)
        inside = component[question.left] == component[question.right]
        a, b = question.left[inside], question.right[inside]
        order = np.lexsort((np.concatenate([b, a]), np.concatenate([a, b])))
        place = np.zeros(pairs, np.int64)
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        place[inside] = back[: len(a)]
        starts = np.searchsorted(np.concatenate([a, b])[order], np.arange(records + 1))
        near_of, near = np.concatenate(ends), np.concatenate(ends[::-1])
        by_record = np.argsort(near_of, kind="stable")
        sizes = np.bincount(component)
        by_component = np.argsort(component, kind="stable")
        size_of = sizes[component[by_component]]
        small = by_component[(size_of > 1) & (size_of <= MOST)]
        alone = np.zeros(1 << len(question.single))
        np.add.at(alone, 1 << question.source[by_component[size_of == 1]], 1.0)
        return cls(
            starts=starts,
            others=np.concatenate([b, a])[order],
            weights=np.tile(question.weight[inside], 2)[order],
            near_starts=np.searchsorted(near_of[by_record], np.arange(records + 1)),
            near=near[by_record],
            place=place,
            component=component,
            small=small,
            small_bounds=np.concatenate([[0], np.flatnonzero(np.diff(component[small])) + 1, [len(small)]])
            if len(small)
            else np.zeros(1, np.int64),
            large=np.sort(by_component[size_of > MOST]),
            alone=alone,
            largest=int(sizes.max(initial=0)),
        )

    def model(self, question: Question, lists: Floats) -> Model:
        """Return the model in which so many persons are expected on every set of lists."""
        number = len(question.single)
        sets = np.arange(1 << number)
        on = (sets[:, None] >> np.arange(number)) & 1
        total = lists.sum()
        # One person more, spread over all sets of lists as if being on one said nothing of being on another.
        share = np.clip((lists[:, None] * on).sum(axis=0) / total, 1e-6, 1 - 1e-6)
        spread = np.prod(np.where(on == 1, share, 1 - share), axis=1)
        spread[0] = 0
        person = np.full(len(sets), -np.inf)
        person[1:] = np.log(lists[1:] + spread[1:] / spread.sum())
        sizes = np.maximum(np.bincount(question.source, minlength=number), 1)
        again = np.clip(1 - (lists[:, None] * on).sum(axis=0) / sizes, 1e-6, 1 - 1e-6)
        person += (on * np.where(question.single, 0.0, np.log1p(-again))).sum(axis=1)
        sizes = np.maximum(np.arange(_LARGEST + 1), 2)
        return Model(
            question.source,
            question.single,
            person,
            np.log(again),
            (2 / sizes) ** _PAIRS_OF,
            self.starts,
            self.others,
            self.weights,
            self.near_starts,
            self.near,
            question.far,
            _FLOOR,
            _CEILING,
        )


@dataclass(frozen=True)
class _Chains:
    pairs: Floats
    kept: list[Ints]
    diagnostics: dict[str, float]

    def drawn(self, draws: int) -> Ints:
        """Take draws evenly from all chains."""
        each = -(-draws // len(self.kept))
        taken = [chain[np.linspace(0, len(chain) - 1, each).astype(int)] for chain in self.kept]
        return np.array([_first_of(label) for label in np.concatenate(taken)[:draws]])


def _first_of(label: Ints) -> Ints:
    """Name every person by the first of its records."""
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    named: Ints = first[inverse]
    return named


def _cut(graph: _Graph, model: Model) -> tuple[Model, Ints]:
    """Return the model of the sampled records alone, and where its neighbours stand in the whole one's."""
    new = np.full(len(model.source), -1)
    new[graph.large] = np.arange(len(graph.large))
    starts, place = _rows(graph.starts, graph.large)
    near_starts, near_place = _rows(graph.near_starts, graph.large)
    return model._replace(
        source=model.source[graph.large],
        starts=starts,
        others=new[graph.others[place]],
        weights=graph.weights[place],
        near_starts=near_starts,
        near=new[graph.near[near_place]],
    ), place


def _rows(starts: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Return the starts of some rows' entries when these stand alone, and where each of them stood."""
    lengths = starts[chosen + 1] - starts[chosen]
    new = np.concatenate([[0], np.cumsum(lengths)])
    return new, np.arange(new[-1]) + np.repeat(starts[chosen] - new[:-1], lengths)


def _warm(graph: _Graph, model: Model, label: Ints, seed: int) -> tuple[Ints, Floats]:
    """Go on with one chain for a while; return its state and the mean number of persons by lists."""
    part, _ = _cut(graph, model)
    kept, _ = sample(part, label, _WARM_SWEEPS, 1, seed)
    kept = kept[_WARM_SWEEPS // 2 :]
    found = np.array([_persons_by_lists(one, part.source, len(model.person)) for one in kept])
    return kept[-1], found.mean(axis=0)


def _persons_by_lists(label: Ints, source: Ints, sets: int) -> Floats:
    lists = np.zeros(len(label), np.int64)
    np.bitwise_or.at(lists, label, 1 << source)
    return np.bincount(lists[np.unique(label)], minlength=sets).astype(np.float64)


def _run_chains(graph: _Graph, model: Model, label: Ints, seed: int) -> _Chains:
    """Sample the large components: half of the chains start from records apart, half from where the search ended."""
    part, place = _cut(graph, model)
    left = np.repeat(np.arange(len(part.source)), np.diff(part.starts))
    kept, links = [], []
    pairs = np.zeros(len(graph.others))
    for chain in range(_CHAINS):
        start = label if chain % 2 else np.arange(len(label))
        states, counted = sample(part, start.copy(), _WARM_UP + _SWEEPS, _EVERY, seed * _CHAINS + chain)
        kept.append(states[_WARM_UP // _EVERY :])
        links.append(counted[_WARM_UP:])
        for state in states[_WARM_UP // _EVERY :]:
            pairs[place] += state[left] == state[part.others]
    states_kept = sum(len(states) for states in kept)
    return _Chains(pairs / states_kept, kept, _convergence(np.array(links)))


def _convergence(links: Floats) -> dict[str, float]:
    """Return split R-hat and effective sample size of the number of links (Gelman et al. 2013, section 11.4-5)."""
    half = links.shape[1] // 2
    chains = np.concatenate([links[:, :half], links[:, half : 2 * half]])
    within = float(chains.var(axis=1, ddof=1).mean())
    between = float(chains.mean(axis=1).var(ddof=1))
    total = within * (half - 1) / half + between
    if total <= 0:
        return {"r_hat": 1.0, "effective_draws": float(chains.size)}
    if within <= 0:
        return {"r_hat": float("inf"), "effective_draws": float(len(chains))}
    correlation = 0.0
    for lag in range(1, half):
        gap = chains[:, lag:] - chains[:, :-lag]
        at_lag = 1 - float((gap**2).mean()) / (2 * total)
        if at_lag < 0.05:
            break
        correlation += at_lag
    return {"r_hat": float(np.sqrt(total / within)), "effective_draws": float(chains.size / (1 + 2 * correlation))}
