"""How well specs link against how many people they give away: ``python tests/bench/frontier.py --help``.

Writes what it measured to ``frontier.json``, spec by spec, and draws it as ``frontier.svg``; an interrupted run goes
on where it stopped. Each spec links the three sources of hist3 (F1 at the engine's own decision), and is attacked as
``linkage lab attack`` does: the best of the attacks below in the mean of all trials.
"""

from __future__ import annotations

import argparse
import html
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rows import shared

from linkage.contract import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.exchange.files import atomic_write
from linkage.lab.accuracy import accuracy
from linkage.lab.attacks import ATTACKS, read_people
from linkage.lab.attacks.rates import interval
from linkage.lab.attacks.scene import draw_scene

_SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "linkage"
_COLUMNS = {"entity_column": "entity_id", "source_column": "source"}
_ATTACKS = ("graph", "profile")
_OVERLAPS = (1.0, 0.8)
_LEAST = 0.0005
_TITLE = "How well specs link against how many people they give away"
_EVERYTHING = {
    "first_name": 1.5,
    "surname": 1.5,
    "dob": 1.5,
    "birth_place": 0.5,
    "postcode_fake": 1.0,
    "occupation": 0.4,
}
_NAMES = {"first_name": 1.0, "surname": 1.0}
_BIRTH = {"dob": 1.0, "birth_place": 0.75}
_PLACE = {"postcode_fake": 1.0, "occupation": 0.5}
_TOKENS = {"dob": "date", "postcode_fake": "positional"}
_TEXT = {
    "two": "two filters of every field",
    "clk": "one filter of every field",
    "pairs": "three filters, each two of names, birth, place",
    "mixed": "three filters that mix fields",
    "themes": "five thematic filters with masks",
    "plain": "one filter, not diffused",
}
_MARKS = {"two": "o", "clk": "s", "pairs": "^", "mixed": "D", "themes": "P", "plain": "X"}
_SHADES = {
    "two": "#000000",
    "clk": "#0072B2",
    "pairs": "#D55E00",
    "mixed": "#CC79A7",
    "themes": "#009E73",
    "plain": "#777777",
}
"""Of Okabe and Ito (2008), which colour-blind people tell apart; the marks alone suffice."""


def specs() -> dict[str, tuple[str, LinkageSpec]]:
    """Return what is tried: family and spec by label."""
    base = {name: load_spec(_SCHEMAS / "examples" / f"hist3_{name}.yaml") for name in ("default", "guarded", "precise")}

    def two(fill: float, inputs: int, bits: int = 2048, out: int = 2048) -> LinkageSpec:
        return _changed(base["default"], fill=fill, inputs=inputs, bits=bits, out=out)

    def filters(fill: float, inputs: int, *parts: Mapping[str, float]) -> LinkageSpec:
        return _changed(base["default"], fill=fill, inputs=inputs, filters=parts)

    pairs = (_NAMES | _BIRTH, _BIRTH | _PLACE, _NAMES | _PLACE)
    mixed = (
        {"first_name": 1.0, "surname": 1.0, "dob:year": 1.0},
        {"dob": 1.0, "first_name": 0.75, "birth_place": 0.75},
        {"postcode_fake": 1.0, "surname": 0.75, "occupation": 0.5},
    )
    return {
        "default": ("two", base["default"]),
        "guarded": ("two", base["guarded"]),
        "precise": ("themes", base["precise"]),
        "undiffused": ("plain", filters(0.42, 1, _EVERYTHING)),
        "t=5, fill .30": ("two", two(0.30, 5)),
        "t=3, fill .50": ("two", two(0.50, 3)),
        "t=4, fill .35": ("two", two(0.35, 4)),
        "t=6, fill .22": ("two", two(0.22, 6)),
        "t=6, fill .27": ("two", two(0.27, 6)),
        "m=4096, t=5, fill .33": ("two", two(0.33, 5, out=4096)),
        "m=4096, t=5, fill .37": ("two", two(0.37, 5, out=4096)),
        "m=4096, t=6, fill .27": ("two", two(0.27, 6, bits=4096, out=4096)),
        "m=8192, t=6, fill .33": ("two", two(0.33, 6, out=8192)),
        "CLK t=3": ("clk", filters(0.42, 3, _EVERYTHING)),
        "CLK t=4": ("clk", filters(0.33, 4, _EVERYTHING)),
        "PC t=5": ("pairs", filters(0.33, 5, *pairs)),
        "PC t=6": ("pairs", filters(0.33, 6, *pairs)),
        "MIX t=6": ("mixed", filters(0.42, 6, *mixed)),
    }


def _changed(
    base: LinkageSpec,
    *,
    fill: float,
    inputs: int,
    bits: int = 2048,
    out: int = 2048,
    filters: tuple[Mapping[str, float], ...] = (),
) -> LinkageSpec:
    content = base.model_dump(mode="json")
    content |= {
        "name": "tried",
        "bits": bits,
        "hashing": {"kind": "constant_fill", "fill": fill},
        "diffusion": {"bits": out, "inputs": inputs},
    }
    if filters:
        content["filters"] = [
            {"name": f"filter_{number}", "parts": [_part(field, weight) for field, weight in parts.items()]}
            for number, parts in enumerate(filters)
        ]
    return LinkageSpec.model_validate(content)


def _part(field: str, weight: float) -> dict[str, Any]:
    name, _, cut = field.partition(":")
    return {"field": name, "tokens": cut or _TOKENS.get(name, "bigrams"), "weight": weight}


def measure(records: Path, spec: LinkageSpec, n: int, seeds: int) -> dict[str, Any]:
    """Measure one spec.

    Returns
    -------
    dict
        ``spec_digest``, ``n``, ``seeds``; ``precision``, ``recall``, ``f1``; ``attacks`` by overlap: the
        strongest one's ``name``, ``rate``, ``low``, ``high``.
    """
    people = read_people(records, spec, source="s0", **_COLUMNS)
    worst = {}
    for overlap in _OVERLAPS:
        scenes = [
            draw_scene(people.frame, people.others, spec, n=n, overlap=overlap, seed=seed) for seed in range(seeds)
        ]
        rates = {name: interval([ATTACKS[name].run(scene) for scene in scenes]) for name in _ATTACKS}
        name = max(rates, key=lambda name: rates[name][0])
        worst[f"{overlap:.0%}"] = dict(zip(("name", "rate", "low", "high"), (name, *rates[name]), strict=True))
    linked = accuracy(records, spec, **_COLUMNS)["chosen"]
    return {"spec_digest": spec.digest, "n": n, "seeds": seeds, **linked, "attacks": worst}


def table(found: Mapping[str, Any]) -> str:
    """Return the points as a Markdown table, the best-linking first."""
    lines = ["| | spec | F1 | re-identified, 100% overlap | 80% |", "|---|---|---|---|---|"]
    for number, (label, point) in enumerate(_ranked(found), 1):
        cells = [
            f"{entry['rate']:.1%} ({entry['low']:.1%} to {entry['high']:.1%})" for entry in point["attacks"].values()
        ]
        title = f"{_TEXT[point['family']]}: {label}"
        lines.append(f"| {number} | {title} | {point['f1']:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: Mapping[str, Any]) -> str:
    """Return the points as SVG: text as text, told apart by marks and numbers, no date and no random id."""
    style = {"svg.hashsalt": "linkage frontier", "svg.fonttype": "none", "font.family": ["DejaVu Sans", "sans-serif"]}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.6, 6.4), layout="constrained")
        axes = figure.subplots()
        seen: set[str] = set()
        for number, (_, point) in enumerate(_ranked(found), 1):
            family, full = point["family"], point["attacks"]["100%"]
            at = max(full["rate"], _LEAST)
            axes.plot([max(full["low"], _LEAST), full["high"]], [point["f1"]] * 2, color=_SHADES[family], lw=0.8)
            axes.plot(
                at,
                point["f1"],
                _MARKS[family],
                color=_SHADES[family],
                ms=7,
                ls="",
                label=None if family in seen else _TEXT[family],
            )
            # At either end of the interval by turns, where there is room.
            end, right, side = (full["high"], 4, "left") if number % 2 else (full["low"], -4, "right")
            place = (max(end, _LEAST), point["f1"])
            axes.annotate(
                str(number), place, (right, 0), textcoords="offset points", fontsize=8, ha=side, va="center_baseline"
            )
            seen.add(family)
        for share, words in ((0.001, "guessing"), (0.01, "bar of guarded"), (0.05, "bar of default")):
            axes.axvline(share, color="#555555", lw=0.8, ls=(0, (4, 3)))
            axes.annotate(
                words,
                (share, 1),
                (2, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                va="top",
                fontsize=8,
            )
        axes.set_xscale("log")
        axes.set_xticks([0.0005, 0.001, 0.01, 0.05, 0.1, 1.0], ["0", "0.1%", "1%", "5%", "10%", "100%"], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("re-identified at 100% overlap, 1,000 records (95% interval)")
        axes.set_ylabel("F1 of linking hist3's three sources")
        figure.legend(loc="outside lower center", fontsize=8, ncols=2)
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    svg = target.getvalue()
    inside = svg.index(">", svg.index("<svg")) + 1
    words = f"<title>{_TITLE}</title><desc>{html.escape(_alternative(found))}</desc>"
    return svg[:inside].replace("<svg ", '<svg role="img" ', 1) + words + svg[inside:]


def _alternative(found: Mapping[str, Any]) -> str:
    points = [
        f"{number}, {_TEXT[point['family']]}, {label}: F1 {point['f1']:.3f}, {point['attacks']['100%']['rate']:.1%}"
        for number, (label, point) in enumerate(_ranked(found), 1)
    ]
    return f"{_TITLE}. By number, family and spec: F1, then the share re-identified. {'; '.join(points)}."


def _ranked(found: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(found.items(), key=lambda entry: -entry[1]["f1"])


def main() -> None:
    """Measure what is missing, draw, and print the table."""
    parser = argparse.ArgumentParser(description="Measure F1 against re-identification, spec by spec.")
    parser.add_argument("--n", type=int, default=1000, help="records a list")
    parser.add_argument("--seeds", type=int, default=3, help="trials a spec and overlap")
    parser.add_argument("--only", action="append", choices=specs(), help="this spec alone; can be given again")
    parser.add_argument("--out", type=Path, default=_SCHEMAS, help="folder of frontier.json and frontier.svg")
    asked = parser.parse_args()
    kept = asked.out / "frontier.json"
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for label, (family, spec) in specs().items():
        wanted = asked.only is None or label in asked.only
        same = (spec.digest, asked.n, asked.seeds)
        there = found.get(label, {})
        if not wanted or tuple(there.get(key) for key in ("spec_digest", "n", "seeds")) == same:
            continue
        folder = shared()
        if folder is None:
            sys.exit("the folder of reference data is not here")
        found[label] = {"family": family, **measure(folder / "data/people/hist3.parquet", spec, asked.n, asked.seeds)}
        with atomic_write(kept) as part:
            part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    with atomic_write(asked.out / "frontier.svg") as part:
        part.write_text(draw(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
