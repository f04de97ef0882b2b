"""An agency's flow: check an extract, then seal it into a batch.

::

    python -m flows.encode extract.csv --source mpd --month 2026-11 --settings linkage.toml
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.engine import ONCE, QUIET, RETRIED, redacted, run_main, site_settings
from linkage.exchange.site import current_day, open_steward, require_month, source_contract
from linkage.steward.profile import check
from linkage.steward.site import submit_site

__all__ = ["encode"]


@task(**RETRIED)
@redacted
def check_extract(extract: str, source: str, settings: str | None) -> dict[str, int]:
    """Read and check the extract; return counts."""
    schema, agreement = source_contract(site_settings(settings), source)
    report = check(Path(extract), schema, agreement)
    return {"rows": report.rows, "rows that break a rule": report.failed_rows, "persons": report.persons_counted}


@task(**ONCE)
@redacted
def seal(extract: str, source: str, month: str, settings: str | None) -> dict[str, Any]:
    """Seal the batch; return where it is and how much is in it."""
    site = open_steward(site_settings(settings), source)
    sent = submit_site(site, Path(extract), month=month, today=current_day())
    counts = {"records": sent.records, "rows": sent.rows, "events": sent.events}
    return {"batch": str(sent.path), "digest": sent.digest, **counts}


@flow(name="encode", **QUIET)
def encode(extract: str, source: str, month: str | None = None, settings: str | None = None) -> dict[str, Any]:
    """Check and seal one agency's extract.

    Parameters
    ----------
    extract
        Path of the CSV, Parquet or Excel file.
    source
        The source's name.
    month
        Reporting month, YYYY-MM; the current one by default.
    settings
        Path of the site's settings file; linkage.toml by default.
    """
    checked = check_extract(extract, source, settings)
    sealed = seal(extract, source, require_month(month), settings)
    rows = [{"what": name, "count": count} for name, count in checked.items()]
    rows += [{"what": f"{name} in the batch", "count": sealed[name]} for name in ("records", "rows", "events")]
    create_table_artifact(rows, key=f"encode-{source.replace('_', '-')}", description=f"batch {sealed['digest']}")
    return sealed


def main(extract: Path, *, source: str, month: str | None = None, settings: Path | None = None) -> dict[str, Any]:
    """Check an extract and seal it into a batch.

    Parameters
    ----------
    extract
        CSV, Parquet or Excel file.
    source
        The source's name, such as mpd.
    month
        Reporting month, YYYY-MM; the current one by default.
    settings
        The site's settings file; linkage.toml by default.
    """
    return encode(str(extract), source, month, None if settings is None else str(settings))


if __name__ == "__main__":
    sys.exit(run_main("flows.encode", main))
