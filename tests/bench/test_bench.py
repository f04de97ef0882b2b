"""The benchmark runs, on a few records and without peers: no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_ROWS = ("encode", "pairs", "link", "million", "f1", "growth", "attack", "estimate")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, object]]]:
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--quick", "--no-peers", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert "measured" in done.stdout  # the table's head
    rows: dict[str, list[dict[str, object]]] = json.loads(out.read_text(encoding="utf-8"))["rows"]
    return rows


def test_every_row_is_measured_and_says_that_no_peer_was_asked_for(found: dict[str, list[dict[str, object]]]) -> None:
    assert tuple(found) == _ROWS
    for lines in found.values():
        assert all(set(line) == {"measured", "ours", "peer", "ratio", "target", "values"} for line in lines)
        assert not any("failed" in str(line["ours"]) for line in lines)
    assert any("not asked for" in str(line["peer"]) for line in found["encode"])


def test_what_is_measured_is_what_the_rows_say(found: dict[str, list[dict[str, object]]]) -> None:
    numbers = {name: [line["values"] for line in lines] for name, lines in found.items()}
    assert [entry["records"] for entry in numbers["encode"][:4]] == [800, 800, 1000, 1000]
    assert numbers["link"][0]["pairs_compared"] >= 300 * 300
    assert [entry["records"] for entry in numbers["growth"]] == [2000]
    assert {entry["mode"] for entry in (*numbers["link"][:1], *numbers["growth"])} == {"exact"}
    assert numbers["million"][2]["f1"] > 0.95
    assert all(entry["f1"] > 0.9 for entry in numbers["f1"])
    assert (numbers["attack"][0]["records"], numbers["attack"][0]["match_rate"]) == (200, 1.0)
    assert [round(entry["n_hat"]) for entry in numbers["estimate"] if "n_hat" in entry] == [11313, 18020, 11313, 22991]
