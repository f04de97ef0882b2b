"""What the flows share: options of tasks, redaction of errors, and a process of its own for each private key."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import cyclopts
from prefect import State, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TaskRun
from prefect.exceptions import ExternalSignal, PrefectSignal

from linkage.cli.console import file_access, guard, internal_error, print_json, say
from linkage.contract import Settings, find_settings, load_settings
from linkage.errors import LinkageError, LinkError

__all__ = [
    "CLUSTER_ENDS",
    "ONCE",
    "QUIET",
    "RETRIED",
    "answer_of",
    "ended",
    "in_own_process",
    "redacted",
    "run_main",
    "site_settings",
]

P = ParamSpec("P")
R = TypeVar("R")

QUIET: dict[str, Any] = {"persist_result": False, "log_prints": False}
"""Options of every flow: nothing that it returns or prints goes to the server."""

ONCE: dict[str, Any] = {**QUIET, "cache_policy": NO_CACHE}
"""Options of a task that is not tried again. The stages have their own idempotency, by digests of their inputs."""

_DISTINCT = "look for a value that stands in for a missing one, and check that the filters hold what the spec says"
_ITS_LOG = "the log of the worker says more"

CLUSTER_ENDS: Mapping[str, tuple[str, str]] = {
    "no-scheduler": (
        "the scheduler of the cluster cannot be reached",
        "is it running, and do scheduler and settings name the same authority (ca_file)?",
    ),
    "no-worker": ("the cluster has no worker", "start the workers; their logs say why they are not there"),
    "no-cluster": (
        "the cluster let go of the comparison",
        "the scheduler was restarted or lost, or all workers are gone: run again when they are back",
    ),
    "no-engine": (
        "the engine could not run a shard on a worker",
        "do the workers reach the cluster's Prefect server under the address in the hub's settings?",
    ),
    "workers-died": (
        "workers died on the same shard again and again",
        "mostly they had too little memory: see how much a worker needs in deploy/README.md",
    ),
    "version-differs": (
        "a worker has another version of the program than the hub",
        "install the same release, with the same constraints.txt, on hub, scheduler and workers",
    ),
    "damaged": (
        "a worker found encodings that are not those that were written",
        "start the run again; if this comes back, look at the shared storage",
    ),
    "unreadable": (
        "a worker cannot read the plan",
        "start the run again; if this comes back, look at the shared storage",
    ),
    "plan-differs": ("a worker found a plan for other encodings", "start the run again"),
    "indistinguishable-records": ("more pairs of records look alike than can be weighed", _DISTINCT),
    "file-access": ("a worker cannot reach a file", f"has it the shared folder, under the hub's path? {_ITS_LOG}"),
    "missing-package": ("a package is not installed on the cluster", "pip install '.[cluster]' on hub and workers"),
    "internal": ("the comparison met an internal error", _ITS_LOG),
    "stopped": ("the comparison was stopped", "run it again to go on"),
}
"""By reason, all that a comparison on a cluster can say of its end: message and hint."""


def ended(reason: str) -> LinkError:
    """Return what is told of the end of a comparison on a cluster."""
    message, hint = CLUSTER_ENDS[reason]
    return LinkError(message, reason=reason, hint=hint)


def _is_file_access(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Try again only where a file could not be reached: what does not verify now does not verify later."""
    try:
        state.result()
    except LinkageError as error:
        return error.reason == "file-access"
    except BaseException:
        return False
    return False


RETRIED: dict[str, Any] = {
    **ONCE,
    "retries": 3,
    "retry_delay_seconds": 20,
    "retry_condition_fn": _is_file_access,
}
"""Options of a task that reads from a shared folder and may find it gone for a moment."""


def redacted(function: Callable[P, R]) -> Callable[P, R]:
    """Let nothing out of a task but :class:`LinkageError`: other errors keep their place and type, not their words."""

    @functools.wraps(function)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except LinkageError as error:
            error.__cause__, error.__suppress_context__ = None, True
            raise error from None
        except OSError as error:
            raise file_access(error) from None
        except (KeyboardInterrupt, SystemExit, CancelledError, PrefectSignal, ExternalSignal):
            raise
        except BaseException as error:  # a panic of a compiled library is no Exception, and its message may hold data
            raise internal_error(error) from None

    return run


def site_settings(path: str | None) -> Settings:
    """Read the site's settings; ``linkage.toml`` where none is named."""
    return load_settings(find_settings(None if path is None else Path(path)))


def in_own_process(module: str, *arguments: str) -> dict[str, Any]:
    """Run a flow's module in a process of its own, against the same server, and return the JSON it writes.

    Hub and analysis have each their own private key and must not meet in one memory, also where they share a host.

    Raises
    ------
    LinkageError
        What the other process tells.
    """
    with get_client(sync_client=True) as client:
        server = str(client.api_url).rstrip("/")
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PREFECT_API_URL": server},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    return answer_of(module, done.returncode, done.stdout)


def answer_of(module: str, code: int, out: bytes, *, stranger: bool = False) -> dict[str, Any]:
    """Return the JSON that another process wrote, which ran a module and ended with a code.

    Parameters
    ----------
    module, code, out
        What was run, how it ended, and what it wrote.
    stranger
        The process may be in other hands: of what it tells of an error only a reason that is known counts, and is
        told in this program's words (:data:`CLUSTER_ENDS`). None of its own is logged, mailed or shown.

    Raises
    ------
    LinkageError
        What the other process tells.
    """
    try:
        content = json.loads(out)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or (code and "error" not in content):
        content = {"error": f"{module} ended with code {code}", "reason": "process-ended"}
    if code == 0 and "error" not in content:
        return content
    if stranger:
        reason = content.get("reason")
        if isinstance(reason, str) and reason in CLUSTER_ENDS:
            raise ended(reason)
        raise LinkError(f"{module} ended with code {code}", reason="process-ended", hint="its log on stderr says more")
    hint, problems = content.get("hint"), content.get("problems")
    error = LinkageError(
        str(content["error"]),
        reason=str(content.get("reason", "error")),
        hint=None if hint is None else str(hint),
        problems=[str(problem) for problem in problems] if isinstance(problems, list) else (),
    )
    error.exit_code = code or 1
    raise error


def run_main(module: str, command: Callable[..., dict[str, Any]], words: list[str] | None = None) -> int:
    """Run a flow from the command line: its result as JSON on stdout, errors told like those of ``linkage``.

    Parameters
    ----------
    module
        What stands behind ``python -m``.
    command
        Its parameters and docstring make the help.
    words
        The command line; that of the process by default.
    """
    app = cyclopts.App(name=f"python -m {module}", version_flags=())
    words = list(sys.argv[1:] if words is None else words)

    @app.default
    @functools.wraps(command)
    def call(*arguments: Any, **named: Any) -> None:
        say(f"settings: {find_settings(named.get('settings'))}")
        print_json(json.dumps(command(*arguments, **named), indent=2))

    def run() -> object:
        return app(words, exit_on_error=False, print_error=False, result_action="return_value")

    return guard(run, as_json=True, usage=f"python -m {module} --help")
