from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage.errors import SealError
from linkage.exchange import ledger


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "ledger.jsonl"
    ledger.append(path, actor="hub", action="take-in", object_digest="a" * 64, extra={"records": 340, "source": "mpd"})
    ledger.append(path, actor="hub", action="link")
    ledger.append(path, actor="hub", action="seal", object_digest="b" * 64, extra={"dry": False, "reason": None})
    ledger.append(path, actor="hub", action="purge")
    return path


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(SealError) as caught:
        call()
    return caught.value.reason


def test_chain(book: Path) -> None:
    lines = book.read_bytes().splitlines()
    entries = list(ledger.entries(book))
    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    assert [entry.action for entry in entries] == ["take-in", "link", "seal", "purge"]
    assert entries[0].extra == {"records": 340, "source": "mpd"}
    assert entries[2].extra == {"dry": False, "reason": None}
    assert [entry.prev for entry in entries] == ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in lines[:-1])]
    assert ledger.head(book) == entries[-1].digest == hashlib.sha256(lines[-1]).hexdigest()
    assert ledger.verify(book) == 4
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)


def test_append_returns_the_new_head(book: Path) -> None:
    head = ledger.append(book, actor="hub", action="link")
    assert head == ledger.head(book)
    assert ledger.verify(book, anchor=head) == 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_before_the_last_line_is_told(book: Path, data: st.DataObject) -> None:
    content = book.read_bytes()
    last = len(content[:-1].rpartition(b"\n")[0]) + 1
    position = data.draw(st.integers(0, last - 1))
    spoilt = bytearray(content)
    spoilt[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        book.write_bytes(bytes(spoilt))
        assert reason_of(lambda: ledger.verify(book)) == "ledger-broken"
    finally:
        book.write_bytes(content)


def test_changed_last_line_is_told_by_the_anchor(book: Path) -> None:
    head = ledger.head(book)
    book.write_bytes(book.read_bytes().replace(b'"purge"', b'"spare"'))
    assert ledger.verify(book) == 4
    assert reason_of(lambda: ledger.verify(book, anchor=head)) == "ledger-broken"


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [*lines, lines[0]],
        lambda lines: [*lines[:2], b"\n", *lines[2:]],
        lambda lines: [lines[0].replace(b"340", b"341"), *lines[1:]],
        lambda lines: [lines[0].replace(b":340", b": 340"), *lines[1:]],
        lambda lines: [*lines[:3], lines[3][:-1]],
        lambda lines: [*lines[:3], lines[3][:40]],
        lambda lines: [*lines, b"x" * 9000],
        lambda lines: [*lines, b"{}\n"],
    ],
)
def test_tampering_is_told(book: Path, tamper: Callable[[list[bytes]], list[bytes]]) -> None:
    book.write_bytes(b"".join(tamper(book.read_bytes().splitlines(keepends=True))))
    assert reason_of(lambda: ledger.verify(book)) == "ledger-broken"
    assert reason_of(lambda: ledger.head(book)) == "ledger-broken"


def test_lines_taken_off_the_end_are_told_by_the_anchor(book: Path) -> None:
    head = ledger.head(book)
    book.write_bytes(b"".join(book.read_bytes().splitlines(keepends=True)[:-1]))
    assert ledger.verify(book) == 3
    assert reason_of(lambda: ledger.verify(book, anchor=head)) == "ledger-broken"


def test_rewritten_ledger_is_told_by_the_anchor(book: Path, tmp_path: Path) -> None:
    anchor = list(ledger.entries(book))[1].digest
    other = tmp_path / "other.jsonl"
    for entry in ledger.entries(book):
        ledger.append(other, actor="steward", action=entry.action)
    assert ledger.verify(other) == 4
    assert ledger.verify(book, anchor=anchor) == 4
    assert reason_of(lambda: ledger.verify(other, anchor=anchor)) == "ledger-broken"


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_nothing_is_appended_to_a_cut_ledger(book: Path, cut: int) -> None:
    for _ in range(40):
        ledger.append(book, actor="hub", action="link")
    content = book.read_bytes()[:-cut]
    book.write_bytes(content)
    with pytest.raises(SealError, match="line 44: the last line is cut off") as caught:
        ledger.append(book, actor="hub", action="link")
    assert caught.value.reason == "ledger-broken"
    assert book.read_bytes() == content


def test_nothing_is_appended_to_what_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"some notes\n")
    assert reason_of(lambda: ledger.append(path, actor="hub", action="link")) == "ledger-broken"
    assert path.read_bytes() == b"some notes\n"


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "The Hub"},
        {"action": "looked up a person"},
        {"object_digest": "mpd.batch"},
        {"extra": {"score": 0.5}},
        {"extra": {"list": [1]}},
        {"extra": {"text": "x" * 201}},
        {"extra": {str(number): number for number in range(17)}},
        {"extra": {"large": 2**60}},
    ],
)
def test_what_is_no_entry_is_not_written(book: Path, change: dict[str, object]) -> None:
    before = book.read_bytes()
    content: dict[str, object] = {"actor": "hub", "action": "link"} | change
    assert reason_of(lambda: ledger.append(book, **content)) == "malformed"  # type: ignore[arg-type]
    assert book.read_bytes() == before


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with ThreadPoolExecutor(8) as pool:
        heads = list(
            pool.map(lambda number: ledger.append(path, actor="hub", action="x", extra={"n": number}), range(80))
        )
    assert ledger.verify(path) == len(set(heads)) == 80
    assert {json.loads(line)["extra"]["n"] for line in path.read_text().splitlines()} == set(range(80))


def test_empty_and_missing(tmp_path: Path) -> None:
    assert reason_of(lambda: ledger.verify(tmp_path / "none")) == "unreadable"
    (tmp_path / "empty").touch()
    assert ledger.verify(tmp_path / "empty") == 0
    assert ledger.head(tmp_path / "empty") == ledger.GENESIS
    assert ledger.verify(tmp_path / "empty", anchor=ledger.GENESIS) == 0
    assert reason_of(lambda: ledger.verify(tmp_path / "empty", anchor="a" * 64)) == "ledger-broken"
