"""``linkage research estimate``: how many people there are, from who is on which lists."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linkage.cli.console import say, working
from linkage.errors import EstimateError

if TYPE_CHECKING:
    from linkage.research.estimate import Diagnostics, Report
    from linkage.research.estimate.sensitivity import Panel

__all__ = ["AGREEMENT", "estimate"]

AGREEMENT = (
    "agreement is no proof: people differ in how easily they are seen and lists depend on each other, and then all"
    " families can be wrong in the same direction"
)
"""What is said beside families that agree."""


def estimate(
    histories: Path,
    *,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    lists: Annotated[tuple[str, ...], cyclopts.Parameter(name="--list", negative=())] = (),
    referral: Annotated[tuple[str, ...], cyclopts.Parameter(negative=())] = (),
    resamples: int = 1000,
    seed: int | None = None,
    slow: Annotated[bool, cyclopts.Parameter(negative=())] = False,
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
        A column that is a list; repeat for each, and name them all: other columns are strata. Without it every column
        of only 0 and 1 is a list.
    referral
        Two lists that refer people to each other, as FIRST:SECOND; repeat for each. Every log-linear model and every
        graph then lets the two depend on each other; Chao's bounds, Zelterman's estimate and latent classes cannot.
    resamples
        Bootstrap tables for the interval of the stepwise estimate.
    seed
        Seed of the bootstrap; without it the table itself gives one.
    slow
        Also run latent classes and Bayesian thresholding, which take up to a minute.
    """
    from linkage.research.estimate import diagnostics, parse_histories, read_histories
    from linkage.research.estimate import estimate as run

    if resamples < 100:
        hint = "give --resamples a number from 100 on, or leave it out"
        raise EstimateError("an interval needs at least 100 resamples", reason="too-few-resamples", hint=hint)
    pairs = [_pair(text) for text in referral]
    with working("estimating"):
        with _naming(histories):
            frame = read_histories(histories)
            parse_histories(frame, lists=lists or None)
        report = run(frame, lists=lists or None, referrals=pairs, resamples=resamples, seed=seed, slow=slow)
        beside = diagnostics(report.table, referrals=pairs)
    refused = report.verdict.status == "refused"
    if json:
        say(_taken_for_lists(report))
        content = {**report.to_dict(), "diagnostics": beside.to_dict(withhold=refused)}
        print(json_module.dumps(content, indent=2, allow_nan=False))  # noqa: T201 - stdout is for data
        return
    console = Console(emoji=False)
    _show(console, report)
    if not refused:
        _show_diagnostics(console, beside)
    for stratum in report.strata:
        title = ", ".join(f"{name} = {'missing' if v is None else v}" for name, v in stratum.values.items())
        _show(console, stratum.report, title=title)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have faults of a table name the file that it is from."""
    try:
        yield
    except EstimateError as error:
        if error.message.startswith(f"{path}: "):
            raise
        message = f"{path}: {error.message}"
        raise EstimateError(message, reason=error.reason, hint=error.hint, problems=error.problems) from None


def _pair(text: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not colon:
        hint = "two lists that refer people to each other, such as --referral mpd:dcf"
        raise EstimateError("a referral is written FIRST:SECOND", reason="bad-referral", hint=hint)
    return first, second


def _taken_for_lists(report: Report) -> str:
    """Say which columns were taken for lists: the table has it in its title, JSON has nobody who reads it first."""
    strata = report.strata[0].values if report.strata else ()
    others = f"; for strata: {', '.join(strata)}" if strata else ""
    return f"columns taken for lists: {', '.join(report.table.lists)}{others}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _show(console: Console, report: Report, *, title: str = "all together") -> None:
    from linkage.research.estimate.sensitivity import model_words

    names: Sequence[str] = report.table.lists
    table = Table(
        title=f"{escape(title)}: {report.table.observed:,} people on {len(names)} lists: {escape(', '.join(names))}",
        title_justify="left",
    )
    table.add_column("method")
    table.add_column("model")
    for column in ("estimate", "95% from", "95% to"):
        table.add_column(column, justify="right")
    table.add_column("status")
    refused = report.verdict.status == "refused"
    for result in report.results:
        shown = result.ok and not refused
        numbers = (result.n_hat, result.lower, result.upper) if shown else (None, None, None)
        status = "withheld" if result.ok and refused else result.status
        status = "in the range" if result.method in report.verdict.families else status
        table.add_row(result.method, escape(model_words(result.model)), *map(_number, numbers), status)
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
        if verdict.reason == "families-agree":
            console.print(AGREEMENT, soft_wrap=True)
        console.print(f"the range is made of the intervals of: {', '.join(verdict.families)}", soft_wrap=True)
    for note in report.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)


def _show_diagnostics(console: Console, beside: Diagnostics) -> None:
    """Show how far the first estimator's number moves with what cannot be tested, or with one list."""
    table = Table("what is changed", "least", "at", "greatest", "at", title_justify="left")
    table.title = "how much hangs on what no data can tell (stepwise)"
    panel = beside.panels[0]
    ratios = {
        f"odds ratio {ratio:g} of {' and '.join(curve.lists)}": number
        for curve in beside.curves
        for ratio, number in zip(curve.ratios, curve.n_hats, strict=True)
    }
    left_out = {f"without {row.lists[0]}": row.n_hat for row in panel.left_out}
    merged = {f"{' and '.join(row.lists)} as one": row.n_hat for row in panel.merges}
    raised = False
    for label, numbers in (
        ("a list is left out", left_out),
        ("two lists are one", merged),
        ("two lists depend", ratios),
    ):
        there = {name: number for name, number in numbers.items() if number is not None}
        raised = raised or any(number < beside.observed for number in there.values())
        there = {name: max(number, beside.observed) for name, number in there.items()}
        if there:
            least, greatest = min(there, key=there.__getitem__), max(there, key=there.__getitem__)
            ends = (_number(there[least]), escape(least), _number(there[greatest]), escape(greatest))
            table.add_row(label, *ends)
    console.print(table)
    if raised:
        console.print(
            f"without a list, people who are on it alone are not counted: an estimate below the {beside.observed:,} who"
            " were counted is shown as that number",
            soft_wrap=True,
        )
    _show_known(console, panel)
    for alarm in (panel.alarm for panel in beside.panels if panel.alarm):
        console.print(f"warning: {alarm}", soft_wrap=True)


def _show_known(console: Console, panel: Panel) -> None:
    """Show how the estimator does on numbers that are known, and which lists cannot be checked."""
    from linkage.research.estimate import REASONS

    if not panel.consistency:
        return
    head = (
        "check on known numbers (stepwise): how many people are on a list is counted; estimated from the other lists"
        " alone, it should come out about the same"
    )
    console.print(head, soft_wrap=True)
    for row in panel.consistency:
        name = escape(row.list)
        if row.n_hat is None:
            why = REASONS[row.status][0] if row.status in REASONS else row.status
            told = f"{name}: cannot be checked: among the people on it, {why}"
        else:
            told = f"{name}: {row.truth:,} are on it; the other lists give {_number(row.n_hat)}"
        console.print(f"  {told}", soft_wrap=True)
