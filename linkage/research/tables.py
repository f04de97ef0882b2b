"""Tables of persons, in the shape of the 2013-2016 report and beyond it, with what links them to each other.

Each cell of a table counts the persons whose attributes take certain values. The tables say so themselves
(``Table.condition``): two cells that ask for the same persons are the same number, wherever they stand, and a margin
is the sum of its parts. :mod:`linkage.research.disclosure` reads this to judge all tables together, as somebody who
holds the whole release would.

Attributes are cut into **atoms** that exclude each other. What does not exclude itself in a table - lists, kinds of
history, missing flags - is written in patterns: the atoms of ``lists`` are the capture histories, and the persons on
mpd are all those with mpd in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import polars as pl

from linkage.contract.vocabulary import HISTORY_KINDS, RACES, ROLES, SEXES, TIERS
from linkage.errors import ReleaseError
from linkage.research.histories import UNKNOWN

__all__ = ["TOTAL", "Condition", "Grid", "Link", "Meaning", "Table", "age_group", "build_tables"]

TOTAL = "total"
"""The value of a dimension that stands for all its persons."""

Condition = Mapping[str, tuple[str, ...]]
"""Attribute -> atoms: the persons who have one of the atoms in each of the attributes. Empty: everybody."""

Meaning = Mapping[str, Condition]
"""Value of a dimension -> whom it counts."""

_AGES = (("under 14", 0, 13), ("14-17", 14, 17), ("18-25", 18, 25), ("26 and over", 26, 999))
_MISSING = ("ever", "ever+juvenile", "ever+care", "ever+juvenile+care")
_ANY_ROLE = tuple(role for role in ROLES if role != "none")


@dataclass(frozen=True)
class Link:
    """A relation that holds between numbers of persons whatever the data: the weighted counts add up to zero.

    Parameters
    ----------
    terms
        Weight and condition of each count.
    """

    terms: tuple[tuple[int, Condition], ...]


@dataclass(frozen=True)
class Grid:
    """A table of persons with all its margins, be its counts true or protected.

    Parameters
    ----------
    name, title
        For the file and for the reader.
    dimensions
        Columns of ``frame`` that are not the count.
    frame
        One row a cell: the dimensions (String, ``"total"`` for a margin) and ``count`` (Int64). Every combination
        of values stands in it once.
    meaning
        Dimension -> value -> condition on one attribute, for values that are more than one atom of an attribute of
        the dimension's own name. The total has no condition.
    domains
        Attribute -> all its atoms. Default for a dimension without an entry: its values.
    links
        Relations to which the attributes are subject.

    Raises
    ------
    ReleaseError
        ``bad-table`` where the frame is not of this shape.
    """

    name: str
    title: str
    dimensions: tuple[str, ...]
    frame: pl.DataFrame
    meaning: Mapping[str, Meaning] = field(default_factory=dict)
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    def __post_init__(self) -> None:
        """Check the shape."""
        expected = dict.fromkeys(self.dimensions, pl.String()) | {"count": pl.Int64()}
        if dict(self.frame.schema) != expected or any(self.frame[name].has_nulls() for name in self.dimensions):
            raise ReleaseError(f"table {self.name}: the columns are not its dimensions and a count", reason="bad-table")
        cells = math.prod(len(self.values(name)) + 1 for name in self.dimensions)
        if self.frame.height != cells or self.frame.select(self.dimensions).n_unique() != cells:
            raise ReleaseError(
                f"table {self.name}: a cell or a margin is absent or stands there twice", reason="bad-table"
            )
        if (self.frame.get_column("count") < 0).any():
            raise ReleaseError(f"table {self.name}: a count is negative", reason="bad-table")
        if any(len(condition) > 1 for meaning in self.meaning.values() for condition in meaning.values()):
            raise ReleaseError(f"table {self.name}: a value is a condition on two attributes", reason="bad-table")

    def values(self, dimension: str) -> tuple[str, ...]:
        """Return the values of a dimension in their order, without the total."""
        found = self.frame.get_column(dimension).unique(maintain_order=True).to_list()
        return tuple(value for value in found if value != TOTAL)

    def condition(self, dimension: str, value: str) -> Condition:
        """Return the persons whom a value of a dimension counts."""
        if value == TOTAL:
            return {}
        return self.meaning.get(dimension, {}).get(value, {dimension: (value,)})

    def attributes(self) -> dict[str, tuple[str, ...]]:
        """Return the attributes that the table touches, with their atoms."""
        domains = dict(self.domains)
        for dimension in self.dimensions:
            for value in self.values(dimension):
                for attribute in self.condition(dimension, value):
                    domains.setdefault(attribute, self.values(dimension))
        return domains


@dataclass(frozen=True)
class Table(Grid):
    """A table of true counts. It stays in the enclave."""

    def __post_init__(self) -> None:
        """Check the shape, and that no count is absent."""
        super().__post_init__()
        if self.frame.get_column("count").has_nulls():
            raise ReleaseError(f"table {self.name}: a count is absent", reason="bad-table")


def build_tables(people: pl.DataFrame, lists: Sequence[str]) -> list[Table]:
    """Count the persons into all tables of a release.

    Parameters
    ----------
    people
        One row a person, as :func:`linkage.research.histories.persons` returns it.
    lists
        The sources counted. Persons on none of them are left out.

    Returns
    -------
    list of Table
        ``persons`` (deduplicated total), ``tier``, ``sex``, ``race``, ``age`` and ``juvenile`` by tier, ``years``,
        ``recurrence``, ``years_active``, ``history`` by kind and tier, ``history_<kind>`` by role and tier,
        ``missing`` by tier, ``systems``, ``overlaps``, and ``profile_{tier,sex,race,age}``: each list beside the
        others. Unprotected: these are true counts and stay in the enclave. Coded attributes show their whole
        vocabulary, and ``unknown`` where there is any.

    Raises
    ------
    ReleaseError
        ``no-persons`` where nobody is on the lists.
    """
    people = people.filter(pl.any_horizontal([pl.col(f"on_{name}") for name in lists]))
    if people.is_empty():
        raise ReleaseError("nobody is on the lists in this scope", reason="no-persons", hint="check period and ages")
    attributes = _Attributes(people, lists)
    tier, sex, race, age = (attributes.plain(name) for name in ("tier", "sex", "race", "age"))
    source = attributes.parts("lists", lists)
    make = attributes.table
    return [
        make("persons", "Persons, each counted once", persons={}),
        make("tier", "Persons by tier", tier=tier),
        make("sex", "Persons by sex and tier", sex=sex, tier=tier),
        make("race", "Persons by race and ethnicity and tier", race=race, tier=tier),
        make("age", "Persons by age at the first contact and tier", age=age, tier=tier),
        make("juvenile", "Juveniles and adults at the first contact, by tier", age=_juvenile(age), tier=tier),
        make("years", "Persons by year; a person counts once in each year", year=attributes.years()),
        make("recurrence", "Persons seen again", recurrence=attributes.recurrence()),
        make("years_active", "Persons by the number of years in which they were seen", years=attributes.years_active()),
        make(
            "history",
            "Persons with a history, by kind and tier",
            kind={
                **attributes.parts("histories", HISTORY_KINDS),
                "any": {"histories": _containing(HISTORY_KINDS, *HISTORY_KINDS)},
            },
            tier=tier,
        ),
        *[
            make(
                f"history_{kind}",
                f"Persons by role in a history of {kind}, and tier",
                role=attributes.plain(f"history_{kind}"),
                tier=tier,
            )
            for kind in HISTORY_KINDS
        ],
        make("missing", "Persons reported missing or in care, by tier", report=attributes.missing(), tier=tier),
        make("systems", "Persons by the number of systems that know them", systems=_sizes("lists", lists)),
        make("overlaps", "Persons on each list and on each pair of lists", list=source, and_list=source),
        make("profile_tier", "Persons on each list by tier", source=source, tier=tier),
        make("profile_sex", "Persons on each list by sex", source=source, sex=sex),
        make("profile_race", "Persons on each list by race and ethnicity", source=source, race=race),
        make("profile_age", "Persons on each list by age at the first contact", source=source, age=age),
    ]


def _patterns(parts: Sequence[str], smallest: int = 1) -> dict[str, tuple[str, ...]]:
    """Name every subset of the parts: ``"dcf+mpd" -> ("dcf", "mpd")``."""
    subsets = (subset for size in range(smallest, len(parts) + 1) for subset in combinations(parts, size))
    return {"+".join(subset) or "none": subset for subset in subsets}


def _containing(parts: Sequence[str], *wanted: str) -> tuple[str, ...]:
    """Return the patterns that hold at least one of the wanted parts."""
    return tuple(name for name, subset in _patterns(parts).items() if set(wanted) & set(subset))


def _sizes(attribute: str, parts: Sequence[str]) -> Meaning:
    return {
        str(size): {attribute: tuple(name for name, subset in _patterns(parts).items() if len(subset) == size)}
        for size in range(1, len(parts) + 1)
    }


def _juvenile(age: Meaning) -> Meaning:
    groups = {"juvenile": ("under 14", "14-17"), "adult": ("18-25", "26 and over"), UNKNOWN: (UNKNOWN,)}
    present = {value: tuple(atom for atom in atoms if atom in age) for value, atoms in groups.items()}
    return {value: {"age": atoms} for value, atoms in present.items() if atoms}


class _Attributes:
    """Each person's atoms, one column an attribute, with the domains and the links between the attributes."""

    def __init__(self, people: pl.DataFrame, lists: Sequence[str]) -> None:
        self._first = int(people.get_column("first_year").min())  # type: ignore[arg-type]
        self._last = int(people.get_column("last_year").max())  # type: ignore[arg-type]
        self._codes: dict[str, npt.NDArray[np.str_]] = {}
        self._domains: dict[str, tuple[str, ...]] = {}
        self._height = people.height
        for name, vocabulary in (("tier", TIERS), ("sex", SEXES), ("race", RACES)):
            self._add(people.select(pl.col(name)), vocabulary)
        self._add(people.select(age_group()), [label for label, *_ in _AGES[:-1]], optional=_AGES[-1][0])
        for kind in HISTORY_KINDS:
            self._add(people.select(pl.col(f"history_{kind}")), ROLES)
        self._add(people.select(_joined("lists", {name: pl.col(f"on_{name}") for name in lists})), _patterns(lists))
        roles = {kind: pl.col(f"history_{kind}").is_in(_ANY_ROLE) for kind in HISTORY_KINDS}
        self._add(people.select(_joined("histories", roles)), _patterns(HISTORY_KINDS, 0))
        self._add(people.select(_missing_pattern()), ("no", *_MISSING))
        self._add(people.select(_yes_no(pl.col("out_of_home_care")).alias("care")), ("yes", "no"))
        for year in self._span():
            self._add(people.select(_yes_no(pl.col("years").list.contains(year)).alias(f"year_{year}")), ("yes", "no"))
        again = pl.format("{} years", pl.col("years").list.len())
        seen = pl.when(pl.col("recurrence") == "several_years").then(again).otherwise(pl.col("recurrence"))
        several = [f"{count} years" for count in range(2, len(self._span()) + 1)]
        self._add(people.select(seen.alias("recurrence")), ("once", "within_one_year", *several))

    def _add(self, column: pl.DataFrame, vocabulary: Iterable[str], optional: str = "") -> None:
        values = column.to_series().fill_null(UNKNOWN)
        present = set(values.unique().to_list())
        extra = tuple(value for value in (optional, UNKNOWN) if value in present)
        self._domains[values.name] = (*vocabulary, *extra)
        self._codes[values.name] = values.to_numpy().astype(np.str_)

    def _span(self) -> range:
        return range(self._first, self._last + 1)

    def plain(self, attribute: str) -> Meaning:
        """Return a value for each atom."""
        return {atom: {attribute: (atom,)} for atom in self._domains[attribute]}

    def parts(self, attribute: str, parts: Sequence[str]) -> Meaning:
        """Return a value for each part of an attribute of patterns."""
        return {part: {attribute: _containing(parts, part)} for part in parts}

    def years(self) -> Meaning:
        """Return a value for each year."""
        return {str(year): {f"year_{year}": ("yes",)} for year in self._span()}

    def recurrence(self) -> Meaning:
        """Return once, again within a year, in more than one year."""
        plain = self.plain("recurrence")
        several = tuple(atom for atom in plain if atom not in ("once", "within_one_year"))
        first = {"once": plain["once"], "within one year only": plain["within_one_year"]}
        return first | ({"in more than one year": {"recurrence": several}} if several else {})

    def years_active(self) -> Meaning:
        """Return a value for each number of years."""
        several = {str(n): {"recurrence": (f"{n} years",)} for n in range(2, len(self._span()) + 1)}
        return {"1": {"recurrence": ("once", "within_one_year")}, **several}

    def missing(self) -> Meaning:
        """Return the missing flags and out-of-home care."""
        return {
            "ever missing": {"missing": _MISSING},
            "missing as a juvenile": {"missing": tuple(atom for atom in _MISSING if "juvenile" in atom)},
            "missing from care": {"missing": tuple(atom for atom in _MISSING if "care" in atom)},
            "in out-of-home care": {"care": ("yes",)},
        }

    def _links(self, used: set[str]) -> tuple[Link, ...]:
        """Return the relations between the attributes used: a role and its kind, the years and their number."""
        links = []
        for kind in HISTORY_KINDS:
            name = f"history_{kind}"
            if name in used:
                holding = _containing(HISTORY_KINDS, kind)
                others = tuple(atom for atom in self._domains["histories"] if atom not in holding)
                silent = tuple(atom for atom in self._domains[name] if atom not in _ANY_ROLE)
                links.append(Link(((1, {"histories": holding, name: silent}),)))
                links.append(Link(((1, {"histories": others, name: _ANY_ROLE}),)))
        if "recurrence" in used:
            # Everybody seen in k years is counted in k of the yearly figures.
            for atom in self._domains["recurrence"]:
                number = int(atom.split()[0]) if atom.endswith("years") else 1
                seen = [(1, {f"year_{year}": ("yes",), "recurrence": (atom,)}) for year in self._span()]
                links.append(Link((*seen, (-number, {"recurrence": (atom,)}))))
        return tuple(links)

    def table(self, name: str, title: str, **dimensions: Meaning) -> Table:
        """Count the persons into one table with all its margins."""
        cells: list[tuple[str, ...]] = []
        counts: list[int] = []
        for row in product(*[(*meaning, TOTAL) for meaning in dimensions.values()]):
            conditions = [m[value] for m, value in zip(dimensions.values(), row, strict=True) if value != TOTAL]
            mask = np.ones(self._height, dtype=np.bool_)
            for attribute, atoms in ((a, atoms) for condition in conditions for a, atoms in condition.items()):
                mask &= np.isin(self._codes[attribute], atoms)
            cells.append(row)
            counts.append(int(mask.sum()))
        frame = pl.DataFrame(cells, schema=dict.fromkeys(dimensions, pl.String()), orient="row")
        frame = frame.with_columns(pl.Series("count", counts, dtype=pl.Int64))
        used = {a for meaning in dimensions.values() for condition in meaning.values() for a in condition}
        links = self._links(used)
        used |= {attribute for link in links for _, condition in link.terms for attribute in condition}
        domains = {attribute: atoms for attribute, atoms in self._domains.items() if attribute in used}
        return Table(name, title, tuple(dimensions), frame, dimensions, domains, links)


def age_group() -> pl.Expr:
    """Group the age at the first contact."""
    groups = [
        pl.when(pl.col("age_first").is_between(lowest, highest)).then(pl.lit(label)) for label, lowest, highest in _AGES
    ]
    return pl.coalesce(groups).alias("age")


def _joined(name: str, parts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Write which of the parts hold as the name of their pattern."""
    labels = [pl.when(holds).then(pl.lit(part)) for part, holds in parts.items()]
    return pl.concat_str(labels, separator="+", ignore_nulls=True).replace("", "none").alias(name)


def _missing_pattern() -> pl.Expr:
    """Write the missing flags as one atom; a flag nobody knows counts as not raised on a person known missing."""
    juvenile = pl.when(pl.col("missing_as_juvenile")).then(pl.lit("juvenile"))
    care = pl.when(pl.col("missing_from_care")).then(pl.lit("care"))
    raised = pl.concat_str([pl.lit("ever"), juvenile, care], separator="+", ignore_nulls=True)
    ever = pl.col("missing_ever")
    return pl.when(ever).then(raised).when(ever.not_()).then(pl.lit("no")).alias("missing")


def _yes_no(flag: pl.Expr) -> pl.Expr:
    return pl.when(flag).then(pl.lit("yes")).when(flag.not_()).then(pl.lit("no"))
