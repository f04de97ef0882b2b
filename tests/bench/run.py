"""How fast it is: ``make bench``, or ``python tests/bench/run.py --help``. Reports; asserts nothing.

A synthetic population is drawn and goes through the steward's pipeline; then encoding with sealing is measured on one
core, linking on two, each beside a plain peer in the same run, for a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

_THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure encoding and linking.")
    parser.add_argument("--people", type=int, default=120_000, help="true persons of the synthetic population")
    parser.add_argument("--records", type=int, default=20_000, help="records of each of the two linked sources")
    parser.add_argument("--repeats", type=int, default=3, help="runs that a median is taken of")
    parser.add_argument("--json", action="store_true", help="print JSON to stdout")
    parser.add_argument("--measure", choices=("encode", "link"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        import measure

        work = {"encode": measure.encode, "link": measure.link}[asked.measure]
        print(json.dumps(work(asked.folder, asked.records, asked.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        from prepare import prepare

        prepare(asked.people, Path(folder))
        found = {
            "encode": _measured("encode", 1, folder, asked),
            "link": _measured("link", 2, folder, asked),
        }
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        Console().print(_table(found))


def _measured(what: str, cores: int, folder: str, asked: argparse.Namespace) -> dict[str, float]:
    """Run one measurement in a fresh process on so many cores."""
    usable = sorted(os.sched_getaffinity(0))[:cores] if hasattr(os, "sched_getaffinity") else list(range(cores))
    command = [sys.executable, __file__, "--measure", what, "--folder", folder]
    command += ["--records", str(asked.records), "--repeats", str(asked.repeats)]
    done = subprocess.run(
        command,
        env={**os.environ, **dict.fromkeys(_THREADS, str(len(usable)))},
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=(lambda: os.sched_setaffinity(0, usable)) if hasattr(os, "sched_setaffinity") else None,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _table(found: dict[str, dict[str, float]]) -> Table:
    encode, link = found["encode"], found["link"]
    table = Table("measured", "result", "target", "plain peer", "times the peer", title="Default spec")
    table.add_row(
        f"encode and seal {encode['records']:,.0f} records ({encode['names']:,.0f} names), one core",
        f"{encode['records_per_second']:,.0f} records/s",
        ">= 50,000",
        f"{encode['peer_names_per_second']:,.0f} names/s",
        f"{encode['ratio']:,.1f}",
    )
    table.add_row("  peak memory", f"{encode['peak_memory_gb']:.2f} GB", "", "", "")
    table.add_row(
        f"link {link['records']:,.0f} x {link['records']:,.0f} records exactly, two cores",
        f"{link['seconds']:.1f} s",
        "< 60 s",
        "",
        "",
    )
    table.add_row("  peak memory", f"{link['peak_memory_gb']:.2f} GB", "< 4 GB", "", "")
    table.add_row(
        f"  compare all {link['pairs'] / 1e6:,.0f} million pairs of names",
        f"{link['pairs_per_second'] / 1e6:,.1f} million/s",
        "",
        f"{link['peer_pairs_per_second'] / 1e6:,.1f} million/s",
        f"{link['ratio']:,.1f}",
    )
    return table


if __name__ == "__main__":
    main()
