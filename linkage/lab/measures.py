"""How right a partition and its probabilities are, once the truth is known. Every measure counts pairs of records."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

__all__ = ["calibration_error", "f1_of", "pair_counts", "pairwise", "pairwise_by_sources"]

Numbers = NDArray[np.int64]

_LEAST, _BINS = 0.01, 10


def pairwise(person: NDArray[Any], entity: Numbers, source: Numbers, within: NDArray[np.bool_]) -> dict[str, float]:
    """Return pairwise precision, recall and F1 of a partition.

    Parameters
    ----------
    person, entity, source
        Shape (records,): found person, true person, number of the source.
    within
        Shape (sources,): whether pairs within that source count too.
    """
    counted = _counted(within)
    links, matches, hits = (int(found[counted].sum()) for found in _confusion(person, entity, source, len(within)))
    return _rates(links, matches, hits)


def pairwise_by_sources(
    person: NDArray[Any], entity: Numbers, source: Numbers, within: NDArray[np.bool_], names: list[str]
) -> list[dict[str, Any]]:
    """Return the measures of :func:`pairwise` for each pair of sources, and for each source whose own pairs count.

    Returns
    -------
    list of dict
        ``sources`` (two names, twice the same for pairs within a source), ``links``, ``pairs_true``, ``precision``,
        ``recall``, ``f1``.
    """
    links, matches, hits = _confusion(person, entity, source, len(within))
    return [
        {
            "sources": [names[a], names[b]],
            "links": int(links[a, b]),
            "pairs_true": int(matches[a, b]),
            **_rates(int(links[a, b]), int(matches[a, b]), int(hits[a, b])),
        }
        for a, b in np.argwhere(_counted(within)).tolist()
    ]


def pair_counts(group: NDArray[Any], source: Numbers, sources: int) -> Numbers:
    """Count the pairs of records that are in one group, by their sources.

    Returns
    -------
    numpy.ndarray
        int64, shape (sources, sources), upper triangle; the diagonal holds pairs within a source.
    """
    number = np.unique(group, return_inverse=True)[1].ravel()
    ones = np.ones(len(source), np.int64)
    held = coo_array((ones, (number, source)), shape=(int(number.max(initial=-1)) + 1, sources)).tocsr()
    together: Numbers = np.asarray((held.T @ held).toarray(), np.int64)
    sizes = np.bincount(source, minlength=sources)
    np.fill_diagonal(together, (together.diagonal() - sizes) // 2)
    return np.triu(together)


def calibration_error(probability: NDArray[np.float64], match: NDArray[np.bool_]) -> float | None:
    """Return the expected calibration error of match probabilities (Naeini, Cooper and Hauskrecht 2015).

    Pairs with a probability above 0.01 fall into ten bins of equal width, (0.01, 0.1), [0.1, 0.2), ..., [0.9, 1]. The
    error is the mean over bins, weighted by their number of pairs, of the distance between the mean probability of a
    bin and its share of matches. The many pairs that are surely none would only water it down.

    Parameters
    ----------
    probability, match
        Shape (pairs,): of each weighed pair, and whether it is one person in truth.

    Returns
    -------
    float or None
        None where no pair has a probability above 0.01.
    """
    over = probability > _LEAST
    if not over.any():
        return None
    bins = np.minimum((probability[over] * _BINS).astype(np.int64), _BINS - 1)
    gap = np.bincount(bins, weights=probability[over] - match[over], minlength=_BINS)
    return round(float(np.abs(gap).sum() / over.sum()), 6)


def f1_of(precision: float | None, recall: float | None) -> float | None:
    """Return the harmonic mean, or None where either is not known."""
    if precision is None or recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _confusion(
    person: NDArray[Any], entity: Numbers, source: Numbers, sources: int
) -> tuple[Numbers, Numbers, Numbers]:
    """Count links, true pairs, and links that are true, by sources."""
    both = person.astype(np.int64) * (int(entity.max(initial=0)) + 1) + entity
    links, matches, hits = (pair_counts(group, source, sources) for group in (person, entity, both))
    return links, matches, hits


def _counted(within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    counted: NDArray[np.bool_] = np.triu(np.ones((len(within), len(within)), np.bool_), 1)
    np.fill_diagonal(counted, within)
    return counted


def _rates(links: int, matches: int, hits: int) -> dict[str, float]:
    precision, recall = hits / links if links else 0.0, hits / matches if matches else 0.0
    return {"precision": round(precision, 6), "recall": round(recall, 6), "f1": round(f1_of(precision, recall) or 0, 6)}
