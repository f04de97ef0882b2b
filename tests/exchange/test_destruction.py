from __future__ import annotations

import json
import os
import pydoc
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage.errors import KeyFileError, LinkageError, SealError
from linkage.exchange import create_linkage_key, create_party, file_digest, ledger, load_party
from linkage.exchange.custody.destruction import destroy_key, read_key_destruction
from linkage.exchange.custody.overwriting import overwrite, overwrite_content
from linkage.exchange.documents import write_document
from linkage.exchange.keys import renew_party


def refused(reason: str, call: Callable[[], object]) -> None:
    with pytest.raises(LinkageError) as caught:
        call()
    assert caught.value.reason == reason


def test_content_is_overwritten_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held open under its name, the file shows what became of its bytes when it is cut to nothing and unlinked."""
    path = tmp_path / "secret"
    path.write_bytes(b"a secret " * 500)
    seen = []
    whole = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(os.pread(descriptor, 10_000, 0) if hasattr(os, "pread") else path.read_bytes())
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    overwrite(path)
    assert [len(data) for data in seen] == [4500, 0]
    assert b"secret" not in seen[0] and len(set(seen[0])) > 200
    assert not list(tmp_path.iterdir())


def test_large_files_are_overwritten_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random bytes as for keys and with zeros as for batches, under all names of the file."""
    monkeypatch.setattr("linkage.exchange.custody.overwriting._PIECE", 1000)
    path = tmp_path / "file"
    for fill in (bytes, secrets.token_bytes):
        path.write_bytes(b"secret" * 500 + b"se")
        other = tmp_path / "other"
        other.hardlink_to(path)
        overwrite_content(path, fill)
        assert len(path.read_bytes()) == 3002 and path.read_bytes() == other.read_bytes()
        assert b"secret" not in path.read_bytes()
        assert (set(path.read_bytes()) == {0}) is (fill is bytes)
        other.unlink()


def test_links_are_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"secret")
    (tmp_path / "link").symlink_to(path)
    refused("linked", lambda: overwrite(tmp_path / "link"))
    (tmp_path / "second").hardlink_to(path)
    refused("linked", lambda: overwrite(path))
    refused("linked", lambda: overwrite(tmp_path))
    assert path.read_bytes() == b"secret"
    with pytest.raises(KeyFileError):
        overwrite(tmp_path / "nothing")


def destroyed(tmp_path: Path, cast: Any) -> tuple[Path, str]:
    path = tmp_path / "linkage.key"
    check = create_linkage_key(path, "milwaukee", "2026-1").check_value
    spaced = " ".join(check[at : at + 4] for at in range(0, 16, 4))
    return destroy_key(path, expected=spaced, reason="rotated", party=cast.mpd, keys=tmp_path / "keys"), check


def test_the_certificate_names_the_key_and_is_on_the_ledger(tmp_path: Path, cast: Any) -> None:
    certificate, check = destroyed(tmp_path, cast)
    found = read_key_destruction(certificate, cast.mpd.public)
    assert (found.kind, found.of, found.identity, found.reason) == ("linkage", "milwaukee/2026-1", check, "rotated")
    assert (found.method, found.standard) == ("overwrite-once-and-unlink", "nist-sp-800-88-clear")
    begun, done = ledger.entries(tmp_path / "keys" / "ledger")
    assert (begun.action, begun.object) == ("key-destroy-begun", None)
    assert (done.action, done.object) == ("key-destroy", file_digest(certificate))
    assert begun.extra["key"] == done.extra["key"] == check and str(tmp_path) not in str(begun.extra)
    assert not (tmp_path / "linkage.key").exists()


def test_what_a_command_that_was_cut_off_left_goes_too(tmp_path: Path, cast: Any) -> None:
    (tmp_path / ".linkage.key.0123456789ab.old").write_text("the whole key")
    (tmp_path / ".other.key.0123456789ab.old").write_text("another file's")
    destroyed(tmp_path, cast)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.key.0123456789ab.old", "keys"]


STEPS = ("overwrite_leftovers", "overwrite", "write_document", "ledger.append")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [True, False])
def test_what_was_cut_off_is_finished_by_the_same_call(
    tmp_path: Path, cast: Any, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    """Killed before or after each step, at the second entry of the ledger for the last of them."""
    path, keys = tmp_path / "linkage.key", tmp_path / "keys"
    check = create_linkage_key(path, "milwaukee", "2026-1").check_value
    where = f"linkage.exchange.custody.destruction.{step}"
    whole = pydoc.locate(where)
    assert callable(whole)

    def cut(*words: Any, **named: Any) -> object:
        if named.get("action") == "key-destroy-begun":
            return whole(*words, **named)
        if not before:
            whole(*words, **named)
        raise OSError("no space left on device")

    def again() -> Path:
        return destroy_key(path, expected=check, reason="rotated", party=cast.mpd, keys=keys)

    with monkeypatch.context() as patch:
        patch.setattr(where, cut)
        with pytest.raises(OSError, match="no space"):
            again()
    certificate = again()
    assert read_key_destruction(certificate, cast.mpd.public).identity == check and not path.exists()
    content, book = certificate.read_bytes(), (keys / "ledger").read_bytes()
    assert [entry.action for entry in ledger.entries(keys / "ledger")] == ["key-destroy-begun", "key-destroy"]
    assert again() == certificate  # and once more: nothing is left to do
    assert (certificate.read_bytes(), (keys / "ledger").read_bytes()) == (content, book)


def test_a_file_that_is_overwritten_in_part_is_finished_and_another_one_is_not(
    tmp_path: Path, cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, keys = tmp_path / "linkage.key", tmp_path / "keys"
    check = create_linkage_key(path, "milwaukee", "2026-1").check_value

    def destroy(file: Path) -> Path:
        return destroy_key(file, expected=check, reason="rotated", party=cast.mpd, keys=keys)

    def halfway(file: Path) -> None:
        file.write_bytes(b"\xff" * 100)
        raise OSError

    refused("missing", lambda: destroy(tmp_path / "never.key"))
    with monkeypatch.context() as patch:
        patch.setattr("linkage.exchange.custody.destruction.overwrite", halfway)
        with pytest.raises(OSError):
            destroy(path)
    for other in ("missing", "malformed"):
        refused(other, lambda: destroy(tmp_path / "other.key"))
        (tmp_path / "other.key").write_bytes(b"\xff")
        (tmp_path / "other.key").chmod(0o600)
    assert destroy(path).exists() and not path.exists() and (tmp_path / "other.key").exists()


def test_a_partys_own_key_that_is_gone_is_certified_by_its_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = create_party(tmp_path / "old", "mpd")
    party = load_party(path)
    renewed = load_party(renew_party(path, tmp_path / "new")[0])

    def cut(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("linkage.exchange.custody.destruction.write_document", cut)
        with pytest.raises(OSError):
            destroy_key(path, expected=party.key_id, reason="rotated", party=party, keys=path.parent)
    assert not path.exists()
    last = destroy_key(path, expected=party.key_id, reason="rotated", party=renewed, keys=tmp_path / "new")
    assert read_key_destruction(last, renewed.public).identity == party.key_id


def test_another_key_is_not_destroyed(tmp_path: Path, cast: Any) -> None:
    path = tmp_path / "linkage.key"
    create_linkage_key(path, "milwaukee", "2026-1")
    before = path.read_bytes()
    for expected in ("", "0" * 16, json.loads(before.splitlines()[1])["check"][:12], "é"):
        refused(
            "another-key",
            lambda expected=expected: destroy_key(
                path, expected=expected, reason="retired", party=cast.mpd, keys=tmp_path
            ),
        )
    assert path.read_bytes() == before and not (tmp_path / "ledger").exists()


def test_public_keys_and_other_files_are_not_destroyed(tmp_path: Path, cast: Any) -> None:
    path = tmp_path / "notes"
    path.write_text("hello")
    refused("malformed", lambda: destroy_key(path, expected="", reason="retired", party=cast.mpd, keys=tmp_path))
    assert path.read_text() == "hello"


def test_certificates_of_others_or_changed_are_refused(tmp_path: Path, cast: Any) -> None:
    certificate, _ = destroyed(tmp_path, cast)
    refused("untrusted-sender", lambda: read_key_destruction(certificate, cast.dcf.public))
    whole = certificate.read_bytes()
    certificate.write_bytes(whole.replace(b'"rotated"', b'"retired"'))
    refused("bad-signature", lambda: read_key_destruction(certificate, cast.mpd.public))
    content = json.loads(whole.splitlines()[1])
    for field in content:
        for value in (None, "", "x" * 200, -1):
            write_document(certificate, "key-destruction", 1, content | {field: value}, cast.mpd)
            with pytest.raises(SealError):
                read_key_destruction(certificate, cast.mpd.public)
