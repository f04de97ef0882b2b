"""Isotonic regression: the nearest values that never fall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

__all__ = ["never_falling"]


def never_falling(values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the least squares fit that never falls, by pooling adjacent violators (Ayer et al. 1955).

    Parameters
    ----------
    values
        float64, shape (places,).
    weights
        float64, shape (places,), positive; all the same by default.
    """
    fitted: NDArray[np.float64] = isotonic_regression(values, weights=weights).x
    return fitted
