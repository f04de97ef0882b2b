"""The benchmark runs, on a few records: no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_benchmark_runs_on_a_few_records() -> None:
    command = [sys.executable, str(Path(__file__).with_name("run.py"))]
    command += ["--people", "2000", "--records", "300", "--repeats", "1", "--json"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["encode"]["names"] >= found["encode"]["records"] > 1000
    assert found["link"]["records"] == 300
    assert found["link"]["pairs"] >= 300 * 300
    for measured in found.values():
        assert all(value > 0 for value in measured.values())
