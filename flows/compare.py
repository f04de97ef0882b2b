"""What has the shards of a comparison examined by a Dask cluster, through Prefect's Dask task runner: no key is here.

:mod:`flows.cluster` starts this beside the hub's process, which never speaks to scheduler or workers itself: what they
send is unpickled, so whoever has taken one of them over can run code here. Certificates, paths and names of shards
come in on stdin, digests go out on stdout. Encodings are read by the workers alone, from the shared folder. A shard
whose worker died is given to another; those that are done stay done. Needs the extra ``cluster``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from distributed import CancelledError, Client, KilledWorker
from distributed.scheduler import NoValidWorkerError, NoWorkerError
from distributed.security import Security
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.futures import wait
from prefect_dask.task_runners import DaskTaskRunner

from flows.engine import QUIET, RETRIED, ended, redacted
from linkage.cli.console import guard, print_json
from linkage.errors import LinkError

__all__ = ["compare_shards", "examine_on_worker", "main"]

_LAST_WORDS = 20.0  # seconds in which an end is made orderly when the hub's process is gone


@task(name="examine", **RETRIED)
@redacted
def examine_on_worker(folder: str, name: str) -> str:
    """Examine one shard; return the digest of what it yielded."""
    from flows.shards import examine_shard  # the kernels are the workers' alone

    return examine_shard(folder, name)


def forget_on_worker() -> None:
    """Let go of the encodings that the worker holds."""
    from flows.shards import forget

    forget()


@flow(name="compare", **QUIET)
@redacted
def compare_shards(folder: str, names: list[str], patience: float) -> list[str]:
    """Have shards of a comparison examined by the workers.

    Parameters
    ----------
    folder
        Path of the comparison's folder.
    names
        The shards, named by kind, first and last.
    patience
        Seconds that are waited for a first worker.
    """
    _require_workers(patience)
    futures = [examine_on_worker.submit(folder, name) for name in names]
    try:
        wait(futures)  # all of them: while one is examined, the folder must stay
        return [future.result() for future in futures]
    except KilledWorker:
        raise ended("workers-died") from None
    except RuntimeError:  # of the engine itself: the task's own errors are others
        raise ended("no-engine") from None
    except (CancelledError, NoValidWorkerError, NoWorkerError):
        raise ended("no-cluster") from None
    finally:
        with suppress(Exception):  # that a worker cannot be asked, or is no more, changes no result
            _client().run(forget_on_worker, on_error="ignore")


def _require_workers(patience: float) -> None:
    """See that there is a scheduler with a worker: without one the run would wait for ever."""
    try:
        _client().wait_for_workers(1, timeout=patience)
    except TimeoutError:
        raise ended("no-worker") from None
    except OSError:
        raise ended("no-scheduler") from None


def _client() -> Client:
    """Return the running flow's connection to the scheduler."""
    context = FlowRunContext.get()
    if context is None or not isinstance(context.task_runner, DaskTaskRunner):
        raise LinkError("shards are examined by a cluster within its flow alone", reason="no-cluster")
    return context.task_runner.client


def _compare(asked: dict[str, Any]) -> dict[str, list[str]]:
    files = asked["certificates"]
    security = None if files is None else Security(**files, require_encryption=True)
    runner = DaskTaskRunner(
        address=asked["scheduler"], client_kwargs={} if security is None else {"security": security}
    )
    compared = compare_shards.with_options(task_runner=runner)
    return {"digests": compared(asked["folder"], asked["names"], asked["patience"])}


def _end_with_the_hub() -> None:
    """Wait until the hub's process closes stdin, or is no more; end then, orderly if that can be done soon."""
    sys.stdin.read()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(_LAST_WORDS)
    os._exit(1)


def main() -> int:
    """Read what to compare from stdin, have it compared, and write the digests to stdout."""

    def run() -> None:
        asked = json.loads(sys.stdin.readline())
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where nobody sits
        threading.Thread(target=_end_with_the_hub, daemon=True).start()
        print_json(json.dumps(_compare(asked)))

    return guard(run, as_json=True, usage="it is started by flows.cluster")
