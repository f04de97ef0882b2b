"""``linkage research``: from a run of the hub to capture histories, estimates and a release; and its verification."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import cyclopts

from linkage.cli.console import open_settings, print_json, say, working
from linkage.cli.research_analyse import analyse
from linkage.cli.research_estimate import estimate
from linkage.cli.research_open import open_run, permitted
from linkage.errors import ContractError, ReleaseError
from linkage.exchange import atomic_write, load_public
from linkage.exchange.site import open_analysis, require_month

__all__ = ["app"]

app = cyclopts.App(name="research", help="Count and estimate from capture histories; protect, release and verify.")
app.command(analyse)
app.command(estimate)


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
    from linkage.research.release import scoped_persons

    if out.exists():
        raise ContractError(f"{out}: there is a file here already", reason="exists", hint="choose another name")
    site = open_analysis(open_settings(settings))
    inputs = open_run(site, batches, person_map)
    permitted(site, inputs)
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

    site = open_analysis(open_settings(settings))
    inputs = open_run(site, batches, person_map)
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
