"""``linkage lab coverage``: how often the truth lies in the interval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from linkage.cli.console import print_json, say, steps
from linkage.errors import ContractError

__all__ = ["coverage"]


def coverage(
    out: Path,
    *,
    runs: int = 200,
    seed: int = 1,
    spec: str = "default",
    scenario: str = "milwaukee",
    people: int | None = None,
    draws: int = 20,
    resamples: int = 400,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Draw populations of known size, link and estimate each, and count how often the truth lies in the interval.

    A study that was stopped goes on where it was. Written to the folder: ``linked`` and ``estimates`` (a file a run),
    ``coverage.json``, ``coverage.md``, ``ranges.svg`` and ``methods.svg``. Without ``--json`` the table goes to stdout.

    Parameters
    ----------
    out
        Folder of the study.
    runs
        How many populations; some 5 seconds of one core each.
    seed
        Seed of the first; the others follow. Several processes can share a folder, each with seeds of its own.
    spec
        Linkage spec: a file, or the name of a shipped profile.
    scenario
        What the populations are like: ``milwaukee``, ``loose`` (no list leans on another) or ``tight`` (twice as much).
    people
        True number of persons; the scenario's own by default.
    draws
        Partition draws of a run that are estimated on.
    resamples
        Of the bootstrap.
    as_json
        Print the summary to stdout as JSON.
    """
    from linkage.contract import load_spec
    from linkage.lab import coverage as study
    from linkage.lab.coverage_page import verdict_line, write_study
    from linkage.lab.population import find_scenario

    if min(runs, draws, resamples) < 1 or seed < 0:
        raise ContractError("a study needs a run, a draw and a resample", reason="usage", hint="give numbers from 1 on")
    chosen, drawn = load_spec(spec), find_scenario(scenario)
    with steps("runs linked") as progress:
        paths = study.linked_runs(out, runs, chosen, first=seed, people=people, scenario=drawn, progress=progress)
    with steps("runs estimated") as progress:
        frame = study.coverage(paths, draws=draws, resamples=resamples, progress=progress)
    asked = {
        "scenario": drawn.name,
        "spec": chosen.name,
        "runs": runs,
        "first_seed": seed,
        "draws": draws,
        "resamples": resamples,
    }
    written = write_study(out, frame, asked)
    print_json(json.dumps(written, indent=2) if as_json else (out / "coverage.md").read_text("utf-8").rstrip())
    say(verdict_line(study.summary(frame)))
    say(f"table and figures: {out}")
