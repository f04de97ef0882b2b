"""How good the links are, judged without the truth: from calibrated probabilities and partitions drawn from them.

Nothing that :func:`assess` returns belongs to one pair or one record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import stdtrit

from linkage.hub.compare import Candidates
from linkage.hub.encoded import Encoded
from linkage.hub.fellegi_sunter import Fit
from linkage.hub.partitions import Draws

__all__ = ["assess"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BANDS = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)
_WEIGHTS = (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0)


def assess(
    encoded: Encoded,
    candidates: Candidates,
    fitted: Fit,
    person: NDArray[np.int64],
    *,
    draws: Draws | None = None,
    effective: float | None = None,
    blocking: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe the linkage.

    Parameters
    ----------
    person
        int64, shape (records,): person of each record.
    draws
        Partitions drawn from the posterior.
    effective
        How many independent draws they are worth; by default all.
    blocking
        How candidates were found, as the engine says it; it becomes the entry ``blocking``.

    Returns
    -------
    dict
        Aggregates only. ``precision`` is the expected share of links that are right, ``recall`` the expected share of
        matches among the compared pairs that were found, ``f1`` their harmonic mean, overall and for each pair of
        sources in ``by_sources``. A link is a pair of records of one person; without draws only weighed pairs count.
        ``person_sizes`` and ``person_sources`` count persons by their records and by their sources; ``weight_bands``
        counts the weighed pairs by match weight (natural log).

    Notes
    -----
    With draws, what is together in a draw is what is true in it, so that an interval holds the dependence of pairs that
    share records: value plus and minus so many standard deviations (delta method) as Student's t has it for the
    effective number of draws. The variance between draws counts 1 + 1 / that number times, for their mean is as
    uncertain as one of them (Rubin 1987). Pairs about which the draws are silent, because one of the records is with
    the same ones in all of them, enter with their probability, as independent. Without draws all pairs do. No interval
    covers an error of the model.
    """
    left, right = candidates.left[fitted.pair], candidates.right[fitted.pair]
    number = len(encoded.sources)
    counted = np.triu(candidates.pairs > 0)
    counts = _Counts.of(left, right, fitted.probability, person, encoded.source.astype(np.int64), number, draws)
    counts = replace(counts, effective=effective)
    pair_of = _pair_of(encoded.source.astype(np.int64), left, right, number)
    by_pair = [
        {
            "sources": [encoded.sources[a], encoded.sources[b]],
            **counts.rates(a * number + b),
            "weight_bands": _bands(fitted.weight[pair_of == a * number + b], _WEIGHTS),
        }
        for a, b in zip(*np.nonzero(counted), strict=True)
    ]
    held = _members(person, encoded.source.astype(np.int64), number)
    sources, sizes = np.asarray((held > 0).sum(axis=1)).ravel(), np.asarray(held.sum(axis=1)).ravel()
    return {
        "records": dict(zip(encoded.sources, np.bincount(encoded.source, minlength=number).tolist(), strict=True)),
        "persons": int(person.max(initial=-1)) + 1,
        "person_sizes": _tally(sizes),
        "person_sources": _tally(sources),
        "pairs_compared": float(candidates.pairs.sum()),
        "candidates": len(left),
        "links_shown": fitted.shown,
        "repeats_found": len(fitted.repeats),
        "draws": 0 if draws is None else len(draws.person),
        **counts.rates(*np.flatnonzero(counted)),
        "by_sources": by_pair,
        "weight_bands": _bands(fitted.weight, _WEIGHTS),
        "probability_bands": _bands(fitted.probability, _BANDS, open_ends=False),
        **({} if blocking is None else {"blocking": dict(blocking)}),
    }


def _tally(values: Ints) -> dict[str, int]:
    return {str(value): int(count) for value, count in enumerate(np.bincount(values)) if value and count}


def _bands(values: Floats, edges: tuple[float, ...], *, open_ends: bool = True) -> dict[str, int]:
    names = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    if open_ends:
        names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
        names = [f"below {edges[0]:g}", *names, f"{edges[-1]:g} and more"]
    place = np.searchsorted(edges if open_ends else edges[1:-1], values, "right")
    return dict(zip(names, np.bincount(place, minlength=len(names)).tolist(), strict=True))


# --- counting right, missed and wrong links


def _pair_of(source: Ints, left: Ints, right: Ints, number: int) -> Ints:
    """Return the pair of sources of each pair of records: the smaller times ``number`` plus the greater."""
    pair: Ints = np.minimum(source[left], source[right]) * number + np.maximum(source[left], source[right])
    return pair


def _members(person: Ints, source: Ints, number: int) -> sparse.csr_array:
    """Return how many records of each source each person holds, shape (persons, sources)."""
    size = (int(person.max(initial=-1)) + 1, number)
    return sparse.csr_array((np.ones(len(person), np.int64), (person, source)), shape=size)


def _together(person: Ints, source: Ints, number: int) -> Floats:
    """Count pairs of records of one person by pair of sources; shape (sources * sources,), upper triangle."""
    held = _members(np.unique(person, return_inverse=True)[1], source, number)
    pairs = (held.T @ held).toarray().astype(float)
    alike = (np.diagonal(pairs) - np.bincount(source, minlength=number)) / 2
    np.fill_diagonal(pairs, alike)
    counted: Floats = np.triu(pairs).ravel()
    return counted


@dataclass(frozen=True)
class _Counts:
    """Links, and right and missed ones in each draw, by pair of sources.

    ``links`` (pairs,); ``right``, ``missed`` (draws, pairs); ``right_noise``, ``missed_noise`` (pairs,): variance of
    what the draws do not say.
    """

    links: Floats
    right: Floats
    missed: Floats
    right_noise: Floats
    missed_noise: Floats
    effective: float | None = None

    @classmethod
    def of(
        cls, left: Ints, right: Ints, probability: Floats, person: Ints, source: Ints, number: int, draws: Draws | None
    ) -> _Counts:
        pair_of = _pair_of(source, left, right, number)
        linked = person[left] == person[right]
        silent = np.ones(len(left), np.bool_)
        if draws is not None:
            doubtful = np.zeros(len(person), np.bool_)
            doubtful[draws.record] = True
            silent = ~(doubtful[left] & doubtful[right])

        def total(chosen: NDArray[np.bool_], values: Floats) -> Floats:
            return np.bincount(pair_of[chosen], weights=values[chosen], minlength=number * number).astype(float)

        noise = probability * (1 - probability)
        noises = total(silent & linked, noise), total(silent & ~linked, noise)
        missed = total(silent & ~linked, probability)[None]
        if draws is None:
            return cls(total(linked, np.ones(len(left))), total(linked, probability)[None], missed, *noises)
        links = _together(person, source, number)
        certain = links - total(silent & linked, 1 - probability)
        mine, owner = person[draws.record], source[draws.record]
        base = certain - _together(mine, owner, number)
        right_in, all_in = np.empty((2, len(draws.person), number * number))
        for draw, theirs in enumerate(draws.person.astype(np.int64)):
            all_in[draw] = _together(theirs, owner, number)
            both = mine * (int(theirs.max(initial=0)) + 1) + theirs
            right_in[draw] = _together(both, owner, number)
        return cls(links, base + right_in, missed + all_in - right_in, *noises)

    def rates(self, *pairs: int) -> dict[str, Any]:
        """Return links, expected matches and the three rates of some pairs of sources together."""
        chosen = list(pairs)
        links = float(self.links[chosen].sum())
        right, missed = self.right[:, chosen].sum(axis=1), self.missed[:, chosen].sum(axis=1)
        noise = np.diag([self.right_noise[chosen].sum(), self.missed_noise[chosen].sum()])
        factor, deviations = _widened(len(right), self.effective)
        spread = noise + (factor * np.cov(right, missed) if len(right) > 1 else 0)
        a, b = float(right.mean()), float(missed.mean())
        matches, both = a + b, links + a + b
        rates: dict[str, Any] = dict.fromkeys(("precision", "recall", "f1"))
        if links:
            rates["precision"] = _interval(a / links, (1 / links, 0.0), spread, deviations)
        if matches > 0:
            rates["recall"] = _interval(a / matches, (b / matches**2, -a / matches**2), spread, deviations)
        if links and matches > 0:
            rates["f1"] = _interval(2 * a / both, (2 * (links + b) / both**2, -2 * a / both**2), spread, deviations)
        return {"links": round(links), "expected_matches": round(matches, 1), **rates}


def _widened(draws: int, effective: float | None) -> tuple[float, float]:
    """Return by what the variance between draws is multiplied, and the standard deviations of a 95% interval.

    Draws that hang together vary less among themselves than the posterior does.
    """
    if draws < 2:
        return 1.0, 1.96
    worth = max(2.0, min(float(draws), draws if effective is None else effective))
    return (1 - 1 / draws) / (1 - 1 / worth) * (1 + 1 / worth), float(stdtrit(worth - 1, 0.975))


def _interval(value: float, slope: tuple[float, float], spread: Floats, deviations: float) -> dict[str, float]:
    half = deviations * float(np.sqrt(max(0.0, np.array(slope) @ spread @ np.array(slope))))
    return {
        "value": round(min(1.0, value), 4),
        "low": round(max(0.0, value - half), 4),
        "high": round(min(1.0, value + half), 4),
    }
