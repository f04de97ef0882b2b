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
from linkage.exchange import file_digest
from linkage.exchange.approval.orders import Order, read_order, require_agreed
from linkage.exchange.approval.orders import approve as approve_order
from linkage.exchange.site import HolderSite, open_holder

__all__ = ["approve"]


def approve(
    order: Path,
    *,
    out: Path | None = None,
    yes: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    settings: Path | None = None,
) -> None:
    """Approve a run of the hub: seal the share that you hold for this run alone, and sign.

    What the order asks for is shown first, and held to your settings: the analysis that the result is for, the spec,
    and the batch that you sent. Your share is sealed for the one process that asks; kept, it opens nothing later. In
    that process, though, enough shares are the whole opening key: to approve is to trust the hub's machine meanwhile.

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
    _show(read, site.opening.threshold)
    require_agreed(read, analysis=site.analysis, spec_digest=site.spec.digest, own=_own(site))
    if not yes and not _agreed():
        raise NotPermittedError("not approved", reason="not-approved", hint="nothing was written")
    path = (out or site.outbox) / f"{order.stem}-{site.party.name}.approval"
    approve_order(read, digest, path, opening=site.opening, party=site.party)
    say(f"approved, for the hub's inbox: {path}; of use while that run still waits")


def _own(site: HolderSite) -> tuple[str, frozenset[str]] | None:
    """Return the holder's source and the digests of what lies in its outbox; None where there is nothing to compare."""
    sent = [] if site.source is None else sorted(site.outbox.glob(f"{site.source}-*.batch"))
    if site.source is None or not sent:
        say("the batch of your own in the order is not compared with what you sent: none is in the outbox")
        return None
    return site.source, frozenset(file_digest(path) for path in sent)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        say("nobody is at the keyboard to be asked: give --yes to approve in a script")
        return False
    Console(stderr=True, emoji=False).print("approve this run? (yes/no) ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(order: Order, threshold: int) -> None:
    table = Table("source", "batch", title=f"run of {order.month}, {order.project}", title_justify="left")
    for batch in order.batches:
        table.add_row(batch.source, batch.digest[:16])
    table.add_section()
    table.add_row("epoch", order.epoch)
    table.add_row("person map for", order.analysis)
    table.add_row("opening key", order.opening)
    table.add_row("spec", order.spec_digest[:16])
    table.add_row("holders needed", str(threshold))
    table.add_row("until", f"{datetime.fromtimestamp(order.ends / 1e6, UTC):%Y-%m-%d %H:%M} UTC")
    Console(stderr=True, emoji=False).print(table)
