"""Our measurements, run as ``ours.py TASK PARAMETERS ANSWER``. Each task imports no more than it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from task import run_task


def write_set(name: str, out: str, records: int = 0, seed: int = 1, shared: str = "") -> dict[str, Any]:
    from sets import write_set

    return write_set(name, Path(out), records=records, seed=seed, shared=Path(shared) if shared else None)


def prepare(people: int, folder: str) -> dict[str, Any]:
    from prepare import prepare

    prepare(people, Path(folder))
    return {"people": people}


def steward(step: str, **parameters: Any) -> dict[str, Any]:
    import steward_tasks

    found: dict[str, Any] = getattr(steward_tasks, step)(**parameters)
    return found


def hub(step: str, **parameters: Any) -> dict[str, Any]:
    import hub_tasks

    found: dict[str, Any] = getattr(hub_tasks, step)(**parameters)
    return found


def attacks(step: str, **parameters: Any) -> dict[str, Any]:
    import attack_tasks

    found: dict[str, Any] = getattr(attack_tasks, step)(**parameters)
    return found


def estimates(step: str, **parameters: Any) -> dict[str, Any]:
    import estimate_tasks

    return estimate_tasks.TASKS[step](**parameters)


TASKS = {
    "write_set": write_set,
    "prepare": prepare,
    "steward": steward,
    "hub": hub,
    "attacks": attacks,
    "estimates": estimates,
}

if __name__ == "__main__":
    run_task(TASKS)
