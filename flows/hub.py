"""The hub's part of the month: take the batches of the inbox in, link them, seal the person map.

::

    python -m flows.hub --month 2026-11 --settings linkage.toml
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.cluster import cluster_comparison
from flows.engine import ONCE, QUIET, RETRIED, redacted, run_main, site_settings
from flows.shards import Comparer, sweep
from linkage.cli.console import say
from linkage.contract import Settings
from linkage.errors import LinkageError
from linkage.exchange.site import current_day, open_hub, require_month
from linkage.hub.intake import inbox_batches
from linkage.hub.site import run_site, take_in_site

__all__ = ["hub"]


@task(**RETRIED)
@redacted
def take_in_batches(settings: str | None) -> list[str]:
    """Take in what is in the inbox; return their sources. A refused batch ends the month until somebody looks."""
    site = open_hub(site_settings(settings))
    intake = take_in_site(site, inbox_batches(site.inbox), today=current_day())
    intake.require_all()
    return [entry.source for entry in intake.accepted]


@task(**ONCE)
@redacted
def link_batches(month: str, settings: str | None) -> dict[str, Any]:
    """Link the current batches; return the run's folder and what it says of itself."""
    read = site_settings(settings)
    site = open_hub(read)
    with _comparer(read) as comparer:
        result = run_site(site, month, out=site.state / "runs", today=current_day(), tell=say, comparer=comparer)
    told = {name: result.quality.get(name) for name in ("precision", "recall")}
    told["records"] = result.quality["records"]
    told["warnings"] = result.quality.get("warnings", [])
    for sentence in told["warnings"]:
        say(f"warning: {sentence}")
    return {"run": str(result.folder), "run_id": result.run_id, "sources": sorted(result.batches), **told}


@contextmanager
def _comparer(settings: Settings) -> Iterator[Comparer | None]:
    """Give who compares the records: the cluster that the settings name, else nobody but this machine."""
    if settings.hub is None or settings.hub.cluster is None:
        yield None
        return
    with cluster_comparison(settings.hub.cluster) as comparer:
        yield comparer


@flow(name="hub", **QUIET)
def hub(month: str | None = None, settings: str | None = None) -> dict[str, Any]:
    """Take batches in and link them.

    Parameters
    ----------
    month
        Reporting month, YYYY-MM; the current one by default.
    settings
        Path of the site's settings file; linkage.toml by default.
    """
    try:
        month = require_month(month)
        take_in_batches(settings)
        linked = link_batches(month, settings)
    except BaseException:
        _sweep_shared(settings)
        raise
    rows = [{"what": f"records of {source}", "value": str(linked["records"][source])} for source in linked["sources"]]
    rows += [{"what": f"expected {name}", "value": _rate(linked[name])} for name in ("precision", "recall")]
    rows += [{"what": "warning", "value": sentence} for sentence in linked["warnings"]]
    create_table_artifact(rows, key="hub", description=f"run {linked['run_id']}")
    return linked


def _sweep_shared(settings: str | None) -> None:
    """Take away what a killed run left in the shared folder: this one ended before it came to it, or has done so."""
    try:
        read = site_settings(settings)
        if read.hub is not None and read.hub.cluster is not None:
            sweep(read.hub.cluster.shared_folder)
    except (LinkageError, OSError) as error:  # why the run ended is what is to be told
        if isinstance(error, LinkageError) and error.reason == "busy":
            return  # another run is at work there, and sweeps when it is done
        say("warning: the cluster's shared folder could not be swept; try: python -m flows.sweep")


def _rate(rate: dict[str, float] | None) -> str:
    return "-" if rate is None else f"{rate['value']:.2f} ({rate['low']:.2f} to {rate['high']:.2f})"


def main(*, month: str | None = None, settings: Path | None = None) -> dict[str, Any]:
    """Take the batches of the inbox in, link them, and seal the person map for the analysis.

    Parameters
    ----------
    month
        Reporting month, YYYY-MM; the current one by default.
    settings
        The site's settings file; linkage.toml by default.
    """
    return hub(month, None if settings is None else str(settings))


if __name__ == "__main__":
    sys.exit(run_main("flows.hub", main))
