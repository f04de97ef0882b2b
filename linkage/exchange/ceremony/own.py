"""What a participant keeps beside its key: its random bytes until it has confirmed, and that it has, from then on.

::

    linkage-ceremony-secret/1
    {"ceremony":...,"commitments":...,"name":...,"random":...}

``commitments`` is null until the bytes have been contributed; then the digest over all commitments to which they were
given, so that they are never given to others. When the key is made, this file goes and another one stays, in which
nothing is secret::

    linkage-ceremony-done/1
    {"ceremony":...,"check_value":...,"commitments":{...},"contributions":{...},"name":...}

By it a confirmation that was lost is made again, and nobody takes part twice in one ceremony.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import StringConstraints, ValidationError

from linkage.errors import KeyFileError
from linkage.exchange.canonical import CanonicalError, dump, encode_bytes, load, load_bytes
from linkage.exchange.custody.files import read_file
from linkage.exchange.custody.overwriting import overwrite
from linkage.exchange.files import atomic_write
from linkage.exchange.keyfile import PARTY_NAME, make_private_folder
from linkage.exchange.manifest import Strict

__all__ = [
    "Done",
    "Pending",
    "create_pending",
    "forget_pending",
    "has_pending",
    "read_done",
    "read_pending",
    "rewrite_pending",
    "write_done",
]

_FIRST_LINE = b"linkage-ceremony-secret/1\n"
_LARGEST = 1024
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_DONE_LINE = b"linkage-ceremony-done/1\n"
_LARGEST_DONE = 16 * 1024


class Pending(NamedTuple):
    """What a participant keeps to itself: 32 random bytes, and to which commitments it gave them, if it did."""

    ceremony: str
    name: str
    random: bytes
    commitments: str | None

    def __repr__(self) -> str:
        return f"Pending(ceremony={self.ceremony!r}, name={self.name!r})"


class Done(Strict):
    """What stays of a ceremony: the check value of its key, and which documents, by their digests, it came from."""

    ceremony: _Digest
    name: Annotated[str, StringConstraints(pattern=f"^{PARTY_NAME.pattern}$")]
    commitments: dict[str, _Digest]
    contributions: dict[str, _Digest]
    check_value: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


def _path(keys: Path, ceremony: str, what: str = "secret") -> Path:
    return Path(keys) / f"ceremony-{ceremony[:32]}.{what}"


def has_pending(keys: Path, ceremony: str) -> bool:
    """Tell whether random bytes of this ceremony are kept."""
    return _path(keys, ceremony).exists()


def create_pending(keys: Path, ceremony: str, name: str) -> Pending:
    """Draw the random bytes and keep them; those of a run that was stopped before it committed are taken up again.

    Raises
    ------
    KeyFileError
        As :func:`read_pending`.
    """
    if has_pending(keys, ceremony):
        return read_pending(keys, ceremony, name)
    make_private_folder(Path(keys))
    pending = Pending(ceremony, name, secrets.token_bytes(32), None)
    rewrite_pending(keys, pending)
    return pending


def rewrite_pending(keys: Path, pending: Pending) -> None:
    """Write the file anew, whole or not at all, for its owner alone."""
    content = {
        "ceremony": pending.ceremony,
        "name": pending.name,
        "random": encode_bytes(pending.random),
        "commitments": pending.commitments,
    }
    with atomic_write(_path(keys, pending.ceremony), private=True) as temporary:
        temporary.write_bytes(_FIRST_LINE + dump(content) + b"\n")


def read_pending(keys: Path, ceremony: str, name: str) -> Pending:
    """Read the random bytes back.

    Raises
    ------
    KeyFileError
        ``missing``, ``too-open`` or another fault of a private file, ``malformed``, or ``wrong-kind`` if they are
        another participant's.
    """
    path = _path(keys, ceremony)
    try:
        found = read_file(path, _LARGEST)
    except KeyFileError as error:
        raise KeyFileError(
            error.message,
            reason=error.reason,
            hint="they stay on the machine that committed; if they are lost, begin a new ceremony",
        ) from None
    found.require_private()
    data = found.data
    malformed = KeyFileError(f"{path}: damaged", reason="malformed", hint="begin a new ceremony")
    if len(data) > _LARGEST or not data.startswith(_FIRST_LINE) or not data.endswith(b"\n"):
        raise malformed
    try:
        content = load(data[len(_FIRST_LINE) : -1])
        if content.keys() != {"ceremony", "name", "random", "commitments"}:
            raise malformed
        pending = Pending(
            content["ceremony"], content["name"], load_bytes(content["random"], 32), content["commitments"]
        )
    except CanonicalError:
        raise malformed from None
    if (pending.ceremony, pending.name) != (ceremony, name):
        raise KeyFileError(f"{path}: of another ceremony or participant", reason="wrong-kind")
    return pending


def forget_pending(keys: Path, ceremony: str) -> None:
    """Overwrite and remove the file, if it is there."""
    if has_pending(keys, ceremony):
        overwrite(_path(keys, ceremony))


def write_done(keys: Path, done: Done) -> None:
    """Write what stays of a ceremony; the same again does no harm."""
    with atomic_write(_path(keys, done.ceremony, "done"), private=True) as temporary:
        temporary.write_bytes(_DONE_LINE + dump(done.model_dump()) + b"\n")


def read_done(keys: Path, ceremony: str, name: str) -> Done | None:
    """Read what stayed of a ceremony that this participant has confirmed; None if it has not.

    Raises
    ------
    KeyFileError
        ``unreadable``, a fault of a private file, ``malformed``, or ``wrong-kind`` if it is another participant's.
    """
    path = _path(keys, ceremony, "done")
    try:
        found = read_file(path, _LARGEST_DONE)
    except KeyFileError as error:
        if error.reason == "missing":
            return None
        raise
    found.require_private()  # whoever exchanges it has this participant confirm another key
    try:
        if len(found.data) > _LARGEST_DONE or not found.data.startswith(_DONE_LINE) or found.data[-1:] != b"\n":
            raise CanonicalError("not of this kind")
        done = Done.model_validate(load(found.data[len(_DONE_LINE) : -1]))
    except (CanonicalError, ValidationError):
        raise KeyFileError(f"{path}: damaged", reason="malformed", hint="begin a new ceremony") from None
    if (done.ceremony, done.name) != (ceremony, name):
        raise KeyFileError(f"{path}: of another ceremony or participant", reason="wrong-kind")
    return done
