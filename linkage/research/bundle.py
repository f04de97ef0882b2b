"""The release as a folder: what stands in it, and the one way to write and to read each part.

::

    release/
      release.json          all that is public, for machines (:class:`Document`)
      report.html           the same for people, self-contained
      tables/<name>.csv     one a table: its dimensions, count, status
      manifest.json         digests of all of these, and who signs: canonical JSON and a line end
      manifest.sig          Ed25519 and ML-DSA-65 over the manifest, base64 and a line end

A withheld count is an empty field with status ``suppressed``. Nothing in the folder but the signature, which has
random bits, depends on when or where it was made: the same inputs give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

from linkage.contract.vocabulary import Month, Name
from linkage.errors import ReleaseError
from linkage.exchange import Party
from linkage.exchange.canonical import dump, encode_bytes, pack
from linkage.research.disclosure.released import ProtectedTable

__all__ = [
    "DOCUMENT",
    "DOCUMENT_VERSION",
    "MANIFEST",
    "PURPOSE",
    "REPORT",
    "SIGNATURE",
    "Document",
    "EstimateEntry",
    "GroupEntry",
    "Manifest",
    "MeasuredEntry",
    "MeasuredPair",
    "MethodEntry",
    "Rate",
    "document_bytes",
    "new_folder",
    "protected_tables",
    "seal_folder",
    "signed_message",
    "status_of",
    "table_bytes",
    "table_entry",
    "table_path",
]

DOCUMENT, REPORT, MANIFEST, SIGNATURE = "release.json", "report.html", "manifest.json", "manifest.sig"

PURPOSE = "release"
"""What the signature is for; it is none for anything else."""

_VERSION = 3

DOCUMENT_VERSION: Literal[2] = 2
"""Version of documents that are written. Those of version 1 were made before all named their families."""

_Count = Annotated[int, Field(ge=0)]
_Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Status = Literal["published", "suppressed", "zero"]
Dimension = Literal["sex", "race", "age"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Rate(_Strict):
    """A share with its 95% interval, to two digits."""

    value: Annotated[float, Field(ge=0, le=1)]
    low: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]


class CellEntry(_Strict):
    """One cell: its value in each dimension, and its count or null."""

    values: tuple[str, ...]
    count: _Count | None
    status: Status


class TableEntry(_Strict):
    """One protected table and what its cells mean (:class:`linkage.research.tables.Grid`)."""

    name: Name
    title: str
    dimensions: tuple[str, ...]
    meaning: dict[str, dict[str, dict[str, tuple[str, ...]]]]
    domains: dict[str, tuple[str, ...]]
    links: tuple[tuple[tuple[int, dict[str, tuple[str, ...]]], ...], ...]
    cells: tuple[CellEntry, ...]


class MethodEntry(_Strict):
    """One method's estimate; numbers only where every count that it is made of is published."""

    method: str
    model: str
    n_hat: _Count | None
    lower: _Count | None
    upper: _Count | None
    status: str
    interval: str
    assumption: str


class EstimateEntry(_Strict):
    """The verdict and the methods behind it.

    ``families`` are the methods whose intervals make the range. Which these are hangs on the number of lists alone;
    where there is no range there are none. Documents before version 2 may say nothing of them.
    """

    status: Literal["estimated", "refused"]
    reason: str
    words: str
    remedy: str
    low: _Count | None
    high: _Count | None
    rounded_to: int
    range_rounded_to: int
    families: tuple[str, ...] = ()
    referrals: tuple[tuple[str, str], ...]
    methods: tuple[MethodEntry, ...]

    @model_serializer(mode="wrap")
    def _as_it_was(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if name != "families" or name in self.model_fields_set}


class SourceEntry(_Strict):
    """Where a list comes from and under which agreement.

    ``records_about`` is rounded up, without decoys; there is none where the size of the list is withheld.
    """

    source: Name
    title: str
    legal_basis: str
    authority: str
    mode: str
    floor: int
    starts: str
    ends: str
    refers_to: tuple[str, ...]
    records_about: _Count | None
    deduplicated: bool
    batch_month: Month
    tool_version: str


class PairEntry(_Strict):
    """Expected quality of the links between two sources, or within one."""

    sources: tuple[str, str]
    precision: Rate | None
    recall: Rate | None


class GroupEntry(_Strict):
    """Expected quality of the links of one group, coarsely rounded; groups with few links are absent."""

    dimension: Dimension
    value: str
    precision: Rate
    recall: Rate


class MeasuredPair(_Strict):
    """Recall on test persons between two lists: pairs of records that are one test person, and the share found."""

    sources: tuple[str, str]
    pairs: Annotated[int, Field(ge=1)]
    recall: Rate


class MeasuredEntry(_Strict):
    """What was found of the agreed test persons, who are made up. Precision is over the links that touch one."""

    persons: Annotated[int, Field(ge=1)]
    pairs: Annotated[int, Field(ge=1)]
    recall: Rate
    precision: Rate | None
    by_sources: tuple[MeasuredPair, ...]


_OPTIONAL = ("by_group", "measured", "withheld")


class LinkageEntry(_Strict):
    """The linkage-quality statement's figures. Counts of links are withheld: they are overlaps.

    ``withheld`` says why there is no expected quality: the hub's chains did not agree on what they drew from.
    ``by_group``, ``measured`` and ``withheld`` are not written where there is nothing to say, as in releases before
    there were any.
    """

    profile: str
    spec_digest: str
    rules_version: int
    epoch: str
    records_rounded_to: int
    precision: Rate | None
    recall: Rate | None
    by_sources: tuple[PairEntry, ...]
    by_group: tuple[GroupEntry, ...] = ()
    measured: MeasuredEntry | None = None
    withheld: Literal["", "not-converged"] = ""

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if value or name not in _OPTIONAL}


class Document(_Strict):
    """Everything public in a release. The report is made from this and from nothing else."""

    release: Literal[1, 2]
    project: Name
    title: str
    month: Month
    scope: dict[str, str | int]
    floor: Annotated[int, Field(ge=2)]
    lists: tuple[str, ...]
    contact: str
    tool_version: str
    persons: _Count | None
    estimate: EstimateEntry
    linkage: LinkageEntry
    sources: tuple[SourceEntry, ...]
    tables: tuple[TableEntry, ...]


class FileEntry(_Strict):
    """One file of the folder."""

    path: Annotated[str, StringConstraints(pattern=r"^(release\.json|report\.html|tables/[a-z][a-z0-9_]{0,39}\.csv)$")]
    sha256: _Hex64
    size: Annotated[int, Field(ge=1)]


class _AnySigner(_Strict):
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    key_id: _Hex32
    signing: str
    mldsa65: str


class Signer(_AnySigner):
    """Who signs: a public party key. Compare the key id with what the analysis party says it is."""

    mlkem1024: str
    p384: str


class FormerSigner(_AnySigner):
    """The same in a release of version 2, whose signer had a party key of version 2."""

    mlkem768: str
    x25519: str


class Manifest(_Strict):
    """What is signed."""

    linkage_release: Literal[2, 3]
    project: Name
    month: Month
    scope: dict[str, str | int]
    floor: int
    tool_version: str
    signer: Signer | FormerSigner
    files: tuple[FileEntry, ...]


def status_of(count: int | None) -> Status:
    """Name what a cell is."""
    return "suppressed" if count is None else "zero" if count == 0 else "published"


def table_path(name: str) -> str:
    """Return where a table stands in the folder."""
    return f"tables/{name}.csv"


def table_entry(table: ProtectedTable) -> TableEntry:
    """Write a protected table as an entry of the document."""
    rows = table.frame.select(*table.dimensions, "count").iter_rows()
    cells = [CellEntry(values=tuple(v), count=count, status=status_of(count)) for *v, count in rows]
    return TableEntry.model_validate({**table.structure(), "cells": cells})


def table_bytes(entry: TableEntry) -> bytes:
    """Write a table as CSV (RFC 4180 with LF): dimensions, ``count``, ``status``."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*entry.dimensions, "count", "status"])
    for cell in entry.cells:
        writer.writerow([*cell.values, "" if cell.count is None else cell.count, cell.status])
    return text.getvalue().encode("utf-8")


def protected_tables(document: Document) -> list[ProtectedTable]:
    """Build the protected tables again from a document, to audit them.

    Raises
    ------
    ReleaseError
        ``bad-table`` where an entry is not a table.
    """
    tables = []
    for entry in document.tables:
        if any(len(cell.values) != len(entry.dimensions) for cell in entry.cells):
            raise ReleaseError(f"table {entry.name}: a cell has not one value a dimension", reason="bad-table")
        columns = {
            name: pl.Series([cell.values[i] for cell in entry.cells], dtype=pl.String)
            for i, name in enumerate(entry.dimensions)
        }
        counts = pl.Series([cell.count for cell in entry.cells], dtype=pl.Int64)
        frame = pl.DataFrame({**columns, "count": counts})
        structure = entry.model_dump(mode="json", exclude={"cells"})
        tables.append(ProtectedTable.restore(structure, frame))
    return tables


def document_bytes(document: Document) -> bytes:
    """Write the document: JSON in UTF-8, keys in the order of the model, two spaces, a line end."""
    text = json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def signed_message(manifest: bytes) -> bytes:
    """Return what is signed for the bytes of a manifest file."""
    return pack("linkage release v1", manifest)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``out``; rename it on success, remove it on any failure.

    Raises
    ------
    ReleaseError
        ``exists`` where there is something at ``out``: a release is never overwritten.
    """
    out = Path(out)
    if os.path.lexists(out):
        raise ReleaseError(
            f"{out}: there is something here already",
            reason="exists",
            hint="a release is never overwritten; choose another folder",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(6)}.part")
    temporary.mkdir()
    try:
        yield temporary
        if os.path.lexists(out):
            raise ReleaseError(f"{out}: there is something here already", reason="exists")
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def seal_folder(folder: Path, files: Mapping[str, bytes], document: Document, party: Party) -> None:
    """Write the files into an empty folder, then the manifest of them and its signature."""
    entries: list[dict[str, Any]] = []
    for path, content in sorted(files.items()):
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        _write(target, content)
        entries.append({"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})
    raw = dump(_manifest(document, party, entries)) + b"\n"
    _write(folder / MANIFEST, raw)
    _write(folder / SIGNATURE, encode_bytes(party.sign(PURPOSE, signed_message(raw))).encode() + b"\n")


def _manifest(document: Document, party: Party, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    public = party.public
    signer = {
        "name": public.name,
        "key_id": public.key_id,
        **public.to_text(),
    }
    manifest = Manifest.model_validate(
        {
            "linkage_release": _VERSION,
            "project": document.project,
            "month": document.month,
            "scope": document.scope,
            "floor": document.floor,
            "tool_version": document.tool_version,
            "signer": signer,
            "files": entries,
        }
    )
    return manifest.model_dump(mode="json")


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
