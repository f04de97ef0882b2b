"""Plan a comparison: all pairs or keys, the levels of distance, the samples, and the threshold.

Levels are cut at tail quantiles of pairs that cannot match: pairs within a source that has no repeats. The same
pairs give u, the chance of each level among unlike pairs, by filter and stratum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.hub.block import BUDGET, RECALL, choose_keys, watched
from linkage.hub.encoded import Encoded, restrict
from linkage.hub.kernels import MISSING, count_distances, pair_distances
from linkage.hub.levels import cut_levels, fall_on, weight_of, weights_by_level
from linkage.hub.pilot import reach_score, survey_scores, take_pilot, without_settled
from linkage.hub.plan import MOST_COUNTED, Easy, Plan, row_spans
from linkage.hub.search import find_easy, find_middling

__all__ = ["MOST", "candidates_wanted", "plan_comparison"]

MOST = 20_000_000
"""Candidates that can be kept: some 300 bytes each while they are weighed."""

_SAMPLE = 6_000_000  # unlike pairs that are enough for the deepest cut
_REPEATS = 6.0  # repeats: twice the pairs a record that may be among the nearest where any pair may match
_MIXED = 1  # words of a filter by which identical ones are known
_ALIKE, _OWN_ALIKE = 8, 32  # rows of an identical mass among those that stand for unlike ones, and in the own sample
_RUN, _RUNS = 512, 512  # rows one after the other whose partners are, too; such runs that are counted at once
_FEWEST_OWN = 200  # the same where there are so many records that each further one is dear
_OWN = 4_000  # partners of a record's own source that are enough to know how common its values are
_PER_RECORD, _UP_TO, _AT_LEAST = 100, 40_000, 5  # candidates a record, in files up to so many records, and in any
_FEW = 0.1  # share of the budget: so many pairs left by the easy matches are compared without a further thought
_TIED = 3.0  # times as many pairs at the threshold as were wanted: they tie there


def plan_comparison(
    encoded: Encoded, *, seed: int = 0, budget: float = BUDGET, recall: float = RECALL, most: int = MOST
) -> Plan:
    """Decide how the pairs are to be compared: all or by keys, the levels of distance, the samples, the threshold.

    Parameters
    ----------
    seed
        Of all samples, and of the records that are watched.
    budget
        Pairs up to which all are compared. Beyond, keys are used if they cost less; ten budgets are never exceeded.
    recall
        Share of the matches that the keys shall find.
    most
        Candidates that may be kept.

    Raises
    ------
    LinkError
        ``nothing-to-link``: there is no pair that could be linked.
    """
    rng = np.random.default_rng(seed)
    pairs = _linkable_pairs(encoded)
    if pairs.sum() == 0:
        raise LinkError("there is no pair of records to compare", reason="nothing-to-link")
    within = pairs.sum() <= budget
    most_own = _OWN if within else max(_FEWEST_OWN, min(_OWN, int(budget / 8 / len(encoded.record))))
    mains, place = _places_among_identical(encoded)
    own, starts, unlike = _own_sample(encoded, mains[place < _OWN_ALIKE], most_own, rng)
    mains = mains[place < _ALIKE]
    histogram = _count_unlike(encoded, mains, rng)
    if not encoded.deduplicated.any() and len(np.unique(encoded.known)) == len(encoded.known):
        histogram = fall_on(histogram, _REPEATS / len(encoded.known))
    level_of, unlike_counts = cut_levels(histogram)
    weights = weight_of(level_of, unlike_counts)
    wanted = min(candidates_wanted(len(encoded.source)), most / 4)
    further: dict[str, Any]
    if within:
        threshold = _threshold(encoded, weights, wanted / max(pairs.sum(), unlike), rng)
        further = {"easy": None, "blocking": None, "pilot": None, "expected": 1.0, "reason": "within-budget"}
    else:
        easy = find_easy(encoded, level_of, weights, seed=seed, most=most)
        rest, rows = (encoded, np.zeros(0, np.int64)) if easy is None else restrict(encoded, ~easy.settled)
        counts = survey_scores(encoded, mains, weights, rng)
        threshold = np.float32(reach_score(counts, wanted / pairs.sum()))
        left = _Left(rest, rows, easy)
        further = _beyond(
            left, level_of, unlike_counts, histogram, counts, rng, recall=recall, budget=budget, seed=seed, most=most
        )
        easy = further["easy"]
        if easy is not None:
            pairs = _linkable_pairs(encoded, ~easy.settled) + easy.matches
        if easy is not None or further["blocking"] is not None:
            unlike = _unlike_pairs(encoded, own, easy, seed)
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
        **further,
    )


def _linkable_pairs(encoded: Encoded, among: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Count the pairs that may be linked, by pair of sources; of some records, if told which."""
    source = encoded.source if among is None else encoded.source[among]
    sizes = np.bincount(source, minlength=len(encoded.sources)).astype(float)
    within = np.where(encoded.deduplicated, 0, sizes * (sizes - 1) / 2)
    counts: NDArray[np.float64] = np.triu(np.outer(sizes, sizes), 1) + np.diag(within)
    return counts


@dataclass(frozen=True)
class _Left:
    """The records that the easy matches leave, which of all rows they are, and those matches."""

    rest: Encoded
    rows: NDArray[np.int64]
    easy: Easy | None


def _beyond(
    left: _Left,
    level_of: NDArray[np.uint8],
    unlike_counts: NDArray[np.float64],
    histogram: NDArray[np.int64],
    counts: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    recall: float,
    budget: float,
    seed: int,
    most: int,
) -> dict[str, Any]:
    """Decide how to compare what the easy matches leave: with keys, or all pairs of it.

    Parameters
    ----------
    counts
        Pairs by score.
    """
    rest, easy = left.rest, left.easy
    if easy is not None and _linkable_pairs(rest).sum() <= _FEW * budget:
        return {"easy": easy, "blocking": None, "pilot": None, "expected": 1.0, "reason": "beyond-budget"}
    weights, weight = weight_of(level_of, unlike_counts), weights_by_level(unlike_counts)
    settled = 0.0 if easy is None else float(easy.matches.sum())
    mains, place = _places_among_identical(rest)
    mains = mains[place < _ALIKE]
    # Before further matches are settled: where few matches are left, they are hard to tell from the best of chance.
    pilot = take_pilot(rest, mains, level_of, weight, weights, rng, counts, settled)
    if easy is not None and _linkable_pairs(rest).sum() > budget:
        easy, more = find_middling(rest, easy, level_of, weights, left.rows, seed=seed, most=most)
        pilot = without_settled(pilot, rest, more, float(easy.matches.sum()))
        rest = restrict(rest, ~more)[0]
    pairs = float(_linkable_pairs(rest).sum())
    drawn = int(rng.integers(2**62))
    blocking, expected, reason = choose_keys(rest, pilot, histogram, pairs, recall=recall, budget=budget, seed=drawn)
    return {"easy": easy, "blocking": blocking, "pilot": pilot, "expected": expected, "reason": reason}


def candidates_wanted(records: int) -> float:
    """Candidates to look for: fewer a record in large files, in which weighing them would cost the most."""
    return float(records * max(_AT_LEAST, _PER_RECORD * min(1.0, (_UP_TO / records) ** 0.75)))


def _own_sample(
    encoded: Encoded, mains: NDArray[np.int64], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Draw records of each source with which all of its records are compared; say how many unlike pairs that makes.

    Parameters
    ----------
    mains
        Rows of the records to draw from.
    """
    bounds = np.searchsorted(encoded.source[encoded.record], np.arange(len(encoded.sources) + 1))
    distinct = np.zeros(len(encoded.source), np.bool_)
    distinct[encoded.record[mains]] = True
    own: list[NDArray[np.int64]] = []
    unlike = 0.0
    for s, single in enumerate(encoded.deduplicated):
        record = encoded.record[bounds[s] : bounds[s + 1]]
        records = _one_a_person(np.arange(record[0], record[-1] + 1), encoded.known)
        eligible = records[distinct[records]]
        chosen = rng.choice(eligible, min(len(eligible), most), replace=False)
        chosen = chosen[np.cumsum(encoded.variants[chosen]) <= MOST_COUNTED]
        size = len(chosen)
        own.append(bounds[s] + np.flatnonzero(np.isin(record, chosen)))
        if single:
            unlike += size * (size - 1) / 2 + size * (len(records) - size)
    return np.concatenate(own), np.cumsum([0, *map(len, own)]), unlike


def _one_a_person(records: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of each person known the first of the records, or rows."""
    persons = known[records]
    if (np.diff(persons) > 0).all():  # as they are before anything is known
        return records
    first: NDArray[np.int64] = records[np.unique(persons, return_index=True)[1]]
    return first


def _unlike_pairs(encoded: Encoded, own: NDArray[np.int64], easy: Easy | None, seed: int) -> float:
    """Count the unlike pairs that are sought: with a sampled record, or between two watched ones not settled."""
    sampled = np.zeros(len(encoded.source), np.bool_)
    sampled[encoded.record[own]] = True
    seen = watched(len(encoded.source), seed)
    if easy is not None:
        seen &= ~easy.settled
    total = 0.0
    for s in np.flatnonzero(encoded.deduplicated):
        here = encoded.source == s
        size, some, both = (float(part.sum()) for part in (here, here & sampled, here & sampled & seen))
        many = float((here & seen).sum())
        total += some * (some - 1) / 2 + some * (size - some)
        total += many * (many - 1) / 2 - both * (both - 1) / 2 - both * (many - both)
    return total


def _places_among_identical(encoded: Encoded) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the main rows, ascending, and of how many identical ones of its source before it each comes.

    Of a mass of identical records only the first few stand for all records: it would hide the rest.
    """
    mains = np.flatnonzero(np.diff(encoded.record, prepend=-1))
    mixed = np.zeros(len(mains), np.uint64)
    for word in range(0, encoded.words.shape[1], encoded.width // _MIXED):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + encoded.words[mains, word]
    mixed += encoded.source[encoded.record[mains]].astype(np.uint64)
    order = np.argsort(mixed, kind="stable")
    new = np.append(True, np.diff(mixed[order]) != 0)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.flatnonzero(new)[np.cumsum(new) - 1]
    return mains, place


def _count_unlike(encoded: Encoded, mains: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Histogram the distances of a sample of unlike pairs: int64 (filters, strata, bits + 1).

    Parameters
    ----------
    mains
        Rows to draw from, ascending.
    """
    threads = get_num_threads()
    parts = [
        count_distances(encoded.words, encoded.width, encoded.classes, encoded.strata, left, right, threads)
        for left, right in _unlike_sample(encoded, mains, rng)
    ]
    histogram: NDArray[np.int64] = np.sum(parts, axis=0)
    return histogram


def _unlike_sample(
    encoded: Encoded, mains: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw pairs that cannot match, some at a time: within sources without repeats, else any (next to none match)."""
    of = encoded.source[encoded.record[mains]]
    groups = [mains[of == s] for s in range(len(encoded.sources)) if encoded.deduplicated[s]]
    groups = [group for group in groups if len(group) > 1] or [mains]
    known = encoded.known[encoded.record]
    apart = [_one_a_person(group, known) for group in groups]
    groups = [few if len(few) > 1 else group for few, group in zip(apart, groups, strict=True)]
    sizes = np.array([len(group) * (len(group) - 1) / 2 for group in groups])
    for group, size in zip(groups, sizes, strict=True):
        share = int(min(size, np.ceil(_SAMPLE * size / sizes.sum())))
        if share == size:
            a, b = np.triu_indices(len(group), 1)
            yield group[a], group[b]
            continue
        # Runs of neighbours against runs of others, at random: rows far apart in memory cost more than all else.
        run = min(_RUN, len(group))
        starts = rng.integers(0, len(group) - run + 1, -(-share // run))
        shifts = rng.integers(1, len(group), len(starts))
        for first in range(0, len(starts), _RUNS):
            left = share - first * run
            a = (starts[first : first + _RUNS, None] + np.arange(run)).ravel()[:left]
            b = a + np.repeat(shifts[first : first + _RUNS], run)[:left]
            b[b >= len(group)] -= len(group)
            yield group[a], group[b]


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
