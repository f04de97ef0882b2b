"""The rows of the table: what is measured, beside whom, and what is aimed at."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from known_sets import SETS
from processes import HERE, AbsentError, Runner

_SPECS = HERE / "specs"
_SCHEMAS = HERE.parents[1] / "schemas"


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    runs
        Fresh processes of a cheap measurement, of which the median counts.
    febrl, encoded, compared, linked, large
        Records of a source: of FEBRL4 (0: all), of the larger encoding, of the all-pairs rate, of the exact link, of
        the large link.
    people
        True persons of the population whose records are sealed and linked.
    growth
        Records in all of the links that show how the cost grows.
    attacked
        Records a list of the attack.
    resamples
        Of the estimators' bootstraps.
    sets, profiles, seeds
        Of the F1 rows; seeds are those of the demo populations.
    """

    runs: int = 3
    febrl: int = 0
    encoded: int = 50_000
    compared: int = 20_000
    linked: int = 20_000
    large: int = 500_000
    people: int = 120_000
    growth: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    sets: tuple[str, ...] = ("febrl4", "hist3", "population", "febrl3")
    profiles: tuple[str, ...] = ("default", "guarded", "precise")
    seeds: tuple[int, ...] = (1, 2, 3)
    attacked: int = 1_000
    resamples: int = 1_000


QUICK = Sizes(1, 400, 500, 600, 300, 1_000, 2_000, (2_000,), ("febrl4",), ("default",), (1,), 200, 20)


@dataclass(frozen=True)
class Line:
    """A line of the table, in words, and the numbers behind it."""

    measured: str
    ours: str
    peer: str = ""
    ratio: str = ""
    target: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def median(found: list[dict[str, Any]], name: str) -> float:
    return statistics.median(entry[name] for entry in found)


def _times(ours: float, peer: float) -> str:
    return f"{ours / peer:,.1f}" if peer else ""


def _beside(measure: Callable[[], float], written: Callable[[float], str], who: str) -> tuple[float, str]:
    """Return a peer's number and how it is written; 0 and the reason if it cannot be had."""
    try:
        value = measure()
    except AbsentError as absent:
        return 0.0, f"{who}: {absent}"
    return value, f"{who} {written(value)}"


def labelled_set(runner: Runner, name: str, records: int = 0, seed: int = 1) -> Path:
    """Write a labelled set once; returns its path without the ending."""
    out = runner.work / f"{name}-{records}-{seed}"
    given = {"shared": str(shared() or "")} if name == "hist3" else {}
    runner.ours("write_set", name=name, out=str(out), records=records, seed=seed, **given)
    return out


def shared() -> Path | None:
    """Return the folder of reference data, if there is one: as the tests' fixture of that name."""
    folder = Path(os.environ.get("LINKAGE_SHARED", HERE.parents[2] / "shared"))
    return folder if folder.is_dir() else None


def _population(runner: Runner, sizes: Sizes) -> Path:
    folder = runner.work / "population"
    runner.ours("prepare", cores=2, people=sizes.people, folder=str(folder))
    return folder


def encode(runner: Runner, sizes: Sizes) -> list[Line]:
    """Records per CPU-second: the encoding alone, data in memory, one core, a fresh process a run."""
    two = str(_SCHEMAS / "linkage/examples/febrl4_default.yaml")
    cases = (
        ("febrl4", labelled_set(runner, "febrl4", sizes.febrl), str(_SPECS / "febrl4_clk.yaml"), two, ">= 20"),
        (
            "million",
            labelled_set(runner, "million", sizes.encoded),
            str(_SPECS / "million_clk.yaml"),
            "default",
            ">= 10",
        ),
    )
    lines = []
    for name, file, clk, default, target in cases:
        fields = {field: kind for field, kind in SETS[name].fields.items() if field not in ("state", "sex")}
        given = {"file": f"{file}.csv", "fields": fields}

        def clkhash(given: dict[str, Any] = given) -> float:
            return median(runner.peer("clkhash", "encode", runs=sizes.runs, **given), "rate")

        peer, written = _beside(clkhash, lambda rate: f"{rate:,.0f}/s", "clkhash")
        title = "FEBRL4" if name == "febrl4" else "synthetic"
        for what, spec, aim in (("one CLK, diffused", clk, target), ("spec default, two filters", default, "")):
            found = runner.ours("steward", step="encode_set", runs=sizes.runs, file=f"{file}.parquet", spec=spec)
            rate, records = median(found, "rate"), found[0]["records"]
            measured = f"encode {title}, {records:,} records, {what}, records per CPU-second"
            values = {"records": records, "rate": rate, "clkhash_rate": peer}
            lines.append(Line(measured, f"{rate:,.0f}/s", written, _times(rate, peer), aim, values))
    return [*lines, _sealed(runner, sizes)]


def _sealed(runner: Runner, sizes: Sizes) -> Line:
    folder = str(_population(runner, sizes))
    found = runner.ours("steward", step="seal", runs=sizes.runs, folder=folder)
    rate, memory = median(found, "rate"), median(found, "peak_memory_gb")
    measured = f"encode and seal a batch of {found[0]['names']:,} encodings, spec default, encodings per CPU-second"
    values = {"rate": rate, "peak_memory_gb": memory, "names": found[0]["names"], "records": found[0]["records"]}
    return Line(measured, f"{rate:,.0f}/s, {memory:.1f} GB", target=">= 50,000/s", values=values)


def pairs(runner: Runner, sizes: Sizes) -> list[Line]:
    """Pairs per CPU-second of the same 1024-bit filters, at a threshold that some one pair a record reaches."""
    spec = str(_SPECS / "million_clk.yaml")
    file, filters = labelled_set(runner, "million", sizes.compared), str(runner.work / "filters.bin")
    written = runner.ours("hub", step="write_filters", file=f"{file}.parquet", spec=spec, out=filters)[0]
    given = {"file": filters, "records": sizes.compared}
    found = runner.ours("hub", step="pairs", runs=sizes.runs, spec=spec, **given)
    rate, bare = median(found, "rate"), median(found, "bare_rate")

    def anonlink() -> float:
        return median(runner.peer("anonlink", "pairs", runs=sizes.runs, threshold=written["dice"], **given), "rate")

    def millions(value: float) -> str:
        return f"{value / 1e6:,.0f} million/s"

    peer, beside = _beside(anonlink, millions, "anonlink")
    vector = "vpopcntq" if found[0]["vpopcntq"] else "no vpopcntq"
    values = {"rate": rate, "anonlink_rate": peer, "bare_rate": bare, "vpopcntq": found[0]["vpopcntq"]}
    title = f"all pairs of {sizes.compared:,} x {sizes.compared:,} filters of 1024 bits, one core"
    return [
        Line(title, millions(rate), beside, _times(rate, peer), ">= 8", values),
        Line(f"  beside a bare AND + POPCOUNT loop ({vector})", "", millions(bare), f"{rate / bare:.2f}", ">= 0.60"),
        Line("  with the levels of own-source pairs counted too", millions(median(found, "whole_rate"))),
    ]


def link(runner: Runner, sizes: Sizes) -> list[Line]:
    """Link two sources of a population exactly: every pair is compared."""
    given = {"folder": str(_population(runner, sizes)), "records": sizes.linked}
    found = runner.ours("hub", cores=2, step="link_population", repeats=sizes.runs, **given)[0]
    title = f"link {sizes.linked:,} x {sizes.linked:,} records exactly, spec default, two cores"
    return [
        Line(title, f"{found['seconds']:.1f} s", target="< 60 s", values=found),
        Line("  peak memory", f"{found['peak_memory_gb']:.2f} GB", target="< 4 GB"),
    ]


def _encoded(runner: Runner, records: int) -> tuple[dict[str, Any], str]:
    """Encode two sources of so many records; returns what it took and where they are."""
    file = labelled_set(runner, "million", records)
    given = {"file": f"{file}.parquet", "spec": "default", "out": f"{file}.encoded"}
    return runner.ours("steward", step="encode_sources", **given)[0], f"{file}.encoded"


def splink(runner: Runner, name: str, file: Path, limit: float = 3600) -> dict[str, Any]:
    """Link a labelled set with Splink."""
    chosen = SETS[name]
    given = {"fields": chosen.fields, "blocks": chosen.blocks, "train": chosen.train, "repeats": chosen.repeats}
    return runner.peer("splink", "link", cores=2, limit=limit, file=f"{file}.parquet", **given)[0]


def million(runner: Runner, sizes: Sizes) -> list[Line]:
    """Link a large file: ours from encodings on disk, Splink from plain text on disk, on two cores."""
    encoded, prefix = _encoded(runner, sizes.large)
    found = runner.ours("hub", cores=2, step="link_encodings", prefix=prefix, spec="default")[0]
    try:
        peer = splink(runner, "million", labelled_set(runner, "million", sizes.large))
    except AbsentError as absent:
        peer, reason = {}, f"Splink: {absent}"
    title = f"link {sizes.large:,} + {sizes.large:,} records, spec default, two cores ({found['mode']})"

    def row(measured: str, name: str, form: str, target: str = "") -> Line:
        ours = form.format(found[name])
        if not peer:
            return Line(measured, ours, reason, "", target, {name: found[name]})
        ratio = f"{found[name] / peer[name]:.2f}" if peer[name] else ""
        values = {name: found[name], f"splink_{name}": peer[name]}
        return Line(measured, ours, "Splink " + form.format(peer[name]), ratio, target, values)

    recall = found["expected_candidate_recall"], found["measured_candidate_recall"]
    return [
        row(title, "seconds", "{:.1f} s", "<= Splink"),
        row("  peak memory", "peak_memory_gb", "{:.2f} GB", "< 6 GB"),
        row("  F1 (Splink: threshold chosen with the truth)", "f1", "{:.4f}", ">= Splink"),
        row("  candidate pairs", "candidates", "{:,}"),
        Line("  candidate recall, expected and measured", " and ".join(map(_share, recall)), target=">= 0.99"),
        Line("  the encodings, made beforehand on one core", f"{encoded['seconds']:.1f} s", values=encoded),
    ]


def _share(value: float | dict[str, float] | None) -> str:
    if isinstance(value, dict):
        value = value.get("value")
    return "-" if value is None else f"{value:.4f}"


def growth(runner: Runner, sizes: Sizes) -> list[Line]:
    """The same link at several sizes."""
    lines = []
    for records in sizes.growth:
        _, prefix = _encoded(runner, records // 2)
        found = runner.ours("hub", cores=2, step="link_encodings", prefix=prefix, spec="default")[0]

        def splinks(records: int = records) -> float:
            return float(splink(runner, "million", labelled_set(runner, "million", records // 2))["seconds"])

        peer, beside = _beside(splinks, lambda seconds: f"{seconds:.1f} s", "Splink")
        recall = f"{_share(found['expected_candidate_recall'])} and {_share(found['measured_candidate_recall'])}"
        ours = f"{found['seconds']:.1f} s, {found['peak_memory_gb']:.2f} GB, {found['mode']}, recall {recall}"
        ratio = f"{found['seconds'] / peer:.2f}" if peer else ""
        lines.append(Line(f"growth: link {records:,} records, two cores", ours, beside, ratio, values=found))
    return lines
