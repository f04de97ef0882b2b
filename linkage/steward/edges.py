"""The owner's gate: how many of an agency's own records visibly resemble another of its records.

A visible edge is what a similarity-graph attack feeds on: two different people whose diffused filters agree more than
chance allows. The share of records with one ranks specs by what an insider at the hub could re-identify, and it is
cheap to know before anything is sent. ``schemas/linkage/README.md`` has what was measured, and the limits.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.errors import NotPermittedError

__all__ = ["ANY", "JOINT", "require_few_edges", "visible_edges"]

JOINT, ANY = "all filters together", "any"
"""Beside the filters' names: an edge in the sum over all filters; an edge in any filter or in their sum."""

_SIGMA = 4.5
_BASE = 1_000
_MOST_LEFT = 2_000
_BLOCK = 4_096


def visible_edges(encodings: pl.DataFrame, spec: LinkageSpec) -> dict[str, float]:
    """Measure the share of records with a visible edge: by filter, in all filters together, and in any of these.

    Parameters
    ----------
    encodings
        ``pseudonym``, ``variant`` and the filters, one row a name. An edge of one of a record's names is an edge of the
        record; a record's own names are none to each other.
    spec
        Their spec.

    Returns
    -------
    dict
        Filter name, :data:`JOINT` (where there are several filters) and :data:`ANY` -> share from 0 to 1.

    Notes
    -----
    Two filters resemble each other visibly if the correlation of their bits exceeds ``z / sqrt(bits)``, z = 4.5 up to a
    thousand names and more beyond, so that edges by chance stay as rare per name as at a thousand (0.3%). For all
    filters together the mean of the k correlations is held to ``z / sqrt(k * bits)``: what is too faint in each of two
    filters to be seen may be seen in both. Of a large file an even sample of 2,000 names is compared with all.
    """
    rows, bits = len(encodings), spec.diffusion.bits
    names = [entry.name for entry in spec.filters]
    kinds = [*names, JOINT] if len(names) > 1 else names
    person = encodings["pseudonym"].rank("dense").to_numpy().astype(np.int64)
    if len(np.unique(person)) < 2:
        return dict.fromkeys((*kinds, ANY), 0.0)
    chance = (1 - NormalDist().cdf(_SIGMA)) * _BASE / max(rows, _BASE)
    limit = NormalDist().inv_cdf(1 - chance) * math.sqrt(bits)
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, _MOST_LEFT)).astype(np.int64))
    raw = {name: np.frombuffer(b"".join(encodings[name].to_list()), np.uint8).reshape(rows, -1) for name in names}
    some = {name: _signs(raw[name][chosen], bits) for name in names}
    seen = {kind: np.zeros(len(chosen), np.bool_) for kind in kinds}
    for first in range(0, rows, _BLOCK):  # a block at a time, so that a large file needs no more memory
        block = slice(first, first + _BLOCK)
        others = person[chosen][:, None] != person[block][None, :]
        total = np.zeros(others.shape, np.float32)
        for name in names:
            agreement = some[name] @ _signs(raw[name][block], bits).T
            agreement *= others
            seen[name] |= (agreement > limit).any(axis=1)
            total += agreement
        if JOINT in seen:
            seen[JOINT] |= (total > limit * math.sqrt(len(names))).any(axis=1)
    shares = {kind: _share(person[chosen], edge) for kind, edge in seen.items()}
    return {**shares, ANY: _share(person[chosen], np.any(list(seen.values()), axis=0))}


def require_few_edges(shares: dict[str, float], records: int, spec: LinkageSpec) -> None:
    """Raise :class:`NotPermittedError` if more records have a visible edge than the spec allows a file of this size."""
    allowed = spec.edges_allowed(records)
    if shares[ANY] > allowed:
        by_filter = [f"{kind}: {share:.1%}" for kind, share in shares.items() if kind != ANY]
        raise NotPermittedError(
            f"{shares[ANY]:.1%} of the records visibly resemble another record of this extract;"
            f" profile '{spec.name}' allows {allowed:.1%} of so many records",
            reason="visible-edges",
            hint="repeats under several person numbers are the usual cause: check the extract for them;"
            " for a very large file the board may choose profile guarded",
            problems=by_filter,
        )


def _share(person: NDArray[np.int64], edge: NDArray[np.bool_]) -> float:
    """Return of how many of the persons a name has an edge."""
    return len(np.unique(person[edge])) / len(np.unique(person))


def _signs(raw: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    return 1 - 2 * np.unpackbits(raw, axis=1, bitorder="little", count=bits).astype(np.float32)
