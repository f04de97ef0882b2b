"""Joint matching of similarity graphs over all filters.

Similarities survive any encoding that can be linked. The attacker knows how alike the people of his own list would be
in each filter, sees how alike the owner's records are, and looks for the assignment under which the two agree: a
quadratic assignment by fused Gromov-Wasserstein with entropy (Vayer et al. 2020; Vidanage et al. 2020 for the attack).
All filters count at once, each with its own noise, so that the objective is a log-likelihood in nats; its temperature
falls from 20 nats to 1. Similarities are correlations of bits, arcsine-transformed so that their noise is even.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from linkage.contract.spec import Diffusion, FixedHashes, LinkageSpec
from linkage.lab.attacks.matching import assign, soft
from linkage.lab.attacks.profile import node_evidence
from linkage.lab.attacks.scene import Outcome, Scene, View, encoded, views

__all__ = ["Channel", "channels", "expected", "graph", "match", "runs", "similarity", "spectral"]

Matrix = NDArray[np.float32]

_LONGER = 8
"""So many times longer than the spec's are the filters in which the attacker computes expected similarities."""

_OWN_GATE, _SEEN_GATE = 1.0, 2.5
"""Below so many standard deviations of noise a similarity is none: the attacker's own, and those he sees."""

_STEPS, _HOT, _COLD = 14, 20.0, 1.0
_SPARSE = 0.1


@dataclass(frozen=True)
class Channel:
    """The two similarity graphs of one filter.

    Attributes
    ----------
    own
        Shape (attacker's records, attacker's records): similarities as the attacker expects them.
    seen
        Shape (owner's records, owner's records): as the hub sees them.
    precision
        One over the variance of their difference.
    """

    own: Matrix
    seen: Matrix
    precision: float

    def gated(self, diffused: bool) -> Channel:
        """Return the channel without what may be noise; undiffused, all similarities tell."""
        if not diffused:
            return self
        noise = self.precision**-0.5
        own = np.where(np.abs(self.own) < _OWN_GATE * noise, 0, self.own).astype(np.float32)
        seen = np.where(np.abs(self.seen) < _SEEN_GATE * noise, 0, self.seen).astype(np.float32)
        return Channel(own, seen, self.precision)


def graph(scene: Scene) -> Outcome:
    """Match with all that is seen: similarities, popcounts, masks, and how similarities are spread around each record.

    The better of two runs counts, as the truth tells: that favours the attacker.
    """
    return max((scene.score(assigned) for assigned in runs(scene)), key=lambda outcome: outcome.hits)


def runs(scene: Scene, beyond: Matrix | None = None, averaged: list[Channel] | None = None) -> list[NDArray[np.int64]]:
    """Return the assignments of two runs.

    Parameters
    ----------
    scene
        The trial.
    beyond
        Log-likelihoods from whatever else the attacker sees.
    averaged
        Graphs to use in place of the scene's own.
    """
    counted, spread = node_evidence(scene)
    if beyond is not None:
        counted = counted + beyond
    both = counted + spread
    narrow = [channel.gated(scene.spec.diffusion.inputs > 1) for channel in averaged or channels(scene)]
    if scene.same_lists:
        start = soft(both, 3.0)
        return [match(narrow, evidence, start) for evidence in (counted, both)]
    # Where lists differ, the first does best on dense graphs, the second on what diffusion leaves of them.
    return [
        match(narrow, counted, soft(both, 3.0, 0.85), relaxed=0.97),
        match(narrow, both, soft(both, 3.0), missing=0.6),
    ]


def spectral(scene: Scene) -> Outcome:
    """Match by similarities alone, from a spectral start (GRAMPA: Fan, Mao, Wu and Xu 2023)."""
    narrow = [channel.gated(scene.spec.diffusion.inputs > 1) for channel in channels(scene)]
    own = sum(channel.own * channel.precision for channel in narrow)
    seen = sum(channel.seen * channel.precision for channel in narrow)
    score = _grampa(np.asarray(own, np.float64), np.asarray(seen, np.float64))
    relaxed = 1.0 if scene.same_lists else 0.85
    start = soft(score, 0.3 * float(score.std()) + 1e-9, relaxed)
    nothing = np.zeros_like(score)
    tried = [assign(score), match(narrow, nothing, start, relaxed=relaxed)]
    return max((scene.score(assigned) for assigned in tried), key=lambda outcome: outcome.hits)


def channels(scene: Scene) -> list[Channel]:
    """Return the graphs of each filter, about their medians, with the noise that the rehearsals show."""
    return scene.once("channels", lambda: _channels(scene))


def expected(scene: Scene) -> list[Matrix]:
    """Return, by filter, how alike the attacker's records are to be expected: measured on filters eight times as long.

    Records whose filters correlate with ``rho`` before diffusion do so with ``rho ** t`` after it.
    """
    spec = scene.spec
    long = _longer(spec)
    raw = views(encoded(scene.attacker, long, scene.own_key(99)), long)
    power = spec.diffusion.inputs
    return [_arcsine(_correlation(view) ** power) for view in raw]


def _channels(scene: Scene) -> list[Channel]:
    made = []
    for number, (seen, long) in enumerate(zip(scene.seen, expected(scene), strict=True)):
        rehearsed = [views[number] for views in scene.rehearsed]
        empty = rehearsed[0].empty
        there = ~empty[:, None] & ~empty[None, :]
        np.fill_diagonal(there, False)
        noise = float(np.mean([np.square(similarity(view) - long)[there].mean() for view in rehearsed]))
        middle = float(np.median(long[there]))
        own, other = np.where(there, long - middle, 0).astype(np.float32), similarity(seen) - np.float32(middle)
        other[seen.empty] = 0
        other[:, seen.empty] = 0
        np.fill_diagonal(other, 0)
        made.append(Channel(own, other, 1 / max(noise, 1e-8)))
    return made


def similarity(view: View) -> Matrix:
    """Return the similarities of all records in one filter; of a record with itself, 0."""
    return _arcsine(_correlation(view))


def match(
    between: Sequence[Channel], evidence: Matrix, start: Matrix, *, relaxed: float = 1.0, missing: float = 1.0
) -> NDArray[np.int64]:
    """Find the assignment under which graphs and evidence agree best.

    Parameters
    ----------
    between
        The graphs.
    evidence
        Shape (attacker's, owner's records): log-likelihood of two records being one person by what else is seen.
    start
        The plan to begin with, same shape.
    relaxed
        See :func:`linkage.lab.attacks.matching.soft`.
    missing
        How much a similarity that is seen and not expected counts; below 1 where lists differ.

    Returns
    -------
    numpy.ndarray
        Shape (attacker's records,): the owner's row given to each, -1 for none.
    """
    sides = [(_thin(c.own), _thin(c.seen), np.square(c.own), np.square(c.seen), c.precision) for c in between]
    plan = start
    for step in range(_STEPS):
        rows, columns = plan.sum(axis=1), plan.sum(axis=0)
        score = evidence.copy()
        for own, seen, own_square, seen_square, precision in sides:
            score += np.float32(precision) * ((own @ plan) @ seen)
            score -= np.float32(precision / 2) * (own_square @ rows)[:, None]
            score -= np.float32(precision / 2 * missing) * (seen_square @ columns)[None, :]
        plan = soft(score, _HOT * (_COLD / _HOT) ** (step / (_STEPS - 1)), relaxed)
    return assign(score)


def _longer(spec: LinkageSpec) -> LinkageSpec:
    hashing = spec.hashing
    if isinstance(hashing, FixedHashes):
        hashing = hashing.model_copy(update={"hashes": hashing.hashes * _LONGER})
    bits = spec.bits * _LONGER
    diffusion = Diffusion(bits=8192, inputs=1).model_copy(update={"bits": bits})
    # Longer than the contract allows; nobody but the attacker makes such filters.
    return spec.model_copy(update={"bits": bits, "hashing": hashing, "diffusion": diffusion})


def _correlation(view: View) -> Matrix:
    return np.asarray(view.signs @ view.signs.T / np.float32(view.signs.shape[1]), np.float32)


def _arcsine(correlation: Matrix) -> Matrix:
    result: Matrix = np.arcsin(np.clip(correlation, -0.9999, 0.9999))
    np.fill_diagonal(result, 0)
    return result


def _thin(matrix: Matrix) -> Any:
    """Return a sparse array where that is faster: diffusion leaves few similarities above the noise."""
    return csr_array(matrix) if np.count_nonzero(matrix) < _SPARSE * matrix.size else matrix


def _grampa(own: NDArray[np.float64], seen: NDArray[np.float64], width: float = 0.2) -> Matrix:
    """Compare all pairs of eigenvectors, the more the closer their eigenvalues."""
    values, vectors = zip(*(np.linalg.eigh(side / np.abs(side).sum(axis=1).max()) for side in (own, seen)), strict=True)
    left, right = (spectrum / max(float(spectrum.std()), 1e-12) for spectrum in values)
    kernel = 1 / ((left[:, None] - right[None, :]) ** 2 + width**2)
    weights = kernel * np.outer(vectors[0].sum(axis=0), vectors[1].sum(axis=0))
    return np.asarray(vectors[0] @ weights @ vectors[1].T, np.float32)
