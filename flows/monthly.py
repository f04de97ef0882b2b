"""The month, from the inbox to the release: the hub's flow, then the analysis', each in a process of its own.

::

    python -m flows.monthly --month 2026-11 --settings linkage.toml

Where hub and analysis have hosts of their own, schedule :mod:`flows.hub` and :mod:`flows.analysis` there instead and
carry the person map and the batches of the run's folder from one to the other: they are sealed. ``quality.json`` beside
them is not; it holds exact numbers of links, stays at the hub, and is in the person map for the analysis.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.engine import ONCE, QUIET, in_own_process, redacted, run_main
from linkage.exchange.site import require_month

__all__ = ["monthly"]


@task(**ONCE)
@redacted
def hub_process(month: str, settings: str | None) -> dict[str, Any]:
    """Run the hub's flow; its private key is in that process alone."""
    return in_own_process("flows.hub", "--month", month, *_settings(settings))


@task(**ONCE)
@redacted
def analysis_process(run: str, settings: str | None) -> dict[str, Any]:
    """Run the analysis' flow; its private key is in that process alone."""
    return in_own_process("flows.analysis", run, *_settings(settings))


@flow(name="monthly", **QUIET)
def monthly(month: str | None = None, settings: str | None = None) -> dict[str, Any]:
    """Take in, link, count, estimate, protect, release.

    Parameters
    ----------
    month
        Reporting month, YYYY-MM; the current one by default.
    settings
        Path of the site's settings file; linkage.toml by default.
    """
    linked = hub_process(require_month(month), settings)
    return {"run": linked["run"], "warnings": linked["warnings"], **analysis_process(linked["run"], settings)}


def _settings(settings: str | None) -> list[str]:
    return [] if settings is None else ["--settings", settings]


def main(*, month: str | None = None, settings: Path | None = None) -> dict[str, Any]:
    """Take in the batches of the inbox, link, count, estimate, protect and release.

    Parameters
    ----------
    month
        Reporting month, YYYY-MM; the current one by default.
    settings
        The site's settings file; linkage.toml by default.
    """
    return monthly(month, None if settings is None else str(settings))


if __name__ == "__main__":
    sys.exit(run_main("flows.monthly", main))
