"""A ledger held to the receipts and releases that were given out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from linkage.cli import main
from linkage.exchange import create_party, ledger, load_party, write_receipt


class Kept(NamedTuple):
    """What an agency keeps, and the hub's ledger."""

    ledger: Path
    receipts: list[Path]
    hub: Path


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    private, public = create_party(tmp_path / "keys", "hub")
    book = tmp_path / "ledger"
    receipts = []
    for number, letter in enumerate("abc"):
        digest = letter * 64
        anchor = ledger.append(book, actor="hub", action="accept", object_digest=digest)
        receipts.append(tmp_path / f"{number}.receipt")
        write_receipt(
            receipts[-1],
            batch_digest=digest,
            source="mpd",
            status="accepted",
            reason=None,
            anchor=anchor,
            sender=load_party(private),
        )
        ledger.append(book, actor="hub", action="link")
    return Kept(book, receipts, public)


def words(kept: Kept, *more: object) -> list[str]:
    anchors = [word for path in kept.receipts for word in ("--anchor", str(path))]
    return ["ledger", "verify", str(kept.ledger), *anchors, "--hub", str(kept.hub), *map(str, more)]


def cut(path: Path, lines: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))


def test_a_ledger_that_holds(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    head = ledger.head(kept.ledger)
    assert main(words(kept, "--json")) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"entries": 6, "head": head.head, "anchors": 3, "signed": True}
    assert shown.err == ""
    assert main(["ledger", "head", str(kept.ledger)]) == 0
    assert capsys.readouterr().out == f"6 {head.head}\n"
    assert main(["ledger", "head", str(kept.ledger), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"entries": 6, "head": head.head}


def test_what_was_checked_is_said(kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "2026-11"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(b"{}\n")
    digest = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"  # of the three bytes
    head = ledger.append(kept.ledger, actor="analysis", action="release", object_digest=digest)
    assert main(words(kept, "--anchor", folder, "--anchor", folder / "manifest.json")) == 0
    shown = capsys.readouterr()
    assert shown.out == f"7 {head.head}\n"
    assert shown.err.splitlines() == [
        "ok: the ledger holds: 7 entries, each bound to the one before it",
        *[
            f"ok: receipt {path}: what it noted, up to {until}, is as it was then, and the ledger names its batch"
            for path, until in zip(kept.receipts, ("1 entry", "3 entries", "5 entries"), strict=True)
        ],
        f"ok: release {folder}: the ledger names it",
        f"ok: file {folder / 'manifest.json'}: the ledger names it",
    ]
    cut(kept.ledger, 4)
    assert main(words(kept)) == 6
    assert "ok: " not in capsys.readouterr().err


def test_what_was_not_checked_is_said(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify", str(kept.ledger)]) == 0
    assert "no anchor was given" in capsys.readouterr().err
    assert main(["ledger", "verify", str(kept.ledger), "--anchor", *map(str, kept.receipts)]) == 0
    assert "signatures of the receipts were not checked" in capsys.readouterr().err


def test_a_shortened_ledger_is_told_by_a_later_receipt(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    cut(kept.ledger, 4)
    assert main(words(kept._replace(receipts=kept.receipts[:2]))) == 0
    capsys.readouterr()
    assert main(words(kept, "--json")) == 6
    shown = capsys.readouterr()
    assert json.loads(shown.out)["reason"] == "ledger-shortened"
    assert "4 entries, and 5 were noted elsewhere" in shown.err


def test_a_ledger_that_was_written_anew_is_told(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    cut(kept.ledger, 0)
    for letter in "abcabc":
        ledger.append(kept.ledger, actor="hub", action="accept", object_digest=letter * 64)
    assert main(words(kept, "--json")) == 6
    assert json.loads(capsys.readouterr().out)["reason"] == "ledger-rewritten"


def test_a_forged_receipt_proves_nothing(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    kept.receipts[0].write_bytes(kept.receipts[0].read_bytes().replace(b'"mpd"', b'"dcf"'))
    assert main(words(kept, "--json")) == 6
    assert json.loads(capsys.readouterr().out)["reason"] == "bad-signature"


def test_a_release_holds_the_register_to_its_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, register = tmp_path / "2026-11", tmp_path / "releases.ledger"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(b"{}\n")
    ledger.append(register, actor="analysis", action="release", object_digest="e" * 64)
    told = ["ledger", "verify", str(register), "--anchor", str(folder), "--json"]
    assert main(told) == 6
    assert json.loads(capsys.readouterr().out)["reason"] == "not-in-ledger"
    digest = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"  # of the three bytes
    ledger.append(register, actor="analysis", action="release", object_digest=digest)
    assert main(told) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 2
    cut(register, 1)
    assert main(told) == 6


def test_an_anchor_that_is_not_there(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (kept.ledger.parent / "none", kept.ledger.parent / "keys"):
        assert main(["ledger", "verify", str(kept.ledger), "--anchor", str(path), "--json"]) == 6
        assert json.loads(capsys.readouterr().out)["reason"] == "unreadable"
