"""A large file of easy synthetic persons in two sources, with the truth. The same seed gives the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage.lab.population.names import fold, given_names, surnames

FIELDS = ("given_name", "family_name", "sex", "birth_date", "postal_code", "phone")
_OVERLAP = 0.7
_RACES = {"white": 0.44, "black": 0.38, "latino": 0.14, "asian": 0.04}
_POSTAL_CODES = 1_500
_WRONG = 0.25
"""Share of the copies that carry an error; a third of those carry two."""

Texts = NDArray[np.object_]


def write_million(out: Path, records: int, seed: int = 0) -> None:
    """Write two sources of so many records each, 70% of them of persons who are in both.

    Columns: ``id``, ``source`` (a, b), ``entity``, then the fields as text in standard form, null where missing.
    """
    rng = np.random.default_rng(seed)
    both = round(_OVERLAP * records)
    persons = _persons(rng, 2 * records - both)
    first = {name: column[:records] for name, column in persons.items()}
    second = {name: column[records - both :].copy() for name, column in persons.items()}
    _spoil(rng, second, both)
    entity = {"a": np.arange(records), "b": np.arange(records - both, 2 * records - both)}
    frames = []
    for source, columns in (("a", first), ("b", second)):
        frame = pl.DataFrame({name: pl.Series(column.tolist(), dtype=pl.String) for name, column in columns.items()})
        frame = frame.with_columns(source=pl.lit(source), entity=entity[source])
        frames.append(frame[rng.permutation(records)])
    stacked = pl.concat(frames).with_row_index("id")
    stacked.select("id", "source", "entity", *FIELDS).write_parquet(out)


def _persons(rng: np.random.Generator, number: int) -> dict[str, Texts]:
    race = rng.choice(list(_RACES), number, p=list(_RACES.values())).astype(object)
    sex = np.where(rng.random(number) < 0.5, "female", "male").astype(object)
    days = np.datetime64("1930-01-01") + rng.integers(0, 365 * 78, number).astype("timedelta64[D]")
    return {
        "given_name": _plain(given_names(rng, sex, race)),
        "family_name": _plain(surnames(rng, race)),
        "sex": np.where(sex == "female", "F", "M").astype(object),
        "birth_date": np.char.replace(np.datetime_as_string(days), "-", "").astype(object),
        "postal_code": _codes(rng, number),
        "phone": _numbers(rng, number),
    }


def _plain(names: Texts) -> Texts:
    distinct = {name: "".join(letter for letter in fold(name).upper() if letter.isalpha()) for name in set(names)}
    return np.array([distinct[name] for name in names], dtype=object)


def _codes(rng: np.random.Generator, number: int) -> Texts:
    """Draw postal codes, some of them ten times as common as others."""
    weight = 1 / (np.arange(_POSTAL_CODES) + 60.0)
    return (53_000 + rng.choice(_POSTAL_CODES, number, p=weight / weight.sum())).astype(str).astype(object)


def _numbers(rng: np.random.Generator, number: int) -> Texts:
    return rng.integers(2_000_000_000, 9_999_999_999, number).astype(str).astype(object)


def _spoil(rng: np.random.Generator, columns: dict[str, Texts], copies: int) -> None:
    """Put one or two errors into a quarter of the first so many records: a typo, a swap, a lost phone, a move."""
    wrong = np.flatnonzero(rng.random(copies) < _WRONG)
    twice = wrong[rng.random(len(wrong)) < 1 / 3]
    kinds = ("given_name", "family_name", "swap", "phone", "move")
    for records in (wrong, twice):
        kind = rng.choice(len(kinds), len(records), p=[0.25, 0.25, 0.15, 0.15, 0.2])
        for name in ("given_name", "family_name"):
            chosen = records[kind == kinds.index(name)]
            columns[name][chosen] = [_typo(rng, value) for value in columns[name][chosen]]
        chosen = records[kind == kinds.index("swap")]
        columns["birth_date"][chosen] = [_swapped(value) for value in columns["birth_date"][chosen]]
        columns["phone"][records[kind == kinds.index("phone")]] = None
        chosen = records[kind == kinds.index("move")]
        columns["postal_code"][chosen] = _codes(rng, len(chosen))
        chosen = chosen[rng.random(len(chosen)) < 0.5]  # half of those who move have another number there
        columns["phone"][chosen] = _numbers(rng, len(chosen))


def _typo(rng: np.random.Generator, value: str) -> str:
    at, letter = int(rng.integers(0, len(value))), chr(65 + int(rng.integers(0, 26)))
    kind = int(rng.integers(0, 4))
    if kind == 0:
        return value[:at] + letter + value[at:]
    if kind == 1 and len(value) > 2:
        return value[:at] + value[at + 1 :]
    if kind == 2 and at + 1 < len(value):
        return value[:at] + value[at + 1] + value[at] + value[at + 2 :]
    return value[:at] + letter + value[at + 1 :]


def _swapped(date: str) -> str:
    """Swap day and month; where no month has that number, misread the day."""
    year, month, day = date[:4], date[4:6], date[6:]
    return year + day + month if int(day) <= 12 else f"{year}{month}{max(1, int(day) - 7):02d}"
