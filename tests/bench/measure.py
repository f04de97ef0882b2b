"""The measurements. Each runs in a process of its own, so that its threads and its peak memory are its own."""

from __future__ import annotations

import hmac
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from prepare import all_sources, one_source

from linkage import __version__
from linkage.contract import LinkageSpec, load_spec
from linkage.exchange import (
    BatchManifest,
    LinkageKey,
    Party,
    create_linkage_key,
    create_party,
    load_linkage_key,
    load_party,
    new_batch_id,
    new_serial,
    seal_batch,
)
from linkage.steward.fingerprint import fingerprint
from linkage.steward.submit import encode_persons
from linkage.steward.tokens import tokenise

_PEER_RECORDS = 1_000
_PEER_ROWS = 400


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def encode(folder: Path, persons: int, repeats: int) -> dict[str, float]:
    """Encode and seal one agency's batch; beside it, encode a few of its records as plainly as can be."""
    del persons  # all there are
    identifiers, facts = all_sources(folder)
    spec = load_spec("default")
    with tempfile.TemporaryDirectory() as keys:
        create_linkage_key(Path(keys) / "linkage.key", "milwaukee", "bench")
        key = load_linkage_key(Path(keys) / "linkage.key")
        sender, hub, analysis = (
            load_party(create_party(Path(keys), name)[0]) for name in ("sender", "hub", "analysis")
        )
    contacts = facts.drop("local_id").with_columns(
        pseudonym=pl.Series(sender.pseudonyms(facts["local_id"].to_list()), dtype=pl.String)
    )
    print_of = fingerprint(spec, key)

    def batch() -> None:
        encodings = encode_persons(identifiers, spec, key, sender)
        manifest = _manifest(spec, key, print_of, encodings, contacts)
        seal_batch(folder / "bench.batch", manifest, encodings, contacts, sender, hub.public, analysis.public)

    seconds = median_seconds(batch, repeats)
    few = identifiers.head(_PEER_RECORDS)
    peer = median_seconds(lambda: plain_encoder(few, spec, b"k" * 32), repeats)
    names, records = len(identifiers), identifiers["local_id"].n_unique()
    return {
        "records": records,
        "names": names,
        "seconds": seconds,
        "records_per_second": records / seconds,
        "names_per_second": names / seconds,
        "peer_names_per_second": len(few) / peer,
        "ratio": (names / seconds) / (len(few) / peer),
        "peak_memory_gb": _peak_memory(),
    }


def _manifest(
    spec: LinkageSpec, key: LinkageKey, print_of: str, encodings: pl.DataFrame, contacts: pl.DataFrame
) -> BatchManifest:
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
        records=encodings["pseudonym"].n_unique(),
        rows=len(encodings),
        events=len(contacts),
        mode="full",
        agreement_digest="0" * 64,
        deduplicated=True,
        tool_version=__version__,
    )


def plain_encoder(identifiers: pl.DataFrame, spec: LinkageSpec, key: bytes) -> list[list[int]]:
    """Encode as a short script would, without diffusion, padding or sealing: an integer a filter, a loop for all."""
    fill = -math.log1p(-spec.hashing.fill) if spec.hashing.kind == "constant_fill" else None
    filters = []
    for record in identifiers.iter_rows(named=True):
        row = []
        for entry in spec.filters:
            tokens = [
                (token, part.weight)
                for part in entry.parts
                for value in record.get(part.field) or []
                for token in tokenise(value, part.tokens)
            ]
            total = sum(weight for _, weight in tokens)
            bits = 0
            for token, weight in tokens:
                hashes = spec.hashing.hashes * weight if fill is None else fill * spec.bits / total * weight
                for block in range(-(-max(1, round(hashes)) // 16)):
                    digest = hmac.digest(key, block.to_bytes(4, "big") + token.encode(), "sha256")
                    for place in range(min(16, max(1, round(hashes)) - 16 * block)):
                        bits |= 1 << (int.from_bytes(digest[2 * place : 2 * place + 2], "big") % spec.bits)
            row.append(bits)
        filters.append(row)
    return filters


def link(folder: Path, persons: int, repeats: int) -> dict[str, float]:
    """Link the first so many persons of two sources; then compare all their pairs, and some of them plainly."""
    # Imported here: the encoder's own process has no need of a compiler.
    from linkage.hub import link as link_sources
    from linkage.hub.compare import compare
    from linkage.hub.encoded import stack

    spec = load_spec("default")
    encodings = _two_sources(folder, persons, spec)
    # Once on a few records: what is measured is the linkage, not the compiler.
    link_sources({source: frame.head(500) for source, frame in encodings.items()}, spec)
    seconds = median_seconds(lambda: link_sources(encodings, spec), repeats)
    encoded = stack(encodings, spec, dict.fromkeys(encodings, True))
    compared = median_seconds(lambda: compare(encoded), repeats)
    of = encoded.source[encoded.record]
    pairs = math.prod(int(size) for size in np.bincount(of))
    left, right = encoded.words[of == 0][:_PEER_ROWS], encoded.words[of == 1]
    plain = median_seconds(lambda: _plain_pairs(left, right), repeats)
    rate = pairs / compared
    return {
        "records": len(encoded.source) / 2,
        "names": len(of) / 2,
        "seconds": seconds,
        "pairs": pairs,
        "pairs_per_second": rate,
        "peer_pairs_per_second": len(left) * len(right) / plain,
        "ratio": rate / (len(left) * len(right) / plain),
        "peak_memory_gb": _peak_memory(),
    }


def _two_sources(folder: Path, persons: int, spec: LinkageSpec) -> dict[str, pl.DataFrame]:
    with tempfile.TemporaryDirectory() as keys:
        create_linkage_key(Path(keys) / "linkage.key", "milwaukee", "bench")
        key = load_linkage_key(Path(keys) / "linkage.key")
        parties: dict[str, Party] = {
            source: load_party(create_party(Path(keys), source)[0]) for source in ("mpd", "dcf")
        }
    return {
        source: encode_persons(one_source(folder, source, persons), spec, key, party)
        for source, party in parties.items()
    }


def _plain_pairs(left: np.ndarray, right: np.ndarray) -> None:
    for row in left:
        np.bitwise_count(row ^ right).sum(axis=1, dtype=np.int32)


def _peak_memory() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
