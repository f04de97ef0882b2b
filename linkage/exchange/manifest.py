"""The grammar of a sealed file's manifest: what may stand in it, and nothing else. No keys, no decisions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from linkage.exchange.canonical import CanonicalError, dump, load, load_bytes, pack
from linkage.exchange.reasons import refuse
from linkage.exchange.suites import NEWEST, SUITES, Suite

__all__ = [
    "HEX32",
    "LARGEST_MANIFEST",
    "Entry",
    "Manifest",
    "Strict",
    "compartment_info",
    "dump_manifest",
    "parse_manifest",
]

HEX32 = r"^[0-9a-f]{32}$"
"""A pseudonym, a file id, a key id: 128 bits."""

LARGEST_MANIFEST = 1 << 20
"""Bytes."""

_Id = Annotated[str, StringConstraints(pattern=HEX32)]


class Strict(BaseModel):
    """A model that takes exactly its fields, in exactly their types, and quotes no value when it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Entry(Strict):
    """One compartment: for whom, under which wrapped key, how long, with which digest."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,31}$")]
    recipient: _Id
    suite: str
    key: str
    size: Annotated[int, Field(ge=1, le=1 << 40)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Strict):
    """The manifest of any sealed file; what ``header`` may hold depends on the kind."""

    id: _Id
    sender: _Id
    header: dict[str, Any]
    compartments: Annotated[list[Entry], Field(min_length=1, max_length=8)]


def compartment_info(kind: str, file_id: str, compartment: str, sender: str, recipient: str) -> bytes:
    """Say what a content key is for; HPKE and Cobblestone both bind it."""
    return pack("linkage compartment v1", kind, file_id, compartment, sender, recipient)


def dump_manifest(file_id: str, sender: str, header: dict[str, Any], entries: list[dict[str, Any]]) -> bytes:
    """Write a manifest.

    Raises
    ------
    SealError
        ``malformed`` if a reader would refuse it.
    """
    try:
        raw = dump({"id": file_id, "sender": sender, "header": header, "compartments": entries})
    except CanonicalError:
        raise refuse("malformed") from None
    parse_manifest(raw, SUITES[NEWEST])
    return raw


def parse_manifest(raw: bytes, suite: Suite) -> Manifest:
    """Read a manifest, in which this suite alone may be named.

    Raises
    ------
    SealError
        ``malformed``.
    """
    if len(raw) > LARGEST_MANIFEST:
        raise refuse("malformed")
    try:
        manifest = Manifest.model_validate(load(raw))
        for entry in manifest.compartments:
            load_bytes(entry.key, suite.wrapped)
    except (CanonicalError, ValidationError):
        raise refuse("malformed") from None
    if {entry.suite for entry in manifest.compartments} != {suite.name}:
        raise refuse("malformed")
    if len({entry.name for entry in manifest.compartments}) < len(manifest.compartments):
        raise refuse("malformed")
    return manifest
