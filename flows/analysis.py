"""The analysis' part of the month: open a run of the hub, count, estimate, protect, release.

::

    python -m flows.analysis RUN --settings linkage.toml
"""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.engine import ONCE, QUIET, redacted, run_main, site_settings
from linkage.exchange.site import open_analysis
from linkage.research import register
from linkage.research.inputs import open_inputs
from linkage.research.verify import read_release, verify_release

__all__ = ["analysis"]


@task(**ONCE)
@redacted
def make_release(run: str, settings: str | None) -> dict[str, str]:
    """Make the release of a run; one that is there and verifies is not made again."""
    site = open_analysis(site_settings(settings))
    inputs = open_inputs(
        sorted(Path(run).glob("batches/*.batch")),
        Path(run) / "person-map.sealed",
        party=site.party,
        senders=site.senders,
        hub=site.hub,
    )
    out = site.releases / inputs.map_manifest.run_id
    if out.is_dir() and verify_release(out, site.party.public).ok:
        # Registers it, if the run that made it was cut off before it could.
        register.earlier_folders(site.state, site.releases, project=site.policy.project, party=site.party)
    else:
        register.make_release(site, inputs, out)
    return {"release": str(out), "report": str(out / "report.html")}


@flow(name="analysis", **QUIET)
def analysis(run: str, settings: str | None = None) -> dict[str, str]:
    """Make the release of one run of the hub.

    Parameters
    ----------
    run
        Path of the run's folder: the sealed person map and the batches it was made of.
    settings
        Path of the site's settings file; linkage.toml by default.
    """
    released = make_release(run, settings)
    create_table_artifact(_published(Path(released["release"])), key="release", description=released["release"])
    return released


def _published(folder: Path) -> list[dict[str, str]]:
    """Return what the release says to everybody."""
    document = read_release(folder)
    verdict = document.estimate
    rows = [("deduplicated persons", document.persons), ("estimate, from", verdict.low), ("estimate, to", verdict.high)]
    published = [{"what": what, "value": "-" if count is None else str(count)} for what, count in rows]
    return [*published, {"what": "verdict", "value": f"{verdict.status}: {verdict.reason}"}]


def main(run: Path, *, settings: Path | None = None) -> dict[str, str]:
    """Open a run of the hub, count, estimate, protect and release.

    Parameters
    ----------
    run
        The run's folder.
    settings
        The site's settings file; linkage.toml by default.
    """
    return analysis(str(run), None if settings is None else str(settings))


if __name__ == "__main__":
    sys.exit(run_main("flows.analysis", main))
