"""How often the truth lies in the interval: synthetic Milwaukees of known size, through the whole road, many times.

Each run draws a population, standardises and encodes its extracts as agencies do, links them by the real engine, counts
capture histories once for each partition that the engine drew, and estimates. Lists depend on each other, and people
differ in how visible they are, as the scenario says (:mod:`linkage.lab.population.scenario`): no estimator's assumption
holds.

Linking is what takes time, so its outcome is kept (``linked/<run>.parquet``: histories by draw, made up as the people
are): a study that was stopped goes on where it was, and another estimator can be studied on the same runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from linkage.contract import load_policy
from linkage.contract.spec import LinkageSpec
from linkage.exchange.draws import draws_frame
from linkage.exchange.files import atomic_write
from linkage.hub.link import link
from linkage.lab.accuracy import TestKey, encode_population
from linkage.lab.population import MILWAUKEE, draw_population
from linkage.research.draws import by_record, draw_histories
from linkage.research.histories import capture_histories, stack
from linkage.research.release import in_scope, scoped_persons

__all__ = ["TRUE_PERSONS", "linked_histories", "linked_runs"]

TRUE_PERSONS = "true_persons"
"""Column of the true number, the same in all rows of a run."""


def linked_histories(seed: int, spec: LinkageSpec, people: int | None = None) -> pl.DataFrame:
    """Draw one population, link it, and count who is on which lists.

    Parameters
    ----------
    seed
        Of the population and the key.
    spec
        The linkage spec.
    people
        True number of persons; the scenario's own by default.

    Returns
    -------
    polars.DataFrame
        ``draw`` (Int16; -1 is the person map itself), a 0/1 column a list, ``count`` and :data:`TRUE_PERSONS`.
    """
    policy = load_policy()
    with tempfile.TemporaryDirectory() as folder:
        draw_population(MILWAUKEE, seed, Path(folder), people)
        encodings, facts = encode_population(Path(folder), spec, TestKey(seed))
    linked = link(encodings, spec)
    numbered = linked.persons.with_row_index("row").sort("source", "pseudonym")
    place = np.empty(len(numbered), np.int64)
    place[numbered["row"].to_numpy()] = np.arange(len(numbered))
    person_map = numbered.drop("row")
    draws = draws_frame(place[linked.draws.record], linked.draws.person)
    settled = capture_histories(scoped_persons(facts, person_map, policy), policy.lists)
    events = in_scope(stack(facts, by_record(person_map)), policy.scope)
    drawn = draw_histories(events, person_map, draws, policy.lists)
    tables = [settled.with_columns(draw=pl.lit(-1)), drawn.with_columns(pl.col("draw").cast(pl.Int32))]
    columns = [pl.col("draw").cast(pl.Int16), *policy.lists, "count"]
    true = MILWAUKEE.people if people is None else people
    return pl.concat([table.select(columns) for table in tables]).with_columns(pl.lit(true).alias(TRUE_PERSONS))


def linked_runs(
    out: Path, runs: int, spec: LinkageSpec, *, first: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Link so many populations, seeds from ``first`` on, and keep what came out; those that are there stay.

    Parameters
    ----------
    out
        Folder of the study.
    progress
        Called with the number of runs done and the number of all.

    Returns
    -------
    list of Path
        ``linked/<seed>.parquet`` in ``out``.
    """
    paths = []
    for number in range(runs):
        seed = first + number
        path = Path(out) / "linked" / f"{seed:04d}.parquet"
        if not path.exists():
            histories = linked_histories(seed, spec)
            with atomic_write(path) as temporary:
                histories.write_parquet(temporary)
        paths.append(path)
        if progress is not None:
            progress(number + 1, runs)
    return paths
