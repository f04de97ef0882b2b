"""The owner's gate: how many of an agency's own records visibly resemble another of its records.

A visible edge is what a similarity-graph attack feeds on: two different people whose diffused filters agree more than
chance allows. The share of records with one ranks specs by what an insider at the hub could re-identify, and it is
cheap to know before anything is sent.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.errors import NotPermittedError

__all__ = ["require_few_edges", "visible_edges"]

_SIGMA = 4.5
_BASE = 1_000
_MOST_LEFT = 2_000
_BLOCK = 4_096


def visible_edges(encodings: pl.DataFrame, spec: LinkageSpec) -> dict[str, float]:
    """Measure the share of records with a visible edge, by filter and (``"any"``) in any filter.

    Parameters
    ----------
    encodings
        ``variant`` and the filters; only main names (variant 0) are compared.
    spec
        Their spec.

    Returns
    -------
    dict
        Filter name -> share from 0 to 1.

    Notes
    -----
    Two filters resemble each other visibly if the correlation of their bits exceeds ``z / sqrt(bits)``, z = 4.5 up to a
    thousand records and more beyond, so that edges by chance stay as rare per record as at a thousand (0.3%). Of a
    large file an even sample of 2,000 records is compared with all.
    """
    main = encodings.filter(pl.col("variant") == 0)
    records, bits = len(main), spec.diffusion.bits
    if records < 2:
        return {name: 0.0 for name in (*(entry.name for entry in spec.filters), "any")}
    chance = (1 - NormalDist().cdf(_SIGMA)) * _BASE / max(records, _BASE)
    limit = NormalDist().inv_cdf(1 - chance) / math.sqrt(bits) * bits
    chosen = np.unique(np.linspace(0, records - 1, min(records, _MOST_LEFT)).astype(np.int64))
    anywhere = np.zeros(len(chosen), np.bool_)
    shares: dict[str, float] = {}
    for entry in spec.filters:
        raw = np.frombuffer(b"".join(main[entry.name].to_list()), np.uint8).reshape(records, -1)
        some = _signs(raw[chosen], bits)
        seen = np.zeros(len(chosen), np.bool_)
        for first in range(0, records, _BLOCK):  # a block at a time, so that a large file needs no more memory
            block = _signs(raw[first : first + _BLOCK], bits)
            agreement = some @ block.T
            itself = np.flatnonzero((chosen >= first) & (chosen < first + len(block)))
            agreement[itself, chosen[itself] - first] = 0
            seen |= (agreement > limit).any(axis=1)
        shares[entry.name] = float(seen.mean())
        anywhere |= seen
    shares["any"] = float(anywhere.mean())
    return shares


def require_few_edges(shares: dict[str, float], spec: LinkageSpec) -> None:
    """Raise :class:`NotPermittedError` if more records have a visible edge than the spec's limit."""
    if shares["any"] > spec.visible_edges:
        raise NotPermittedError(
            f"{shares['any']:.1%} of the records visibly resemble another record of this extract;"
            f" profile '{spec.name}' allows {spec.visible_edges:.1%}",
            reason="visible-edges",
            hint="repeats under several person numbers are the usual cause: check the extract for them",
        )


def _signs(raw: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    return 1 - 2 * np.unpackbits(raw, axis=1, bitorder="little", count=bits).astype(np.float32)
