"""The batch: what one agency sends to the hub for one month, in one sealed file with two compartments.

``encodings`` is for the hub and ``facts`` for the analysis; neither recipient can open the other's. Both are Parquet,
uncompressed and then padded, so that a size tells row counts only roughly, and sorted by pseudonym, so that the order
of rows tells nothing. Decoys, agreed test persons among them, are in both and count as records and events; only the
facts say which they are. How many records and rows there are stands before the encodings and is sealed with them: in
the manifest it would tell whoever carries a source's batches of one person's coming. How many events there are stands
before the facts, for the analysis alone: beside the number of records it would tell how many of those are decoys. Up to
version 3 all three stood in the manifest; version 1 of the format had no test persons.

Leakage
-------
Anybody who holds the file sees the manifest (:class:`BatchManifest`), the key ids and the sizes. The hub sees
encodings and how many names a pseudonym has; the analysis sees facts. Both see the same pseudonyms.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, ValidationError, model_serializer

from linkage.contract.vocabulary import FACT_SCHEMA, FACT_VALUES, Month, Name
from linkage.errors import NotPermittedError
from linkage.exchange.envelope import KINDS, Compartment, Opener, Recipient, inspect, read_compartments, seal, verify
from linkage.exchange.frames import from_parquet, to_parquet
from linkage.exchange.keys import Party, PublicParty
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.reasons import refuse
from linkage.exchange.roles import Holding, take_up

__all__ = [
    "SMALLEST_BATCH",
    "TEST_PERSON",
    "BatchManifest",
    "new_batch_id",
    "new_serial",
    "open_encodings",
    "open_facts",
    "read_manifest",
    "seal_batch",
    "verify_batch",
]

SMALLEST_BATCH = 2
"""A batch of one record would be a look-up of one person."""

TEST_PERSON = r"^[a-z0-9][a-z0-9_-]{0,39}$"
"""What an agreed test person may be called."""

ENCODINGS, FACTS = "encodings", "facts"

_MOST_ROWS = 1 << 31
_COUNT_SIZE = 8
_NEWEST = KINDS["batch"]
_FIRST_WITH_TEST_PERSONS, _FIRST_WITH_HIDDEN_COUNTS = 2, 4
_COUNTS = "records", "rows", "events"
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,39}$")]
_Count = Annotated[int, Field(ge=0, le=_MOST_ROWS)]


class BatchManifest(Strict):
    """What the manifest of a batch says about it: signed, and visible to anybody.

    Parameters
    ----------
    project, epoch
        As in the linkage key.
    source
        The agency's source name; the hub holds one trusted key a source.
    batch_id
        128 random bits, hex: no batch is taken in twice.
    serial
        Microseconds since 1970 UTC at sealing; grows from batch to batch of a source.
    month
        The reporting month, ``YYYY-MM``.
    spec_name, spec_digest, rules_version, fingerprint
        How the encodings were made; batches whose fingerprints differ cannot be linked.
    mode, agreement_digest
        Under which agreement it is sent.
    deduplicated
        Whether the source has at most one record per person.
    tool_version
        Version of this package that sealed it.
    records, rows, events
        Distinct pseudonyms and rows (with the variants) of the encodings, rows of the facts, decoys included, in a
        batch of versions 1 to 3; None in a later one, where they are sealed with what they count.
    """

    project: Name
    epoch: _Label
    source: Name
    batch_id: Annotated[str, StringConstraints(pattern=HEX32)]
    serial: Annotated[int, Field(gt=0, lt=2**53)]
    month: Month
    spec_name: Name
    spec_digest: _Digest
    rules_version: Annotated[int, Field(ge=1, lt=2**31)]
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32,128}$")]
    mode: Literal["full", "consent"]
    agreement_digest: _Digest
    deduplicated: bool
    tool_version: _Label
    records: _Count | None = None
    rows: _Count | None = None
    events: _Count | None = None

    @model_serializer(mode="wrap")
    def _as_sealed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write a manifest as it stands in the file: without a field that its version does not have."""
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if name not in _COUNTS or value is not None}


def new_batch_id() -> str:
    """Return 128 random bits as 32 hex characters."""
    return secrets.token_hex(16)


def new_serial() -> int:
    """Return the present moment in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def seal_batch(
    path: Path,
    manifest: BatchManifest,
    encodings: pl.DataFrame,
    facts: pl.DataFrame,
    sender: Party,
    hub: Recipient,
    analysis: Recipient,
) -> None:
    """Check, sort, encrypt and sign one batch.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    manifest
        Without counts: what is in the frames is counted here.
    encodings
        ``pseudonym`` String, ``variant`` UInt8 (0 .. k for each pseudonym), the filters (Binary, one width, no null)
        and for a filter possibly ``<filter>_mask`` (UInt16).
    facts
        The columns of :data:`linkage.contract.vocabulary.FACT_SCHEMA`, one row an event, of pseudonyms that are in
        ``encodings``.
    sender, hub, analysis
        Who signs, who can open the encodings, who can open the facts.

    Raises
    ------
    NotPermittedError
        ``one-key-two-roles`` if hub and analysis have the same key: nobody may hold both encodings and facts.
    SealError
        ``contents-mismatch`` if a frame is not what the format says or the manifest has a count, ``too-few-records``
        below two.
    """
    if hub.key_id == analysis.key_id:
        raise NotPermittedError(
            "hub and analysis have the same key, so one role would hold encodings and facts",
            reason="one-key-two-roles",
            hint="give each its own party key, even where both run on one host",
        )
    encodings = _arranged(encodings, list(_encodings_schema(encodings)), ["pseudonym", "variant"])
    facts = _arranged(facts, list(FACT_SCHEMA), list(FACT_SCHEMA))
    records, rows = encodings["pseudonym"].n_unique(), encodings.height
    _check_encodings(encodings, records, rows)
    _check_facts(facts, manifest, _NEWEST)
    counted = any(getattr(manifest, name) is not None for name in _COUNTS)
    if counted or not facts["pseudonym"].is_in(encodings["pseudonym"].unique().implode()).all():
        raise refuse("contents-mismatch")
    seal(
        path,
        "batch",
        manifest.model_dump(),
        [
            Compartment(ENCODINGS, hub, _count(records) + _count(rows) + to_parquet(encodings)),
            Compartment(FACTS, analysis, _count(facts.height) + to_parquet(facts)),
        ],
        sender,
    )


def _arranged(frame: pl.DataFrame, columns: list[str], by: list[str]) -> pl.DataFrame:
    """Put columns and rows into the one order in which they are sent."""
    if set(frame.columns) != set(columns):
        raise refuse("contents-mismatch")
    return frame.select(columns).sort(by)


def _encodings_schema(frame: pl.DataFrame) -> dict[str, pl.DataType]:
    """Return the columns that encodings with these filters have, in order: a mask stands behind its filter."""
    schema: dict[str, pl.DataType] = {"pseudonym": pl.String(), "variant": pl.UInt8()}
    for name, kind in frame.schema.items():
        if kind == pl.Binary:
            schema[name] = pl.Binary()
            if f"{name}_mask" in frame.columns:
                schema[f"{name}_mask"] = pl.UInt16()
    return schema


def _manifest(envelope: dict[str, Any]) -> BatchManifest:
    try:
        manifest = BatchManifest.model_validate(envelope["header"])
    except ValidationError:
        raise refuse("malformed") from None
    told = envelope["version"] < _FIRST_WITH_HIDDEN_COUNTS
    for name in _COUNTS:
        if (name in envelope["header"]) != told or (getattr(manifest, name) is not None) != told:
            raise refuse("malformed")
    entries = envelope["compartments"]
    if [entry["name"] for entry in entries] != [ENCODINGS, FACTS] or entries[0]["recipient"] == entries[1]["recipient"]:
        raise refuse("malformed")
    if manifest.records is not None and manifest.records < SMALLEST_BATCH:
        raise refuse("too-few-records")
    return manifest


def read_manifest(path: Path) -> BatchManifest:
    """Read the manifest of a batch, without any key. **Not verified**: see :func:`verify_batch`.

    Raises
    ------
    SealError
        If the file is no batch, or the manifest is not one.
    """
    return _manifest(inspect(path, "batch"))


def verify_batch(path: Path, sender: PublicParty) -> BatchManifest:
    """Check that a batch is whole and signed by this sender; return its manifest, which can now be relied on.

    Needs no secret, so that policy is decided before anything is decrypted.

    Raises
    ------
    SealError
        With one of the codes of :data:`linkage.exchange.reasons.REASONS`.
    """
    return _manifest(verify(path, sender, "batch"))


def open_encodings(path: Path, hub: Opener, sender: PublicParty, *, digest: str | None = None) -> pl.DataFrame:
    """Verify a batch, open the hub's compartment and check it against its counts.

    With ``digest`` the file must be that one, see :func:`~linkage.exchange.envelope.read_compartments`.

    Returns
    -------
    polars.DataFrame
        The encodings frame, sorted by pseudonym and variant.

    Raises
    ------
    SealError
        With one of the codes of :data:`linkage.exchange.reasons.REASONS`.
    NotPermittedError
        ``two-roles`` if this process has opened facts or holds the linkage key.
    """
    take_up(Holding.ENCODINGS)
    envelope, (content,) = read_compartments(path, (ENCODINGS,), hub, sender, "batch", digest=digest)
    manifest = _manifest(envelope)
    if manifest.records is None or manifest.rows is None:
        records, content = _counted(content)
        rows, content = _counted(content)
    else:
        records, rows = manifest.records, manifest.rows
    frame = from_parquet(content, rows)
    _check_encodings(frame, records, rows)
    return frame


def open_facts(path: Path, analysis: Party, sender: PublicParty) -> pl.DataFrame:
    """Verify a batch, open the analysis' compartment and check it against the manifest and the vocabulary.

    Returns
    -------
    polars.DataFrame
        The facts frame, sorted by pseudonym and month. Decoys are in it, marked. A batch of version 1 has no test
        persons.

    Raises
    ------
    SealError
        With one of the codes of :data:`linkage.exchange.reasons.REASONS`.
    NotPermittedError
        ``two-roles`` if this process has opened encodings or holds the linkage key.
    """
    take_up(Holding.FACTS)
    envelope, (content,) = read_compartments(path, (FACTS,), analysis, sender, "batch")
    manifest = _manifest(envelope)
    events, content = _counted(content) if manifest.events is None else (manifest.events, content)
    frame = from_parquet(content, events)
    _check_facts(frame, manifest, envelope["version"])
    return frame if "test_person" in frame.columns else frame.with_columns(test_person=pl.lit(None, pl.String))


def _count(number: int) -> bytes:
    """Write a number as it stands before a frame."""
    return number.to_bytes(_COUNT_SIZE, "big")


def _counted(content: bytes) -> tuple[int, bytes]:
    """Take a number off the front of a content."""
    number = int.from_bytes(content[:_COUNT_SIZE], "big")
    if len(content) < _COUNT_SIZE or number > _MOST_ROWS:
        raise refuse("contents-mismatch")
    return number, content[_COUNT_SIZE:]


def _check_encodings(frame: pl.DataFrame, records: int, rows: int) -> None:
    """Hold the encodings to the format and to their counts."""
    expected = _encodings_schema(frame)
    filters = [name for name, kind in expected.items() if kind == pl.Binary]
    fits = (
        bool(filters)
        and list(frame.schema.items()) == list(expected.items())
        and frame.height == rows
        and sum(frame.null_count().row(0)) == 0
    )
    if not fits:
        raise refuse("contents-mismatch")
    if records < SMALLEST_BATCH:
        raise refuse("too-few-records")
    widths = pl.concat([frame[name].bin.size().unique() for name in filters]).unique()
    # Sorted by pseudonym and variant, with variants 0 .. k: each row is variant 0 of a new pseudonym, which is larger,
    # or the next variant of the same one. This also says that no (pseudonym, variant) occurs twice.
    pseudonym, variant = frame["pseudonym"], frame["variant"].cast(pl.Int16)
    first = variant == 0
    follows = ((pseudonym == pseudonym.shift()) & (variant == variant.shift() + 1)) | (
        first & (pseudonym > pseudonym.shift())
    )
    fits = (
        widths.len() == 1
        and widths[0] > 0
        and pseudonym.str.contains(HEX32).all()
        and bool(first[0])
        and follows[1:].all()
        and int(first.sum()) == records
    )
    if not fits:
        raise refuse("contents-mismatch")


def _check_facts(frame: pl.DataFrame, manifest: BatchManifest, version: int) -> None:
    """Hold the facts to the vocabulary, and to the manifest's count where it has one."""
    planted = version >= _FIRST_WITH_TEST_PERSONS
    schema = {name: kind for name, kind in FACT_SCHEMA.items() if planted or name != "test_person"}
    if list(frame.schema.items()) != list(schema.items()):
        raise refuse("contents-mismatch")
    fits = (
        frame["pseudonym"].null_count() == 0
        and frame["decoy"].null_count() == 0
        and bool(frame["pseudonym"].str.contains(HEX32).all())
        and frame["pseudonym"].is_sorted()
        and bool(frame["month"].str.contains(r"^\d{4}-(0[1-9]|1[0-2])$").all())
        and (manifest.records is None or frame["pseudonym"].n_unique() <= manifest.records)
        and all(bool(frame[name].is_in(list(values)).all()) for name, values in FACT_VALUES.items())
        and (not planted or _test_persons_fit(frame))
    )
    if not fits:
        raise refuse("contents-mismatch")


def _test_persons_fit(frame: pl.DataFrame) -> bool:
    """Say whether test persons are decoys, in all rows of a pseudonym alike, and named as they may be."""
    planted = frame.filter(pl.col("test_person").is_not_null())
    rows = frame.filter(pl.col("pseudonym").is_in(planted["pseudonym"].unique().implode()))
    return (
        bool(planted["decoy"].all())
        and bool(planted["test_person"].str.contains(TEST_PERSON).all())
        and rows.select("pseudonym", "test_person").n_unique() == planted["pseudonym"].n_unique()
    )
