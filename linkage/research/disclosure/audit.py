"""Judge protected tables by what is published in them, as an outsider would, and against earlier releases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from linkage.research.disclosure.attacker import Attacker
from linkage.research.disclosure.cells import Cells, Key, collect
from linkage.research.disclosure.extent import Extent
from linkage.research.disclosure.released import ProtectedTable, published_counts
from linkage.research.tables import TOTAL

__all__ = ["Finding", "audit", "compare_releases"]

_RULES = {
    "shown": "a count below the floor is published",
    "bounded": "a withheld or implied count is known too closely",
    "inconsistent": "the published counts contradict each other",
    "difference": "the count differs from an earlier release by less than the floor",
    "group": "all persons of this row or column have one value (no fault: look whether that harms the group)",
}


@dataclass(frozen=True)
class Finding:
    """One fault of a set of released tables.

    Attributes
    ----------
    rule
        ``shown``, ``bounded``, ``inconsistent``, ``difference``: the tables must not be released. ``group``: the
        output checker decides.
    table, cell
        Where; the table is empty where the cell stands in none and is computed from those that do.
    lower, upper
        What can be known of the count; None is no bound. Not for a log: they stay out of ``str`` and ``repr``.
    """

    rule: str
    table: str
    cell: str
    lower: int | None = field(default=None, repr=False)
    upper: int | None = field(default=None, repr=False)

    @property
    def blocking(self) -> bool:
        """Whether the finding forbids the release."""
        return self.rule != "group"

    def __str__(self) -> str:
        return f"{self.table or 'computed from the tables'}: {self.cell}: {_RULES[self.rule]}"


def audit(tables: Sequence[ProtectedTable], *, floor: int) -> list[Finding]:
    """Work out what the published tables give away; the true counts are not needed.

    Parameters
    ----------
    tables
        All tables of the release: cells are bounded from all of them together.
    floor
        As in :func:`linkage.research.disclosure.protect`.

    Returns
    -------
    list of Finding
        Counts below the floor that are shown; withheld and implied cells that break the third rule; contradictions;
        and, not blocking, cells that are all of their margin. Empty for what ``protect`` returned, groups apart.
        Bounds are those of the linear relaxation, rounded to whole persons.
    """
    if not tables:
        return []
    cells = collect(tables)
    names = _Names(tables, cells)
    findings: list[Finding] = []
    shown: dict[Key, int] = {}
    withheld: list[Key] = []
    for key, found in published_counts(tables).items():
        if len(found) > 1:  # two numbers, or a number in one table and none in another: then the number is known
            findings.append(names.finding("inconsistent", key))
        known = [count for count in found if count is not None]
        if known:
            shown[key] = known[0]
        else:
            withheld.append(key)
    for key in cells.impossible:
        if shown.pop(key, 0):
            findings.append(names.finding("inconsistent", key))
    findings += [names.finding("shown", key, count, count) for key, count in shown.items() if 0 < count < floor]
    if not any(finding.rule == "inconsistent" for finding in findings):
        findings += _bounded(cells, names, shown, withheld, floor)
    return findings + list(_groups(tables, names, shown))


def _bounded(cells: Cells, names: _Names, shown: dict[Key, int], withheld: list[Key], floor: int) -> list[Finding]:
    attacker = Attacker(cells)
    numbers = {key: float(count) for key, count in shown.items()}
    attacker.know(numbers | dict.fromkeys(withheld, 1.0), numbers)
    if not attacker.consistent():
        return [Finding("inconsistent", "", "all tables")]
    hidden = [i for i, key in enumerate(attacker.keys) if key not in shown]
    return [
        names.finding("bounded", attacker.keys[i], attacker.least(i), attacker.most(i))
        for i in Extent(attacker, floor).too_narrow(hidden)
    ]


def compare_releases(
    previous: Sequence[ProtectedTable], current: Sequence[ProtectedTable], *, floor: int
) -> list[Finding]:
    """Find cells that two releases publish with counts that differ by less than the floor.

    Parameters
    ----------
    previous
        The tables of one or several earlier releases about the same persons.
    current
        The tables to be released.
    floor
        Differences from 1 to ``floor - 1`` are found.

    Returns
    -------
    list of Finding
        Rule ``difference``; empty for what ``protect(..., previous=previous)`` returned.
    """
    before = published_counts(previous)
    names = _Names(current, collect(current))
    findings = []
    for key, found in published_counts(current).items():
        now = {count for count in found if count is not None}
        old = {count for count in before.get(key, set()) if count is not None}
        # A number that an earlier release has given already is no news, whatever another one said.
        if any(0 < abs(count - other) < floor for count in now - old for other in old):
            findings.append(names.finding("difference", key))
    return findings


def _groups(tables: Sequence[ProtectedTable], names: _Names, shown: dict[Key, int]) -> Iterator[Finding]:
    """Give the cells that hold everybody of a margin though the dimension has other values."""
    given: set[Key] = set()
    for table in tables:
        for *values, count in table.frame.select(*table.dimensions, "count").iter_rows():
            key = names.key(table.name, values)
            margins = {
                names.key(table.name, [*values[:n], TOTAL, *values[n + 1 :]])
                for n, dimension in enumerate(table.dimensions)
                if values[n] != TOTAL and len(table.values(dimension)) > 1
            }
            full = any(margin != key and shown.get(margin) == count for margin in margins)
            if count and full and key not in given:
                given.add(key)
                yield names.finding("group", key, count, count)


class _Names:
    """What to call a cell, for the output checker."""

    def __init__(self, tables: Sequence[ProtectedTable], cells: Cells) -> None:
        self._dimensions = {table.name: table.dimensions for table in tables}
        self._places = cells.shown | cells.impossible
        self._keys = {place: key for key, places in self._places.items() for place in places}

    def key(self, table: str, values: Sequence[str]) -> Key:
        """Return the key of a cell of a table."""
        return self._keys[table, tuple(values)]

    def finding(self, rule: str, key: Key, lower: int | None = None, upper: int | None = None) -> Finding:
        """Make a finding on a cell."""
        if key in self._places:
            table, values = self._places[key][0]
            pairs = zip(self._dimensions[table], values, strict=True)
            return Finding(rule, table, ", ".join(f"{name}={value}" for name, value in pairs), lower, upper)
        meaning = sorted((attribute, "|".join(sorted(atoms))) for attribute, atoms in key)
        return Finding(rule, "", ", ".join(f"{name}={atoms}" for name, atoms in meaning), lower, upper)
