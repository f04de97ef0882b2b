"""One page on what was tried, on how many, and what came out, for those who judge it without being engineers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linkage.lab.attacks.registry import ATTACKS

__all__ = ["page"]

_HEAD = (
    "| attack | records | on both lists | re-identified | 95% interval | unprotected | guessing | |",
    "|---|---|---|---|---|---|---|---|",
)


def page(result: Mapping[str, Any]) -> str:
    """Return the page in Markdown.

    Parameters
    ----------
    result
        Of :func:`linkage.lab.attacks.run.attack`.
    """
    lines = [
        f"# Attacks on encodings of spec `{result['spec']}`",
        "",
        f"Spec digest `{result['spec_digest']}`. People: source `{result['source']}`. Trials of each kind:"
        f" {result['seeds']}, each with lists and keys of its own.",
        "",
        "The attacker works at the hub: he holds the encodings and knows the spec and this program, but has no key. He"
        " also has a list of people in plain text, letter for letter as the agency has it. *Re-identified* is the share"
        " of people on both lists whom he gave the right encoding. *Unprotected* is the same attack in the same trials"
        " on an encoding without protection; where it fails there, its failure proves nothing, and the line says"
        " `control failed`.",
        "",
        *_HEAD,
    ]
    lines += [_line(entry) for entry in result["attacks"]]
    lines += ["", _worst(result["worst"]), ""]
    lines += [f"- `{name}` {ATTACKS[name].title}." for name in dict.fromkeys(e["name"] for e in result["attacks"])]
    if result["not_run"]:
        lines += ["", f"Not run, for want of people or of records of a second source: {', '.join(result['not_run'])}."]
    lines += ["", *map(_diffusion, result["diffusion"])]
    lines += [
        "",
        "All rates are lower bounds: a better attack may come. Whoever holds the linkage key and the encodings needs no"
        " attack.",
    ]
    return "\n".join(lines)


def _line(entry: Mapping[str, Any]) -> str:
    beyond = "" if entry["assumes"] == "list" else f"assumes {entry['assumes']}"
    failed = "" if entry["control_passed"] else "**control failed**"
    cells = (
        f"`{entry['name']}`",
        f"{entry['n']:,}",
        f"{entry['overlap']:.0%}",
        f"{entry['rate']:.1%}",
        f"{entry['low']:.1%} to {entry['high']:.1%}",
        f"{entry['baseline']:.0%} ({entry['control']})",
        f"{entry['chance']:.2%}",
        "; ".join(note for note in (failed, beyond) if note),
    )
    return f"| {' | '.join(cells)} |"


def _diffusion(entry: Mapping[str, Any]) -> str:
    told = (
        f"from {entry['by_elimination']:,} people on"
        if entry["by_elimination"] is not None
        else f"not with {entry['people']:,} people (rank {entry['rank']:,} of {entry['bits']:,})"
    )
    return (
        f"- Filter `{entry['filter']}`: whoever has filters before and after diffusion solves for it {told}; from"
        f" {entry['by_information']} on only the search for the inputs stands in the way."
    )


def _worst(worst: Mapping[str, Any] | None) -> str:
    if worst is None:
        return "No attack was run that assumes nothing but a list."
    return (
        f"The worst without further assumptions: `{worst['name']}` re-identified {worst['rate']:.1%} of the people on"
        f" both lists, at {worst['n']:,} records and an overlap of {worst['overlap']:.0%}."
    )
