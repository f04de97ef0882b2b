"""``linkage lab accuracy`` as its user meets it: tables, JSON, and what is told when the file does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

Run = Callable[..., Any]

GIVEN = ("ANNA", "BRUNO", "CARLA", "DAVID", "ELENA", "FELIX", "GRETA", "HENRY", "IRENE", "JONAS")
FAMILY = ("ABBOTT", "BECKER", "CHAVEZ", "DUNCAN", "ERIKSEN", "FISCHER", "GARCIA", "HUDSON", "IBSEN", "JENKINS")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a spec, and records of 200 people in two files, a tenth of them with another given name in the second."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(1)
    people = [
        {
            "person": number,
            "first": str(rng.choice(GIVEN)) + "ABCDEFGH"[number % 8],
            "last": str(rng.choice(FAMILY)) + "KLMNOPQR"[number // 8 % 8],
            "born": f"{rng.integers(1980, 2005)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}",
            "zip": str(rng.integers(53000, 54000)),
        }
        for number in range(300)
    ]
    again = [dict(person) | ({"first": str(rng.choice(GIVEN))} if rng.random() < 0.1 else {}) for person in people]
    rows = [person | {"file": "a"} for person in people[:250]] + [person | {"file": "b"} for person in again[50:]]
    pl.DataFrame(rows).write_csv(root / "records.csv")
    spec = {
        "linkage_spec": 1, "name": "mine", "title": "Mine", "rules": 1, "bits": 1024,
        "hashing": {"kind": "constant_fill", "fill": 0.42}, "diffusion": {"bits": 1024, "inputs": 2},
        "presence_masks": False, "variants": 1, "visible_edges": 1.0,
        "fields": {
            "given": {"kind": "name", "column": "first"}, "family": {"kind": "name", "column": "last"},
            "born": {"kind": "date"}, "zip": {"kind": "digits"},
        },
        "filters": [
            {"name": "names", "parts": [
                {"field": "given", "tokens": "bigrams", "weight": 1},
                {"field": "family", "tokens": "bigrams", "weight": 1},
            ]},
            {"name": "rest", "parts": [
                {"field": "born", "tokens": "date", "weight": 1}, {"field": "zip", "tokens": "positional", "weight": 1},
            ]},
        ],
    }  # fmt: skip
    (root / "spec.yaml").write_text(yaml.safe_dump(spec))
    return root


def measure(linkage: Run, folder: Path, *words: str | Path, records: str | Path = "records.csv") -> Any:
    named = ("--spec", folder / "spec.yaml", "--entity-column", "person")
    return linkage("lab", "accuracy", folder / records, *named, *words)


def test_tables_on_stdout_and_nothing_else(linkage: Run, folder: Path) -> None:
    told = measure(linkage, folder, "--source-column", "file")
    assert told.code == 0, told.err
    assert told.err == ""
    for word in ("500 records, spec mine", "expected, without the truth", "true pairs", "calibration error"):
        assert word in told.out
    assert "a - b" not in told.out, "one pair of sources is what the first table says already"


def test_json_of_the_engine_and_of_ecm(linkage: Run, folder: Path) -> None:
    ours = measure(linkage, folder, "--source-column", "file", "--json").json
    assert (ours["records"], ours["sources"], ours["pairs_true"], ours["classifier"]) == (500, 2, 200, "linkage")
    assert ours["chosen"]["f1"] > 0.9
    assert {"seconds", "peak_memory_mb", "calibration_error", "expected_matches_error", "best"} <= set(ours)
    ecm = measure(linkage, folder, "--source-column", "file", "--classifier", "ecm", "--json").json
    assert (ecm["pairs_true"], ecm["classifier"]) == (200, "ecm")
    told = measure(linkage, folder, "--source-column", "file", "--classifier", "ecm")
    assert told.code == 0 and "ECM" in told.out
    assert measure(linkage, folder, "--classifier", "oracle").code == 64


def test_several_sources_are_shown_pair_by_pair(linkage: Run, folder: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(folder / "records.csv")
    third = frame.filter(file="b").with_columns(file=pl.lit("c"))
    pl.concat([frame, third]).write_csv(tmp_path / "three.csv")
    told = measure(linkage, folder, "--source-column", "file", records=tmp_path / "three.csv")
    for pair in ("a - b", "a - c", "b - c"):
        assert pair in told.out


def test_a_file_without_a_column_of_sources(linkage: Run, folder: Path) -> None:
    result = measure(linkage, folder, "--json").json
    assert (result["sources"], result["pairs_true"]) == (1, 200)
    told = measure(linkage, folder, "--repeats", "a")
    assert told.code == 2
    assert "linkage: hint: name the column of sources" in told.err


def test_repeats_that_were_not_told_of_are_pointed_out(linkage: Run, folder: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(folder / "records.csv")
    pl.concat([frame, frame.filter(file="b").head(7)]).write_csv(tmp_path / "again.csv")
    named = ("--source-column", "file")
    told = measure(linkage, folder, *named, records=tmp_path / "again.csv")
    assert "source b has 7 pairs of records of one person, which do not count and harm the linkage" in told.err
    assert "--repeats" not in measure(linkage, folder, *named, "--repeats", "b", records=tmp_path / "again.csv").err


def test_unreadable_cells_are_told_with_the_formats_that_are_read(linkage: Run, folder: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(folder / "records.csv", infer_schema=False)
    swapped = frame.with_columns(
        born=pl.when(pl.col("file") == "b")
        .then(pl.col("born").str.replace(r"(.*)-(.*)-(.*)", "$3/$2/$1"))
        .otherwise("born")
    )
    swapped.write_csv(tmp_path / "swapped.csv")
    told = measure(linkage, folder, "--source-column", "file", records=tmp_path / "swapped.csv")
    assert told.code == 0
    assert "born: 250 filled cells cannot be read as date and count as missing; date is YYYY-MM-DD" in told.err
    swapped.filter(file="b").write_csv(tmp_path / "all.csv")
    refused = measure(linkage, folder, records=tmp_path / "all.csv")
    assert refused.code == 2
    assert "column born" in refused.err and "linkage: hint: date is YYYY-MM-DD" in refused.err


def test_files_that_share_nobody_are_told_of(linkage: Run, folder: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(folder / "records.csv")
    apart = frame.filter(
        ((pl.col("file") == "a") & (pl.col("person") < 50)) | ((pl.col("file") == "b") & (pl.col("person") >= 250))
    )
    apart.write_csv(tmp_path / "apart.csv")
    told = measure(linkage, folder, "--source-column", "file", "--json", records=tmp_path / "apart.csv")
    (sentence,) = told.json["warnings"]
    assert sentence.startswith("no pair is surely a match: nothing is linked; ")
    assert f"warning: {sentence}" in told.err
    assert measure(linkage, folder, "--source-column", "file", "--json").json["warnings"] == []


def test_columns_that_are_not_there(linkage: Run, folder: Path, tmp_path: Path) -> None:
    pl.read_csv(folder / "records.csv").drop("zip").write_csv(tmp_path / "few.csv")
    told = measure(linkage, folder, "--source-column", "agency", "--json", records=tmp_path / "few.csv")
    assert (told.code, told.json["reason"], told.json["problems"]) == (2, "missing-columns", ["agency", "zip"])
    assert "the file has: person, first, last, born, file" in told.json["hint"]


def test_test_persons_are_drawn_from_nothing_that_anybody_is_told(linkage: Run, tmp_path: Path) -> None:
    words = ("lab", "test-persons", "--people", "20", "--project", "milwaukee", "--epoch", "2026-1")
    told = linkage(*words, "--out", tmp_path / "agreed", "--json")
    assert told.code == 0 and told.err == ""
    assert told.json.keys() == {"people", "project", "epoch", "files"} and "seed" not in told.out
    assert {path.name for path in (tmp_path / "agreed").iterdir()} == {entry["path"] for entry in told.json["files"]}
    told = linkage(*words, "--out", tmp_path / "more")
    assert "test-persons-mpd.csv" in told.err and "for mpd alone" in told.err
    assert linkage(*words, "--out", tmp_path / "more").code == 2
    assert linkage(*words, "--out", tmp_path / "third", "--seed", "7").code == 64
    assert linkage("lab", "test-persons", "--people", "20", "--out", tmp_path / "third").code == 64


def test_progress_is_for_a_terminal_and_never_beside_json(
    linkage: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ("--source-column", "file")
    assert measure(linkage, folder, *named).err == ""  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    shown = measure(linkage, folder, *named).err
    assert "reading" in shown and "measuring" in shown and "0:00:" in shown
    told = measure(linkage, folder, *named, "--json")
    assert told.err == "" and told.json["records"] == 500


def test_every_step_of_a_measurement_is_told(folder: Path) -> None:
    from linkage.contract import load_spec
    from linkage.lab.accuracy import accuracy

    told: list[str] = []
    spec = load_spec(folder / "spec.yaml")
    accuracy(folder / "records.csv", spec, entity_column="person", source_column="file", progress=told.append)
    assert [word for word in told if not word.startswith("encoding source")] == [
        "reading", "reading", "comparing", "weighing", "drawing", "measuring"
    ]  # fmt: skip
    assert sum(word.startswith("encoding source") for word in told) == 2
