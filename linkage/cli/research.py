"""``linkage research``: from a run of the hub to capture histories, estimates and a release; and its verification."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linkage.cli.console import open_settings, print_json, say, working
from linkage.errors import ContractError, EstimateError, ReleaseError
from linkage.exchange import atomic_write, load_public
from linkage.exchange.site import AnalysisSite, current_day, open_analysis, require_month

if TYPE_CHECKING:  # SciPy comes with the research extra only; an agency's install has none
    from linkage.research.estimate import Report
    from linkage.research.inputs import Inputs

__all__ = ["app"]

app = cyclopts.App(name="research", help="Count and estimate from capture histories; protect, release and verify.")


_Batches = Annotated[tuple[Path, ...], cyclopts.Parameter(name="--batches", consume_multiple=True, negative=())]
_Map = Annotated[Path, cyclopts.Parameter(name="--map")]


@app.command
def histories(
    *,
    batches: _Batches,
    person_map: _Map,
    out: Path,
    by: Annotated[tuple[str, ...], cyclopts.Parameter(negative=())] = (),
    settings: Path | None = None,
) -> None:
    """Count the capture histories of a run of the hub. CONFIDENTIAL: the file is for the enclave and nobody else.

    Parameters
    ----------
    batches
        The sealed batches of the run.
    person_map
        The sealed person map of the run.
    out
        The CSV file to write, readable by its owner alone. An existing file is not overwritten.
    by
        A stratum, such as tier, sex, race or year; repeat for each.
    settings
        The site's settings file; linkage.toml by default.
    """
    from linkage.research.histories import capture_histories
    from linkage.research.release import check_permitted, scoped_persons

    if out.exists():
        raise ContractError(f"{out}: there is a file here already", reason="exists", hint="choose another name")
    site, inputs = _open(settings, batches, person_map)
    agreements = list(site.agreements.values())
    check_permitted(inputs.facts, site.policy, agreements, inputs.manifests, current_day())
    people = scoped_persons(inputs.facts, inputs.person_map, site.policy)
    counted = capture_histories(people, site.policy.lists, by)
    with atomic_write(out, private=True) as temporary:
        counted.write_csv(temporary)
    say(f"capture histories written: {out}")
    say("confidential: most counts are small; the file stays in the enclave and is in no release")


@app.command
def release(
    *,
    batches: _Batches,
    person_map: _Map,
    month: str | None = None,
    out: Path | None = None,
    settings: Path | None = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Count, estimate, protect and release: one signed folder that anybody may read.

    Parameters
    ----------
    batches
        The sealed batches of the run.
    person_map
        The sealed person map of the run.
    month
        Month of the run, YYYY-MM; that of the person map by default, which it must be.
    out
        The folder to write, directly among the releases of the site; by default PROJECT-MONTH. Never overwritten.
    settings
        The site's settings file; linkage.toml by default.
    json
        Write the public document to stdout instead of a summary.
    """
    from linkage.research.register import make_release

    site, inputs = _open(settings, batches, person_map)
    made = inputs.map_manifest.month
    if month is not None and require_month(month) != made:
        raise ReleaseError("the person map is of another month", reason="other-month", hint="leave --month out")
    with working("protecting and auditing"):
        summary = make_release(site, inputs, out or site.releases / f"{site.project}-{made}")
    if json:
        print_json(json_module.dumps(summary.document.model_dump(mode="json"), indent=2, allow_nan=False))
    else:
        print(summary.text())  # noqa: T201 - this table is the result
    say(f"release written: {summary.folder}")


@app.command
def verify(
    release: Path,
    *,
    signer: Path | None = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> int:
    """Verify a release: whole, unchanged, signed, and no withheld count to be worked out. Exit 9 if not.

    Parameters
    ----------
    release
        The folder.
    signer
        The public key file of the analysis party, got from it and not from the folder.
    json
        Write the findings as JSON to stdout.
    """
    from linkage.research.verify import verify_release

    if not release.is_dir():
        hint = "unpack the release, and name the folder that holds release.json"
        raise ReleaseError(f"{release}: no such folder", reason="not-found", hint=hint)
    public = load_public(signer, archived=True) if signer is not None else None
    with working("auditing"):
        report = verify_release(release, public)
    if json:
        print_json(json_module.dumps(report.to_dict(), indent=2))
    for words in report.passed:
        say(f"ok: {words}")
    for note in report.notes:
        say(f"note: {note}")
    if report.key_id is not None and not report.pinned:
        say(f"the signer was NOT pinned: anybody can sign. The folder names {report.signer}, key id {report.key_id};")
        say("compare it by voice with the analysis party, or give its public key with --signer")
    if report.ok:
        say("the release verifies")
        return 0
    for problem in report.problems:
        say(f"wrong: {problem}")
    say("the release does NOT verify")
    return ReleaseError.exit_code


def _open(settings: Path | None, batches: Sequence[Path], person_map: Path) -> tuple[AnalysisSite, Inputs]:
    from linkage.research.inputs import open_inputs

    site = open_analysis(open_settings(settings))
    inputs = open_inputs(batches, person_map, party=site.party, senders=site.senders, hub=site.hub)
    return site, inputs


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
        A column that is a list; repeat for each, and name them all: other columns are strata. Without it every column
        of only 0 and 1 is a list.
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
        say(_taken_for_lists(report))
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
    names: Sequence[str] = report.table.lists
    table = Table(
        title=f"{escape(title)}: {report.table.observed:,} people on {len(names)} lists: {escape(', '.join(names))}",
        title_justify="left",
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
