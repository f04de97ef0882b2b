"""Whom attacks are tried on: a file of plain records, or a synthetic population's folder. Never real people."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from linkage.contract import load_agreement, load_source
from linkage.contract.spec import LinkageSpec
from linkage.errors import NO_SUCH_FILE, ContractError
from linkage.lab.labelled import read_labelled
from linkage.steward.extract import check_rows, read_extract
from linkage.steward.group import identifiers
from linkage.steward.tiers import add_tiers

__all__ = ["People", "read_people"]

_TODAY = dt.date(2026, 11, 22)
"""Synthetic extracts end before; a fixed day, so that the same folder gives the same people."""


@dataclass(frozen=True)
class People:
    """Records to draw lists from.

    Attributes
    ----------
    source
        The source that plays the owner.
    frame
        Its people, one record each: ``entity`` and the fields of the spec in standard form.
    others
        Records of the other sources, same columns.
    """

    source: str
    frame: pl.DataFrame
    others: pl.DataFrame


def read_people(
    records: Path,
    spec: LinkageSpec,
    *,
    entity_column: str | None = None,
    source_column: str | None = None,
    source: str | None = None,
) -> People:
    """Read whom to try attacks on.

    Parameters
    ----------
    records
        A file as for ``linkage lab accuracy``, or a folder written by ``linkage lab population``, which goes through
        the steward's own steps.
    entity_column
        Column that says who a record really is; without it each row is a person of its own. Not for a folder.
    source_column
        Column that says which file a record belongs to. Not for a folder.
    source
        The source that plays the owner; the one with most people by default.

    Raises
    ------
    ContractError
        The records cannot be read, or the source is not among them.
    """
    if records.is_dir():
        frame = _population(records, spec)
    else:
        read = read_labelled(records, spec, source_column=source_column, entity_column=entity_column).frame
        frame = read.rename({f"field:{name}": f"={name}" for name in spec.fields})
    columns = [pl.col("entity").alias("entity"), *(pl.col(f"={name}").alias(name) for name in spec.fields)]
    if "entity" in spec.fields:
        raise ContractError("a field of the spec is called 'entity'", reason="reserved-name")
    frame = frame.unique(["source", "entity"], keep="first", maintain_order=True)
    sizes = frame["source"].value_counts().sort("count", "source", descending=[True, False])
    chosen = sizes["source"][0] if source is None else source
    if chosen not in set(sizes["source"]):
        raise ContractError("the source that is to play the owner is not among the records", reason="unknown-source")
    own = pl.col("source") == chosen
    return People(str(chosen), frame.filter(own).select(columns), frame.filter(~own).select(columns))


def _population(folder: Path, spec: LinkageSpec) -> pl.DataFrame:
    """Take the extracts of a synthetic population through the steward's steps; main names only."""
    truth = folder / "truth" / "records.parquet"
    if not truth.is_file():
        raise ContractError(f"{folder}: no synthetic population", reason="not-found", hint=NO_SUCH_FILE)
    parts = []
    for extract in sorted((folder / "extracts").iterdir()):
        schema, agreement = load_source(extract.name), load_agreement(extract.name)
        checked = check_rows(read_extract(next(extract.iterdir()), schema), schema, today=_TODAY)
        tiered = add_tiers(checked.good, schema, agreement, today=_TODAY)
        persons = identifiers(tiered, schema, agreement.identifiers, spec.variants).filter(pl.col("variant") == 0)
        fields = [
            (pl.col(name).cast(pl.List(pl.String)) if name in persons.columns else pl.lit(None, pl.List(pl.String)))
            for name in spec.fields
        ]
        parts.append(
            persons.select(
                pl.lit(extract.name).alias("source"),
                "local_id",
                *(field.alias(f"={name}") for field, name in zip(fields, spec.fields, strict=True)),
            )
        )
    entities = pl.read_parquet(truth).select("source", "local_id", pl.col("person").cast(pl.String).alias("entity"))
    return pl.concat(parts).join(entities, on=["source", "local_id"], how="inner", maintain_order="left")
