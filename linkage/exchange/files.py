"""Write a file whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["atomic_write", "remove_parts"]

_PART = re.compile(r"\.[0-9a-f]{12}\.part")


@contextmanager
def atomic_write(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it on success, delete it on any failure.

    Parameters
    ----------
    path
        Where the finished file shall stand. Its folder is made if need be.
    private
        Create the file so that only its owner can read it (mode 0600), before a byte is written.

    Yields
    ------
    Path
        An existing, empty file in the same folder, to be written by the caller.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o644)
    os.close(descriptor)
    try:
        yield temporary
        with temporary.open("r+b") as written:  # Windows flushes only what is open for writing
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_parts(path: Path) -> None:
    """Remove what :func:`atomic_write` of this path left beside it when its process was killed, and nothing else.

    Whoever calls it knows that nobody else is writing this file now. What cannot be looked for, or not be removed, is
    no reason not to go on: it stays.
    """
    start = f".{path.name}"
    with suppress(OSError):
        for other in path.parent.iterdir():
            if other.name.startswith(start) and _PART.fullmatch(other.name[len(start) :]):
                with suppress(OSError):
                    other.unlink()
