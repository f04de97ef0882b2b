"""Partitions drawn from the posterior: who is one person with whom, in each draw, and what the lists look like then.

The hub seals a number of partitions beside the person map (:mod:`linkage.exchange.draws`). Whatever is counted from
persons can be counted once a draw; how the counts differ is what the linkage does not know. Draws stay in the enclave.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from linkage.errors import EstimateError
from linkage.research.histories import capture_histories, persons

__all__ = ["by_record", "converged", "draw_histories", "effective_draws", "number_of_draws", "partition"]
__all__ += ["spread", "take", "usable"]

_CONVERGED = 1.1
"""R-hat up to which chains agree, for maps that do not say whether they do."""

_LEAST_WORTH = 2.0
"""Independent draws that it takes to see how draws differ."""

_MOST_DRAWS, _MANY_LISTS, _FEW_DRAWS = 100, 5, 25
"""Partition draws that are used at most; from how many lists on it is fewer, since families take long; and how many."""

_ROWS = 2_000_000
"""Contacts, times draws, that are counted at once."""


def number_of_draws(draws: pl.DataFrame) -> int:
    """Return how many partitions were drawn."""
    return draws.width - 1


def converged(quality: Mapping[str, Any]) -> bool:
    """Tell whether the hub's chains agreed on what they drew from.

    Where they did not, their mean is that of none of them, and whatever is counted from draws or is a mean over them
    is not to be said: it would look as sure as any other number. Drawn exactly, without chains, draws need not agree.

    Parameters
    ----------
    quality
        As the person map carries it; the entry ``posterior`` says so, or in earlier maps R-hat alone does.
    """
    said = quality.get("posterior") or {}
    if "converged" in said or "r_hat" not in said:
        return bool(said.get("converged", True))
    r_hat = said["r_hat"]
    return r_hat is not None and math.isfinite(r_hat) and r_hat <= _CONVERGED


def effective_draws(quality: Mapping[str, Any], number: int) -> float:
    """Return how many independent draws so many draws are worth: all, unless the hub's chains say less."""
    worth = (quality.get("posterior") or {}).get("effective_draws")
    return float(number) if worth is None else min(float(number), float(worth))


def usable(quality: Mapping[str, Any], number: int) -> bool:
    """Tell whether anything may be estimated over so many draws: by the analyst and in a release alike.

    It takes chains that agreed, and draws that are worth two independent ones: from fewer nobody knows how they differ.
    Where they are not usable, what is estimated is that of the map and says so; it is no reason to refuse.

    Parameters
    ----------
    quality
        As the person map carries it.
    number
        How many draws would be used (:func:`spread`); none are not usable.
    """
    return converged(quality) and effective_draws(quality, number) >= _LEAST_WORTH


def spread(there: int, lists: int, *, most: int | None = None) -> list[int]:
    """Tell which partition draws are used, for all that is estimated from draws: by the analyst and in a release alike.

    Neighbours in a chain are alike, so those that are used lie as far apart as they can.

    Parameters
    ----------
    there
        How many there are.
    lists
        How many lists people are counted on: from five on a table takes longer, and fewer draws are used.
    most
        How many to use at most; without it 100, and 25 from five lists on.

    Returns
    -------
    list of int
        Numbers from 0, in order; all where there are no more than may be used.
    """
    if most is None:
        most = _MOST_DRAWS if lists < _MANY_LISTS else _FEW_DRAWS
    number = min(there, most)
    return [place * there // number for place in range(number)]


def take(draws: pl.DataFrame, places: Sequence[int]) -> pl.DataFrame:
    """Return the draws of these numbers alone (:func:`spread`), numbered anew from 0."""
    return draws.select("record", *[pl.col(f"draw_{place}").alias(f"draw_{at}") for at, place in enumerate(places)])


def partition(person_map: pl.DataFrame, draws: pl.DataFrame, draw: int) -> pl.DataFrame:
    """Return one drawn partition as a person map.

    Parameters
    ----------
    person_map, draws
        As :func:`linkage.exchange.open_person_map` opens them; the map in its own order.
    draw
        Which one, from 0.

    Returns
    -------
    polars.DataFrame
        ``source``, ``pseudonym``, ``person`` (UInt32), rows as in the map. Whose person is in no doubt keeps it; the
        others are numbered behind all persons of the map, so that numbers have gaps.

    Raises
    ------
    EstimateError
        ``no-such-draw``.
    """
    if not 0 <= draw < number_of_draws(draws):
        raise EstimateError("there is no draw of this number", reason="no-such-draw")
    person = person_map.get_column("person").to_numpy().astype(np.uint32)
    behind = int(person.max(initial=0)) + 1
    person[draws.get_column("record").to_numpy()] = draws.get_column(f"draw_{draw}").to_numpy() + np.uint32(behind)
    return person_map.select("source", "pseudonym").with_columns(person=pl.Series(person, dtype=pl.UInt32))


def by_record(person_map: pl.DataFrame) -> pl.DataFrame:
    """Return the map in which every record is a person of its own, numbered by row: whose contacts are whose record's.

    Contacts stacked with it (:func:`linkage.research.histories.stack`) are what :func:`draw_histories` takes.
    """
    row = pl.int_range(pl.len(), dtype=pl.UInt32).alias("person")
    return person_map.select("source", "pseudonym", row)


def draw_histories(
    events: pl.DataFrame, person_map: pl.DataFrame, draws: pl.DataFrame, lists: Sequence[str], by: Sequence[str] = ()
) -> pl.DataFrame:
    """Count the capture histories of every draw.

    Those whose person is in no doubt are counted once for all draws, so that the cost is that of the others.

    Parameters
    ----------
    events
        Contacts in scope, stacked with :func:`by_record` of this map.
    person_map, draws
        As opened.
    lists, by
        As :func:`linkage.research.histories.capture_histories` takes them.

    Returns
    -------
    polars.DataFrame
        ``draw`` (UInt16) and the columns of :func:`linkage.research.histories.capture_histories`, one table a draw
        under the other; sorted. Without draws it has no rows. Confidential: most counts are small.
    """
    number = number_of_draws(draws)
    is_open = pl.col("person").is_in(draws.get_column("record").implode())
    person = person_map.get_column("person").to_numpy()
    mine = events.filter(~is_open)
    mine = mine.with_columns(person=pl.Series(person[mine.get_column("person").to_numpy()], dtype=pl.UInt32))
    settled = capture_histories(persons(mine, lists), lists, by)
    numbers = pl.DataFrame({"draw": pl.int_range(number, dtype=pl.UInt16, eager=True)})
    tables = [numbers.join(settled, how="cross")]
    doubtful = events.filter(is_open).rename({"person": "record"})
    step = max(1, _ROWS // max(doubtful.height, 1))
    for first in range(0, number if doubtful.height else 0, step):
        tables.append(_tables(doubtful, draws, range(first, min(first + step, number)), lists, by))
    keys = ["draw", *by, *lists]
    return pl.concat(tables).group_by(keys).agg(pl.col("count").sum()).sort(keys)


def _tables(
    events: pl.DataFrame, draws: pl.DataFrame, chosen: range, lists: Sequence[str], by: Sequence[str]
) -> pl.DataFrame:
    """Count the open records' persons of some draws: persons of different draws are different persons."""
    columns = [
        (pl.col(f"draw_{draw}").cast(pl.Int64) + place * draws.height).cast(pl.UInt32).alias(str(draw))
        for place, draw in enumerate(chosen)
    ]
    long = draws.select("record", *columns).unpivot(index="record", variable_name="draw", value_name="person")
    people = persons(events.join(long.drop("draw"), on="record", how="inner").drop("record"), lists)
    people = people.with_columns(draw=chosen.start + pl.col("person") // draws.height)
    return capture_histories(people, lists, ["draw", *by]).with_columns(pl.col("draw").cast(pl.UInt16))
