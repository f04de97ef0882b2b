"""The ledger: an append-only list of what was done with which file, in which each line seals the lines before it.

One line of canonical JSON an entry. ``prev`` is the SHA-256 of the line before (without its line end; 64 zeros in
the first), so that a line that is changed, moved or taken out breaks the chain. What a chain cannot show by itself is
that its last lines are gone: keep the :func:`head` elsewhere and give it to :func:`verify` as the anchor.

No names, no pseudonyms, no scores: digests, counts and codes.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import Field, StringConstraints, ValidationError

from linkage.errors import SealError
from linkage.exchange.canonical import CanonicalError, dump, load
from linkage.exchange.manifest import Strict

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["GENESIS", "Entry", "append", "entries", "head", "verify"]

GENESIS = "0" * 64
"""``prev`` of the first entry, and the head of an empty ledger."""

_LONGEST = 4096
_Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Small = Annotated[str, StringConstraints(max_length=200)]


class _Line(Strict):
    prev: _Digest
    time: Annotated[int, Field(gt=0, lt=2**53)]
    actor: _Code
    action: _Code
    object: _Digest | None
    extra: Annotated[dict[str, _Small | bool | int | None], Field(max_length=16)]


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Parameters
    ----------
    number
        Counts from 1.
    digest
        SHA-256 of the line: ``prev`` of the next.
    prev
        SHA-256 of the line before.
    time
        Microseconds since 1970 UTC.
    actor, action
        Who (a party's name) did what (a code such as ``take-in``).
    object
        SHA-256 of the file it was done with, if any.
    extra
        A few counts and codes.
    """

    number: int
    digest: str
    prev: str
    time: int
    actor: str
    action: str
    object: str | None
    extra: dict[str, str | bool | int | None]


def _broken(path: Path, number: int, what: str) -> SealError:
    return SealError(
        f"{path}: line {number}: {what}",
        reason="ledger-broken",
        hint="the ledger was changed after it was written, or a write was cut off; compare it with a copy",
    )


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open for reading and appending, alone on this host until closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
        if sys.platform == "win32":
            file.seek(1 << 30)  # a byte past the end of any ledger: it stands for the file and bars no reader
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        finally:
            if sys.platform == "win32":
                file.seek(1 << 30)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)


def _lines(file: BinaryIO) -> int:
    file.seek(0)
    return file.read().count(b"\n")


def _last_line(path: Path, file: BinaryIO) -> bytes | None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return None
    file.seek(max(0, size - _LONGEST - 1))
    tail = file.read(_LONGEST + 1)
    if not tail.endswith(b"\n"):
        raise _broken(path, _lines(file) + 1, "the last line is cut off")
    line = tail[:-1].rpartition(b"\n")[2]
    try:
        _Line.model_validate(load(line))
    except (CanonicalError, ValidationError):
        raise _broken(path, _lines(file), "the last line is not an entry") from None
    return line


def append(
    path: Path,
    *,
    actor: str,
    action: str,
    object_digest: str | None = None,
    extra: dict[str, str | bool | int | None] | None = None,
) -> str:
    """Append an entry and return its digest, the new head.

    Safe among processes and threads of one host (a file lock), not on a network file system.

    Raises
    ------
    SealError
        ``ledger-broken`` if the last line is damaged; ``malformed`` if a value does not fit (codes in lower case, up
        to 16 extras of text up to 200 characters, integers and booleans).
    """
    path = Path(path)
    with _locked(path) as file:
        last = _last_line(path, file)
        content = {
            "prev": hashlib.sha256(last).hexdigest() if last is not None else GENESIS,
            "time": time.time_ns() // 1000,
            "actor": actor,
            "action": action,
            "object": object_digest,
            "extra": extra or {},
        }
        try:
            line = dump(_Line.model_validate(content).model_dump())
        except (CanonicalError, ValidationError):
            raise SealError(f"{path}: not an entry of a ledger", reason="malformed") from None
        if len(line) > _LONGEST:
            raise SealError(f"{path}: an entry is too long for a ledger", reason="malformed")
        file.write(line + b"\n")
        os.fsync(file.fileno())
    return hashlib.sha256(line).hexdigest()


def entries(path: Path) -> Iterator[Entry]:
    """Read the entries in order, checking the chain on the way.

    Raises
    ------
    SealError
        ``ledger-broken`` at the first line that is cut off, is no entry, or does not follow from the one before;
        ``unreadable`` if there is no such file.
    """
    path = Path(path)
    previous, number = GENESIS, 0
    try:
        file = path.open("rb")
    except OSError:
        raise SealError(f"{path}: no ledger here that can be read", reason="unreadable") from None
    with file:
        while line := file.readline(_LONGEST + 2):
            number += 1
            if not line.endswith(b"\n"):
                raise _broken(path, number, "the line is cut off")
            content = _entry(path, number, line[:-1])
            if content["prev"] != previous:
                raise _broken(path, number, "does not follow from the line before")
            previous = hashlib.sha256(line[:-1]).hexdigest()
            yield Entry(number=number, digest=previous, **content)


def _entry(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return _Line.model_validate(load(line)).model_dump()
    except (CanonicalError, ValidationError):
        raise _broken(path, number, "not an entry") from None


def head(path: Path) -> str:
    """Return the digest of the last entry after checking the whole chain. Keep it where the ledger's writer cannot."""
    digest = GENESIS
    for entry in entries(path):
        digest = entry.digest
    return digest


def verify(path: Path, anchor: str | None = None) -> int:
    """Check the whole chain and return the number of entries.

    Parameters
    ----------
    path
        The ledger.
    anchor
        A head noted earlier: it must still be in the chain, or lines after it were taken away or rewritten.

    Raises
    ------
    SealError
        ``ledger-broken`` or ``unreadable``.
    """
    path = Path(path)
    count, found = 0, anchor is None or anchor == GENESIS
    for entry in entries(path):
        count += 1
        found = found or entry.digest == anchor
    if not found:
        raise _broken(path, count, "the chain does not hold the entry that was noted elsewhere")
    return count
