"""The hub's two steps as its settings file has them: one road for the command line and for the flows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

from linkage.exchange.site import HubSite
from linkage.hub.approvals import Approving
from linkage.hub.compare import Candidates
from linkage.hub.encoded import Encoded
from linkage.hub.intake import Intake, take_in
from linkage.hub.run import HubRun, run

__all__ = ["run_site", "take_in_site"]


def take_in_site(
    site: HubSite, batches: Sequence[Path], *, today: dt.date, progress: Callable[[int, int], None] | None = None
) -> Intake:
    """Take batches in under the rules of a site.

    Parameters
    ----------
    site
        As :func:`linkage.exchange.site.open_hub` has opened it.
    batches, today, progress
        See :func:`linkage.hub.intake.take_in`, also for what is returned and raised.
    """
    return take_in(
        batches,
        hub=site.party,
        senders=site.senders,
        agreements=site.agreements,
        state=site.state,
        spec=site.spec,
        project=site.project,
        epoch=site.epoch,
        today=today,
        opening=site.opening,
        progress=progress,
    )


def run_site(
    site: HubSite,
    month: str,
    *,
    out: Path,
    today: dt.date,
    tell: Callable[[str], None],
    comparer: Callable[[Encoded, int], Candidates] | None = None,
    progress: Callable[[str], None] | None = None,
) -> HubRun:
    """Link what a site has taken in.

    Parameters
    ----------
    site
        As :func:`linkage.exchange.site.open_hub` has opened it.
    tell
        Called with a sentence for the operator, where the run must be approved and is waited for.
    month, out, today, comparer, progress
        See :func:`linkage.hub.run.run`, also for what is returned and raised.
    """
    return run(
        month,
        state=site.state,
        hub=site.party,
        analysis=site.analysis,
        spec=site.spec,
        senders=site.senders,
        agreements=site.agreements,
        project=site.project,
        epoch=site.epoch,
        out=out,
        today=today,
        approving=None if site.opening is None else Approving(site.opening, site.holders, site.inbox, tell),
        cost=site.cost,
        comparer=comparer,
        progress=progress,
    )
