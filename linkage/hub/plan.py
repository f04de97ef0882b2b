"""What a comparison is to do, in a form small enough to be sent to every worker, and what a worker found.

A :class:`Plan` is made once; its shards can be examined in any order, on any machine that holds the same encodings.
Plans and findings are kept as NumPy archives without pickled objects.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.exchange.files import atomic_write
from linkage.hub.block import Blocking
from linkage.hub.encoded import Encoded, restrict
from linkage.hub.pilot import Pilot

__all__ = [
    "MOST_COUNTED", "Easy", "Found", "Layout", "Plan", "Shard", "deal", "lay_out", "load_found", "load_plan",
    "row_spans", "save_found", "save_plan",
]  # fmt: skip

MOST_COUNTED = 2**16 - 1
"""Rows in the plan's own sample of a source at most: so many fit into the counts of a finding."""


@dataclass(frozen=True)
class Found:
    """What a shard yielded.

    Attributes
    ----------
    kind, first, last
        Its shard.
    left, right
        int32, shape (pairs,): rows.
    levels, strata
        uint8, shape (pairs, filters).
    parted
        uint8, shape (pairs,): bits of the random number by which the crowd was parted that the pair was found in.
    counts
        uint16, shape (last - first, filters, LEVELS): sampled rows of the row's own source by level; none by key.
    skipped, scored
        float64, shape (last - first,): by key, pairs of crowds not compared, and pairs whose filters were compared.
    """

    kind: str
    first: int
    last: int
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    levels: NDArray[np.uint8]
    strata: NDArray[np.uint8]
    parted: NDArray[np.uint8]
    counts: NDArray[np.uint16]
    skipped: NDArray[np.float64]
    scored: NDArray[np.float64]


@dataclass(frozen=True)
class Easy:
    """The matches that are all but identical, and those that differ somewhat.

    Attributes
    ----------
    blocking
        The keys by which the former were found.
    middle
        The keys by which the latter were found, among the records that these left; None if they were not sought.
    found
        All pairs that those keys found.
    settled
        bool, shape (records,): records that have one near partner in each other source, and no second one. They are
        not compared further.
    matches
        float64, shape (sources, sources): pairs of settled records, upper triangle.
    """

    blocking: Blocking
    middle: Blocking | None
    found: Found
    settled: NDArray[np.bool_]
    matches: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How the pairs of records are to be compared.

    Attributes
    ----------
    rows, seed
        Rows of the encodings that the plan was made for, and the seed of its samples.
    level_of
        uint8, shape (filters, strata, bits + 1): level of a distance.
    unlike_counts
        float64, shape (filters, strata, LEVELS): unlike pairs by level.
    threshold
        float32, shape (): score from which a pair is a candidate.
    own, own_starts
        int64: rows of sampled records, one source after the other, and where each source begins, shape (sources + 1,).
    pairs
        float64, shape (sources, sources): linkable pairs of records, upper triangle; where easy matches were found,
        those and the pairs that they leave.
    unlike_pairs
        Unlike pairs that are compared.
    most
        Candidates that may be kept; more of them are refused.
    easy
        The matches that were found while planning; the comparison goes on among the other records. None if there are
        none, and within the budget.
    blocking
        The keys on which collisions are looked for; None where all pairs are compared.
    pilot
        The records by which it was decided, and by which what the keys find is measured; None within the budget.
    expected
        Share of the matches that will be found.
    reason
        Why all pairs are compared, or not: ``within-budget``, ``beyond-budget``, ``recall-not-reached`` (all are
        compared, beyond the budget, or else the best keys that can be afforded are used).
    """

    rows: int
    seed: int
    level_of: NDArray[np.uint8]
    unlike_counts: NDArray[np.float64]
    threshold: NDArray[np.float32]
    own: NDArray[np.int64]
    own_starts: NDArray[np.int64]
    pairs: NDArray[np.float64]
    unlike_pairs: float
    most: int
    easy: Easy | None
    blocking: Blocking | None
    pilot: Pilot | None
    expected: float
    reason: str


@dataclass(frozen=True)
class Shard:
    """A part of a comparison, from ``first`` to ``last``: left rows, keys, or left rows of what the easy matches leave.

    Keys and the rows of the rest are numbered among the records that are not settled.
    """

    kind: Literal["rows", "keys", "rest"]
    first: int
    last: int


@dataclass(frozen=True)
class Layout:
    """Which rows are compared with which: it follows from encodings and plan."""

    spans: NDArray[np.int64]  # (rows, 2) rows it may be linked to
    own_spans: NDArray[np.int64]  # (rows, 2) the part of the plan's `own` that is of the row's own source
    sampled: NDArray[np.bool_]


def lay_out(encoded: Encoded, plan: Plan) -> Layout:
    """Say which rows are compared with which.

    Raises
    ------
    LinkError
        The plan was made for other encodings.
    """
    rows, number = len(encoded.record), len(encoded.sources)
    if plan.rows != rows or plan.pairs.shape != (number, number) or plan.level_of.shape[0] != encoded.classes.shape[1]:
        raise LinkError("the plan was made for other encodings", reason="plan-differs", hint="plan the comparison anew")
    source = encoded.source[encoded.record]
    sampled = np.zeros(rows, np.bool_)
    sampled[plan.own] = True
    own_spans = np.column_stack([plan.own_starts[source], plan.own_starts[source + 1]])
    whole = plan.blocking is None and plan.easy is None
    spans = row_spans(encoded) if whole else np.zeros((rows, 2), np.int64)
    return Layout(spans, own_spans, sampled)


def row_spans(encoded: Encoded) -> NDArray[np.int64]:
    """Return the rows after it that each row may be linked to: int64 (rows, 2)."""
    rows = len(encoded.record)
    source = encoded.source[encoded.record]
    ends = np.searchsorted(source, np.arange(len(encoded.sources)), side="right")
    # Where repeats are looked for, every later row of the same source is a pair too, and none is surely unlike.
    first = np.where(encoded.deduplicated[source], ends[source], np.arange(rows) + 1)
    return np.column_stack([first, np.full(rows, rows)]).astype(np.int64)


def deal(encoded: Encoded, plan: Plan, number: int) -> list[Shard]:
    """Cut the comparison into about so many shards of about the same work, two at least beyond the budget."""
    layout = lay_out(encoded, plan)
    further: list[Shard] = []
    if plan.blocking is not None:
        keys = len(plan.blocking.line)
        parts = min(max(1, round(0.75 * number)), keys)
        edges = np.linspace(0, keys, parts + 1).astype(int).tolist()
        further = [Shard("keys", first, last) for first, last in pairwise(edges)]
    elif plan.easy is not None:
        spans = row_spans(restrict(encoded, ~plan.easy.settled)[0])
        parts = max(1, round(0.75 * number))
        further = [Shard("rest", first, last) for first, last in pairwise(_cut(np.ptp(spans, axis=1), parts))]
    work = np.ptp(layout.spans, axis=1) + np.ptp(layout.own_spans, axis=1)
    by_row = _cut(work, max(1, number - len(further)))
    return [Shard("rows", first, last) for first, last in pairwise(by_row)] + further


def _cut(work: NDArray[np.int64], number: int) -> list[int]:
    """Return the edges of so many parts of rows, of about the same work."""
    if not len(work):
        return [0]
    done = np.cumsum(work + 1)
    cuts = np.searchsorted(done, np.linspace(0, done[-1], number + 1)[1:-1]).tolist()
    return sorted({0, *cuts, len(work)})


def save_plan(plan: Plan, path: Path) -> None:
    """Write a plan to a file."""
    _save(plan, path)


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises
    ------
    LinkError
        The file is not a plan.
    """
    return Plan(**_load(path, Plan))


def save_found(found: Found, path: Path) -> None:
    """Write what a shard yielded to a file."""
    _save(found, path)


def load_found(path: Path) -> Found:
    """Read what a shard yielded.

    Raises
    ------
    LinkError
        The file is not what a shard yields.
    """
    return Found(**_load(path, Found))


_NESTED: dict[str, type] = {"blocking": Blocking, "middle": Blocking, "pilot": Pilot, "easy": Easy, "found": Found}


def _save(content: Plan | Found, path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    plain: dict[str, Any] = {}
    parts = [(field.name, getattr(content, field.name)) for field in fields(content)]
    while parts:
        name, part = parts.pop()
        if is_dataclass(part):
            parts += [(f"{name}.{field.name}", getattr(part, field.name)) for field in fields(part)]
        elif isinstance(part, np.ndarray):
            arrays[name] = part
        else:
            plain[name] = part
    with atomic_write(path, private=True) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, plain=np.array(json.dumps(plain)), **arrays)


def _load(path: Path, kind: type[Plan] | type[Found]) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            parts: dict[str, Any] = {name: archive[name] for name in archive.files if name != "plain"}
            parts.update(json.loads(str(archive["plain"])))
        parts = _nest(parts)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise LinkError(f"{path}: not a readable {kind.__name__.lower()}", reason="unreadable") from error
    if set(parts) != {field.name for field in fields(kind)}:
        raise LinkError(f"{path}: not a {kind.__name__.lower()} of this version", reason="unreadable")
    return parts


def _nest(parts: dict[str, Any]) -> dict[str, Any]:
    """Put parts of dotted names together."""
    out = {name: part for name, part in parts.items() if "." not in name}
    for name in {name.partition(".")[0] for name in parts if "." in name}:
        own = {key.partition(".")[2]: part for key, part in parts.items() if key.startswith(f"{name}.")}
        out[name] = _NESTED[name](**_nest(own))
    return out
