"""Whether a log-linear model can be estimated from a table at all.

Two questions (Fienberg & Rinaldo 2012; Chan, Silverman & Vincent 2021): does the extended maximum likelihood estimate
exist, and is the model identifiable? A model without one still converges to *some* number in ordinary software, up
to 10^13, without a word; so every model goes through this gate, the first and the last included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from linkage.research.estimate.lattice import contains, design

__all__ = ["Reduced", "check", "exists", "identifiable", "reduce_model"]

# With 0/1 data the optimum is a vertex with small denominators: it is zero or far above the solver's tolerance.
_ZERO = 1e-7
_FEW = 3


@dataclass(frozen=True, eq=False)
class Reduced:
    """A model after its empty overlaps have gone to minus infinity.

    Attributes
    ----------
    finite
        Interactions with a finite parameter.
    minus_infinity
        Interactions that nobody in the table has: parameter minus infinity.
    keep
        Boolean over the 2^t - 1 cells: the cells that remain.
    """

    finite: tuple[int, ...]
    minus_infinity: tuple[int, ...]
    keep: npt.NDArray[np.bool_]


def reduce_model(counts: npt.NDArray[np.generic], t: int, interactions: Sequence[int]) -> Reduced:
    """Set the parameters of empty overlaps to minus infinity and take away the cells that hold them."""
    held = contains(t, interactions)
    nonzero = held @ (np.asarray(counts) > 0) > 0
    minus = tuple(term for term, some in zip(interactions, nonzero, strict=True) if not some)
    finite = tuple(term for term, some in zip(interactions, nonzero, strict=True) if some)
    return Reduced(finite, minus, held[~nonzero].sum(axis=0) == 0)


@lru_cache(maxsize=32)
def _few(t: int) -> npt.NDArray[np.bool_]:
    """Mark the cells of few lists."""
    return np.array([cell.bit_count() <= _FEW for cell in range(1, 2**t)])


@lru_cache(maxsize=65536)
def identifiable(t: int, finite: tuple[int, ...], minus_infinity: tuple[int, ...]) -> bool:
    """Say whether the design that remains has full column rank."""
    keep = contains(t, minus_infinity).sum(axis=0) == 0
    left = design(t, finite)
    # The cells of few lists nearly always have full rank, which settles it; with many lists all cells are slow.
    return any(np.linalg.matrix_rank(left[cells]) == left.shape[1] for cells in (keep & _few(t), keep))


@lru_cache(maxsize=65536)
def exists(t: int, finite: tuple[int, ...], minus_infinity: tuple[int, ...], support: bytes) -> bool:
    """Say whether the extended maximum likelihood estimate exists.

    Linear program: maximise u subject to A'y = A'n, y >= u, u >= 0; the estimate exists where u > 0. Whether the
    sufficient statistic lies inside the cone depends only on which cells are occupied, so the 0/1 table of occupied
    cells stands for n: well scaled at any count.

    Parameters
    ----------
    t, finite, minus_infinity
        The model, as in :class:`Reduced`.
    support
        ``(counts > 0)`` as packed bits (``numpy.packbits``), over all 2^t - 1 cells.
    """
    occupied = np.unpackbits(np.frombuffer(support, dtype=np.uint8), count=2**t - 1).astype(np.float64)
    keep = contains(t, minus_infinity).sum(axis=0) == 0
    occupied = occupied[keep]
    if occupied.all():
        return True
    left = design(t, finite)[keep]
    # y = v + u: one column more instead of one row a cell.
    solution = linprog(
        np.append(np.zeros(left.shape[0]), -1.0),
        A_eq=np.column_stack([left.T, left.sum(axis=0)]),
        b_eq=left.T @ occupied,
        method="highs",
    )
    return bool(solution.status == 0 and -solution.fun > _ZERO)


def check(counts: npt.NDArray[np.generic], t: int, interactions: Sequence[int]) -> int:
    """Check a model on a table.

    Returns
    -------
    int
        0 sound; 1 the extended maximum likelihood estimate does not exist; 2 not identifiable; 3 both.
    """
    model = reduce_model(counts, t, interactions)
    support = np.packbits(np.asarray(counts) > 0).tobytes()
    found = exists(t, model.finite, model.minus_infinity, support)
    return int(not found) + 2 * int(not identifiable(t, model.finite, model.minus_infinity))
