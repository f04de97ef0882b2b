"""Batches and person map are opened only if they are each other's, and signed by whom they should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.errors import ReleaseError, SealError
from linkage.exchange import (
    BatchManifest,
    Party,
    create_party,
    file_digest,
    load_party,
    new_batch_id,
    new_serial,
    seal_batch,
    seal_person_map,
)
from linkage.research.inputs import open_inputs


@dataclass
class Site:
    """Two agencies, a hub and an analysis, and what one month of them left in a folder."""

    folder: Path
    parties: dict[str, Party]
    batches: list[Path]
    person_map: Path

    def open(self, **changes):  # type: ignore[no-untyped-def]
        plain = {
            "batches": self.batches,
            "person_map": self.person_map,
            "party": self.parties["analysis"],
            "senders": {name: self.parties[name].public for name in ("mpd", "dcf")},
            "hub": self.parties["hub"].public,
        }
        return open_inputs(**(plain | changes))


def batch(site_folder: Path, parties: dict[str, Party], source: str, name: str, **changes: str) -> Path:
    pseudonyms = [f"{i:031x}{'ab'[source == 'dcf']}" for i in range(3)]
    encodings = pl.DataFrame(
        {"pseudonym": pseudonyms, "variant": [0] * 3, "all": [b"\x01" * 16] * 3},
        schema={"pseudonym": pl.String, "variant": pl.UInt8, "all": pl.Binary},
    )
    rows = [{"pseudonym": p, "month": "2014-05", "decoy": False} for p in pseudonyms]
    facts = pl.DataFrame(rows, schema=FACT_SCHEMA)
    plain = {
        "project": "milwaukee",
        "epoch": "2026-1",
        "source": source,
        "batch_id": new_batch_id(),
        "serial": new_serial(),
        "month": "2026-11",
        "spec_name": "default",
        "spec_digest": "a" * 64,
        "rules_version": 1,
        "fingerprint": "b" * 32,
        "mode": "full",
        "agreement_digest": "c" * 64,
        "deduplicated": True,
        "tool_version": "0.1.0",
    }
    path = site_folder / name
    manifest = BatchManifest.model_validate(plain | changes)
    seal_batch(path, manifest, encodings, facts, parties[source], parties["hub"].public, parties["analysis"].public)
    return path


def seal_map(path: Path, parties: dict[str, Party], batches: list[Path], signer: str = "hub") -> Path:
    frame = pl.DataFrame(
        {"source": ["mpd", "dcf"], "pseudonym": ["0" * 32, "1" * 32], "person": [0, 0]},
        schema={"source": pl.String, "pseudonym": pl.String, "person": pl.UInt32},
    )
    seal_person_map(
        path,
        frame,
        {"links": 1},
        [file_digest(batch) for batch in batches],
        parties[signer],
        parties["analysis"].public,
        project="milwaukee",
        epoch="2026-1",
        month="2026-11",
        run_id="run-1",
    )
    return path


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    folder = tmp_path_factory.mktemp("parties")
    return {name: load_party(create_party(folder / name, name)[0]) for name in ("mpd", "dcf", "hub", "analysis")}


@pytest.fixture
def site(parties: dict[str, Party], tmp_path: Path) -> Site:
    batches = [batch(tmp_path, parties, name, f"{name}.batch") for name in ("mpd", "dcf")]
    return Site(tmp_path, parties, batches, seal_map(tmp_path / "map", parties, batches))


def test_facts_map_quality_and_manifests_are_opened(site: Site) -> None:
    inputs = site.open()
    assert set(inputs.facts) == set(inputs.manifests) == {"mpd", "dcf"}
    assert inputs.facts["mpd"].height == 3
    assert inputs.person_map.height == 2
    assert inputs.quality == {"links": 1}
    assert inputs.map_manifest.month == "2026-11"


def test_the_order_of_the_batches_does_not_matter(site: Site) -> None:
    assert set(site.open(batches=site.batches[::-1]).facts) == {"mpd", "dcf"}


@pytest.mark.parametrize("given", [0, 1])
def test_a_batch_too_few_is_refused(site: Site, given: int) -> None:
    with pytest.raises(ReleaseError) as caught:
        site.open(batches=[site.batches[given]])
    assert caught.value.reason == "other-batches"


def test_a_batch_that_the_map_was_not_made_of_is_refused(site: Site) -> None:
    other = batch(site.folder, site.parties, "dcf", "other.batch")
    with pytest.raises(ReleaseError) as caught:
        site.open(batches=[site.batches[0], other])
    assert caught.value.reason == "other-batches"
    with pytest.raises(ReleaseError):
        site.open(batches=[*site.batches, other])
    with pytest.raises(ReleaseError):
        site.open(batches=[*site.batches, site.batches[0]])


def test_two_batches_of_a_source_are_refused_even_if_the_hub_took_both(site: Site) -> None:
    batches = [*site.batches, batch(site.folder, site.parties, "dcf", "second.batch")]
    person_map = seal_map(site.folder / "map-3", site.parties, batches)
    with pytest.raises(ReleaseError) as caught:
        site.open(batches=batches, person_map=person_map)
    assert caught.value.reason == "two-batches"


def test_another_epoch_is_refused(site: Site) -> None:
    batches = [site.batches[0], batch(site.folder, site.parties, "dcf", "epoch.batch", epoch="2026-2")]
    person_map = seal_map(site.folder / "map-4", site.parties, batches)
    with pytest.raises(ReleaseError) as caught:
        site.open(batches=batches, person_map=person_map)
    assert caught.value.reason == "other-project"


def test_signers_that_are_not_trusted_are_refused(site: Site) -> None:
    with pytest.raises(SealError) as caught:
        site.open(senders={"mpd": site.parties["mpd"].public})
    assert caught.value.reason == "untrusted-sender"
    swapped = {"mpd": site.parties["dcf"].public, "dcf": site.parties["mpd"].public}
    with pytest.raises(SealError):
        site.open(senders=swapped)
    with pytest.raises(SealError):
        site.open(hub=site.parties["mpd"].public)


def test_only_the_analysis_can_open(site: Site) -> None:
    with pytest.raises(SealError) as caught:
        site.open(party=site.parties["hub"])
    assert caught.value.reason == "not-for-us"


def test_a_damaged_or_absent_batch_is_refused(site: Site) -> None:
    content = site.batches[0].read_bytes()
    site.batches[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ReleaseError):
        site.open()
    person_map = seal_map(site.folder / "map-5", site.parties, site.batches)
    with pytest.raises(SealError) as caught:
        site.open(person_map=person_map)
    assert caught.value.reason == "damaged"
    site.batches[0].unlink()
    with pytest.raises(SealError):
        site.open()
