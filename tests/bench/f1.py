"""F1 a labelled set: ours at the engine's own decision, peers at the threshold that the truth would choose."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from known_sets import SETS
from processes import HERE, AbsentError, Runner
from rows import Line, Sizes, labelled_set, shared, splink

_TARGETS = {
    ("febrl4", "default"): 0.9990,
    ("febrl4", "precise"): 0.9995,
    ("hist3", "default"): 0.80,
    ("hist3", "precise"): 0.93,
    ("population", "default"): 0.95,
    ("population", "precise"): 0.98,
}
_TITLES = {
    "febrl4": "FEBRL4 without ssn",
    "febrl3": "FEBRL3 without ssn, one source with repeats",
    "hist3": "hist3, three sources",
    "population": "demo population",
}
_LIMIT = 900.0


def f1(runner: Runner, sizes: Sizes) -> list[Line]:
    """Pairwise F1, every true pair counted."""
    lines = []
    for name in sizes.sets:
        if name == "hist3" and shared() is None:
            lines.append(Line(f"F1 {_TITLES[name]}", "not measured: the folder of reference data is not here"))
            continue
        seeds = sizes.seeds if name == "population" else (1,)
        files = [labelled_set(runner, name, 0 if name != "febrl4" else sizes.febrl, seed) for seed in seeds]
        peers = _peers(runner, name, files)
        for profile in sizes.profiles:
            lines.append(_line(runner, name, profile, files, peers))
    return lines


def _line(runner: Runner, name: str, profile: str, files: list[Path], peers: dict[str, float | str]) -> Line:
    spec = SETS[name].specs.format(profile=profile)
    given = {"spec": str(HERE.parents[1] / "schemas" / spec) if spec.endswith(".yaml") else spec}
    found = [
        runner.ours("hub", step="labelled_accuracy", file=f"{file}.parquet", repeats=SETS[name].repeats, **given)[0]
        for file in files
    ]
    value, seeds = statistics.fmean(entry["f1"] for entry in found), f", {len(files)} seeds" if len(files) > 1 else ""
    numbers = {peer: score for peer, score in peers.items() if isinstance(score, float)}
    aim, target = _TARGETS.get((name, profile)), ""
    if aim is not None:
        target = f">= {aim:.4f}"
    elif name == "febrl3":
        target = {"default": "> clkhash + anonlink", "precise": "> Splink"}.get(profile, "")
    written = "\n".join(
        f"{peer} {score:.4f}" if isinstance(score, float) else f"{peer}: {score}" for peer, score in peers.items()
    )
    ratio = f"{value / max(numbers.values()):.3f}" if numbers else ""
    values: dict[str, Any] = {"f1": value, "peers": peers, "found": found}
    return Line(f"F1 {_TITLES[name]}{seeds}, profile {profile}", f"{value:.4f}", written, ratio, target, values)


def _peers(runner: Runner, name: str, files: list[Path]) -> dict[str, float | str]:
    chosen = SETS[name]
    rules = {"fields": chosen.fields, "blocks": chosen.blocks, "train": chosen.train, "repeats": chosen.repeats}

    def clkhash_anonlink(file: Path) -> float:
        filters = f"{file}.clk"
        runner.peer("clkhash", "encode", file=f"{file}.csv", fields=chosen.fields, out=filters)
        given = {"truth": f"{file}.csv", "repeats": chosen.repeats}
        return float(runner.peer("anonlink", "accuracy", limit=_LIMIT, file=filters, **given)[0]["f1"])

    def with_splink(file: Path) -> float:
        return float(splink(runner, name, file, _LIMIT)["f1"])

    def with_recordlinkage(file: Path) -> float:
        return float(runner.peer("recordlinkage", "accuracy", limit=_LIMIT, file=f"{file}.csv", **rules)[0]["f1"])

    peers: dict[str, float | str] = {}
    comers = {"clkhash + anonlink": clkhash_anonlink, "Splink": with_splink, "recordlinkage": with_recordlinkage}
    for peer, measure in comers.items():
        try:
            peers[peer] = statistics.fmean(measure(file) for file in files)
        except AbsentError as absent:
            peers[peer] = str(absent)
    return peers
