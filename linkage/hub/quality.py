"""How good the links are, judged without the truth: expected precision and recall from calibrated probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkage.hub.compare import Candidates
from linkage.hub.encoded import Encoded
from linkage.hub.fellegi_sunter import Fit

__all__ = ["assess"]

_BANDS = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)


def assess(encoded: Encoded, candidates: Candidates, fitted: Fit, person: NDArray[np.int64]) -> dict[str, Any]:
    """Describe the linkage.

    Parameters
    ----------
    person
        int64, shape (records,): person of each record.

    Returns
    -------
    dict
        Aggregates only: nothing in it belongs to one pair or one record. ``precision`` is the expected share of
        links that are right, ``recall`` the expected share of matches among the compared pairs that were found, each
        with a 95% interval from the probabilities' own spread (independent pairs, normal approximation; it does not
        cover an error of the model).
    """
    left, right = candidates.left[fitted.pair], candidates.right[fitted.pair]
    linked = person[left] == person[right]
    sizes = np.bincount(np.bincount(person)) if len(person) else np.zeros(1, np.int64)
    number = len(encoded.sources)
    pair_of = np.minimum(encoded.source[left], encoded.source[right]).astype(np.int64) * number + np.maximum(
        encoded.source[left], encoded.source[right]
    )
    by_pair = []
    for a in range(number):
        for b in range(a, number):
            if candidates.pairs[a, b] > 0:
                here = pair_of == a * number + b
                entry = _rates(fitted.probability[here], linked[here])
                by_pair.append({"sources": [encoded.sources[a], encoded.sources[b]], **entry})
    counts = np.histogram(fitted.probability, bins=_BANDS)[0]
    return {
        "records": dict(zip(encoded.sources, np.bincount(encoded.source, minlength=number).tolist(), strict=True)),
        "persons": int(person.max(initial=-1)) + 1,
        "person_sizes": {str(size): int(count) for size, count in enumerate(sizes) if size and count},
        "pairs_compared": float(candidates.pairs.sum()),
        "candidates": len(left),
        "links_shown": fitted.shown,
        "repeats_found": len(fitted.repeats),
        **_rates(fitted.probability, linked),
        "by_sources": by_pair,
        "probability_bands": {
            f"{low:g}-{high:g}": int(count) for low, high, count in zip(_BANDS, _BANDS[1:], counts, strict=False)
        },
    }


def _rates(probability: NDArray[np.float64], linked: NDArray[np.bool_]) -> dict[str, Any]:
    links, found, matches = int(linked.sum()), float(probability[linked].sum()), float(probability.sum())
    spread = 1.96 * float(np.sqrt((probability * (1 - probability))[linked].sum()))
    missed = 1.96 * float(np.sqrt((probability * (1 - probability))[~linked].sum()))
    rates: dict[str, Any] = {"links": links, "expected_matches": round(matches, 1), "precision": None, "recall": None}
    if links:
        rates["precision"] = _interval(found / links, spread / links)
    if matches > 0:
        rates["recall"] = _interval(found / matches, missed / matches)
    return rates


def _interval(value: float, half: float) -> dict[str, float]:
    return {
        "value": round(value, 4),
        "low": round(max(0.0, value - half), 4),
        "high": round(min(1.0, value + half), 4),
    }
