"""Agreed test persons: made-up people whom several agencies plant in their batches, with known errors.

The agencies agree on them beforehand; nobody at the hub knows who they are. The hub links them like anybody else, and
the analysis, which is told, sees how many of them were found and leaves them out of every count.

A file says for which source, project and epoch it was made, and is planted there alone: with another agency's file the
two would know the same people without an error, and what is measured would flatter the linkage.

Leakage
-------
A test person has the encodings of a person and a pseudonym like any other. The hub could only know one who told it the
identifiers and the linkage key, or both the identifiers and a way to ask.
"""

from __future__ import annotations

import csv
import datetime as dt
import hmac
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from linkage.contract.source import SourceSchema
from linkage.contract.vocabulary import FACT_SCHEMA, IDENTIFIER_KINDS
from linkage.errors import ExtractError
from linkage.exchange import Party
from linkage.exchange.batch import TEST_PERSON
from linkage.steward.group import KEPT, identifiers, mapped_identifiers

__all__ = ["COLUMNS", "MADE_FOR", "MOST", "planted_facts", "planted_identifiers", "planted_pseudonyms", "read_planted"]

MADE_FOR = ("project", "epoch", "source")
"""Columns that say in every row, alike, for whom the file was made."""

COLUMNS = (*MADE_FOR, "test_person", *IDENTIFIER_KINDS, "aliases")
"""Columns that a file of test persons may have; :data:`MADE_FOR`, ``test_person`` and a name must be there."""

MOST = 10_000
"""Test persons in one file."""

_SEPARATOR = ";"
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


def read_planted(path: Path, *, project: str, epoch: str, source: str) -> pl.DataFrame:
    """Read a file of test persons that was made for this source.

    Parameters
    ----------
    path
        CSV in UTF-8 with a header of some of :data:`COLUMNS`; one row a test person; empty rows at the end are none.
        Dates are ``YYYY-MM-DD``, ``YYYY-MM`` or ``YYYY``; phones, streets, postal codes and aliases may be several,
        with semicolons between; an alias is written given name first.
    project, epoch, source
        Whose test persons they must be.

    Returns
    -------
    pl.DataFrame
        The columns of the file but for :data:`MADE_FOR`, as String; an empty cell is null.

    Raises
    ------
    ExtractError
        ``not-found``, ``unreadable``, ``encoding``, ``malformed`` with row numbers and rules, ``empty``, or
        ``other-project``, ``other-epoch`` or ``other-source`` if it was made for another.
    """
    path = Path(path)
    if not path.is_file():
        raise ExtractError(
            f"{path}: no such file",
            reason="not-found",
            hint=f"it is named test-persons-{source}.csv by the agency that has drawn the test persons",
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *lines = csv.reader(file, strict=True)
    except UnicodeDecodeError:
        raise ExtractError(f"{path}: not UTF-8", reason="encoding") from None
    except OSError:
        raise ExtractError(f"{path}: cannot be read", reason="unreadable") from None
    except (csv.Error, ValueError):
        raise ExtractError(f"{path}: no CSV file with a header", reason="malformed") from None
    while lines and not any(cell.strip() for cell in lines[-1]):  # editors and spreadsheet programs leave such
        lines.pop()
    problems = _header_problems(header) or _row_problems(header, lines)
    if problems:
        raise ExtractError(
            f"{path}: not a file of test persons",
            reason="malformed",
            hint="make one for all agencies with: linkage lab test-persons",
            problems=problems[:20],
        )
    if not lines:
        raise ExtractError(f"{path}: holds no test person", reason="empty")
    rows = [[cell.strip() or None for cell in line] for line in lines]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    _require_made_for(path, frame, {"project": project, "epoch": epoch, "source": source})
    return frame.drop(MADE_FOR)


def _require_made_for(path: Path, frame: pl.DataFrame, wanted: Mapping[str, str]) -> None:
    """Refuse a file of which a row says that it was made for another."""
    hints = {
        "project": "have test persons drawn for this project: linkage lab test-persons --project",
        "epoch": "have test persons drawn for this epoch; or has a spreadsheet program rewritten the file?",
        "source": f"an agency plants its own file and no other's: test-persons-{wanted['source']}.csv",
    }
    for name in MADE_FOR:
        if not frame[name].eq_missing(wanted[name]).all():
            raise ExtractError(
                f"{path}: made for another {name} than {wanted[name]}", reason=f"other-{name}", hint=hints[name]
            )


def _header_problems(header: Sequence[str]) -> list[str]:
    problems = [f"column {at}: not known" for at, name in enumerate(header, 1) if name not in COLUMNS]
    problems += [f"{name}: twice" for name, count in Counter(header).items() if count > 1 and name in COLUMNS]
    if not {*MADE_FOR, "test_person"} <= set(header) or not {"given_name", "family_name"} & set(header):
        problems.append(f"{', '.join(MADE_FOR)}, test_person and a name must be there")
    return problems


def _row_problems(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return what is wrong, by row of the file and column; never a value."""
    if len(lines) > MOST:
        return [f"more than {MOST} rows"]
    seen: set[str] = set()
    problems = []
    for number, line in enumerate(lines, 2):
        row = dict(zip(header, (cell.strip() for cell in line), strict=False))
        if len(line) != len(header):
            problems.append(f"row {number}: another number of cells than the header")
        elif not re.fullmatch(TEST_PERSON.strip("^$"), row["test_person"]):
            problems.append(f"row {number}: test_person: code")
        elif row["test_person"] in seen:
            problems.append(f"row {number}: test_person: twice")
        elif not row.get("given_name") and not row.get("family_name"):
            problems.append(f"row {number}: no name")
        elif row.get("birth_date") and not _DATE.fullmatch(row["birth_date"]):
            problems.append(f"row {number}: birth_date: date-format")
        seen.add(row.get("test_person", ""))
    return problems


def planted_identifiers(
    planted: pl.DataFrame, schema: SourceSchema, agreed: Iterable[str], variants: int
) -> pl.DataFrame:
    """Standardise test persons as this source's own persons are (:func:`linkage.steward.group.identifiers`).

    They have just the identifiers that this source can fill and may send; ``local_id`` is the test person.
    """
    columns: dict[str, pl.Expr] = {
        "row": pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        "local_id": pl.col("test_person"),
        "event_date": pl.lit(dt.date(2000, 1, 1)),
        "tier": pl.lit("confirmed"),
    }
    for name in mapped_identifiers(schema):
        if name in planted.columns:
            columns[f"identifier.{name}"] = _values(name, several=name in KEPT)
    if schema.aliases is not None:
        schema = schema.model_copy(update={"aliases": schema.aliases.model_copy(update={"order": "given family"})})
        if "aliases" in planted.columns:
            columns["aliases"] = _values("aliases", several=True)
    return identifiers(planted.select(**columns), schema, agreed, variants)


def _values(name: str, *, several: bool) -> pl.Expr:
    text = pl.col(name).fill_null("")
    parts = text.str.split(_SEPARATOR) if several else pl.concat_list(text)
    stripped = parts.list.eval(pl.element().str.strip_chars())
    return stripped.list.eval(pl.element().filter(pl.element() != ""))


def planted_pseudonyms(names: Iterable[str], source: str, party: Party) -> list[str]:
    """Return pseudonyms of test persons, in their order.

    HMAC-SHA-256 over source and name, 128 bits, under a secret that serves nothing else: none can be that of a local
    person number, whatever numbers the agency gives.
    """
    key = party.derive("pseudonyms of test persons")
    return [hmac.digest(key, f"{source}:{name}".encode(), "sha256").hex()[:32] for name in names]


def planted_facts(names: Sequence[str], pseudonyms: Sequence[str]) -> pl.DataFrame:
    """Return the facts of test persons: one row each that says only who they are, in the columns of the vocabulary."""
    marks = {"pseudonym": pl.Series(pseudonyms, dtype=pl.String), "test_person": pl.Series(names, dtype=pl.String)}
    frame = pl.DataFrame(marks).unique().with_columns(pl.lit(True).alias("decoy"))
    nothing = [pl.lit(None, kind).alias(name) for name, kind in FACT_SCHEMA.items() if name not in frame.columns]
    return frame.with_columns(nothing).select(list(FACT_SCHEMA))
