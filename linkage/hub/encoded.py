"""The encodings of all sources as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.errors import LinkError
from linkage.hub.kernels import MISSING

__all__ = ["Encoded", "stack"]

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
        A filter of another length than the spec's, a filter or mask that is not there, or a pseudonym twice.
    """
    sources = tuple(sorted(encodings))
    names = [entry.name for entry in spec.filters]
    length = spec.diffusion.bits // 8
    frames = []
    for number, source in enumerate(sources):
        frame = encodings[source].sort("pseudonym", "variant")
        wanted = [*names, *(f"{name}_mask" for name in names if spec.presence_masks)]
        if any(column not in frame.columns for column in wanted):
            raise LinkError(f"source {source}: a filter of the spec is not in the encodings", reason="wrong-filters")
        if any((frame[name].bin.size() != length).any() or frame[name].null_count() for name in names):
            raise LinkError(f"source {source}: filters of another length than the spec's", reason="wrong-length")
        if frame.select(pl.struct("pseudonym", "variant").is_duplicated().any()).item():
            raise LinkError(f"source {source}: a record occurs twice", reason="repeated-record")
        frames.append(frame.select("pseudonym", "variant", *wanted).with_columns(source=pl.lit(number, pl.Int16)))
    rows = pl.concat(frames)
    words = np.concatenate(
        [np.frombuffer(b"".join(rows[name].to_list()), "<u8").reshape(len(rows), -1) for name in names], axis=1
    ).astype(np.uint64)
    records = rows.select("source", "pseudonym").unique(maintain_order=True).with_row_index("record")
    record = rows.join(records, on=["source", "pseudonym"], how="left", maintain_order="left")["record"]
    classes, strata = _classes(rows, names, spec.presence_masks)
    return Encoded(
        words=np.ascontiguousarray(words),
        width=length // 8,
        classes=classes,
        strata=strata,
        record=record.to_numpy().astype(np.int64),
        source=records["source"].to_numpy(),
        variants=np.bincount(record.to_numpy(), minlength=len(records)).astype(np.int64),
        sources=sources,
        deduplicated=np.array([deduplicated[source] for source in sources], np.bool_),
        labels=records.select(pl.col("source").replace_strict(range(len(sources)), sources), "pseudonym"),
    )


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
