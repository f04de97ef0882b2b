"""The process that speaks with the cluster: what it is given, what it can open, when it ends, whom nobody believes.

A module of the tests stands in its place and tells what it sees.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import cluster
from flows.confined import lacking
from linkage.contract.settings import ClusterSettings
from linkage.errors import LinkageError, LinkError
from linkage.hub.encoded import Encoded

confined = pytest.mark.skipif(bool(lacking()), reason="this kernel cannot confine a process")

SERVER = "http://127.0.0.1:9/api"


def _module(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Write a module whose ``main`` has this body, and return its folder; it is imported by its name ``stranger``."""
    path = folder / "modules" / "stranger.py"
    path.parent.mkdir()
    text = "import json, os, sys\n\n\ndef main():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(path.parent), str(Path(cluster.__file__).parents[1])]))
    return str(path.parent)


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
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
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


@confined
def test_it_lists_changes_and_calls_nothing_of_its_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub may be started in a folder with the state in it; a database or container engine may trust the account."""
    site = tmp_path / "site"
    (site / "accepted" / "mpd").mkdir(parents=True)
    key = site / "party.key"
    key.touch(mode=0o600)
    told = _module(
        tmp_path,
        monkeypatch,
        """
        import ctypes, mmap, socket, subprocess
        asked = json.loads(sys.stdin.readline())
        site, key, listening, hears = asked["site"], asked["key"], asked["listening"], asked["hears"]
        libc = ctypes.CDLL(None, use_errno=True)
        def done(call):
            try:
                call()
            except OSError:
                return False
            return True
        def called(result):
            if result < 0:
                raise OSError(ctypes.get_errno(), "refused")
        def connect(path):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
        def send(path, kind):
            with socket.socketpair(type=kind)[0] as one:
                one.sendto(b"x", path)
        opened = os.open("scratch", os.O_CREAT | os.O_RDWR)
        print(json.dumps({
            "lists": done(lambda: os.listdir(site)),
            "lists deeper": done(lambda: os.listdir(site + "/accepted")),
            "lists the project": done(lambda: os.listdir(asked["project"])),
            "chmod": done(lambda: os.chmod(key, 0o644)),
            "chmod of its own": done(lambda: os.fchmod(opened, 0o644)),
            "fchmodat": done(lambda: os.chmod(os.path.basename(key), 0o644, dir_fd=os.open(site, os.O_PATH))),
            "fchmodat2": done(lambda: called(libc.syscall(452, -100, key.encode(), 0o644, 0))),
            "chown": done(lambda: os.chown(key, os.getuid(), os.getgid())),
            "lchown": done(lambda: os.lchown(key, os.getuid(), os.getgid())),
            "attribute": done(lambda: os.setxattr(key, "user.linkage", b"x")),
            "truncate": done(lambda: os.truncate(key, 0)),
            "connects": done(lambda: connect(listening)),
            "connects abstract": done(lambda: connect(asked["abstract"])),
            "sends by a pair": done(lambda: send(hears, socket.SOCK_DGRAM)),
            "sends by a stream": done(lambda: send(hears, socket.SOCK_STREAM)),
            "keyring": done(lambda: called(libc.syscall(asked["keyctl"], 0, -4, 0, 0, 0))),
            "io_uring": done(lambda: called(libc.syscall(425, 1, ctypes.create_string_buffer(120)))),
            "another program": subprocess.run(
                [sys.executable, "-c", f"import os; os.chmod({key!r}, 0o644)"], stderr=-3
            ).returncode == 0,
            "a pair": done(lambda: [one.close() for one in socket.socketpair()]),
            "network": done(lambda: socket.socket().close()),
            "interfaces": done(lambda: socket.if_nameindex()),
        }))
        """,
    )
    abstract = f"\0linkage-{os.getpid()}"
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX) as hidden,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears,
    ):
        monkeypatch.chdir(site)  # a socket's path is short
        for server, address in ((listening, "listening"), (hidden, abstract), (hears, "hears")):
            server.bind(address)
        for server in (listening, hidden):
            server.listen()
        asked = {
            "site": str(site),
            "key": str(key),
            "project": str(Path(cluster.__file__).parents[1]),
            "listening": str(site / "listening"),
            "abstract": abstract,
            "hears": str(site / "hears"),
            "keyctl": {"x86_64": 250, "aarch64": 219}[platform.machine()],
        }
        answer = cluster._ask("stranger", asked, [told], SERVER)
    assert [name for name, could in answer.items() if could] == ["a pair", "network", "interfaces"]
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_what_it_names_and_lets_the_rest_pass(machine: str) -> None:
    from flows import confined as launcher

    known = launcher._MACHINES[machine]
    steps = launcher._filter(known)

    def passes(number: int, first: int = 0, second: int = 0, audit: int = known.audit) -> bool:
        shown = {0: number, 4: audit, 16: first, 24: second}
        at, value = 0, 0
        while True:
            code, true, false, operand = steps[at]
            if code == 0x06:
                assert operand in (0x7FFF0000, 0x00050000 | 13)
                return operand == 0x7FFF0000
            if code in (0x15, 0x35):
                at += true if (value == operand if code == 0x15 else value >= operand) else false
            else:
                value = shown[operand] if code == 0x20 else value & operand
            at += 1

    refused = {number for number in range(600) if not passes(number, 1, 2)}
    assert refused == set(known.calls.values())
    assert [family for family in range(50) if passes(known.calls["socket"], family)] == [2, 10, 16]
    assert [kind for kind in range(16) if passes(known.calls["socketpair"], 1, kind)] == [1]
    assert passes(known.calls["socketpair"], 1, 1 | 0o2004000), "closed on exec, and not waiting"
    assert passes(0) and not passes(0, audit=0x40000003) and not passes(1 << 30)
    assert {"chmod", "chown", "lchown"} & set(known.calls) == (
        {"chmod", "chown", "lchown"} if machine == "x86_64" else set()
    )


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ({"landlock_version": lambda: 0}, "warning: this system has no Landlock (Linux 5.13): "),
        ({"_machine": lambda: None}, "warning: this system has no seccomp on x86_64 or aarch64: "),
    ],
)
def test_where_a_kernel_cannot_confine_that_is_told(
    missing: dict[str, Any],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from flows import confined as launcher

    for name, value in {"confine": lambda **_: False, "close_calls": lambda: False, **missing}.items():
        monkeypatch.setattr(launcher, name, value)
    monkeypatch.setattr(sys, "argv", ["confined", "stranger", str(tmp_path)])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setitem(sys.modules, "stranger", SimpleNamespace(main=lambda: 3))
    monkeypatch.chdir(tmp_path)
    assert launcher.main() == 3
    assert told in capsys.readouterr().err


def test_beyond_this_host_a_kernel_that_cannot_confine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "lacking", lambda: ["Landlock (Linux 5.13)"])
    files = {name: tmp_path / name for name in ("ca_file", "cert_file", "key_file")}
    for path in files.values():
        path.touch(mode=0o600)
    beyond = {"scheduler": "tls://10.0.0.1:8786", "shared_folder": tmp_path / "shared", "server": SERVER, **files}
    with pytest.raises(LinkError, match="no Landlock") as error:
        with cluster.cluster_comparison(ClusterSettings.model_validate(beyond)):
            pass
    assert error.value.reason == "not-confined"
    here = {"scheduler": "tcp://127.0.0.1:9", "shared_folder": tmp_path / "shared"}
    with cluster.cluster_comparison(ClusterSettings.model_validate(here)):
        pass


@confined
def test_authorities_that_the_environment_names_are_read_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many").mkdir()
    for name in ("one.pem", "other.pem", "many/0.pem", "key.pem"):
        (tmp_path / name).write_text("content", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", "one.pem")
    monkeypatch.setenv("SSL_CERT_DIR", f"many{os.pathsep}none")
    monkeypatch.setenv("PREFECT_API_SSL_CERT_FILE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "hub:secret")
    told = _module(
        tmp_path,
        monkeypatch,
        """
        def opened(path):
            try:
                open(path).close()
            except OSError:
                return False
            return True
        named = os.environ["SSL_CERT_FILE"], os.environ["PREFECT_API_SSL_CERT_FILE"]
        folder = os.environ["SSL_CERT_DIR"].split(os.pathsep)[0]
        beside = os.path.join(os.path.dirname(named[0]), "key.pem")
        print(json.dumps({"opened": [opened(path) for path in (*named, os.path.join(folder, "0.pem"), beside)],
                          "password": "PREFECT_API_AUTH_STRING" in os.environ}))
        """,
    )
    assert cluster._ask("stranger", {}, [told], SERVER) == {"opened": [True, True, True, False], "password": False}
    monkeypatch.setattr(cluster, "get_client", lambda **_: nullcontext(SimpleNamespace(api_url=SERVER)))
    assert cluster._ask("stranger", {}, [told], None)["password"], "the hub's own server asks for it"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("print('not json')", "ended with code 0"),
        ("print('{}')\nreturn 3", "ended with code 3"),
        ("print(json.dumps({'digests': ['0']}))", "gave no answer that can be read"),
        ("print(json.dumps({'digests': 'ab'}))", "gave no answer that can be read"),
        ("print(json.dumps({'error': ['x'], 'reason': 1, 'problems': 7}))\nreturn 5", "ended with code 5$"),
        ("print(json.dumps({'error': 'pay', 'reason': 'pay'}))\nreturn 5", "ended with code 5$"),
        ("print(json.dumps({'error': 'pay', 'reason': 'no-worker'}))", "^the cluster has no worker$"),
        ("print('[' * 100_000)", "ended with code 0$"),
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
