"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference figures and tables; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("LINKAGE_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the reference tables are not here: set LINKAGE_SHARED to the folder that holds them")
    return folder
