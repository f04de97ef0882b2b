from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from linkage.errors import SealError
from linkage.exchange import ledger
from linkage.exchange.canonical import dump, load


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
    assert ledger.head(book) == (4, entries[-1].digest) == (4, hashlib.sha256(lines[-1]).hexdigest())
    assert ledger.verify(book) == ledger.head(book)
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)


def test_append_returns_the_new_head(book: Path) -> None:
    head = ledger.append(book, actor="hub", action="link")
    assert head == ledger.head(book)
    assert ledger.verify(book, [head]) == head == (5, head.head)


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
    assert ledger.verify(book).entries == 4
    assert reason_of(lambda: ledger.verify(book, [head])) == "ledger-rewritten"


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
    assert ledger.verify(book).entries == 3
    assert reason_of(lambda: ledger.verify(book, [head])) == "ledger-shortened"


def test_rewritten_ledger_is_told_by_the_anchor(book: Path, tmp_path: Path) -> None:
    anchor = ledger.Anchor(2, list(ledger.entries(book))[1].digest)
    other = tmp_path / "other.jsonl"
    for entry in ledger.entries(book):
        ledger.append(other, actor="steward", action=entry.action)
    assert ledger.verify(other).entries == 4
    assert ledger.verify(book, [anchor]).entries == 4
    assert reason_of(lambda: ledger.verify(other, [anchor])) == "ledger-rewritten"


def branch(book: Path, folder: Path) -> Path:
    """Let two ledgers go on from a common start; return the other."""
    other = folder / "branch.jsonl"
    other.write_bytes(book.read_bytes())
    ledger.append(book, actor="hub", action="accept", object_digest="c" * 64)
    ledger.append(other, actor="hub", action="quarantine", object_digest="c" * 64)
    return other


def test_two_entries_with_one_number_are_told(book: Path, tmp_path: Path) -> None:
    other = branch(book, tmp_path)
    both = [*book.read_bytes().splitlines(keepends=True), other.read_bytes().splitlines(keepends=True)[-1]]
    book.write_bytes(b"".join(both))
    assert reason_of(lambda: ledger.verify(book)) == "ledger-broken"


def test_a_forked_chain_is_told_by_what_either_branch_gave_out(book: Path, tmp_path: Path) -> None:
    common = ledger.head(book)
    other = branch(book, tmp_path)
    here, there = ledger.head(book), ledger.head(other)
    assert here.entries == there.entries
    for path, own, foreign in ((book, here, there), (other, there, here)):
        assert ledger.verify(path, [common, own]) == own
        assert reason_of(lambda path=path, foreign=foreign: ledger.verify(path, [foreign])) == "ledger-rewritten"
        # Whoever holds an anchor of each has the proof that there are two, whichever ledger is shown.
        assert reason_of(lambda path=path: ledger.verify(path, [here, there])) == "ledger-rewritten"
        ledger.append(path, actor="hub", action="link")
        assert ledger.verify(path, [common, own]).entries == 6
        assert reason_of(lambda path=path, foreign=foreign: ledger.verify(path, [foreign])) == "ledger-rewritten"


def test_files_that_were_given_out_are_still_named(book: Path) -> None:
    assert ledger.verify(book, objects=["a" * 64, "b" * 64]).entries == 4
    assert reason_of(lambda: ledger.verify(book, objects=["a" * 64, "c" * 64])) == "not-in-ledger"
    book.write_bytes(b"".join(book.read_bytes().splitlines(keepends=True)[:2]))
    assert reason_of(lambda: ledger.verify(book, objects=["a" * 64, "b" * 64])) == "not-in-ledger"


def rewritten(lines: list[bytes], start: int) -> list[bytes]:
    """Forge a chain that holds from a line on: what somebody does who may write there and knows the format."""
    previous = hashlib.sha256(lines[start - 1]).hexdigest() if start else ledger.GENESIS
    forged = lines[:start]
    for line in lines[start:]:
        forged.append(dump(load(line) | {"prev": previous}))
        previous = hashlib.sha256(forged[-1]).hexdigest()
    return forged


@st.composite
def mutations(draw: st.DrawFn, content: bytes) -> bytes:
    """A ledger that was tampered with: bits, lines, or the whole chain from somewhere on, made to hold again."""
    lines = content.splitlines()
    kind = draw(st.sampled_from(["bytes", "cut", "drop", "swap", "repeat", "edit", "insert"]))
    at, to = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    if kind == "bytes":
        start, stop = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        return content[:start] + draw(st.binary(max_size=8)) + content[stop:]
    if kind == "cut":
        lines = lines[:at]
    elif kind == "drop":
        del lines[at]
    elif kind == "swap":
        lines[at], lines[to] = lines[to], lines[at]
    elif kind == "repeat":
        lines.insert(to, lines[at])
    else:
        change = draw(st.sampled_from([{"actor": "dcf"}, {"action": "purge"}, {"object": "d" * 64}, {"time": 1}]))
        entry = dump(load(lines[at]) | change)
        lines[at : at + (kind == "edit")] = [entry]
    if draw(st.booleans()) and lines:
        lines = rewritten(lines, min(at, to, len(lines) - 1))
    return b"".join(line + b"\n" for line in lines)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mutation_is_told_by_an_anchor_at_the_end(book: Path, data: st.DataObject) -> None:
    content = book.read_bytes()
    anchor = ledger.head(book)
    changed = data.draw(mutations(content))
    assume(not changed.startswith(content))  # more entries are no mutation
    try:
        book.write_bytes(changed)
        reason = reason_of(lambda: ledger.verify(book, [anchor]))
        assert reason in ("ledger-broken", "ledger-shortened", "ledger-rewritten")
    finally:
        book.write_bytes(content)


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
    assert ledger.verify(path).entries == len(set(heads)) == 80
    assert ledger.verify(path, heads).entries == 80
    assert {json.loads(line)["extra"]["n"] for line in path.read_text().splitlines()} == set(range(80))


def test_empty_and_missing(tmp_path: Path) -> None:
    assert reason_of(lambda: ledger.verify(tmp_path / "none")) == "unreadable"
    (tmp_path / "empty").touch()
    assert ledger.head(tmp_path / "empty") == (0, ledger.GENESIS)
    assert ledger.verify(tmp_path / "empty", [ledger.Anchor(0, ledger.GENESIS)]).entries == 0
    assert reason_of(lambda: ledger.verify(tmp_path / "empty", [ledger.Anchor(1, "a" * 64)])) == "ledger-shortened"
    assert reason_of(lambda: ledger.verify(tmp_path / "empty", [ledger.Anchor(0, "a" * 64)])) == "ledger-rewritten"
    assert reason_of(lambda: ledger.verify(tmp_path / "empty", objects=["a" * 64])) == "not-in-ledger"
