"""``linkage lab``: synthetic populations to try the whole road on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["app"]

app = App(name="lab", help="Synthetic populations, and how well the engine does on them.")

_BIG = 50_000
"""From so many people on a progress bar is worth its line."""


@app.command
def population(
    *,
    seed: int,
    out: Path,
    scenario: str = "milwaukee",
    people: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Draw a synthetic population: four agencies' extracts and, apart from them, the truth.

    Parameters
    ----------
    seed
        Seed of all draws: the same seed gives the same files.
    out
        Folder to write to.
    scenario
        What the population is like.
    people
        Number of true persons; the scenario's own by default. List sizes scale with it.
    as_json
        Print the manifest to stdout.
    """
    from linkage.lab.population import draw_population, find_scenario

    chosen = find_scenario(scenario)
    total = chosen.people if people is None else people
    console = Console(stderr=True)
    columns = (TextColumn("people drawn"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=total < _BIG) as bar:
        task = bar.add_task("people", total=total)
        manifest = draw_population(chosen, seed, out, people, progress=lambda done: bar.update(task, completed=done))
    if as_json:
        print(json.dumps(manifest, indent=2))  # noqa: T201 - stdout is for data
        return
    table = Table("file", "rows", title=f"{total:,} people of scenario {chosen.name}, in {out}")
    for file in manifest["files"]:
        table.add_row(file["path"], f"{file['rows']:,}")
    console.print(table)


@app.command
def accuracy(
    records: Path,
    *,
    spec: str,
    source_column: str,
    entity_column: str,
    repeats: tuple[str, ...] = (),
    seed: int = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Measure how well a spec links: a labelled file goes through the real encoder and the real engine.

    Parameters
    ----------
    records
        Parquet or CSV file of plain records, one row each. Never real people's.
    spec
        Linkage spec: a file, or the name of a shipped profile.
    source_column
        Column that says which file a record belongs to.
    entity_column
        Column that says who it really is. The engine never sees it.
    repeats
        Sources in which one person can have several records; give the option once for each.
    seed
        Of the key that the records are encoded with.
    as_json
        Print the result to stdout.
    """
    from linkage.contract import load_spec
    from linkage.lab.accuracy import accuracy as measure

    chosen = load_spec(spec)
    with Console(stderr=True).status("encoding and linking"):
        result = measure(
            records,
            chosen,
            source_column=source_column,
            entity_column=entity_column,
            repeats=frozenset(repeats),
            seed=seed,
        )
    for field, lost in result["unreadable"].items():
        Console(stderr=True).print(f"{field}: {lost:,} filled cells cannot be read as a {chosen.fields[field].kind}")
    if as_json:
        print(json.dumps(result, indent=2))  # noqa: T201 - stdout is for data
        return
    table = Table("", "precision", "recall", "F1", title=f"{result['records']:,} records, spec {chosen.name}")
    for row, label in (("chosen", "at the engine's own decision"), ("best", "at the threshold the truth would choose")):
        table.add_row(label, *(f"{result[row][key]:.4f}" for key in ("precision", "recall", "f1")))
    Console().print(table)
