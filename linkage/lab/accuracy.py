"""How well a spec links: a labelled file of plain records goes through the real encoder and the real engine."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract import load_agreement, load_source
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError
from linkage.hub.cluster import cluster
from linkage.hub.link import Linked, link
from linkage.steward.encode import encode
from linkage.steward.extract import check_rows, read_extract
from linkage.steward.group import identifiers
from linkage.steward.standardise import standardise_series
from linkage.steward.tiers import add_tiers

__all__ = ["TestKey", "accuracy", "pairwise", "population_accuracy"]

_GRID = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class TestKey:
    """A key tree for measurements, drawn from a seed so that they can be repeated. Never for a person's data."""

    __test__ = False

    seed: int

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Return 32 bytes for one purpose."""
        return hashlib.sha256(f"test key {self.seed}\0{spec_digest}\0{purpose}\0{field}".encode()).digest()


def accuracy(
    records: Path,
    spec: LinkageSpec,
    *,
    source_column: str,
    entity_column: str,
    repeats: frozenset[str] = frozenset(),
    seed: int = 0,
) -> dict[str, Any]:
    """Measure pairwise precision, recall and F1 on a labelled file.

    Parameters
    ----------
    records
        Parquet or CSV file, one row a record. Every field of the spec is read from the column that the spec names for
        it, else from the column of its own name; it is standardised by its kind.
    source_column, entity_column
        Which file a record belongs to, and who it really is. The engine never sees the second.
    repeats
        Sources in which one person can have several records.
    seed
        Of the key.

    Returns
    -------
    dict
        ``pairs_true``; ``unreadable``, filled cells without a standard form by field; ``chosen`` (precision, recall,
        f1 at the engine's own decision, every true pair counted);
        ``best`` (the same at the threshold that the truth would choose, and that threshold); ``expected`` (what the
        engine itself expects); ``seconds`` by step and ``peak_memory_mb`` of the process.

    Raises
    ------
    ContractError
        A column that the spec or the call names is not in the file.
    """
    frame, unreadable = _read(records, spec, source_column, entity_column)
    if not repeats <= set(frame["source"]):
        raise ContractError("a source said to have repeats is not in the file", reason="unknown-source")
    started = time.perf_counter()
    encodings = _encode(frame, spec, TestKey(seed))
    encoded = time.perf_counter()
    linked = link(encodings, spec, repeats=repeats)
    done = time.perf_counter()
    entity = _entities(frame, linked)
    source = linked.persons["source"].rank("dense").to_numpy().astype(np.int64) - 1
    within = np.array([name in repeats for name in sorted(encodings)], np.bool_)
    counted = _counted_pairs(entity, source, within)
    chosen = pairwise(linked.persons["person"].to_numpy(), entity, source, within)
    tried = [
        {**pairwise(_persons_at(linked, source, ~within, limit), entity, source, within), "threshold": limit}
        for limit in _GRID
    ]
    return {
        "records": len(frame),
        "sources": len(encodings),
        "spec": spec.name,
        "pairs_true": counted,
        "unreadable": unreadable,
        "chosen": chosen,
        "best": max(tried, key=lambda entry: entry["f1"]),
        "expected": {key: linked.quality.get(key) for key in ("precision", "recall", "expected_matches")},
        "seconds": {"encode": round(encoded - started, 3), "link": round(done - encoded, 3)},
        "peak_memory_mb": _peak_memory(),
    }


def population_accuracy(population: Path, spec: LinkageSpec, *, seed: int = 0) -> dict[str, Any]:
    """Measure a synthetic population: its extracts go through the steward's own steps and the real engine.

    Parameters
    ----------
    population
        Folder written by :func:`linkage.lab.population.draw_population`.
    spec
        The linkage spec.
    seed
        Of the key.

    Returns
    -------
    dict
        ``chosen`` as in :func:`accuracy`, ``persons`` found, ``persons_true``, ``expected`` and ``repeats_found``.
    """
    key, today = TestKey(seed), dt.date(2026, 11, 22)
    padding = key.derive(spec_digest=spec.digest, purpose="padding")
    encodings = {}
    for folder in sorted((population / "extracts").iterdir()):
        schema, agreement = load_source(folder.name), load_agreement(folder.name)
        checked = check_rows(read_extract(next(folder.iterdir()), schema), schema, today=today)
        tiered = add_tiers(checked.good, schema, agreement, today=today)
        persons = identifiers(tiered, schema, agreement.identifiers, spec.variants)
        labels = (folder.name + "/" + persons["local_id"]).to_list()  # one a person, and no other source's
        filters = encode(persons, spec, key, labels=labels, padding_key=padding)
        encodings[folder.name] = filters.with_columns(pseudonym=persons["local_id"], variant=persons["variant"])
    linked = link(encodings, spec)
    truth = pl.read_parquet(population / "truth" / "records.parquet")
    found = linked.persons.join(
        truth.select("source", pseudonym="local_id", entity="person"), on=["source", "pseudonym"], how="left"
    ).sort("source", "pseudonym")
    entity = found["entity"].rank("dense").to_numpy().astype(np.int64) - 1
    source = found["source"].rank("dense").to_numpy().astype(np.int64) - 1
    none_within = np.zeros(len(encodings), np.bool_)
    return {
        "chosen": pairwise(found["person"].to_numpy(), entity, source, none_within),
        "persons": found["person"].n_unique(),
        "persons_true": found["entity"].n_unique(),
        "expected": {key: linked.quality.get(key) for key in ("precision", "recall", "expected_matches")},
        "repeats_found": linked.quality["repeats_found"],
    }


def _read(path: Path, spec: LinkageSpec, source_column: str, entity_column: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read the fields in standard form, and count by field the filled cells that have none."""
    columns = {name: entry.column or name for name, entry in spec.fields.items()}
    wanted = [source_column, entity_column, *columns.values()]
    if not path.is_file():
        raise ContractError(f"{path}: no such file", reason="not-found")
    raw = pl.read_csv(path, infer_schema=False) if path.suffix.lower() == ".csv" else pl.read_parquet(path)
    missing = sorted(set(wanted) - set(raw.columns))
    if missing:
        raise ContractError(
            f"{path}: columns that the spec or the call names are not in the file",
            reason="missing-columns",
            problems=missing,
            hint="give a field's column in the spec as 'column'",
        )
    fields = [standardise_series(spec.fields[name].kind, raw[column]).alias(name) for name, column in columns.items()]
    keys = raw.select(pl.col(source_column).cast(pl.String), pl.col(entity_column).cast(pl.String))
    unreadable = {
        field.name: int(lost)
        for field, column in zip(fields, columns.values(), strict=True)
        if (lost := (raw[column].cast(pl.String).str.strip_chars().fill_null("") != "").sum() - field.count()) > 0
    }
    return pl.DataFrame([keys[source_column].alias("source"), keys[entity_column].alias("entity"), *fields]), unreadable


def _encode(frame: pl.DataFrame, spec: LinkageSpec, key: TestKey) -> dict[str, pl.DataFrame]:
    padding = key.derive(spec_digest=spec.digest, purpose="padding")
    encodings = {}
    for (source,), part in frame.with_row_index("place").group_by("source", maintain_order=True):
        labels = part["place"].cast(pl.String).str.zfill(12)
        filters = encode(part, spec, key, labels=labels.to_list(), padding_key=padding)
        encodings[str(source)] = filters.with_columns(pseudonym=labels, variant=pl.lit(0, pl.UInt8))
    return encodings


def _entities(frame: pl.DataFrame, linked: Linked) -> NDArray[np.int64]:
    place = linked.persons["pseudonym"].cast(pl.Int64).to_numpy()
    entity: NDArray[np.int64] = frame["entity"].rank("dense").to_numpy().astype(np.int64) - 1
    ordered: NDArray[np.int64] = entity[place]
    return ordered


def _persons_at(
    linked: Linked, source: NDArray[np.int64], single: NDArray[np.bool_], limit: float
) -> NDArray[np.int64]:
    pairs = linked.left, linked.right, linked.probability
    return cluster(*pairs, source.astype(np.int16), single, linked.repeats, threshold=limit)


def pairwise(
    person: NDArray[Any], entity: NDArray[np.int64], source: NDArray[np.int64], within: NDArray[np.bool_]
) -> dict[str, float]:
    """Return pairwise precision, recall and F1 of a partition.

    Parameters
    ----------
    person, entity, source
        Shape (records,): found person, true person, number of the source.
    within
        Shape (sources,): whether pairs within that source count too.
    """
    person = person.astype(np.int64)
    both = person * (int(entity.max(initial=0)) + 1) + entity
    hits = _counted_pairs(both, source, within)
    links, matches = _counted_pairs(person, source, within), _counted_pairs(entity, source, within)
    precision, recall = hits / links if links else 0.0, hits / matches if matches else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": round(precision, 6), "recall": round(recall, 6), "f1": round(f1, 6)}


def _counted_pairs(group: NDArray[np.int64], source: NDArray[np.int64], within: NDArray[np.bool_]) -> int:
    """Count pairs of records in one group, leaving out pairs within a source that has no repeats."""
    pairs = _pairs(np.unique(group, return_inverse=True)[1])
    parts = np.unique(np.column_stack([group, source])[~within[source]], axis=0, return_counts=True)[1]
    return pairs - int((parts * (parts - 1) // 2).sum())


def _pairs(group: NDArray[np.int64]) -> int:
    sizes = np.bincount(group.ravel()).astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def _peak_memory() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
