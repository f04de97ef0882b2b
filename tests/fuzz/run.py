"""Coverage-guided fuzzing of one parser: ``python -m tests.fuzz.run TARGET --runs N``; ``make fuzz`` runs all of them.

Needs the extra ``fuzz`` (atheris, which has wheels for Linux alone). A find is written to
``tests/fuzz/crashes/TARGET``: mend the parser, keep the file, and ``make test`` reads it again from then on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

ROOM = 1 << 30
"""Bytes of address space that a parser may take beyond what the process has when fuzzing begins."""

LONGEST_RUN = 20
"""Seconds that one input may take."""

FOUND = Path(__file__).parent / "crashes"


def bound_memory() -> None:
    """Let no parser take more than :data:`ROOM`: what it asks beyond is refused by the system, and that is a find."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzz_all(runs: int, seconds: int) -> None:
    """Fuzz one target after the other, each in a process of its own; stop at the first find."""
    from tests.fuzz.targets import TARGETS

    for name in TARGETS:
        command = [sys.executable, "-m", "tests.fuzz.run", name, f"--runs={runs}", f"--seconds={seconds}"]
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="a name of tests/fuzz/targets.py, or all")
    parser.add_argument("--runs", type=int, default=20_000, help="inputs a target")
    parser.add_argument("--seconds", type=int, default=60, help="and no longer than this")
    parser.add_argument("--corpus", type=Path, help="a folder in which inputs that reach new code are kept")
    given = parser.parse_args()
    if given.target == "all":
        fuzz_all(given.runs, given.seconds)
        return
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    with atheris.instrument_imports(include=["linkage", "yaml", "tomllib", "json"]):
        from tests.fuzz.targets import TARGETS, accepts
    target = TARGETS[given.target]
    crashes = FOUND / given.target
    crashes.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fresh:
        corpus = given.corpus or Path(fresh)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            if not accepts(target, seed):
                raise SystemExit(f"{given.target}: seed {number} is not accepted")
            (corpus / f"seed-{number}").write_bytes(seed)
        bound_memory()
        atheris.Setup(
            [
                sys.argv[0],
                f"-runs={given.runs}",
                f"-max_total_time={given.seconds}",
                f"-timeout={LONGEST_RUN}",
                f"-artifact_prefix={crashes}/",
                f"-max_len={target.longest}",
                "-rss_limit_mb=0",
                "-print_final_stats=1",
                "-verbosity=1",
                str(corpus),
            ],
            lambda content: accepts(target, content),
            **({} if target.change is None else {"custom_mutator": target.change}),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
