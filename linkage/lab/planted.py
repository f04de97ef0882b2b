"""Make test persons: made-up people with known errors, one file an agency, for all of them to plant.

They are drawn as the synthetic population is (:mod:`linkage.lab.population`), with the same errors at the same rates:
numbers that were never issued and cannot be dialled, so that they are nobody.

Whoever can draw them again knows them. So they are drawn from fresh random bits that nobody sees and nothing keeps: a
lost file cannot be drawn anew, a new set can.
"""

from __future__ import annotations

import csv
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linkage.errors import ContractError
from linkage.exchange.files import atomic_write
from linkage.lab.population.distort import DAY
from linkage.lab.population.identity import NO_DATE, Record, agency_records, draw_identities
from linkage.lab.population.sampling import Flags, Texts, choose, share
from linkage.lab.population.scenario import MILWAUKEE, SOURCES, Scenario
from linkage.steward.planted import MADE_FOR, MOST

__all__ = ["ON_A_LIST", "draw_test_persons"]

ON_A_LIST = 0.6
"""Chance of a test person to be on a list: enough pairs to be found, and some that are on one list only."""

_COLUMNS = (
    *MADE_FOR,
    "test_person",
    "given_name",
    "middle_name",
    "family_name",
    "suffix",
    "birth_date",
    "sex",
    "ssn4",
    "phone",
    "street",
    "postal_code",
    "aliases",
)
_SEX = {"female": "F", "male": "M", "transgender_female": "F", "transgender_male": "M"}


def draw_test_persons(
    people: int,
    out: Path,
    *,
    project: str,
    epoch: str,
    sources: Sequence[str] = SOURCES,
    scenario: Scenario = MILWAUKEE,
    seed: int | None = None,
) -> dict[str, Any]:
    """Draw test persons and write ``test-persons-<source>.csv`` for each source.

    Parameters
    ----------
    people
        Number of test persons. Those on a list should be few beside its own people: a twentieth is plenty.
    out
        Folder to write to; made if need be. No file is overwritten: others may have planted theirs of that draw.
    project, epoch
        Where they will be planted; the files say so, and are refused elsewhere.
    sources
        Agencies that plant them.
    scenario
        Whose error rates hold.
    seed
        For studies on made-up populations alone, to be repeated: whoever knows it knows the test persons. By default
        256 fresh random bits, which are not kept.

    Returns
    -------
    dict
        ``people``, ``project``, ``epoch``, and source, path and rows of each file: nothing to draw them again by.

    Raises
    ------
    ContractError
        Fewer than 2 people or more than a file may hold, fewer than two sources, a name that no source, project or
        epoch can have, or ``exists`` if one of the files is there.
    """
    if not 2 <= people <= MOST:
        raise ContractError("too few or too many test persons", reason="bad-number", hint=f"from 2 to {MOST}")
    if len(set(sources)) < 2 or len(set(sources)) < len(sources):
        raise ContractError("test persons need two sources, each named once", reason="bad-number")
    if not all(re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) for name in sources):
        raise ContractError("a source has no name that a source can have", reason="bad-name")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", project) or not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", epoch
    ):
        raise ContractError(
            "the project or epoch is not a name",
            reason="bad-name",
            hint="those of the linkage key: linkage keys show",
        )
    paths = [Path(out) / f"test-persons-{source}.csv" for source in sources]
    for path in paths:
        if path.exists():
            raise ContractError(
                f"{path}: there is a file here already, and its test persons cannot be drawn again",
                reason="exists",
                hint="choose another folder",
            )
    rng = np.random.default_rng(np.random.SeedSequence(secrets.randbits(256) if seed is None else seed))
    listed = _lists(people, len(sources), rng)
    known = listed.sum(axis=1).astype(np.int64)
    sex = choose(rng, dict(scenario.report.sex["confirmed"]), people)
    race = choose(rng, dict(scenario.report.race["confirmed"]), people)
    first, last = (np.datetime64(day, "D").astype(np.int64) for day in ("1990-01-01", "2003-12-31"))
    birth = rng.integers(first, last, people)
    care = share(rng, people, scenario.care)
    who = draw_identities(scenario, sex, race, birth, care, known, rng)
    width, draw = len(str(people)), secrets.token_hex(8)  # people of two draws never have one name
    files = []
    for place, (source, path) in enumerate(zip(sources, paths, strict=True)):
        person = np.flatnonzero(listed[:, place])
        record = agency_records(scenario, source, who, person, known[person], rng)
        made_for = [[value] * len(person) for value in (project, epoch, source)]
        _write(path, made_for, [f"{draw}-{number + 1:0{width}d}" for number in person], record)
        files.append({"source": source, "path": path.name, "rows": len(person)})
    return {"people": people, "project": project, "epoch": epoch, "files": files}


def _lists(people: int, sources: int, rng: np.random.Generator) -> Flags:
    """Put each person on lists at random, on one at least; shape (people, sources)."""
    listed = np.asarray(rng.random((people, sources)) < ON_A_LIST, dtype=np.bool_)
    nowhere = ~listed.any(axis=1)
    listed[nowhere, rng.integers(0, sources, people)[nowhere]] = True
    return listed


def _write(path: Path, made_for: Sequence[Sequence[str]], names: Sequence[str], record: Record) -> None:
    columns = (
        *made_for,
        names,
        record.given,
        record.middle,
        record.family,
        record.suffix,
        _dates(record),
        [_SEX.get(sex, "") for sex in record.sex],
        [number[-4:] for number in record.ssn],
        _joined(record.phone, record.second_phone),
        record.street,
        record.postal_code,
        [";".join(others) for others in record.aka],
    )
    with atomic_write(path, private=True) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(zip(*columns, strict=True))


def _dates(record: Record) -> list[str]:
    text = record.birth.astype(DAY).astype(str)
    return [
        "" if day == NO_DATE else whole[:4] if year_only else whole
        for day, year_only, whole in zip(record.birth, record.year_only, text, strict=True)
    ]


def _joined(one: Texts, other: Texts) -> list[str]:
    return [";".join(value for value in pair if value) for pair in zip(one, other, strict=True)]
