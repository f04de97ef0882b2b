"""What an agency installs, and what each public package shows."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

HEAVY = ("numba", "scipy", "pandas", "recordlinkage", "matplotlib", "jinja2", "faker", "prefect", "sklearn")
KEEPERS = ("keyring", "pkcs11")
"""Needed for a protected key file alone, and loaded when one is opened."""


@pytest.mark.parametrize(
    "module", ["linkage.steward.submit", "linkage.exchange", "linkage.contract", "linkage.cli.steward"]
)
def test_an_agencys_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY + KEEPERS!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_command_answers_without_the_extras() -> None:
    code = (
        "import sys\n"
        f"for name in {HEAVY + KEEPERS!r}: sys.modules[name] = None\n"
        "from linkage.cli import main\n"
        "sys.argv = ['linkage', 'steward', '--help']\n"
        "main()\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "submit" in shown.stdout


@pytest.mark.parametrize("package", ["linkage.contract", "linkage.exchange", "linkage.hub", "linkage.research"])
def test_public_names_exist_and_are_sorted(package: str) -> None:
    module = importlib.import_module(package)
    assert list(module.__all__) == sorted(
        module.__all__, key=lambda name: (name.upper() != name, name[0].islower(), name)
    )
    for name in module.__all__:
        assert getattr(module, name) is not None
