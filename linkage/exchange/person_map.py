"""The person map: which records are one person, under pseudonyms, from the hub to the analysis, and nobody else.

One sealed file of kind ``person-map``. All compartments are for the analysis: ``persons`` is a Parquet frame of
source, pseudonym and person; ``quality`` is a JSON object on how good the linkage is expected to be; ``draws`` holds
partitions drawn from the posterior (:mod:`linkage.exchange.draws`). The manifest says which batches went in, by their
digests. Version 1 of the format had no draws.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, ValidationError

from linkage import __version__
from linkage.contract.vocabulary import Month, Name
from linkage.exchange.canonical import CanonicalError, load_loose
from linkage.exchange.draws import MOST_DRAWS, check_draws, draws_frame, draws_from_bytes, draws_to_bytes, no_draws
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

PERSONS, QUALITY, DRAWS = "persons", "quality", "draws"

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
    draws
        Partitions drawn. In how many records they differ is a result and stays sealed.
    tool_version
        Version of this package that sealed it.
    """

    project: Name
    epoch: _Label
    month: Month
    run_id: _Label
    batches: Annotated[list[_Digest], Field(min_length=1, max_length=4096)]
    records: _Count
    draws: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 0
    tool_version: _Label


class PersonMap(NamedTuple):
    """An opened person map.

    ``draws`` has a row for each record that is not with the same ones in every draw: ``record`` (UInt32), its row in
    ``frame``, and ``draw_0``, ``draw_1`` ... (UInt32), its person in each draw, numbered apart from those of ``frame``.
    """

    frame: pl.DataFrame
    quality: dict[str, Any]
    manifest: PersonMapManifest
    draws: pl.DataFrame


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
    draws: tuple[NDArray[np.int64], NDArray[np.uint32]] | None = None,
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
    draws
        Rows of ``frame`` whose person is not the same in every draw, shape (open,), and their person in each draw,
        shape (draws, open). A person of such a row holds no other rows.

    Raises
    ------
    SealError
        ``contents-mismatch`` if the frame, the draws or the quality are not what the format says, ``malformed`` if
        the manifest is not.
    """
    content = {
        "project": project,
        "epoch": epoch,
        "month": month,
        "run_id": run_id,
        "batches": sorted(batches),
        "records": frame.height,
        "draws": 0 if draws is None else len(draws[1]),
        "tool_version": __version__,
    }
    if frame.height < 2:
        raise refuse("too-few-records")
    manifest = _validated(content, 2)
    if set(frame.columns) != set(PERSON_MAP_SCHEMA):
        raise refuse("contents-mismatch")
    frame, place = _sorted(frame)
    _check(frame, manifest)
    drawn = _drawn(draws, place)
    check_draws(drawn, frame, manifest.draws)
    try:
        text = json.dumps(quality, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):
        raise refuse("contents-mismatch") from None
    seal(
        path,
        "person-map",
        manifest.model_dump(),
        [
            Compartment(PERSONS, analysis, to_parquet(frame)),
            Compartment(QUALITY, analysis, text),
            Compartment(DRAWS, analysis, draws_to_bytes(drawn)),
        ],
        sender,
    )


def _sorted(frame: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return the map in its order, and where each row has gone."""
    numbered = frame.select(list(PERSON_MAP_SCHEMA)).with_row_index("row").sort("source", "pseudonym")
    place = np.empty(frame.height, np.int64)
    place[numbered["row"].to_numpy()] = np.arange(frame.height)
    return numbered.drop("row"), place


def _drawn(draws: tuple[NDArray[np.int64], NDArray[np.uint32]] | None, place: NDArray[np.int64]) -> pl.DataFrame:
    if draws is None:
        return no_draws()
    record, person = draws
    fits = person.ndim == 2 and record.shape == person.shape[1:]
    if not fits or ((record < 0) | (record >= len(place))).any():
        raise refuse("contents-mismatch")
    return draws_frame(place[record], person)


def _validated(header: dict[str, Any], version: int) -> PersonMapManifest:
    try:
        manifest = PersonMapManifest.model_validate(header)
    except ValidationError:
        raise refuse("malformed") from None
    if ("draws" in header) != (version > 1) or sorted(set(manifest.batches)) != manifest.batches:
        raise refuse("malformed")
    return manifest


def _manifest(envelope: dict[str, Any]) -> PersonMapManifest:
    wanted = [PERSONS, QUALITY, DRAWS][: 2 if envelope["version"] == 1 else 3]
    if [entry["name"] for entry in envelope["compartments"]] != wanted:
        raise refuse("malformed")
    return _validated(envelope["header"], envelope["version"])


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
        ``frame`` sorted by source and pseudonym, ``quality``, ``manifest``, ``draws``.

    Raises
    ------
    SealError
        With one of the codes of :data:`linkage.exchange.reasons.REASONS`.
    """
    envelope, contents = read_compartments(path, None, analysis, sender, "person-map")
    manifest = _manifest(envelope)
    persons, quality, *drawn = contents
    frame = from_parquet(persons, manifest.records)
    _check(frame, manifest)
    draws = draws_from_bytes(drawn[0], frame, manifest.draws) if drawn else no_draws()
    try:
        return PersonMap(frame, load_loose(quality), manifest, draws)
    except CanonicalError:
        raise refuse("contents-mismatch") from None
