"""Make a file that held a secret unreadable, as far as software can."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from linkage.errors import KeyFileError

__all__ = ["METHOD", "overwrite", "overwrite_content"]

_PIECE = 1 << 20

METHOD = "overwrite-once-and-unlink"
"""Clear, in the words of NIST SP 800-88: one pass over all places that the file system still knows of."""


def overwrite_content(path: Path, fill: Callable[[int], bytes]) -> None:
    """Write over all of a file in its place, once, and see that it is on the disk. Its names and its size stay.

    Parameters
    ----------
    path
        The file. What has other names too is overwritten under all of them.
    fill
        Makes so many bytes: ``bytes`` for zeros, ``secrets.token_bytes`` for random ones.

    Raises
    ------
    OSError
        It is not there, or could not be overwritten in whole.
    """
    with path.open("r+b", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(fill(min(left, _PIECE)))
        os.fsync(file.fileno())


def overwrite(path: Path) -> None:
    """Write random bytes over a file in its place, cut it to nothing, rename it and remove it.

    A magnetic disk has nothing left then. Flash storage, journals, snapshots, backups and a cloud's copies may keep
    what stood there: only the encryption of the whole disk, or its destruction, reaches those.

    Raises
    ------
    KeyFileError
        ``linked`` if the file has another name too, or is a symbolic link: what is left would still be the key.
        ``unwritable`` if it cannot be written or removed.
    """
    path = Path(path)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise KeyFileError(
                f"{path}: the file has another name too, or is a link",
                reason="linked",
                hint="name the file itself, and remove its other names first",
            )
        overwrite_content(path, secrets.token_bytes)
        with path.open("r+b", buffering=0) as file:
            file.truncate(0)
            os.fsync(file.fileno())
        nameless = path.with_name(f".{secrets.token_hex(8)}.gone")
        path.rename(nameless)
        nameless.unlink()
    except OSError:
        raise KeyFileError(f"{path}: cannot be overwritten", reason="unwritable") from None
