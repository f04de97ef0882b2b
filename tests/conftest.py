"""What every test may use, and which tests may hold what no process may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkage.exchange import roles

SEVERAL_PARTIES = (
    "architecture/test_error_text.py",
    "cli/test_epochs.py",
    "cli/test_road.py",
    "cli/test_stolen_device.py",
    "exchange/test_batch.py",
    "exchange/test_vectors.py",
    "steward/test_submit.py",
)
"""Modules whose tests play an agency, a hub and an analysis in one process, which no process of the package may.

They run unguarded: :func:`linkage.exchange.roles.take_up` refuses nothing in them. All other tests start as a new
process would, having taken up nothing, and are refused a second role. ``tests/exchange/test_roles.py`` and the commands
that tests run in processes of their own show the guard as it is.
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference figures and tables; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("LINKAGE_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the reference tables are not here: set LINKAGE_SHARED to the folder that holds them")
    return folder


@pytest.fixture(scope="session", autouse=True)
def fixtures_unguarded() -> Iterator[pytest.MonkeyPatch]:
    """Lift the guard outside tests: fixtures of a module or session make what several parties have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "_conflicting", lambda holding: None)
        yield patch


_GUARD = roles._conflicting


@pytest.fixture(autouse=True)
def one_role(request: pytest.FixtureRequest, fixtures_unguarded: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test the state of a new process, and the guard, unless its module plays several parties."""
    module = request.path.relative_to(Path(__file__).parent).as_posix()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "_taken", set())
        if not module.startswith(SEVERAL_PARTIES):
            patch.setattr(roles, "_conflicting", _GUARD)
        yield
