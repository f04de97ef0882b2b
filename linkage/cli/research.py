"""``linkage research``: from capture histories to estimates."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linkage.errors import EstimateError

if TYPE_CHECKING:  # SciPy comes with the research extra only; an agency's install has none
    from linkage.research.estimate import Report

__all__ = ["app"]

app = cyclopts.App(name="research", help="Count and estimate from capture histories; protect, release and verify.")


@app.command
def estimate(
    histories: Path,
    *,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    lists: Annotated[tuple[str, ...], cyclopts.Parameter(name="--list", negative=())] = (),
    referral: Annotated[tuple[str, ...], cyclopts.Parameter(negative=())] = (),
    resamples: int = 1000,
    seed: int | None = None,
) -> None:
    """Estimate how many people there are, or say why no number is defensible.

    Counts and estimates shown here are exact and not protected: they stay inside until a release has been made.
    A refusal is a result (exit 0); a file that is no table of capture histories is an error (exit 8).

    Parameters
    ----------
    histories
        CSV in UTF-8: one 0/1 column a list, a column `count`, other columns are strata. Repeated rows are summed.
    json
        Write JSON to stdout instead of a table.
    lists
        A column that is a list; repeat for each. Without it every column of only 0 and 1 is one.
    referral
        Two lists that refer people to each other, as FIRST:SECOND; repeat for each. They are in every model.
    resamples
        Bootstrap tables for the interval of the stepwise estimate.
    seed
        Seed of the bootstrap; without it the table itself gives one.
    """
    from linkage.research.estimate import estimate as run
    from linkage.research.estimate import read_histories

    if resamples < 100:
        raise EstimateError("an interval needs at least 100 resamples", reason="too-few-resamples")
    report = run(
        read_histories(histories),
        lists=lists or None,
        referrals=[_pair(text) for text in referral],
        resamples=resamples,
        seed=seed,
    )
    if json:
        print(json_module.dumps(report.to_dict(), indent=2, allow_nan=False))  # noqa: T201 - stdout is for data
        return
    console = Console()
    _show(console, report)
    for stratum in report.strata:
        title = ", ".join(f"{name} = {'missing' if v is None else v}" for name, v in stratum.values.items())
        _show(console, stratum.report, title=title)


def _pair(text: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not colon:
        raise EstimateError("a referral is written FIRST:SECOND", reason="bad-referral")
    return first, second


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _show(console: Console, report: Report, *, title: str = "all together") -> None:
    names: Sequence[str] = report.table.lists
    table = Table(
        title=f"{escape(title)}: {report.table.observed:,} people on {len(names)} lists", title_justify="left"
    )
    table.add_column("method")
    table.add_column("model")
    for column in ("estimate", "from", "to"):
        table.add_column(column, justify="right")
    table.add_column("status")
    refused = report.verdict.status == "refused"
    for result in report.results:
        shown = result.ok and not refused
        numbers = (result.n_hat, result.lower, result.upper) if shown else (None, None, None)
        status = "withheld" if result.ok and refused else result.status
        table.add_row(result.method, escape(result.model), *map(_number, numbers), status)
    console.print(table)
    verdict = report.verdict
    if refused:
        console.print(f"refused ({verdict.reason}): {verdict.words}", soft_wrap=True)
        console.print(f"remedy: {verdict.remedy}", soft_wrap=True)
    else:
        console.print(
            f"estimated: {_number(verdict.low)} to {_number(verdict.high)} ({verdict.reason}: {verdict.words})",
            soft_wrap=True,
        )
    for note in report.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
