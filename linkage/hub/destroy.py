"""Destroy a file as far as a program can: its content is overwritten, then its name is taken away.

On a disk that writes in place nothing is left. Flash storage, copy-on-write file systems, snapshots and backups keep
what was there before out of a program's reach: there full-disk encryption, and keeping the folder out of backups, is
what makes a destroyed file unreadable. A file with several names (hard links) is gone under all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["destroy"]

_ZEROS = bytes(1 << 20)


def destroy(path: Path) -> None:
    """Overwrite a file with zeros, see that they are on the disk, and remove it. One that is not there is no error.

    Raises
    ------
    OSError
        It could not be overwritten or not be removed; it is there still.
    """
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        return
    with file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(_ZEROS[: min(left, len(_ZEROS))])
        os.fsync(file.fileno())
    path.unlink()
