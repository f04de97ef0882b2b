"""Beyond the budget of pairs: which keys to look for collisions on, and what that will find.

Random records, compared with all others (:mod:`linkage.hub.pilot`), show at which distances the likely matches lie; the
sample of unlike pairs shows how many others will collide. From both follow, for every length of key and every bound on
the sketch, how many keys are needed for the asked share of the matches (the *recall*), and at what cost. The cheapest
wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from linkage.hub.encoded import Encoded
from linkage.hub.kernels import MISSING, pair_distances
from linkage.hub.locality import CROWD_BITS, KEY_BYTES, LINE, Keys, most_alike
from linkage.hub.pilot import Pilot

__all__ = [
    "BUDGET", "RECALL", "WATCHED", "Blocking", "choose_keys", "easy_keys", "log_miss", "middle_keys", "share_reached",
    "watched",
]  # fmt: skip

BUDGET = 2e9
"""Pairs up to which all are compared; beyond, a blocking may cost ten times as much if it takes that to find enough."""
RECALL = 0.99
"""Share of the matches that the blocking shall find."""

WATCHED = 0.5
"""Share of the records whose pairs within a source are sought, as unlike pairs."""

_AFFORDABLE = 10.0  # budgets that may be spent where one does not suffice
_BETTER, _SPARE = (0.999, 0.998, 0.995), 1.0  # recalls beyond the asked one that are worth a budget
_ENOUGH = 20.0  # matches in the pilot that say where matches lie
_ASSUMED = (0.05, 0.10, 0.15, 0.20, 0.25)  # share of bits in which matches differ, if there are fewer
_BITS, _BOUNDS = range(9, 23), (54, 60, 66, 72)  # lengths of key and bounds on the sketch that are tried
_MOST_KEYS = 4_000
_EASY, _EASY_BOUND, _EASY_ROWS = 12, 60, 4  # keys for the easy matches, their bound, and bits fewer than rows have
_MIDDLE, _MIDDLE_BOUND, _MIDDLE_ROWS = 40, 66, 6  # the same for those of middling difficulty
# What the steps cost, in comparisons of a pair of rows of 64 words. Measured; only their ratios matter.
_ROW, _VALUE, _MEETING, _SCORING = 3.0, 4.0, 0.015, 90.0
_SAMPLE = 65_536  # rows by which heavy values are known
_HEAVY, _OVER = 512, 16  # rows of a heavy value: so many, and so many times the average
_CROWD, _CROWD_PART = 1_024, 64  # rows of a crowd, and of a part of it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Blocking:
    """Keys on which collisions are looked for, see :mod:`linkage.hub.collisions`.

    Attributes
    ----------
    places, line, bits, bound, heavy, crowds, crowd_bits
        As in :class:`linkage.hub.collisions.Keys`.
    seed
        Of the random number by which crowds are parted, and of the records that are watched.
    """

    places: NDArray[np.uint8]
    line: NDArray[np.int64]
    bits: int
    bound: int
    heavy: NDArray[np.uint64]
    crowds: NDArray[np.uint64]
    crowd_bits: NDArray[np.uint8]
    seed: int

    def keys(self) -> Keys:
        """Return the keys as the compiled search wants them."""
        found = (self.heavy, self.crowds, self.crowd_bits)
        return Keys(self.places, self.line, self.bits, self.bound, *found, np.uint64(self.seed))


def watched(records: int, seed: int) -> NDArray[np.bool_]:
    """Return the records whose pairs within a source are sought, where both are among them: bool (records,)."""
    some: NDArray[np.bool_] = np.random.default_rng(seed).random(records) < WATCHED
    return some


def log_miss(bits: int, bound: int, keys_by_line: NDArray[np.int64], width: int) -> Floats:
    """Return the log of the chance that a pair collides on no key of a filter, by distance: (filters, bits + 1).

    The keys of a line share its sketch: they fail together where it is not close. Lines are independent.

    Parameters
    ----------
    keys_by_line
        Shape (lines,): keys of each line, filter after filter.
    width
        Words a filter.
    """
    size = width * 64
    apart = np.arange(size + 1) / size
    agree = np.exp(bits * np.log1p(-np.minimum(apart, 1 - 1e-12)))
    near = bdtr(bound, (LINE - KEY_BYTES) * 8, apart)
    by_filter = keys_by_line.reshape(-1, width * 8 // LINE)
    missed = near * (1 - np.exp(by_filter[:, :, None] * np.log1p(-np.minimum(agree, 1 - 1e-12))))
    total: Floats = np.log1p(-np.minimum(missed, 1 - 1e-12)).sum(axis=1)
    return total


def share_reached(miss: Floats, distances: NDArray[np.int32], there: NDArray[np.bool_]) -> Floats:
    """Return how likely pairs are to collide on a key, from their distances in the filters that are there."""
    total = np.zeros(len(distances))
    for number in range(distances.shape[1]):
        total += np.where(there[:, number], miss[number, distances[:, number]], 0.0)
    return -np.expm1(total)


@dataclass(frozen=True)
class _Choice:
    bits: int
    bound: int
    lines: NDArray[np.int64]  # keys of each line, filter after filter
    recall: float
    cost: float  # in comparisons of a pair


@dataclass(frozen=True)
class _Matches:
    """Where matches lie, and unlike pairs."""

    distances: NDArray[np.int32]  # (matches, filters)
    there: NDArray[np.bool_]  # (matches, filters)
    weight: Floats  # (matches,)
    unlike: Floats  # (filters, bits + 1) share of unlike pairs
    pairs: float
    rows: int
    width: int

    @property
    def lines(self) -> int:
        return self.width * 8 // LINE


def choose_keys(
    encoded: Encoded,
    pilot: Pilot,
    histogram: NDArray[np.int64],
    pairs: float,
    *,
    recall: float,
    budget: float,
    seed: int,
) -> tuple[Blocking | None, float, str]:
    """Choose the cheapest keys that find the asked share of the matches, or more of them where that is cheap.

    Parameters
    ----------
    histogram
        int64, shape (filters, strata, bits + 1): distances of unlike pairs.
    pairs
        Linkable pairs.

    Returns
    -------
    Blocking | None
        None where comparing all pairs costs less, or is the only affordable way to find enough.
    expected
        Share of the matches that will be found, those that were settled before the pilot among them.
    reason
        ``beyond-budget`` or ``recall-not-reached``.
    """
    matches = _known_matches(encoded, pilot, histogram, pairs)
    # Of the matches that are left, fewer need be found.
    left = max(float(matches.weight.sum()) * pilot.times, 1.0)
    times = (left + pilot.settled) / left
    most = _of_left(max(recall, *_BETTER), times)
    paths = [_path(matches, bits, bound, most, _AFFORDABLE * budget) for bits in _BITS for bound in _BOUNDS]
    best, reason = max((path[-1] for path in paths), key=lambda choice: choice.recall), "recall-not-reached"
    for share, limit in [*((better, _SPARE * budget) for better in _BETTER if better > recall), (recall, np.inf)]:
        wanted = _of_left(share, times)
        firsts = [next((choice for choice in path if choice.recall >= wanted), None) for path in paths]
        good = [choice for choice in firsts if choice is not None and choice.cost <= limit]
        if good:
            best, reason = min(good, key=lambda choice: choice.cost), "beyond-budget"
            break
    if pairs <= (best.cost if best.recall >= _of_left(recall, times) else _AFFORDABLE * budget):
        return None, 1.0, reason
    return _deal_keys(encoded, best.bits, best.bound, best.lines, seed), 1 - (1 - best.recall) / times, reason


def _of_left(share: float, times: float) -> float:
    """Return what share of the matches left must be found, so that of ``times`` as many in all ``share`` are."""
    return max(0.0, 1 - (1 - share) * times)


def easy_keys(encoded: Encoded, seed: int) -> Blocking:
    """Return the few keys by which matches are found that are all but identical."""
    return _short_keys(encoded, 0, _EASY, _EASY_BOUND, _EASY_ROWS, seed)


def middle_keys(encoded: Encoded, seed: int) -> Blocking:
    """Return the keys by which matches are found that differ somewhat, among the records that the easy ones leave."""
    return _short_keys(encoded, 1, _MIDDLE, _MIDDLE_BOUND, _MIDDLE_ROWS, seed)


def _short_keys(encoded: Encoded, line: int, number: int, bound: int, spare: int, seed: int) -> Blocking:
    """Return keys, as many of each filter. All are of one line: a pair that met on one of them is not looked at again.

    Parameters
    ----------
    line, number
        Which of a filter's lines, if it has as many, and how many keys in all.
    spare
        Bits fewer than it takes to number the rows.
    """
    filters, lines = encoded.classes.shape[1], encoded.width * 8 // LINE
    bits = int(np.clip(np.round(np.log2(len(encoded.record))) - spare, _BITS[0], _BITS[-1]))
    by_line = np.zeros((filters, lines), np.int64)
    by_line[:, line % lines] = -(-number // filters)
    return _deal_keys(encoded, bits, bound, by_line.ravel(), seed)


def _known_matches(encoded: Encoded, pilot: Pilot, histogram: NDArray[np.int64], pairs: float) -> _Matches:
    filters, size = encoded.classes.shape[1], encoded.width * 64
    likely = pilot.weight > 0
    left, right, weight = pilot.left[likely], pilot.right[likely], pilot.weight[likely]
    distances = pair_distances(encoded.words, encoded.width, left, right)
    there = encoded.strata[np.arange(filters), encoded.classes[left], encoded.classes[right]] != MISSING
    if weight.sum() < _ENOUGH:
        assumed = np.round(np.outer(_ASSUMED, np.full(filters, size))).astype(np.int32)
        distances, there = np.concatenate([distances, assumed]), np.concatenate([there, assumed > 0])
        weight = np.append(weight, np.full(len(assumed), (_ENOUGH - weight.sum()) / len(assumed)))
    unlike = histogram.sum(axis=1) / np.maximum(histogram.sum(axis=(1, 2)), 1)[:, None]
    return _Matches(distances, there, weight, unlike, pairs, len(encoded.record), encoded.width)


def _path(matches: _Matches, bits: int, bound: int, recall: float, limit: float) -> list[_Choice]:
    """Deal keys to the filter that gains the most for its cost, until enough is found or the cost is too high."""
    filters, lines, size = len(matches.unlike), matches.lines, matches.width * 64
    sketch = (LINE - KEY_BYTES) * 8
    apart = np.arange(size + 1) / size
    meeting = (matches.unlike * (1 - apart) ** bits).sum(axis=1)
    scoring = (matches.unlike * (1 - apart) ** bits * bdtr(bound, sketch, apart)).sum(axis=1)
    met = matches.pairs * (1 + WATCHED**2)
    cost_of = lines * (_ROW * matches.rows + _VALUE * 2.0**bits + met * (_MEETING * meeting + _SCORING * scoring))
    agree = (1 - matches.distances / size) ** bits
    near = bdtr(bound, sketch, matches.distances / size) * matches.there
    counts, cost, reached = np.zeros(filters, np.int64), 0.0, 0.0
    misses = np.ones_like(agree)
    path: list[_Choice] = []
    while not path or (reached < recall and cost < limit and counts.sum() * lines < _MOST_KEYS):
        steps = np.maximum(1, counts // 8)
        new = (1 - near * (1 - (1 - agree) ** (counts + steps))) ** lines
        all_miss = misses.prod(axis=1)
        gain = matches.weight @ (all_miss[:, None] * (1 - new / np.maximum(misses, 1e-300)))
        number = int(np.argmax(gain / (steps * cost_of)))
        counts[number] += steps[number]
        cost += float(steps[number] * cost_of[number])
        misses[:, number] = new[:, number]
        reached = float(matches.weight @ (1 - misses.prod(axis=1)) / matches.weight.sum())
        path.append(_Choice(bits, bound, np.repeat(counts, lines), reached, cost))
    return path


def _deal_keys(encoded: Encoded, bits: int, bound: int, by_line: NDArray[np.int64], seed: int) -> Blocking:
    """Draw the bytes of each key, no byte of a line again before all were used, and find the heavy values."""
    rng = np.random.default_rng(seed)
    used = (bits + 7) // 8
    places: list[NDArray[np.int64]] = []
    for count in by_line.tolist():
        dealt = 0
        while dealt < count:
            order = rng.permutation(KEY_BYTES)
            starts = range(0, KEY_BYTES - used + 1, used)[: count - dealt]
            places += [np.take(order, range(start, start + used + 2), mode="wrap") for start in starts]
            dealt += len(starts)
    line = np.repeat(np.arange(len(by_line)), by_line).astype(np.int64)
    chosen = np.array(places, np.uint8).reshape(-1, used + 2)
    rows = np.sort(rng.choice(len(encoded.record), min(len(encoded.record), _SAMPLE), replace=False))
    heavy, crowds, crowd_bits = _find_heavy(encoded, rows, chosen, line, bits)
    return Blocking(chosen, line, bits, bound, heavy, crowds, crowd_bits, seed)


def _find_heavy(
    encoded: Encoded, rows: NDArray[np.int64], places: NDArray[np.uint8], line: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint8]]:
    """Find, in a sample of the rows, the values of keys that too many share, and the crowds among them."""
    times = len(encoded.record) / len(rows)
    limit = max(_HEAVY, _OVER * len(encoded.record) / 2**bits) / times
    sample = encoded.words[rows].view(np.uint8)
    heavy: list[int] = []
    crowds: dict[int, int] = {}
    planes, turned, counts = np.zeros((0, 0), np.uint8), -1, np.empty(1 << bits, np.int64)
    for number in range(len(line)):
        if line[number] != turned:
            turned = int(line[number])
            planes = np.ascontiguousarray(sample[:, turned * LINE : (turned + 1) * LINE].T)
        if most_alike(planes, places[number], bits, counts) <= limit:
            continue
        taken = planes[places[number]].astype(np.int64)
        value = (taken[:-2] << 8 * np.arange(len(taken) - 2)[:, None]).sum(axis=0) & (1 << bits) - 1
        values = np.flatnonzero(counts > limit)
        code = number << 40 | value[np.isin(value, values)] << 16
        heavy += np.unique(code).tolist()
        further = (taken[-2] | taken[-1] << 8)[np.isin(value, values)]
        codes, sizes = np.unique(code | further, return_counts=True)
        large = sizes * times > _CROWD
        parts = np.ceil(np.log2(sizes[large] * times / _CROWD_PART)).astype(int)
        crowds.update(zip(codes[large].tolist(), np.minimum(parts, CROWD_BITS).tolist(), strict=True))
    found = np.array(sorted(crowds), np.uint64)
    return np.array(heavy, np.uint64), found, np.array([crowds[code] for code in found.tolist()], np.uint8)
