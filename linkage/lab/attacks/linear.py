"""Gaussian elimination over GF(2): how many known filters give the diffusion away.

Each output bit is the XOR of a few filter bits, so the diffusion is linear. Whoever knows, for enough people, both
the filter before diffusion and the bits after it solves for the map. He does not need the hub for that but the filter
keys, or a device that shows filters: known pairs of people and encodings alone do not give filters.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.lab.attacks.scene import encoded, views
from linkage.lab.labelled import TestKey

__all__ = ["diffusion_limits", "rank_growth"]

Bits = NDArray[np.uint8]

_COPIES = 16
"""Draws with replacement for each bit: one of 2,048 is missed once in 4,000 times."""

_SPARE = 200
_HELD_OUT = 20


class PinnedKey:
    """A key that gives every spec the same subkeys, which no linkage key does: to see filters before diffusion."""

    def __init__(self, key: TestKey, digest: str) -> None:
        self._key, self._digest = key, digest

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Return 32 bytes for one purpose, whatever the spec."""
        return self._key.derive(spec_digest=self._digest, purpose=purpose, field=field)


def diffusion_limits(people: pl.DataFrame, spec: LinkageSpec, *, seed: int = 0) -> list[dict[str, Any]]:
    """Measure how many known filters give the diffusion away.

    Parameters
    ----------
    people
        The spec's fields, a person a row; more than the filter has bits, or the end is not reached.
    spec
        The spec.
    seed
        Of the key.

    Returns
    -------
    list of dict
        By filter: ``filter``, ``bits``, ``inputs``; ``people`` tried; ``by_elimination``, the number of people from
        which on elimination tells all output bits of others, None if not reached; ``rank`` reached;
        ``by_information``, the number from which on the inputs of an output bit are determined at all, so that only the
        search for them, among ``bits`` choose ``inputs``, stands in the way.
    """
    used = people.head(spec.bits + _SPARE + _HELD_OUT)
    key = TestKey(seed)
    plain = spec.model_copy(
        update={
            "diffusion": spec.diffusion.model_copy(update={"bits": _COPIES * spec.bits, "inputs": 1}),
            "presence_masks": False,
        }
    )
    filters = views(encoded(used, plain, PinnedKey(key, spec.digest)), plain)
    limits = []
    for entry, view in zip(spec.filters, filters, strict=True):
        # Outputs are copies of filter bits: equal columns are one bit, or bits that no record tells apart.
        packed = np.packbits(view.signs.T < 0, axis=1)
        distinct = np.unique(packed, axis=0)
        bits = np.unpackbits(distinct, axis=1, count=len(used)).T
        ranks = rank_growth(bits)
        solved = int(np.searchsorted(ranks, ranks[-1])) + 1
        reached = len(used) - solved >= _HELD_OUT  # the last ones brought nothing new
        limits.append(
            {
                "filter": entry.name,
                "bits": spec.bits,
                "inputs": spec.diffusion.inputs,
                "people": len(used),
                "by_elimination": solved if reached else None,
                "rank": int(ranks[-1]),
                "by_information": math.ceil(math.log2(math.comb(spec.bits, spec.diffusion.inputs))),
            }
        )
    return limits


def rank_growth(bits: Bits) -> NDArray[np.int64]:
    """Return the rank over GF(2) of the first 1, 2, ... rows.

    Parameters
    ----------
    bits
        Shape (rows, columns), 0 or 1.
    """
    rows, columns = bits.shape
    wide = np.zeros((rows, -(-columns // 64) * 64), np.uint8)
    wide[:, :columns] = bits
    left = np.packbits(wide, axis=1, bitorder="little").view("<u8")
    ranks = np.zeros(rows, np.int64)
    rank = 0
    for row in range(rows):
        words = np.flatnonzero(left[row])
        if len(words):
            rank += 1
            word = int(words[0])
            lowest = left[row, word] & (~left[row, word] + np.uint64(1))
            below = row + 1 + np.flatnonzero(left[row + 1 :, word] & lowest)
            left[below] ^= left[row]
        ranks[row] = rank
    return ranks
