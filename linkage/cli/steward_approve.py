"""``linkage steward approve``: let the hub open, in one run, the batches that its order names."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from linkage.cli.console import open_settings, say
from linkage.errors import NotPermittedError
from linkage.exchange.approval.orders import Order, read_order
from linkage.exchange.approval.orders import approve as approve_order
from linkage.exchange.site import open_holder

__all__ = ["approve"]


def approve(
    order: Path,
    *,
    out: Path | None = None,
    yes: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    settings: Path | None = None,
) -> None:
    """Approve a run of the hub: seal the share that you hold for this run alone, and sign.

    What the order asks for is shown first. The hub opens nothing until enough holders have approved, and then only
    what the order names; no other process, and no later run, can use the approval.

    Parameters
    ----------
    order
        The hub's order.
    out
        Folder for the approval; the outbox of the settings by default. Send the file back to the hub's inbox.
    yes
        Approve without being asked, for scripts.
    settings
        The site's settings file; linkage.toml by default.
    """
    site = open_holder(open_settings(settings))
    read, digest = read_order(order, site.hub)
    _show(read)
    if not yes and not _agreed():
        raise NotPermittedError("not approved", reason="not-approved", hint="nothing was written")
    path = (out or site.outbox) / f"{order.stem}-{site.party.name}.approval"
    approve_order(read, digest, path, opening=site.opening, party=site.party)
    say(f"approved, for the hub's inbox: {path}")


def _agreed() -> bool:
    if not sys.stdin.isatty():
        say("nobody is at the keyboard to be asked: give --yes to approve in a script")
        return False
    Console(stderr=True).print("approve this run? (yes/no) ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(order: Order) -> None:
    table = Table("source", "batch", title=f"run of {order.month}, {order.project}", title_justify="left")
    for batch in order.batches:
        table.add_row(batch.source, batch.digest[:16])
    table.add_section()
    table.add_row("epoch", order.epoch)
    table.add_row("person map for", order.analysis)
    table.add_row("opening key", order.opening)
    table.add_row("until", f"{datetime.fromtimestamp(order.ends / 1e6, UTC):%Y-%m-%d %H:%M} UTC")
    Console(stderr=True).print(table)
