"""``linkage steward``: what an agency does on its own machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linkage.cli.console import USAGE, open_settings, print_json, say, working
from linkage.cli.steward_approve import approve
from linkage.cli.steward_bridge import bridge
from linkage.contract.files import load_source
from linkage.errors import ContractError, ExtractError
from linkage.exchange.site import current_day, open_steward, require_month, source_contract

if TYPE_CHECKING:
    from linkage.contract.agreement import Agreement
    from linkage.contract.source import SourceSchema
    from linkage.contract.spec import LinkageSpec
    from linkage.steward.profile import CheckReport

__all__ = ["app"]

app = cyclopts.App(name="steward", help="At an agency: check an extract, seal it for the hub, approve the hub's runs.")
app.command(approve)
app.command(bridge)

# A default, so that the words for one that is not named are ours and tell what to write.
_Source = Annotated[str | None, cyclopts.Parameter(name="--source", show_default=False)]


@app.command
def check(
    extract: Path,
    *,
    source: _Source = None,
    settings: Path | None = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> int:
    """Show what is in an extract and which rows break which rule. Nothing leaves the machine, and no key is needed.

    Parameters
    ----------
    extract
        CSV, Parquet or Excel file.
    source
        The source's name, such as mpd. It must be given.
    settings
        The site's settings file; linkage.toml by default. Without one, the source schema of that name that comes
        with the program is used.
    json
        Write JSON to stdout instead of tables.
    """
    from linkage.steward.profile import check as run

    schema, agreement = _contract(_named(source), settings)
    with working("reading and checking"):
        report = run(extract, schema, agreement)
    if json:
        print_json(report.to_json())
        return 0 if report.accepted else ExtractError.exit_code
    _show(report)
    if not report.accepted:
        raise ExtractError(
            f"{report.failed_rows} of {report.rows} rows break the source schema, more than the "
            f"{report.tolerance:.1%} it tolerates; this extract cannot be submitted",
            reason="too-many-failures",
            hint="mend the rows in the extract, or the formats and codes in the source schema",
        )
    return 0


@app.command
def submit(
    extract: Path,
    *,
    source: _Source = None,
    month: str | None = None,
    test_persons: Path | None = None,
    settings: Path | None = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Check, standardise, encode and seal an extract: one file in the outbox, and what it holds, in words.

    Parameters
    ----------
    extract
        CSV, Parquet or Excel file.
    source
        The source's name, such as mpd. It must be given.
    month
        Reporting month, YYYY-MM; the current one by default.
    test_persons
        CSV file of made-up people, agreed with the other agencies, who are sent along to measure how many are found.
    settings
        The site's settings file; linkage.toml by default.
    json
        Write JSON to stdout instead of words.
    """
    from linkage.steward.site import submit_site

    source, month = _named(source), require_month(month)
    site = open_steward(open_settings(settings), source)
    with working("checking, encoding and sealing"):
        sent = submit_site(site, extract, month=month, today=current_day(), test_persons=test_persons)
    if json:
        print_json(sent.to_json())
        return
    say(f"sealed: {sent.path}")
    for sentence in sent.words():
        say(f"  {sentence}")
    for sentence in _leaving(site.schema, site.agreement, site.spec):
        say(f"  {sentence}")


def _named(source: str | None) -> str:
    """Refuse to guess whose extract it is."""
    if source is not None:
        return source
    error = ContractError(
        "the source is not named", reason="usage", hint="say whose extract it is, such as --source mpd"
    )
    error.exit_code = USAGE
    raise error


def _leaving(schema: SourceSchema, agreement: Agreement, spec: LinkageSpec) -> list[str]:
    """Say which fields leave: what the extract can fill, the agreement allows and, for identifiers, the spec encodes.

    Names of fields alone, never a value.
    """
    from linkage.steward.group import mapped_identifiers
    from linkage.steward.profile import not_agreed

    allowed = [name for name in mapped_identifiers(schema) if name in agreement.identifiers]
    encoded = [name for name in allowed if name in spec.fields]
    if schema.aliases and "aliases" in agreement.identifiers and spec.variants > 1:
        encoded.append("aliases")
    filled = ["month", "age", "tier", *schema.facts, *schema.flags]
    facts = [name for name in filled if name in agreement.facts]
    kept = not_agreed(schema, agreement)
    return [
        f"identifiers that leave, only as encodings: {', '.join(encoded)}.",
        f"facts that leave, for the analysis alone: {', '.join(facts)}.",
        *([f"not agreed, stays here: {', '.join(kept)}."] if kept else []),
    ]


def _contract(source: str, settings: Path | None) -> tuple[SourceSchema, Agreement | None]:
    """Read the source's contract from the settings, or, where there are none, the schema that is shipped."""
    try:
        site = open_settings(settings)
    except ContractError as error:
        if settings is not None or error.reason != "no-settings":
            raise
        say("settings: none; the source schema of that name that is shipped")
        return load_source(source), None
    return source_contract(site, source)


def _show(report: CheckReport) -> None:
    console = Console(emoji=False)
    table = Table(show_header=False, title=f"{report.source}: {report.rows:,} rows", title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows that break a rule", f"{report.failed_rows:,}")
    table.add_row("of which tolerated", f"{report.tolerance:.1%}")
    table.add_row("persons", f"{report.persons:,}")
    for tier, count in report.persons_by_tier.items():
        table.add_row(f"  {tier}", f"{count:,}")
    table.add_row("contacts under no tier, not sent", f"{report.contacts_not_counted:,}")
    table.add_row("contacts", f"{report.first_month or '-'} to {report.last_month or '-'}")
    table.add_section()
    for name, share in report.completeness.items():
        table.add_row(f"{name} filled", f"{share:.1%}")
    for name in report.not_agreed:
        table.add_row(name, "not agreed, stays here")
    console.print(table)
    if not report.failures:
        return
    failures = Table("column", "rule", "rows", "first of them", title="rows left out", title_justify="left")
    for failure in report.failures:
        numbers = ", ".join(str(row) for row in failure.rows)
        failures.add_row(escape(failure.column), failure.rule, f"{failure.count:,}", numbers)
    console.print(failures)
