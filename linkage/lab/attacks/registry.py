"""The attacks by name: what each does, what it assumes, and the unprotected encoding that it must succeed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from linkage.lab.attacks import equality, graph, profile
from linkage.lab.attacks.scene import Outcome, Scene

__all__ = ["ATTACKS", "Attack"]

Try = Callable[[Scene], Outcome]


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
    """

    title: str
    run: Try
    against: Try
    control: str
    least: float = 0.05
    assumes: str = "list"
    needs_elsewhere: bool = False


def _on(run: Try, kind: Literal["clk", "fields"]) -> Try:
    return lambda scene: run(scene.unprotected(kind))


ATTACKS: dict[str, Attack] = {
    "popcount": Attack(
        "compares how full each filter is, and which fields are marked as filled",
        profile.popcount,
        _on(profile.popcount, "fields"),
        "field-level filters",
    ),
    "profile": Attack(
        "compares how similar each record is to all others",
        profile.profile,
        _on(profile.profile, "clk"),
        "undiffused CLK",
    ),
    "graph": Attack(
        "lays the web of similarities among the people it knows over the web among the encodings",
        graph.graph,
        _on(graph.graph, "clk"),
        "undiffused CLK",
        least=0.5,
    ),
    "graph_spectral": Attack(
        "the same from the web alone, without looking at single records",
        graph.spectral,
        _on(graph.spectral, "clk"),
        "undiffused CLK",
        least=0.5,
    ),
    "frequency": Attack(
        "pairs filters that occur often with values that occur often",
        equality.frequency,
        _on(equality.frequency, "fields"),
        "field-level filters",
    ),
    "equality": Attack(
        "follows who shares the very same filter with whom",
        equality.equality,
        _on(equality.equality, "fields"),
        "field-level filters",
    ),
}
"""By name, in the order in which they are run."""
