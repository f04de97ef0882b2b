"""Tables of the standardising rules: plain CSV files that a steward can read.

``nicknames.csv`` maps a nickname to the given name it stands for, only where nearly everybody means the same name;
``streets.csv`` holds postal short forms (USPS Publication 28, appendix C1, and common misspellings);
``words.csv`` lists titles, placeholders, name particles and unit designators by kind.
Any change of a table is a change of the rules: raise ``linkage.steward.standardise.RULES``.
"""

from __future__ import annotations

import csv
import functools
from importlib import resources

__all__ = ["TABLES", "nicknames", "rows", "streets", "words"]

TABLES = ("nicknames", "streets", "words")


@functools.cache
def rows(table: str) -> tuple[tuple[str, str], ...]:
    """Return the two columns of a table as pairs, without its header, in the order of the file."""
    text = resources.files(__name__).joinpath(f"{table}.csv").read_text(encoding="utf-8")
    return tuple((line[0], line[1]) for line in list(csv.reader(text.splitlines()))[1:])


@functools.cache
def nicknames() -> dict[str, str]:
    """Return nickname -> given name, both in standard form."""
    return dict(rows("nicknames"))


@functools.cache
def streets() -> dict[str, str]:
    """Return street word -> postal short form."""
    return dict(rows("streets"))


@functools.cache
def words(kind: str) -> frozenset[str]:
    """Return the words of one kind, in standard form."""
    return frozenset(word for of, word in rows("words") if of == kind)
