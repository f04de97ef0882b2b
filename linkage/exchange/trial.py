"""Read a stranger's Parquet in a process of its own first, because a reader that fails may take its process with it.

A few changed bytes in a signed compartment can ask the Parquet reader for more memory than any machine has, and what
it does then is to end the process: no error, and the same again at the next attempt, since the file is still there.
So a second process, without keys and with bounded memory, reads the bytes before this one does. If it comes to grief
the file is refused; if it can read them, so can we, in the same memory.

The second process is begun at the first call and serves all later ones. It ends with the first.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading

__all__ = ["can_be_read"]

ROOM = 1 << 30
"""Bytes that reading may take, whatever the size of the content."""

_TIMES = 64
"""And so many times the content: a frame of few distinct values is that much larger than its file."""

_PROGRAM = f"""
import io, sys
import polars as pl
try:
    import resource
    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
except (ImportError, OSError):
    resource = None
while header := sys.stdin.buffer.read(16):
    size, rows = int.from_bytes(header[:8], "big"), int.from_bytes(header[8:], "big")
    content = sys.stdin.buffer.read(size)
    if resource is not None:
        bound, most = held + {ROOM} + {_TIMES} * size, resource.getrlimit(resource.RLIMIT_AS)[1]
        if most != resource.RLIM_INFINITY:
            bound = min(bound, most)
        resource.setrlimit(resource.RLIMIT_AS, (bound, most))
    try:
        lazy = pl.scan_parquet(io.BytesIO(content))
        fits = lazy.select(pl.len()).collect().item() <= rows
        if fits:
            lazy.collect()
    except BaseException:
        fits = False
    content = lazy = None
    sys.stdout.buffer.write(b"y" if fits else b"n")
    sys.stdout.buffer.flush()
"""

_lock = threading.Lock()
_readers: dict[int, subprocess.Popen[bytes]] = {}


def _reader() -> subprocess.Popen[bytes]:
    """Return this process's reader, begun anew if it is not there or has ended; one of a parent is not ours."""
    found = _readers.get(os.getpid())
    if found is None or found.poll() is not None:
        # -P: a file called polars.py in the folder at hand is not what is meant.
        # Of its own session: what stops a command from the keyboard must not look like a file that cannot be read.
        found = _readers[os.getpid()] = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return found


@atexit.register
def _end() -> None:
    found = _readers.pop(os.getpid(), None)
    if found is not None:
        found.kill()
        found.communicate()


def can_be_read(content: bytes, rows: int) -> bool:
    """Say whether another process can read this Parquet, of at most so many rows, in bounded memory."""
    with _lock:
        reader = _reader()
        if reader.stdin is None or reader.stdout is None:
            return False
        try:
            reader.stdin.write(len(content).to_bytes(8, "big") + rows.to_bytes(8, "big"))
            reader.stdin.write(content)
            reader.stdin.flush()
            answer = reader.stdout.read(1)
        except OSError:
            answer = b""
        if not answer:
            _end()
        return answer == b"y"
