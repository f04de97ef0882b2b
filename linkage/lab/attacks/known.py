"""Known pairs: the attacker has learnt, for some people, which encoding is theirs.

Pairs leak with an agency's file of pseudonyms, when somebody finds himself, or from an earlier attack. They are used
twice: as seeds of the graph, whose similarities to everybody else tell even where they are below the noise of one
pair; and to learn what the bits of a filter say (the learned pattern attack; Mildenberger et al. 2025), here by the
best linear predictor of each bit, whose kernel is the similarity that the attacker expects.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from linkage.lab.attacks.graph import channels, expected, match
from linkage.lab.attacks.matching import assign, soft
from linkage.lab.attacks.profile import node_evidence
from linkage.lab.attacks.scene import Outcome, Scene

__all__ = ["known_pairs"]

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]

_NEVER = 1e4
_NOISE = 0.05
_LEAST_LEFT = 0.02


def known_pairs(pairs: int) -> Callable[[Scene], Outcome]:
    """Return the attack with so many known pairs; the people of the pairs do not count as re-identified.

    The best of four ways to use the pairs counts, as the truth tells: that favours the attacker.
    """

    def run(scene: Scene) -> Outcome:
        known = _drawn(scene, pairs)
        rows = np.flatnonzero(known)
        counted, _ = node_evidence(scene)
        relaxed = 1.0 if scene.same_lists else 0.85
        narrow = [channel.gated(scene.spec.diffusion.inputs > 1) for channel in channels(scene)]
        runs = []
        for learnt in (_seeds(scene, rows), _bits(scene, rows)):
            evidence = _fixed(counted + learnt, rows, scene.truth[rows])
            runs.append(assign(evidence))
            runs.append(match(narrow, evidence, soft(evidence, 3.0, relaxed), relaxed=relaxed))
        return max((scene.score(assigned, known) for assigned in runs), key=lambda outcome: outcome.hits)

    return run


def _drawn(scene: Scene, pairs: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng([scene.seed, 17])
    known = np.zeros(len(scene.attacker), np.bool_)
    known[rng.permutation(np.flatnonzero(scene.common))[:pairs]] = True
    return known


def _seeds(scene: Scene, rows: Rows) -> Matrix:
    """Hold similarities to the known people against each other: the likelihood of each pair, in nats."""
    evidence = np.zeros((len(scene.attacker), len(scene.owner)), np.float32)
    for channel in channels(scene):
        own, seen = channel.own[:, rows], channel.seen[:, scene.truth[rows]]
        square = np.square(own).sum(axis=1)[:, None] + np.square(seen).sum(axis=1)[None, :]
        evidence += np.float32(channel.precision) * (own @ seen.T - square / 2)
    return evidence


def _bits(scene: Scene, rows: Rows) -> Matrix:
    """Predict each bit of everybody's filters from those of the known people: the likelihood of each pair, in nats."""
    evidence = np.zeros((len(scene.attacker), len(scene.owner)), np.float32)
    for kernel, view in zip(expected(scene), scene.seen, strict=True):
        among = kernel[np.ix_(rows, rows)] + (1 + _NOISE) * np.eye(len(rows), dtype=np.float32)
        weights = np.linalg.solve(among, kernel[rows]).astype(np.float32)
        predicted = weights.T @ view.signs[scene.truth[rows]]
        left = np.maximum(1 - (kernel[rows] * weights).sum(axis=0), _LEAST_LEFT)
        fit = predicted @ view.signs.T - np.square(predicted).sum(axis=1)[:, None] / 2
        evidence += fit / left[:, None]
    return evidence


def _fixed(evidence: Matrix, rows: Rows, columns: Rows) -> Matrix:
    """Let the known pairs be pairs and nothing else."""
    fixed: Matrix = evidence - evidence.max(axis=1, keepdims=True)
    fixed[rows] = -_NEVER
    fixed[:, columns] = -_NEVER
    fixed[rows, columns] = 0
    return fixed
