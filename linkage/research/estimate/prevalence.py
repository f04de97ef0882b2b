"""Prevalence: estimated people over the population they are part of, per 1,000.

The site supplies the population, by stratum and year, as a CSV (:func:`read_denominators`): a column ``year``, a column
``population``, and any columns of strata, named and valued as in the capture histories. Populations are taken as
known. A period of several years has as its population the mean over its years, and a rate over it is of persons seen
and unseen in the whole period: it is no yearly rate.

A file by strata that lacks one of them lacks part of the people: whoever divides all of them by it counts them in the
numerator and not below it. :func:`population` refuses that where it is told who is in the numerator.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from linkage.errors import NO_SUCH_FILE, EstimateError
from linkage.research.estimate.arithmetic import Estimated, aligned
from linkage.research.estimate.lattice import Floats
from linkage.research.estimate.result import OK, REASONS
from linkage.research.estimate.strata import StrataResult

__all__ = ["NO_DENOMINATOR", "PARTIAL", "PER", "POPULATION", "YEAR", "Prevalence", "population", "prevalence"]
__all__ += ["prevalence_of_strata", "read_denominators"]

PER = 1000.0
YEAR, POPULATION = "year", "population"
NO_DENOMINATOR, PARTIAL = "no-denominator", "partial-population"
_UNKNOWN = "unknown"  # a value that no source knows: it asks for no population of its own
_LEVELS = (0.025, 0.975)
_MOST_PROBLEMS = 20
_LARGEST = 10**11
_SHAPE = "a header with `year`, `population` and a column a stratum, then a row for each stratum and year"
_YEAR = re.compile(r"(19|20)[0-9]{2}", re.ASCII)
_WHOLE = re.compile(r"[0-9]+", re.ASCII)


# --- denominators


def read_denominators(path: Path, values: Mapping[str, Sequence[str]] | None = None) -> pl.DataFrame:
    """Read a CSV of populations strictly: UTF-8 (a byte order mark is allowed), commas, one header row.

    Parameters
    ----------
    path
        The file.
    values
        Columns that may be strata, and the values of each; ``unknown`` is always one. Without it any may stand there.

    Returns
    -------
    polars.DataFrame
        Strata (String) in the order of the file, ``year`` (Int64), ``population`` (Int64); sorted by year and strata.

    Raises
    ------
    EstimateError
        ``not-found``, ``bad-encoding``, ``bad-csv``, ``bad-header``, ``no-rows``; or ``bad-denominators`` with every
        fault by row (the header is row 1) and column: a field too many or too few, a year that is not four digits, a
        population that is not a whole number above zero, a stratum without a value or with one that it cannot have, a
        row of strata and year that was there before.
    """
    header, rows = _parsed(Path(path))
    strata = [name for name in header if name not in (YEAR, POPULATION)]
    if values is not None and not set(strata) <= set(values):
        names = ", ".join(f"`{name}`" for name in values)
        foreign = [f"column {header.index(name) + 1} is none of them" for name in strata if name not in values]
        message = f"{path}: a column is neither `year` nor `population` nor a stratum"
        raise EstimateError(message, reason="bad-header", hint=f"strata may be {names}", problems=foreign)
    problems: list[str] = []
    kept: list[dict[str, str]] = []
    first: dict[tuple[str, ...], int] = {}
    for number, fields in rows:
        if len(fields) != len(header):
            problems.append(f"row {number}: {len(fields)} fields where the header has {len(header)}")
            continue
        row = dict(zip(header, (field.strip() for field in fields), strict=True))
        faults = _faults(row, strata, values or {})
        problems += [f"row {number}, column {name}: {fault}" for name, fault in faults]
        key = (row[YEAR], *(row[name] for name in strata))
        if not faults and key in first:
            problems.append(f"row {number}: the same strata and year as row {first[key]}")
        first.setdefault(key, number)
        kept.append(row)
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown = problems[:_MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise EstimateError(
            f"{path}: the denominators have faults", reason="bad-denominators", hint=_SHAPE, problems=shown
        )
    columns = {name: [row[name] for row in kept] for name in strata}
    years, people = ([int(row[name]) for row in kept] for name in (YEAR, POPULATION))
    return pl.DataFrame({**columns, YEAR: years, POPULATION: people}).sort(YEAR, *strata)


def _faults(
    row: Mapping[str, str], strata: Sequence[str], values: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Columns of a row that break a rule, and which."""
    faults = [(name, "no value") for name in strata if not row[name]]
    for name in strata:
        if row[name] and name in values and row[name] not in (*values[name], _UNKNOWN):
            faults.append((name, f"not one of {', '.join(values[name])}, {_UNKNOWN}"))
    if not _YEAR.fullmatch(row[YEAR]):
        faults.append((YEAR, "not a year of four digits"))
    if not _WHOLE.fullmatch(row[POPULATION]) or not 0 < int(row[POPULATION]) <= _LARGEST:
        faults.append((POPULATION, "not a whole number above zero"))
    return faults


def _parsed(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if not path.is_file():
        raise EstimateError(f"{path}: no such file", reason="not-found", hint=NO_SUCH_FILE)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        hint = "see whether this account may read the file"
        raise EstimateError(f"{path}: the denominators cannot be opened", reason="unreadable", hint=hint) from error
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        hint = "save it again as CSV in UTF-8"
        raise EstimateError(f"{path}: the file is not UTF-8 text", reason="bad-encoding", hint=hint)
    try:
        lines = [row for row in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1) if row[1]]
    except csv.Error:
        raise EstimateError(f"{path}: the file is not well-formed CSV", reason="bad-csv") from None
    if not lines:
        raise EstimateError(f"{path}: the file has no rows", reason="no-rows", hint=_SHAPE)
    header = [name.strip() for name in lines[0][1]]
    if len(set(header)) != len(header) or "" in header or not {YEAR, POPULATION} <= set(header):
        message = f"{path}: column names are missing or repeated, or there is no `year` or `population`"
        raise EstimateError(message, reason="bad-header", hint=_SHAPE)
    if len(lines) == 1:
        raise EstimateError(f"{path}: the file has no rows", reason="no-rows", hint=_SHAPE)
    return header, lines[1:]


def population(
    denominators: pl.DataFrame,
    years: Sequence[int],
    strata: Mapping[str, str | None] | None = None,
    people: Sequence[Mapping[str, str]] = (),
) -> float:
    """Give the population of a stratum, or of all together, as the mean over the years of a period.

    Parameters
    ----------
    denominators
        As :func:`read_denominators` returns it.
    years
        The years of the period.
    strata
        Values by column; columns that are not named are added up over. ``year`` among them is ignored.
    people
        Values by column that people have who are in the numerator: for each there must be a population. What a person
        has in a column that is not there, and ``unknown``, asks for none.

    Raises
    ------
    EstimateError
        ``no-denominator``: no population for a year or stratum, a column that is not there, or years whose strata are
        not the same, so that sums would not be alike. ``partial-population``: people have values for which there is
        none in a year; ``problems`` names them.
    """
    wanted = {name: value for name, value in (strata or {}).items() if name != YEAR}
    absent = [name for name in wanted if name not in denominators.columns]
    if absent or not years:
        message = "the denominators have no column for a stratum, or no year is asked for"
        raise EstimateError(message, reason=NO_DENOMINATOR, problems=[f"not there: {name}" for name in absent])
    rows = denominators.filter(pl.col(YEAR).is_in(list(years)), *(pl.col(n).eq_missing(v) for n, v in wanted.items()))
    others = [name for name in denominators.columns if name not in (YEAR, POPULATION)]
    held = {year: set(part.select(others).rows()) for (year,), part in rows.group_by(YEAR)}
    missing = sorted(set(years) - set(held))
    if missing:
        problems = [f"no population for {year}" for year in missing]
        raise EstimateError("years or strata lack a population", reason=NO_DENOMINATOR, problems=problems)
    lacking = _lacking(
        [dict(zip(others, row, strict=True)) for row in set.intersection(*held.values())], people, wanted
    )
    if lacking:
        message = "part of the people have no population in the file"
        hint = "add rows for them, or leave the column out and give the population of all together"
        raise EstimateError(message, reason=PARTIAL, hint=hint, problems=lacking)
    if len({frozenset(strata_) for strata_ in held.values()}) > 1:
        message = "the years have different strata, so their populations are not alike"
        raise EstimateError(message, reason=NO_DENOMINATOR)
    return float(rows.get_column(POPULATION).sum()) / len(set(years))


def _lacking(
    held: Sequence[Mapping[str, str]], people: Sequence[Mapping[str, str]], wanted: Mapping[str, str | None]
) -> list[str]:
    """Name what people of a stratum have and no row holds; a row holds them if it differs in nothing that is known."""
    columns = held[0].keys() if held else ()
    found = set()
    for person in people:
        if any(person.get(name, value) != value for name, value in wanted.items()):
            continue
        known = {name: person[name] for name in columns if person.get(name, _UNKNOWN) != _UNKNOWN}
        if known and not any(all(row[name] == value for name, value in known.items()) for row in held):
            # A value that no row has is named alone: the others that its people have are not at fault.
            alone = [name for name, value in known.items() if all(row[name] != value for row in held)]
            found.add(", ".join(f"{name} {known[name]}" for name in alone or known))
    return sorted(found)


# --- rates


@dataclass(frozen=True, eq=False)
class Prevalence:
    """People per 1,000 (or another number) of the population.

    Attributes
    ----------
    values
        Stratum and year, as the estimate has them.
    rate, lower, upper
        ``None`` where there is no estimate.
    population
        What was divided by; ``None`` where there is none.
    per
        Per how many.
    status
        ``"ok"``, the reason of the estimate's refusal, ``no-denominator``, ``partial-population``, or
        ``above-population``.
    draws
        Draws of the rate, shape as :func:`linkage.research.estimate.arithmetic.aligned` has it.
    notes
        What the reader should know besides.
    """

    values: Mapping[str, str | None]
    rate: float | None
    lower: float | None
    upper: float | None
    population: float | None
    per: float
    status: str
    draws: Floats | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a rate."""
        return self.status == OK

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return {
            **dict(self.values),
            "rate": self.rate,
            "lower": self.lower,
            "upper": self.upper,
            "per": self.per,
            "population": self.population,
            "status": self.status,
            "notes": list(self.notes),
        }


def prevalence(item: Estimated, people: float, *, per: float = PER) -> Prevalence:
    """Divide an estimate by its population, draw by draw.

    Parameters
    ----------
    item
        The estimate.
    people
        The population it is part of, such as :func:`population` gives.
    per
        Per how many.

    Returns
    -------
    Prevalence
        With the status of the estimate where that declined, and ``above-population`` where the estimate is greater
        than the population.

    Raises
    ------
    EstimateError
        ``bad-parameter``: a population or ``per`` that is not positive.
    """
    if not (np.isfinite(people) and people > 0 and np.isfinite(per) and per > 0):
        raise EstimateError("a population is a positive number", reason="bad-parameter")
    result = item.result
    if not result.ok or result.n_hat is None or result.lower is None or result.upper is None:
        status = "no-interval" if result.ok else result.status
        return Prevalence(item.values, None, None, None, people, per, status)
    if result.n_hat > people:
        return Prevalence(
            item.values, None, None, None, people, per, "above-population", notes=REASONS["above-population"]
        )
    (draws,) = aligned([item])
    # Of the estimate itself, so that rates and numbers of people are the same statement.
    rate, lower, upper = (value / people * per for value in (result.n_hat, result.lower, result.upper))
    notes = ("the interval reaches beyond the population",) if result.upper > people else ()
    return Prevalence(item.values, rate, lower, min(upper, per), people, per, OK, draws / people * per, notes)


def prevalence_of_strata(
    found: StrataResult,
    denominators: pl.DataFrame,
    years: Sequence[int],
    *,
    people: Sequence[Mapping[str, str]] = (),
    per: float = PER,
) -> tuple[tuple[Prevalence, ...], Prevalence]:
    """Divide the estimates of strata, and their total, by their populations.

    Parameters
    ----------
    found
        The strata and their sum.
    denominators, years, people
        As :func:`population` takes them.
    per
        Per how many.

    Returns
    -------
    tuple
        One rate a stratum, ``no-denominator`` where the file has no population for it; and that of the total, over the
        population of the estimated strata alone, which a note says where there are others.
    """
    rates, under, without = [], 0.0, []
    for stratum in found.strata:
        try:
            number = population(denominators, years, stratum.values, people)
        except EstimateError as error:
            if error.reason not in (NO_DENOMINATOR, PARTIAL):
                raise
            notes = tuple(f"no population for {lacking}" for lacking in error.problems if error.reason == PARTIAL)
            rates.append(Prevalence(stratum.values, None, None, None, None, per, error.reason, notes=notes))
            without += [error.reason] if stratum.values not in found.not_estimated else []
            continue
        rates.append(prevalence(stratum, number, per=per))
        under += number if stratum.values not in found.not_estimated else 0.0
    if without or under == 0:
        reason = PARTIAL if without and set(without) == {PARTIAL} else NO_DENOMINATOR
        status = found.total.result.status if not found.total.ok else reason
        return tuple(rates), Prevalence({}, None, None, None, None, per, status)
    whole = prevalence(found.total, under, per=per)
    notes = () if found.complete else (f"of the estimated strata: {len(found.not_estimated)} have no estimate",)
    return tuple(rates), Prevalence({}, *_numbers(whole), per, whole.status, whole.draws, (*whole.notes, *notes))


def _numbers(rate: Prevalence) -> tuple[float | None, float | None, float | None, float | None]:
    return rate.rate, rate.lower, rate.upper, rate.population
