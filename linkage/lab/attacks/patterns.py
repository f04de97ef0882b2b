"""Pattern mining: bits that are set together are one token's, and a record is who its tokens say it is.

After Christen, Vidanage, Ranbaduge and Schnell (2018). Nothing is known of the hashing: the bits of a token are set
together in every record that has it. Sets of such bits are mined, the strongest first, each in what the others leave
over; sets are paired with tokens that are as frequent, and as often together; a record then has the tokens whose bits
it has, and is given to the person who has those tokens. From there on the attack goes beyond the published one: the
people found teach what the bits of all tokens are, rare ones too, and these find more people.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import Filter
from linkage.lab.attacks.graph import Channel, match
from linkage.lab.attacks.matching import assign, soft
from linkage.lab.attacks.scene import Outcome, Scene, View
from linkage.steward.tokens import tokenise

__all__ = ["patterns"]

Matrix = NDArray[np.float32]
Flags = NDArray[np.bool_]

_TOKENS = 60
"""Tokens of each filter that are mined for: the most frequent."""

_LEAST_BITS, _LEAST_HOLDERS = 4, 8
"""Fewer bits, or bits of fewer records, are a coincidence."""

_CLOSED, _ALIKE = 0.98, 0.97
_STEPS, _FAILURES = 12, 40
_SLIP, _NOISE = 0.01, 0.1
"""Standard deviations of a token's frequency and of the correlation of two tokens, between the two lists."""

_LESSONS, _FIRST, _LAST = 8, 0.3, 0.95
"""Rounds of learning, and the share of names taken to be right in the first and the last."""

_LEAST, _TIE = 0.01, np.float32(1e-4)
_PRIOR = 0.02
"""Share of the bits that are a token's, before anything is known."""


def patterns(scene: Scene) -> Outcome:
    """Mine co-occurring bits in every filter, pair them with tokens, and match records to people by their tokens.

    The best of all rounds of learning counts, as the truth tells: that favours the attacker. Where no set of bits is
    found, there is nothing to learn from, and the attack guesses.
    """
    filters = [
        (held(scene.attacker, entry), _bits(view)) for entry, view in zip(scene.spec.filters, scene.seen, strict=True)
    ]
    score = np.random.default_rng([scene.seed, 47]).random((len(scene.attacker), len(scene.owner)), np.float32) * _TIE
    read = 0
    for tokens, ones in filters:
        often = tokens[:, np.argsort(-tokens.sum(axis=0), kind="stable")[:_TOKENS]]
        found = mined(ones)
        read += found.shape[1]
        score += _shared(often, found, paired(found, often))
    assigned = assign(score)
    best = scene.score(assigned)
    for right in np.linspace(_FIRST, _LAST, _LESSONS if read else 0).tolist():
        learnt = np.sum([_learnt(tokens, ones, assigned, right) for tokens, ones in filters], axis=0)
        assigned = assign(learnt)
        best = max(best, scene.score(assigned), key=lambda outcome: outcome.hits)
    return best


def _bits(view: View) -> Matrix:
    """Return the bits of a filter, bits that are always alike once: shape (records, bits)."""
    ones = np.asarray(view.signs < 0, np.float32)
    alike = _together(ones) > _ALIKE
    return ones[:, ~np.triu(alike, 1).any(axis=0)]


def held(records: pl.DataFrame, entry: Filter) -> Matrix:
    """Return which record has which token of a filter, tokens that are always together once: (records, tokens)."""
    having: dict[str, set[int]] = defaultdict(set)
    for part in entry.parts:
        for row, value in enumerate(records[part.field].to_list()):
            for text in value if isinstance(value, list) else [value]:
                for token in tokenise(text, part.tokens) if text else ():
                    having[f"{part.tokens}/{token}"].add(row)
    has = np.zeros((len(having), len(records)), np.float32)
    for number, rows in enumerate(having.values()):
        has[number, list(rows)] = 1
    return np.ascontiguousarray(np.unique(has, axis=0).T)


def mined(ones: Matrix) -> Matrix:
    """Return which records hold which set of co-occurring bits: shape (records, sets).

    A set grows from the two bits that go together most, by the bit that most of its holders have, until there are bits
    that all have. Its bits then no longer count among its holders, so that the next set is found in what is left.
    """
    left = ones.copy()
    together = left.T @ left
    found: list[Matrix] = []
    failures = 0
    while len(found) < _TOKENS and failures < _FAILURES:
        counts = np.diag(together)
        beyond = together - np.outer(counts, counts) / len(left)
        np.fill_diagonal(beyond, 0)
        first, second = np.unravel_index(int(beyond.argmax()), beyond.shape)
        holders, members = _grown(left, int(first), int(second))
        if members.sum() >= _LEAST_BITS and holders.sum() >= _LEAST_HOLDERS:
            holders = ones[:, members].mean(axis=1) > _CLOSED
            found.append(holders.astype(np.float32))
        else:
            failures += 1
            holders = (left[:, first] > 0) & (left[:, second] > 0)
            members = np.zeros(len(counts), np.bool_)
            members[[first, second]] = True
        changed = left[holders]
        together -= changed.T @ changed
        changed[:, members] = 0
        together += changed.T @ changed
        left[holders] = changed
    return np.stack(found, axis=1) if found else np.zeros((len(ones), 0), np.float32)


def _grown(left: Matrix, first: int, second: int) -> tuple[Flags, Flags]:
    holders = (left[:, first] > 0) & (left[:, second] > 0)
    members = np.zeros(left.shape[1], np.bool_)
    members[[first, second]] = True
    for _ in range(_STEPS):
        if not holders.any():
            break
        shares = left[holders].mean(axis=0)
        closed = shares > _CLOSED
        if closed.sum() >= members.sum() + _LEAST_BITS:
            return holders, closed
        shares[members] = -1
        best = int(shares.argmax())
        members[best] = True
        holders = holders & (left[:, best] > 0)
    return holders, np.zeros(left.shape[1], np.bool_)


def paired(found: Matrix, tokens: Matrix) -> NDArray[np.int64]:
    """Return the token of each set, by how frequent both are and how often two of each occur together; -1 for none."""
    if not found.shape[1]:
        return np.zeros(0, np.int64)
    gap = found.mean(axis=0)[:, None] - tokens.mean(axis=0)[None, :]
    evidence = np.asarray(-np.square(gap) / (2 * _SLIP**2), np.float32)
    channel = Channel(_together(found), _together(tokens), 1 / _NOISE**2)
    return match([channel], evidence, soft(evidence, 1.0, 0.85), relaxed=0.85)


def _together(has: Matrix) -> Matrix:
    centred = (has - has.mean(axis=0)) / (has.std(axis=0) + np.float32(1e-6))
    likeness = np.asarray(centred.T @ centred / np.float32(len(has)), np.float32)
    np.fill_diagonal(likeness, 0)
    return likeness


def _shared(tokens: Matrix, found: Matrix, pairs: NDArray[np.int64]) -> Matrix:
    score = np.zeros((len(tokens), len(found)), np.float32)
    for pattern, token in enumerate(pairs.tolist()):
        if token >= 0:
            share = min(max(float(tokens[:, token].mean()), 1 / len(tokens)), 1 - 1 / len(tokens))
            # A rare token that both have tells more than one that neither has.
            mine, theirs = tokens[:, token] - share, found[:, pattern] - share
            score += np.outer(mine, theirs).astype(np.float32) / np.float32(share * (1 - share))
    return score


def _learnt(tokens: Matrix, ones: Matrix, assigned: NDArray[np.int64], right: float) -> Matrix:
    """Learn from the people given so far, ``right`` of them rightly, what bits each token sets: log-likelihoods."""
    given = assigned >= 0
    has, bits = tokens[given], ones[assigned[given]]
    base = np.clip(bits.mean(axis=0), _LEAST, 1 - _LEAST)
    with_it = right + (1 - right) * base
    count, ones_of = has.sum(axis=0)[:, None], has.T @ bits
    odds = ones_of * np.log(with_it / base) + (count - ones_of) * np.log((1 - with_it) / (1 - base)) + np.log(_PRIOR)
    sets = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    none = tokens @ np.log1p(-np.minimum(sets, 1 - _LEAST)).astype(np.float32)
    one = np.clip(1 - np.exp(none) * (1 - _LEAST), _LEAST, 1 - _LEAST)
    score: Matrix = np.log(one / (1 - one)) @ ones.T + np.log1p(-one).sum(axis=1)[:, None]
    return score.astype(np.float32)
