"""Destroy a file as far as a program can: its content is overwritten, then its name is taken away.

On a disk that writes in place nothing is left. Flash storage, copy-on-write file systems, snapshots and backups keep
what was there before out of a program's reach: there full-disk encryption, and keeping the folder out of backups, is
what makes a destroyed file unreadable. A file with several names (hard links) is gone under all of them. Batches are
filled with zeros, by which a retirement that was cut off knows the names it has not removed yet.
"""

from __future__ import annotations

from pathlib import Path

from linkage.exchange.custody.overwriting import overwrite_content

__all__ = ["destroy"]


def destroy(path: Path) -> None:
    """Overwrite a file with zeros, see that they are on the disk, and remove it. One that is not there is no error.

    Raises
    ------
    OSError
        It could not be overwritten or not be removed; it is there still.
    """
    try:
        overwrite_content(path, bytes)
    except FileNotFoundError:
        return
    path.unlink()
