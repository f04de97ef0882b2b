"""The process that speaks with the cluster: what it is given, what it can open, when it ends, whom nobody believes.

A module of the tests stands in its place and tells what it sees.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import cluster
from flows.confined import landlock_version
from linkage.contract.settings import ClusterSettings
from linkage.errors import LinkageError
from linkage.hub.encoded import Encoded

confined = pytest.mark.skipif(not landlock_version(), reason="this kernel has no Landlock")

SERVER = "http://127.0.0.1:9/api"


def _module(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Write a module whose ``main`` has this body, and return its path; it is imported by its name ``stranger``."""
    path = folder / "stranger.py"
    text = "import json, os, sys\n\n\ndef main():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(cluster.__file__).parents[1])]))
    return str(path)


def test_the_hubs_process_never_imports_what_speaks_to_the_cluster() -> None:
    look = (
        "import sys, flows.hub, flows.cluster; "
        "print(sorted({'dask', 'distributed', 'prefect_dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_secret_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "WASHINGTON"
    for name in ("LINKAGE_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "POSTGRES_PASSWORD"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "7s")
    told = _module(
        tmp_path,
        monkeypatch,
        """
        asked = json.loads(sys.stdin.readline())
        files = sorted(os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
                       if os.path.exists(f"/proc/self/fd/{name}"))
        print(json.dumps({"asked": asked, "words": sys.argv, "environment": dict(os.environ), "files": files}))
        """,
    )
    with (tmp_path / "party.key").open("w+b") as key:
        os.set_inheritable(key.fileno(), True)
        answer = cluster._ask("stranger", {"folder": "shared"}, [told], SERVER)
    assert secret not in json.dumps(answer)
    assert not [name for name in answer["files"] if "party.key" in name]
    assert answer["asked"] == {"folder": "shared"}
    environment = answer["environment"]
    assert environment["PREFECT_API_URL"] == SERVER and environment["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "false"
    assert environment["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] == "7s"
    scratch = environment["PREFECT_HOME"]
    assert environment["HOME"] == scratch != os.environ.get("HOME") and not Path(scratch).exists()
    assert answer["words"][1:] == ["stranger", scratch, told]


@confined
def test_it_opens_what_it_was_given_and_programs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "party.key"
    for path in (certificate, key):
        path.write_text("content", encoding="utf-8")
    told = _module(
        tmp_path,
        monkeypatch,
        """
        import subprocess
        asked = json.loads(sys.stdin.readline())
        def tried(path, mode="rb"):
            try:
                with open(path, mode):
                    return True
            except OSError:
                return False
        parent = os.getppid()
        print(json.dumps({
            "certificate": tried(asked["certificate"]),
            "key": tried(asked["key"]),
            "memory": tried(f"/proc/{parent}/mem"),
            "beside": tried(asked["key"] + ".new", "wb"),
            "own": tried(asked["certificate"], "ab"),
            "program": tried(json.__file__, "ab"),
            "scratch": tried("scratch", "wb"),
            "started": subprocess.run([sys.executable, "-c", f"open({asked['key']!r})"], stderr=-3).returncode,
        }))
        """,
    )
    answer = cluster._ask(
        "stranger", {"certificate": str(certificate), "key": str(key)}, [told, str(certificate)], SERVER
    )
    assert [name for name, opened in answer.items() if opened] == ["certificate", "scratch", "started"]


def test_where_a_kernel_cannot_confine_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import confined as launcher

    monkeypatch.setattr(launcher, "landlock_version", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["confined", "stranger", str(tmp_path)])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setitem(sys.modules, "stranger", SimpleNamespace(main=lambda: 3))
    monkeypatch.chdir(tmp_path)
    assert launcher.main() == 3
    assert "warning: this system has no Landlock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("print('not json')", "ended with code 0"),
        ("print('{}')\nreturn 3", "ended with code 3"),
        ("print(json.dumps({'digests': ['0']}))", "gave no answer that can be read"),
        ("print(json.dumps({'digests': 'ab'}))", "gave no answer that can be read"),
        ("print(json.dumps({'error': ['x'], 'reason': 1, 'problems': 7}))\nreturn 5", r"\['x'\]"),
        ("sys.stdout.write('x' * (1 << 23))", "ended with code"),
        ("os.close(0)\nos.kill(os.getpid(), 9)", "ended with code -9"),
    ],
)
def test_an_answer_that_is_none_ends_the_run(
    body: str, told: str, two_sources: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _module(tmp_path, monkeypatch, body)
    ask = cluster._ask
    monkeypatch.setattr(cluster, "_MODULE", "stranger")
    monkeypatch.setattr(cluster, "_ask", lambda module, asked, _, server: ask(module, asked, [path], SERVER))
    content = {"scheduler": "tcp://127.0.0.1:9", "shared_folder": tmp_path / "shared"}
    with pytest.raises(LinkageError, match=told):
        with cluster.cluster_comparison(ClusterSettings.model_validate({**content, "shards": 2})) as comparer:
            comparer(two_sources, 0)
    assert [entry.name for entry in (tmp_path / "shared").iterdir()] == ["lock"]


@pytest.mark.parametrize("orderly", [True, False])
def test_it_ends_with_the_hubs_process(orderly: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _module(
        tmp_path,
        monkeypatch,
        f"""
        import time
        from flows import compare

        def wait(asked):
            sys.stderr.write(f"{{os.getpid()}}\\n")
            sys.stderr.flush()
            while True:
                try:
                    time.sleep(600)
                except KeyboardInterrupt:
                    if {orderly}:
                        raise

        compare._compare, compare._LAST_WORDS = wait, 600 if {orderly} else 0.2
        return compare.main()
        """,
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started = f"from flows import cluster; cluster._ask('stranger', {{}}, [{told!r}], {SERVER!r})"
    parent = subprocess.Popen([sys.executable, "-c", started], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    try:
        child = int(next(line for line in parent.stderr if line.strip().isdigit()))
        assert _lives(child)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stderr.close()
    _until(lambda: not _lives(child))


def _until(asked: Any) -> Any:
    limit = time.monotonic() + 90
    while time.monotonic() < limit:
        if found := asked():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
