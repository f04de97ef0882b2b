"""Soft and hard assignments, which all attacks end in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["assign", "soft"]

Matrix = NDArray[np.float32]

_TINY = 1e-300


def assign(score: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the column of each row in the best one-to-one assignment, -1 for a row that gets none."""
    rows, columns = linear_sum_assignment(score, maximize=True)
    assigned = np.full(len(score), -1, np.int64)
    assigned[rows] = columns
    return assigned


def soft(score: Matrix, temperature: float, relaxed: float = 1.0, rounds: int = 25) -> Matrix:
    """Return the plan of entropic optimal transport between rows and columns (Sinkhorn).

    Parameters
    ----------
    score
        Shape (rows, columns), in nats.
    temperature
        In nats.
    relaxed
        1 has every row and column matched; below 1 the marginals may be missed, for lists that differ (Chizat et al.
        2018).
    """
    kernel = np.exp((score - score.max(axis=1, keepdims=True)).astype(np.float64) / temperature)
    columns = np.ones(score.shape[1])
    for _ in range(rounds):
        rows = (1 / np.maximum(kernel @ columns, _TINY)) ** relaxed
        columns = (1 / np.maximum(rows @ kernel, _TINY)) ** relaxed
    kernel *= rows[:, None]
    kernel *= columns[None, :]
    return np.asarray(kernel, np.float32)
