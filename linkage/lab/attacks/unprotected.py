"""Encodings without protection: what an attack has to succeed on before its failure elsewhere means anything.

Both are keyed, as in deployed systems; the attacks here need no key. "Without diffusion" means that each output bit is
one bit of the filter.
"""

from __future__ import annotations

import math

import polars as pl

from linkage.contract.spec import Diffusion, Filter, FixedHashes, LinkageSpec, Part
from linkage.steward.tokens import tokenise

__all__ = ["clk_spec", "fields_spec", "names_spec"]

_FILL = 0.42
_BITS = 1024
_MOST_HASHES = 200
_NAME_HASHES = 20


def clk_spec(spec: LinkageSpec, records: pl.DataFrame) -> LinkageSpec:
    """Return the cryptographic long-term key of Schnell, Bachteler and Reiher (2011) over the spec's fields.

    One filter of 1,024 bits, as many hashes for every token as make the records' filters 42% full on average, no
    diffusion.
    """
    parts = _parts(spec)
    return _without(spec, "clk", (Filter(name="clk", parts=parts),), _hashes(records, parts))


def fields_spec(spec: LinkageSpec, records: pl.DataFrame) -> LinkageSpec:
    """Return field-level filters over the spec's fields: as :func:`clk_spec`, but one a field."""
    parts = _parts(spec)
    filters = tuple(Filter(name=part.field, parts=(part,)) for part in parts)
    return _without(spec, "fields", filters, _hashes(records, parts) * len(parts))


def names_spec(spec: LinkageSpec) -> LinkageSpec:
    """Return one undiffused filter of names, as pattern mining was published on: 20 hashes a token, 1,024 bits.

    Of a spec without names it has the first field.
    """
    parts = _parts(spec)
    names = tuple(part for part in parts if spec.fields[part.field].kind == "name") or parts[:1]
    return _without(spec, "names", (Filter(name="names", parts=names),), _NAME_HASHES)


def _parts(spec: LinkageSpec) -> tuple[Part, ...]:
    first: dict[str, Part] = {}
    for entry in spec.filters:
        for part in entry.parts:
            first.setdefault(part.field, Part(field=part.field, tokens=part.tokens, weight=1.0))
    return tuple(first.values())


def _without(spec: LinkageSpec, name: str, filters: tuple[Filter, ...], hashes: float) -> LinkageSpec:
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


def _hashes(records: pl.DataFrame, parts: tuple[Part, ...]) -> float:
    """Return how many hashes of every token fill a filter of all parts as far as it is to be, in the mean."""
    total = 0
    for part in parts:
        column = records[part.field]
        values = column.explode(empty_as_null=False, keep_nulls=False) if column.dtype == pl.List else column
        total += sum(len(tokenise(value, part.tokens)) for value in values.drop_nulls().to_list() if value)
    return -math.log1p(-_FILL) * _BITS / max(total / max(len(records), 1), 1.0)
