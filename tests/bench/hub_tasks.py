"""What is measured of the hub's side: all pairs compared, files linked, and accuracy on labelled sets."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bare import bare, lay
from numba import njit
from numpy.typing import NDArray
from prepare import one_source

from linkage.contract import LinkageSpec, load_spec
from linkage.contract.spec import Diffusion
from linkage.exchange import Party, create_linkage_key, create_party, load_linkage_key, load_party
from linkage.hub import link as link_sources
from linkage.hub.compare import compare, examine, plan_comparison
from linkage.hub.encoded import Encoded, stack
from linkage.hub.link import Linked
from linkage.hub.plan import Found, Plan, Shard
from linkage.lab.accuracy import TestKey, accuracy
from linkage.steward.encode import encode
from linkage.steward.submit import encode_persons

_WARM = 300
_SAMPLE = 300_000
_PASSES = 3
_QUALITY = ("mode", "pairs_compared", "candidates", "expected_candidate_recall", "measured_candidate_recall")


def write_filters(file: str, spec: str, out: str) -> dict[str, Any]:
    """Encode a file's records into diffused filters of 1024 bits; all three comers compare the same."""
    frame = pl.read_parquet(file)
    filters = encode(
        frame, _short(spec), TestKey(1), labels=frame["id"].cast(pl.String).to_list(), padding_key=bytes(32)
    )
    octets = b"".join(filters[:, 0].to_list())
    Path(out).write_bytes(octets)
    return {"records": len(frame), "dice": _dice(np.frombuffer(octets, np.uint8).reshape(len(frame), -1))}


def _dice(filters: NDArray[np.uint8]) -> float:
    """Return the Dice similarity that some one pair a record reaches, judged from a sample of the pairs."""
    rng = np.random.default_rng(1)
    left, right = (filters[rng.integers(0, len(filters), _SAMPLE)] for _ in range(2))
    both, one, other = (np.bitwise_count(part).sum(axis=1, dtype=np.int32) for part in (left & right, left, right))
    return float(np.quantile(2 * both / (one + other), 1 - 2 / len(filters)))


def _short(spec: str) -> LinkageSpec:
    return load_spec(spec).model_copy(update={"diffusion": Diffusion(bits=1024, inputs=4)})


def pairs(file: str, spec: str, records: int) -> dict[str, Any]:
    """Compare all pairs of two sources of so many records each: the engine's own pass, levels and candidates included.

    ``rate`` is that of the pairs of the two sources; ``whole_rate`` that of the whole pass, in which each record also
    meets a sample of its own source, to learn how common its values are.
    """
    octets = np.frombuffer(Path(file).read_bytes(), np.uint8).reshape(-1, 128)
    encodings = {}
    for number, source in enumerate("ab"):
        part = octets[number * records : (number + 1) * records]
        labels = pl.Series([f"{number}{place:031x}" for place in range(len(part))])
        binary = pl.Series(part).cast(pl.List(pl.UInt8)).cast(pl.Binary)
        encodings[source] = pl.DataFrame({"pseudonym": labels, "variant": 0, "clk": binary}).cast({"variant": pl.UInt8})
    encoded = stack(encodings, _short(spec), dict.fromkeys(encodings, True))
    plan = plan_comparison(encoded)
    # A score is minus the log of the share of unlike pairs at least so close: this one keeps some one pair a record.
    plan = replace(plan, threshold=np.array(np.log(records), np.float32))
    across = replace(plan, own=plan.own[:0], own_starts=np.zeros_like(plan.own_starts))
    examine(encoded, across, Shard("rows", 0, 64))  # compiles
    found, cpu_seconds = _pass(encoded, across)
    whole_seconds = _pass(encoded, plan)[1]
    compared = float(plan.pairs.sum())
    return {
        "pairs": compared,
        "kept": len(found.left),
        "cpu_seconds": cpu_seconds,
        "rate": compared / cpu_seconds,
        "whole_rate": (compared + plan.unlike_pairs) / whole_seconds,
        **_bare(octets[:records].view(np.uint64), octets[records : 2 * records].view(np.uint64)),
    }


def _pass(encoded: Encoded, plan: Plan) -> tuple[Found, float]:
    """Examine all rows; return what was found and the median of the CPU-seconds it took."""
    seconds = []
    for _ in range(_PASSES):
        cpu = time.process_time()
        found = examine(encoded, plan, Shard("rows", 0, plan.rows))
        seconds.append(time.process_time() - cpu)
    return found, statistics.median(seconds)


def _bare(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> dict[str, Any]:
    """Run the bare loop over the same pairs; ``vpopcntq`` says whether the compiler found the vector instruction."""
    tiles, fresh = lay(right), njit(nogil=True)(bare.py_func)  # compiled anew: a cached function shows no assembly
    fresh(left[:4], tiles[:1])
    cpu = time.process_time()
    fresh(left, tiles)
    rate = len(left) * tiles.shape[0] * tiles.shape[2] / (time.process_time() - cpu)
    return {"bare_rate": rate, "vpopcntq": any("vpopcntq" in text for text in fresh.inspect_asm().values())}


def link_population(folder: str, records: int, repeats: int) -> dict[str, Any]:
    """Link the first so many persons of two sources of a population."""
    spec = load_spec("default")
    encodings = _two_sources(Path(folder), records, spec)
    _warm(encodings, spec)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        linked = link_sources(encodings, spec)
        seconds.append(time.perf_counter() - started)
    quality = _quality(linked)
    names = sum(len(frame) for frame in encodings.values())
    return {"records": 2 * records, "names": names, "seconds": statistics.median(seconds), **quality}


def _two_sources(folder: Path, persons: int, spec: LinkageSpec) -> dict[str, pl.DataFrame]:
    create_linkage_key(folder / "link.key", "milwaukee", "bench")
    key = load_linkage_key(folder / "link.key")
    (folder / "link.key").unlink()
    encodings = {}
    for source in ("mpd", "dcf"):
        made = create_party(folder, f"link-{source}")
        party: Party = load_party(made[0])
        for file in made:
            file.unlink()
        encodings[source] = encode_persons(one_source(folder, source, persons), spec, key, party)
    return encodings


def _warm(encodings: dict[str, pl.DataFrame], spec: LinkageSpec) -> None:
    """Link a few records first, by all pairs and by keys: what is measured is the linkage, not the compiler."""
    few = {source: frame.head(_WARM) for source, frame in encodings.items()}
    link_sources(few, spec)
    compare(stack(few, spec, dict.fromkeys(few, True)), budget=1)


def link_encodings(prefix: str, spec: str) -> dict[str, Any]:
    """Link encoded sources; ``seconds`` run from the files on disk to the persons."""
    chosen = load_spec(spec)
    files = sorted(Path(prefix).parent.glob(f"{Path(prefix).name}-*.parquet"))
    _warm({file.stem: pl.scan_parquet(file).head(_WARM).collect() for file in files}, chosen)
    cpu, started = time.process_time(), time.perf_counter()
    frames = pl.collect_all([pl.scan_parquet(file) for file in files])
    encodings = {file.stem: frame for file, frame in zip(files, frames, strict=True)}
    linked = link_sources(encodings, chosen)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    quality = _quality(linked)
    records = len(linked.persons)
    return {"records": records, "seconds": seconds, "cpu_seconds": cpu_seconds, **quality, **_judged(linked, prefix)}


def _quality(linked: Linked) -> dict[str, Any]:
    """Return what the linkage says of how its candidates were found."""
    said = {**linked.quality, **linked.quality.get("blocking", {})}
    return {name: said.get(name) for name in _QUALITY}


def _judged(linked: Linked, prefix: str) -> dict[str, float]:
    """Count the pairs of records of the two sources that were linked, and those linked rightly."""
    truth = pl.read_parquet(f"{prefix}.truth.parquet")
    found = linked.persons.join(truth, on="pseudonym", how="left")
    links, hits, true = (_pairs(found, by) for by in (["person"], ["person", "entity"], ["entity"]))
    rates = {"precision": hits / links if links else 0.0, "recall": hits / true if true else 0.0}
    return {**{name: round(rate, 5) for name, rate in rates.items()}, "f1": round(2 * hits / (links + true), 5)}


def _pairs(frame: pl.DataFrame, by: list[str]) -> int:
    sizes = frame.group_by(by).len()["len"].cast(pl.Int64)
    within = frame.group_by([*by, "source"]).len()["len"].cast(pl.Int64)
    return int((sizes * (sizes - 1) // 2).sum() - (within * (within - 1) // 2).sum())


def labelled_accuracy(file: str, spec: str, repeats: list[str]) -> dict[str, Any]:
    """Return F1 at the engine's own decision, every true pair counted."""
    found = accuracy(
        Path(file), load_spec(spec), source_column="source", entity_column="entity", repeats=frozenset(repeats)
    )
    kept = {name: found[name] for name in ("records", "pairs_true", "best", "expected", "seconds")}
    return {**found["chosen"], **kept}
