"""Parties, frames and one small sealed batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import polars as pl
import pytest

from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.exchange import BatchManifest, Party, create_party, load_party, seal_batch


class Cast(NamedTuple):
    mpd: Party
    dcf: Party
    hub: Party
    analysis: Party


@pytest.fixture(scope="session")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Cast:
    folder = tmp_path_factory.mktemp("keys")
    return Cast(*(load_party(create_party(folder / name, name)[0]) for name in Cast._fields))


def _pseudonym(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def _encodings(records: int = 5, width: int = 8) -> pl.DataFrame:
    """``records`` pseudonyms, the first of which has a second variant; two filters, one with a mask."""
    rows = [(_pseudonym(0), 1), *((_pseudonym(number), 0) for number in reversed(range(records)))]
    bits = [hashlib.sha512(f"{name}{variant}".encode()).digest()[:width] for name, variant in rows]
    return pl.DataFrame(
        {
            "pseudonym": [name for name, _ in rows],
            "variant": pl.Series([variant for _, variant in rows], dtype=pl.UInt8),
            "names": bits,
            "places": bits[::-1],
            "names_mask": pl.Series([3] * len(rows), dtype=pl.UInt16),
        }
    )


def _facts(records: int = 5) -> pl.DataFrame:
    """Two events for the first pseudonym, one for every other."""
    numbers = [0, *range(records)]
    height = len(numbers)
    columns: dict[str, Any] = {name: pl.Series([None] * height, dtype=kind) for name, kind in FACT_SCHEMA.items()}
    columns |= {
        "pseudonym": [_pseudonym(number) for number in numbers],
        "month": ["2014-03"] * height,
        "age": pl.Series([16] * height, dtype=pl.Int16),
        "sex": ["female"] * height,
        "tier": ["confirmed"] * height,
        "history_drug": [None, *["victim"] * (height - 1)],
        "decoy": [False] * height,
    }
    return pl.DataFrame(columns)


def _manifest(**changes: Any) -> BatchManifest:
    content: dict[str, Any] = {
        "project": "milwaukee",
        "epoch": "2026-1",
        "source": "mpd",
        "batch_id": "00112233445566778899aabbccddeeff",
        "serial": 1_795_000_000_000_000,
        "month": "2026-11",
        "spec_name": "default",
        "spec_digest": "1" * 64,
        "rules_version": 1,
        "fingerprint": "2" * 64,
        "mode": "full",
        "agreement_digest": "3" * 64,
        "deduplicated": True,
        "tool_version": "0.1.0",
    }
    return BatchManifest(**(content | changes))


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Frames and a manifest that fit each other."""
    return SimpleNamespace(encodings=_encodings, facts=_facts, manifest=_manifest)


@pytest.fixture(scope="session")
def batch_bytes(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A good batch from mpd, as bytes."""
    path = tmp_path_factory.mktemp("sealed") / "good.batch"
    seal_batch(path, _manifest(), _encodings(), _facts(), cast.mpd, cast.hub.public, cast.analysis.public)
    return path.read_bytes()


@pytest.fixture
def as_file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "inbox" / "some.batch"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return write
