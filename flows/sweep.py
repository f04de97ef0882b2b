"""Remove what a killed run of the hub left in the cluster's shared folder, where no other run is to follow soon.

::

    python -m flows.sweep --settings linkage.toml

Every run of the hub sweeps the folder at its end, also one that fails. After a run whose process was killed, encodings
lie there until the next: that run goes on with them. No key is opened here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from flows.engine import run_main, site_settings
from flows.shards import sweep
from linkage.errors import ContractError

__all__ = ["main"]


def main(*, settings: Path | None = None) -> dict[str, Any]:
    """Remove what a killed run left in the shared folder of the hub's cluster.

    Parameters
    ----------
    settings
        The site's settings file; linkage.toml by default.
    """
    read = site_settings(None if settings is None else str(settings))
    if read.hub is None or read.hub.cluster is None:
        raise ContractError("the settings have no section [hub.cluster]", reason="no-section")
    return {"removed": sweep(read.hub.cluster.shared_folder)}


if __name__ == "__main__":
    sys.exit(run_main("flows.sweep", main))
