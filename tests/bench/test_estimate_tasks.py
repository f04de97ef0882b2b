"""The measurements of the estimators run and measure what they say: no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from estimate_tasks import TASKS, recorded
from pathlib import Path
few = {"stepwise_bootstrap": {"resamples": 5}, "models_bootstrap": {"resamples": 5}, "latent": {"sweeps": 5}}
found = {name: task(**few.get(name, {"repeats": 1})) for name, task in TASKS.items()}
theirs = recorded(Path(sys.argv[2])) if len(sys.argv) > 2 else {}
print(json.dumps({"found": found, "recorded": theirs}))
"""


def run(*arguments: str) -> dict[str, dict[str, dict[str, float]]]:
    command = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    answer: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout)
    return answer


def test_every_task_measures_the_published_table() -> None:
    found = run()["found"]
    assert round(found["stepwise"]["n_hat"]) == 11313 == round(found["stepwise_bootstrap"]["n_hat"])
    assert round(found["models_bootstrap"]["n_hat"]) == 22991
    assert round(found["averaged"]["n_hat"]) == 18020
    assert found["all_models"]["models"] == 1024
    assert all(entry["seconds"] > 0 for entry in found.values())


def test_recorded_seconds_are_those_of_the_same_work(shared: Path) -> None:
    answer = run(str(shared / "reference" / "mse.json"))
    assert set(answer["recorded"]) == set(answer["found"]) - {"models_bootstrap"}
    assert all(seconds > 0 for seconds in answer["recorded"].values())
