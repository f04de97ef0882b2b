"""``linkage research analyse`` on sealed files: a folder for one account, data on stdout, clear errors."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage import __version__
from linkage.contract import schemas_folder
from linkage.contract.vocabulary import FACT_SCHEMA
from linkage.exchange import BatchManifest, create_party, file_digest, load_party, seal_batch, seal_person_map

LISTS = ("mpd", "dcf", "pohsey", "medical")
HEAD = "confidential: exact counts, not for release"


def _facts(pseudonyms: list[str], people: list[int]) -> pl.DataFrame:
    plain = dict.fromkeys(FACT_SCHEMA)
    rows = [
        plain
        | {
            "pseudonym": pseudonym,
            "month": f"{2013 + person % 4}-05",
            "age": 15 + person % 9,
            "sex": "female",
            "tier": "confirmed",
            "jurisdiction": "City of Milwaukee",
            "decoy": False,
        }
        for pseudonym, person in zip(pseudonyms, people, strict=True)
    ]
    return pl.DataFrame(rows, schema=FACT_SCHEMA)


def _manifest(source: str) -> BatchManifest:
    return BatchManifest(
        project="milwaukee",
        epoch="2026-1",
        source=source,
        batch_id="0" * 32,
        serial=1,
        month="2026-11",
        spec_name="default",
        spec_digest="a" * 64,
        rules_version=1,
        fingerprint="b" * 32,
        mode="full",
        agreement_digest="c" * 64,
        deduplicated=True,
        tool_version=__version__,
    )


def _enclave(folder: Path, people: int, chance: float) -> Path:
    """Keys, settings and one run: people on four independent lists, two draws of who is who."""
    rng = np.random.default_rng(3)
    parties = {name: load_party(create_party(folder / "keys", name)[0]) for name in ("hub", "analysis", *LISTS)}
    hub, analysis = parties["hub"].public, parties["analysis"].public
    mapping: list[tuple[str, str, int]] = []
    batches = []
    for name in LISTS:
        here = np.flatnonzero(rng.random(people) < chance).tolist()
        pseudonyms = sorted(rng.bytes(16).hex() for _ in here)
        mapping += [(name, pseudonym, person) for pseudonym, person in zip(pseudonyms, here, strict=True)]
        encodings = pl.DataFrame({"pseudonym": pseudonyms}).with_columns(
            pl.lit(0, dtype=pl.UInt8).alias("variant"), pl.lit(b"\x01" * 16).alias("all")
        )
        path = folder / f"{name}.batch"
        seal_batch(path, _manifest(name), encodings, _facts(pseudonyms, here), parties[name], hub, analysis)
        batches.append(file_digest(path))
        text = (schemas_folder() / "agreements" / f"{name}.yaml").read_text("utf-8")
        kept = [line for line in text.splitlines() if not line.startswith(("starts:", "ends:", "opening:"))]
        kept += ["opening: hub", "starts: 2020-01-01", "ends: 2999-12-31"]
        (folder / f"{name}.yaml").write_text("\n".join(kept) + "\n", "utf-8")
    schema = {"source": pl.String, "pseudonym": pl.String, "person": pl.UInt32}
    person_map = pl.DataFrame(mapping, schema=schema, orient="row").sort("source", "pseudonym")
    person_map = person_map.with_columns((pl.col("person").rank("dense") - 1).cast(pl.UInt32))
    pair = person_map.with_row_index("row").filter(pl.len().over("person") == 2)
    open_rows = pair.filter(pl.col("person") == pair["person"].min())["row"].to_numpy().astype(np.int64)
    seal_person_map(
        folder / "person-map.sealed",
        person_map,
        {"records": {name: 1 for name in LISTS}},
        batches,
        parties["hub"],
        analysis,
        project="milwaukee",
        epoch="2026-1",
        month="2026-11",
        run_id="run-1",
        draws=(open_rows, np.array([[0, 1], [0, 0]], dtype=np.uint32)),
    )
    shutil.copy2(schemas_folder() / "release.yaml", folder / "release.yaml")
    senders = "".join(f'{name} = "keys/{name}.pub"\n' for name in LISTS)
    agreed = "".join(f'{name} = "{name}.yaml"\n' for name in LISTS)
    (folder / "linkage.toml").write_text(
        'project = "milwaukee"\nepoch = "2026-1"\nprofile = "default"\n[analysis]\n'
        'party_key = "keys/analysis.key"\nhub = "keys/hub.pub"\npolicy = "release.yaml"\n'
        f'state = "state"\nreleases = "releases"\n[analysis.senders]\n{senders}[analysis.agreements]\n{agreed}'
    )
    return folder


@pytest.fixture(scope="module")
def enclave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _enclave(tmp_path_factory.mktemp("enclave"), 500, 0.35)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hardly anybody is on two lists."""
    return _enclave(tmp_path_factory.mktemp("bare"), 40, 0.15)


def analyse(linkage: Callable[..., Any], folder: Path, *more: str | Path) -> Any:
    named = ("--batches", *sorted(folder.glob("*.batch")), "--map", folder / "person-map.sealed")
    return linkage("research", "analyse", *named, "--settings", folder / "linkage.toml", *more)


def test_a_folder_for_one_account_and_the_same_on_stdout(
    linkage: Callable[..., Any], enclave: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people.csv"
    people.write_text("year,population\n" + "".join(f"{year},120000\n" for year in range(2013, 2017)))
    out = tmp_path / "analysis"
    told = analyse(linkage, enclave, "--out", out, "--denominators", people, "--quick", "--json")
    assert told.code == 0, told.err
    assert f"settings: {enclave / 'linkage.toml'}" in told.err and HEAD in told.err
    assert f"analysis written: {out}" in told.err
    assert "note: fewer than 20 partition draws" in told.err
    assert told.json == json.loads((out / "analysis.json").read_text("utf-8"))
    assert told.json["verdict"]["status"] == "estimated"
    assert told.json["per_1000"]["low"] == pytest.approx(told.json["verdict"]["low"] / 120)
    assert told.json["partition_draws"] == {"used": 2, "there": 2}
    assert told.json["referrals"], "the example agreements name a referral"
    assert not {"latent-classes", "thresholding"} & {family["method"] for family in told.json["families"]}
    assert HEAD in (out / "analysis.html").read_text("utf-8")
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert f"{told.json['verdict']['low']:,.0f}" not in told.err
    again = analyse(linkage, enclave, "--out", out, "--quick")
    assert (again.code, "there is something here already" in again.err) == (2, True)


def test_a_refusal_is_a_result(linkage: Callable[..., Any], bare: Path, tmp_path: Path) -> None:
    told = analyse(linkage, bare, "--out", tmp_path / "analysis")
    assert told.code == 0 and told.out == ""
    assert "refused (too-" in told.err and "remedy: " in told.err and "estimated (" not in told.err
    plain = json.loads((tmp_path / "analysis" / "analysis.json").read_text("utf-8"))
    assert plain["verdict"]["low"] is None
    assert {family["on_map"]["n_hat"] for family in plain["families"]} == {None}
    assert "latent-classes" in {family["method"] for family in plain["families"]}


def test_what_cannot_be_done_is_said_before_anything_is_written(
    linkage: Callable[..., Any], enclave: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("year,people\n2013,5\n")
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("year,race,population\n2013,white,5\n2013,martian,5\n")
    out = tmp_path / "analysis"
    cases = {
        "row 3, column race: not one of black, white,": ("--out", out, "--denominators", foreign),
        "among the releases": ("--out", enclave / "releases" / "analysis"),
        "there is no `year` or `population`": ("--out", out, "--denominators", wrong),
        "no such file": ("--out", out, "--denominators", tmp_path / "gone.csv"),
        "at least 100 resamples": ("--out", out, "--resamples", "10"),
        "a number from 100 on": ("--out", out, "--resamples", "99"),
        "at least two draws": ("--out", out, "--draws", "1"),
    }
    for words, more in cases.items():
        told = analyse(linkage, enclave, *more)
        assert told.code != 0 and words in told.err, (words, told.err)
    one = sorted(enclave.glob("*.batch"))[:1]
    named = ("--map", enclave / "person-map.sealed", "--settings", enclave / "linkage.toml")
    told = linkage("research", "analyse", "--batches", *one, *named, "--out", out)
    assert told.code != 0 and "made of other batches" in told.err
    assert not out.exists() and not (enclave / "releases").exists()
