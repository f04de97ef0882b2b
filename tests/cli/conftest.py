"""Sites with real keys, and the command run in this process or in one of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from linkage.cli import main
from linkage.contract import schemas_folder
from linkage.exchange import create_linkage_key, create_party

SOURCES = ("mpd", "dcf")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def linkage(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process."""

    def run(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def command() -> Callable[..., Outcome]:
    """Run the installed console command as its user does."""
    installed = shutil.which("linkage", path=str(Path(sys.executable).parent))
    assert installed, "the package is not installed in this environment"

    def run(*words: str | Path, cwd: Path | None = None) -> Outcome:
        environment = {name: value for name, value in os.environ.items() if name != "LINKAGE_SETTINGS"}
        done = subprocess.run(
            [installed, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@dataclass(frozen=True)
class Sites:
    """Two agencies and a hub, each with its settings file, in one folder."""

    root: Path

    def settings(self, name: str) -> Path:
        return self.root / name / "linkage.toml"

    @property
    def inbox(self) -> Path:
        return self.root / "hub" / "inbox"


@pytest.fixture(scope="session")
def made_sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sites")
    for name in (*SOURCES, "hub", "analysis"):
        create_party(root / name / "keys", name)
    create_linkage_key(root / "mpd" / "keys" / "linkage.key", "milwaukee", "2026-1")
    shutil.copy2(root / "mpd" / "keys" / "linkage.key", root / "dcf" / "keys" / "linkage.key")
    common = 'project = "milwaukee"\nepoch = "2026-1"\nprofile = "default"\n'
    for name in SOURCES:
        _agreement(name, root / name / "agreement.yaml")
        (root / name / "linkage.toml").write_text(
            f'{common}[steward]\nsource = "{name}"\nagreement = "agreement.yaml"\nlinkage_key = "keys/linkage.key"\n'
            f'party_key = "keys/{name}.key"\nhub = "../hub/keys/hub.pub"\n'
            'analysis = "../analysis/keys/analysis.pub"\noutbox = "../hub/inbox"\n'
        )
    senders = "".join(f'{name} = "../{name}/keys/{name}.pub"\n' for name in SOURCES)
    agreements = "".join(f'{name} = "../{name}/agreement.yaml"\n' for name in SOURCES)
    (root / "hub" / "linkage.toml").write_text(
        f'{common}[hub]\nparty_key = "keys/hub.key"\nanalysis = "../analysis/keys/analysis.pub"\n'
        f'inbox = "inbox"\nstate = "state"\n[hub.senders]\n{senders}[hub.agreements]\n{agreements}'
    )
    return root


def _agreement(name: str, target: Path) -> None:
    """Copy an example agreement with dates that hold whenever the tests run."""
    text = (schemas_folder() / "agreements" / f"{name}.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith(("starts:", "ends:", "opening:"))]
    target.write_text(
        "\n".join([*lines, "opening: hub", "starts: 2020-01-01", "ends: 2999-12-31"]) + "\n", encoding="utf-8"
    )


@pytest.fixture
def sites(made_sites: Path, tmp_path: Path) -> Sites:
    shutil.copytree(made_sites, tmp_path / "sites")
    return Sites(tmp_path / "sites")


@pytest.fixture(scope="session")
def extracts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small extracts of all agencies."""
    from linkage.lab.population import MILWAUKEE, draw_population

    out = tmp_path_factory.mktemp("population")
    manifest = draw_population(MILWAUKEE, 3, out, 400)
    paths = [out / entry["path"] for entry in manifest["files"]]
    return {path.parent.name: path for path in paths if path.parent.parent.name == "extracts"}
