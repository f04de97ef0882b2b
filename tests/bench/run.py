"""How fast and how right it is, beside its peers: ``make bench``, or ``python tests/bench/run.py --help``.

Reports; asserts nothing. Every measurement runs in a fresh process on cores of its own, and every peer in an
environment that the first run installs, in the same run as ours, for a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attack_rows import attack
from estimate_rows import estimate
from f1 import f1
from processes import AbsentError, Runner
from rich.console import Console
from rich.table import Table
from rows import QUICK, Line, Sizes, encode, growth, link, million, pairs

ROWS: dict[str, Callable[[Runner, Sizes], list[Line]]] = {
    "encode": encode,
    "pairs": pairs,
    "link": link,
    "million": million,
    "f1": f1,
    "growth": growth,
    "attack": attack,
    "estimate": estimate,
}


def main() -> None:
    asked = _asked()
    console = Console(stderr=True)
    started = time.monotonic()
    table = Table("measured", "ours", "peer", "ratio", "target", title="linkage beside its peers")
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(
            Path(folder),
            not asked.no_peers,
            lambda text: console.print(
                f"[dim]{time.monotonic() - started:6.0f} s[/dim] {text}", highlight=False, soft_wrap=True
            ),
        )
        for name in asked.only or ROWS:
            lines = _lines(name, runner, QUICK if asked.quick else Sizes())
            for line in lines:
                table.add_row(line.measured, line.ours, line.peer, line.ratio, line.target)
            rows[name] = [line.as_dict() for line in lines]
        found = {"machine": _machine(), "rows": rows, "measured": runner.found}
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    machine = found["machine"]
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB; Python {machine['python']}")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure speed and accuracy beside peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row alone; can be given again")
    parser.add_argument("--no-peers", action="store_true", help="install and measure no peer")
    parser.add_argument("--json", action="store_true", help="print JSON to stdout instead of the table")
    parser.add_argument("--out", type=Path, help="write the results there too, as JSON")
    return parser.parse_args()


def _lines(name: str, runner: Runner, sizes: Sizes) -> list[Line]:
    try:
        return ROWS[name](runner, sizes)
    except AbsentError as absent:  # ours failed: the other rows are still worth having
        return [Line(name, str(absent))]


def _machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (OSError, StopIteration, ValueError, AttributeError):
        memory = 0.0
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = os.cpu_count()
    return {
        "processor": processor,
        "cores": cores,
        "memory_gb": round(memory),
        "python": platform.python_version(),
        "load": load,
    }


if __name__ == "__main__":
    main()
