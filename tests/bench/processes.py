"""Run measurements in fresh processes: ours by this Python, a peer's in an environment that is installed when needed.

The environments stay in ``build/bench`` and are used again until ``peers.toml`` or the Python changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from task import usable

HERE = Path(__file__).resolve().parent
PEERS = ("clkhash", "anonlink", "recordlinkage", "splink")
_THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_INSTALL_SECONDS = 1200


class AbsentError(Exception):
    """A measurement that cannot be made here, and why."""


@dataclass
class Runner:
    """Runs tasks and keeps what they found, so that no task is run twice.

    Attributes
    ----------
    work
        Folder for files that tasks hand to each other.
    peers
        Whether peers are measured at all.
    say
        Where progress goes.
    """

    work: Path
    peers: bool
    say: Callable[[str], None]
    cache: Path = HERE.parents[1] / "build" / "bench"
    found: dict[str, Any] = field(default_factory=dict)
    _pythons: dict[str, Path] = field(default_factory=dict)
    _absent: dict[str, str] = field(default_factory=dict)

    def ours(self, task: str, *, cores: int = 1, runs: int = 1, **parameters: Any) -> list[dict[str, Any]]:
        """Run one of our tasks in so many fresh processes."""
        return self._run(Path(sys.executable), "ours", task, cores, runs, parameters)

    def peer(
        self, name: str, task: str, *, cores: int = 1, runs: int = 1, limit: float = 3600, **parameters: Any
    ) -> list[dict[str, Any]]:
        """Run a peer's task; raises AbsentError if the peer cannot be installed, fails or takes too long."""
        return self._run(self.python(name), f"peer_{name}", task, cores, runs, parameters, limit)

    def _run(
        self,
        python: Path,
        script: str,
        task: str,
        cores: int,
        runs: int,
        parameters: dict[str, Any],
        limit: float | None = None,
    ) -> list[dict[str, Any]]:
        key = f"{script} {task} {json.dumps({**parameters, 'cores': cores}, sort_keys=True)}"
        kept: list[dict[str, Any]] = self.found.setdefault(key, [])
        while len(kept) < runs:
            self.say(f"{script.removeprefix('peer_')}: {task} {_short(parameters)}")
            kept.append(_one(python, script, task, {**parameters, "cores": cores}, limit))
        return kept[:runs]

    def python(self, name: str) -> Path:
        """Return the peer's interpreter, installing the peer if need be."""
        if not self.peers:
            raise AbsentError("not asked for")
        if name in self._absent:
            raise AbsentError(self._absent[name])
        if name not in self._pythons:
            try:
                self._pythons[name] = self._installed(name)
            except AbsentError as absent:
                self._absent[name] = str(absent)
                raise
        return self._pythons[name]

    def _installed(self, name: str) -> Path:
        requires = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))[name]["requires"]
        mark = hashlib.sha256(json.dumps([requires, sys.version]).encode()).hexdigest()[:12]
        folder = self.cache / f"{name}-{mark}"
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if (folder / "installed").is_file():
            return python
        self.say(f"installing {', '.join(requires)}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requires]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise AbsentError("not installed: the installation took too long") from None
        if done.returncode:
            raise AbsentError(f"not installed: {_reason(done.stderr)}")
        (folder / "installed").touch()
        return python


def _one(python: Path, script: str, task: str, parameters: dict[str, Any], limit: float | None) -> dict[str, Any]:
    threads = dict.fromkeys(_THREADS, str(len(usable(parameters["cores"]))))
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [str(python), str(HERE / f"{script}.py"), task, json.dumps(parameters), str(answer)]
        try:
            done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            raise AbsentError(f"stopped after {limit:,.0f} s") from None
        if done.returncode:
            raise AbsentError(f"failed: {_reason(done.stderr)}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def _reason(stderr: str) -> str:
    """Return the line that says what went wrong, without addresses."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["no reason given"]
    chosen = next((line for line in lines if line.lower().startswith("error:")), lines[-1])
    return re.sub(r"\S+://\S+", "...", chosen)[:160]


def _short(parameters: dict[str, Any]) -> str:
    shown = [Path(value).name if isinstance(value, str) else value for value in parameters.values()]
    return " ".join(str(value) for value in shown if isinstance(value, str | int | float))[:80]
