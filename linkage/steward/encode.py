"""Encode standardised identifiers into keyed, diffused Bloom filters.

Positions come from HMAC-SHA-256 (FIPS 198-1) over the token, under a key of their own for every filter and field, by
random hashing: no double hashing, whose structure is an attack surface (Niedermeyer et al. 2014). With constant
fill, the hashes per token are chosen record by record so that all filters are equally full. The filter is then
diffused: each output bit is the XOR of ``t`` input bits at secret positions (Armknecht et al. 2023).

Leakage: the hub sees which records resemble each other closely; `schemas/batch.md` and SECURITY.md say what follows.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import ConstantFill, Filter, LinkageSpec, Part
from linkage.steward.bits import diffuse
from linkage.steward.tokens import tokenise

__all__ = ["KeySource", "encode"]

_CHUNK = 8192
"""Records worked on at once: their filters and tokens stay within the processor's cache and memory stays flat."""


class KeySource(Protocol):
    """What the encoder needs of a linkage key."""

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Return a 256-bit key for one purpose."""
        ...


@dataclass
class _Namespace:
    """The tokens of one way of cutting one field (names share theirs), numbered in order of first occurrence."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, tokens: Sequence[str]) -> list[int]:
        numbers = self.numbers
        return [numbers.setdefault(token, len(numbers)) for token in tokens]


@dataclass(frozen=True)
class _Cut:
    """All records' tokens of one (field, way of cutting): for each occurrence of a value its record and tokens."""

    record: NDArray[np.int64]  # (values,) record of each value, ascending
    start: NDArray[np.int64]  # (values,) where its tokens begin in `tokens`
    length: NDArray[np.int64]  # (values,)
    tokens: NDArray[np.int64]  # token numbers of the distinct values, one after the other


def encode(
    records: pl.DataFrame, spec: LinkageSpec, key: KeySource, *, labels: Sequence[str], padding_key: bytes
) -> pl.DataFrame:
    """Encode records, one row each, into the filters of the spec.

    Parameters
    ----------
    records
        A column for every field of the spec that the source has: String, or List(String) for several values.
        Values are standardised; null and the empty list mean missing. Other columns are ignored.
    spec
        The linkage spec.
    key
        The linkage key, as something that derives subkeys by spec digest, purpose and field.
    labels
        A label for each row that stays the same from month to month: the person's pseudonym. Rows of one person have
        one label, for where their filters hold the same they are the same, and so it must be where both hold nothing.
    padding_key
        A secret of this agency alone. A record with nothing in a filter is sent as bits drawn from it and the
        record's label, so that no empty filter can be told from a full one, this month or the next. The bits are
        others under another linkage key, epoch, spec or filter, as those of a full one are.

    Returns
    -------
    polars.DataFrame
        As many rows, in the same order: a Binary column for each filter (``diffusion.bits / 8`` bytes) and, where
        the spec says so, ``<filter>_mask`` (UInt16; bit ``i`` is set if the i-th field of the filter is filled).
    """
    namespaces: dict[str, _Namespace] = {}
    cuts: dict[tuple[str, str], _Cut] = {}
    for entry in spec.filters:
        for part in entry.parts:
            if part.field in records.columns and (part.field, part.tokens) not in cuts:
                namespace = namespaces.setdefault(_tag(spec, part), _Namespace())
                cuts[part.field, part.tokens] = _cut(records[part.field], part, namespace)
    columns: dict[str, pl.Series] = {}
    for entry in spec.filters:
        words, mask = _filter(entry, spec, key, namespaces, cuts, records.height)
        # Bound to linkage key and spec: padding that outlived an epoch, when all else changes, would show itself.
        epoch = key.derive(spec_digest=spec.digest, purpose="padding", field=entry.name)
        _pad_empty(words, mask == 0, hmac.digest(padding_key, epoch, "sha256"), labels)
        columns[entry.name] = _binary(words)
        if spec.presence_masks:
            columns[f"{entry.name}_mask"] = pl.Series(mask, dtype=pl.UInt16)
    return pl.DataFrame(columns)


def _tag(spec: LinkageSpec, part: Part) -> str:
    """Name parts share their tokens, so that swapped given and family names still look alike."""
    shared = spec.fields[part.field].kind == "name" and part.tokens == "bigrams"
    return "name/bigrams" if shared else f"{part.field}/{part.tokens}"


def _cut(column: pl.Series, part: Part, namespace: _Namespace) -> _Cut:
    frame = pl.DataFrame({"value": column}).with_row_index("record")
    if column.dtype == pl.List(pl.String):
        frame = frame.explode("value", empty_as_null=True)
    frame = frame.drop_nulls("value").filter(pl.col("value") != "").unique(maintain_order=True)
    values = frame["value"].unique(maintain_order=True)
    lists = [namespace.number(tokenise(value, part.tokens)) for value in values.to_list()]
    lengths = np.array([len(entry) for entry in lists], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.int64)
    flat = np.array([number for entry in lists for number in entry], np.int64)
    numbers = pl.arange(0, len(values), eager=True)
    # The cast is for a column in which everything is missing, of which polars makes nulls without a number's type.
    code = frame["value"].replace_strict(values, numbers, return_dtype=pl.Int64).cast(pl.Int64).to_numpy()
    return _Cut(frame["record"].to_numpy().astype(np.int64), starts[code], lengths[code], flat)


def _filter(
    entry: Filter,
    spec: LinkageSpec,
    key: KeySource,
    namespaces: dict[str, _Namespace],
    cuts: dict[tuple[str, str], _Cut],
    height: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return one filter of all records, diffused: words (records, diffusion.bits / 64), and its presence mask."""
    parts = [part for part in entry.parts if (part.field, part.tokens) in cuts]
    fields = list(dict.fromkeys(part.field for part in entry.parts))
    mask = np.zeros(height, np.uint16)
    weight = np.zeros(height)
    for part in parts:
        cut = cuts[part.field, part.tokens]
        mask[cut.record] |= np.uint16(1 << fields.index(part.field))
        np.add.at(weight, cut.record, cut.length * part.weight)
    per_weight = _hashes_per_weight(spec, weight)
    tags = list(dict.fromkeys(_tag(spec, part) for part in parts))
    keys = {tag: key.derive(spec_digest=spec.digest, purpose="filter", field=f"{entry.name}/{tag}") for tag in tags}
    streams = {tag: _Stream(keys[tag], list(namespaces[tag].numbers), spec.bits) for tag in tags}
    sets = _diffusion_sets(key.derive(spec_digest=spec.digest, purpose="diffusion", field=entry.name), spec)
    out = np.zeros((height, spec.diffusion.bits // 64), np.uint64)
    for first in range(0, height, _CHUNK):
        last = min(first + _CHUNK, height)
        plain = np.zeros((last - first, spec.bits // 64), np.uint64)
        for part in parts:
            cut = cuts[part.field, part.tokens]
            _or_tokens(plain, cut, streams[_tag(spec, part)], np.maximum(1, np.rint(per_weight * part.weight)), first)
        out[first:last] = diffuse(plain, sets)
    return out, mask


def _hashes_per_weight(spec: LinkageSpec, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hashes for a token of weight 1, by record: ``-ln(1 - fill) * bits / total weight`` under constant fill."""
    if isinstance(spec.hashing, ConstantFill):
        return -math.log1p(-spec.hashing.fill) * spec.bits / np.maximum(weight, 1e-9)
    return np.full(len(weight), spec.hashing.hashes)


def _or_tokens(plain: NDArray[np.uint64], cut: _Cut, stream: _Stream, hashes: NDArray[np.float64], first: int) -> None:
    """OR the bits of one part's tokens into the filters of records ``first`` to ``first + len(plain)``."""
    low, high = np.searchsorted(cut.record, [first, first + len(plain)])
    if low == high:
        return
    record, length = cut.record[low:high], cut.length[low:high]
    ends = np.cumsum(length)
    within = np.arange(ends[-1]) - np.repeat(ends - length, length)
    token = cut.tokens[np.repeat(cut.start[low:high], length) + within]
    count = np.repeat(hashes[record].astype(np.int64), length)
    rows = stream.bitsets(token, count)
    owner = np.repeat(record - first, length)
    heads = np.flatnonzero(np.diff(owner, prepend=-1))
    plain[owner[heads]] |= np.bitwise_or.reduceat(rows, heads, axis=0)


class _Stream:
    """The hash positions of a namespace's tokens under one key: for each token as long a stream as is asked of it."""

    def __init__(self, key: bytes, tokens: list[str], bits: int) -> None:
        self._tokens = tokens
        self._bits = bits
        self._positions = np.zeros((len(tokens), 0), np.uint16)
        self._drawn = np.zeros(len(tokens), np.int64)
        self._inner = hmac.new(key, digestmod=hashlib.sha256)

    def bitsets(self, token: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the first ``count`` positions of each token as bits: shape (len(token), bits / 64)."""
        pair = token * 65536 + count
        distinct, where = np.unique(pair, return_inverse=True)
        tokens, counts = distinct // 65536, distinct % 65536
        self._draw(tokens, counts)
        row = np.repeat(np.arange(len(distinct)), counts)
        ends = np.cumsum(counts)
        column = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        bits = np.zeros((len(distinct), self._bits), np.uint8)
        bits[row, self._positions[np.repeat(tokens, counts), column]] = 1
        packed = np.packbits(bits, axis=1, bitorder="little").view("<u8")
        return packed[where]

    def _draw(self, tokens: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        longest = int(counts.max())
        if longest > self._positions.shape[1]:
            grown = np.zeros((len(self._tokens), -(-longest // 16) * 16), np.uint16)
            grown[:, : self._positions.shape[1]] = self._positions
            self._positions = grown
        wanted = np.zeros(len(self._tokens), np.int64)
        np.maximum.at(wanted, tokens, counts)
        for number in np.flatnonzero(wanted > self._drawn).tolist():
            message = self._tokens[number].encode()
            blocks = range(int(self._drawn[number]) // 16, -(-int(wanted[number]) // 16))
            drawn = b"".join(self._digest(message, block) for block in blocks)
            positions = np.frombuffer(drawn, ">u2") & (self._bits - 1)
            self._positions[number, blocks.start * 16 : blocks.stop * 16] = positions
            self._drawn[number] = blocks.stop * 16

    def _digest(self, message: bytes, block: int) -> bytes:
        digest = self._inner.copy()
        digest.update(block.to_bytes(4, "big") + message)
        return digest.digest()


def _diffusion_sets(key: bytes, spec: LinkageSpec) -> NDArray[np.intp]:
    """Draw the input positions of every output bit from the key: shape (diffusion.bits, inputs), distinct in a row."""
    sets = np.zeros((spec.diffusion.bits, spec.diffusion.inputs), np.intp)
    for output in range(spec.diffusion.bits):
        chosen: dict[int, None] = {}
        block = 0
        while len(chosen) < spec.diffusion.inputs:
            message = output.to_bytes(4, "big") + block.to_bytes(4, "big")
            stream = np.frombuffer(hmac.digest(key, message, "sha256"), ">u2") & (spec.bits - 1)
            for position in stream.tolist():
                if len(chosen) < spec.diffusion.inputs:
                    chosen[position] = None
            block += 1
        sets[output] = list(chosen)
    return sets


def _pad_empty(words: NDArray[np.uint64], empty: NDArray[np.bool_], key: bytes, labels: Sequence[str]) -> None:
    for record in np.flatnonzero(empty).tolist():
        need = words.shape[1] * 8
        label = labels[record].encode()
        drawn = b"".join(
            hmac.digest(key, block.to_bytes(4, "big") + label, "sha256") for block in range(-(-need // 32))
        )
        words[record] = np.frombuffer(drawn[:need], "<u8")


def _binary(words: NDArray[np.uint64]) -> pl.Series:
    raw = words.astype("<u8").tobytes()
    width = words.shape[1] * 8
    return pl.Series([raw[i : i + width] for i in range(0, len(raw), width)], dtype=pl.Binary)
