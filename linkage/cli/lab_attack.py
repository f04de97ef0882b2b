"""``linkage lab attack``: what an insider at the hub could re-identify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from linkage.cli.console import print_json, say, working
from linkage.errors import ContractError

__all__ = ["attack"]


def attack(
    records: Path,
    *,
    spec: str,
    overlap: str = "1.0,0.8",
    seeds: int = 3,
    n: str = "1000",
    only: tuple[str, ...] = (),
    entity_column: str | None = None,
    source_column: str | None = None,
    source: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Attack encodings as an insider at the hub would, and measure how many people are re-identified.

    Each attack is run in the same trials on an unprotected encoding, too: where it fails there, its failure proves
    nothing, and is called "control failed". Without ``--json`` the result is a page in Markdown.

    Parameters
    ----------
    records
        Parquet, CSV or TSV file of plain records, or a folder of ``linkage lab population``. Never real people's.
    spec
        Linkage spec: a file, or the name of a shipped profile.
    overlap
        Share of each list that is on the other, too; several with commas.
    seeds
        Trials of each size and overlap.
    n
        Records a list; several with commas. Time grows with the third power: 2,000 take minutes a trial.
    only
        An attack to run; repeat for several. All by default.
    entity_column
        Column that says who a record really is; without it each row is a person.
    source_column
        Column that says which file a record belongs to.
    source
        The source that plays the owner; that with most people by default.
    as_json
        Print the result to stdout as JSON.
    """
    from linkage.contract import load_spec
    from linkage.lab.attacks import attack as measure
    from linkage.lab.attacks import page, read_people

    chosen = load_spec(spec)
    sizes, overlaps = _numbers(n, "n"), _numbers(overlap, "overlap")
    with working("reading", quiet=as_json) as progress:
        people = read_people(records, chosen, entity_column=entity_column, source_column=source_column, source=source)
        result = measure(
            people,
            chosen,
            sizes=[int(size) for size in sizes],
            overlaps=overlaps,
            seeds=seeds,
            names=only or None,
            progress=progress,
        )
    for name in result["failed_controls"]:
        say(f"control failed: {name} does not work on the unprotected encoding of these records either")
    print_json(json.dumps(result, indent=2) if as_json else page(result))


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ContractError(
            f"--{option} is no list of numbers", reason="usage", hint=f"numbers with commas between: --{option} 1,2"
        ) from None
