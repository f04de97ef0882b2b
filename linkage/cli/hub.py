"""``linkage hub``: take batches in and link them, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from linkage.cli.console import open_settings, print_json, say, steps, working
from linkage.cli.hub_bridge import bridge
from linkage.cli.hub_retire import forget, retire
from linkage.exchange.site import current_day, open_hub, require_month

if TYPE_CHECKING:  # the kernels come with the hub extra only
    from linkage.hub.run import HubRun

__all__ = ["app"]

app = cyclopts.App(name="hub", help="Take batches in, link them, and seal the person map for the analysis.")
app.command(bridge)
app.command(retire)
app.command(forget)


@app.command
def link(
    *batches: Path,
    out: Annotated[Path, cyclopts.Parameter(name="--out")],
    month: str | None = None,
    settings: Path | None = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Take batches in, link the newest one of every source, and seal the person map.

    Batches are moved into the hub's state folder; refused ones into its quarantine, each with a signed receipt. If
    any is refused, the command stops after that (exit 6); run it again without them to link what has been taken in.

    Parameters
    ----------
    batches
        Sealed batches. Without any, what has been taken in before is linked.
    out
        Folder in which the run's own folder is made. The same batches are never linked twice.
    month
        Reporting month, YYYY-MM; the current one by default.
    settings
        The site's settings file; linkage.toml by default.
    json
        Write JSON to stdout instead of a table.
    """
    from linkage.hub.site import run_site, take_in_site

    month = require_month(month)
    site = open_hub(open_settings(settings))
    with steps("taking in") as progress:
        intake = take_in_site(site, batches, today=current_day(), progress=progress)
    for entry in intake.accepted:
        say(f"taken in: {entry.source}, month {entry.manifest.month}")
    intake.require_all()
    with working("linking") as now:
        result = run_site(site, month, out=out, today=current_day(), tell=say, progress=now)
    for sentence in result.quality.get("warnings", ()):
        say(f"warning: {sentence}")
    if json:
        print_json(result.to_json())
        return
    _show(result)


_REGISTER = {
    "carried": "  with an id from before",
    "new": "  with a new id",
    "merged": "  that were several before",
    "split": "ids whose records are several persons now",
}


def _show(result: HubRun) -> None:
    quality = result.quality
    table = Table("source", "records", title=f"run {result.run_id}", title_justify="left")
    table.columns[1].justify = "right"
    for source, records in quality["records"].items():
        table.add_row(source, f"{records:,}")
    table.add_section()
    table.add_row("persons, decoys among them", f"{quality['persons']:,}")
    if known := quality.get("registry"):
        if known["bridge"]:
            table.add_row("bridge between epochs", f"{known['bridge']['from']} to {known['bridge']['to']}")
        for name, words in _REGISTER.items():
            table.add_row(words, f"{known[name]:,}")
    for name in ("precision", "recall"):
        if quality.get(name):
            rate = quality[name]
            table.add_row(f"expected {name}", f"{rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})")
    if quality.get("cost") is not None:
        table.add_row("cost of a false link, in missed ones", f"{quality['cost']:g}")
    console = Console(stderr=True, emoji=False)
    console.print(table)
    say("linked now" if result.fresh else "these batches were linked before; nothing was made again")
    say(f"for the analysis: {result.folder}")
