"""The posterior over partitions: how likely it is that records are one person, and partitions drawn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws"]


@dataclass(frozen=True)
class Draws:
    """Partitions drawn from the posterior, written down only where they differ.

    Attributes
    ----------
    record
        int64, shape (open,): records, as rows of ``Linked.persons``, whose person is not the same in every draw. All
        other records keep ``Linked.persons["person"]`` in every draw, and share it with no open record.
    person
        uint32, shape (draws, open): person of each open record in each draw. Within a draw equal numbers are one person;
        numbers from one draw mean nothing in another.
    """

    record: NDArray[np.int64]
    person: NDArray[np.uint32]
