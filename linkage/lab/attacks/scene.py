"""One trial: an owner's list, an attacker's list, and what the hub sees of the first.

The attacker is an insider at the hub. He holds the encodings, knows the spec and this very program, and has a list of
his own in plain text; he has no key. What he cannot know he rehearses: he encodes his own list under keys of his own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError
from linkage.lab.attacks.unprotected import clk_spec, fields_spec, names_spec
from linkage.lab.labelled import TestKey
from linkage.steward.encode import KeySource, encode

__all__ = ["Outcome", "Scene", "View", "draw_scene", "encoded", "views"]

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]
Made = TypeVar("Made")

REHEARSALS = 3
"""Keys under which the attacker rehearses: enough to know the noise."""


@dataclass(frozen=True)
class Outcome:
    """What an attack achieved in one trial.

    Attributes
    ----------
    hits
        Records given their right name; a tie of ``k`` counts ``1 / k``.
    tries
        Records that could have been: those on both lists and not known beforehand.
    chance
        Rate that guessing would have.
    """

    hits: float
    tries: int
    chance: float


@dataclass(frozen=True)
class View:
    """One filter of all records as whoever holds the encodings sees it.

    Attributes
    ----------
    signs
        Shape (records, bits): 1 for a bit that is 0, -1 for a bit that is 1.
    mask
        Shape (records,): the presence mask; None where the spec sends none.
    """

    signs: Matrix
    mask: NDArray[np.uint16] | None

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Which records show that they have nothing in this filter."""
        return np.zeros(len(self.signs), np.bool_) if self.mask is None else self.mask == 0


@dataclass(frozen=True)
class Scene:
    """One trial.

    Attributes
    ----------
    owner, attacker
        The two lists, a column for each field of the spec, in standard form and in random order.
    truth
        Shape (attacker's records,): the row of the same person in the owner's list, or -1.
    elsewhere
        Records of the same file's other sources: the fields, and ``owner``, the row of the same person in the owner's
        list, or -1. Empty where the file has one source.
    """

    spec: LinkageSpec
    owner: pl.DataFrame
    attacker: pl.DataFrame
    truth: Rows
    elsewhere: pl.DataFrame
    seed: int
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def key(self) -> TestKey:
        """The owner's linkage key in this trial."""
        return TestKey(1_000_003 * (self.seed + 1))

    @property
    def common(self) -> NDArray[np.bool_]:
        """Which of the attacker's records are on the owner's list."""
        return self.truth >= 0

    @property
    def same_lists(self) -> bool:
        """Whether the two lists hold the same people, and nobody else."""
        return bool(self.common.all()) and len(self.owner) == len(self.attacker)

    @cached_property
    def seen(self) -> list[View]:
        """What the hub holds of the owner's list, by filter."""
        return views(encoded(self.owner, self.spec, self.key), self.spec)

    @cached_property
    def rehearsed(self) -> list[list[View]]:
        """The attacker's own list under keys of his own: by rehearsal, then by filter."""
        return [
            views(encoded(self.attacker, self.spec, self.own_key(number)), self.spec) for number in range(REHEARSALS)
        ]

    def own_key(self, number: int) -> TestKey:
        """Return one of the attacker's own keys, which no owner has."""
        return TestKey(-1 - number - 1_000 * self.seed)

    def unprotected(self, kind: Literal["clk", "fields", "names"]) -> Scene:
        """Return the same trial with the same records in an unprotected encoding: the positive control.

        ``clk`` is one Bloom filter of all fields without diffusion, ``fields`` one a field, ``names`` one of names.
        """

        def made() -> Scene:
            if kind == "names":
                return replace(self, spec=names_spec(self.spec), _kept={})
            return replace(self, spec=(clk_spec if kind == "clk" else fields_spec)(self.spec, self.attacker), _kept={})

        return self.once(kind, made)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """Return what several attacks of the trial need, made by the first."""
        if name not in self._kept:
            self._kept[name] = make()
        made: Made = self._kept[name]
        return made

    def score(self, assigned: Rows, known: NDArray[np.bool_] | None = None) -> Outcome:
        """Count right names.

        Parameters
        ----------
        assigned
            Shape (attacker's records,): the owner's row that each was given, or -1.
        known
            Shape (attacker's records,): whose row was known beforehand; they do not count.
        """
        counted = self.common if known is None else self.common & ~known
        hits = float((assigned[counted] == self.truth[counted]).sum())
        taken = 0 if known is None else int((self.common & known).sum())
        return Outcome(hits, int(counted.sum()), 1 / max(len(self.owner) - taken, 1))


def draw_scene(
    frame: pl.DataFrame, others: pl.DataFrame, spec: LinkageSpec, *, n: int, overlap: float, seed: int
) -> Scene:
    """Draw two lists of ``n`` people, ``overlap`` of them on both with the very same text.

    Parameters
    ----------
    frame
        The people to draw from, one row each: ``entity`` and the spec's fields.
    others
        Records of other sources, same columns.
    seed
        Of lists and keys.

    Raises
    ------
    ContractError
        There are too few people.
    """
    both = round(n * overlap)
    alone = n - both
    if both < 1 or n + alone > len(frame):
        raise ContractError(
            f"{n:,} records at an overlap of {overlap:.0%} need {n + alone:,} people; the file has {len(frame):,}",
            reason="too-few-people",
            hint="ask for fewer records, or give a larger file",
        )
    rng = np.random.default_rng([seed, n, both])
    drawn = rng.permutation(len(frame))[: n + alone]
    owner = rng.permutation(np.concatenate([drawn[:both], drawn[n:]]))
    attacker = rng.permutation(drawn[:n])
    at = np.full(len(frame), -1, np.int64)
    at[owner] = np.arange(n)
    fields = list(spec.fields)
    owners = pl.DataFrame({"entity": frame["entity"][owner], "owner": np.arange(n)})
    elsewhere = others.join(owners, on="entity", how="left", maintain_order="left").select(
        *fields, pl.col("owner").fill_null(-1)
    )
    lists = frame.select(fields)
    return Scene(spec, lists[owner], lists[attacker], at[attacker], elsewhere, seed)


def encoded(records: pl.DataFrame, spec: LinkageSpec, key: KeySource) -> pl.DataFrame:
    """Encode records with the steward's own encoder; a label is the row's number."""
    padding = key.derive(spec_digest=spec.digest, purpose="padding")
    return encode(records, spec, key, labels=[str(row) for row in range(len(records))], padding_key=padding)


def views(encodings: pl.DataFrame, spec: LinkageSpec) -> list[View]:
    """Return what a holder of encodings sees, filter by filter."""
    seen = []
    for entry in spec.filters:
        raw = np.frombuffer(b"".join(encodings[entry.name].to_list()), np.uint8).reshape(len(encodings), -1)
        signs = 1 - 2 * np.unpackbits(raw, axis=1, bitorder="little").astype(np.float32)
        mask = encodings[f"{entry.name}_mask"].to_numpy() if spec.presence_masks else None
        seen.append(View(signs, mask))
    return seen
