"""The commands of the analysis, on sealed files and a settings file."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from linkage.cli import main
from linkage.exchange import create_party, file_digest, ledger, load_party, seal_batch, seal_person_map


@pytest.fixture(scope="module")
def site(maker: Any, large: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys, agreements, policy, settings, and one run of the hub. Agreements end far in the future."""
    folder = tmp_path_factory.mktemp("site")
    parties = {name: load_party(create_party(folder / "keys", name)[0]) for name in ("hub", "analysis", *maker.lists)}
    batches = []
    for name in maker.lists:
        facts = large.facts[name]
        pseudonyms = facts.get_column("pseudonym").unique().sort()
        encodings = pl.DataFrame({"pseudonym": pseudonyms}).with_columns(
            pl.lit(0, dtype=pl.UInt8).alias("variant"), pl.lit(b"\x01" * 16).alias("all")
        )
        path = folder / f"{name}.batch"
        hub, analysis = parties["hub"].public, parties["analysis"].public
        seal_batch(path, large.manifests[name], encodings, facts, parties[name], hub, analysis)
        batches.append(path)
        agreement = maker.agreement(name, ends="2199-12-31").model_dump(mode="json")
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(agreement))
    seal_person_map(
        folder / "person-map.sealed",
        large.person_map,
        large.quality,
        [file_digest(path) for path in batches],
        parties["hub"],
        parties["analysis"].public,
        project="milwaukee",
        epoch="2026-1",
        month="2026-11",
        run_id="run-1",
    )
    (folder / "release.yaml").write_text(yaml.safe_dump(maker.policy().model_dump(mode="json")))
    senders = "\n".join(f'{name} = "keys/{name}.pub"' for name in maker.lists)
    agreed = "\n".join(f'{name} = "{name}.yaml"' for name in maker.lists)
    (folder / "linkage.toml").write_text(
        'project = "milwaukee"\nepoch = "2026-1"\nprofile = "default"\n[analysis]\n'
        'party_key = "keys/analysis.key"\nhub = "keys/hub.pub"\npolicy = "release.yaml"\n'
        f'state = "state"\nreleases = "releases"\n[analysis.senders]\n{senders}\n[analysis.agreements]\n{agreed}\n'
    )
    return folder


def run(site: Path, command: str, *more: str) -> int:
    batches = [str(path) for path in sorted(site.glob("*.batch"))]
    given = ["--batches", *batches, "--map", str(site / "person-map.sealed"), "--settings", str(site / "linkage.toml")]
    return main(["research", command, *given, *more])


def test_histories_are_written_for_their_owner_alone_and_said_to_be_confidential(
    site: Path, maker: Any, large_release: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "histories.csv"
    assert run(site, "histories", "--out", str(out), "--by", "tier") == 0
    said = capsys.readouterr()
    assert "confidential" in said.err and f"settings: {site / 'linkage.toml'}" in said.err
    assert said.out == ""
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"tier", *maker.lists, "count"}
    assert sum(int(row["count"]) for row in rows) == large_release.document.persons
    assert run(site, "histories", "--out", str(out)) == 2
    capsys.readouterr()
    assert main(["research", "estimate", str(out), "--json"]) == 0
    said = capsys.readouterr()
    lists = ", ".join(name for name in rows[0] if name in maker.lists)
    assert f"columns taken for lists: {lists}; for strata: tier\n" in said.err
    assert json.loads(said.out)["lists"] == lists.split(", ")


def test_release_then_verify(site: Path, large_release: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "release", "--month", "2026-10") == 9
    assert not (site / "releases").exists()
    assert run(site, "release", "--out", str(site / "elsewhere")) == 9
    assert not (site / "elsewhere").exists()
    assert run(site, "release", "--month", "2026-11") == 0
    said = capsys.readouterr()
    folder = site / "releases" / "milwaukee-2026-11"
    assert f"release written: {folder}" in said.err
    assert f"deduplicated persons: {large_release.document.persons:,}" in said.out
    for name in ("overlaps", "tier"):
        path = f"tables/{name}.csv"
        assert (folder / path).read_bytes() == (large_release.folder / path).read_bytes()
    assert [entry.extra["folder"] for entry in ledger.entries(site / "state" / "releases.ledger")] == [folder.name]
    assert run(site, "release") == 9
    folder.rename(site / "elsewhere")
    assert run(site, "release") == 9
    assert not folder.exists()
    (site / "elsewhere").rename(folder)

    capsys.readouterr()
    assert main(["research", "verify", str(folder), "--signer", str(site / "keys" / "analysis.pub"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["ok"] is True
    assert "NOT pinned" not in said.err
    assert main(["research", "verify", str(folder)]) == 0
    assert "NOT pinned" in capsys.readouterr().err
    assert main(["research", "verify", str(folder), "--signer", str(site / "keys" / "hub.pub")]) == 9
    (folder / "report.html").write_text("<p>other")
    assert main(["research", "verify", str(folder), "--json"]) == 9
    said = capsys.readouterr()
    assert json.loads(said.out)["problems"] == ["report.html: changed after it was signed"]
