"""A pilot for a comparison that is too large: random records, compared with all others.

It shows how scores fall off, and at which distances the likely matches lie. No label is used: which of the best pairs
are likely matches follows from how good the second best are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.hub.encoded import Encoded
from linkage.hub.isotonic import never_falling
from linkage.hub.kernels import emit_candidates
from linkage.hub.levels import sum_weights
from linkage.hub.measures import survey

__all__ = ["Pilot", "reach_score", "survey_scores", "take_pilot", "without_settled"]

_PILOT, _FEWEST, _PILOT_PAIRS = 1_000, 150, 8e8  # records of the pilot at most and at least, and its pairs
_SURVEYED, _NEAREST, _RUNS = 60, 20, 8  # records that show how scores fall off; nearest partners a record; runs of rows
_TIED = 3.0  # times as many pairs at the threshold as were wanted: they tie there
_STEP = 0.25  # width of a bin of scores
_MASS = 5_000_000  # near pairs of a run that are looked at: more than that are masses of identical records
_TURNS = 5  # in which matches and the scores of what is none make each other clear

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pilot:
    """Random records compared with all.

    Attributes
    ----------
    left, right
        int64, shape (pairs,): rows of the best pairs.
    weight
        float64, shape (pairs,): how likely each is a match.
    times
        Matches for which each of the pilot's stands.
    settled
        Matches that were found before, among records of which none is in the pilot.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    weight: Floats
    times: float
    settled: float


def survey_scores(
    encoded: Encoded, mains: NDArray[np.int64], weight_of: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Count the pairs of a few random records, of the rows ``mains``, with all others by score: int64 (bins,)."""
    source = encoded.source[encoded.record].astype(np.int64)
    bins = int(np.ceil(weight_of.max(axis=(1, 2)).sum() / _STEP)) + 1
    chosen = np.sort(rng.choice(mains, min(len(mains), _SURVEYED), replace=False))
    counts: NDArray[np.int64] = survey(
        encoded.words, encoded.width, encoded.classes, encoded.strata, weight_of, encoded.record, source,
        encoded.deduplicated, chosen, _STEP, bins, get_num_threads(),
    )  # fmt: skip
    return counts


def take_pilot(
    encoded: Encoded,
    mains: NDArray[np.int64],
    level_of: NDArray[np.uint8],
    weight: Floats,
    weight_of: NDArray[np.float32],
    rng: np.random.Generator,
    counts: NDArray[np.int64],
    settled: float = 0.0,
) -> Pilot:
    """Compare random records, of the rows ``mains``, with all that they may be linked to.

    Parameters
    ----------
    level_of, weight
        Level of a distance, and weight of a level by filter and stratum.
    counts
        Of :func:`survey_scores`.
    settled
        Matches found before, of whose records none is in ``encoded``.
    """
    rows = len(encoded.record)
    source = encoded.source[encoded.record].astype(np.int64)
    near = _score_reached(counts, _NEAREST * min(len(mains), _SURVEYED) / max(int(counts.sum()), 1))[0]
    size = max(_FEWEST, min(_PILOT, int(_PILOT_PAIRS / rows)))
    runs = _draw_runs(source, -(-size // _RUNS), rng)
    parts = [_nearest(encoded, first, last, level_of, weight, weight_of, near) for first, last in runs]
    left, right, first, second = (np.concatenate([part[column] for part in parts]) for column in range(4))
    order = np.argsort(-first, kind="stable")
    order = order[np.isin(left[order], mains)]
    tried = np.isin(np.concatenate([np.arange(start, end) for start, end in runs]), mains).sum()
    # Each match is met from both its ends.
    times = len(mains) / max(int(tried), 1) / 2
    return Pilot(left[order], right[order], _likely(first[order], second[order]), times, settled)


def without_settled(pilot: Pilot, encoded: Encoded, settled: NDArray[np.bool_], matches: float) -> Pilot:
    """Return the pilot among the records that are left when more of them are settled.

    Parameters
    ----------
    settled
        bool, shape (records,): records of ``encoded`` that are settled now.
    matches
        Matches that are settled in all.
    """
    there = ~settled[encoded.record]
    place = np.cumsum(there) - 1
    kept = there[pilot.left] & there[pilot.right]
    left, right = place[pilot.left[kept]], place[pilot.right[kept]]
    return Pilot(left, right, pilot.weight[kept], pilot.times, matches)


def reach_score(counts: NDArray[np.int64], wanted: float) -> float:
    """Return the score, to a quarter, that the wanted share of the pairs counted reach; a mass that ties stays below.

    Parameters
    ----------
    counts
        Of :func:`survey_scores`.
    """
    score, share = _score_reached(counts, wanted)
    return score + _STEP if share > _TIED * wanted else score


def _score_reached(counts: NDArray[np.int64], wanted: float) -> tuple[float, float]:
    """Return the score, to a bin, that at least the wanted share of pairs reach, and the share that do."""
    beyond = np.cumsum(counts[::-1])[::-1] / max(int(counts.sum()), 1)
    place = int(np.flatnonzero(beyond >= min(wanted, 0.5)).max())
    return place * _STEP, float(beyond[place])


def _draw_runs(source: NDArray[np.int64], size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw runs of neighbouring rows that share no row, each of one source."""
    starts = np.unique(rng.integers(0, -(-len(source) // size), _RUNS)) * size
    runs = []
    for start in starts.tolist():
        end = min(start + size, len(source))
        cuts = [start, *(start + 1 + np.flatnonzero(np.diff(source[start:end]))).tolist(), end]
        runs += list(pairwise(cuts))
    return runs


def _nearest(
    encoded: Encoded,
    first: int,
    last: int,
    level_of: NDArray[np.uint8],
    weight: Floats,
    weight_of: NDArray[np.float32],
    near: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Return, of rows of one source, the nearest row of each source they may be linked to, and two best scores.

    Scores below ``near`` are said to be that.
    """
    rows, own = len(encoded.record), int(encoded.source[encoded.record[first]])
    bounds = np.searchsorted(encoded.source[encoded.record], [own, own + 1])
    ranges = [(0, int(bounds[0])), (int(bounds[1]), rows)] if encoded.deduplicated[own] else [(0, rows)]
    none, nobody = np.zeros(0, np.int64), np.zeros(rows, np.bool_)
    left, right, score = none, none, np.zeros(0)
    spans, empty = np.zeros((rows, 2), np.int64), np.zeros((rows, 2), np.int64)
    threads = get_num_threads()
    for start, end in ranges:
        spans[first:last] = start, end
        for capacity in (50 * _NEAREST * (last - first) + 10_000, _MASS):
            found = emit_candidates(
                encoded.words, encoded.width, encoded.classes, encoded.strata, level_of, weight_of, np.float32(near),
                spans, none, empty, encoded.record, nobody, first, last, capacity, threads,
            )  # fmt: skip
            if found[4].max() <= capacity:
                break
        for thread, count in enumerate(np.minimum(found[4], capacity).tolist()):
            i, j = found[0][thread, :count], found[1][thread, :count]
            levels, strata = found[2][thread, :count], found[3][thread, :count]
            left, right = np.append(left, i), np.append(right, j)
            score = np.append(score, sum_weights(weight, levels, strata))
    # Of a record's variants the best, and never the record itself.
    other = encoded.record[left] != encoded.record[right]
    left, right, score = left[other], right[other], score[other]
    order = np.lexsort((right, -score, encoded.record[right], left))
    once = np.diff(left[order], prepend=-1) + np.diff(encoded.record[right[order]], prepend=-1) != 0
    order = order[once]
    group = left * len(encoded.sources) + encoded.source[encoded.record[right]]
    order = order[np.lexsort((right[order], -score[order], group[order]))]
    heads = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(np.append(heads, len(order)))
    if not len(order):
        return none, none, np.zeros(0), np.zeros(0)
    second = np.where(sizes > 1, score[order[np.minimum(heads + 1, len(order) - 1)]], near)
    return left[order[heads]], right[order[heads]], score[order[heads]], second


def _likely(first: Floats, second: Floats) -> Floats:
    """Tell how likely each record's best pair is a match.

    Where the best is a match, the second best is the best of the false ones: that is how good those are. How many
    records have no match follows from the best pairs that are no better than usual for false ones. What is more likely
    false than a match would not be linked if it were found, and counts as none.

    Parameters
    ----------
    first, second
        float64, shape (pairs,): scores of the best and the second best pair with a source, by descending ``first``.
    """
    if not len(first):
        return np.zeros(0)
    order = np.argsort(second)
    likely = np.ones(len(first))
    for _ in range(_TURNS):
        below = np.append(0.0, np.cumsum(likely[order])) / max(likely.sum(), 1e-9)
        better = 1 - below[np.searchsorted(second[order], first, side="left")]
        usual = second[order][min(int(np.searchsorted(below[1:], 0.5)), len(order) - 1)]
        without = min(float(len(first)), 2.0 * (first <= usual).sum())
        likely = 1 - never_falling(np.diff(without * better, prepend=0.0))
        likely = np.where(likely > 0.5, np.minimum(likely, 1.0), 0.0)
    return likely
