"""What a single record shows of itself: its popcounts, its masks, and how similar the others are to it.

Neither knows the graph; both are fast, and the graph attack begins with them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linkage.lab.attacks.matching import assign
from linkage.lab.attacks.scene import REHEARSALS, Outcome, Scene, View

__all__ = ["node_evidence", "popcount", "profile"]

Matrix = NDArray[np.float32]

_RANKS = np.array([0.5, 1.5, 2.5, 4, 6, 9, 13, 20, 30, 50, 80, 120, 200, 320]) / 1000
_SHARES = np.concatenate([_RANKS, [0.5, 0.75, 0.95]])
"""How far from the top the quantiles of a record's similarities lie."""

_OTHER_MASK = 20.0
_MOST = 30.0
_MOST_QUANTILE = 12.0
_DEPENDENT = 0.3
"""Weight of a quantile: neighbouring quantiles say nearly the same."""


def popcount(scene: Scene) -> Outcome:
    """Match by the number of ones in each filter, and the masks."""
    return scene.score(assign(node_evidence(scene)[0]))


def profile(scene: Scene) -> Outcome:
    """Match by that and by quantiles of each record's similarities to all others."""
    counted, spread = node_evidence(scene)
    return scene.score(assign(counted + spread))


def node_evidence(scene: Scene) -> tuple[Matrix, Matrix]:
    """Return log-likelihoods of each pair being one person, from popcounts and masks, and from similarity quantiles.

    Both of shape (attacker's, owner's records), in nats; the noise is that of the rehearsals.
    """
    return scene.once("nodes", lambda: _node_evidence(scene))


def _node_evidence(scene: Scene) -> tuple[Matrix, Matrix]:
    shape = len(scene.attacker), len(scene.owner)
    counted, spread = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    wider = 1 + 1 / REHEARSALS
    for number, seen in enumerate(scene.seen):
        own = [views[number] for views in scene.rehearsed]
        counts = np.stack([view.signs.mean(axis=1) for view in own])
        variance = float(counts.var(axis=0, ddof=1).mean()) + 1e-8
        gap = np.square(counts.mean(axis=0)[:, None] - seen.signs.mean(axis=1)[None, :]) / (2 * variance * wider)
        masks = own[0].mask, seen.mask
        counted -= np.where(own[0].empty[:, None] | seen.empty[None, :], 0, np.minimum(gap, _MOST))
        if masks[0] is not None and masks[1] is not None:
            counted -= np.float32(_OTHER_MASK) * (masks[0][:, None] != masks[1][None, :])
        quantiles = np.stack([_quantiles(view) for view in own])
        noise = quantiles.var(axis=0, ddof=1).mean(axis=0) + 1e-7
        mean = quantiles.mean(axis=0)
        if not scene.same_lists:
            noise = noise + 0.05 * mean.var(axis=0)  # the neighbours differ, too
        for left, right, level in zip(mean.T, _quantiles(seen).T, noise, strict=True):
            square = np.square(left[:, None] - right[None, :]) / np.float32(2 * level * wider)
            spread -= np.float32(_DEPENDENT) * np.minimum(square, _MOST_QUANTILE)
    return counted, spread


def _quantiles(view: View) -> Matrix:
    correlation = view.signs @ view.signs.T / np.float32(view.signs.shape[1])
    correlation[view.empty] = 0
    correlation[:, view.empty] = 0
    np.fill_diagonal(correlation, 0)
    result: Matrix = np.arcsin(np.clip(correlation, -0.9999, 0.9999))
    result.sort(axis=1)
    places = np.clip(np.rint((1 - _SHARES) * (len(result) - 1)).astype(np.int64), 0, len(result) - 1)
    return result[:, places]
