"""Linkage spec: which filters a record is turned into. One file a profile; parties with different specs cannot link.

A *filter* mixes several fields. One filter of everything is a cryptographic long-term key (Schnell, Bachteler and
Reiher 2011), one filter a field is a field-level filter, anything between is as good: none is a special case.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationInfo, field_validator

from linkage.contract.vocabulary import IdentifierKind, Name

__all__ = ["ConstantFill", "Diffusion", "Filter", "FixedHashes", "LinkageSpec", "Part", "SpecField", "Tokens", "digest"]

Tokens = Literal["bigrams", "positional", "date", "year", "whole"]

_TOKENS_OF: dict[str, tuple[str, ...]] = {
    "name": ("bigrams", "whole"),
    "text": ("bigrams", "whole"),
    "date": ("date", "year"),
    "digits": ("positional", "bigrams", "whole"),
    "code": ("whole", "positional", "bigrams"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpecField(_Strict):
    """A field and its kind, which fixes how it is standardised before it is cut into tokens.

    ``column`` is where plain files of records (``linkage lab accuracy``) hold it, if not under the field's name.
    """

    kind: IdentifierKind
    column: str | None = None


class Part(_Strict):
    """A field inside a filter: how it is cut into tokens, and how many hashes a token gets beside the others'."""

    field: Name
    tokens: Tokens
    weight: Annotated[float, Field(gt=0, le=16)]


class Filter(_Strict):
    """One Bloom filter."""

    name: Name
    parts: tuple[Part, ...] = Field(min_length=1)


class ConstantFill(_Strict):
    """Hashes per token chosen record by record, so that every filter is equally full and its weight says nothing."""

    kind: Literal["constant_fill"]
    fill: Annotated[float, Field(gt=0.05, lt=0.6)]


class FixedHashes(_Strict):
    """The same number of hashes for every token of weight 1. Links better and leaks the number of tokens."""

    kind: Literal["fixed_hashes"]
    hashes: Annotated[float, Field(ge=1, le=200)]


class Diffusion(_Strict):
    """Each of ``bits`` output bits is the XOR of ``inputs`` secret bits of the filter (Armknecht et al. 2023)."""

    bits: Literal[512, 1024, 2048, 4096, 8192]
    inputs: Annotated[int, Field(ge=1, le=32)]


def _shares(value: object) -> float | dict[int, float]:
    """Check a share, or shares by file size; by hand, for a union would tell a fault once for each of its members."""
    given: Mapping[Any, Any] = value if isinstance(value, Mapping) else {1: value}
    by_size = {int(size) if str(size).isdecimal() else 0: share for size, share in given.items()}  # text in JSON
    fits = all(type(share) in (int, float) and 0 < share <= 1 for share in by_size.values())
    if not fits or not by_size or min(by_size) < 1:
        raise ValueError("should be a share above 0 and up to 1, or such shares by number of records")
    shares = {size: float(by_size[size]) for size in sorted(by_size)}
    return shares if isinstance(value, Mapping) else shares[1]


_Share = Annotated[float, Field(gt=0, le=1)]
_Shares = Annotated[
    float | dict[int, float],
    PlainValidator(_shares, json_schema_input_type=_Share | dict[Annotated[int, Field(ge=1)], _Share]),
    PlainSerializer(lambda shares: shares, return_type=Any, when_used="json"),
]


class LinkageSpec(_Strict):
    """A linkage spec.

    Parameters
    ----------
    rules
        Version of the standardising rules that the spec was made for; another version is refused.
    fields
        Field -> kind. Every field that a filter names must be here.
    bits
        Length of each filter before diffusion; a power of two, so that positions are unbiased.
    presence_masks
        Send, per filter, which of its fields are filled. Links better on gappy data and leaks it.
    variants
        How many names of one person are encoded at most (the first and further aliases).
    visible_edges
        Largest share of an agency's records that may have a visible edge to another record of the same agency;
        the owner refuses to seal above it. One share, or a share for each of several file sizes (records -> share):
        in a larger file more records resemble another.
    """

    linkage_spec: Literal[1]
    name: Name
    title: str
    rules: Annotated[int, Field(ge=1)]
    fields: dict[Name, SpecField] = Field(min_length=1)
    bits: Literal[256, 512, 1024, 2048, 4096]
    hashing: Annotated[ConstantFill | FixedHashes, Field(discriminator="kind")]
    diffusion: Diffusion
    presence_masks: bool
    variants: Annotated[int, Field(ge=1, le=8)]
    visible_edges: _Shares
    filters: tuple[Filter, ...] = Field(min_length=1, max_length=16)

    # Validators of single fields, not of the whole: that one runs only when every field is right, and all faults of a
    # file are to be told at once.

    @field_validator("diffusion")
    @classmethod
    def _enough_inputs(cls, diffusion: Diffusion, info: ValidationInfo) -> Diffusion:
        if diffusion.inputs > info.data.get("bits", diffusion.inputs):
            raise ValueError(".inputs: more than the filter has bits")
        return diffusion

    @field_validator("filters")
    @classmethod
    def _filters_fit(cls, filters: tuple[Filter, ...], info: ValidationInfo) -> tuple[Filter, ...]:
        wrong: list[str] = []
        names = [entry.name for entry in filters]
        if len(set(names)) < len(names):
            wrong.append("a name occurs twice")
        fields: dict[str, SpecField] = info.data.get("fields", {})
        for position, entry in enumerate(filters):
            if len({(part.field, part.tokens) for part in entry.parts}) < len(entry.parts):
                wrong.append(f".{position}: a field is cut the same way twice")
            if len({part.field for part in entry.parts}) > 16:
                wrong.append(f".{position}: more than 16 fields")
            for part in entry.parts if fields else ():
                kind = fields[part.field].kind if part.field in fields else None
                if kind is None:
                    wrong.append(f".{position}: names a field that 'fields' does not list")
                elif part.tokens not in _TOKENS_OF[kind]:
                    wrong.append(f".{position}: tokens '{part.tokens}' do not fit a field of kind '{kind}'")
        if wrong:
            raise ValueError("; ".join(wrong))
        return filters

    def edges_allowed(self, records: int) -> float:
        """Return the largest share of so many records that may have a visible edge.

        Between two sizes of ``visible_edges`` it goes by the logarithm of the size, beyond them it stays.
        """
        if isinstance(self.visible_edges, float):
            return self.visible_edges
        steps = list(self.visible_edges.items())
        for (small, low), (large, high) in pairwise(steps):
            if small <= records < large:
                return low + (high - low) * math.log(records / small) / math.log(large / small)
        return steps[0][1] if records < steps[0][0] else steps[-1][1]

    @property
    def shows_much(self) -> bool:
        """Whether its filters say more than approved runs alone may see: presence masks, or no limit on edges."""
        limits = [self.visible_edges] if isinstance(self.visible_edges, float) else list(self.visible_edges.values())
        return self.presence_masks or max(limits) >= 1

    @property
    def digest(self) -> str:
        """SHA-256 over the spec's canonical JSON, hex."""
        return digest(self)


def digest(model: BaseModel) -> str:
    """Return the SHA-256 of a contract model's canonical JSON (sorted keys, no spaces, UTF-8), hex.

    Titles are for people and do not count.
    """
    content = model.model_dump(mode="json", exclude={"title"})
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()
