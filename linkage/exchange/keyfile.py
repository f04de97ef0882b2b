"""The key file format: two lines of text, one way to write them.

::

    linkage-key/1             a linkage key; for party keys: linkage-key/3
    {"kind":"linkage",...}

Party keys of versions 1 and 2 are of earlier suites (:mod:`linkage.exchange.suites`) and read only as an archive. The
second line is canonical JSON (:mod:`linkage.exchange.canonical`) with exactly the fields of its kind. Files with
secrets are created for their owner alone and refused when others can read or exchange them
(:mod:`linkage.exchange.custody.files`). One may be protected by a keystore or token, which it says itself
(:mod:`linkage.exchange.custody.protected`). No other file is ever overwritten: a key that is gone
cannot be brought back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, dump, load
from linkage.exchange.custody.files import leftovers, overwrite_leftovers, read_file, replace_private
from linkage.exchange.custody.protected import VISIBLE, Keeper, Protected, is_protected, parse_protected, protect
from linkage.exchange.roles import Holding, take_up
from linkage.exchange.suites import NEWEST, SUITES

__all__ = [
    "EPOCH_NAME",
    "KIND_LINKAGE",
    "KIND_OPENING",
    "KIND_PARTY",
    "KIND_PUBLIC",
    "PARTY_NAME",
    "PROJECT_NAME",
    "load_name",
    "make_private_folder",
    "malformed_key",
    "old_key",
    "protect_key_file",
    "read_key_file",
    "read_protected",
    "write_key_file",
]

KIND_LINKAGE = "linkage"
KIND_PARTY = "party"
KIND_PUBLIC = "party-public"
KIND_OPENING = "opening"

PROJECT_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
EPOCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
PARTY_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")

_FIRST_LINE = re.compile(rb"linkage-key/([123])\n")
_LARGEST = 64 * 1024
_NAMED = frozenset({"kind", "name", "key_id"})
_FIELDS: dict[tuple[int, str], frozenset[str]] = {
    (1, KIND_LINKAGE): frozenset({"kind", "project", "epoch", "secret", "check"}),
    (1, KIND_OPENING): frozenset({"kind", "key_id", "project", "epoch", "mlkem1024", "p384", "threshold", "holders"}),
    **{(version, KIND_PARTY): _NAMED | {*suite.private, "pseudonym"} for version, suite in SUITES.items()},
    **{(version, KIND_PUBLIC): _NAMED | {*suite.public} for version, suite in SUITES.items()},
}
_NEWEST = {KIND_LINKAGE: 1, KIND_OPENING: 1, KIND_PARTY: NEWEST, KIND_PUBLIC: NEWEST}
_SECRET_KINDS = frozenset({KIND_LINKAGE, KIND_PARTY})


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter; one that exists is left as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def write_key_file(path: Path, content: dict[str, Any], keeper: Keeper | None = None) -> None:
    """Write a new key file, mode 0600 if it holds a secret, 0644 otherwise; with a keeper protected from the first.

    Raises
    ------
    KeyFileError
        ``exists`` if there is a file of that name already, ``unwritable`` if the folder forbids it; and what the keeper
        says.
    """
    if keeper is None:
        _write_new(path, b"linkage-key/%d\n" % _NEWEST[content["kind"]] + dump(content) + b"\n", content["kind"])
        return
    data, protected = protect(_NEWEST[content["kind"]], content, keeper)
    try:
        _write_new(path, data, content["kind"])
    except BaseException:
        with suppress(KeyFileError):  # a key that opens no file; what went wrong first is to be told
            keeper.forget(protected.keeper)
        raise


def _write_new(path: Path, data: bytes, kind: str) -> None:
    mode = 0o600 if kind in _SECRET_KINDS else 0o644
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), mode)
    except FileExistsError:
        raise KeyFileError(
            f"{path}: a file of this name exists, and key files are never overwritten",
            reason="exists",
            hint="choose another name or folder",
        ) from None
    except OSError:
        raise KeyFileError(f"{path}: cannot be written", reason="unwritable") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_key_file(path: Path, kinds: Iterable[str], *, archived: bool = False) -> dict[str, Any]:
    """Read a key file of one of the given kinds; with ``archived`` one of an earlier version too.

    Raises
    ------
    KeyFileError
        ``missing``, ``linked``, ``too-open``, ``not-own``, ``folder-too-open``, ``malformed``, ``wrong-kind`` or
        ``old-key``; of a protected file also what its keeper says. The message names the file and nothing in it.
    NotPermittedError
        ``two-roles`` if it is a linkage key and this process has opened encodings or facts.
    """
    version, content, protected = _read(Path(path), kinds, archived=archived)
    if content["kind"] == KIND_LINKAGE:
        take_up(Holding.LINKAGE_KEY)
    if protected is None:
        return content
    content = protected.open(Path(path))
    if content.keys() != _FIELDS[version, content["kind"]]:
        raise _damaged(Path(path))
    return content


def read_protected(path: Path, kinds: Iterable[str]) -> Protected | None:
    """Read what a protected key file of one of the given kinds shows without its keeper; None if it is a plain one.

    Raises
    ------
    KeyFileError
        As :func:`read_key_file` before the keeper is asked.
    """
    return _read(Path(path), kinds, archived=True)[2]


def protect_key_file(path: Path, keeper: Keeper) -> Protected:
    """Put a protected key file in the place of a plain private one, whose content is overwritten.

    What the keeper has must open the new content before the old one is touched. Old content that a command which was
    cut off has left beside the file is overwritten, too.

    Raises
    ------
    KeyFileError
        As :func:`read_key_file`; ``protected`` if it is that already; ``linked`` or ``unwritable`` if it cannot be
        replaced; and what the keeper says.
    """
    path = Path(path)
    version, content, protected = _read(path, _SECRET_KINDS, archived=True)
    if protected is not None:
        hint = "linkage keys show tells by what it is"
        if leftovers(path):
            protected.open(path)  # what is left is the only copy where this one does not open
            overwrite_leftovers(path)
            hint += "; the plain key that a command which was cut off had left beside it is overwritten now"
        raise KeyFileError(f"{path}: is protected already", reason="protected", hint=hint)
    data, protected = protect(version, content, keeper)
    try:
        if protected.open(path) != content:
            raise _damaged(path)
        replace_private(path, data)
    except BaseException:
        if read_file(path, _LARGEST).data != data:  # once the new file is in place, its key must stay
            with suppress(KeyFileError):  # a key that opens no file; what went wrong first is to be told
                keeper.forget(protected.keeper)
        raise
    return protected


def _read(path: Path, kinds: Iterable[str], *, archived: bool) -> tuple[int, dict[str, Any], Protected | None]:
    """Read version and content (of a protected file what is visible); refuse what :func:`read_key_file` does."""
    found = read_file(path, _LARGEST)
    protected = parse_protected(path, found.data) if is_protected(found.data) else None
    if protected is None:
        version, content = _parse(path, found.data)
    else:
        version, content = protected.version, protected.public
        if content.get("kind") not in _SECRET_KINDS or content.keys() != _visible(version, content["kind"]):
            raise _damaged(path)
    if content["kind"] in _SECRET_KINDS:
        found.require_private()
    if content["kind"] not in kinds:
        raise KeyFileError(f"{path}: a key file of another kind than is needed here", reason="wrong-kind")
    if version < _NEWEST[content["kind"]] and not archived:
        raise old_key(path)
    return version, content, protected


def _visible(version: int, kind: str) -> frozenset[str]:
    return _FIELDS.get((version, kind), frozenset()) & VISIBLE


def _damaged(path: Path) -> KeyFileError:
    return KeyFileError(
        f"{path}: not a key file of this version, or damaged", reason="malformed", hint="fetch it again from its owner"
    )


def _parse(path: Path, data: bytes) -> tuple[int, dict[str, Any]]:
    malformed = _damaged(path)
    first_line = _FIRST_LINE.match(data)
    if len(data) > _LARGEST or not first_line or not data.endswith(b"\n"):
        raise malformed
    try:
        content = load(data[first_line.end() : -1])
    except CanonicalError:
        raise malformed from None
    kind = content.get("kind")
    version = int(first_line[1])
    if not isinstance(kind, str) or content.keys() != _FIELDS.get((version, kind)):
        raise malformed
    return version, content


def load_name(value: object, pattern: re.Pattern[str]) -> str:
    """Return a name that fits the pattern.

    Raises
    ------
    CanonicalError
        For anything else.
    """
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise CanonicalError("not a name")
    return value


def malformed_key(path: Path) -> KeyFileError:
    """Make the error that says a key file is damaged."""
    return KeyFileError(f"{path}: the key file is damaged", reason="malformed", hint="fetch it again from its owner")


def old_key(what: object) -> KeyFileError:
    """Make the error that says a party key, by its file or name, is of an earlier version."""
    return KeyFileError(
        f"{what}: a party key of an earlier version, which archives alone are read with",
        reason="old-key",
        hint="its owner makes new ones that keep its pseudonyms (linkage keys renew OLD.key --out FOLDER) and sends"
        " the new public file; compare the key id by voice",
    )
