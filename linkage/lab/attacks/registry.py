"""The attacks by name: what each does, what it assumes, and the unprotected encoding that it must succeed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from linkage.lab.attacks import circumstances, equality, graph, keyless, patterns, profile
from linkage.lab.attacks.known import known_pairs
from linkage.lab.attacks.scene import Outcome, Scene

__all__ = ["ATTACKS", "Attack"]

Try = Callable[[Scene], Outcome]

_CLK, _FIELDS = "undiffused CLK", "undiffused filter a field"


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes
    ----------
    title
        What it does, in a lawyer's words.
    run
        The attack.
    against
        The same attack where it has to succeed, and what that is called.
    least
        Rate there from which on the attack counts as working.
    assumes
        What the attacker has beyond the encodings, the spec and a list in plain text: ``list`` if nothing.
    needs_elsewhere
        It needs records of the same people in another source.
    least_common
        It needs so many people on both lists.
    """

    title: str
    run: Try
    against: Try
    control: str
    least: float = 0.05
    assumes: str = "list"
    needs_elsewhere: bool = False
    least_common: int = 1


def _on(run: Try, kind: Literal["clk", "fields", "names"]) -> Try:
    return lambda scene: run(scene.unprotected(kind))


def _beside_clk(title: str, run: Try, **more: Any) -> Attack:
    return Attack(title, run, _on(run, "clk"), _CLK, **more)


def _beside_fields(title: str, run: Try) -> Attack:
    return Attack(title, run, _on(run, "fields"), _FIELDS)


def _knowing(pairs: int) -> Attack:
    return _beside_clk(
        f"knows for {pairs} people which encoding is theirs, and learns from it who the others are",
        known_pairs(pairs),
        least=0.5,
        assumes=f"{pairs} known pairs",
        least_common=2 * pairs,
    )


ATTACKS: dict[str, Attack] = {
    "popcount": _beside_fields(
        "compares how full each filter is, and which fields are marked as filled",
        profile.popcount,
    ),
    "profile": _beside_clk(
        "compares how similar each record is to all others",
        profile.profile,
    ),
    "graph": _beside_clk(
        "lays the web of similarities among the people it knows over the web among the encodings",
        graph.graph,
        least=0.5,
    ),
    "graph_spectral": _beside_clk(
        "the same from the web alone, without looking at single records",
        graph.spectral,
        least=0.5,
    ),
    "frequency": _beside_fields(
        "pairs filters that occur often with values that occur often",
        equality.frequency,
    ),
    "equality": _beside_fields(
        "follows who shares the very same filter with whom",
        equality.equality,
    ),
    "patterns": Attack(
        "looks for bits that are set together, takes them for pieces of names, and reads the names",
        patterns.patterns,
        _on(patterns.patterns, "names"),
        "undiffused filter of names",
        least=0.5,
    ),
    "known_10": _knowing(10),
    "known_50": _knowing(50),
    "known_200": _knowing(200),
    "dictionary": Attack(
        "encodes the people it knows under keys that it guesses",
        keyless.dictionary,
        keyless.dictionary_with_key,
        "with the right key",
        least=0.9,
    ),
    "pseudonyms": Attack(
        "guesses the agency's codes for its person numbers, all of which it knows",
        keyless.pseudonyms,
        keyless.plain_hashes,
        "plain hashes",
        least=0.9,
        assumes="all person numbers",
    ),
    "specs": Attack(
        "looks for the same people, without names, in two encodings by different specs",
        keyless.specs_apart,
        keyless.specs_under_one_key,
        "specs that share their keys",
        least=0.9,
        assumes="two encodings",
    ),
    "epochs": Attack(
        "looks for the same people, without names, in the encodings of two epochs",
        keyless.epochs_apart,
        keyless.epochs_under_one_key,
        "epochs that share their key",
        least=0.9,
        assumes="two encodings",
    ),
    "bridged_epochs": _beside_clk(
        "holds the encodings of four epochs together, as after three rotations with a bridge",
        circumstances.bridged_epochs,
        least=0.5,
        assumes="four bridged epochs",
    ),
    "twelve_months": _beside_clk(
        "knows in which of twelve months each person came first, and sees when each encoding did",
        circumstances.twelve_months,
        least=0.5,
        assumes="the month of each person's first record",
    ),
    "decoys": _beside_clk(
        "lays the web over encodings of which a fifth are decoys",
        circumstances.among_decoys,
        least=0.3,
        assumes="a quarter more records, made up, at the agency",
    ),
    "union": _beside_clk(
        "looks at the encodings of all sources at once",
        circumstances.union,
        least=0.3,
        needs_elsewhere=True,
    ),
    "noisy_list": _beside_clk(
        "has a list of the same people as another source wrote them down",
        circumstances.noisy_list,
        least=0.02,
        needs_elsewhere=True,
    ),
    "membership": _beside_clk(
        "asks whether a person is on a list, by sending that person's record as an agency and looking at the hub",
        keyless.membership,
        least=0.9,
        assumes="an agency and the hub together",
    ),
}
"""By name, in the order in which they are run."""
