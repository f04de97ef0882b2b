"""One measurement in a process of its own: ``script.py TASK PARAMETERS ANSWER``. Needs the standard library alone.

Ours and every peer's are run this way, so threads, caches and peak memory are a measurement's own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_task(tasks: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Do the task that the arguments name, on so many cores, and write what it returns and the peak memory."""
    name, parameters, answer = sys.argv[1:4]
    given = json.loads(parameters)
    pin(given.pop("cores"))
    found = tasks[name](**given)
    used = {"peak_memory_gb": round(peak_memory_gb(), 3), "process_cpu_seconds": round(time.process_time(), 3)}
    Path(answer).write_text(json.dumps({**found, **used}), encoding="utf-8")


def pin(cores: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, usable(cores))


def usable(cores: int) -> list[int]:
    """Return the last so many cores that this process may run on: the first is the busiest with other work."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return allowed[-cores:]


def peak_memory_gb() -> float:
    """Return the most memory this process ever held. The kernel's own mark: rusage starts at the parent's size."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit) / 2**30
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20
