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
from typing import Protocol

import numpy as np
import numpy.ma  # polars asks for it at the first array: better now than amid the work
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import ConstantFill, Filter, LinkageSpec, Part
from linkage.steward.bits import diffuse
from linkage.steward.streams import digests, rows_of_values
from linkage.steward.tokens import Cut, cut, number

__all__ = ["KeySource", "encode"]

_SLAB = 2**17
"""Records taken through all stages at once: bounds the memory, and is many enough that most values come again."""

_CHUNK = 2048
"""Records diffused at once: their filters stay within the processor's cache."""

Numbers = NDArray[np.int64]
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
    value: Numbers  # the value's number in the cut of its namespace; 0 is that of no value


@dataclass(frozen=True)
class _Namespace:
    """All fields that share one set of tokens, cut. Name fields share theirs; any other has its own."""

    cut: Cut  # of value 0, which has no tokens, and of all others
    turns: dict[str, list[_Turn]]  # by field; a value comes once in a record


@dataclass(frozen=True)
class _Output:
    """A filter of all records, what it holds, and what it needs of the keys whatever the records are."""

    entry: Filter
    sets: NDArray[np.intp]
    padding: bytes
    words: Words  # shape (records, diffusion.bits / 64)
    mask: NDArray[np.uint16]  # which fields a record has


@dataclass(frozen=True)
class _Layer:
    """Rows of bits for one turn: the filter of a record is the OR of all its layers' rows."""

    record: Numbers | slice
    place: Numbers  # of the record's row
    rows: Words


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
    derive = partial(key.derive, spec_digest=spec.digest)
    ones = _share_of_ones(spec)
    filters = [_output(entry, spec, derive, padding_key, records.height) for entry in spec.filters]
    for first in range(0, records.height, _SLAB):
        slab = slice(first, first + _SLAB)
        namespaces = _namespaces(records[slab], spec)
        for one in filters:
            words, mask = one.words[slab], one.mask[slab]
            _fill(words, mask, one, spec, derive, namespaces)
            _pad_empty(words, mask == 0, one.padding, labels[slab], ones)
    columns: dict[str, pl.Series] = {}
    for one in filters:
        columns[one.entry.name] = _binary(one.words)
        if spec.presence_masks:
            columns[f"{one.entry.name}_mask"] = pl.Series(one.mask, dtype=pl.UInt16)
    return pl.DataFrame(columns)


def _tag(spec: LinkageSpec, part: Part) -> str:
    """Name parts share their tokens, so that swapped given and family names still look alike."""
    shared = spec.fields[part.field].kind == "name" and part.tokens == "bigrams"
    return "name/bigrams" if shared else f"{part.field}/{part.tokens}"


def _output(entry: Filter, spec: LinkageSpec, derive: Derive, padding_key: bytes, height: int) -> _Output:
    sets = _diffusion_sets(derive(purpose="diffusion", field=entry.name), spec)
    # Bound to linkage key and spec: padding that outlived an epoch, when all else changes, would show itself.
    epoch = derive(purpose="padding", field=entry.name)
    padding = hmac.digest(padding_key, epoch, "sha256")
    words = np.empty((height, spec.diffusion.bits // 64), np.uint64)
    return _Output(entry, sets, padding, words, np.zeros(height, np.uint16))


def _namespaces(records: pl.DataFrame, spec: LinkageSpec) -> dict[str, _Namespace]:
    kinds = {_tag(spec, part): part.tokens for entry in spec.filters for part in entry.parts}
    fields: dict[str, dict[str, None]] = {tag: {} for tag in kinds}
    for entry in spec.filters:
        for part in entry.parts:
            if part.field in records.columns:
                fields[_tag(spec, part)][part.field] = None
    namespaces: dict[str, _Namespace] = {}
    numbered: dict[tuple[str, ...], tuple[pl.Series, dict[str, list[_Turn]]]] = {}
    for tag, group in fields.items():
        names = tuple(group)
        if names not in numbered:
            numbered[names] = _numbered({name: records[name] for name in names}, records.height)
        values, turns = numbered[names]
        found = cut(values, kinds[tag])
        start, length = (np.concatenate([np.zeros(1, np.int64), runs]) for runs in (found.start, found.length))
        namespaces[tag] = _Namespace(replace(found, start=start, length=length), turns)
    return namespaces


def _numbered(columns: dict[str, pl.Series], height: int) -> tuple[pl.Series, dict[str, list[_Turn]]]:
    """Return the distinct values of some columns, and by column the records' values as numbers from 1 on."""
    listed = {name: _listed(column) for name, column in columns.items()}
    every = pl.concat([pl.Series([""], dtype=pl.String), *(values for _, values in listed.values())])
    # Categories of their own: their codes count from 0 on in order of first occurrence, so that "" has the 0.
    codes = every.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy()
    numbers = (np.nan_to_num(codes) if every.null_count() else codes).astype(np.int64)
    first = np.empty(int(numbers.max()) + 1, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    turns: dict[str, list[_Turn]] = {}
    at = 1
    for name, (record, values) in listed.items():
        turns[name] = _turns(record, numbers[at : at + len(values)], height)
        at += len(values)
    return every[first[1:]], turns


def _listed(column: pl.Series) -> tuple[Numbers | None, pl.Series]:
    """Return the values of a column, and the record of each if it is not the one at its place."""
    record = None
    if column.dtype == pl.List(pl.String):
        record = np.repeat(np.arange(len(column)), column.list.len().fill_null(0).to_numpy())
        column = column.explode(empty_as_null=False, keep_nulls=False)
    return record, column.cast(pl.String).rename("")


def _turns(record: Numbers | None, value: Numbers, height: int) -> list[_Turn]:
    """Part the values of the records into first ones, second ones, ..., each value of a record once."""
    if record is None:
        return [_Turn(slice(None), value)]
    record, value = record[value > 0], value[value > 0]
    if (np.diff(record) == 0).any():
        # In the order of first occurrence.
        _, once = np.unique(record * (int(value.max()) + 1) + value, return_index=True)
        once.sort()
        record, value = record[once], value[once]
    place = np.arange(len(record))
    turn = place - np.maximum.accumulate(np.where(np.diff(record, prepend=-1) != 0, place, 0))
    first = np.zeros(height, np.int64)
    first[record[turn == 0]] = value[turn == 0]
    later = range(1, int(turn.max(initial=0)) + 1)
    return [_Turn(slice(None), first), *(_Turn(record[turn == n], value[turn == n]) for n in later)]


def _fill(
    words: Words,
    mask: NDArray[np.uint16],
    output: _Output,
    spec: LinkageSpec,
    derive: Derive,
    namespaces: dict[str, _Namespace],
) -> None:
    """Write one filter of all records, diffused, and its presence mask."""
    entry = output.entry
    fields = list(dict.fromkeys(part.field for part in entry.parts))
    parts: dict[str, list[Part]] = {}
    for part in entry.parts:
        tag = _tag(spec, part)
        if part.field in namespaces[tag].turns:
            parts.setdefault(tag, []).append(part)
            there = namespaces[tag].turns[part.field][0].value > 0
            mask |= there.astype(np.uint16) << np.uint16(fields.index(part.field))
    per_weight = _hashes_per_weight(spec, _weights(entry, spec, namespaces, len(words)))
    layers: list[_Layer] = []
    for tag, members in parts.items():
        subkey = derive(purpose="filter", field=f"{entry.name}/{tag}")
        layers += _layers(namespaces[tag], members, per_weight, subkey, spec.bits)
    for first in range(0, len(words), _CHUNK):
        last = min(first + _CHUNK, len(words))
        words[first:last] = diffuse(_joined(layers, first, last, spec.bits), output.sets)


def _weights(entry: Filter, spec: LinkageSpec, namespaces: dict[str, _Namespace], height: int) -> NDArray[np.float64]:
    """Return the total weight of each record's tokens."""
    weight = np.zeros(height)
    # Always in the spec's order: floating-point sums depend on it, and so would the filters.
    for part in entry.parts:
        namespace = namespaces[_tag(spec, part)]
        for turn in namespace.turns.get(part.field, []):
            weight[turn.record] += (namespace.cut.length * part.weight)[turn.value]
    return weight


def _hashes_per_weight(spec: LinkageSpec, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hashes for a token of weight 1, by record: ``-ln(1 - fill) * bits / total weight`` under constant fill."""
    if isinstance(spec.hashing, ConstantFill):
        return -math.log1p(-spec.hashing.fill) * spec.bits / np.maximum(weight, 1e-9)
    return np.full(len(weight), spec.hashing.hashes)


def _layers(
    namespace: _Namespace, parts: Sequence[Part], per_weight: NDArray[np.float64], key: bytes, bits: int
) -> list[_Layer]:
    """Make the rows of one namespace's values: one for each value with each number of hashes that it comes with."""
    values = len(namespace.cut.length)
    records: list[Numbers | slice] = []
    codes: list[Numbers] = []
    for part in parts:
        hashes = np.maximum(1, np.rint(per_weight * part.weight)).astype(np.int64)
        for turn in namespace.turns[part.field]:
            records.append(turn.record)
            codes.append(np.where(turn.value > 0, hashes[turn.record] * values + turn.value, 0))
    place, distinct = number(np.concatenate(codes))
    count, value = np.divmod(distinct, values)
    rows = rows_of_values(key, namespace.cut, value, count, bits)
    places = np.split(place, np.cumsum([len(code) for code in codes])[:-1])
    return [_Layer(record, place, rows) for record, place in zip(records, places, strict=True)]


def _joined(layers: Sequence[_Layer], first: int, last: int, bits: int) -> Words:
    """OR the layers of the records from ``first`` to before ``last``."""
    total = np.zeros((last - first, bits // 64), np.uint64)
    row = np.empty_like(total)
    for layer in layers:
        if isinstance(layer.record, slice):
            # Out of range there is nothing; any mode but "raise" spares a copy of the output.
            np.take(layer.rows, layer.place[first:last], axis=0, out=row, mode="clip")
            total |= row
        else:
            some = slice(*np.searchsorted(layer.record, [first, last]).tolist())
            total[layer.record[some] - first] |= layer.rows[layer.place[some]]
    return total


def _diffusion_sets(key: bytes, spec: LinkageSpec) -> NDArray[np.intp]:
    """Draw the input positions of every output bit from the key: shape (diffusion.bits, inputs), distinct in a row."""
    outputs, inputs = spec.diffusion.bits, spec.diffusion.inputs

    def draw(output: range, block: int) -> NDArray[np.intp]:
        tail = block.to_bytes(4, "big")
        drawn = np.frombuffer(digests(key, (bit.to_bytes(4, "big") + tail for bit in output)), ">u2")
        return (drawn & (spec.bits - 1)).astype(np.intp).reshape(len(output), -1)

    streams = draw(range(outputs), 0)
    sets = np.zeros((outputs, inputs), np.intp)
    front = min(inputs, streams.shape[1])
    sets[:, :front] = streams[:, :front]
    distinct = (np.diff(np.sort(sets, axis=1), axis=1) != 0).all(axis=1)
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
