"""The ledger: an append-only list of what was done with which file, in which each line seals the lines before it.

One line of canonical JSON an entry. ``prev`` is the SHA-256 of the line before (without its line end; 64 zeros in
the first), so that a line that is changed, moved, repeated or taken out breaks the chain.

What a chain cannot show by itself is that its last lines are gone, or that all of it was written anew. Whoever holds
an :class:`Anchor` from outside shows that: so many entries, and the digest of the last of them. Every receipt carries
one, so that an agency's receipts hold the hub to its ledger; a release is on the register of releases by the digest of
its manifest, so that whoever has the release holds the analysis to its register. Only entries after the last thing
that was given out can be taken away unseen. **A ledger that is deleted together with its folder cannot be noticed from
within**: nothing is left there to say that it was. Receipts and releases in other hands do.

No names, no pseudonyms, no scores: digests, counts and codes.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

from pydantic import Field, StringConstraints, ValidationError

from linkage.errors import SealError
from linkage.exchange.canonical import CanonicalError, dump, load
from linkage.exchange.manifest import Strict

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["GENESIS", "Anchor", "Entry", "append", "entries", "head", "verify"]

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


class Anchor(NamedTuple):
    """A place in a ledger, noted outside of it.

    Parameters
    ----------
    entries
        How many entries the ledger had.
    head
        SHA-256 of the last of them, hex; :data:`GENESIS` where there was none.
    """

    entries: int
    head: str


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
) -> Anchor:
    """Append an entry and return the new head.

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
        return Anchor(_lines(file), hashlib.sha256(line).hexdigest())


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


def head(path: Path) -> Anchor:
    """Return the number of entries and the digest of the last one, after checking the whole chain.

    Keep it where the ledger's writer cannot change it.

    Raises
    ------
    SealError
        ``ledger-broken`` or ``unreadable``.
    """
    return verify(path)


def verify(path: Path, anchors: Collection[Anchor] = (), objects: Collection[str] = ()) -> Anchor:
    """Check the whole chain, and that it still holds what was noted elsewhere.

    Parameters
    ----------
    path
        The ledger.
    anchors
        Heads noted earlier: the ledger must still have these very entries at these very places. Otherwise entries were
        taken off its end, it was written anew, or what was noted belongs to another branch of it.
    objects
        SHA-256 of files, hex, which the ledger must name.

    Returns
    -------
    Anchor
        The head.

    Raises
    ------
    SealError
        ``ledger-broken``: the chain does not hold. ``ledger-shortened``: it has fewer entries than were noted.
        ``ledger-rewritten``: another entry stands where one was noted. ``not-in-ledger``: a file is not named.
        ``unreadable``.
    """
    path = Path(path)
    wanted: dict[int, set[str]] = {}
    for anchor in anchors:
        wanted.setdefault(anchor.entries, set()).add(anchor.head)
    missing, at = set(objects), Anchor(0, GENESIS)
    _check_place(path, at, wanted)
    for entry in entries(path):
        at = Anchor(entry.number, entry.digest)
        _check_place(path, at, wanted)
        missing.discard(entry.object or "")
    if max(wanted, default=0) > at.entries:
        raise SealError(
            f"{path}: {at.entries} entries, and {max(wanted)} were noted elsewhere",
            reason="ledger-shortened",
            hint="entries were taken off its end; bring it back from a copy, and find out who could write there",
        )
    if missing:
        raise SealError(
            f"{path}: {len(missing)} of the files noted elsewhere are not in the ledger",
            reason="not-in-ledger",
            hint="the ledger is another one, entries were taken off its end, or it was written anew",
        )
    return at


def _check_place(path: Path, at: Anchor, wanted: dict[int, set[str]]) -> None:
    if wanted.get(at.entries, {at.head}) != {at.head}:
        raise SealError(
            f"{path}: entry {at.entries} is not the one that was noted elsewhere",
            reason="ledger-rewritten",
            hint="the ledger was written anew, or went two ways from a common start; compare it with a copy",
        )
