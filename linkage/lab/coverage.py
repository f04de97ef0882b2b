"""How often the truth lies in the interval: synthetic Milwaukees of known size, through the whole road, many times.

Each run draws a population, standardises and encodes its extracts as agencies do, links them by the real engine, counts
capture histories once for each partition that the engine drew, and estimates. Lists depend on each other, and people
differ in how visible they are, as the scenario says (:mod:`linkage.lab.population.scenario`): no estimator's assumption
holds.

Linking is what takes time, so its outcome is kept (``linked/<run>.parquet``: histories by draw, made up as the people
are): a study that was stopped goes on where it was, and another estimator can be studied on the same runs. What was
estimated is kept beside it (``estimates/<run>.parquet``) and made anew where histories or settings have changed.

Three ranges are held to the truth besides every family's interval: the *headline* (all families, over all partition
draws), which the analyst gets, and a release rounded outwards; the same on the person map alone; and that of four
narrow families (:data:`NARROW_FAMILIES`) on the map.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkage.contract import load_agreement, load_policy, schemas_folder
from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError, EstimateError
from linkage.exchange.draws import draws_frame
from linkage.exchange.files import atomic_write
from linkage.hub.link import link
from linkage.lab.accuracy import TestKey, encode_population
from linkage.lab.population import MILWAUKEE, Scenario, draw_population
from linkage.research.draws import by_record, draw_histories
from linkage.research.estimate import Report, Result, Verdict, draw_tables, estimate
from linkage.research.estimate.families import BESIDE, HEADLINE
from linkage.research.estimate.verdict import judge
from linkage.research.histories import capture_histories, stack
from linkage.research.release import in_scope, referrals, scoped_persons

__all__ = [
    "DRAWS",
    "HEAD",
    "NARROW",
    "NARROW_FAMILIES",
    "RESAMPLES",
    "TRUE_PERSONS",
    "coverage",
    "linked_histories",
    "linked_runs",
    "referral_pairs",
    "run_estimates",
    "summary",
    "wilson",
]

TRUE_PERSONS = "true_persons"
"""Column of the true number, the same in all rows of a run."""

HEAD, NARROW = "headline", "narrow"
"""Names of the ranges among the methods."""

NARROW_FAMILIES = ("chao", "chao-few-lists", "independence", "stepwise")
"""Families that a range could be made of from counts that are mostly published; by themselves they reach too low."""

DRAWS, RESAMPLES = 20, 400
"""Partition draws of a run that are estimated on, and resamples of the bootstrap, unless said otherwise."""

OVER_DRAWS, ON_MAP = "draws", "map"
_NORMAL = 1.959963984540054
_ROWS = {
    "seed": pl.Int64,
    "method": pl.String,
    "data": pl.String,
    "status": pl.String,
    "point": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "covered": pl.Boolean,
    "observed": pl.Int64,
    TRUE_PERSONS: pl.Int64,
}


def linked_histories(
    seed: int, spec: LinkageSpec, people: int | None = None, scenario: Scenario = MILWAUKEE
) -> pl.DataFrame:
    """Draw one population, link it, and count who is on which lists.

    Parameters
    ----------
    seed
        Of the population and the key.
    spec
        The linkage spec.
    people
        True number of persons; the scenario's own by default.
    scenario
        What the population is like.

    Returns
    -------
    polars.DataFrame
        ``draw`` (Int16; -1 is the person map itself), a 0/1 column a list, ``count`` and :data:`TRUE_PERSONS`.
    """
    policy = load_policy()
    with tempfile.TemporaryDirectory() as folder:
        draw_population(scenario, seed, Path(folder), people)
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
    true = scenario.people if people is None else people
    return pl.concat([table.select(columns) for table in tables]).with_columns(pl.lit(true).alias(TRUE_PERSONS))


def linked_runs(
    out: Path,
    runs: int,
    spec: LinkageSpec,
    *,
    first: int = 1,
    people: int | None = None,
    scenario: Scenario = MILWAUKEE,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Link so many populations, seeds from ``first`` on, and keep what came out; those that are there stay.

    Parameters
    ----------
    out
        Folder of the study.
    people, scenario
        As for :func:`linked_histories`.
    progress
        Called with the number of runs done and the number of all.

    Returns
    -------
    list of Path
        ``linked/<seed>.parquet`` in ``out``.

    Raises
    ------
    ContractError
        ``other-study``: the folder holds runs of another spec, scenario or number of people.
    """
    _settle(Path(out), spec, scenario, scenario.people if people is None else people)
    paths = []
    for number in range(runs):
        seed = first + number
        path = Path(out) / "linked" / f"{seed:04d}.parquet"
        if not path.exists():
            histories = linked_histories(seed, spec, people, scenario)
            with atomic_write(path) as temporary:
                histories.write_parquet(temporary)
        paths.append(path)
        if progress is not None:
            progress(number + 1, runs)
    return paths


def _settle(out: Path, spec: LinkageSpec, scenario: Scenario, people: int) -> None:
    """Write down what the folder's runs are of, or hold what was asked for to it: runs of two kinds are no study."""
    path = out / "study.json"
    study = {"scenario": scenario.name, "people": people, "spec": spec.digest}
    if path.exists():
        if json.loads(path.read_text("utf-8")) != study:
            hint = "give the same --spec, --scenario and --people as before, or another folder"
            raise ContractError("the folder holds runs of another study", reason="other-study", hint=hint)
        return
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(study, indent=2) + "\n", "utf-8")


def referral_pairs() -> tuple[tuple[str, str], ...]:
    """Return the pairs of lists that depend by referral, from the agreements that the scenario is made after."""
    folder = schemas_folder() / "agreements"
    return tuple(referrals({name: load_agreement(folder / f"{name}.yaml") for name in load_policy().lists}))


def coverage(
    paths: Sequence[Path],
    *,
    draws: int = DRAWS,
    resamples: int = RESAMPLES,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Estimate on every linked run and hold each interval to the truth.

    Parameters
    ----------
    paths
        As :func:`linked_runs` gives them; what is estimated on each is kept in ``estimates`` beside their folder.
        Remove that folder after a change of the estimators themselves.
    draws
        Partition draws to use of each run, spread evenly over those there are.
    resamples
        Of the bootstrap, as for :func:`linkage.research.estimate.estimate`.
    progress
        Called with the number of runs done and the number of all.

    Returns
    -------
    polars.DataFrame
        One row a run, method and data (``map`` or ``draws``): ``status``, ``point`` (null for ranges), ``lower``,
        ``upper``, ``covered`` (null where there is no interval), ``observed``, :data:`TRUE_PERSONS`.
    """
    pairs, frames = referral_pairs(), []
    for number, path in enumerate(paths):
        kept = path.parent.parent / "estimates" / path.name
        asked = {"draws": draws, "resamples": resamples, "referrals": pairs, "histories": _sha256(path)}
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        frame = pl.read_parquet(kept) if kept.exists() else None
        if frame is None or frame["key"][0] != key:
            found = run_estimates(pl.read_parquet(path), pairs, draws=draws, resamples=resamples)
            frame = found.select(
                pl.lit(int(path.stem), dtype=pl.Int64).alias("seed"), pl.all(), pl.lit(key).alias("key")
            )
            with atomic_write(kept) as temporary:
                frame.write_parquet(temporary)
        frames.append(frame.select(list(_ROWS)))
        if progress is not None:
            progress(number + 1, len(paths))
    return pl.concat(frames)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_estimates(
    histories: pl.DataFrame, pairs: Sequence[tuple[str, str]], *, draws: int = DRAWS, resamples: int = RESAMPLES
) -> pl.DataFrame:
    """Estimate on one linked run as an analyst does, and hold what each method says to the truth.

    Parameters
    ----------
    histories
        As :func:`linked_histories` gives them.
    pairs
        Lists that depend by referral.
    draws, resamples
        As for :func:`coverage`.

    Returns
    -------
    polars.DataFrame
        As :func:`coverage` gives it, without the seed.

    Raises
    ------
    EstimateError
        ``no-draws``: there is no partition draw, or none was asked for.
    """
    lists = [name for name in histories.columns if name not in ("draw", "count", TRUE_PERSONS)]
    counted, *drawn = draw_tables(histories.with_columns(pl.col("draw").cast(pl.Int64) + 1), lists)[()]
    if draws < 1 or not drawn:
        raise EstimateError("there are no draws to pool", reason="no-draws", hint="ask for one partition draw or more")
    chosen = np.unique(np.linspace(0, len(drawn) - 1, min(draws, len(drawn))).round().astype(int))
    report = estimate(counted, referrals=pairs, resamples=resamples, draws=[drawn[place] for place in chosen])
    true = int(histories[TRUE_PERSONS][0])
    rows = [{**row, "observed": counted.observed, TRUE_PERSONS: true} for row in _rows(report)]
    frame = pl.DataFrame(rows, schema={name: kind for name, kind in _ROWS.items() if name not in ("seed", "covered")})
    return frame.with_columns(covered=pl.lit(true).is_between("lower", "upper")).select([*_ROWS][1:])


def _rows(report: Report) -> list[dict[str, Any]]:
    """Read every method and every range out of a report; numbers of a refused range are none."""
    pooled = {result.result.method: result.result for result in report.pooled}
    families = [result for result in report.results if result.method in HEADLINE]
    same = report.verdict if not report.pooled else judge(report.table, families)
    narrow = same
    if same.status == "estimated":
        narrow = judge(report.table, [result for result in families if result.method in NARROW_FAMILIES])
    rows = [
        _range(HEAD, OVER_DRAWS, report.verdict),
        _range(HEAD, ON_MAP, same),
        _range(NARROW, ON_MAP, narrow),
    ]
    rows += [_row(result, ON_MAP) for result in report.results if result.method in HEADLINE + BESIDE]
    for method in HEADLINE:
        if method in pooled:
            rows.append(_row(pooled[method], OVER_DRAWS))
        else:
            rows.append(_plain(method, OVER_DRAWS, report.verdict.reason, None, None, None))
    return rows


def _range(method: str, data: str, verdict: Verdict) -> dict[str, Any]:
    status = "ok" if verdict.status == "estimated" else verdict.reason
    return _plain(method, data, status, None, verdict.low, verdict.high)


def _row(result: Result, data: str) -> dict[str, Any]:
    if not result.ok:
        return _plain(result.method, data, result.status, None, None, None)
    return _plain(result.method, data, result.status, result.n_hat, result.lower, result.upper)


def _plain(
    method: str, data: str, status: str, point: float | None, lower: float | None, upper: float | None
) -> dict[str, Any]:
    return {"method": method, "data": data, "status": status, "point": point, "lower": lower, "upper": upper}


def summary(frame: pl.DataFrame) -> pl.DataFrame:
    """Count how often the truth lay in the interval, by method.

    Parameters
    ----------
    frame
        As :func:`coverage` gives it.

    Returns
    -------
    polars.DataFrame
        One row a method and data, in the order in which they come: ``runs``, ``refused`` (no interval), ``covered``,
        ``below`` and ``above`` (intervals all below or above the truth), ``share`` = covered / intervals with its 95%
        interval by Wilson (1927) ``share_low`` and ``share_high``, ``lower`` and ``upper`` (medians of the ends),
        ``width`` (median), ``bias`` (median of the point over the truth, less one). Null where there is nothing to say.
    """
    there = pl.col("lower").is_not_null() & pl.col("upper").is_not_null()
    true = pl.col(TRUE_PERSONS)
    counted = frame.group_by("method", "data", maintain_order=True).agg(
        runs=pl.len(),
        refused=(~there).sum(),
        covered=(there & true.is_between("lower", "upper")).sum(),
        below=(there & (pl.col("upper") < true)).sum(),
        above=(there & (pl.col("lower") > true)).sum(),
        lower=pl.col("lower").median(),
        upper=pl.col("upper").median(),
        width=(pl.col("upper") - pl.col("lower")).median(),
        bias=(pl.col("point") / true - 1).median(),
    )
    shares = [wilson(row["covered"], row["runs"] - row["refused"]) for row in counted.iter_rows(named=True)]
    columns = {
        name: pl.Series(name, [share[place] for share in shares], dtype=pl.Float64)
        for place, name in enumerate(("share", "share_low", "share_high"))
    }
    order = ("runs", "refused", "covered", "below", "above", *columns, "lower", "upper", "width", "bias")
    return counted.with_columns(**columns).select("method", "data", *order)


def wilson(found: int, of: int) -> tuple[float | None, float | None, float | None]:
    """Return a share with its 95% interval by Wilson (1927); nothing of nothing."""
    if of == 0:
        return None, None, None
    z, p = _NORMAL, found / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return p, max(0.0, middle - half), min(1.0, middle + half)
