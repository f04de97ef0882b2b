"""The person map: which records are one person, under pseudonyms, from the hub to the analysis, and nobody else.

One sealed file of kind ``person-map``. Both compartments are for the analysis: ``persons`` is a Parquet frame of
source, pseudonym and person; ``quality`` is a JSON object on how good the linkage is expected to be. The manifest
says which batches went in, by their digests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import polars as pl
from pydantic import Field, StringConstraints, ValidationError

from linkage import __version__
from linkage.contract.vocabulary import Month, Name
from linkage.exchange.canonical import CanonicalError, load_loose
from linkage.exchange.envelope import Compartment, inspect, read_compartments, seal
from linkage.exchange.frames import from_parquet, to_parquet
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.reasons import refuse

__all__ = [
    "PERSON_MAP_SCHEMA",
    "PersonMap",
    "PersonMapManifest",
    "open_person_map",
    "read_person_map_manifest",
    "seal_person_map",
]

PERSON_MAP_SCHEMA: dict[str, pl.DataType] = {"source": pl.String(), "pseudonym": pl.String(), "person": pl.UInt32()}
"""One row a record; ``person`` counts from 0 without gaps."""

PERSONS, QUALITY = "persons", "quality"

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$")]
_Count = Annotated[int, Field(ge=2, le=1 << 31)]


class PersonMapManifest(Strict):
    """What the manifest of a person map says: signed, and visible to anybody.

    Parameters
    ----------
    project, epoch, month
        What was linked.
    run_id
        The hub's name for the run.
    batches
        SHA-256 of each batch that went in (:func:`linkage.exchange.envelope.file_digest`), ascending.
    records
        Rows of the map. The number of persons is a result and stays sealed.
    tool_version
        Version of this package that sealed it.
    """

    project: Name
    epoch: _Label
    month: Month
    run_id: _Label
    batches: Annotated[list[_Digest], Field(min_length=1, max_length=4096)]
    records: _Count
    tool_version: _Label


class PersonMap(NamedTuple):
    """An opened person map."""

    frame: pl.DataFrame
    quality: dict[str, Any]
    manifest: PersonMapManifest


def seal_person_map(
    path: Path,
    frame: pl.DataFrame,
    quality: dict[str, Any],
    batches: list[str],
    sender: Party,
    analysis: PublicParty,
    *,
    project: str,
    epoch: str,
    month: str,
    run_id: str,
) -> None:
    """Check, sort, encrypt and sign a person map.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    frame
        The columns of :data:`PERSON_MAP_SCHEMA`, one row a record.
    quality
        Expected precision, recall and the like; JSON, floats allowed, no NaN.
    batches
        SHA-256 of each batch that went in, hex.
    sender, analysis
        The hub, which signs, and the analysis, which can open it.
    project, epoch, month, run_id
        For the manifest.

    Raises
    ------
    SealError
        ``contents-mismatch`` if the frame or the quality is not what the format says, ``malformed`` if the
        manifest is not.
    """
    content = {
        "project": project,
        "epoch": epoch,
        "month": month,
        "run_id": run_id,
        "batches": sorted(batches),
        "records": frame.height,
        "tool_version": __version__,
    }
    if frame.height < 2:
        raise refuse("too-few-records")
    manifest = _validated(content)
    if set(frame.columns) != set(PERSON_MAP_SCHEMA):
        raise refuse("contents-mismatch")
    frame = frame.select(list(PERSON_MAP_SCHEMA)).sort("source", "pseudonym")
    _check(frame, manifest)
    try:
        text = json.dumps(quality, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):
        raise refuse("contents-mismatch") from None
    seal(
        path,
        "person-map",
        manifest.model_dump(),
        [Compartment(PERSONS, analysis, to_parquet(frame)), Compartment(QUALITY, analysis, text)],
        sender,
    )


def _validated(header: dict[str, Any]) -> PersonMapManifest:
    try:
        manifest = PersonMapManifest.model_validate(header)
    except ValidationError:
        raise refuse("malformed") from None
    if sorted(set(manifest.batches)) != manifest.batches:
        raise refuse("malformed")
    return manifest


def _manifest(envelope: dict[str, Any]) -> PersonMapManifest:
    if [entry["name"] for entry in envelope["compartments"]] != [PERSONS, QUALITY]:
        raise refuse("malformed")
    return _validated(envelope["header"])


def _check(frame: pl.DataFrame, manifest: PersonMapManifest) -> None:
    fits = (
        list(frame.schema.items()) == list(PERSON_MAP_SCHEMA.items())
        and frame.height == manifest.records
        and sum(frame.null_count().row(0)) == 0
        and bool(frame["pseudonym"].str.contains(HEX32).all())
        and frame.select("source", "pseudonym").n_unique() == frame.height
        and frame.equals(frame.sort("source", "pseudonym"))
        and frame["person"].max() == frame["person"].n_unique() - 1
    )
    if not fits:
        raise refuse("contents-mismatch")


def read_person_map_manifest(path: Path) -> PersonMapManifest:
    """Read the manifest of a person map, without any key. Not verified.

    Raises
    ------
    SealError
        If the file is no person map, or the manifest is not one.
    """
    return _manifest(inspect(path, "person-map"))


def open_person_map(path: Path, analysis: Party, sender: PublicParty) -> PersonMap:
    """Verify a person map, open it and check it against its manifest.

    Returns
    -------
    PersonMap
        ``frame`` sorted by source and pseudonym, ``quality``, ``manifest``.

    Raises
    ------
    SealError
        With one of the codes of :data:`linkage.exchange.reasons.REASONS`.
    """
    envelope, (persons, quality) = read_compartments(path, (PERSONS, QUALITY), analysis, sender, "person-map")
    manifest = _manifest(envelope)
    frame = from_parquet(persons, manifest.records)
    _check(frame, manifest)
    try:
        return PersonMap(frame, load_loose(quality), manifest)
    except CanonicalError:
        raise refuse("contents-mismatch") from None
