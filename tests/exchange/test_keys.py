from __future__ import annotations

import copy
import hashlib
import hmac
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import KeyFileError
from linkage.exchange import (
    LinkageKey,
    Party,
    create_linkage_key,
    create_party,
    load_linkage_key,
    load_party,
    load_public,
)
from linkage.exchange.canonical import dump, encode_bytes, pack
from linkage.exchange.opening import OpeningKey

posix = pytest.mark.skipif(os.name != "posix", reason="Windows protects files by access lists, not by mode bits")


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a key file and write it back in the right format."""
    first, second = path.read_bytes().splitlines()
    content = json.loads(second)
    change(content)
    path.write_bytes(first + b"\n" + dump(content) + b"\n")


def test_linkage_key_round_trip(tmp_path: Path) -> None:
    made = create_linkage_key(tmp_path / "a" / "b.key", "milwaukee", "2026-1")
    read = load_linkage_key(tmp_path / "a" / "b.key")
    assert (read.project, read.epoch, read.check_value) == ("milwaukee", "2026-1", made.check_value)
    assert read.derive(spec_digest="d", purpose="p", field="f") == made.derive(spec_digest="d", purpose="p", field="f")
    other = create_linkage_key(tmp_path / "a" / "c.key", "milwaukee", "2026-1")
    assert other.check_value != made.check_value


def test_every_part_of_a_derivation_counts() -> None:
    secret = bytes(range(32))
    derived = {
        LinkageKey(project, epoch, secret).derive(spec_digest=digest, purpose=purpose, field=field)
        for project, epoch, digest, purpose, field in [
            ("p", "e", "d", "u", "f"),
            ("pe", "e", "d", "u", "f"),
            ("p", "ed", "d", "u", "f"),
            ("p", "e", "du", "u", "f"),
            ("p", "e", "d", "uf", ""),
            ("p", "e", "d", "u", ""),
            ("p", "ed", "x", "u", "f"),
        ]
    }
    assert len(derived) == 7
    assert {len(key) for key in derived} == {32}


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_packing_is_unambiguous(one: list[str], other: list[str]) -> None:
    try:
        same = pack(*one) == pack(*other)
    except UnicodeEncodeError:
        return
    assert same == (one == other)


def test_derivation_needs_spec_and_purpose() -> None:
    key = LinkageKey("p", "e", bytes(32))
    for spec_digest, purpose in (("", "p"), ("d", "")):
        with pytest.raises(ValueError, match="for a spec and a purpose"):
            key.derive(spec_digest=spec_digest, purpose=purpose)


@posix
def test_private_files_and_folders_are_private(tmp_path: Path) -> None:
    private, public = create_party(tmp_path / "keys", "mpd")
    linkage = tmp_path / "ceremony" / "linkage.key"
    create_linkage_key(linkage, "milwaukee", "2026-1")
    assert [path.stat().st_mode & 0o777 for path in (private, linkage)] == [0o600, 0o600]
    assert [path.parent.stat().st_mode & 0o777 for path in (private, linkage)] == [0o700, 0o700]
    assert public.stat().st_mode & 0o600 == 0o600


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_private_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    private, public = create_party(tmp_path, "mpd")
    create_linkage_key(tmp_path / "linkage.key", "milwaukee", "2026-1")
    for path in (private, tmp_path / "linkage.key", public):
        path.chmod(mode)
    for path, load in ((private, load_party), (tmp_path / "linkage.key", load_linkage_key)):
        with pytest.raises(KeyFileError) as caught:
            load(path)
        assert caught.value.reason == "too-open"
    assert load_public(public).name == "mpd"


def test_party_round_trip(tmp_path: Path) -> None:
    private, public = create_party(tmp_path, "mpd")
    party, known = load_party(private), load_public(public)
    assert party.public == known
    assert party.key_id == known.key_id
    assert len(known.key_id) == 32
    assert known.has_signed(party.sign("purpose", b"message"), "purpose", b"message")
    assert not known.has_signed(party.sign("purpose", b"message"), "purposem", b"essage")
    assert not known.has_signed(party.sign("other", b"message"), "purpose", b"message")
    assert party.unwrap(known.wrap(b"content key", b"info"), b"info") == b"content key"
    assert party.derive("padding") == load_party(private).derive("padding") != party.derive("decoys")


def test_pseudonyms(tmp_path: Path) -> None:
    party = load_party(create_party(tmp_path, "mpd")[0])
    other = load_party(create_party(tmp_path, "dcf")[0])
    ids = ["1", "11", "Ä-7", "1"]
    expected = [hmac.digest(party._pseudonym, text.encode(), "sha256").hex()[:32] for text in ids]
    assert party.pseudonyms(ids) == expected
    assert [party.pseudonym(text) for text in ids] == expected
    assert other.pseudonym("1") != expected[0]
    with pytest.raises(ValueError, match="a local person number is empty"):
        party.pseudonyms(["1", ""])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    private, public = create_party(tmp_path, "mpd")
    create_linkage_key(tmp_path / "linkage.key", "milwaukee", "2026-1")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyFileError) as caught:
        create_linkage_key(tmp_path / "linkage.key", "milwaukee", "2026-2")
    assert caught.value.reason == "exists"
    with pytest.raises(KeyFileError):
        create_party(tmp_path, "mpd")
    public.unlink()
    with pytest.raises(KeyFileError):
        create_party(tmp_path, "mpd")
    assert private.read_bytes() == before[private]
    assert not public.exists(), "half a pair was left behind"


@pytest.mark.parametrize("name", ["", "MPD", "a b", "../mpd", "-x", "a" * 41, "mpd\n"])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        create_party(tmp_path, name)
    assert caught.value.reason == "bad-name"
    with pytest.raises(KeyFileError):
        create_linkage_key(tmp_path / "linkage.key", name, "2026-1")
    assert list(tmp_path.iterdir()) == []


def test_wrong_kind_is_refused(tmp_path: Path) -> None:
    private, public = create_party(tmp_path, "mpd")
    linkage = tmp_path / "linkage.key"
    create_linkage_key(linkage, "milwaukee", "2026-1")
    wrong: list[tuple[Callable[[Path], object], Path]] = [
        (load_party, public),
        (load_party, linkage),
        (load_public, private),
        (load_public, linkage),
        (load_linkage_key, private),
        (load_linkage_key, public),
    ]
    for load, path in wrong:
        with pytest.raises(KeyFileError) as caught:
            load(path)
        assert caught.value.reason == "wrong-kind"


def test_missing_file_is_told(tmp_path: Path) -> None:
    for load in (load_party, load_public, load_linkage_key):
        with pytest.raises(KeyFileError) as caught:
            load(tmp_path / "none.key")
        assert caught.value.reason == "missing"


def _swap(field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.__setitem__(field, value)


PUBLIC_FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": _swap("comment", "hello"),
    "missing field": lambda content: content.pop("p384"),
    "unknown kind": _swap("kind", "party-other"),
    "kind is no text": _swap("kind", ["party-public"]),
    "name is no name": _swap("name", "../x"),
    "name is a number": _swap("name", 7),
    "key id of another key": _swap("key_id", "0" * 32),
    "key too short": _swap("signing", encode_bytes(bytes(31))),
    "key is no text": _swap("signing", 0),
    "key is no base64": _swap("signing", "!" * 44),
    "another signing key": _swap("signing", encode_bytes(bytes(range(32)))),
    "no point": _swap("p384", encode_bytes(bytes(97))),
    "a point that is not on the curve": _swap("p384", encode_bytes(b"\x04" + bytes(95) + b"\1")),
    "another ML-DSA key": _swap("mldsa65", encode_bytes(bytes(1952))),
    "no ML-KEM key": _swap("mlkem1024", encode_bytes(b"\xff" * 1568)),
}


@pytest.mark.parametrize("fault", PUBLIC_FAULTS)
def test_malformed_public_key_is_refused(tmp_path: Path, fault: str) -> None:
    _, public = create_party(tmp_path, "mpd")
    rewrite(public, PUBLIC_FAULTS[fault])
    with pytest.raises(KeyFileError) as caught:
        load_public(public)
    assert caught.value.reason == "malformed"


def test_a_point_off_the_curve_is_refused_even_with_its_own_key_id(tmp_path: Path) -> None:
    _, public = create_party(tmp_path, "mpd")
    known = load_public(public)
    point = known.keys[3][:-1] + bytes([known.keys[3][-1] ^ 1])
    keys = pack("linkage party key v3", *known.keys[:3], point)
    forged = hashlib.sha256(keys).hexdigest()[:32]
    rewrite(public, lambda content: content.update(p384=encode_bytes(point), key_id=forged))
    with pytest.raises(KeyFileError) as caught:
        load_public(public)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\n",
        lambda data: data + b"x",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b"linkage-key/1", b"linkage-key/2"),
        lambda data: data.replace(b"linkage-key/1", b"linkage-key/3"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b'":"', b'": "', 1),
        lambda data: data.replace(b'{"', b'{"kind":"linkage","', 1),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data + b" " * 20_000,
        lambda data: data.replace(b'"project"', b'"\\u0070roject"'),
    ],
)
def test_only_the_one_spelling_is_read(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "linkage.key"
    create_linkage_key(path, "milwaukee", "2026-1")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(KeyFileError) as caught:
        load_linkage_key(path)
    assert caught.value.reason == "malformed"


def test_changed_secret_is_told_by_the_check_value(tmp_path: Path) -> None:
    path = tmp_path / "linkage.key"
    create_linkage_key(path, "milwaukee", "2026-1")
    rewrite(path, _swap("secret", encode_bytes(bytes(32))))
    with pytest.raises(KeyFileError):
        load_linkage_key(path)
    private, _ = create_party(tmp_path, "mpd")
    rewrite(private, _swap("signing", encode_bytes(bytes(32))))
    with pytest.raises(KeyFileError):
        load_party(private)


@pytest.mark.parametrize("check", [None, 7, "", "é" * 16, "0" * 15, ["0"]])
def test_a_check_value_that_is_none_is_refused(tmp_path: Path, check: object) -> None:
    path = tmp_path / "linkage.key"
    create_linkage_key(path, "milwaukee", "2026-1")
    rewrite(path, _swap("check", check))
    with pytest.raises(KeyFileError) as caught:
        load_linkage_key(path)
    assert caught.value.reason == "malformed"


def test_no_secret_in_text_or_errors(tmp_path: Path) -> None:
    key = create_linkage_key(tmp_path / "linkage.key", "milwaukee", "2026-1")
    party = load_party(create_party(tmp_path, "mpd")[0])
    secrets: list[bytes] = [key._secret, party._pseudonym, party._signing.private_bytes_raw()]
    assert isinstance(party._opening, OpeningKey)
    secrets.append(party._opening.seed)
    assert party._mldsa65 is not None
    secrets.append(party._mldsa65.private_bytes_raw())
    shown = [repr(key), str(key), f"{key}", repr(party), str(party), repr(party.public), repr([key, party])]
    for path, load in ((tmp_path / "linkage.key", load_linkage_key), (tmp_path / "mpd.key", load_party)):
        data = path.read_bytes()
        for spoilt in (data[:-2], data.replace(b'"kind"', b'"king"'), data + b"\n"):
            path.write_bytes(spoilt)
            with pytest.raises(KeyFileError) as caught:
                load(path)
            shown += [str(caught.value), repr(caught.value), repr(caught.value.hint), repr(caught.value.problems)]
    for secret in secrets:
        for text in shown:
            assert secret.hex() not in text
            assert encode_bytes(secret)[:16] not in text
            assert repr(secret)[2:18] not in text


@pytest.mark.parametrize("what", ["key", "party"])
def test_secrets_are_neither_pickled_nor_copied_by_pickle(tmp_path: Path, what: str) -> None:
    holder: LinkageKey | Party = (
        create_linkage_key(tmp_path / "linkage.key", "milwaukee", "2026-1")
        if what == "key"
        else load_party(create_party(tmp_path, "mpd")[0])
    )
    with pytest.raises(TypeError):
        pickle.dumps(holder)
    with pytest.raises(TypeError):
        copy.copy(holder)
