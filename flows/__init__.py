"""Prefect flows: they order, retry and record what the library does, and know nothing else.

Nothing from the data crosses the engine: parameters and results are paths, digests, months and counts; errors are
:class:`linkage.errors.LinkageError`, whose messages hold no value; results are not persisted and prints not captured.
"""

from __future__ import annotations

import os

__all__ = ["PREFECT"]

PREFECT = {
    # The server heeds one and the client the other.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A fresh embedded database takes up to half a minute on a small machine; the default of 20 s is too short.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # A disk that stalls for some seconds, as shared and virtual ones do, must not end a month's run half-way.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "PREFECT_API_REQUEST_TIMEOUT": "180",
}
"""What Prefect goes by unless the environment says otherwise."""

# Before Prefect is imported anywhere.
for _name, _value in PREFECT.items():
    os.environ.setdefault(_name, _value)
