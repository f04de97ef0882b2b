"""The encodings of all sources as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub.kernels import MISSING

__all__ = ["Encoded", "memory_lines", "restrict", "stack"]

_LINE = 8  # words of a line of memory
_SLICE = 4_096  # rows copied at once: what is between their filters and their words stays in the processor's caches
_STRETCH = 131_072  # rows copied by one thread
_CLASSES = 20  # presence masks told apart by filter; rarer ones share the last


@dataclass(frozen=True)
class Encoded:
    """The encodings of all sources, sorted by source.

    Attributes
    ----------
    words
        uint64, shape (rows, filters * words a filter).
    classes
        uint8, shape (rows, filters): presence mask as a number, 0 = nothing filled.
    strata
        uint8, shape (filters, classes, classes): stratum of two masks; 255 where a side is empty.
    record
        int64, shape (rows,): record of each row; a record has one row a variant, the main name first.
    source
        int16, shape (records,).
    variants
        int64, shape (records,): rows of each record.
    sources
        Names of the sources, by number.
    deduplicated
        bool, shape (sources,): whether a source has no repeats.
    labels
        Frame (source, pseudonym), one row a record.
    known
        int64, shape (records,): equal numbers are one person, as far as is known before the comparison. Records of
        one person are not taken for unlike, nor for sharing a common value.
    """

    words: NDArray[np.uint64]
    width: int
    classes: NDArray[np.uint8]
    strata: NDArray[np.uint8]
    record: NDArray[np.int64]
    source: NDArray[np.int16]
    variants: NDArray[np.int64]
    sources: tuple[str, ...]
    deduplicated: NDArray[np.bool_]
    labels: pl.DataFrame
    known: NDArray[np.int64]


def stack(encodings: dict[str, pl.DataFrame], spec: LinkageSpec, deduplicated: dict[str, bool]) -> Encoded:
    """Put the sources' encodings into arrays.

    Parameters
    ----------
    encodings
        Source -> encodings frame: ``pseudonym``, ``variant``, one Binary column a filter, perhaps masks.
    deduplicated
        Source -> whether its records are distinct persons.

    Raises
    ------
    LinkError
        ``wrong-columns``, ``wrong-filters``, ``wrong-length``: pseudonym, variant, a filter or a mask is not there, of
        another type or empty, or a filter of another length than the spec's; ``repeated-record``: a pseudonym twice.
    """
    sources = tuple(sorted(encodings))
    names = [entry.name for entry in spec.filters]
    length = spec.diffusion.bits // 8
    wanted: dict[str, pl.DataType] = dict.fromkeys(names, pl.Binary())
    wanted |= {f"{name}_mask": pl.UInt16() for name in names if spec.presence_masks}
    frames = [_checked(source, encodings[source], names, wanted, length) for source in sources]
    rows = pl.concat([frame.select("pseudonym", pl.exclude("pseudonym", *names)) for frame in frames])
    source = np.repeat(np.arange(len(frames), dtype=np.int16), [len(frame) for frame in frames])
    mains = np.concatenate([(frame["pseudonym"] != frame["pseudonym"].shift()).fill_null(True) for frame in frames])
    record = np.cumsum(mains) - 1
    classes, strata = _classes(rows, names, spec.presence_masks)
    return Encoded(
        words=_words(frames, names, length),
        width=length // 8,
        classes=classes,
        strata=strata,
        record=record,
        source=source[mains],
        variants=np.bincount(record).astype(np.int64),
        sources=sources,
        deduplicated=np.array([deduplicated[source] for source in sources], np.bool_),
        labels=pl.DataFrame(
            {"source": pl.Series(sources, dtype=pl.String)[source[mains]], "pseudonym": rows["pseudonym"].filter(mains)}
        ),
        known=np.arange(int(mains.sum())),
    )


def _checked(
    source: str, frame: pl.DataFrame, names: list[str], wanted: Mapping[str, pl.DataType], length: int
) -> pl.DataFrame:
    """Return a source's encodings by pseudonym and variant, each record once and each filter whole."""
    _require(source, frame, {"pseudonym": pl.String(), "variant": pl.UInt8()}, "wrong-columns")
    _require(source, frame, wanted, "wrong-filters")
    if any((frame[name].bin.size() != length).any() or frame[name].null_count() for name in names):
        raise LinkError(
            f"source {source}: filters of another length than the spec's",
            reason="wrong-length",
            hint="link by the spec that the encodings were made by",
        )
    frame = frame.select("pseudonym", "variant", *wanted)
    again = (pl.col("pseudonym") == pl.col("pseudonym").shift()) & (pl.col("variant") <= pl.col("variant").shift())
    if not frame["pseudonym"].is_sorted() or frame.select(again.any()).item():
        frame = frame.sort("pseudonym", "variant")
        if frame.select(again.any()).item():
            raise LinkError(
                f"source {source}: a record occurs twice",
                reason="repeated-record",
                hint="number the variants of a record from 0, and give each pseudonym to one record",
            )
    return frame


def _require(source: str, frame: pl.DataFrame, columns: Mapping[str, pl.DataType], reason: str) -> None:
    """Refuse a frame that lacks a column, or holds it as another type, or nothing in it."""
    hint = (
        "an encodings frame has pseudonym, variant, a column for each filter of the spec, and masks where it has them"
    )
    for name, kind in columns.items():
        if name not in frame.columns:
            raise LinkError(f"source {source}: {name} is not in the encodings", reason=reason, hint=hint)
        if frame.schema[name] != kind or (frame[name].null_count() and kind != pl.Binary()):
            raise LinkError(f"source {source}: {name} is not {kind} throughout", reason=reason, hint=hint)


def _words(frames: list[pl.DataFrame], names: list[str], length: int) -> NDArray[np.uint64]:
    """Copy the filters into one array whose rows begin where a line of the processor's memory does."""
    width = length // 8
    words = memory_lines(sum(len(frame) for frame in frames), len(names) * width)

    def copy(frame: pl.DataFrame, at: int) -> None:
        for part in frame.iter_slices(_SLICE):
            for number, name in enumerate(names):
                filters = part[name].bin.reinterpret(dtype=pl.Array(pl.UInt64, width), endianness="little")
                words[at : at + len(part), number * width : (number + 1) * width] = filters.to_numpy()
            at += len(part)

    starts = np.cumsum([0, *map(len, frames)]).tolist()
    # Memory that is written for the first time costs most of all: threads share that.
    with ThreadPoolExecutor(get_num_threads()) as pool:
        work = [
            pool.submit(copy, frame[first : first + _STRETCH], start + first)
            for frame, start in zip(frames, starts, strict=False)
            for first in range(0, len(frame), _STRETCH)
        ]
        for part in work:
            part.result()
    return words


def memory_lines(rows: int, words: int) -> NDArray[np.uint64]:
    """Return room for rows of words that begins where a line of the processor's memory does."""
    space = np.empty(rows * words + _LINE, np.uint64)
    start = -(space.ctypes.data // 8) % _LINE
    return space[start : start + rows * words].reshape(rows, words)


def restrict(encoded: Encoded, keep: NDArray[np.bool_]) -> tuple[Encoded, NDArray[np.int64]]:
    """Return the encodings of some records alone, in the same order, and which rows they were.

    Parameters
    ----------
    keep
        bool, shape (records,).
    """
    rows = np.flatnonzero(keep[encoded.record])
    words = memory_lines(len(rows), encoded.words.shape[1])
    np.take(encoded.words, rows, axis=0, out=words, mode="clip")
    some = replace(
        encoded,
        words=words,
        classes=encoded.classes[rows],
        record=(np.cumsum(keep) - 1)[encoded.record[rows]],
        source=encoded.source[keep],
        variants=encoded.variants[keep],
        labels=encoded.labels.filter(pl.Series(keep)),
        known=encoded.known[keep],
    )
    return some, rows


def _classes(rows: pl.DataFrame, names: list[str], masks: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give presence masks a number each by frequency, and strata to their unordered pairs."""
    classes = np.ones((len(rows), len(names)), np.uint8)
    size = 1
    for number, name in enumerate(names if masks else []):
        mask = rows[f"{name}_mask"].to_numpy()
        found, counts = np.unique(mask[mask != 0], return_counts=True)
        classes[:, number] = 0
        for position, value in enumerate(found[np.argsort(-counts, kind="stable")]):
            classes[mask == value, number] = min(position, _CLASSES - 1) + 1
        size = max(size, min(len(found), _CLASSES))
    strata = np.full((len(names), size + 1, size + 1), MISSING, np.uint8)
    low, high = np.triu_indices(size)
    strata[:, low + 1, high + 1] = strata[:, high + 1, low + 1] = np.arange(len(low))
    return classes, strata
