"""``linkage lab``: synthetic populations to try the whole road on, accuracy and attacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from linkage.cli.console import print_json, say, working
from linkage.cli.lab_attack import attack
from linkage.cli.lab_coverage import coverage

__all__ = ["app"]

app = App(name="lab", help="Synthetic populations, how well the engine does on them, and what an attacker would.")
app.command(attack)
app.command(coverage)

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
        Seed of all draws, from 0 on: the same seed gives the same files.
    out
        Folder to write to.
    scenario
        What the population is like: ``milwaukee``, ``loose`` (no list leans on another) or ``tight`` (twice as much).
    people
        Number of true persons; the scenario's own by default. List sizes scale with it.
    as_json
        Print the manifest to stdout.
    """
    from linkage.lab.population import draw_population, find_scenario

    chosen = find_scenario(scenario)
    total = chosen.people if people is None else people
    console = Console(stderr=True, emoji=False)
    columns = (TextColumn("people drawn"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=total < _BIG) as bar:
        task = bar.add_task("people", total=total)
        manifest = draw_population(chosen, seed, out, people, progress=lambda done: bar.update(task, completed=done))
    if as_json:
        print_json(json.dumps(manifest, indent=2))
        return
    table = Table("file", "rows", title=f"{total:,} people of scenario {chosen.name}, in {out}")
    for file in manifest["files"]:
        table.add_row(file["path"], f"{file['rows']:,}")
    console.print(table)


@app.command
def test_persons(
    *,
    people: int,
    project: str,
    epoch: str,
    out: Path,
    source: tuple[str, ...] = (),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Draw made-up people with known errors, a file an agency, to plant with ``linkage steward submit --test-persons``.

    Agree on them beforehand, pass the files on like the linkage key, and never give one to the hub. They are drawn from
    random bits that nothing keeps: nobody can draw them again.

    Parameters
    ----------
    people
        Number of test persons; a twentieth of the smallest list is plenty.
    project, epoch
        Those of the linkage key; the files can be planted there alone.
    out
        Folder to write to. No file is overwritten.
    source
        An agency that plants them; repeat for each. The four of the synthetic population by default.
    as_json
        Print the list of files to stdout.
    """
    from linkage.lab.planted import draw_test_persons
    from linkage.lab.population.scenario import SOURCES

    made = draw_test_persons(people, out, project=project, epoch=epoch, sources=source or SOURCES)
    if as_json:
        print_json(json.dumps(made, indent=2))
        return
    for file in made["files"]:
        say(f"{out / file['path']}: {file['rows']:,} test persons, for {file['source']} alone")


@app.command
def accuracy(
    records: Path,
    *,
    spec: str,
    entity_column: str,
    source_column: str | None = None,
    repeats: tuple[str, ...] = (),
    classifier: Literal["linkage", "ecm"] = "linkage",
    seed: int = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Measure how well a spec links: a labelled file goes through the real encoder and the real engine.

    Parameters
    ----------
    records
        Parquet, CSV or TSV file of plain records, one row each. Never real people's.
    spec
        Linkage spec: a file, or the name of a shipped profile.
    entity_column
        Column that says who it really is. The engine never sees it.
    source_column
        Column that says which file a record belongs to. Without it the file is one, and its repeats are looked for.
    repeats
        Sources in which one person can have several records; give the option once for each.
    classifier
        What weighs the pairs: the engine itself, or the ECM classifier of recordlinkage on the same candidates.
    seed
        Of the key that the records are encoded with.
    as_json
        Print the result to stdout, and show no progress on the terminal.
    """
    from linkage.contract import load_spec
    from linkage.lab.accuracy import accuracy as measure
    from linkage.lab.labelled import READS

    chosen = load_spec(spec)
    with working("reading", quiet=as_json) as progress:
        result = measure(
            records,
            chosen,
            source_column=source_column,
            entity_column=entity_column,
            repeats=frozenset(repeats),
            classifier=classifier,
            seed=seed,
            progress=progress,
        )
    for field, lost in result["unreadable"].items():
        kind = chosen.fields[field].kind
        say(f"{field}: {lost:,} filled cells cannot be read as {kind} and count as missing; {kind} is {READS[kind]}")
    for source, pairs in result["repeats_unsaid"].items():
        say(
            f"source {source} has {pairs:,} pairs of records of one person, which do not count and harm the linkage,"
            f" for the engine takes its records for different people: --repeats {source}"
        )
    for sentence in result["warnings"]:
        say(f"warning: {sentence}")
    if as_json:
        print_json(json.dumps(result, indent=2))
        return
    for shown in _tables(result):
        Console(emoji=False).print(shown)


def _tables(result: dict[str, Any]) -> Iterator[Table]:
    """Lay out what was measured: overall, by pair of sources, and the probabilities."""
    rates = ("precision", "recall", "f1")
    decided = (
        "at the engine's own decision" if result["classifier"] == "linkage" else "at ECM's probability of one half"
    )
    table = Table("", "precision", "recall", "F1", title=f"{result['records']:,} records, spec {result['spec']}")
    rows = {"chosen": decided, "expected": "expected, without the truth", "best": "at the threshold the truth chooses"}
    for row, label in rows.items():
        table.add_row(label, *(_number(result[row][rate]) for rate in rates))
    yield table
    if len(result["by_sources"]) > 1:
        table = Table("sources", "true pairs", "links", "precision", "recall", "F1")
        for entry in result["by_sources"]:
            counts = (f"{entry['pairs_true']:,}", f"{entry['links']:,}")
            table.add_row(" - ".join(entry["sources"]), *counts, *(_number(entry[rate]) for rate in rates))
        yield table
    table = Table("true pairs", "expected", "error", "calibration error")
    error = result["expected_matches_error"]
    table.add_row(
        f"{result['pairs_true']:,}",
        f"{result['expected']['expected_matches']:,.1f}",
        "" if error is None else f"{error:+.1%}",
        _number(result["calibration_error"]),
    )
    yield table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
