from __future__ import annotations

import ast
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import linkage
from linkage.errors import NotPermittedError
from linkage.exchange import create_linkage_key, create_party, load_linkage_key, load_party, roles, seal_batch
from linkage.exchange.keyfile import KIND_LINKAGE, KIND_PUBLIC, read_key_file
from linkage.exchange.roles import Holding, take_up

CALLS = {
    Holding.LINKAGE_KEY: "load_linkage_key(folder / 'linkage.key')",
    Holding.ENCODINGS: "open_encodings(folder / 'good.batch', hub, mpd.public)",
    Holding.FACTS: "open_facts(folder / 'good.batch', analysis, mpd.public)",
}
PAIRS = list(itertools.permutations(Holding, 2))
PROGRAM = """
import sys
from pathlib import Path
from typing import Any
from linkage.errors import NotPermittedError
from linkage.exchange import load_linkage_key, load_party, open_encodings, open_facts
folder = Path(sys.argv[1])
mpd, hub, analysis = (load_party(folder / f"{name}.key") for name in ("mpd", "hub", "analysis"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch, the keys of all who have to do with it, and a linkage key: what no party has together."""
    folder = tmp_path_factory.mktemp("roles")
    for name in ("mpd", "hub", "analysis"):
        create_party(folder, name)
    create_linkage_key(folder / "linkage.key", "milwaukee", "2026-1")
    return folder


@pytest.fixture(scope="module")
def sealed(folder: Path, make: Any) -> Path:
    mpd, hub, analysis = (load_party(folder / f"{name}.key") for name in ("mpd", "hub", "analysis"))
    path = folder / "good.batch"
    seal_batch(path, make.manifest(), make.encodings(), make.facts(), mpd, hub.public, analysis.public)
    return folder


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(folder)], capture_output=True, text=True, check=False
    )


def test_a_process_that_has_taken_up_one_is_refused_the_others_in_either_order(sealed: Path) -> None:
    """Real processes, real files: each does its own work twice and is refused the other two."""
    for first in Holding:
        others = [call for holding, call in CALLS.items() if holding is not first]
        lines = [CALLS[first], CALLS[first]]
        for call in others:
            lines += [
                "try:",
                f"    {call}",
                "except NotPermittedError as error:",
                "    print(error.reason, error.hint)",
            ]
        lines.append(CALLS[first])
        done = run("\n".join(lines), sealed)
        assert done.returncode == 0, done.stderr
        told = done.stdout.splitlines()
        assert len(told) == 2 and all(line.startswith("two-roles run each role in a process") for line in told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork processes")
def test_a_process_that_is_forked_off_is_bound_like_the_one_whose_memory_it_has(sealed: Path) -> None:
    program = f"""
import os
{CALLS[Holding.ENCODINGS]}
child = os.fork()
if not child:
    try:
        {CALLS[Holding.FACTS]}
    except NotPermittedError as error:
        os._exit(17 if error.reason == "two-roles" else 1)
    os._exit(2)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(program, sealed).returncode == 17


def test_making_a_linkage_key_is_holding_it(folder: Path, tmp_path: Path) -> None:
    take_up(Holding.ENCODINGS)
    with pytest.raises(NotPermittedError) as caught:
        create_linkage_key(tmp_path / "new.key", "milwaukee", "2026-2")
    assert caught.value.reason == "two-roles"
    assert not list(tmp_path.iterdir())


def test_reading_a_linkage_key_for_whatever_is_holding_it(folder: Path) -> None:
    read_key_file(folder / "mpd.pub", (KIND_LINKAGE, KIND_PUBLIC))
    take_up(Holding.ENCODINGS)
    with pytest.raises(NotPermittedError) as caught:
        read_key_file(folder / "linkage.key", (KIND_LINKAGE, KIND_PUBLIC))
    assert caught.value.reason == "two-roles"


def test_a_refused_file_is_not_read(tmp_path: Path) -> None:
    """The refusal comes before the file is looked for: nothing of it is in memory then."""
    take_up(Holding.FACTS)
    with pytest.raises(NotPermittedError):
        load_linkage_key(tmp_path / "not-there.key")


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_are_refused_whatever_they_are(first: Holding, second: Holding) -> None:
    take_up(first)
    take_up(first)
    with pytest.raises(NotPermittedError) as caught:
        take_up(second)
    assert caught.value.reason == "two-roles" and caught.value.hint
    with pytest.raises(NotPermittedError):  # being refused is no way out of it
        take_up(second)
    take_up(first)


def test_nothing_in_the_package_takes_it_back() -> None:
    """The names behind the guard are used in their own module alone, and there the set only grows."""
    for path in Path(linkage.__file__).parent.rglob("*.py"):
        if path == Path(roles.__file__):
            continue
        assert "_taken" not in path.read_text(encoding="utf-8") or "roles" not in path.read_text(encoding="utf-8")
    tree = ast.parse(Path(roles.__file__).read_text(encoding="utf-8"))
    uses = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_taken"
    ]
    assert uses == ["add"]
    stores = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "_taken"]
    assert sum(isinstance(node.ctx, ast.Store) for node in stores) == 1
