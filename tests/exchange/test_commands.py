from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linkage.cli.inspect import inspect
from linkage.cli.keys import app
from linkage.errors import KeyFileError, SealError
from linkage.exchange import file_digest, ledger, load_linkage_key, load_party, load_public, write_receipt
from linkage.exchange.canonical import encode_bytes


def run(*arguments: str | Path) -> None:
    app([str(argument) for argument in arguments], result_action="return_value")


def test_linkage_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys" / "linkage.key"
    run("linkage", "--project", "milwaukee", "--epoch", "2026-1", "--out", path)
    key = load_linkage_key(path)
    written = capsys.readouterr()
    assert written.out == ""
    assert key.check_value in written.err.replace(" ", "")
    assert encode_bytes(key._secret) not in written.err
    with pytest.raises(KeyFileError):
        run("linkage", "--project", "milwaukee", "--epoch", "2026-1", "--out", path)
    run("show", path, "--json")
    assert json.loads(capsys.readouterr().out) == {
        "kind": "linkage",
        "project": "milwaukee",
        "epoch": "2026-1",
        "check_value": key.check_value,
    }


def test_party(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("party", "--name", "mpd", "--out", tmp_path / "keys")
    party, public = load_party(tmp_path / "keys" / "mpd.key"), load_public(tmp_path / "keys" / "mpd.pub")
    written = capsys.readouterr()
    assert written.out == ""
    assert public.key_id in written.err.replace(" ", "")
    for name, kind in (("mpd.key", "party"), ("mpd.pub", "party-public")):
        run("show", tmp_path / "keys" / name, "--json")
        text = capsys.readouterr().out
        assert json.loads(text) == {"kind": kind, "name": "mpd", "key_id": public.key_id}
        run("show", tmp_path / "keys" / name)
        table = capsys.readouterr().out
        assert public.key_id in "".join(character for character in table if character.isalnum())
        assert encode_bytes(party._pseudonym)[:12] not in table


def test_inspect_batch(tmp_path: Path, batch_bytes: bytes, cast: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mpd-[red]2026-11.batch"
    path.write_bytes(batch_bytes)
    inspect(path, json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["kind"] == "batch"
    assert content["digest"] == file_digest(path)
    assert content["sender"] == cast.mpd.key_id
    assert content["header"]["month"] == "2026-11" and not {"records", "rows", "events"} & set(content["header"])
    assert [entry["recipient"] for entry in content["compartments"]] == [cast.hub.key_id, cast.analysis.key_id]
    inspect(path)
    table = capsys.readouterr().out
    for text in (
        "mpd-[red]2026-11.batch",
        cast.mpd.key_id,
        cast.analysis.key_id,
        "milwaukee",
        "2026-11",
        "not verified",
    ):
        assert text in table


def test_inspect_receipt(tmp_path: Path, cast: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mpd.receipt"
    write_receipt(
        path,
        batch_digest="a" * 64,
        source="mpd",
        status="quarantined",
        reason="damaged",
        anchor=ledger.Anchor(7, "b" * 64),
        sender=cast.hub,
    )
    inspect(path, json=True)
    content = json.loads(capsys.readouterr().out)
    assert (content["kind"], content["sender"]) == ("receipt", cast.hub.key_id)
    assert (content["version"], content["header"]["reason"], content["header"]["ledger_entries"]) == (3, "damaged", 7)
    inspect(path)
    assert "quarantined" in capsys.readouterr().out


def test_inspect_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello")
    for path, reason in ((tmp_path / "a", "bad-version"), (tmp_path / "none", "unreadable"), (tmp_path, "unreadable")):
        with pytest.raises(SealError) as caught:
            inspect(path)
        assert caught.value.reason == reason
