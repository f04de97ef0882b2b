"""The cells of a set of tables: which are the same number, which can be computed though no table shows them.

A cell is a set of persons, written as a condition: attribute -> atoms. Conditions are brought to one form (a condition
that every person meets is dropped), so that equal cells of different tables meet under one key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from linkage.errors import ReleaseError
from linkage.research.tables import Condition, Grid

__all__ = ["Cells", "Key", "Place", "collect"]

Key = frozenset[tuple[str, frozenset[str]]]
"""One form for one set of persons; the empty key is everybody."""

Place = tuple[str, tuple[str, ...]]
"""Table and values of its dimensions."""

_Domains = dict[str, frozenset[str]]


@dataclass(frozen=True)
class Cells:
    """All cells of a set of tables.

    Attributes
    ----------
    domains
        Attribute -> atoms.
    shown
        Cells that stand in a table, with their places; first come, first listed.
    implied
        Cells that stand in no table but may be had by subtracting: the persons outside a value that leaves some
        outside (``not on mpd``), and each atom of an attribute that is shown in overlapping sets (the capture
        histories), each of them also by whatever the table crosses the attribute with.
    links
        Weighted sums of cells that are zero.
    impossible
        Shown cells whose condition nobody can meet; their count is zero by definition.
    """

    domains: dict[str, tuple[str, ...]]
    shown: dict[Key, list[Place]]
    implied: list[Key]
    links: list[list[tuple[int, Key]]]
    impossible: dict[Key, list[Place]]


def collect(tables: Sequence[Grid]) -> Cells:
    """Gather the cells of the tables.

    Raises
    ------
    ReleaseError
        ``bad-table`` where two tables of one name are given, or give one attribute different atoms.
    """
    if len({table.name for table in tables}) != len(tables):
        raise ReleaseError("two tables have the same name", reason="bad-table")
    order: dict[str, tuple[str, ...]] = {}
    for table in tables:
        for attribute, atoms in table.attributes().items():
            if set(order.setdefault(attribute, atoms)) != set(atoms):
                raise ReleaseError(
                    f"table {table.name}: attribute '{attribute}' has other values than in an earlier table",
                    reason="bad-table",
                )
    domains: _Domains = {attribute: frozenset(atoms) for attribute, atoms in order.items()}
    shown: dict[Key, list[Place]] = {}
    impossible: dict[Key, list[Place]] = {}
    implied: dict[Key, None] = {}
    links: dict[tuple[tuple[int, Key], ...], None] = {}
    for table in tables:
        for *values, _ in table.frame.select(*table.dimensions, "count").iter_rows():
            key = _key([table.condition(d, v) for d, v in zip(table.dimensions, values, strict=True)], domains)
            target = impossible if _is_impossible(key) else shown
            target.setdefault(key, []).append((table.name, tuple(values)))
        implied |= dict.fromkeys(_implied(table, domains))
        links |= {tuple((w, _key([condition], domains)) for w, condition in link.terms): None for link in table.links}
    hidden = [key for key in implied if key not in shown and not _is_impossible(key)]
    return Cells(order, shown, hidden, [list(link) for link in links], impossible)


def _key(conditions: Iterable[Condition], domains: _Domains) -> Key:
    """Bring the conditions, all of which hold, to their one form."""
    merged: dict[str, frozenset[str]] = {}
    for condition in conditions:
        for attribute, atoms in condition.items():
            merged[attribute] = merged.get(attribute, domains[attribute]) & frozenset(atoms)
    return frozenset((attribute, atoms) for attribute, atoms in merged.items() if atoms != domains[attribute])


def _is_impossible(key: Key) -> bool:
    return any(not atoms for _, atoms in key)


def _is_partition(table: Grid, dimension: str, domains: _Domains) -> bool:
    """Tell whether the values of a dimension exclude each other and leave nobody out."""
    atoms = [(a, atom) for v in table.values(dimension) for a, s in table.condition(dimension, v).items() for atom in s]
    attributes = {attribute for attribute, _ in atoms}
    return len(attributes) == 1 and len(atoms) == len(set(atoms)) == len(domains[atoms[0][0]])


def _implied(table: Grid, domains: _Domains) -> Iterator[Key]:
    """Give the cells that the table lets one compute and does not show.

    What lies outside a value of a partition is the sum of the others, all of which are cells themselves; only where
    values overlap or leave people out does subtracting lead to somebody new.
    """
    choices: list[list[Condition]] = []
    for dimension in table.dimensions:
        options: list[Condition] = [{}]
        options += [table.condition(dimension, value) for value in table.values(dimension)]
        if not _is_partition(table, dimension, domains):
            values = [(attribute, set(atoms)) for condition in options for attribute, atoms in condition.items()]
            options += [{attribute: tuple(domains[attribute] - atoms)} for attribute, atoms in values]
            attributes = sorted({attribute for attribute, _ in values})
            options += [{attribute: (atom,)} for attribute in attributes for atom in sorted(domains[attribute])]
        choices.append(options)
    for row in product(*choices):
        yield _key(row, domains)
