"""The shards of a comparison on a Dask cluster, through Prefect's Dask task runner.

Engine and scheduler are told paths, names of shards and digests; encodings travel through the shared folder alone. A
shard whose worker died is given to another; those that are done stay done. Needs the extra ``cluster``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distributed import CancelledError, Client, KilledWorker
from distributed.scheduler import NoValidWorkerError, NoWorkerError
from distributed.security import Security
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.futures import wait
from prefect_dask.task_runners import DaskTaskRunner

from flows.engine import QUIET, RETRIED, redacted
from flows.shards import Comparer, examine_shard, forget, shared_comparison
from linkage.contract.settings import ClusterSettings
from linkage.errors import KeyFileError, LinkError

__all__ = ["cluster_comparison"]

PATIENCE = 60.0
"""Seconds that a comparison waits for a first worker."""


@contextmanager
def cluster_comparison(settings: ClusterSettings, **options: Any) -> Iterator[Comparer]:
    """Give a comparer that has the records compared by the workers of a cluster.

    Parameters
    ----------
    settings
        The scheduler, the shared folder, and the certificates.
    options
        To :func:`flows.shards.shared_comparison`.

    Raises
    ------
    LinkError
        ``busy``; from the comparer ``no-cluster``, ``workers-died``, or what an examination raises.
    KeyFileError
        ``too-open``: others can read the key of the certificate.
    """
    security = _security(settings)
    runner = DaskTaskRunner(
        address=settings.scheduler, client_kwargs={} if security is None else {"security": security}
    )
    compared = compare_shards.with_options(task_runner=runner)

    def examine_all(folder: str, names: Any) -> list[str]:
        digests: list[str] = compared(folder, list(names))
        return digests

    with shared_comparison(settings.shared_folder, examine_all, shards=settings.shards, **options) as comparer:
        yield comparer


@task(name="examine", **RETRIED)
@redacted
def examine_on_worker(folder: str, name: str) -> str:
    """Examine one shard; return the digest of what it yielded."""
    return examine_shard(folder, name)


@flow(name="compare", **QUIET)
@redacted
def compare_shards(folder: str, names: list[str]) -> list[str]:
    """Have shards of a comparison examined by the workers.

    Parameters
    ----------
    folder
        Path of the comparison's folder.
    names
        The shards, named by kind, first and last.
    """
    _require_workers()
    futures = [examine_on_worker.submit(folder, name) for name in names]
    try:
        wait(futures)  # all of them: while one is examined, the folder must stay
        return [future.result() for future in futures]
    except KilledWorker:
        raise LinkError(
            "workers died on the same shard again and again",
            reason="workers-died",
            hint="mostly they had too little memory: see how much a worker needs in deploy/README.md",
        ) from None
    except RuntimeError:  # of the engine itself: the task's own errors are others
        raise LinkError(
            "the engine could not run a shard on a worker",
            reason="no-engine",
            hint="do the workers reach the Prefect server under the hub's own PREFECT_API_URL?",
        ) from None
    except (CancelledError, NoValidWorkerError, NoWorkerError):
        raise LinkError(
            "the cluster let go of the comparison",
            reason="no-cluster",
            hint="the scheduler was restarted or lost, or all workers are gone: run again when they are back",
        ) from None
    finally:
        with suppress(Exception):  # that a worker cannot be asked, or is no more, changes no result
            _client().run(forget, on_error="ignore")


def _require_workers() -> None:
    """See that there is a scheduler with a worker: without one the run would wait for ever."""
    try:
        _client().wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise LinkError(
            "the cluster has no worker",
            reason="no-cluster",
            hint="start the workers; their logs say why they are not there",
        ) from None
    except OSError:
        raise LinkError(
            "the scheduler of the cluster cannot be reached",
            reason="no-cluster",
            hint="is it running, and do scheduler and settings name the same authority (ca_file)?",
        ) from None


def _client() -> Client:
    """Return the running flow's connection to the scheduler."""
    context = FlowRunContext.get()
    if context is None or not isinstance(context.task_runner, DaskTaskRunner):
        raise LinkError("shards are examined by a cluster within its flow alone", reason="no-cluster")
    return context.task_runner.client


def _security(settings: ClusterSettings) -> Security | None:
    """Return the certificates; the settings have none only where the scheduler is on this very host."""
    if settings.key_file is None:
        return None
    if os.name == "posix" and Path(settings.key_file).stat().st_mode & 0o077:
        raise KeyFileError(
            f"{settings.key_file}: others than its owner can read this key",
            reason="too-open",
            hint="take the rights of group and others away (chmod 600), and make a new certificate",
        )
    return Security(
        tls_ca_file=str(settings.ca_file),
        tls_client_cert=str(settings.cert_file),
        tls_client_key=str(settings.key_file),
        require_encryption=True,
    )
