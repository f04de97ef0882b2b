"""One target a parser that reads a file from another party, each with seeds made from real files.

A target takes bytes and says whether they were accepted. Refusing is done by the package's own errors and by nothing
else: any other exception, a crash of the process, or more memory than the bound is a find.
"""

from __future__ import annotations

import json
import tempfile
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml
from pydantic import BaseModel, RootModel, ValidationError

from linkage.contract import load_agreement, load_policy, load_settings, load_source, load_spec, schemas_folder
from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.contract.files import _load as load_as
from linkage.contract.files import invalid
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import LinkageError, ReleaseError
from linkage.exchange import (
    BatchManifest,
    Party,
    create_party,
    envelope,
    inspect_receipt,
    ledger,
    load_party,
    load_public,
    read_manifest,
    read_person_map_manifest,
    read_receipt,
    write_receipt,
)
from linkage.exchange import batch as batch_module
from linkage.exchange import person_map as map_module
from linkage.exchange.canonical import dump, load_loose
from linkage.exchange.draws import draws_from_bytes, draws_to_bytes
from linkage.exchange.envelope import Compartment, seal
from linkage.exchange.frames import from_parquet, to_parquet
from linkage.exchange.manifest import parse_manifest
from linkage.exchange.padding import Unpadded, padded
from linkage.exchange.suites import NEWEST, SUITES
from linkage.research import bundle
from linkage.research.tables import TOTAL
from linkage.research.verify import read_release
from tests.fuzz import ceremonies, openings
from tests.fuzz.trees import change_tree

__all__ = ["TARGETS", "Target", "accepts"]

MEMORY = Path("/dev/shm")  # a folder of its own in it, gone with the process: a disk is ten times slower
VECTORS = Path(__file__).resolve().parents[1] / "vectors"


class Workshop(NamedTuple):
    """A folder of this process, and two parties whose keys are made for it."""

    folder: Path
    kept: tempfile.TemporaryDirectory[str]
    mpd: Party
    hub: Party


@dataclass(frozen=True)
class Target:
    """A parser: ``read`` refuses by a LinkageError, ``seeds`` are files that it accepts.

    ``longest`` is how long an input gets; ``change`` makes a new input of one, where bytes changed at random would
    hardly ever get past the first step (content, longest, seed).
    """

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    longest: int = 16_384
    change: Callable[[bytes, int, int], bytes] | None = None


def accepts(target: Target, content: bytes) -> bool:
    """Have a parser read bytes; whether it took them."""
    try:
        target.read(content)
    except LinkageError:
        return False
    return True


@cache
def workshop() -> Workshop:
    kept = tempfile.TemporaryDirectory(prefix="linkage-fuzz-", dir=MEMORY if MEMORY.is_dir() else None)
    folder = Path(kept.name)
    mpd, hub = (load_party(create_party(folder / "keys", name)[0]) for name in ("mpd", "hub"))
    return Workshop(folder, kept, mpd, hub)


def in_file(name: str, content: bytes) -> Path:
    path = workshop().folder / name
    path.write_bytes(content)
    return path


def vectors(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return content


# --- what a batch and a person map hold


@cache
def batch_manifest() -> BatchManifest:
    return BatchManifest.model_validate(vectors("batch-v4.json")["header"])


@cache
def encodings() -> bytes:
    frame = pl.DataFrame(vectors("batch-v4.json")["encodings"])
    filters = [pl.col(name).str.decode("hex") for name in ("names", "places")]
    frame = frame.with_columns(pl.col("variant").cast(pl.UInt8), pl.col("names_mask").cast(pl.UInt16), *filters)
    counts = frame["pseudonym"].n_unique(), frame.height
    return b"".join(count.to_bytes(8, "big") for count in counts) + to_parquet(frame)


@cache
def facts() -> bytes:
    frame = pl.DataFrame(vectors("batch-v4.json")["facts"], schema=FACT_SCHEMA)
    return frame.height.to_bytes(8, "big") + to_parquet(frame)


@cache
def persons() -> pl.DataFrame:
    return pl.DataFrame(vectors("person-map-v4.json")["rows"], schema=map_module.PERSON_MAP_SCHEMA)


@cache
def draws() -> pl.DataFrame:
    rows = vectors("person-map-v4.json")["draws"]
    return pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.UInt32()))


@cache
def map_manifest() -> map_module.PersonMapManifest:
    path = in_file("map", b64decode(vectors("person-map-v4.json")["file"]))
    return read_person_map_manifest(path)


def read_encodings(content: bytes) -> None:
    records, content = batch_module._counted(content)
    rows, content = batch_module._counted(content)
    batch_module._check_encodings(from_parquet(content, rows), records, rows)


def read_facts(content: bytes) -> None:
    events, content = batch_module._counted(content)
    frame = from_parquet(content, events)
    batch_module._check_facts(frame, batch_manifest(), 4)


def read_persons(content: bytes) -> None:
    map_module._check(from_parquet(content, map_manifest().records), map_manifest())


def read_draws(content: bytes) -> None:
    draws_from_bytes(content, persons(), draws().width - 1)


def read_quality(content: bytes) -> None:
    try:
        load_loose(content)
    except ValueError:
        raise LinkageError("refused", reason="contents-mismatch") from None


# --- the sealed file and its manifest


@cache
def sealed_now() -> bytes:
    """A batch of the newest version, its contents as short as can be."""
    path, parties = workshop().folder / "sealed", workshop()
    both = [Compartment("encodings", parties.hub.public, b"e"), Compartment("facts", parties.mpd.public, b"f")]
    seal(path, "batch", batch_manifest().model_dump(), both, parties.mpd)
    return path.read_bytes()


def read_envelope(content: bytes) -> None:
    path, parties = in_file("batch", content), workshop()
    envelope.inspect(path)
    for kind in (read_manifest, read_person_map_manifest):
        accepts(Target(lambda _, kind=kind: kind(path), list), b"")
    if envelope.inspect(path)["sender"] == parties.mpd.key_id:
        envelope.read_compartments(path, ("encodings",), parties.hub, parties.mpd.public)


def envelope_seeds() -> list[bytes]:
    names = ("batch-v1.json", "batch-v2.json", "batch-v3.json", "person-map-v2.json")
    old = [b64decode(vectors(name)["file"]) for name in names]
    return [sealed_now(), *old]


def read_padding(content: bytes) -> None:
    found = bytearray()
    reader = Unpadded(found.extend)
    reader.update(content)
    reader.finish()


def padding_seeds() -> list[bytes]:
    return [b"".join(padded(iter([content]), len(content))) for content in (b"", b"e" * 3000, bytes(5000))]


def read_batch_manifest(content: bytes) -> None:
    found = parse_manifest(content, SUITES[NEWEST])
    batch_module._manifest(found.model_dump() | {"kind": "batch", "version": 4})


def read_map_manifest(content: bytes) -> None:
    found = parse_manifest(content, SUITES[NEWEST])
    map_module._manifest(found.model_dump() | {"kind": "person-map", "version": 4})


def manifest_of(name: str) -> bytes:
    content = b64decode(vectors(name)["file"])
    start = content.index(b"\n") + 1
    length = int.from_bytes(content[start : start + 4], "big")
    return content[start + 4 : start + 4 + length]


# --- receipts, keys, the ledger


def receipt_seeds() -> list[bytes]:
    path, parties = workshop().folder / "written", workshop()
    found = []
    for status, reason in (("accepted", None), ("quarantined", "bad-signature")):
        write_receipt(
            path,
            batch_digest="a" * 64,
            source="mpd",
            status=status,
            reason=reason,
            anchor=ledger.Anchor(7, "b" * 64),
            sender=parties.hub,
        )
        found.append(path.read_bytes())
    return found


def read_a_receipt(content: bytes) -> None:
    path = in_file("receipt", content)
    if inspect_receipt(path).sender == workshop().hub.key_id:
        read_receipt(path, workshop().hub.public)


def public_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted((workshop().folder / "keys").glob("*.pub"))]


def ledger_seeds() -> list[bytes]:
    path = workshop().folder / "book"
    path.unlink(missing_ok=True)
    ledger.append(path, actor="hub", action="accept", object_digest="a" * 64, extra={"records": 340, "source": "mpd"})
    ledger.append(path, actor="hub", action="link", extra={"dry": False, "reason": None})
    return [path.read_bytes(), b""]


# --- contract files


def shipped(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(schemas_folder().glob(pattern))]


def as_trees(pattern: str) -> list[bytes]:
    """What shipped files say, as JSON."""
    return [json.dumps(yaml.safe_load(content), default=str).encode() for content in shipped(pattern)]


def rules_target(model: type[BaseModel], seeds: Callable[[], list[bytes]]) -> Target:
    """The rules of a contract file without YAML, whose parser takes nearly all of the time."""

    def read(content: bytes) -> None:
        try:
            tree = json.loads(content)
        except (ValueError, RecursionError):
            raise LinkageError("refused") from None
        try:
            model.model_validate(tree)
        except ValidationError as error:
            raise invalid(Path("file"), error) from None

    return Target(read, seeds, change=change_tree)


def read_yaml(content: bytes) -> None:
    """What YAML does before any rule: load with our loader, whatever it says."""
    load_as(in_file("file.yaml", content), AnyContent)


class AnyContent(RootModel[Any]):
    """Takes everything."""


YAML = [
    b"a: 1\nb: [yes, no, {c: 2}]\n", b"- &x {a: 1}\n- *x\n- b: *x\n", b"a: |\n  text\nb: >-\n  more\n",
    b"2026-01-01: 2026-01-01T10:00:00Z\n", b"!!str 1: !!int '2'\n? c\n: b\n", b"--- # c\n\"\\u00e9\": 0x1F\n...\n",
    b"{a: .inf, b: 1_000, c: 190:20:30, d: ~, e: 0o7}\n", b"%YAML 1.1\n---\n!!binary YWI=\n",
]  # fmt: skip


SETTINGS = b"""project = "milwaukee"
epoch = "2026-1"
profile = "default"
[steward]
source = "mpd"
agreement = "mpd.yaml"
linkage_key = "../linkage.key"
party_key = "mpd.key"
hub = "hub.pub"
analysis = "analysis.pub"
outbox = "out"
[hub]
party_key = "hub.key"
analysis = "analysis.pub"
inbox = "in"
state = "state"
cost = 2.5
[hub.senders]
mpd = "mpd.pub"
[hub.agreements]
mpd = "mpd.yaml"
[hub.cluster]
scheduler = "tcp://127.0.0.1:8786"
shared_folder = "shared"
[analysis]
party_key = "analysis.key"
hub = "hub.pub"
policy = "release.yaml"
state = "analysis"
releases = "releases"
[analysis.senders]
mpd = "mpd.pub"
[analysis.agreements]
mpd = "mpd.yaml"
"""


# --- the release

RELEASE: dict[str, Any] = {
    "release": 1,
    "project": "milwaukee",
    "title": "Persons",
    "month": "2026-11",
    "scope": {"first_month": "2013-01", "last_month": "2016-12", "max_age": 24, "jurisdiction": "milwaukee"},
    "floor": 11,
    "lists": ["mpd", "dcf"],
    "contact": "-",
    "tool_version": "0.1.0",
    "persons": 340,
    "estimate": {
        "status": "estimated", "reason": "", "words": "-", "remedy": "-", "low": 400, "high": 500, "rounded_to": 10,
        "range_rounded_to": 100, "families": ["chao"], "referrals": [["dcf", "mpd"]],
        "methods": [{"method": "chapman", "model": "-", "n_hat": 450, "lower": 400, "upper": None, "status": "ok",
                     "interval": "-", "assumption": "-"}],
    },
    "linkage": {
        "profile": "default", "spec_digest": "1" * 64, "rules_version": 1, "epoch": "2026-1", "records_rounded_to": 10,
        "precision": {"value": 0.99, "low": 0.98, "high": 1.0}, "recall": None,
        "by_sources": [{"sources": ["mpd", "dcf"], "precision": None, "recall": None}],
    },
    "sources": [
        {"source": "mpd", "title": "-", "legal_basis": "-", "authority": "-", "mode": "full", "floor": 11,
         "starts": "2013-01-01", "ends": "2030-12-31", "refers_to": ["dcf"], "records_about": 200,
         "deduplicated": True, "batch_month": "2026-11", "tool_version": "0.1.0"},
    ],
    "tables": [
        {"name": "sex", "title": "-", "dimensions": ["sex"],
         "meaning": {"sex": {"female": {"sex": ["female"]}, TOTAL: {"sex": ["female", "male"]}}},
         "domains": {"sex": ["female", "male"]}, "links": [[[1, {"sex": ["female"]}]]],
         "cells": [{"values": ["female"], "count": None, "status": "suppressed"},
                   {"values": [TOTAL], "count": 340, "status": "published"}]},
    ],
}  # fmt: skip
"""A release with one small table; what a verifier reads before it has checked anything but digests."""


def read_a_release(content: bytes) -> None:
    folder = workshop().folder / "release"
    folder.mkdir(exist_ok=True)
    (folder / bundle.DOCUMENT).write_bytes(content)
    document = read_release(folder)
    bundle.protected_tables(document)
    for entry in document.tables:
        bundle.table_bytes(entry)
    try:
        bundle.document_bytes(document)
    except UnicodeEncodeError:
        raise ReleaseError("refused", reason="not-verified") from None


def text_target(read: Callable[[Path], object], suffix: str, seeds: Callable[[], list[bytes]]) -> Target:
    return Target(lambda content: read(in_file(f"file{suffix}", content)), seeds)


def opening_target(name: str) -> Target:
    return Target(
        lambda content: openings.reader(name, workshop().folder)(in_file(name, content)),
        lambda: [openings.seed(name, workshop().folder)],
    )


def ceremony_target(name: str) -> Target:
    read = ceremonies.READERS[name]
    return Target(lambda content: read(in_file(name, content)), lambda: ceremonies.files(workshop().folder)[name])


TARGETS: dict[str, Target] = {
    "agreement": text_target(load_agreement, ".yaml", lambda: shipped("agreements/*.yaml")),
    "agreement-rules": rules_target(Agreement, lambda: as_trees("agreements/*.yaml")),
    "batch-manifest": Target(read_batch_manifest, lambda: [manifest_of("batch-v4.json")]),
    "draws": Target(read_draws, lambda: [draws_to_bytes(draws())]),
    "encodings": Target(read_encodings, lambda: [encodings()]),
    "envelope": Target(read_envelope, envelope_seeds),
    "facts": Target(read_facts, lambda: [facts()]),
    "ledger": Target(lambda content: ledger.verify(in_file("ledger", content)), ledger_seeds),
    "map-manifest": Target(read_map_manifest, lambda: [manifest_of("person-map-v4.json")]),
    "padding": Target(read_padding, padding_seeds),
    "person-map": Target(read_persons, lambda: [to_parquet(persons())]),
    "policy": text_target(load_policy, ".yaml", lambda: shipped("release.yaml")),
    "policy-rules": rules_target(ReleasePolicy, lambda: as_trees("release.yaml")),
    "public-key": text_target(load_public, ".pub", public_seeds),
    "quality": Target(read_quality, lambda: [dump({"links": 1}), b'{"precision":{"value":0.993}}']),
    "receipt": Target(read_a_receipt, receipt_seeds),
    "release": Target(read_a_release, lambda: [json.dumps(RELEASE).encode()]),
    "settings": text_target(load_settings, ".toml", lambda: [SETTINGS]),
    "source": text_target(load_source, ".yaml", lambda: shipped("sources/*.yaml")),
    "source-rules": rules_target(SourceSchema, lambda: as_trees("sources/*.yaml")),
    "spec": text_target(load_spec, ".yaml", lambda: shipped("linkage/*.yaml")),
    "spec-rules": rules_target(LinkageSpec, lambda: as_trees("linkage/*.yaml")),
    "yaml": Target(read_yaml, lambda: YAML, longest=128),
    **{name: ceremony_target(name) for name in ceremonies.READERS},
    **{name: opening_target(name) for name in openings.NAMES},
}
