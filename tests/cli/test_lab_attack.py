"""``linkage lab attack`` as its user meets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold 150 people in FEBRL4's columns, so that a shipped example reads them; they share names and places."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("attacked") / "records.csv"
    letters = np.array(list("abcdefghiklmnoprstuvw"))
    words = {length: ["".join(rng.choice(letters, length)) for _ in range(20)] for length in (5, 7, 8, 9)}

    def word(length: int) -> str:
        return str(rng.choice(words[length]))

    rows = [
        {
            "given_name": word(5), "surname": word(7), "street_number": str(rng.integers(1, 300)),
            "address_1": word(9), "address_2": word(8), "suburb": word(7), "postcode": str(rng.integers(1000, 9999)),
            "state": str(rng.choice(["nsw", "vic", "qld"])), "who": number,
            "date_of_birth": f"19{rng.integers(10, 99)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}",
        }
        for number in range(150)
    ]  # fmt: skip
    pl.DataFrame(rows).write_csv(path)
    return path


def spec() -> Path:
    from linkage.contract import schemas_folder

    return schemas_folder() / "linkage" / "examples" / "febrl4_guarded.yaml"


def test_json_has_rates_with_intervals_beside_baseline_and_chance(linkage: Run, records: Path) -> None:
    call = ("lab", "attack", records, "--spec", spec(), "--overlap", "1.0,0.8", "--seeds", "2", "--n", "60,100")
    told = linkage(*call, "--only", "popcount", "--only", "profile", "--json")
    assert told.code == 0, told.err
    result = told.json
    assert [(entry["name"], entry["n"], entry["overlap"]) for entry in result["attacks"]] == [
        (name, n, overlap) for n in (60, 100) for overlap in (1.0, 0.8) for name in ("popcount", "profile")
    ]
    for entry in result["attacks"]:
        assert {"name", "overlap", "n", "rate", "low", "high", "baseline", "chance"} <= entry.keys()
        assert 0 <= entry["low"] <= entry["rate"] <= entry["high"] <= 1
    assert result["worst"] in result["attacks"]


def test_the_page_says_what_was_tried_and_whether_it_works(linkage: Run, records: Path) -> None:
    call = ("lab", "attack", records, "--spec", spec(), "--overlap", "1", "--seeds", "1", "--n", "100")
    told = linkage(*call, "--only", "graph", "--only", "equality", "--entity-column", "who")
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0].startswith("# Attacks on encodings of spec `febrl4_guarded`")
    (graph,) = [line for line in lines if line.startswith("| `graph` | 100 | 100% |")]
    assert "control failed" not in graph
    (equality,) = [line for line in lines if line.startswith("| `equality` |")]
    assert ("control failed" in equality) == ("control failed: equality" in told.err)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--n", "many"), "--n is no list of numbers"),
        (("--n", "200"), "need 200 people; the file has 150"),
        (("--only", "sorcery"), "an attack that was asked for does not exist"),
        (("--source", "b"), "the source that is to play the owner is not among the records"),
    ],
)
def test_wrong_calls_are_told(linkage: Run, records: Path, words: tuple[str, ...], says: str) -> None:
    told = linkage("lab", "attack", records, "--spec", spec(), "--overlap", "1", "--seeds", "1", *words)
    assert told.code != 0
    assert says in told.err
