"""The cells and terms of a table over ``t`` lists, as bitmasks.

A **term** is a set of lists as an integer (bit ``j`` = list ``j``): 0 is the intercept, a single bit a main effect, two
bits the interaction of a pair. A **model** is the tuple of its interactions (two bits and more); intercept and
main effects are always in.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

from linkage.errors import EstimateError

__all__ = [
    "Floats",
    "all_terms",
    "contains",
    "design",
    "name_model",
    "name_term",
    "pairs",
    "subset_sums",
    "superset_sums",
    "terms_from_names",
]

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=32)
def pairs(t: int) -> tuple[int, ...]:
    """All pairs of ``t`` lists as terms, in the order 12, 13, ..., 1t, 23, ..."""
    return tuple((1 << i) | (1 << j) for i, j in combinations(range(t), 2))


def contains(t: int, terms: Iterable[int], *, empty_cell: bool = False) -> Floats:
    """Tell which cells contain which terms.

    Returns
    -------
    numpy.ndarray
        0/1 matrix of shape ``(number of terms, 2**t - 1)``; with ``empty_cell`` one column more, the first.
    """
    cells = np.arange(0 if empty_cell else 1, 2**t)
    masks = np.array(list(terms), dtype=np.int64).reshape(-1, 1)
    return np.asarray((cells & masks) == masks, dtype=np.float64)


def all_terms(t: int, interactions: Iterable[int]) -> tuple[int, ...]:
    """All terms of a model: intercept, ``t`` main effects, then the interactions as given."""
    return (0, *(1 << j for j in range(t)), *interactions)


def design(t: int, interactions: Iterable[int]) -> Floats:
    """Design matrix of a model, cells by parameters in the order of :func:`all_terms`."""
    return contains(t, all_terms(t, interactions)).T.copy()


def superset_sums(values: Floats, t: int) -> Floats:
    """Sum over all cells that contain a cell, for every cell: ``(B, 2**t)`` in, the same shape out.

    The fast zeta transform: t passes of additions and no matrix product, the quicker the more lists, and independent of
    the number of threads that a linear algebra library takes.
    """
    sums = values.copy()
    for j in range(t):
        halves = sums.reshape(len(sums), 2 ** (t - 1 - j), 2, 2**j)  # no -1: the stack may be empty
        halves[:, :, 0, :] += halves[:, :, 1, :]
    return sums


def subset_sums(values: Floats, t: int) -> Floats:
    """Sum over all cells inside a cell, for every cell: ``(B, 2**t)`` in, the same shape out."""
    sums = values.copy()
    for j in range(t):
        halves = sums.reshape(len(sums), 2 ** (t - 1 - j), 2, 2**j)  # no -1: the stack may be empty
        halves[:, :, 1, :] += halves[:, :, 0, :]
    return sums


def name_term(term: int, lists: tuple[str, ...]) -> str:
    """Write a term with the names of its lists: ``LA:NG``."""
    return ":".join(name for j, name in enumerate(lists) if term >> j & 1)


def name_model(interactions: Iterable[int], lists: tuple[str, ...]) -> str:
    """Write a model in words: ``independence`` or its interactions, in the order given."""
    return ", ".join(name_term(term, lists) for term in interactions) or "independence"


def terms_from_names(groups: Iterable[Iterable[str]], lists: tuple[str, ...]) -> tuple[int, ...]:
    """Turn groups of list names into interactions; repeated groups count once.

    Raises
    ------
    EstimateError
        A name that is not a list, or a group of fewer than two lists.
    """
    terms: dict[int, None] = {}
    for group in groups:
        names = set(group)
        if not names <= set(lists) or len(names) < 2:
            raise EstimateError("an interaction names something other than two or more lists", reason="unknown-list")
        terms[sum(1 << lists.index(name) for name in names)] = None
    return tuple(terms)
