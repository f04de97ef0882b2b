"""The posterior over partitions: how likely it is that records are one person, and partitions drawn from it.

Persons are taken to come from a Poisson process: so many are expected on exactly these lists, for every set of lists,
and which of a list's records belongs to whom is open. A set of records is then one person with the weight

    expected number of persons on exactly its lists x exp(match weights that hold it together, less contradictions),

and a partition with the product over its persons. The expected numbers are learnt from the posterior itself
(expectation-maximisation), so that a record whose like nearly always has a partner is harder left alone, and
two sources that share nobody do not link by chance. The match weights within a person of many records repeat each
other's evidence: of k records only k - 1 pairs are independent. Those of the heaviest spanning tree count in full; the
others only as far as they contradict, and 2/k of that (:func:`linkage.hub.weights.set_weight`).

Components of few records are summed exactly (:mod:`linkage.hub.enumeration`), larger ones sampled in several chains
(:mod:`linkage.hub.sampling`, :mod:`linkage.hub.chains`), with diagnostics.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from linkage.errors import LinkError
from linkage.hub.chains import run_chains, warm
from linkage.hub.cluster import THRESHOLD, cluster
from linkage.hub.enumeration import MOST, enumerate_components
from linkage.hub.weights import Model

__all__ = ["DRAWS", "MOST_SOURCES", "Draws", "Posterior", "Question", "posterior"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS = 50
MOST_SOURCES = 16
"""Lists whose sets are all counted."""

_NEAR = 0.01  # probability of a pair below which it cannot join persons
_STRICT = 0.9  # probability of pairs that the other chain starts from: fewer links, where the first has more
_ROUNDS = 10
_SETTLED = 4  # rounds after which sampled numbers of persons are averaged: what still moves them is chance
_CHANGE, _CHANGE_SAMPLED = 1e-4, 1e-3  # share of persons by which these numbers change no more
_DOUBT = 0.05  # summed p (1 - p) of a record's likely pairs above which every sweep visits it
_CHUNK = 1 << 16  # records of components that are summed in one go
_FLOOR = -3.0  # nats that one pair can say against a person of three records or more
_CEILING = 0.0  # ... and for it: nothing, it repeats those that hold the person together
_LARGEST = 64  # records of a person up to which contradictions count ever less


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
        int32, shape (records,): the first record of each record's person in the first draw.
    open
        int64: records whose label is not the same in every draw, ascending.
    drawn
        int32, shape (draws, open): their labels in each draw.
    diagnostics
        ``summed_records`` and ``sampled_records``, ``largest_component``; where records are sampled, those of the
        chains (:class:`linkage.hub.chains.Chains`) too.
    """

    probability: Floats
    label: NDArray[np.int32]
    open: Ints
    drawn: NDArray[np.int32]
    diagnostics: dict[str, Any]


def posterior(question: Question, *, draws: int = DRAWS, seed: int = 0) -> Posterior:
    """Compute pair probabilities under the posterior over partitions, and draw from it.

    Raises
    ------
    LinkError
        More than 16 sources, or a weight or probability that is no number or not finite.
    """
    _check(question)
    graph = _Graph.of(question)
    whole = graph.model(question)
    part, place = _cut(whole, graph.large)
    lists, label = _learn(question, graph, whole, part, seed)
    summed = _sum_small(graph, _expecting(whole, question, lists), max(draws, 1), seed)
    pairs, base = summed.pairs, np.arange(len(question.source), dtype=np.int32)
    base[graph.small] = summed.label
    record, drawn = summed.open, summed.drawn
    diagnostics: dict[str, Any] = {
        "summed_records": len(graph.small),
        "sampled_records": len(graph.large),
        "largest_component": graph.largest,
    }
    if len(graph.large):
        starts = _likely(question, graph, _STRICT), label
        chains = run_chains(_expecting(part, question, lists), graph.doubtful, starts, max(draws, 1), seed)
        pairs[place] = chains.pairs
        base[graph.large] = graph.large[chains.label[0]]
        moved = np.flatnonzero((chains.label != chains.label[0]).any(axis=0))
        record = np.concatenate([record, graph.large[moved]])
        drawn = np.concatenate([drawn, graph.large.astype(np.int32)[chains.label[:, moved]]], axis=1)
        diagnostics |= chains.diagnostics
    order = np.argsort(record)
    inside = graph.component[question.left] == graph.component[question.right]
    # Where no component holds two records there is no pair to look up.
    found = np.append(pairs, 0.0)[graph.place]
    probability = np.where(inside, found, np.minimum(question.probability, _NEAR))
    return Posterior(probability, base, record[order], drawn[:draws, order], diagnostics)


def _check(question: Question) -> None:
    if len(question.single) > MOST_SOURCES:
        raise LinkError(f"more than {MOST_SOURCES} sources", reason="too-many-sources")
    numbers = question.weight, question.far, question.matches, question.probability
    if not all(np.isfinite(values).all() for values in numbers):
        raise LinkError("a match weight or probability is not a finite number", reason="bad-weights")
    if not ((question.probability >= 0) & (question.probability <= 1)).all():
        raise LinkError("a match probability is not a number from 0 to 1", reason="bad-weights")


def _learn(question: Question, graph: _Graph, whole: Model, part: Model, seed: int) -> tuple[Floats, Ints]:
    """Learn the expected numbers of persons by lists; return them and a likely partition of the sampled records."""
    lists, label = _start(question), _likely(question, graph, THRESHOLD)
    sampled: list[Floats] = []
    for turn in range(_ROUNDS):
        before = lists
        lists = graph.alone + _sum_small(graph, _expecting(whole, question, before), 0, seed).lists
        if len(graph.large):
            label, found = warm(_expecting(part, question, before), graph.doubtful, label, seed + turn)
            sampled.append(found)
            lists = lists + np.mean(sampled[min(turn, _SETTLED) :], axis=0)
        enough = _CHANGE if not len(graph.large) else _CHANGE_SAMPLED if turn > _SETTLED else 0.0
        if np.abs(lists - before).sum() < 0.01 + enough * lists.sum():
            break
    return lists, label


def _start(question: Question) -> Floats:
    """Expect as many persons on every pair of lists as there seem to be; none on more yet.

    Of d + 1 records of a person in one source each counts for one part in d + 1, d being the matches expected there.
    """
    number, ends, chance = len(question.single), (question.left, question.right), question.probability
    a, b = question.source[question.left], question.source[question.right]
    again = np.where(a == b, chance, 0.0)
    records = len(question.source)
    share: Floats = 1 / (1 + np.sum([np.bincount(end, weights=again, minlength=records) for end in ends], axis=0))
    persons = np.bincount(question.source, weights=share, minlength=number)
    pair = np.minimum(a, b) * number + np.maximum(a, b)
    weights = chance, chance * share[question.left] * share[question.right]
    pairs, met = (np.bincount(pair, weights=w, minlength=number**2).reshape(number, number) for w in weights)
    matches = np.triu(question.matches * np.where(pairs > 0, met / np.maximum(pairs, 1e-300), 1.0), 1)
    lists = np.zeros(1 << number)
    for s in range(number):
        lists[1 << s] = max(persons[s] - matches[s].sum() - matches[:, s].sum(), 0.05 * persons[s])
        for other in range(s + 1, number):
            lists[(1 << s) | (1 << other)] = matches[s, other]
    return lists


def _likely(question: Question, graph: _Graph, threshold: float) -> Ints:
    """Return a likely partition of the sampled records: pairs above the threshold, best first, as far as they fit.

    From single records a chain would never find persons of a hundred: no two of them are likely to be alone together.
    """
    place = np.full(len(question.source), -1)
    place[graph.large] = np.arange(len(graph.large))
    chosen = np.flatnonzero((place[question.left] >= 0) & (question.probability > _NEAR))
    pairs = place[question.left[chosen]], place[question.right[chosen]], question.probability[chosen]
    source = question.source[graph.large].astype(np.int16)
    return cluster(*pairs, source, question.single, np.zeros((0, 2), np.int64), threshold=threshold)


def _expecting(model: Model, question: Question, lists: Floats) -> Model:
    """Return the model in which so many persons are expected on every set of lists."""
    number = len(question.single)
    sets = np.arange(1 << number)
    on = (sets[:, None] >> np.arange(number)) & 1
    records = lists @ on  # persons, that is, on each list
    # One person more, half spread as if being on one list said nothing of being on another, half evenly: a set of lists
    # on which nobody was seen is rare, not out of the question.
    share = np.clip(records / lists.sum(), 1e-6, 1 - 1e-6)
    spread = np.prod(np.where(on == 1, share, 1 - share), axis=1)
    spread[0] = 0
    person = np.full(len(sets), -np.inf)
    person[1:] = np.log(lists[1:] + 0.5 * spread[1:] / spread.sum() + 0.5 / (len(sets) - 1))
    sizes = np.maximum(np.bincount(question.source, minlength=number), 1)
    again = np.clip(1 - records / sizes, 1e-6, 1 - 1e-6)
    person += (on * np.where(question.single, 0.0, np.log1p(-again))).sum(axis=1)
    return model._replace(person=person, repeat=np.log(again))


@dataclass(frozen=True)
class _Graph:
    """Records as nodes, all weighed pairs as edges; components are joined by likely pairs only."""

    starts: Ints
    others: NDArray[np.int32]
    weights: Floats
    near_starts: Ints
    near: NDArray[np.int32]
    near_weights: Floats
    place: Ints  # of each pair, as seen from its left record
    component: NDArray[np.int32]
    small: Ints  # records of components that are summed, one component after the other
    small_bounds: Ints
    large: Ints  # records of those that are sampled
    doubtful: NDArray[np.bool_]  # (large,): whether the pairs of a sampled record leave it open
    alone: Floats  # (2^sources,) persons who are single records without a likely partner
    largest: int

    @classmethod
    def of(cls, question: Question) -> _Graph:
        records = len(question.source)
        likely = question.probability > _NEAR
        near = question.left[likely], question.right[likely]
        joined = coo_array((np.ones(len(near[0]), np.int8), near), shape=(records, records))
        component = connected_components(joined, directed=False)[1].astype(np.int32)
        inside = np.flatnonzero(component[question.left] == component[question.right])
        starts, others, order = _both_ways(question.left[inside], question.right[inside], records)
        near_starts, near_others, near_order = _both_ways(*near, records)
        place, back = np.zeros(len(question.left), np.int64), np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        place[inside] = back[: len(inside)]
        sizes = np.bincount(component)
        by_component = np.argsort(component, kind="stable")
        size_of = sizes[component[by_component]]
        small = by_component[(size_of > 1) & (size_of <= MOST)]
        large = np.sort(by_component[size_of > MOST])
        alone = np.bincount(1 << question.source[by_component[size_of == 1]], minlength=1 << len(question.single))
        spread = question.probability[likely] * (1 - question.probability[likely])
        doubt = sum(np.bincount(end, weights=spread, minlength=records) for end in near)
        return cls(
            starts=starts,
            others=others,
            weights=np.tile(question.weight[inside], 2)[order],
            near_starts=near_starts,
            near=near_others,
            near_weights=np.tile(question.weight[likely], 2)[near_order],
            place=place,
            component=component,
            small=small,
            small_bounds=np.flatnonzero(np.diff(component[small], prepend=-1, append=-1)),
            large=large,
            doubtful=np.asarray(doubt)[large] > _DOUBT,
            alone=alone.astype(np.float64),
            largest=int(sizes.max(initial=0)),
        )

    def model(self, question: Question) -> Model:
        """Return the model that expects nobody as yet, see :func:`_expecting`."""
        sizes = np.maximum(np.arange(_LARGEST + 1), 2)
        return Model(
            source=question.source,
            single=question.single,
            person=np.zeros(0),
            repeat=np.zeros(0),
            shrink=2 / sizes,
            starts=self.starts,
            others=self.others,
            weights=self.weights,
            near_starts=self.near_starts,
            near=self.near,
            near_weights=self.near_weights,
            far=question.far,
            floor=_FLOOR,
            ceiling=_CEILING,
        )


def _both_ways(left: Ints, right: Ints, records: int) -> tuple[Ints, NDArray[np.int32], Ints]:
    """Return where each record's neighbours start, the neighbours, ascending, and their order out of both ways."""
    here, there = np.concatenate([left, right]), np.concatenate([right, left])
    order = np.argsort(here * records + there)
    starts = np.concatenate([[0], np.cumsum(np.bincount(here, minlength=records))])
    return starts, there[order].astype(np.int32), order


def _cut(model: Model, records: Ints) -> tuple[Model, Ints]:
    """Return the model of some whole components alone, and where its neighbours stand in the whole one's."""
    new = np.full(len(model.source), -1, np.int32)
    new[records] = np.arange(len(records))
    starts, place = _rows(model.starts, records)
    near_starts, near_place = _rows(model.near_starts, records)
    return model._replace(
        source=model.source[records],
        starts=starts,
        others=new[model.others[place]],
        weights=model.weights[place],
        near_starts=near_starts,
        near=new[model.near[near_place]],
        near_weights=model.near_weights[near_place],
    ), place


def _rows(starts: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Return the starts of some rows' entries when these stand alone, and where each of them stood."""
    lengths = starts[chosen + 1] - starts[chosen]
    new = np.concatenate([[0], np.cumsum(lengths)])
    return new, np.arange(new[-1]) + np.repeat(starts[chosen] - new[:-1], lengths)


@dataclass(frozen=True)
class _Summed:
    lists: Floats
    pairs: Floats  # (neighbours,)
    label: NDArray[np.int32]  # (small,), in the first draw
    open: Ints  # small records whose label varies
    drawn: NDArray[np.int32]  # (draws, open)


def _sum_small(graph: _Graph, model: Model, draws: int, seed: int) -> _Summed:
    """Sum over the small components, some at a time, so that only draws that vary are held; without draws no pairs."""
    pairs = np.zeros(len(graph.others) if draws else 0)
    ends = np.searchsorted(graph.small_bounds, np.arange(0, len(graph.small), _CHUNK)[1:])
    edges = np.unique(np.concatenate([[0], ends, [max(len(graph.small_bounds) - 1, 0)]]))

    def one(chunk: int) -> _Summed:
        bounds = graph.small_bounds[edges[chunk] : edges[chunk + 1] + 1]
        records = graph.small[bounds[0] : bounds[-1]]
        lists, label = enumerate_components(model, records, bounds - bounds[0], draws, seed + chunk, pairs)
        varies = np.flatnonzero((label != label[:1]).any(axis=0))
        return _Summed(lists, pairs, label[0] if draws else np.zeros(0, np.int32), records[varies], label[:, varies])

    with ThreadPoolExecutor(get_num_threads()) as pool:
        found = list(pool.map(one, range(len(edges) - 1)))
    nothing = np.zeros(0, np.int32)
    return _Summed(
        lists=np.sum([np.zeros(len(model.person)), *(part.lists for part in found)], axis=0),
        pairs=pairs,
        label=np.concatenate([nothing, *(part.label for part in found)]),
        open=np.concatenate([nothing.astype(np.int64), *(part.open for part in found)]),
        drawn=np.concatenate([np.zeros((draws, 0), np.int32), *(part.drawn for part in found)], axis=1),
    )
