"""Attacks on what no diffusion hides: which records have the very same filter, and how many share it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from linkage.lab.attacks.graph import Channel, match
from linkage.lab.attacks.matching import assign, soft
from linkage.lab.attacks.scene import Outcome, Scene, View

__all__ = ["equality", "frequency"]

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int64]

_PRECISION = 30.0
_SIZES = 4.0
_OTHER_MASK = 20.0


def frequency(scene: Scene) -> Outcome:
    """Align by frequency: in each filter, how many records have the same one, and how many people the same values.

    Frequency alignment of whole filters (Kuzu et al. 2011), in all filters at once.
    """
    return scene.score(assign(_size_evidence(scene)))


def equality(scene: Scene) -> Outcome:
    """Match the graphs of equal filters: by colour refinement where the lists are the same, and softly.

    Colour refinement (Weisfeiler and Leman 1968) gives two records one colour as long as the same numbers of records of
    the same colours share each of their filters. The better of the two counts.
    """
    evidence = _size_evidence(scene)
    channels = [
        Channel(_equal(own), _equal(seen), _PRECISION)
        for own, seen in zip(_classes(scene.rehearsed[0]), _classes(scene.seen), strict=True)
    ]
    relaxed = 1.0 if scene.same_lists else 0.85
    start = soft(evidence, 0.3 * float(evidence.std()) + 1e-6, relaxed)
    softly = scene.score(match(channels, evidence, start, relaxed=relaxed))
    return max(softly, _refined(scene), key=lambda outcome: outcome.hits)


def _refined(scene: Scene) -> Outcome:
    """Count a tie of ``k`` records of one colour as ``1 / k``."""
    own, seen = _colours(scene.rehearsed[0], scene.seen)
    sizes = Counter(own.tolist()), Counter(seen.tolist())
    hits = sum(
        1 / max(sizes[0][int(own[row])], sizes[1][int(seen[scene.truth[row]])])
        for row in np.flatnonzero(scene.common).tolist()
        if own[row] == seen[scene.truth[row]]
    )
    return Outcome(hits, int(scene.common.sum()), 1 / len(scene.owner))


def _colours(own: Sequence[View], seen: Sequence[View]) -> tuple[Numbers, Numbers]:
    """Refine colours on both lists with common numbers, until there are no more of them."""
    left, right = _classes(own), _classes(seen)
    members: list[list[list[int]]] = []
    of_record = [np.concatenate([a, b + int(a.max(initial=-1)) + 1]) for a, b in zip(left, right, strict=True)]
    for classes in of_record:
        groups: dict[int, list[int]] = defaultdict(list)
        for row, number in enumerate(classes.tolist()):
            groups[number].append(row)
        members.append([groups[number] for number in range(len(groups))])
    masks = [
        np.concatenate([a.mask, b.mask])
        for a, b in zip(own, seen, strict=True)
        if a.mask is not None and b.mask is not None
    ]
    count = len(of_record[0])
    colour = _numbered([tuple(int(mask[row]) for mask in masks) for row in range(count)])
    while True:
        shared = [_numbered([tuple(sorted(colour[rows].tolist())) for rows in groups]) for groups in members]
        marks = [numbers[classes] for numbers, classes in zip(shared, of_record, strict=True)]
        finer = _numbered(list(zip(colour.tolist(), *(mark.tolist() for mark in marks), strict=True)))
        if finer.max() == colour.max():
            return finer[: len(left[0])], finer[len(left[0]) :]
        colour = finer


def _numbered(marks: Sequence[Hashable]) -> Numbers:
    place: dict[Hashable, int] = {}
    return np.array([place.setdefault(mark, len(place)) for mark in marks], np.int64)


def _classes(views: Sequence[View]) -> list[Numbers]:
    """Give equal filters equal numbers, from 0 on, by filter; a record that shows to have none is alone."""
    found = []
    for view in views:
        packed = np.packbits(view.signs < 0, axis=1)
        _, numbers = np.unique(packed, axis=0, return_inverse=True)
        numbers = numbers.ravel().astype(np.int64)
        numbers[view.empty] = numbers.max(initial=0) + 1 + np.arange(int(view.empty.sum()))
        found.append(np.unique(numbers, return_inverse=True)[1].ravel().astype(np.int64))
    return found


def _equal(classes: Numbers) -> Matrix:
    same = np.asarray(classes[:, None] == classes[None, :], np.float32)
    np.fill_diagonal(same, 0)
    return same


def _size_evidence(scene: Scene) -> Matrix:
    """Hold the sizes of a record's classes, one a filter, against each other, in nats."""
    evidence = np.zeros((len(scene.attacker), len(scene.owner)), np.float32)
    sides = _classes(scene.rehearsed[0]), _classes(scene.seen)
    for own, seen, mine, theirs in zip(*sides, scene.rehearsed[0], scene.seen, strict=True):
        sizes = [np.log(np.bincount(classes)[classes]).astype(np.float32) for classes in (own, seen)]
        evidence -= np.float32(_SIZES) * np.square(sizes[0][:, None] - sizes[1][None, :])
        if mine.mask is not None and theirs.mask is not None:
            evidence -= np.float32(_OTHER_MASK) * (mine.mask[:, None] != theirs.mask[None, :])
    return evidence
