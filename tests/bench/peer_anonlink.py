"""anonlink, in its own environment: all-pairs rate, and F1 on clkhash's CLKs at the best threshold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from anonlink.candidate_generation import find_candidate_pairs
from anonlink.similarities import dice_coefficient_accelerated
from anonlink.solving import greedy_solve
from bitarray import bitarray
from task import run_task
from truth import best, f1, matches, read_truth

_BYTES = 128
_STEP = 0.005
_PER_RECORD = 15
"""Candidates a record, about: below the similarity where there are more, no threshold is worth trying."""
_SAMPLE = 500


def pairs(file: str, records: int, threshold: float) -> dict[str, Any]:
    """Compare all pairs of two files of 1024-bit filters, of so many records each."""
    filters = _filters(Path(file).read_bytes())
    left, right = filters[:records], filters[records : 2 * records]
    wall, cpu = time.perf_counter(), time.process_time()
    similar = dice_coefficient_accelerated((left, right), threshold)[0]
    cpu_seconds = time.process_time() - cpu
    found = {"pairs": len(left) * len(right), "kept": len(similar), "cpu_seconds": cpu_seconds}
    return {**found, "seconds": time.perf_counter() - wall, "rate": found["pairs"] / cpu_seconds}


def accuracy(file: str, truth: str, repeats: list[str]) -> dict[str, Any]:
    """Return the best F1 over thresholds of greedy groups, or of the bare pairs where a source has repeats."""
    filters = _filters(Path(file).read_bytes())
    source, entity, names = read_truth(truth)
    within = np.array([name in repeats for name in names])
    places = [np.flatnonzero(source == number) for number in range(len(names))]
    started = time.perf_counter()
    if within.any():
        return {**_pairs_within(filters, source, entity, within), "seconds": time.perf_counter() - started}
    sources = [[filters[place] for place in part] for part in places]
    lowest = _lowest(filters)
    score, numbers, records = find_candidate_pairs(sources, dice_coefficient_accelerated, lowest)
    true, tried = matches(source, entity, within), []
    for threshold in np.arange(0.995, lowest, -_STEP):
        upto = int(np.searchsorted(-np.array(score), -threshold, side="right"))
        cut = score[:upto], tuple(part[:upto] for part in numbers), tuple(part[:upto] for part in records)
        groups = [[int(places[number][record]) for number, record in group] for group in greedy_solve(cut)]
        tried.append({"f1": round(_f1(groups, entity, true), 4), "threshold": round(float(threshold), 3)})
    chosen = max(tried, key=lambda entry: entry["f1"])
    seconds = time.perf_counter() - started
    return {**chosen, "how": "groups", "pairs_true": true, "candidates": len(score), "seconds": seconds}


def _pairs_within(filters: list[bitarray], source: Any, entity: Any, within: Any) -> dict[str, Any]:
    score, (left, right) = dice_coefficient_accelerated((filters, filters), _lowest(filters))
    a, b = np.array(left, np.int64), np.array(right, np.int64)
    once = a < b
    return best(a[once], b[once], np.array(score)[once], source, entity, within)


def _f1(groups: list[list[int]], entity: Any, true: int) -> float:
    links = hits = 0
    for group in groups:
        persons = np.unique(entity[group], return_counts=True)[1]
        links += len(group) * (len(group) - 1) // 2
        hits += int((persons * (persons - 1) // 2).sum())
    return f1(hits, links, true)


def _lowest(filters: list[bitarray]) -> float:
    """Return the similarity that only so many pairs a record reach, judged from a sample of the pairs."""
    bits = np.array([entry.tolist() for entry in filters[:: max(1, len(filters) // _SAMPLE)]], np.float32)
    each = bits.sum(axis=1)
    similar = 2 * (bits @ bits.T) / (each[:, None] + each)
    unlike = similar[np.triu_indices(len(bits), 1)]
    return max(0.3, float(np.quantile(unlike, max(0.5, 1 - _PER_RECORD / len(filters)))))


def _filters(octets: bytes) -> list[bitarray]:
    filters = []
    for place in range(0, len(octets), _BYTES):
        entry = bitarray(endian="big")
        entry.frombytes(octets[place : place + _BYTES])
        filters.append(entry)
    return filters


if __name__ == "__main__":
    run_task({"pairs": pairs, "accuracy": accuracy})
