"""Encodings without protection: what an attack has to succeed on before its failure elsewhere means anything.

Both are keyed, as in deployed systems; the attacks here need no key. "Without diffusion" means that each output bit is
one bit of the filter.
"""

from __future__ import annotations

import math

import polars as pl

from linkage.contract.spec import Diffusion, Filter, FixedHashes, LinkageSpec, Part
from linkage.steward.tokens import tokenise

__all__ = ["clk_spec", "fields_spec"]

_FILL = 0.42
_BITS = 1024
_MOST_HASHES = 200


def clk_spec(spec: LinkageSpec, records: pl.DataFrame) -> LinkageSpec:
    """Return the cryptographic long-term key of Schnell, Bachteler and Reiher (2011) over the spec's fields.

    One filter of 1,024 bits, as many hashes for every token as make the records' filters 42% full on average, no
    diffusion.
    """
    parts = _parts(spec)
    return _without(spec, "clk", (Filter(name="clk", parts=parts),), _tokens(records, parts))


def fields_spec(spec: LinkageSpec, records: pl.DataFrame) -> LinkageSpec:
    """Return field-level filters over the spec's fields: as :func:`clk_spec`, but one a field."""
    parts = _parts(spec)
    tokens = _tokens(records, parts) / len(parts)
    return _without(spec, "fields", tuple(Filter(name=part.field, parts=(part,)) for part in parts), tokens)


def _parts(spec: LinkageSpec) -> tuple[Part, ...]:
    first: dict[str, Part] = {}
    for entry in spec.filters:
        for part in entry.parts:
            first.setdefault(part.field, Part(field=part.field, tokens=part.tokens, weight=1.0))
    return tuple(first.values())


def _without(spec: LinkageSpec, name: str, filters: tuple[Filter, ...], tokens: float) -> LinkageSpec:
    hashes = -math.log1p(-_FILL) * _BITS / max(tokens, 1.0)
    return spec.model_copy(
        update={
            "name": f"unprotected_{name}",
            "bits": _BITS,
            "hashing": FixedHashes(kind="fixed_hashes", hashes=min(max(hashes, 1.0), _MOST_HASHES)),
            "diffusion": Diffusion(bits=2048, inputs=1),
            "presence_masks": False,
            "filters": filters,
        }
    )


def _tokens(records: pl.DataFrame, parts: tuple[Part, ...]) -> float:
    """Return the mean number of tokens of a record."""
    total = 0
    for part in parts:
        column = records[part.field]
        values = column.explode(empty_as_null=False, keep_nulls=False) if column.dtype == pl.List else column
        total += sum(len(tokenise(value, part.tokens)) for value in values.drop_nulls().to_list() if value)
    return total / max(len(records), 1)
