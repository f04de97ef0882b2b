"""Encode standardised identifiers into keyed, diffused Bloom filters.

Positions come from HMAC-SHA-256 (FIPS 198-1) over the token, under a key of their own for every filter and field, by
random hashing: no double hashing, whose structure is an attack surface (Niedermeyer et al. 2014). With constant
fill, the hashes per token are chosen record by record so that all filters are equally full. The filter is then
diffused: each output bit is the XOR of ``t`` input bits at secret positions (Armknecht et al. 2023).

Leakage: the hub sees which records resemble each other closely; `schemas/batch.md` and SECURITY.md say what follows.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import ConstantFill, Filter, LinkageSpec, Part
from linkage.steward.bits import diffuse
from linkage.steward.streams import Stream, TokenRows
from linkage.steward.tokens import Cut, cut

__all__ = ["KeySource", "encode"]

_CHUNK = 8192
"""Records diffused at once: their filters stay within the processor's cache."""

_BLOCK = 2048
"""Values turned into rows of bits at once, for the same reason."""

Numbers = NDArray[np.int64]


class KeySource(Protocol):
    """What the encoder needs of a linkage key."""

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Return a 256-bit key for one purpose."""
        ...


@dataclass(frozen=True)
class _Lines:
    """Where the values of a field stand: a line for each value of a record, by record, distinct within it."""

    record: Numbers
    value: Numbers  # the value's number in the cut of its namespace
    turn: Numbers  # 0 for the first value of a record, 1 for its second, ...


@dataclass(frozen=True)
class _Namespace:
    """All fields that share one set of tokens, cut. Name fields share theirs; any other has its own."""

    cut: Cut
    lines: dict[str, _Lines]  # by field


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
    namespaces = _namespaces(records, spec)
    columns: dict[str, pl.Series] = {}
    for entry in spec.filters:
        words, mask = _filter(entry, spec, key, namespaces, records.height)
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


def _namespaces(records: pl.DataFrame, spec: LinkageSpec) -> dict[str, _Namespace]:
    kinds = {_tag(spec, part): part.tokens for entry in spec.filters for part in entry.parts}
    fields: dict[str, dict[str, None]] = {tag: {} for tag in kinds}
    for entry in spec.filters:
        for part in entry.parts:
            if part.field in records.columns:
                fields[_tag(spec, part)][part.field] = None
    listed = {field: _listed(records[field]) for group in fields.values() for field in group}
    namespaces = {}
    for tag, group in fields.items():
        distinct = pl.concat([pl.Series([], dtype=pl.String), *(listed[field][1].rename("") for field in group)])
        distinct = distinct.unique(maintain_order=True)
        lines = {field: _lines(*listed[field], distinct) for field in group}
        namespaces[tag] = _Namespace(cut(distinct, kinds[tag]), lines)
    return namespaces


def _listed(column: pl.Series) -> tuple[Numbers, pl.Series]:
    """Return the values of a column that are there, and the record of each."""
    record = np.arange(len(column))
    if column.dtype == pl.List(pl.String):
        record = np.repeat(record, column.list.len().fill_null(0).to_numpy())
        column = column.explode(empty_as_null=False, keep_nulls=False)
    column = column.cast(pl.String)
    there = (column != "").fill_null(False)
    return record[there.to_numpy()], column.filter(there)


def _lines(record: Numbers, values: pl.Series, distinct: pl.Series) -> _Lines:
    numbered = pl.DataFrame({"value": distinct}).with_row_index("number")
    number = pl.DataFrame({"value": values}).join(numbered, on="value", how="left", maintain_order="left")["number"]
    lines = pl.DataFrame({"record": record, "value": number.cast(pl.Int64)})
    if (np.diff(record) == 0).any():
        lines = lines.unique(maintain_order=True)
    record, value = lines["record"].to_numpy(), lines["value"].to_numpy()
    place = np.arange(len(record))
    first = np.maximum.accumulate(np.where(np.diff(record, prepend=-1) != 0, place, 0))
    return _Lines(record, value, place - first)


def _filter(
    entry: Filter, spec: LinkageSpec, key: KeySource, namespaces: dict[str, _Namespace], height: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return one filter of all records, diffused: words (records, diffusion.bits / 64), and its presence mask."""
    fields = list(dict.fromkeys(part.field for part in entry.parts))
    parts: dict[str, list[Part]] = {}
    for part in entry.parts:
        if part.field in namespaces[_tag(spec, part)].lines:
            parts.setdefault(_tag(spec, part), []).append(part)
    mask = np.zeros(height, np.uint16)
    for tag, members in parts.items():
        for part in members:
            mask[namespaces[tag].lines[part.field].record] |= np.uint16(1 << fields.index(part.field))
    per_weight = _hashes_per_weight(spec, _weights(entry, spec, namespaces, height))
    plain = np.zeros((height, spec.bits // 64), np.uint64)
    for tag, members in parts.items():
        subkey = key.derive(spec_digest=spec.digest, purpose="filter", field=f"{entry.name}/{tag}")
        lines = [namespaces[tag].lines[part.field] for part in members]
        hashes = [np.maximum(1, np.rint(per_weight * part.weight)).astype(np.int64) for part in members]
        counts = [by_record[line.record] for by_record, line in zip(hashes, lines, strict=True)]
        _or_tokens(plain, namespaces[tag].cut, lines, counts, subkey)
    sets = _diffusion_sets(key.derive(spec_digest=spec.digest, purpose="diffusion", field=entry.name), spec)
    out = np.zeros((height, spec.diffusion.bits // 64), np.uint64)
    for first in range(0, height, _CHUNK):
        out[first : first + _CHUNK] = diffuse(plain[first : first + _CHUNK], sets)
    return out, mask


def _weights(entry: Filter, spec: LinkageSpec, namespaces: dict[str, _Namespace], height: int) -> NDArray[np.float64]:
    """Return the total weight of each record's tokens."""
    record: list[Numbers] = [np.zeros(0, np.int64)]
    weight: list[NDArray[np.floating]] = [np.zeros(0)]
    for part in entry.parts:
        namespace = namespaces[_tag(spec, part)]
        if part.field in namespace.lines:
            lines = namespace.lines[part.field]
            record.append(lines.record)
            weight.append((namespace.cut.length[lines.value] + bool(namespace.cut.wholes)) * part.weight)
    # One sum over all parts, always in the spec's order: floating-point sums depend on it, and so would the filters.
    return np.bincount(np.concatenate(record), np.concatenate(weight), height).astype(np.float64)


def _hashes_per_weight(spec: LinkageSpec, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hashes for a token of weight 1, by record: ``-ln(1 - fill) * bits / total weight`` under constant fill."""
    if isinstance(spec.hashing, ConstantFill):
        return -math.log1p(-spec.hashing.fill) * spec.bits / np.maximum(weight, 1e-9)
    return np.full(len(weight), spec.hashing.hashes)


def _or_tokens(
    plain: NDArray[np.uint64], cut: Cut, lines: Sequence[_Lines], counts: Sequence[Numbers], key: bytes
) -> None:
    """OR the bits of one namespace's tokens into the filters: so many hashes a token as ``counts`` says by line."""
    bits = plain.shape[1] * 64
    most = np.zeros(len(cut.length), np.int64)
    for line, count in zip(lines, counts, strict=True):
        np.maximum.at(most, line.value, count)
    if cut.pieces:
        most_of_piece = np.zeros(len(cut.pieces), np.int64)
        for members in _equal(cut.length):
            within = np.arange(cut.length[members[0]])
            np.maximum.at(most_of_piece, cut.numbers[cut.start[members, None] + within], most[members, None])
        rows = TokenRows(Stream(key, cut.pieces, most_of_piece, bits), int(most.max()))
        for line, count in zip(lines, counts, strict=True):
            _or_pieces(plain, cut, line, count, rows)
    if cut.wholes:
        stream = Stream(key, cut.wholes, most, bits)
        for line, count in zip(lines, counts, strict=True):
            for chosen in _equal(line.turn):
                plain[line.record[chosen]] |= stream.rows(line.value[chosen], count[chosen])


def _or_pieces(plain: NDArray[np.uint64], cut: Cut, line: _Lines, count: Numbers, rows: TokenRows) -> None:
    length = cut.length[line.value]
    for chosen in _equal(line.turn * (int(length.max(initial=0)) + 1) + length):
        within = np.arange(length[chosen[0]])
        if len(within):
            tokens = cut.numbers[cut.start[line.value[chosen]] + within[:, None]]
            plain[line.record[chosen]] |= rows.joined(tokens, count[chosen])


def _equal(group: Numbers) -> Iterator[Numbers]:
    """Yield the places of each group, a block at a time.

    Lines of one turn are of distinct records, which can be written to at once; values of one length are a full matrix.
    """
    order = np.argsort(group, kind="stable")
    heads = np.flatnonzero(np.diff(group[order], prepend=-1))
    for first, last in zip(heads.tolist(), np.append(heads, len(order))[1:].tolist(), strict=True):
        for at in range(first, last, _BLOCK):
            yield order[at : min(at + _BLOCK, last)]


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
    octets = words.astype("<u8", copy=False).view(np.uint8)
    return pl.Series(octets).cast(pl.List(pl.UInt8)).cast(pl.Binary)
