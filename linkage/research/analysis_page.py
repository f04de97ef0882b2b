"""The analyst's page: one file of HTML with its figures inside, and the same for machines, in a folder for one account.

Confidential: both hold exact counts. Files are readable by their owner alone, in a folder that nobody else can enter.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from linkage.errors import ContractError
from linkage.exchange import atomic_write
from linkage.research.analysis import CONFIDENTIAL, Analysis, Family
from linkage.research.analysis_parts import Unit, reason_words
from linkage.research.estimate import Result, assumption_text
from linkage.research.estimate.omission import Variant
from linkage.research.estimate.sensitivity import ALWAYS, model_words
from linkage.research.figures import METHODS, Drawing
from linkage.research.figures_estimate import (
    Combination,
    Curve,
    Row,
    curves,
    densities,
    density_of,
    forest,
    overlaps,
    row_of,
    variations,
)
from linkage.research.report import page_environment

__all__ = ["DATA", "PAGE", "method_name", "render_analysis", "require_new", "write_analysis"]

PAGE, DATA = "analysis.html", "analysis.json"
"""Names of the two files."""

_NAMES = METHODS | {
    "averaged-bic": "Average of hierarchical models, by BIC",
    "averaged-aic": "Average of hierarchical models, by AIC",
    "decomposable-graphs": "Decomposable graphs",
    "latent-classes": "Latent classes",
    "thresholding": "Pairs that stand out, Bayesian",
    "ding-fienberg": "Ding and Fienberg",
    "di-consiglio-tuoto": "Di Consiglio and Tuoto",
    "composite-link": "Composite link, all lists",
    "hierarchical-strata": "Strata that share strength",
}
_BY = {"sex": "sex", "race": "race", "age": "age at the first contact"}


_NOT_ASKED = "this family is not offered for its lists"


def method_name(method: str) -> str:
    """Name a method for a reader."""
    return _NAMES.get(method, method.replace("-", " "))


def in_text(method: str) -> str:
    """Name a method inside a sentence."""
    name = method_name(method)
    return name[:1].lower() + name[1:]


# --- figures


def _figures(analysis: Analysis) -> dict[str, Drawing]:
    """Draw what there is to show; a refusal has no figure with an estimate."""
    table, verdict = analysis.report.table, analysis.report.verdict
    sizes = list(zip(table.lists, table.totals.tolist(), strict=True))
    drawn = [overlaps(sizes, [Combination(lists, count) for lists, count in analysis.combinations])]
    if analysis.refused:
        return {drawing.name: drawing for drawing in drawn}
    band = (verdict.low, verdict.high) if verdict.low is not None and verdict.high is not None else None
    rows = [row_of(_family_name(family, analysis), family.best) for family in analysis.families]
    drawn.append(forest(rows, counted=table.observed, band=band))
    shapes = []
    for family in analysis.families:
        best = family.best
        if best.ok and best.draws is not None:
            name = _family_name(family, analysis)
            shapes.append(density_of(name, best.draws, middle=best.n_hat, lower=best.lower, upper=best.upper))
    drawn.append(densities([shape for shape in shapes if shape is not None], counted=table.observed))
    drawn += [*_sensitivity(analysis), *_breakdowns(analysis)]
    return {drawing.name: drawing for drawing in drawn}


def _family_name(family: Family, analysis: Analysis) -> str:
    name = method_name(family.on_map.method)
    return f"{name} (map alone)" if analysis.draws and family.over_draws is None else name


def _sensitivity(analysis: Analysis) -> list[Drawing]:
    panel = analysis.diagnostics.panels[0]
    base = panel.result.n_hat
    lines = [Curve(" and ".join(c.lists), c.ratios, c.n_hats) for c in analysis.diagnostics.curves]
    rows = [row_of(_variant_name(variant), variant) for variant in (*panel.left_out, *panel.merges)]
    return [curves(lines, base=base), variations(rows, base=base)]


def _variant_name(variant: Variant) -> str:
    joined = " and ".join(variant.lists)
    return f"without {joined}" if variant.change == "left-out" else f"{joined} as one"


def _breakdowns(analysis: Analysis) -> list[Drawing]:
    drawn = []
    for found in analysis.dimensions:
        drawn.append(_breakdown(found.units, found.family, f"strata-{found.by}", f"By {_BY[found.by]}"))
    if analysis.years is not None:
        drawn.append(_breakdown(analysis.years.units, analysis.years.family, "by-year", "By year"))
    return drawn


def _breakdown(units: Sequence[Unit], family: str, name: str, head: str) -> Drawing:
    """Draw strata or years by one family, which the title names."""
    title = f"{head}, by one family of assumptions ({in_text(family)}), with 95% intervals"
    return forest([_unit_row(unit, family) for unit in units], name=name, title=title)


def _unit_row(unit: Unit, family: str) -> Row:
    """Show a stratum or year by the family that sums are of; where the verdict refuses, by its reason."""
    name = unit.value.replace("_", " ") + (" (map alone)" if unit.on_map_alone else "")
    if not unit.identified:
        return Row(name, None, refusal=unit.report.verdict.words)
    result = unit.by_family(family)
    return Row(name, None, refusal=_NOT_ASKED) if result is None else row_of(name, result)


# --- page


def render_analysis(analysis: Analysis) -> str:
    """Render the page.

    Returns
    -------
    str
        HTML with its style and figures inside: no script, no reference to anything outside.
    """
    figures = {
        name: {"title": drawing.title, "svg": Markup(drawing.svg), "words": drawing.words}  # noqa: S704 - ours
        for name, drawing in _figures(analysis).items()
    }
    return (
        _environment()
        .get_template("analysis.html.j2")
        .render(
            a=analysis,
            d=analysis.to_dict(),
            confidential=CONFIDENTIAL,
            verdict=analysis.report.verdict,
            table=analysis.report.table,
            figures=figures,
            assumption=partial(_assumption, withhold=analysis.refused),
            always=ALWAYS,
            by=_BY,
        )
    )


def _assumption(result: Result, *, withhold: bool) -> str:
    """Give a method's own assumption; what all share is said once."""
    return assumption_text(result, withhold=withhold).removesuffix(ALWAYS).strip()


def _environment() -> jinja2.Environment:
    environment = page_environment()
    environment.filters["number"] = lambda value: "none" if value is None else f"{value:,.0f}"
    environment.filters["rate"] = lambda value: "none" if value is None else f"{value:,.2f}"
    environment.filters["method"] = method_name
    environment.filters["in_text"] = in_text
    environment.filters["model"] = model_words
    environment.filters["reason"] = lambda code: reason_words(code)[0]
    environment.filters["remedy"] = lambda code: reason_words(code)[1]
    environment.filters["word"] = lambda value: str(value).replace("_", " ")
    return environment


# --- files


def require_new(folder: Path, releases: Path) -> None:
    """Refuse a folder that is there already, or among the releases, from where files go to everybody.

    Raises
    ------
    ContractError
        ``exists``, ``inside-releases``.
    """
    _require_free(folder)
    if releases.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ContractError(
            f"{folder}: among the releases, which anybody may read",
            reason="inside-releases",
            hint="exact counts stay in the enclave: choose a folder outside",
        )


def _require_free(out: Path) -> None:
    if os.path.lexists(out):
        raise ContractError(f"{out}: there is something here already", reason="exists", hint="choose another folder")


def write_analysis(analysis: Analysis, folder: Path) -> Mapping[str, Any]:
    """Write page and data into a new folder of mode 0700, each file of mode 0600; whole or not at all.

    Returns
    -------
    dict
        What ``analysis.json`` holds.

    Raises
    ------
    ContractError
        ``exists``.
    """
    _require_free(folder)
    plain = analysis.to_dict()
    page = render_analysis(analysis)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    with _private_folder(folder) as place:
        for name, content in ((PAGE, page), (DATA, f"{text}\n")):
            with atomic_write(place / name, private=True) as temporary:
                temporary.write_text(content, encoding="utf-8")
    return plain


@contextmanager
def _private_folder(out: Path) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(6)}.part")
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
        _require_free(out)
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
