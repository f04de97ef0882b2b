"""The pairs of records that look alike enough to be weighed, out of all pairs.

Three steps, so that many machines can share the work: :func:`plan_comparison` decides, once, what is to be done;
:func:`examine` does a shard of it and needs no other shard; :func:`gather` puts the findings together, the same bit for
bit however the work was cut and in whatever order it came back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from linkage.errors import LinkError
from linkage.hub.block import BUDGET, RECALL, Blocking, log_miss, share_reached, watched
from linkage.hub.commonness import commonness
from linkage.hub.encoded import Encoded, restrict
from linkage.hub.kernels import MISSING, emit_candidates, pair_distances
from linkage.hub.levels import LEVELS, TAILS, cut_distances, sum_weights, weight_of, weights_by_level
from linkage.hub.plan import Found, Plan, Shard, deal, lay_out, row_spans
from linkage.hub.planning import candidates_wanted, plan_comparison
from linkage.hub.search import join_threads, refuse_masses, search_keys

__all__ = [
    "LEVELS",
    "TAILS",
    "Candidates",
    "compare",
    "cut_distances",
    "examine",
    "gather",
    "plan_comparison",
    "rest_of",
]

_CHUNK = 1_000_000  # rows for which one machine makes a further shard: bounds what is held at once


@dataclass(frozen=True)
class Candidates:
    """Pairs of records that look alike enough to be weighed.

    Attributes
    ----------
    left, right
        int64, shape (pairs,): records, ``left < right``.
    levels, strata
        uint8, shape (pairs, filters): 255 where the filter is missing on a side.
    commonness
        float64, shape (pairs, filters): log of how many own-source neighbours of the two records reach the pair's
        level, over how many do so on average. It is what a shared rare or common value adds or takes.
    chance
        float64, shape (pairs,): log of the number of pairs of variants of which this is the best.
    score
        float64, shape (pairs,): sum over filters of minus log of the share of unlike pairs at least so close.
    linkable
        bool, shape (pairs,): whether the two can be one person; the others are unlike pairs of one source.
    reach
        float64, shape (pairs,): how likely the comparison was to find a pair so close; 1 if all pairs were compared.
    unlike_counts
        float64, shape (filters, strata, LEVELS): unlike pairs by level.
    pairs
        float64, shape (sources, sources): linkable pairs of the design, upper triangle.
    unlike_pairs
        Unlike pairs of the design.
    comparison
        How they were compared: ``mode``, exact or blocked, and ``reason``; ``keys``, ``key_bits``; the share of the
        matches expected to be among the candidates, and the share found of those that the pilot knows;
        ``pairs_scored``, and ``pairs_skipped`` of records that are all but identical in masses.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    levels: NDArray[np.uint8]
    strata: NDArray[np.uint8]
    commonness: NDArray[np.float64]
    chance: NDArray[np.float64]
    score: NDArray[np.float64]
    linkable: NDArray[np.bool_]
    reach: NDArray[np.float64]
    unlike_counts: NDArray[np.float64]
    pairs: NDArray[np.float64]
    unlike_pairs: float
    comparison: dict[str, Any]


def compare(encoded: Encoded, *, seed: int = 0, budget: float = BUDGET, recall: float = RECALL) -> Candidates:
    """Compare records on this machine and keep the pairs that look alike: plan, examine, gather.

    Parameters
    ----------
    seed
        Of all samples.
    budget, recall
        Pairs up to which all are compared, and the share of the matches that shall be found beyond.

    Raises
    ------
    LinkError
        There is no pair that could be linked, or next to nothing tells the records apart.
    """
    plan = plan_comparison(encoded, seed=seed, budget=budget, recall=recall)
    shards = deal(encoded, plan, 1 + plan.rows // _CHUNK)
    rest = rest_of(encoded, plan)
    return gather(encoded, plan, [examine(encoded, plan, shard, rest) for shard in shards])


def rest_of(encoded: Encoded, plan: Plan) -> tuple[Encoded, NDArray[np.int64]]:
    """Return the records that the easy matches leave, and which rows they were."""
    if plan.easy is None:
        return encoded, np.arange(len(encoded.record))
    return restrict(encoded, ~plan.easy.settled)


def examine(encoded: Encoded, plan: Plan, shard: Shard, rest: tuple[Encoded, NDArray[np.int64]] | None = None) -> Found:
    """Compare the pairs of one shard. The result depends on nothing but the arguments.

    Parameters
    ----------
    rest
        What :func:`rest_of` returns, where it is known already.

    Raises
    ------
    LinkError
        ``plan-differs``, or ``indistinguishable-records``: more pairs look alike than can be kept.
    """
    layout = lay_out(encoded, plan)
    if shard.kind == "rows":
        return _examine_rows(encoded, plan, shard, layout.spans, layout.own_spans, layout.sampled)
    left, rows = rest_of(encoded, plan) if rest is None else rest
    if plan.blocking is None:
        spans = row_spans(left)
        found = _examine_rows(left, plan, shard, spans, np.zeros_like(spans), np.zeros(len(rows), np.bool_))
    else:
        watch = watched(len(encoded.source), plan.seed)
        watch = watch if plan.easy is None else watch[~plan.easy.settled]
        weights, threshold = weight_of(plan.level_of, plan.unlike_counts), float(plan.threshold)
        found = search_keys(
            left, plan.blocking, plan.level_of, weights, threshold, shard.first, shard.last,
            watch=watch, most=plan.most,
        )  # fmt: skip
    return replace(found, left=rows[found.left].astype(np.int32), right=rows[found.right].astype(np.int32))


def _examine_rows(
    encoded: Encoded,
    plan: Plan,
    shard: Shard,
    spans: NDArray[np.int64],
    own_spans: NDArray[np.int64],
    sampled: NDArray[np.bool_],
) -> Found:
    """Compare rows with the spans of rows given; with ``rest`` the plan's own sample takes no part."""
    threads, rest = get_num_threads(), shard.kind == "rest"
    share = (shard.last - shard.first) / max(len(encoded.record), 1)
    capacity = int(2 * candidates_wanted(len(encoded.source)) * share / threads) + 100_000
    while True:
        found = emit_candidates(
            encoded.words, encoded.width, encoded.classes, encoded.strata,
            plan.level_of, weight_of(plan.level_of, plan.unlike_counts), np.float32(plan.threshold),
            spans, plan.own[:0] if rest else plan.own, own_spans, encoded.known[encoded.record], sampled,
            shard.first, shard.last, capacity, threads,
        )  # fmt: skip
        kept, counts = found[4], found[5]
        refuse_masses(int(kept.sum()), plan.most)
        if kept.max() <= capacity:
            break
        capacity = int(kept.max())
    by_level = np.zeros((0 if rest else len(counts), counts.shape[1], LEVELS), np.uint16)
    by_level[:, :, : counts.shape[2]] = counts[: len(by_level)]
    left, right, levels, strata = (join_threads(part, kept) for part in found[:4])
    parted, none = np.zeros(len(left), np.uint8), np.zeros(0)
    return Found(shard.kind, shard.first, shard.last, left, right, levels, strata, parted, by_level, none, none)


def gather(encoded: Encoded, plan: Plan, founds: Iterable[Found]) -> Candidates:
    """Put the findings of all shards together: of each pair of records its best pair of variants.

    Raises
    ------
    LinkError
        ``shards-missing``: not every shard was examined once; or ``indistinguishable-records``.
    """
    parts = sorted(founds, key=lambda found: (found.kind, found.first))
    _require_all(encoded, parts, plan)
    if plan.easy is not None:
        parts.append(_near_enough(plan.easy.found, plan))
    i, j, levels, strata, parted = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("left", "right", "levels", "strata", "parted")
    )
    refuse_masses(len(i), plan.most)
    if not len(i):
        raise LinkError(
            "nothing tells the records apart: no pair is closer than the mass of pairs",
            reason="indistinguishable-records",
            hint="check that the filters hold what the spec says",
        )
    score = sum_weights(weights_by_level(plan.unlike_counts), levels, strata)
    a, b = encoded.record[i], encoded.record[j]
    a, b = np.minimum(a, b), np.maximum(a, b)
    order = _best_first(a * len(encoded.source) + b, score, i, j, parted)
    first = (np.diff(a[order], prepend=-1) != 0) | (np.diff(b[order], prepend=-1) != 0)
    sampled = np.zeros(plan.rows, np.int64)
    sampled[plan.own] = 1
    same = encoded.source[a] == encoded.source[b]
    within = same & (sampled[i] + sampled[j] > 0)
    sought = a != b
    if plan.easy is not None:
        # Of the pairs that cannot match, those of settled records were looked for in the sample alone.
        sought &= within | ~same | ~(plan.easy.settled[a] | plan.easy.settled[b])
    keep = order[first & sought[order]]
    a, b, i, j, levels, strata = a[keep], b[keep], i[keep], j[keep], levels[keep], strata[keep]
    same, within = same[keep], within[keep]
    linkable = ~same | ~encoded.deduplicated[encoded.source[a]]
    own = np.where(same & (encoded.known[a] != encoded.known[b]), sampled[i] + sampled[j], 0)
    return Candidates(
        left=a,
        right=b,
        levels=levels,
        strata=strata,
        commonness=np.where(
            _sure(encoded)[encoded.source[np.array([a, b])]].all(axis=0)[:, None],
            commonness([part.counts for part in parts if part.kind == "rows"], i, j, levels, own),
            0.0,
        ),
        chance=np.log(encoded.variants[a] * encoded.variants[b]),
        score=score[keep],
        linkable=linkable,
        reach=np.where(within, 1.0, _reach(encoded, plan, i, j, strata) * 0.5 ** parted[keep]),
        unlike_counts=plan.unlike_counts,
        pairs=plan.pairs,
        unlike_pairs=plan.unlike_pairs,
        comparison=_describe(encoded, plan, parts, a * len(encoded.source) + b),
    )


def _require_all(encoded: Encoded, parts: list[Found], plan: Plan) -> None:
    keys = 0 if plan.blocking is None else len(plan.blocking.line)
    rest = 0 if plan.easy is None or plan.blocking is not None else int((~plan.easy.settled)[encoded.record].sum())
    for kind, size in (("rows", plan.rows), ("keys", keys), ("rest", rest)):
        own = [part for part in parts if part.kind == kind]
        edges = [0, *(part.last for part in own)]
        if edges[-1] != size or any(part.first != edge for part, edge in zip(own, edges, strict=False)):
            raise LinkError(
                "not every shard was examined once", reason="shards-missing", hint="examine what is missing"
            )


def _near_enough(found: Found, plan: Plan) -> Found:
    """Return of the easy pairs those that reach the threshold, which was chosen after them."""
    score = sum_weights(weights_by_level(plan.unlike_counts), found.levels, found.strata)
    good = score >= float(plan.threshold)
    pairs = {name: getattr(found, name)[good] for name in ("left", "right", "levels", "strata", "parted")}
    return replace(found, kind="easy", **pairs)


def _reach(
    encoded: Encoded,
    plan: Plan,
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    strata: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """Return how likely the comparison was to find each pair."""
    if plan.easy is None and plan.blocking is None:
        return np.ones(len(i))
    distances = pair_distances(encoded.words, encoded.width, i.astype(np.int64), j.astype(np.int64))
    missed = np.ones(len(i)) if plan.blocking is not None else np.zeros(len(i))
    # Two records settled with one another would have been left to the further searches, had they not been found.
    for blocking in _searched(plan):
        missed *= 1 - _share_found(encoded, blocking, distances, strata)
    # A pair that was found can be found, however unlikely that was: the weight of its kind must stay finite.
    return np.maximum(1 - missed, 1e-6)


def _searched(plan: Plan) -> list[Blocking]:
    """Return the keys of all searches, one after the other."""
    every = [plan.blocking] if plan.easy is None else [plan.easy.blocking, plan.easy.middle, plan.blocking]
    return [blocking for blocking in every if blocking is not None]


def _share_found(
    encoded: Encoded, blocking: Blocking, distances: NDArray[np.int32], strata: NDArray[np.uint8]
) -> NDArray[np.float64]:
    by_line = np.bincount(blocking.line, minlength=encoded.words.shape[1] // 8)
    miss = log_miss(blocking.bits, blocking.bound, by_line, encoded.width)
    return share_reached(miss, distances, strata != MISSING)


def _describe(encoded: Encoded, plan: Plan, parts: list[Found], found: NDArray[np.int64]) -> dict[str, Any]:
    """Say how the pairs were compared; ``found`` are the candidates as numbers, ascending."""
    if plan.blocking is None and plan.easy is None:
        return {"mode": "exact", "reason": plan.reason, "expected_candidate_recall": 1.0}
    searched = _searched(plan)
    by_key = [part for part in parts if part.kind in ("keys", "easy")]
    measured, matches = _measure(encoded, plan, found)
    return {
        "mode": "blocked",
        "reason": plan.reason,
        "keys": sum(len(blocking.line) for blocking in searched),
        "key_bits": searched[-1].bits,
        "settled_matches": 0.0 if plan.easy is None else float(plan.easy.matches.sum()),
        "expected_candidate_recall": round(plan.expected, 4),
        "measured_candidate_recall": measured,
        "pilot_matches": matches,
        "pairs_scored": float(sum(part.scored.sum() for part in by_key)),
        "pairs_skipped": float(max(part.skipped.max(initial=0) for part in by_key)),
    }


def _measure(encoded: Encoded, plan: Plan, found: NDArray[np.int64]) -> tuple[float | None, float]:
    """Return the share found of the matches, the pilot's standing for all that were not settled; and the pilot's."""
    if plan.pilot is None:
        return None, 0.0
    record = np.arange(len(encoded.source)) if plan.easy is None else np.flatnonzero(~plan.easy.settled)
    row = np.flatnonzero(np.isin(encoded.record, record))
    a, b = encoded.record[row[plan.pilot.left]], encoded.record[row[plan.pilot.right]]
    pair = np.minimum(a, b) * len(encoded.source) + np.maximum(a, b)
    there = found[np.minimum(np.searchsorted(found, pair), len(found) - 1)] == pair
    matches = float(plan.pilot.weight.sum())
    if not matches:
        return None, 0.0
    seen, settled = float(plan.pilot.weight[there].sum()) * plan.pilot.times, plan.pilot.settled
    return round((settled + seen) / (settled + matches * plan.pilot.times), 4), round(matches, 1)


def _best_first(
    pair: NDArray[np.int64],
    score: NDArray[np.float64],
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    parted: NDArray[np.uint8],
) -> NDArray[np.intp]:
    """Sort by pair of records, the best pair of variants first; of equals the one of the earliest rows."""
    order = np.argsort(pair)
    # Next to all pairs of records are there once: the further keys are for the others alone.
    again = np.diff(pair[order]) == 0
    tied = np.flatnonzero(np.append(again, False) | np.append(False, again))
    among = order[tied]
    order[tied] = among[np.lexsort((parted[among], j[among], i[among], -score[among], pair[among]))]
    return order


def _sure(encoded: Encoded) -> NDArray[np.bool_]:
    """Tell by source whether its records' near neighbours are known to be other people."""
    repeated = np.bincount(encoded.known)[encoded.known] > 1
    some = np.bincount(encoded.source[repeated], minlength=len(encoded.sources)) > 0
    return encoded.deduplicated | some
