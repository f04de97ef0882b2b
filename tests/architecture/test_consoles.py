"""Terminals are told to take text as it is: a list named `b` between two colons is no picture."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_console_reads_names_as_pictures() -> None:
    found = []
    for path in [*(ROOT / "linkage").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Console":
                emoji = [word.value for word in node.keywords if word.arg == "emoji"]
                found.append(f"{path.name}:{node.lineno}")
                assert len(emoji) == 1 and isinstance(emoji[0], ast.Constant) and emoji[0].value is False, found[-1]
    assert len(found) > 5
