"""Exact comparison of all pairs: distances to levels, and the pairs that look alike enough to be weighed.

Levels are cut at tail quantiles of pairs that cannot match: pairs within a source that has no repeats. The same
pairs give u, the chance of each level among unlike pairs, by filter and stratum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.hub.encoded import Encoded
from linkage.hub.kernels import MISSING, count_distances, emit_candidates, pair_distances

__all__ = ["LEVELS", "Candidates", "compare"]

TAILS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6)
"""Tail quantiles of unlike pairs at which levels are cut; nearer pairs fall into steps of distance
that widen with nearness, because chance agreement dies out fastest just beyond the last cut."""
NEAR_STEPS = 12
LEVELS = len(TAILS) + NEAR_STEPS + 1

_LEAST = 20  # unlike pairs below a cut, fewer of which would make the cut a matter of chance
_FEW = 2_000  # unlike pairs of a stratum, fewer of which make it borrow the pooled histogram
_SAMPLE = 6_000_000  # unlike pairs that are enough for the deepest cut
_OWN = 4_000  # partners of a record's own source that are enough to know how common its values are
_PER_RECORD = 100  # candidates a record


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
    unlike_counts
        float64, shape (filters, strata, LEVELS): unlike pairs by level.
    pairs
        float64, shape (sources, sources): linkable pairs compared, upper triangle.
    unlike_pairs
        Unlike pairs compared.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    levels: NDArray[np.uint8]
    strata: NDArray[np.uint8]
    commonness: NDArray[np.float64]
    chance: NDArray[np.float64]
    score: NDArray[np.float64]
    linkable: NDArray[np.bool_]
    unlike_counts: NDArray[np.float64]
    pairs: NDArray[np.float64]
    unlike_pairs: float


def compare(encoded: Encoded, *, seed: int = 0) -> Candidates:
    """Compare all linkable pairs exactly and keep those that look alike.

    Parameters
    ----------
    seed
        Of the samples of unlike pairs that are taken where there are more than are needed.

    Raises
    ------
    LinkError
        There is no pair that could be linked.
    """
    rng = np.random.default_rng(seed)
    plan = _plan(encoded, rng)
    if plan.pairs.sum() == 0:
        raise LinkError("there is no pair of records to compare", reason="nothing-to-link")
    threads = get_num_threads()
    left, right = _unlike_sample(encoded, plan, rng)
    histogram = count_distances(encoded.words, encoded.width, encoded.classes, encoded.strata, left, right, threads)
    level_of, unlike_counts = _cut_levels(histogram)
    weight = -np.log(_tail_share(unlike_counts))
    weight_of = np.take_along_axis(weight, level_of.astype(np.int64), axis=2).astype(np.float32)
    threshold = _threshold(encoded, plan, weight_of, rng)
    capacity = 2 * _PER_RECORD * len(encoded.source) // threads + 100_000
    while True:
        found = emit_candidates(
            encoded.words, encoded.width, encoded.classes, encoded.strata, level_of, weight_of, threshold,
            plan.spans, plan.own, plan.own_spans, encoded.record, plan.sampled, 0, len(encoded.words),
            capacity, threads,
        )  # fmt: skip
        if found[4].max() <= capacity:
            break
        capacity = int(found[4].max())
    kept = found[4]
    rows = [np.concatenate([part[thread, : kept[thread]] for thread in range(threads)]) for part in found[:4]]
    return _collect(encoded, plan, weight, *rows, counts=found[5], unlike_counts=unlike_counts)


@dataclass(frozen=True)
class _Plan:
    """Which rows are compared with which."""

    spans: NDArray[np.int64]  # (rows, 2) rows it may be linked to
    own: NDArray[np.int64]  # rows of sampled records, one source after the other
    own_spans: NDArray[np.int64]  # (rows, 2) the part of `own` that is of the row's own source
    sampled: NDArray[np.bool_]
    main: NDArray[np.bool_]
    pairs: NDArray[np.float64]  # (sources, sources) linkable pairs of records
    unlike: float  # unlike pairs of records compared


def _plan(encoded: Encoded, rng: np.random.Generator) -> _Plan:
    rows = len(encoded.record)
    main = np.diff(encoded.record, prepend=-1) > 0
    source = encoded.source[encoded.record]
    number = len(encoded.sources)
    firsts = np.searchsorted(source, np.arange(number + 1))
    spans = np.empty((rows, 2), np.int64)
    own_spans = np.zeros((rows, 2), np.int64)
    sampled = np.zeros(rows, np.bool_)
    own: list[NDArray[np.int64]] = []
    at, unlike = 0, 0.0
    sizes = np.bincount(encoded.source, minlength=number).astype(float)
    pairs = np.triu(np.outer(sizes, sizes), 1)
    for s in range(number):
        block = slice(firsts[s], firsts[s + 1])
        mains = firsts[s] + np.flatnonzero(main[block])
        if not encoded.deduplicated[s]:
            # Repeats are looked for: every later row of the same source is a pair too, and none is surely unlike.
            spans[block, 0] = np.arange(firsts[s], firsts[s + 1]) + 1
            spans[block, 1] = rows
            pairs[s, s] = sizes[s] * (sizes[s] - 1) / 2
        else:
            spans[block] = (firsts[s + 1], rows)
            unlike += _sampled_pairs(len(mains), min(len(mains), _OWN))
        chosen = rng.choice(encoded.record[mains], min(len(mains), _OWN), replace=False)
        sample = firsts[s] + np.flatnonzero(np.isin(encoded.record[block], chosen))
        sampled[sample] = True
        own.append(sample)
        own_spans[block] = (at, at + len(sample))
        at += len(sample)
    return _Plan(spans, np.concatenate(own), own_spans, sampled, main, pairs, unlike)


def _sampled_pairs(records: int, sample: int) -> float:
    return sample * (sample - 1) / 2 + sample * (records - sample)


def _unlike_sample(
    encoded: Encoded, plan: _Plan, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs that cannot match: within sources without repeats, else any (of which next to none match)."""
    mains = np.flatnonzero(plan.main)
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


def _cut_levels(histogram: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut distances into levels; a stratum with few pairs borrows the pooled histogram.

    Returns
    -------
    level_of : (filters, strata, distances)
    counts : (filters, strata, LEVELS), of the histogram the stratum was cut by
    """
    filters, strata, size = histogram.shape
    level_of = np.zeros((filters, strata, size), np.uint8)
    counts = np.zeros((filters, strata, LEVELS))
    for number in range(filters):
        pooled = histogram[number].sum(axis=0)
        for stratum in range(strata):
            own = histogram[number, stratum]
            used = own if own.sum() >= _FEW else pooled
            level_of[number, stratum] = cut_distances(used)
            counts[number, stratum] = _unlike_by_level(used, level_of[number, stratum])
    return level_of, counts


def cut_distances(histogram: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the level of each distance: 0 is far; then the deepest tail quantile reached; then steps down to 0."""
    distance = np.arange(len(histogram))
    level = np.zeros(len(histogram), np.uint8)
    below = np.cumsum(histogram)
    deepest = len(histogram) // 2
    for number, share in enumerate(TAILS):
        if share * below[-1] < _LEAST:
            break
        deepest = int(np.searchsorted(below, share * below[-1]))
        level[distance <= deepest] = number + 1
    for step in range(NEAR_STEPS - 1, -1, -1):
        edge = round(deepest * (1 - (1 - step / NEAR_STEPS) ** 2))
        if edge < deepest:
            level[distance <= edge] = len(TAILS) + NEAR_STEPS - step
    return level


def _unlike_by_level(histogram: NDArray[np.int64], level: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Count unlike pairs by level; where there are none left, say how few were to be expected.

    Beyond the deepest cut the tail is carried on exponentially, at the pace at which it fell to there.
    """
    counts = np.bincount(level, weights=histogram, minlength=LEVELS)
    below = np.cumsum(histogram).astype(float)
    deepest = int(np.flatnonzero(level <= len(TAILS)).min()) - 1
    if deepest < 0 or below[deepest] < 1:
        return np.maximum(counts, 0.5)
    wider = min(int(np.searchsorted(below, 8 * below[deepest])), len(below) - 1)
    pace = np.log(max(below[wider], 2 * below[deepest]) / below[deepest]) / max(wider - deepest, 1)
    tail = below[deepest] * np.exp(-pace * (deepest - np.arange(-1, deepest + 1)))
    expected = np.bincount(level[: deepest + 1], weights=np.diff(tail), minlength=LEVELS)
    return np.maximum(counts, np.clip(expected, 1e-6, 0.5))


def _tail_share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of pairs at each level or nearer, by the last axis."""
    nearer = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    result: NDArray[np.float64] = (nearer + 0.5) / (counts.sum(axis=-1, keepdims=True) + 1)
    return result


def _threshold(encoded: Encoded, plan: _Plan, weight_of: NDArray[np.float32], rng: np.random.Generator) -> np.float32:
    """Return the score that as many random linkable pairs reach as there shall be candidates."""
    wanted = _PER_RECORD * len(encoded.source) / plan.pairs.sum()
    if wanted >= 1:
        return np.float32(-1)
    rows = np.flatnonzero(plan.spans[:, 1] > plan.spans[:, 0])
    reach = plan.spans[rows, 1] - plan.spans[rows, 0]
    left = rng.choice(rows, 500_000, p=reach / reach.sum())
    right = plan.spans[left, 0] + (rng.random(len(left)) * (plan.spans[left, 1] - plan.spans[left, 0])).astype(np.int64)
    distances = pair_distances(encoded.words, encoded.width, left, right)
    total = np.zeros(len(left), np.float32)
    for number in range(distances.shape[1]):
        stratum = encoded.strata[number, encoded.classes[left, number], encoded.classes[right, number]]
        there = stratum != MISSING
        total[there] += weight_of[number, stratum[there], distances[there, number]]
    return np.float32(np.quantile(total, 1 - min(0.5, wanted)))


def _collect(
    encoded: Encoded,
    plan: _Plan,
    weight: NDArray[np.float64],
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    levels: NDArray[np.uint8],
    strata: NDArray[np.uint8],
    *,
    counts: NDArray[np.int32],
    unlike_counts: NDArray[np.float64],
) -> Candidates:
    """Keep of each pair of records its best pair of variants, and weigh how common what they share is."""
    filters = np.arange(levels.shape[1])
    there = levels != MISSING
    at = np.where(there, levels, 0)
    score = np.where(there, weight[filters, np.where(there, strata, 0), at], 0.0).sum(axis=1)
    a, b = encoded.record[i], encoded.record[j]
    swap = a > b
    a[swap], b[swap] = b[swap], a[swap]
    order = _best_first(a * len(encoded.source) + b, score, i, j)
    first = (np.diff(a[order], prepend=-1) != 0) | (np.diff(b[order], prepend=-1) != 0)
    keep = order[first & (a[order] != b[order])]
    a, b, i, j = a[keep], b[keep], i[keep], j[keep]
    source = encoded.source
    linkable = (source[a] != source[b]) | ~encoded.deduplicated[source[a]]
    own = np.where(linkable, 0, plan.sampled[i].astype(np.int64) + plan.sampled[j])
    return Candidates(
        left=a,
        right=b,
        levels=levels[keep],
        strata=strata[keep],
        commonness=_commonness(counts, i, j, levels[keep], own),
        chance=np.log(encoded.variants[a] * encoded.variants[b]),
        score=score[keep],
        linkable=linkable,
        unlike_counts=unlike_counts,
        pairs=plan.pairs,
        unlike_pairs=plan.unlike,
    )


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
    counts: NDArray[np.int32],
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    levels: NDArray[np.uint8],
    own: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compare the two records' own-source neighbours at the pair's level with what is usual.

    A gamma prior on each record's rate, fitted by moments per filter and level, keeps few counts from saying much.
    ``own`` is how often a pair that is itself of one source was counted as a neighbour: it is left out.
    """
    nearer = np.cumsum(counts[:, :, ::-1], axis=2)[:, :, ::-1].astype(float)
    seen = counts.sum(axis=2).astype(float)
    usual = nearer.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)[:, None]
    out = np.zeros(levels.shape)
    for number in range(levels.shape[1]):
        expected = seen[:, number, None] * usual[number]
        spread = ((nearer[:, number] - expected) ** 2 - nearer[:, number]).mean(axis=0)
        prior = np.clip((expected**2).mean(axis=0) / np.maximum(spread, 1e-12), 0.02, 50)
        level = np.minimum(levels[:, number], LEVELS - 1)
        found = np.maximum(nearer[i, number, level] + nearer[j, number, level] - own, 0)
        mean = expected[i, level] + expected[j, level]
        out[:, number] = np.where(
            levels[:, number] == MISSING, 0, np.log((found + prior[level]) / (mean + prior[level]))
        )
    return out
