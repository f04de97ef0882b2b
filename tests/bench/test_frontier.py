"""The curve is drawn from what was measured, with every point in its words; the shipped one is up to date."""

from __future__ import annotations

import importlib.util
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parents[1] / "schemas" / "linkage"


@pytest.fixture(scope="module")
def frontier() -> ModuleType:
    sys.path.insert(0, str(HERE))
    try:
        spec = importlib.util.spec_from_file_location("frontier", HERE / "frontier.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(HERE))
    return module


def point(f1: float, rate: float, family: str) -> dict[str, Any]:
    shares = {"name": "graph", "rate": rate, "low": rate / 2, "high": rate * 1.5 + 0.001}
    return {"family": family, "f1": f1, "attacks": {"100%": shares, "80%": shares}}


def test_the_figure_says_all_that_it_shows(frontier: ModuleType) -> None:
    found = {"one": point(0.7, 0.0, "clk"), "other": point(0.9, 0.6, "themes")}
    svg = frontier.draw(found)
    root = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    (words,) = [entry.text or "" for entry in root.findall(f"{space}desc")]
    assert words.index("other: F1 0.900, 60.0%") < words.index("one: F1 0.700, 0.0%")
    shown = {entry.text for entry in root.iter(f"{space}text")}
    assert {"1", "2", "bar of default", "bar of guarded", "guessing"} <= shown
    assert svg == frontier.draw(found)


def test_every_mark_is_another(frontier: ModuleType) -> None:
    assert len(set(frontier._MARKS.values())) == len(frontier._MARKS) == len(frontier._TEXT)
    assert {family for family, _ in frontier.specs().values()} == set(frontier._MARKS)


def test_what_is_shipped_is_of_the_shipped_specs(frontier: ModuleType) -> None:
    found = json.loads((SHIPPED / "frontier.json").read_text(encoding="utf-8"))
    tried = frontier.specs()
    assert {"default", "guarded", "precise", "undiffused"} <= set(found) <= set(tried)
    for label, entry in found.items():
        assert (entry["family"], entry["spec_digest"]) == (tried[label][0], tried[label][1].digest), label
    assert found["undiffused"]["attacks"]["100%"]["rate"] > 0.8  # the control
    page = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert frontier.table(found) in page
    assert (SHIPPED / "frontier.svg").is_file()
