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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Protocol

import numpy as np
import numpy.ma  # polars asks for it at the first array: better now than amid the work
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import ConstantFill, Filter, LinkageSpec, Part
from linkage.steward.bits import diffuse
from linkage.steward.streams import digests, rows_of_values
from linkage.steward.tokens import Cut, cut, number, pieces

__all__ = ["KeySource", "encode"]

_SLAB = 2**17
"""Records taken through all stages at once: bounds the memory, and is many enough that most values come again."""

_CHUNK = 2048
"""Records diffused at once: their filters stay within the processor's cache."""

_NOTHING = pl.Series([""], dtype=pl.String)

Numbers = NDArray[np.integer]
Words = NDArray[np.uint64]
Derive = Callable[..., bytes]


class KeySource(Protocol):
    """What the encoder needs of a linkage key."""

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Return a 256-bit key for one purpose."""
        ...


@dataclass(frozen=True)
class _Turn:
    """One value of every record that has so many: of all records the first, of some a second, a third, ..."""

    record: Numbers | slice  # ascending; for the first values all records
    piece: Numbers  # the number of the value's piece; 0 is that of no value, and of an empty piece


@dataclass(frozen=True)
class _Pieces:
    """One piece of all values of the fields that share a set of tokens: name fields share theirs."""

    cut: Cut  # of piece 0, which has no tokens, and of all others
    turns: dict[str, list[_Turn]]  # by field; a value comes once in a record


@dataclass(frozen=True)
class _Output:
    """A filter, and what it needs of the keys whatever the records are."""

    entry: Filter
    sets: NDArray[np.intp]
    padding: bytes


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
    _keep_freed_memory()
    derive = partial(key.derive, spec_digest=spec.digest)
    outputs = [_output(entry, spec, derive, padding_key) for entry in spec.filters]
    ones = _share_of_ones(spec)
    slabs = []
    for first in range(0, max(1, records.height), _SLAB):
        slab = records[first : first + _SLAB]
        namespaces = _namespaces(slab, spec)
        columns: dict[str, pl.Series] = {}
        for output in outputs:
            name = output.entry.name
            words, mask = _filters(output, spec, derive, namespaces, slab.height)
            _pad_empty(words, mask == 0, output.padding, labels[first : first + _SLAB], ones)
            columns[name] = _binary(words)
            if spec.presence_masks:
                columns[f"{name}_mask"] = pl.Series(mask, dtype=pl.UInt16)
        slabs.append(pl.DataFrame(columns))
    return pl.concat(slabs)


def _keep_freed_memory() -> None:
    """Have arrays that are freed used again.

    From a fresh process glibc asks the kernel for every large array anew, page by page, until it has seen one freed
    that was as large (mallopt(3), M_MMAP_THRESHOLD): one of the largest that count is, untouched. Else no harm is done.
    """
    np.empty(2**25 - 2**13, np.uint8)


def _tag(spec: LinkageSpec, part: Part) -> str:
    """Name parts share their tokens, so that swapped given and family names still look alike."""
    shared = spec.fields[part.field].kind == "name" and part.tokens == "bigrams"
    return "name/bigrams" if shared else f"{part.field}/{part.tokens}"


def _output(entry: Filter, spec: LinkageSpec, derive: Derive, padding_key: bytes) -> _Output:
    sets = _diffusion_sets(derive(purpose="diffusion", field=entry.name), spec)
    # Bound to linkage key and spec: padding that outlived an epoch, when all else changes, would show itself.
    epoch = derive(purpose="padding", field=entry.name)
    return _Output(entry, sets, hmac.digest(padding_key, epoch, "sha256"))


def _namespaces(records: pl.DataFrame, spec: LinkageSpec) -> dict[str, list[_Pieces]]:
    """Cut all fields into tokens: by tag, the pieces of the values. A tag that no column has has none."""
    kinds = {_tag(spec, part): part.tokens for entry in spec.filters for part in entry.parts}
    fields: dict[str, dict[str, None]] = {tag: {} for tag in kinds}
    for entry in spec.filters:
        for part in entry.parts:
            if part.field in records.columns:
                fields[_tag(spec, part)][part.field] = None
    namespaces: dict[str, list[_Pieces]] = {}
    for tag, group in fields.items():
        listed = {name: _listed(records[name]) for name in group}
        parted = {name: pieces(values, kinds[tag]) for name, (_, values) in listed.items()}
        namespaces[tag] = []
        for piece in next(iter(parted.values()), {}):
            distinct, numbers = _numbered([several[piece] for several in parted.values()])
            found = cut(distinct, piece)
            turns = {
                name: _turns(record, number, records.height)
                for (name, (record, _)), number in zip(listed.items(), numbers, strict=True)
            }
            with_none = replace(found, length=np.append(0, found.length))
            namespaces[tag].append(_Pieces(with_none, turns))
    return namespaces


def _listed(column: pl.Series) -> tuple[Numbers | None, pl.Series]:
    """Return the values of a column and, unless each is that of the record at its place, the record of each.

    A value comes once in a record, in the order of first occurrence.
    """
    if column.dtype != pl.List(pl.String):
        return None, column.cast(pl.String)
    several = column.list.len().fill_null(0).to_numpy()
    if several.max(initial=0) > 1:
        column = column.list.unique(maintain_order=True)
        several = column.list.len().fill_null(0).to_numpy()
    record = np.repeat(np.arange(len(column)), several)
    values = column.explode(empty_as_null=False, keep_nulls=False)
    there = (values != "").fill_null(False)
    return (record, values) if there.all() else (record[there.to_numpy()], values.filter(there))


def _numbered(columns: Sequence[pl.Series]) -> tuple[pl.Series, list[Numbers]]:
    """Return the distinct entries of some columns, and each column's as numbers from 1 on; 0 is none or empty."""
    every = pl.concat([_NOTHING, *(column.rename("") for column in columns)])
    for seed in count():
        code = every.hash(seed).to_numpy()
        code = code ^ code[0]  # the empty entry, which is the first, and what is missing have 0
        if every.null_count():
            code[every.is_null().to_numpy()] = 0
        order = np.argsort(code)
        code = code[order]
        new = np.append(True, code[1:] != code[:-1])
        numbers = np.empty(len(code), np.int32)
        numbers[order] = np.cumsum(new, dtype=np.int32) - 1
        first = order[new]
        first[0] = 0
        distinct = every[first]
        # What is hashed alike must be the same; if it is not, which as good as never happens, it is hashed anew.
        if (distinct[numbers] == every).all():
            break
    ends = np.cumsum([len(column) for column in columns])
    return distinct[1:], np.split(numbers[1:], ends[:-1])


def _turns(record: Numbers | None, numbers: Numbers, height: int) -> list[_Turn]:
    """Part the values of the records into first ones, second ones, ..."""
    if record is None:
        return [_Turn(slice(None), numbers)]
    place = np.arange(len(record))
    turn = place - np.maximum.accumulate(np.where(np.diff(record, prepend=-1) != 0, place, 0))
    first = np.zeros(height, np.int64)
    first[record[turn == 0]] = numbers[turn == 0]
    later = range(1, int(turn.max(initial=0)) + 1)
    return [_Turn(slice(None), first), *(_Turn(record[turn == n], numbers[turn == n]) for n in later)]


def _filters(
    output: _Output, spec: LinkageSpec, derive: Derive, namespaces: dict[str, list[_Pieces]], height: int
) -> tuple[Words, NDArray[np.uint16]]:
    """Return one filter of all records, diffused, and which of its fields each record has."""
    entry = output.entry
    mask = np.zeros(height, np.uint16)
    fields = list(dict.fromkeys(part.field for part in entry.parts))
    parts: dict[str, list[Part]] = {}
    for part in entry.parts:
        tag = _tag(spec, part)
        # What any value has is in its first piece.
        for several in namespaces[tag][:1]:
            if part.field in several.turns:
                parts.setdefault(tag, []).append(part)
                there = several.turns[part.field][0].piece > 0
                mask |= there.astype(np.uint16) << np.uint16(fields.index(part.field))
    per_weight = _hashes_per_weight(spec, _weights(entry, spec, namespaces, height))
    width, wide = spec.bits // 64, spec.diffusion.bits // 64
    # What is diffused stands at the end of the memory, whose front what it becomes fills: none is written on unread.
    memory = np.empty(height * max(width, wide), np.uint64)
    joined = memory[len(memory) - height * width :].reshape(height, width)
    joined[:] = 0
    for tag, members in parts.items():
        subkey = derive(purpose="filter", field=f"{entry.name}/{tag}")
        for several in namespaces[tag]:
            _join(joined, several, members, per_weight, subkey, spec.bits)
    words = memory[: height * wide].reshape(height, wide)
    for first in range(0, height, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        diffuse(joined[chunk], output.sets, words[chunk])
    return words, mask


def _weights(
    entry: Filter, spec: LinkageSpec, namespaces: dict[str, list[_Pieces]], height: int
) -> NDArray[np.float64]:
    """Return the total weight of each record's tokens."""
    weight = np.zeros(height)
    # Always in the spec's order: floating-point sums depend on it, and so would the filters.
    for part in entry.parts:
        several = [one for one in namespaces[_tag(spec, part)] if part.field in one.turns]
        for turns in zip(*(one.turns[part.field] for one in several), strict=True):
            tokens = sum(one.cut.length[turn.piece] for one, turn in zip(several, turns, strict=True))
            weight[turns[0].record] += tokens * part.weight
    return weight


def _hashes_per_weight(spec: LinkageSpec, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hashes for a token of weight 1, by record: ``-ln(1 - fill) * bits / total weight`` under constant fill."""
    if isinstance(spec.hashing, ConstantFill):
        return -math.log1p(-spec.hashing.fill) * spec.bits / np.maximum(weight, 1e-9)
    return np.full(len(weight), spec.hashing.hashes)


def _join(
    joined: Words, several: _Pieces, parts: Sequence[Part], per_weight: NDArray[np.float64], key: bytes, bits: int
) -> None:
    """OR a piece of all records into their filters: its bits are made once for each number of hashes it comes with."""
    distinct = len(several.cut.length)
    records: list[Numbers | slice] = []
    codes: list[Numbers] = []
    for part in parts:
        hashes = np.maximum(1, np.rint(per_weight * part.weight)).astype(np.int64)
        for turn in several.turns[part.field]:
            records.append(turn.record)
            codes.append(np.where(turn.piece > 0, hashes[turn.record] * distinct + turn.piece, 0))
    which, asked = number(np.concatenate(codes))
    hashes, piece = np.divmod(asked, distinct)
    rows, place = rows_of_values(key, several.cut, piece, hashes, bits)
    places = np.split(place[which], np.cumsum([len(code) for code in codes])[:-1])
    for record, at in zip(records, places, strict=True):
        _or_rows(joined, record, rows, at)


def _or_rows(joined: Words, record: Numbers | slice, rows: Words, place: Numbers) -> None:
    if not isinstance(record, slice):
        joined[record] |= rows[place]
        return
    row = np.empty((min(_CHUNK, len(place)), rows.shape[1]), np.uint64)
    for first in range(0, len(place), _CHUNK):
        some = place[first : first + _CHUNK]
        # Out of range there is nothing; any mode but "raise" spares a copy of the output.
        np.take(rows, some, axis=0, out=row[: len(some)], mode="clip")
        joined[first : first + _CHUNK] |= row[: len(some)]


def _diffusion_sets(key: bytes, spec: LinkageSpec) -> NDArray[np.intp]:
    """Draw the input positions of every output bit from the key: shape (diffusion.bits, inputs), distinct in a row."""
    outputs, inputs = spec.diffusion.bits, spec.diffusion.inputs

    def draw(output: range, block: int) -> NDArray[np.integer]:
        tail = block.to_bytes(4, "big")
        drawn = np.frombuffer(digests(key, [bit.to_bytes(4, "big") + tail for bit in output]), ">u2")
        return drawn.reshape(len(output), -1) & (spec.bits - 1)

    streams = draw(range(outputs), 0)
    sets = np.zeros((outputs, inputs), np.intp)
    front = min(inputs, streams.shape[1])
    sets[:, :front] = streams[:, :front]
    ascending = np.sort(sets, axis=1)
    distinct = (ascending[:, 1:] != ascending[:, :-1]).all(axis=1) & (front == inputs)
    for output in np.flatnonzero(~distinct).tolist():
        chosen = dict.fromkeys(streams[output].tolist())
        block = 1
        while len(chosen) < inputs:
            chosen |= dict.fromkeys(draw(range(output, output + 1), block)[0].tolist())
            block += 1
        sets[output] = list(chosen)[:inputs]
    return sets


def _pad_empty(words: Words, empty: NDArray[np.bool_], key: bytes, labels: Sequence[str], ones: float) -> None:
    """Write bits drawn from key and label where a filter is empty, as many of them ones as in a full filter.

    A bit is set if its 16-bit number is below ``ones`` in 65,536.
    """
    for place in np.flatnonzero(empty).tolist():
        label = labels[place].encode()
        blocks = (block.to_bytes(4, "big") + label for block in range(words.shape[1] * 64 // 16))
        drawn = np.frombuffer(digests(key, blocks), "<u2")
        words[place] = np.packbits(drawn < round(ones * 65536), bitorder="little").view("<u8")


def _share_of_ones(spec: LinkageSpec) -> float:
    """Return how many of a full filter's output bits are ones: the XOR of bits that are each one with the fill."""
    if spec.hashing.kind != "constant_fill":
        return 0.5
    return (1 - (1 - 2 * spec.hashing.fill) ** spec.diffusion.inputs) / 2


def _binary(words: Words) -> pl.Series:
    octets = words.astype("<u8", copy=False).view(np.uint8)
    return pl.Series(octets).cast(pl.List(pl.UInt8)).cast(pl.Binary)
