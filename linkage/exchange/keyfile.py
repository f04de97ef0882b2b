"""The key file format: two lines of text, one way to write them.

::

    linkage-key/1
    {"kind":"linkage",...}

The second line is canonical JSON (:mod:`linkage.exchange.canonical`) with exactly the fields of its kind. Files with
secrets are created for their owner alone and refused when others can read them. No file is ever overwritten: a key
that is gone cannot be brought back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from linkage.errors import NO_SUCH_FILE, KeyFileError
from linkage.exchange.canonical import CanonicalError, dump, load

__all__ = ["KIND_LINKAGE", "KIND_PARTY", "KIND_PUBLIC", "make_private_folder", "read_key_file", "write_key_file"]

KIND_LINKAGE = "linkage"
KIND_PARTY = "party"
KIND_PUBLIC = "party-public"

_FIRST_LINE = b"linkage-key/1\n"
_LARGEST = 16 * 1024
_FIELDS: dict[str, frozenset[str]] = {
    KIND_LINKAGE: frozenset({"kind", "project", "epoch", "secret", "check"}),
    KIND_PARTY: frozenset({"kind", "name", "key_id", "signing", "mlkem768", "x25519", "pseudonym"}),
    KIND_PUBLIC: frozenset({"kind", "name", "key_id", "signing", "mlkem768", "x25519"}),
}
_SECRET_KINDS = frozenset({KIND_LINKAGE, KIND_PARTY})


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter; one that exists is left as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def write_key_file(path: Path, content: dict[str, Any]) -> None:
    """Write a new key file, mode 0600 if it holds a secret, 0644 otherwise.

    Raises
    ------
    KeyFileError
        ``exists`` if there is a file of that name already, ``unwritable`` if the folder forbids it.
    """
    mode = 0o600 if content["kind"] in _SECRET_KINDS else 0o644
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
            file.write(_FIRST_LINE + dump(content) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_key_file(path: Path, kinds: Iterable[str]) -> dict[str, Any]:
    """Read a key file of one of the given kinds.

    Raises
    ------
    KeyFileError
        ``missing``, ``too-open``, ``malformed`` or ``wrong-kind``. The message names the file and nothing in it.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_LARGEST + 1) if stat.S_ISREG(status.st_mode) else b""
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such key file", reason="missing", hint=NO_SUCH_FILE) from None
    except OSError:
        raise KeyFileError(f"{path}: cannot be read", reason="unreadable") from None
    content = _parse(path, data)
    if content["kind"] in _SECRET_KINDS and os.name == "posix" and status.st_mode & 0o077:
        # Windows has no such bits: there the folder's access list protects the file, as the manual says.
        raise KeyFileError(
            f"{path}: others than its owner can read this key",
            reason="too-open",
            hint="take the rights of group and others away (chmod 600), and think of the key as known to them",
        )
    if content["kind"] not in kinds:
        raise KeyFileError(f"{path}: a key file of another kind than is needed here", reason="wrong-kind")
    return content


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    malformed = KeyFileError(
        f"{path}: not a key file of this version, or damaged", reason="malformed", hint="fetch it again from its owner"
    )
    if len(data) > _LARGEST or not data.startswith(_FIRST_LINE) or not data.endswith(b"\n"):
        raise malformed
    try:
        content = load(data[len(_FIRST_LINE) : -1])
    except CanonicalError:
        raise malformed from None
    kind = content.get("kind")
    if not isinstance(kind, str) or content.keys() != _FIELDS.get(kind):
        raise malformed
    return content
