"""What README.md prints for a newcomer is as true as the code: its Python runs, its commands and links exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from linkage.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_the_python_runs_as_it_is_printed(tmp_path: Path) -> None:
    """In an empty folder and a process of its own."""
    (printed,) = blocks("python")
    script = tmp_path / "printed.py"
    script.write_text(printed, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"status='estimated'.* low=\d+\.\d+, high=\d+\.\d+", done.stdout)


def printed_commands() -> list[tuple[str, ...]]:
    """The subcommands of every ``linkage`` that stands in the text: words up to the first that is no name."""
    found = set()
    for text in re.findall(r"`(linkage [^`]+)`", README) + [
        line for block in blocks("") for line in block.splitlines() if line.startswith("linkage ")
    ]:
        words = []
        for word in text.split()[1:4]:
            if not re.fullmatch(r"[a-z][a-z-]*", word):
                break
            words.append(word)
        found.add(tuple(words))
    return sorted(found)


@pytest.mark.parametrize("words", printed_commands(), ids=" ".join)
def test_commands_that_are_printed_exist(words: tuple[str, ...]) -> None:
    _, bound, rest = app.parse_commands(list(words))
    command = bound[-1] if bound else app
    assert not rest or command.default_command is not None, words


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"(?m)^#+ (.*)$", README)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists() if path else anchor in headings, target
    assert "](schemas/research.md)" in README
