"""Every parser reads its seeds, what was spoilt of them, and every file that a fuzzer ever found, in bounded memory."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, accepts

FOUND = Path(__file__).parent / "crashes"
SPOILT = 60
TAKEN = {("ledger", b""), ("quality", b"{}"), *(("yaml", content) for content in (b"", b"\n", b"{}", b"PAR1PAR1"))}


def spoil(content: bytes, draw: random.Random) -> bytes:
    """Change a few bytes, or cut, repeat or insert a piece."""
    at, to = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    kind = draw.randrange(5)
    if kind == 0:
        return content[:at] + content[to:]
    if kind == 1:
        return content[:at] + content[at:to] * 2 + content[to:]
    if kind == 2:
        return content[:at] + draw.randbytes(draw.randrange(1, 9)) + content[at:]
    changed = bytearray(content or b"\0")
    for _ in range(draw.randrange(1, 4)):
        changed[draw.randrange(len(changed))] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256)])
    return bytes(changed)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_spoilt_is_read_or_refused_and_nothing_else(name: str) -> None:
    target, draw = TARGETS[name], random.Random(name)
    seeds = target.seeds()
    assert seeds and all(accepts(target, seed) for seed in seeds)
    refused = sum(not accepts(target, spoil(draw.choice(seeds), draw)) for _ in range(SPOILT))
    assert refused > SPOILT // 10


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.change is not None])
def test_changed_trees_are_read_or_refused_and_seldom_refused_for_their_form(name: str) -> None:
    target, seeds = TARGETS[name], TARGETS[name].seeds()
    assert target.change is not None
    changed = [target.change(seeds[number % len(seeds)], target.longest, number) for number in range(4 * SPOILT)]
    accepted = sum(accepts(target, content) for content in changed)
    assert 0 < accepted < len(changed) // 2
    assert all(len(content) <= target.longest for content in changed)
    assert all(isinstance(json.loads(content), object) for content in changed)
    assert target.change(b"no tree", target.longest, 1)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name[:14]}")
def test_what_was_found_is_refused(path: Path) -> None:
    assert not accepts(TARGETS[path.parent.name], path.read_bytes())


def test_every_find_belongs_to_a_target() -> None:
    assert {path.name for path in FOUND.iterdir() if path.is_dir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("content", [b"", b"\0", b"\n", b"{}", b"\xff" * 64, b"PAR1PAR1"])
def test_what_is_no_such_file_at_all(name: str, content: bytes) -> None:
    assert not accepts(TARGETS[name], content) or (name, content) in TAKEN


@pytest.mark.parametrize("name", ["agreement", "batch-manifest", "ledger", "quality", "release", "settings", "yaml"])
def test_what_is_nested_without_end(name: str) -> None:
    assert not accepts(TARGETS[name], b"[" * 16_000)
    assert not accepts(TARGETS[name], b'{"a":' * 16_000)
