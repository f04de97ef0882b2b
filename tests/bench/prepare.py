"""Standardised records of a synthetic population, as the steward's own pipeline makes them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl

from linkage.contract import load_agreement, load_source
from linkage.lab.population import MILWAUKEE, draw_population
from linkage.steward.extract import find_failures, read_extract
from linkage.steward.facts import facts
from linkage.steward.group import identifiers
from linkage.steward.tiers import add_tiers

SOURCES = {"mpd": "mpd.csv", "dcf": "dcf.csv", "pohsey": "pohsey.xlsx", "medical": "medical.parquet"}
_VARIANTS = 4
_SEED = 20130101


def prepare(people: int, folder: Path) -> None:
    """Draw a population and write, by source, its identifiers and facts: ``<source>-{identifiers,facts}.parquet``."""
    draw_population(MILWAUKEE, _SEED, folder / "population", people)
    for source, name in SOURCES.items():
        schema, agreement = load_source(source), load_agreement(source)
        today = agreement.starts + dt.timedelta(days=1)
        extract = read_extract(folder / "population" / "extracts" / source / name, schema)
        tiered = add_tiers(find_failures(extract, schema, today=today).good, schema, agreement, today=today)
        persons = identifiers(tiered, schema, agreement.identifiers, _VARIANTS)
        persons.write_parquet(folder / f"{source}-identifiers.parquet")
        facts(tiered, schema, agreement).write_parquet(folder / f"{source}-facts.parquet")


def one_source(folder: Path, source: str, persons: int) -> pl.DataFrame:
    """Return the identifiers of the first persons of a source."""
    frame = pl.read_parquet(folder / f"{source}-identifiers.parquet")
    chosen = frame["local_id"].unique(maintain_order=True).head(persons)
    return frame.filter(pl.col("local_id").is_in(chosen.implode()))


def all_sources(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return identifiers and facts of all sources as one large agency would hold them."""
    parts: dict[str, list[pl.DataFrame]] = {"identifiers": [], "facts": []}
    for source in SOURCES:
        for what, frames in parts.items():
            frame = pl.read_parquet(folder / f"{source}-{what}.parquet")
            frames.append(frame.with_columns(local_id=source + "-" + pl.col("local_id")))
    persons = pl.concat(parts["identifiers"], how="diagonal")
    persons = persons.with_columns(pl.col(pl.List(pl.String)).fill_null([])).sort("local_id", "variant")
    return persons, pl.concat(parts["facts"])
