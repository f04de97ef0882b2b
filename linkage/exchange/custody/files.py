"""Private files: who can read them, who can exchange them for another, and how one is replaced so that nothing is left.

On POSIX a private file must be its reader's own, or the system's, and nobody else's to read or write; so must the
folder that it is in, for others to write: who can write to a folder can put another key in a key's place. (A folder
such as ``/tmp``, in which others can write and yet not touch what is not theirs, passes.) On every system a private
file that is a symbolic link is refused: what it leads to may lie anywhere.

On Windows nothing else is checked. It has no mode bits, and access lists are not read here: keep private files in a
folder of the account's own profile, whose list lets in the account and administrators.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from linkage.errors import NO_SUCH_FILE, KeyFileError
from linkage.exchange.custody.overwriting import overwrite
from linkage.exchange.files import atomic_write

__all__ = [
    "Found",
    "leftovers",
    "others_can_write",
    "overwrite_leftovers",
    "read_file",
    "replace_private",
    "require_private_folder",
]

_OLD = re.compile(r"\.[0-9a-f]{12}\.old")


@dataclass(frozen=True)
class Found:
    """A file as it was read.

    Parameters
    ----------
    path
        Under which name it was asked for.
    data
        What is in it; nothing, if it is no regular file.
    status
        Of the very file that was read.
    linked
        Whether the name is that of a symbolic link.
    """

    path: Path
    data: bytes
    status: os.stat_result
    linked: bool

    def require_private(self) -> None:
        """Refuse a file that must be private and is not.

        Raises
        ------
        KeyFileError
            ``linked``, ``too-open``, ``not-own`` or ``folder-too-open``.
        """
        if self.linked:
            raise KeyFileError(
                f"{self.path}: a symbolic link, which may lead to anybody's file",
                reason="linked",
                hint="name the key file itself",
            )
        if os.name != "posix":
            return
        if self.status.st_mode & 0o077:
            raise KeyFileError(
                f"{self.path}: others than its owner can read this key",
                reason="too-open",
                hint="take the rights of group and others away (chmod 600), and think of the key as known to them",
            )
        if others_can_write(self.status):
            raise KeyFileError(
                f"{self.path}: this key file is another account's",
                reason="not-own",
                hint="run the command under the account whose key it is, or give the file to this one (chown)",
            )
        require_private_folder(self.path)


def require_private_folder(path: Path) -> None:
    """Refuse a private file, or a place for one, in a folder that others can write to.

    Raises
    ------
    KeyFileError
        ``folder-too-open``.
    """
    if others_can_write(path.parent.stat()):
        raise KeyFileError(
            f"{path}: others can write to its folder, and so put another key in its place",
            reason="folder-too-open",
            hint="give the folder to this account and take the rights of others away (chmod 700), then compare the"
            " key id or check value anew",
        )


def others_can_write(status: os.stat_result) -> bool:
    """Tell whether others than this account and the system's can write to a file, or exchange what is in a folder.

    POSIX alone: elsewhere the answer is always no.
    """
    if os.name != "posix":
        return False
    shared = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & 0o022 and not shared)


def read_file(path: Path, largest: int) -> Found:
    """Read a file of at most so many bytes, and one more of a larger one.

    Raises
    ------
    KeyFileError
        ``missing`` or ``unreadable``.
    """
    try:
        descriptor, linked = _open(path)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(largest + 1) if stat.S_ISREG(status.st_mode) else b""
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such key file", reason="missing", hint=NO_SUCH_FILE) from None
    except OSError:
        raise KeyFileError(f"{path}: cannot be read", reason="unreadable") from None
    return Found(path, data, status, linked)


def _open(path: Path) -> tuple[int, bool]:
    """Open a file and tell whether its name is a link: by the system in one step where it can, and not by a look."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not hasattr(os, "O_NOFOLLOW"):
        linked = path.is_symlink()
        return os.open(path, flags), linked
    try:
        return os.open(path, flags | os.O_NOFOLLOW), False
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK):
            raise
        return os.open(path, flags), True


def replace_private(path: Path, data: bytes) -> None:
    """Put other content in the place of a private file, and overwrite and remove what was there.

    At every moment the old or the new content is there under the file's name. The old one gets a second name and is
    overwritten under it once the new one is in place (:func:`linkage.exchange.custody.overwriting.overwrite`).

    Raises
    ------
    KeyFileError
        ``linked`` if the file has another name already, ``unwritable`` if the folder forbids it.
    """
    _drop_second_names(path)
    if path.stat().st_nlink > 1:
        raise KeyFileError(
            f"{path}: has another name, under which its content would be overwritten too",
            reason="linked",
            hint="remove the other names of the file first",
        )
    old = path.with_name(f".{path.name}.{secrets.token_hex(6)}.old")
    try:
        os.link(path, old)
        try:
            with atomic_write(path, private=True) as temporary:
                temporary.write_bytes(data)
        except BaseException:
            old.unlink()
            raise
    except OSError:
        raise KeyFileError(
            f"{path}: cannot be replaced",
            reason="unwritable",
            hint="see whether this account may write to the folder, and whether its file system knows hard links",
        ) from None
    overwrite(old)
    overwrite_leftovers(path)


def leftovers(path: Path) -> list[Path]:
    """Return what commands that were cut off while they replaced this file have left of it: its old content, readable.

    It does not matter whether the file itself is still there.
    """
    path, start = Path(path), f".{Path(path).name}"
    if not path.parent.is_dir():
        return []
    return sorted(
        other
        for other in path.parent.iterdir()
        if other.name.startswith(start) and _OLD.fullmatch(other.name[len(start) :])
    )


def overwrite_leftovers(path: Path) -> int:
    """Overwrite and remove all :func:`leftovers` of a file, and return how many they were.

    Whoever calls it knows that what is in the file's place can be opened, or is to go too.

    Raises
    ------
    KeyFileError
        As :func:`linkage.exchange.custody.overwriting.overwrite`.
    """
    _drop_second_names(path)
    found = leftovers(path)
    for old in found:
        overwrite(old)
    return len(found)


def _drop_second_names(path: Path) -> None:
    """Take away names that :func:`replace_private` gave the file itself before it was cut off: no content goes."""
    for old in leftovers(path):
        if path.exists() and old.samefile(path):
            old.unlink()
