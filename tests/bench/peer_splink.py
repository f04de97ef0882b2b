"""Splink on plain text with DuckDB, in its own environment, used as its tutorials do."""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

import duckdb
import numpy as np
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
from splink import comparison_library as cl
from task import run_task, usable
from truth import best

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)


def link(
    file: str, fields: dict[str, str], blocks: list[list[str]], train: list[list[str]], repeats: list[str]
) -> dict[str, Any]:
    """Link or deduplicate a file; ``seconds`` run from the file on disk to the weighed pairs."""
    started = time.perf_counter()
    connection = duckdb.connect(config={"threads": len(usable(64))})
    connection.execute(f"create table everything as select * from read_parquet('{file}')")
    names = [name for (name,) in connection.execute("select distinct source from everything order by 1").fetchall()]
    api, tables = DuckDBAPI(connection=connection), []
    for number, name in enumerate(names):
        connection.execute(f"create table t{number} as select * from everything where source = '{name}'")
        tables.append(api.register(f"t{number}", dataset_display_name=f"source_{number}"))
    linker = Linker(tables if len(names) > 1 else tables[0], _settings(fields, blocks, names, repeats))
    linker.training.estimate_probability_two_random_records_match([block_on(*rule) for rule in _strict(blocks)], 0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in train:
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(*rule))
    scored = linker.inference.predict()
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "records": _count(connection),
        **_judge(connection, scored.physical_name, names, repeats),
    }


def _settings(fields: dict[str, str], blocks: list[list[str]], names: list[str], repeats: list[str]) -> SettingsCreator:
    kind = "link_only" if len(names) > 1 and not repeats else "link_and_dedupe" if len(names) > 1 else "dedupe_only"
    return SettingsCreator(
        link_type=kind,
        unique_id_column_name="id",
        comparisons=[_comparison(name, kind) for name, kind in fields.items()],
        blocking_rules_to_generate_predictions=[block_on(*rule) for rule in blocks],
        retain_matching_columns=False,
    )


def _comparison(name: str, kind: str) -> Any:
    if kind == "name":
        return cl.NameComparison(name).configure(term_frequency_adjustments=True)
    if kind == "date":
        given = {"input_is_string": True, "datetime_format": "%Y%m%d", "invalid_dates_as_null": False}
        return cl.DateOfBirthComparison(name, **given)
    if kind == "text":
        return cl.JaroWinklerAtThresholds(name, [0.9, 0.7]).configure(term_frequency_adjustments=True)
    if kind == "digits":
        return cl.DamerauLevenshteinAtThresholds(name, [1, 2]).configure(term_frequency_adjustments=True)
    return cl.ExactMatch(name).configure(term_frequency_adjustments=True)


def _strict(blocks: list[list[str]]) -> list[list[str]]:
    return [rule for rule in blocks if len(rule) > 1 and not any("(" in entry for entry in rule)]


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute("select count(*) from everything").fetchall()[0][0])


def _judge(connection: duckdb.DuckDBPyConnection, scored: str, names: list[str], repeats: list[str]) -> dict[str, Any]:
    pairs = connection.execute(f"select id_l, id_r, match_weight from {scored}").fetchnumpy()
    truth = connection.execute("select source, entity from everything order by id").fetchnumpy()
    source = np.unique(truth["source"].astype(str), return_inverse=True)[1]
    entity = np.unique(truth["entity"].astype(str), return_inverse=True)[1]
    within = np.array([name in repeats for name in names])
    left, right = np.asarray(pairs["id_l"], np.int64), np.asarray(pairs["id_r"], np.int64)
    return best(left, right, np.asarray(pairs["match_weight"], np.float64), source, entity, within)


if __name__ == "__main__":
    run_task({"link": link})
