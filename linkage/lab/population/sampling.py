"""Small sampling tools over numpy's generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Flags", "Floats", "Ints", "Texts", "choose", "evenly", "fixed_size", "geometric", "logistic", "share"]

Texts: TypeAlias = NDArray[np.object_]
Flags: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


def choose(rng: np.random.Generator, weights: Mapping[str, float] | Sequence[float], size: int) -> Any:
    """Draw keys (of a mapping) or positions (of a sequence) in proportion to their weights; ``(size,)``."""
    values = list(weights.values()) if isinstance(weights, Mapping) else list(weights)
    cumulative = np.cumsum(np.asarray(values, dtype=np.float64))
    at = np.searchsorted(cumulative / cumulative[-1], rng.random(size), side="right")
    if isinstance(weights, Mapping):
        return np.array(list(weights), dtype=object)[at]
    return at.astype(np.int64)


def share(rng: np.random.Generator, size: int, chance: float | Floats) -> Flags:
    """Draw independent yes-or-no values with the given chance; ``(size,)``."""
    return np.asarray(rng.random(size) < chance, dtype=np.bool_)


def evenly(rng: np.random.Generator, chance: float | Floats, group: Ints) -> Flags:
    """Draw yes-or-no values that hold for the stated share of every group, not only on average.

    Systematic sampling in random order within the groups: a small draw then shows the rates that a large one has.

    Parameters
    ----------
    chance
        Chance of each unit, one for all or ``(n,)``.
    group
        Group of each unit, ``(n,)``.
    """
    order = np.lexsort((rng.random(len(group)), group))
    steps = np.floor(np.cumsum(np.broadcast_to(chance, group.shape)[order]) + rng.random()).astype(np.int64)
    taken = np.zeros(len(group), dtype=np.bool_)
    taken[order] = np.diff(steps, prepend=0) > 0
    return taken


def geometric(rng: np.random.Generator, size: int, again: float, most: int) -> Ints:
    """Draw how many more follow, each with chance ``again``, at most ``most``; ``(size,)``."""
    return np.minimum(rng.geometric(1.0 - again, size) - 1, most).astype(np.int64)


def logistic(log_odds: Floats) -> Floats:
    """Turn log-odds into chances."""
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)), dtype=np.float64)


def fixed_size(rng: np.random.Generator, weights: Floats, size: int) -> Flags:
    """Draw exactly ``size`` of the units, each with a chance in proportion to its weight (at most 1).

    Systematic sampling in random order (Madow 1949): inclusion chances are exact, not only nearly so.
    """
    if size >= int((weights > 0).sum()):
        return np.asarray(weights > 0, dtype=np.bool_)
    chance = np.zeros(len(weights))
    certain = np.zeros(len(weights), dtype=bool)
    while True:
        chance[~certain] = weights[~certain] * (size - certain.sum()) / weights[~certain].sum()
        chance[certain] = 1.0
        over = chance > 1.0
        if not over.any():
            break
        certain |= over
    order = rng.permutation(len(weights))
    steps = np.floor(np.cumsum(chance[order]) + rng.random() + 1e-9).astype(np.int64)
    taken = np.zeros(len(weights), dtype=np.bool_)
    taken[order] = np.diff(steps, prepend=0) > 0
    return taken
