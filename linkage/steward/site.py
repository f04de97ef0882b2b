"""The steward's step as the agency's settings file has it: one road for the command line and for the flows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from linkage.exchange.site import StewardSite
from linkage.steward.submit import Submission, submit

__all__ = ["submit_site"]


def submit_site(
    site: StewardSite, extract: Path, *, month: str, today: dt.date, test_persons: Path | None = None
) -> Submission:
    """Seal an extract under the rules of a site.

    Parameters
    ----------
    site
        As :func:`linkage.exchange.site.open_steward` has opened it.
    extract, month, today, test_persons
        See :func:`linkage.steward.submit.submit`, also for what is returned and raised.
    """
    return submit(
        extract,
        schema=site.schema,
        agreement=site.agreement,
        spec=site.spec,
        linkage_key=site.linkage_key,
        party=site.party,
        opener=site.opener,
        analysis=site.analysis,
        outbox=site.outbox,
        month=month,
        today=today,
        test_persons=test_persons,
        decoys=site.decoys,
    )
