"""The pairs of records that look alike enough to be weighed, out of all pairs.

Three steps, so that many machines can share the work: :func:`plan_comparison` decides, once, what is to be done;
:func:`examine` does a shard of it and needs no other shard; :func:`gather` puts the findings together, the same bit for
bit however the work was cut and in whatever order it came back.

Levels are cut at tail quantiles of pairs that cannot match: pairs within a source that has no repeats. The same
pairs give u, the chance of each level among unlike pairs, by filter and stratum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.hub.encoded import Encoded
from linkage.hub.kernels import MISSING, count_distances, emit_candidates, pair_distances
from linkage.hub.levels import LEVELS, TAILS, cut_distances, cut_levels, tail_share
from linkage.hub.plan import Found, Plan, Shard, deal, lay_out, row_spans

__all__ = ["LEVELS", "TAILS", "Candidates", "compare", "cut_distances", "examine", "gather", "plan_comparison"]

MOST = 20_000_000
"""Candidates that can be kept: some 300 bytes each while they are weighed."""

_SAMPLE = 6_000_000  # unlike pairs that are enough for the deepest cut
_OWN = 4_000  # partners of a record's own source that are enough to know how common its values are
_PER_RECORD, _UP_TO, _AT_LEAST = 100, 40_000, 5  # candidates a record, in files up to so many records, and in any
_TIED = 3.0  # times as many pairs at the threshold as were wanted: they tie there
_CHUNK = 250_000  # left rows of a shard when one machine does them all: bounds what is held at once


@dataclass(frozen=True)
class Candidates:
    """Pairs of records that look alike enough to be weighed.

    Attributes
    ----------
    left, right
        int64, shape (pairs,): records, ``left < right``.
    levels, strata
        uint8, shape (pairs, filters): 255 where the filter is missing on a side.
    commonness
        float64, shape (pairs, filters): log of how many own-source neighbours of the two records reach the pair's
        level, over how many do so on average. It is what a shared rare or common value adds or takes.
    chance
        float64, shape (pairs,): log of the number of pairs of variants of which this is the best.
    score
        float64, shape (pairs,): sum over filters of minus log of the share of unlike pairs at least so close.
    linkable
        bool, shape (pairs,): whether the two can be one person; the others are unlike pairs of one source.
    reach
        float64, shape (pairs,): how likely the comparison was to find a pair so close; 1 if all pairs were compared.
    unlike_counts
        float64, shape (filters, strata, LEVELS): unlike pairs by level.
    pairs
        float64, shape (sources, sources): linkable pairs of the design, upper triangle.
    unlike_pairs
        Unlike pairs of the design.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    levels: NDArray[np.uint8]
    strata: NDArray[np.uint8]
    commonness: NDArray[np.float64]
    chance: NDArray[np.float64]
    score: NDArray[np.float64]
    linkable: NDArray[np.bool_]
    reach: NDArray[np.float64]
    unlike_counts: NDArray[np.float64]
    pairs: NDArray[np.float64]
    unlike_pairs: float


def compare(encoded: Encoded, *, seed: int = 0) -> Candidates:
    """Compare records on this machine and keep the pairs that look alike: plan, examine, gather.

    Parameters
    ----------
    seed
        Of the samples of unlike pairs that are taken where there are more than are needed.

    Raises
    ------
    LinkError
        There is no pair that could be linked, or next to nothing tells the records apart.
    """
    plan = plan_comparison(encoded, seed=seed)
    shards = deal(encoded, plan, 1 + plan.rows // _CHUNK)
    return gather(encoded, plan, [examine(encoded, plan, shard) for shard in shards])


def plan_comparison(encoded: Encoded, *, seed: int = 0, most: int = MOST) -> Plan:
    """Decide how the pairs are to be compared: the levels of distance, the samples and the threshold.

    Parameters
    ----------
    seed
        Of all samples.
    most
        Candidates that may be kept.

    Raises
    ------
    LinkError
        ``nothing-to-link``: there is no pair that could be linked.
    """
    rng = np.random.default_rng(seed)
    number = len(encoded.sources)
    sizes = np.bincount(encoded.source, minlength=number).astype(float)
    pairs = np.triu(np.outer(sizes, sizes), 1) + np.diag(np.where(encoded.deduplicated, 0, sizes * (sizes - 1) / 2))
    if pairs.sum() == 0:
        raise LinkError("there is no pair of records to compare", reason="nothing-to-link")
    own, starts, unlike = _own_sample(encoded, rng)
    left, right = _unlike_sample(encoded, rng)
    threads = get_num_threads()
    histogram = count_distances(encoded.words, encoded.width, encoded.classes, encoded.strata, left, right, threads)
    level_of, unlike_counts = cut_levels(histogram)
    wanted = min(_per_record(len(encoded.source)) * len(encoded.source), most / 4) / max(pairs.sum(), unlike)
    threshold = _threshold(encoded, _weight_of(level_of, unlike_counts), wanted, rng)
    return Plan(
        rows=len(encoded.record),
        seed=seed,
        level_of=level_of,
        unlike_counts=unlike_counts,
        threshold=np.array(threshold, np.float32),
        own=own,
        own_starts=starts,
        pairs=pairs,
        unlike_pairs=unlike,
        most=most,
    )


def _per_record(records: int) -> float:
    """Candidates a record: fewer in large files, in which the weighing of the candidates would cost the most."""
    return float(max(_AT_LEAST, _PER_RECORD * min(1.0, (_UP_TO / records) ** 0.75)))


def _own_sample(encoded: Encoded, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Draw records of each source with which all of its records are compared; say how many unlike pairs that makes."""
    bounds = np.searchsorted(encoded.source[encoded.record], np.arange(len(encoded.sources) + 1))
    own: list[NDArray[np.int64]] = []
    unlike = 0.0
    for s, single in enumerate(encoded.deduplicated):
        record = encoded.record[bounds[s] : bounds[s + 1]]
        records = np.unique(record)
        size = min(len(records), _OWN)
        own.append(bounds[s] + np.flatnonzero(np.isin(record, rng.choice(records, size, replace=False))))
        if single:
            unlike += size * (size - 1) / 2 + size * (len(records) - size)
    return np.concatenate(own), np.cumsum([0, *map(len, own)]), unlike


def _unlike_sample(encoded: Encoded, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs that cannot match: within sources without repeats, else any (of which next to none match)."""
    mains = np.flatnonzero(np.diff(encoded.record, prepend=-1))
    of = encoded.source[encoded.record[mains]]
    groups = [mains[of == s] for s in range(len(encoded.sources)) if encoded.deduplicated[s]]
    groups = [group for group in groups if len(group) > 1] or [mains]
    sizes = np.array([len(group) * (len(group) - 1) / 2 for group in groups])
    left, right = [], []
    for group, size in zip(groups, sizes, strict=True):
        share = int(min(size, np.ceil(_SAMPLE * size / sizes.sum())))
        if share == size:
            a, b = np.triu_indices(len(group), 1)
        else:
            a = rng.integers(0, len(group), share)
            b = (a + rng.integers(1, len(group), share)) % len(group)
        left.append(group[a])
        right.append(group[b])
    return np.concatenate(left), np.concatenate(right)


def _weight_of(level_of: NDArray[np.uint8], unlike_counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weight of each distance: float32 (filters, strata, bits + 1)."""
    weight = -np.log(tail_share(unlike_counts))
    return np.take_along_axis(weight, level_of.astype(np.int64), axis=2).astype(np.float32)


def _threshold(encoded: Encoded, weight_of: NDArray[np.float32], wanted: float, rng: np.random.Generator) -> np.float32:
    """Return the score that the wanted share of random linkable pairs reach; a mass of pairs that tie stays below."""
    if wanted >= 1:
        return np.float32(-1)
    spans = row_spans(encoded)
    rows = np.flatnonzero(spans[:, 1] > spans[:, 0])
    reach = spans[rows, 1] - spans[rows, 0]
    left = rng.choice(rows, 500_000, p=reach / reach.sum())
    right = spans[left, 0] + (rng.random(len(left)) * (spans[left, 1] - spans[left, 0])).astype(np.int64)
    distances = pair_distances(encoded.words, encoded.width, left, right)
    total = np.zeros(len(left), np.float32)
    for number in range(distances.shape[1]):
        stratum = encoded.strata[number, encoded.classes[left, number], encoded.classes[right, number]]
        there = stratum != MISSING
        total[there] += weight_of[number, stratum[there], distances[there, number]]
    wanted = min(0.5, wanted)
    threshold = np.float32(np.quantile(total, 1 - wanted, method="lower"))
    tied = (total >= threshold).mean() > _TIED * max(wanted, 1 / len(total))
    return np.nextafter(threshold, np.float32(np.inf)) if tied else threshold


def examine(encoded: Encoded, plan: Plan, shard: Shard) -> Found:
    """Compare the pairs of one shard. The result depends on nothing but the arguments.

    Raises
    ------
    LinkError
        ``plan-differs``, or ``indistinguishable-records``: more pairs look alike than can be kept.
    """
    layout = lay_out(encoded, plan)
    threads = get_num_threads()
    share = (shard.last - shard.first) / plan.rows
    capacity = int(2 * _per_record(len(encoded.source)) * len(encoded.source) * share / threads) + 100_000
    while True:
        *parts, kept, counts = emit_candidates(
            encoded.words, encoded.width, encoded.classes, encoded.strata,
            plan.level_of, _weight_of(plan.level_of, plan.unlike_counts), plan.threshold[()],
            layout.spans, plan.own, layout.own_spans, encoded.record, layout.sampled, shard.first, shard.last,
            capacity, threads,
        )  # fmt: skip
        _refuse_masses(int(kept.sum()), plan)
        if kept.max() <= capacity:
            break
        capacity = int(kept.max())
    left, right, levels, strata = (
        np.concatenate([part[thread, : kept[thread]] for thread in range(threads)]) for part in parts
    )
    by_level = np.zeros((*counts.shape[:2], LEVELS), np.uint16)
    by_level[:, :, : counts.shape[2]] = counts
    return Found("rows", shard.first, shard.last, left, right, levels, strata, by_level)


def _refuse_masses(candidates: int, plan: Plan) -> None:
    if candidates > plan.most:
        raise LinkError(
            "more pairs of records look alike than can be weighed",
            reason="indistinguishable-records",
            hint="look for a value that stands in for a missing one, and for records that are in a source many times",
        )


def gather(encoded: Encoded, plan: Plan, founds: Iterable[Found]) -> Candidates:
    """Put the findings of all shards together: of each pair of records its best pair of variants.

    Raises
    ------
    LinkError
        ``shards-missing``: not every shard was examined once; or ``indistinguishable-records``.
    """
    parts = sorted(founds, key=lambda found: (found.kind, found.first))
    edges = [0, *(part.last for part in parts)]
    if edges[-1] != plan.rows or any(part.first != edge for part, edge in zip(parts, edges, strict=False)):
        raise LinkError("not every shard was examined once", reason="shards-missing", hint="examine what is missing")
    i, j = (np.concatenate([getattr(part, side) for part in parts]) for side in ("left", "right"))
    levels, strata = (np.concatenate([getattr(part, name) for part in parts]) for name in ("levels", "strata"))
    _refuse_masses(len(i), plan)
    if not len(i):
        raise LinkError(
            "nothing tells the records apart: no pair is closer than the mass of pairs",
            reason="indistinguishable-records",
            hint="check that the filters hold what the spec says",
        )
    score = _score(levels, strata, plan)
    a, b = encoded.record[i], encoded.record[j]
    a, b = np.minimum(a, b), np.maximum(a, b)
    order = _best_first(a * len(encoded.source) + b, score, i, j)
    first = (np.diff(a[order], prepend=-1) != 0) | (np.diff(b[order], prepend=-1) != 0)
    keep = order[first & (a[order] != b[order])]
    a, b, i, j, levels = a[keep], b[keep], i[keep], j[keep], levels[keep]
    linkable = (encoded.source[a] != encoded.source[b]) | ~encoded.deduplicated[encoded.source[a]]
    sampled = np.zeros(plan.rows, np.int64)
    sampled[plan.own] = 1
    return Candidates(
        left=a,
        right=b,
        levels=levels,
        strata=strata[keep],
        commonness=_commonness(
            [part.counts for part in parts], i, j, levels, np.where(linkable, 0, sampled[i] + sampled[j])
        ),
        chance=np.log(encoded.variants[a] * encoded.variants[b]),
        score=score[keep],
        linkable=linkable,
        reach=np.ones(len(a)),
        unlike_counts=plan.unlike_counts,
        pairs=plan.pairs,
        unlike_pairs=plan.unlike_pairs,
    )


def _score(levels: NDArray[np.uint8], strata: NDArray[np.uint8], plan: Plan) -> NDArray[np.float64]:
    weight = -np.log(tail_share(plan.unlike_counts))
    score = np.zeros(len(levels))
    for number in range(levels.shape[1]):
        there = levels[:, number] != MISSING
        score[there] += weight[number, strata[there, number], levels[there, number]]
    return score


def _best_first(
    pair: NDArray[np.int64], score: NDArray[np.float64], i: NDArray[np.int32], j: NDArray[np.int32]
) -> NDArray[np.intp]:
    """Sort by pair of records, the best pair of variants first; of equals the one of the earliest rows."""
    order = np.argsort(pair)
    # Next to all pairs of records are there once: the further keys are for the others alone.
    again = np.diff(pair[order]) == 0
    tied = np.flatnonzero(np.append(again, False) | np.append(False, again))
    among = order[tied]
    order[tied] = among[np.lexsort((j[among], i[among], -score[among], pair[among]))]
    return order


def _commonness(
    counts: list[NDArray[np.uint16]],
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    levels: NDArray[np.uint8],
    own: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compare the two records' own-source neighbours at the pair's level with what is usual.

    A gamma prior on each record's rate, fitted by moments per filter and level, keeps few counts from saying much.
    ``own`` is how often a pair that is itself of one source was counted as a neighbour: it is left out.
    """
    out = np.zeros(levels.shape)
    for number in range(levels.shape[1]):
        # Level by level, nearest first: of a million records no more is ever held than a few numbers each.
        seen = np.concatenate([part[:, number].sum(axis=1, dtype=np.int64) for part in counts])
        nearer = np.zeros(len(seen), np.int64)
        by_level = np.argsort(levels[:, number], kind="stable")
        starts = np.searchsorted(levels[by_level, number], np.arange(LEVELS + 1))
        for level in range(LEVELS - 1, -1, -1):
            nearer += np.concatenate([part[:, number, level] for part in counts])
            expected = seen * (nearer.sum() / max(int(seen.sum()), 1))
            spread = ((nearer - expected) ** 2 - nearer).mean()
            prior = np.clip((expected**2).mean() / max(spread, 1e-12), 0.02, 50)
            here = by_level[starts[level] : starts[level + 1]]
            found = np.maximum(nearer[i[here]] + nearer[j[here]] - own[here], 0)
            mean = expected[i[here]] + expected[j[here]]
            out[here, number] = np.log((found + prior) / (mean + prior))
    return out
