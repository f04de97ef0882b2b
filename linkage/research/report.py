"""The report of a release: one page of HTML that needs nothing else, made from the public document alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from linkage.research.bundle import Document, TableEntry, protected_tables
from linkage.research.disclosure import ProtectedTable, shares
from linkage.research.estimate.families import HEADLINE
from linkage.research.figures import METHODS, draw_all
from linkage.research.histories import UNKNOWN
from linkage.research.tables import TOTAL

__all__ = ["page_environment", "render_report"]

_SECTIONS = (
    (
        "who",
        "Who they are",
        ("tier", "sex", "race", "age", "juvenile"),
        "Shares are of the column's total. Where sources disagree about a person, each has one vote.",
    ),
    (
        "when",
        "When they were seen",
        ("years", "recurrence", "years_active"),
        "Shares are of all persons; a person seen in two years counts in both.",
    ),
    (
        "before",
        "What came before",
        (
            "history",
            "history_sexual_assault",
            "history_battery_or_dv",
            "history_child_abuse",
            "history_drug",
            "history_other",
            "missing",
        ),
        "Contacts with the agencies before or beside trafficking, over all systems. A person can be in several rows of "
        "the tables of kinds and of reports; who is not known to have been missing or in care counts as not.",
    ),
    (
        "systems",
        "Which systems know them",
        ("persons", "systems", "overlaps"),
        "What no system can count alone: how far the lists meet.",
    ),
    (
        "profiles",
        "Each system's list beside the others",
        ("profile_tier", "profile_sex", "profile_race", "profile_age"),
        "Shares are of the list's total. A person on two lists is in both columns.",
    ),
)

_ALONE = {
    "systems": ("The list", "One list meets no other."),
    "profiles": ("Who is on the list", "Shares are of the list's total."),
}
"""Title and introduction of sections about several lists where there is one."""

_LABELS = {
    TOTAL: "all",
    "persons": "persons",
    "and_list": "and on",
    "list": "on list",
    "source": "list",
}


@dataclass(frozen=True)
class _Cell:
    """A cell as it is printed."""

    count: int | None
    share: float | None
    total: bool


@dataclass(frozen=True)
class _Layout:
    """A table as it is printed: rows by columns."""

    name: str
    title: str
    row: str
    column: str
    columns: list[str]
    rows: list[tuple[str, list[_Cell]]]
    withheld: bool


def render_report(document: Document) -> str:
    """Render the report.

    Parameters
    ----------
    document
        All that the report knows. Figures, shares and words are made from it.

    Returns
    -------
    str
        HTML with its style and figures inside: no script, no reference to anything outside.
    """
    tables = {table.name: _layout(table) for table in protected_tables(document)}
    placed = {name for _, _, names, _ in _SECTIONS for name in names}
    alone = _ALONE if len(document.lists) == 1 else {}
    sections = [
        {
            "id": key,
            **dict(zip(("title", "intro"), alone.get(key, (title, intro)), strict=True)),
            "tables": [tables[name] for name in names if name in tables],
        }
        for key, title, names, intro in _SECTIONS
    ]
    rest = [table for name, table in tables.items() if name not in placed]
    if rest:
        sections.append({"id": "more", "title": "Further tables", "intro": "", "tables": rest})
    figures = {
        drawing.name: {"title": drawing.title, "svg": Markup(drawing.svg), "words": drawing.words}  # noqa: S704 - ours
        for drawing in draw_all(document)
    }
    page = _environment().get_template("report.html.j2")
    return page.render(
        d=document,
        scope=document.scope,
        verdict=document.estimate,
        sections=[section for section in sections if section["tables"]],
        figures=figures,
        methods=METHODS,
        families=_families(document),
        bearing=_bearing(document),
        several=len(document.lists) > 1,
        occupied=sum(size != 0 for size in _sizes(document).values()),
        at_counted=document.estimate.low is not None and document.estimate.low == document.persons,
        unknown=_unknown(document),
        withheld=sum(cell.count is None for entry in document.tables for cell in entry.cells),
        cells=sum(len(entry.cells) for entry in document.tables),
        sizes=_sizes(document),
        records=_records(document),
    )


_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


def _families(document: Document) -> dict[str, Any]:
    """Name the families that make the range, those that do not, and those that have no line of their own."""
    made = document.estimate.families
    printed = {entry.method for entry in document.estimate.methods}
    uppers = {entry.method: entry.upper for entry in document.estimate.methods if entry.upper is not None}
    end, highest = document.estimate.high, max((uppers[name] for name in made if name in uppers), default=0)
    return {
        "number": _NUMBERS[len(made)],
        "names": [METHODS[name] for name in made],
        "absent": [METHODS[name] for name in HEADLINE if name not in made],
        "unprinted": [METHODS[name] for name in made if name not in printed],
        "above": [METHODS[name] for name in made if name not in uppers] if end is not None and end > highest else [],
    }


def _unknown(document: Document) -> list[tuple[str, int | None]]:
    """Return each kind of history that nothing is known about for somebody, and for how many."""
    return [
        (entry.name.removeprefix("history_"), cell.count)
        for entry in document.tables
        if entry.name.startswith("history_")
        for cell in entry.cells
        if cell.values == (UNKNOWN, TOTAL)
    ]


def page_environment() -> jinja2.Environment:
    """Make the environment of all pages: strict, escaping, and with what the templates of each have in common."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("linkage.research"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.0f}%"
    return environment


def _environment() -> jinja2.Environment:
    environment = page_environment()
    environment.filters["number"] = lambda count: "[c]" if count is None else f"{count:,}"
    environment.filters["first_upper"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["word"] = _word
    return environment


def _word(value: str) -> str:
    """Print a value of the vocabulary as a reader would write it."""
    return _LABELS.get(value, value.replace("_", " "))


def _layout(table: ProtectedTable) -> _Layout:
    """Lay a table of one or two dimensions out; lists that are compared with each other become the columns."""
    dimensions = table.dimensions
    if table.name.startswith("profile_"):
        dimensions = (dimensions[1], dimensions[0])
    row = dimensions[0]
    column = dimensions[1] if len(dimensions) > 1 else ""
    frame = table.frame if table.name == "overlaps" else shares(table, row)
    found: dict[tuple[str, str], Mapping[str, Any]] = {
        (entry[row], entry[column] if column else TOTAL): entry for entry in frame.iter_rows(named=True)
    }
    columns = [*table.values(column), TOTAL] if column else [TOTAL]
    rows = []
    for value in (*table.values(row), TOTAL):
        cells = []
        for other in columns:
            entry = found[value, other]
            share = None if value == TOTAL else entry.get("share")
            cells.append(_Cell(entry["count"], share, value == TOTAL or other == TOTAL))
        rows.append((value, cells))
    return _Layout(table.name, table.title, row, column, columns, rows, table.frame.get_column("count").has_nulls())


def _sizes(document: Document) -> dict[str, int | None]:
    overlaps: TableEntry = next(entry for entry in document.tables if entry.name == "overlaps")
    cells = {cell.values: cell.count for cell in overlaps.cells}
    return {name: cells[name, TOTAL] for name in document.lists}


def _records(document: Document) -> dict[str, Any]:
    """Add up the numbers of records, and name the lists of which there is none."""
    known = [source.records_about for source in document.sources if source.records_about is not None]
    without = [source.source for source in document.sources if source.records_about is None]
    return {"total": sum(known) if known else None, "without": without}


def _bearing(document: Document) -> str | None:
    """Say by how much the expected linkage errors move an estimate that goes with one over the overlap."""
    linkage = document.linkage
    if linkage.precision is None or linkage.recall is None or not linkage.recall.value:
        return None
    moved = linkage.precision.value / linkage.recall.value - 1
    if abs(moved) < 0.005:
        return "wrong and missed links are expected to balance to within half a per cent of the overlaps"
    direction = "smaller" if moved > 0 else "larger"
    other = "too high" if moved > 0 else "too low"
    return (
        f"together the overlaps seen are expected to be about {abs(1 - 1 / (1 + moved)):.0%} {direction} than the true "
        f"ones, and an estimate from two lists about {abs(moved):.0%} {other} for that reason"
    )
