"""The comparison on a Dask cluster, from the side of the hub's process, which holds the key and unpickles nothing.

It writes encodings and plan into the shared folder, starts :mod:`flows.compare` as a process of its own, which speaks
to scheduler and workers, and reads what the shards yielded from the folder. That process is given paths and names of
shards; of this one's environment only what is named here; no open file; and it is confined (:mod:`flows.confined`),
for it has the same account. What it answers is taken for what a stranger says.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect.client.orchestration import get_client

from flows.confined import lacking
from flows.engine import answer_of
from flows.shards import Comparer, shared_comparison
from linkage.contract.settings import ClusterSettings
from linkage.errors import KeyFileError, LinkError

__all__ = ["cluster_comparison"]

PATIENCE = 60.0
"""Seconds that a comparison waits for a first worker."""

_MODULE = "flows.compare"
_GRACE = 30.0  # seconds that the other process has to end once nobody listens
_LONGEST = 1 << 22  # bytes of an answer; ten thousand digests are less than one million
_PASSED = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH",
    "DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_API_REQUEST_TIMEOUT", "PREFECT_LOGGING_LEVEL",
)  # fmt: skip
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "PREFECT_API_SSL_CERT_FILE")
_TO_THE_HUBS_SERVER = "PREFECT_API_AUTH_STRING"


@contextmanager
def cluster_comparison(settings: ClusterSettings, **options: Any) -> Iterator[Comparer]:
    """Give a comparer that has the records compared by the workers of a cluster.

    Parameters
    ----------
    settings
        The scheduler, the shared folder, the certificates, and the cluster's Prefect server.
    options
        To :func:`flows.shards.shared_comparison`.

    Raises
    ------
    LinkError
        ``missing-package``, ``busy``, or ``not-confined``: beyond this host a cluster is not spoken to where the
        kernel cannot confine the process that does.
    LinkageError
        From the comparer, with a reason of :data:`flows.engine.CLUSTER_ENDS`; ``process-ended`` or ``no-answer``.
    KeyFileError
        ``too-open``: others can read the key of the certificate.
    """
    if any(importlib.util.find_spec(package) is None for package in ("distributed", "prefect_dask")):
        raise LinkError(
            "the settings name a cluster, and the packages for one are not installed",
            reason="missing-package",
            hint="in the project's folder: pip install '.[cluster]'",
        )
    lacks = lacking()
    if lacks and settings.scheduler.startswith("tls://"):
        raise LinkError(
            f"this system has no {' and no '.join(lacks)}: what speaks to the cluster could reach what the hub can",
            reason="not-confined",
            hint="run the hub on another kernel, or without [hub.cluster]; see deploy/README.md",
        )
    files = _certificates(settings)

    def examine_all(folder: str, names: Sequence[str]) -> list[str]:
        asked = {
            "scheduler": settings.scheduler,
            "certificates": files,
            "folder": folder,
            "names": list(names),
            "patience": PATIENCE,
        }
        answer = _ask(_MODULE, asked, list((files or {}).values()), settings.server)
        digests = answer.get("digests")
        if not isinstance(digests, list) or len(digests) != len(names):
            raise LinkError(f"{_MODULE} gave no answer that can be read", reason="no-answer")
        return [str(digest) for digest in digests]

    with shared_comparison(settings.shared_folder, examine_all, shards=settings.shards, **options) as comparer:
        yield comparer


def _ask(module: str, asked: dict[str, Any], files: Sequence[str], server: str | None) -> dict[str, Any]:
    """Run a module in a confined process of its own: JSON in, JSON out; it can read the files named.

    Its end is ours: it ends when its stdin does. In a session of its own no terminal can be written to as if by hand.
    """
    authorities = _authorities()
    named = [path for value in authorities.values() for path in value.split(os.pathsep)]
    with TemporaryDirectory(prefix="linkage-", ignore_cleanup_errors=True) as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.confined", module, scratch, *files, *named],
            env={**_environment(scratch, server), **authorities},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - for the types
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(asked).encode() + b"\n")
                process.stdin.flush()
            out = process.stdout.read(_LONGEST)
        finally:
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    pipe.close()
            _end(process)
    return answer_of(module, process.returncode, out, stranger=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(scratch: str, server: str | None) -> dict[str, str]:
    """Return what the other process has for an environment: nothing secret but, without a server, the hub's password.

    Its home is the scratch folder: what Prefect and compiled kernels keep in the account's own is run by the hub.
    """
    passed = [*_PASSED, *([_TO_THE_HUBS_SERVER] if server is None else ())]
    kept = {name: value for name, value in os.environ.items() if name in passed or name.startswith("DASK_")}
    if server is None:
        with get_client(sync_client=True) as client:
            server = str(client.api_url).rstrip("/")
    home = {name: scratch for name in ("HOME", "TMPDIR", "PREFECT_HOME", "NUMBA_CACHE_DIR")}
    return {**kept, **home, "PREFECT_API_URL": server, "PREFECT_SERVER_EPHEMERAL_ENABLED": "false"}


def _authorities() -> dict[str, str]:
    """Return where the environment says that authorities' certificates are, under names that hold from any folder."""
    return {
        name: os.pathsep.join(str(Path(path).absolute()) for path in value.split(os.pathsep) if path)
        for name in _AUTHORITIES
        if (value := os.environ.get(name))
    }


def _certificates(settings: ClusterSettings) -> dict[str, str] | None:
    """Return the certificates; the settings have none only where the scheduler is on this very host."""
    if settings.key_file is None:
        return None
    if os.name == "posix" and Path(settings.key_file).stat().st_mode & 0o077:
        raise KeyFileError(
            f"{settings.key_file}: others than its owner can read this key",
            reason="too-open",
            hint="take the rights of group and others away (chmod 600), and make a new certificate",
        )
    named = {
        "tls_ca_file": settings.ca_file,
        "tls_client_cert": settings.cert_file,
        "tls_client_key": settings.key_file,
    }
    return {name: str(Path(path).absolute()) for name, path in named.items() if path is not None}
