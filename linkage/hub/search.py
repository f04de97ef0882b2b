"""One search for pairs that share a key, from encodings to findings; and the easy matches, which are found first.

Most matches are all but identical: a few keys find them. A record that is found to have one such partner, and no other
near one, is *settled*: it need not be compared further. Among the records that these leave, some more keys find and
settle the matches that differ somewhat. The many keys that the hard matches take are then looked for among the other
records alone, whose pairs are far fewer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.hub.block import WATCHED, Blocking, easy_keys, middle_keys, watched
from linkage.hub.collisions import collide
from linkage.hub.encoded import Encoded
from linkage.hub.kernels import MISSING, pair_distances
from linkage.hub.levels import LEVELS
from linkage.hub.locality import Rows
from linkage.hub.plan import Easy, Found

__all__ = ["find_easy", "find_middling", "join_threads", "refuse_masses", "search_keys"]

_ROOM = 1.0  # pairs a row for which there is room at first
_NEAREST, _MIDDLING = (
    0.2,
    0.3,
)  # share of the bits in which the records of an easy and of a middling match differ at most
_FALSE = 0.02  # share of pairs at that distance that may be false, judged by pairs within sources


def search_keys(
    encoded: Encoded,
    blocking: Blocking,
    level_of: NDArray[np.uint8],
    weights: NDArray[np.float32],
    threshold: float,
    first: int,
    last: int,
    *,
    watch: NDArray[np.bool_],
    most: int,
) -> Found:
    """Compare the rows that collide on a key from ``first`` to ``last``, and on none before.

    Parameters
    ----------
    watch
        bool, shape (records,): records whose pairs within a source are sought.
    most
        Pairs that may be kept.

    Raises
    ------
    LinkError
        ``indistinguishable-records``: more pairs look alike than may be kept.
    """
    threads = get_num_threads()
    rows = Rows(
        encoded.words, encoded.width, encoded.classes, encoded.strata, encoded.record,
        encoded.known[encoded.record], encoded.source[encoded.record].astype(np.int64), encoded.deduplicated,
        watch[encoded.record], level_of, weights, np.float32(threshold),
    )  # fmt: skip
    capacity = int(_ROOM * len(encoded.record)) + 10_000
    while True:
        found = collide(rows, blocking.keys(), first, last, capacity=capacity, most=most, threads=threads)
        refuse_masses(int(found.kept.sum()), most)
        if found.kept.max() <= capacity:
            break
        capacity = int(found.kept.max())
    left, right, levels, strata, parted = (join_threads(part, found.kept) for part in found[:5])
    none, here = np.zeros((0, len(level_of), LEVELS), np.uint16), slice(first, last)
    return Found(
        "keys", first, last, left, right, levels, strata, parted, none, found.skipped[here], found.scored[here]
    )


def join_threads(part: NDArray[Any], kept: NDArray[np.int64]) -> NDArray[Any]:
    """Put together what each thread kept."""
    return np.concatenate([own[:count] for own, count in zip(part, kept.tolist(), strict=True)])


def refuse_masses(candidates: int, most: int) -> None:
    """Refuse more pairs than can be kept."""
    if candidates > most:
        raise LinkError(
            "more pairs of records look alike than can be weighed",
            reason="indistinguishable-records",
            hint="look for a value that stands in for a missing one, and for records that are in a source many times",
        )


def find_easy(
    encoded: Encoded, level_of: NDArray[np.uint8], weights: NDArray[np.float32], *, seed: int, most: int
) -> Easy | None:
    """Find the matches that are all but identical; None where a source has repeats, or none are found.

    Parameters
    ----------
    level_of, weights
        Level and weight of a distance, by filter and stratum.
    """
    if len(encoded.sources) == 1 or not encoded.deduplicated.all():
        return None
    blocking = easy_keys(encoded, seed)
    watch = watched(len(encoded.source), seed)
    keys = len(blocking.line)
    found = search_keys(encoded, blocking, level_of, weights, -1.0, 0, keys, watch=watch, most=most)
    settled, matches = _settle(encoded, found, _NEAREST)
    return Easy(blocking, None, found, settled, matches) if matches.any() else None


def find_middling(
    rest: Encoded,
    easy: Easy,
    level_of: NDArray[np.uint8],
    weights: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    seed: int,
    most: int,
) -> tuple[Easy, NDArray[np.bool_]]:
    """Add the matches that differ somewhat, among the records that the easy ones leave.

    Parameters
    ----------
    rest, rows
        The records that are left, and which rows of all they are.

    Returns
    -------
    Easy
        With what was added.
    settled : bool (records,): which of the records that were left are settled now.
    """
    blocking = middle_keys(rest, seed + 1)
    watch = watched(len(easy.settled), seed)[~easy.settled]
    keys = len(blocking.line)
    found = search_keys(rest, blocking, level_of, weights, -1.0, 0, keys, watch=watch, most=most)
    more, matches = _settle(rest, found, _MIDDLING)
    settled = easy.settled.copy()
    settled[~easy.settled] = more
    found = replace(found, left=rows[found.left].astype(np.int32), right=rows[found.right].astype(np.int32))
    both = replace(easy.found, last=easy.found.last + keys, **_joined(easy.found, found))
    return Easy(easy.blocking, blocking, both, settled, easy.matches + matches), more


def _joined(one: Found, other: Found) -> dict[str, Any]:
    """Return what two findings hold together, but for counts by row."""
    names = ("left", "right", "levels", "strata", "parted", "skipped", "scored")
    return {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}


def _settle(encoded: Encoded, found: Found, furthest: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Say which records have one near partner in each other source, and how many pairs these are.

    Where a record or its partner has a second one that is near at all, neither is settled; nor where they differ in a
    greater share of their bits than ``furthest``.
    """
    records, number = len(encoded.source), len(encoded.sources)
    left, right = found.left.astype(np.int64), found.right.astype(np.int64)
    distances = pair_distances(encoded.words, encoded.width, left, right).astype(float)
    there = found.levels != MISSING
    apart = np.where(there, distances, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1) / (64 * encoded.width)
    # A record's variants meet its partner's more than once: that is one pair.
    pairs, first = np.unique(encoded.record[left] * records + encoded.record[right], return_index=True)
    a, b, apart = pairs // records, pairs % records, apart[first]
    slots = np.concatenate([a * number + encoded.source[b], b * number + encoded.source[a]])
    single = np.bincount(slots, minlength=records * number)[slots] == 1
    alone = single[: len(a)] & single[len(a) :]
    a, b, apart = a[alone], b[alone], apart[alone]
    good = (encoded.source[a] != encoded.source[b]) & (apart <= _nearest(encoded, apart, a, b, furthest))
    settled = np.bincount(np.append(a[good], b[good]), minlength=records) == number - 1
    sure = good & settled[a] & settled[b]
    matches = np.zeros((number, number))
    np.add.at(matches, (encoded.source[a[sure]], encoded.source[b[sure]]), 1.0)
    return settled, np.triu(matches + matches.T, 1)


def _nearest(
    encoded: Encoded, apart: NDArray[np.float64], a: NDArray[np.int64], b: NDArray[np.int64], furthest: float
) -> float:
    """Return the distance up to which pairs are next to surely matches; negative if there is none.

    Pairs of one source are none: those at a distance say how many of the others at that distance are false.
    """
    sizes = np.bincount(encoded.source, minlength=len(encoded.sources)).astype(float)
    within, across = (sizes * (sizes - 1)).sum() / 2, (sizes.sum() ** 2 - (sizes**2).sum()) / 2
    order = np.argsort(apart)
    linkable = (encoded.source[a] != encoded.source[b])[order]
    false = (np.cumsum(~linkable) + 1) / WATCHED**2 * across / within
    good = np.flatnonzero((false <= _FALSE * np.cumsum(linkable)) & (apart[order] <= furthest))
    return float(apart[order[good[-1]]]) if len(good) else -1.0
