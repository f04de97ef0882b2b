"""Draw a population and write its four extracts and, apart from them, the truth."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkage.errors import ContractError
from linkage.exchange.files import atomic_write
from linkage.lab.population.chunk import Chunk, Counters, draw_chunk
from linkage.lab.population.scenario import MILWAUKEE, SOURCES, Scenario
from linkage.lab.population.writers import CsvFile, ExcelFile, ParquetFile, Sink

__all__ = ["CHUNK", "draw_population"]

CHUNK = 20_000
"""True persons drawn at a time; what bounds the memory."""


def draw_population(
    scenario: Scenario = MILWAUKEE,
    seed: int = 0,
    out: Path = Path("population"),
    people: int | None = None,
    *,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Draw a synthetic population and write it.

    The folder then holds ``extracts/<source>/<source>.{csv,xlsx,parquet}``, each in its agency's raw layout;
    ``truth/persons.parquet``, ``truth/records.parquet`` and ``truth/summary.json``; and ``manifest.json``. Nothing
    under ``extracts`` tells who is who. The same arguments give the same bytes.

    Parameters
    ----------
    scenario
        What the population is like.
    seed
        Seed of all draws.
    out
        Folder to write to; made if need be. Files of an earlier draw are replaced.
    people
        Number of true persons; the scenario's own by default. List sizes scale with it.
    chunk
        True persons drawn at a time.
    progress
        Called with the number of persons done after each chunk.

    Returns
    -------
    dict
        The manifest: scenario, seed, and path, rows and SHA-256 of each file.

    Raises
    ------
    ContractError
        The number of people is too small for the scenario to hold (below 50), or too large for a workbook; or the seed
        is below zero.
    """
    if seed < 0:
        raise ContractError("a seed is a whole number from 0 on", reason="usage", hint="leave the minus sign out")
    total = scenario.people if people is None else people
    if total < 50:
        raise ContractError("too few people for the scenario", reason="too-few", hint="draw at least 50")
    sizes = [min(chunk, total - start) for start in range(0, total, chunk)]
    if len(sizes) > 1 and sizes[-1] < 50:
        sizes[-2:] = [sizes[-2] + sizes[-1]]
    streams = np.random.SeedSequence([seed, 20130101]).spawn(len(sizes))
    out = Path(out)
    tally = _Tally(Counter(), Counter(), Counter())
    with ExitStack() as stack:
        sinks = {name: stack.enter_context(sink) for name, sink in _sinks(out).items()}
        counters, done = Counters(), 0
        for size, stream in zip(sizes, streams, strict=True):
            quota = {
                "mpd": _quota(scenario.report.listed, scenario, done, size),
                "complete": _quota(scenario.report.complete, scenario, done, size),
                "pohsey": _quota(scenario.inclusion.pohsey_listed, scenario, done, size),
            }
            drawn = draw_chunk(scenario, size, quota, counters, np.random.default_rng(stream))
            counters = _write(drawn, sinks, counters, tally)
            done += size
            if progress is not None:
                progress(done)
    summary = _summary(scenario, seed, total, tally)
    _write_json(out / "truth" / "summary.json", summary)
    manifest = {"scenario": scenario.name, "seed": seed, "files": [_described(out, sink) for sink in sinks.values()]}
    _write_json(out / "manifest.json", manifest)
    return manifest


@dataclass(frozen=True)
class _Tally:
    """Counts over all chunks: persons by capture pattern, records a source, rows of other kinds."""

    patterns: Counter[str]
    records: Counter[str]
    lists: Counter[str]


def _sinks(out: Path) -> dict[str, Sink]:
    extracts, truth = out / "extracts", out / "truth"
    return {
        "mpd": CsvFile(extracts / "mpd" / "mpd.csv"),
        "dcf": CsvFile(extracts / "dcf" / "dcf.csv", encoding="windows-1252", separator=";"),
        "pohsey": ExcelFile(
            extracts / "pohsey" / "pohsey.xlsx",
            sheet="Contacts",
            cover="Outreach contacts. Synthetic: nobody is in it.",
        ),
        "medical": ParquetFile(extracts / "medical" / "medical.parquet"),
        "persons": ParquetFile(truth / "persons.parquet"),
        "records": ParquetFile(truth / "records.parquet"),
    }


def _quota(listed: int, scenario: Scenario, done: int, size: int) -> int:
    """Return this chunk's part of a list so that the parts add up to the rounded whole."""
    rate = listed / scenario.people
    return round(rate * (done + size)) - round(rate * done)


def _write(drawn: Chunk, sinks: dict[str, Sink], counters: Counters, tally: _Tally) -> Counters:
    for source in SOURCES:
        sinks[source].add(drawn.extracts[source])
    sinks["persons"].add(drawn.persons)
    sinks["records"].add(drawn.records)
    counted = drawn.persons.filter("counted")
    pattern = counted.select(pl.concat_str([pl.col(s).cast(pl.UInt8).cast(pl.String) for s in SOURCES]).alias("p"))["p"]
    tally.patterns.update(pattern.to_list())
    tally.records.update(drawn.records.filter("in_period")["source"].to_list())
    tally.lists.update({source: int(counted[source].sum()) for source in SOURCES})
    return replace(
        counters,
        person=counters.person + len(drawn.persons),
        local={source: counters.local.get(source, 0) + count for source, count in drawn.used_locals.items()},
        report={source: counters.report.get(source, 0) + len(drawn.extracts[source]) for source in SOURCES},
    )


def _summary(scenario: Scenario, seed: int, total: int, tally: _Tally) -> dict[str, Any]:
    pairs = {
        f"{a}+{b}": sum(count for p, count in tally.patterns.items() if p[i] == "1" and p[j] == "1")
        for i, a in enumerate(SOURCES)
        for j, b in enumerate(SOURCES)
        if i < j
    }
    return {
        "scenario": scenario.name,
        "seed": seed,
        "true_n": total,
        "observed": total - tally.patterns["0000"],
        "lists": {source: tally.lists[source] for source in SOURCES},
        "records_in_period": {source: tally.records[source] for source in SOURCES},
        "overlaps": pairs,
        "pattern_lists": list(SOURCES),
        "patterns": dict(sorted(tally.patterns.items())),
    }


def _described(out: Path, sink: Sink) -> dict[str, Any]:
    with sink.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": sink.path.relative_to(out).as_posix(), "rows": sink.rows, "sha256": digest}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
