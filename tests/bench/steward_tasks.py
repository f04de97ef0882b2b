"""What is measured of the agency's side: encoding on labelled sets, and a whole batch encoded and sealed."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import polars as pl
from prepare import all_sources

from linkage import __version__
from linkage.contract import LinkageSpec, load_spec
from linkage.exchange import (
    BatchManifest,
    LinkageKey,
    create_linkage_key,
    create_party,
    load_linkage_key,
    load_party,
    new_batch_id,
    new_serial,
    seal_batch,
)
from linkage.steward.encode import encode
from linkage.steward.fingerprint import fingerprint
from linkage.steward.submit import encode_persons

_SEED = 1
_PARTIES = ("sender*", "hub*", "analysis*")


class _Key:
    """The key of :class:`linkage.lab.accuracy.TestKey`, without the engine that its module loads."""

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        return hashlib.sha256(f"test key {_SEED}\0{spec_digest}\0{purpose}\0{field}".encode()).digest()


def encode_set(file: str, spec: str) -> dict[str, Any]:
    """Encode a file of records in standard form; ``cpu_seconds`` cover the encoding alone, data in memory."""
    chosen, frame = load_spec(spec), pl.read_parquet(file)
    labels = frame["id"].cast(pl.String).to_list()
    wall, cpu = time.perf_counter(), time.process_time()
    encode(frame, chosen, _Key(), labels=labels, padding_key=bytes(32))
    cpu_seconds = time.process_time() - cpu
    found = {"records": len(frame), "filters": len(chosen.filters), "seconds": time.perf_counter() - wall}
    return {**found, "cpu_seconds": cpu_seconds, "rate": len(frame) / cpu_seconds}


def encode_sources(file: str, spec: str, out: str) -> dict[str, Any]:
    """Encode the sources of a file into ``<out>-<source>.parquet``, and write beside them who is who."""
    chosen, frame = load_spec(spec), pl.read_parquet(file)
    hidden = [hashlib.sha256(f"{_SEED} {number}".encode()).hexdigest()[:32] for number in frame["id"].to_list()]
    frame = frame.with_columns(pseudonym=pl.Series(hidden)).sort("pseudonym")
    started, records = time.perf_counter(), {}
    for (source,), part in frame.group_by("source", maintain_order=True):
        filters = encode(part, chosen, _Key(), labels=part["pseudonym"].to_list(), padding_key=bytes(32))
        encodings = pl.DataFrame([part["pseudonym"], pl.Series("variant", [0], pl.UInt8).new_from_index(0, len(part))])
        encodings.hstack(filters).write_parquet(f"{out}-{source}.parquet", compression="uncompressed")
        records[str(source)] = len(part)
    seconds = time.perf_counter() - started
    frame.select("pseudonym", pl.col("entity").cast(pl.String)).write_parquet(f"{out}.truth.parquet")
    return {"records": records, "seconds": seconds}


def seal(folder: str) -> dict[str, Any]:
    """Encode and seal all sources of a population as one agency's batch."""
    where, spec = Path(folder), load_spec("default")
    identifiers, facts = all_sources(where)
    create_linkage_key(where / "linkage.key", "milwaukee", "bench")
    key = load_linkage_key(where / "linkage.key")
    sender, hub, analysis = (load_party(create_party(where, name)[0]) for name in ("sender", "hub", "analysis"))
    contacts = facts.drop("local_id").with_columns(
        pseudonym=pl.Series(sender.pseudonyms(facts["local_id"].to_list()), dtype=pl.String)
    )
    print_of = fingerprint(spec, key)
    cpu, started = time.process_time(), time.perf_counter()
    encodings = encode_persons(identifiers, spec, key, sender)
    manifest = _manifest(spec, key, print_of)
    seal_batch(where / "bench.batch", manifest, encodings, contacts, sender, hub.public, analysis.public)
    cpu_seconds, seconds = time.process_time() - cpu, time.perf_counter() - started
    for made in (
        where / "bench.batch",
        where / "linkage.key",
        *(found for name in _PARTIES for found in where.glob(name)),
    ):
        made.unlink()
    names, records = len(identifiers), identifiers["local_id"].n_unique()
    found = {"records": records, "names": names, "seconds": seconds, "cpu_seconds": cpu_seconds}
    return {**found, "rate": names / cpu_seconds}


def _manifest(spec: LinkageSpec, key: LinkageKey, print_of: str) -> BatchManifest:
    return BatchManifest(
        project=key.project,
        epoch=key.epoch,
        source="mpd",
        batch_id=new_batch_id(),
        serial=new_serial(),
        month="2016-12",
        spec_name=spec.name,
        spec_digest=spec.digest,
        rules_version=spec.rules,
        fingerprint=print_of,
        mode="full",
        agreement_digest="0" * 64,
        deduplicated=True,
        tool_version=__version__,
    )
