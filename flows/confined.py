"""Run a module that can open programs, files that are named, and a scratch folder, and nothing else of its account's.

::

    python -m flows.confined <module> <scratch folder> [file ...]

Linux' Landlock (since 5.13; ``man 7 landlock``) is told which files may be opened before the module is imported; that
holds for all threads and processes that it starts and cannot be taken back. Processes outside cannot be looked into
either: their memory and environment are closed like the files. Where a kernel has no Landlock, that is told.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["confine", "landlock_version", "main"]

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, of the same number on all processors since 2019
_NO_NEW_PRIVILEGES = 38
_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # by version, how many rights of files it knows; 16 from 5 on
_SIZES = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}  # by version, bytes of a ruleset; 24 from 6 on

# What programs, name resolution and TLS open; not what an administrator keeps beside them.
_SYSTEM = """
    /usr /bin /sbin /lib /lib32 /lib64 /proc /sys /dev/zero /dev/random /dev/urandom /etc/ld.so.cache /etc/ld.so.conf
    /etc/ld.so.conf.d /etc/hosts /etc/host.conf /etc/resolv.conf /etc/nsswitch.conf /etc/gai.conf /etc/services
    /etc/protocols /etc/passwd /etc/group /etc/localtime /etc/timezone /etc/mime.types /etc/ssl /etc/pki
    /etc/ca-certificates /etc/crypto-policies
""".split()


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def landlock_version() -> int:
    """Return the version of Landlock that the kernel has; 0 where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    version: int = ctypes.CDLL(None).syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, version)


def confine(*, read: Iterable[Path], names: Iterable[Path], write: Iterable[Path]) -> bool:
    """Close all files to this thread and what it starts but those given; return whether the kernel could.

    Parameters
    ----------
    read
        Files, and folders with all that is in them, that may be read and run.
    names
        Folders in which names alone may be looked up.
    write
        Files and folders in which all may be done.

    Raises
    ------
    OSError
        The kernel has Landlock and refuses.
    """
    version = landlock_version()
    if not version:
        return False
    handled = (1 << _RIGHTS.get(version, 16)) - 1
    # From 6 on neither signals nor abstract sockets reach what is outside.
    ruleset = _Ruleset(handled, 0, 3 if version >= 6 else 0)
    rules = _call(_CREATE, ctypes.byref(ruleset), ctypes.c_size_t(_SIZES.get(version, 24)), ctypes.c_uint32(0))
    for paths, rights in ((read, _EXECUTE | _READ | _LIST), (names, _LIST), (write, handled)):
        for path in paths:
            _allow(rules, path, rights & handled)
    libc = ctypes.CDLL(None, use_errno=True)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    if libc.prctl(_NO_NEW_PRIVILEGES, one, none, none, none):
        raise OSError(ctypes.get_errno(), "the process cannot be confined")
    _call(_RESTRICT, rules, ctypes.c_uint32(0))
    os.close(rules)
    return True


def _allow(rules: int, path: Path, rights: int) -> None:
    """Add what may be done with a path, or what it leads to; one that is not there is passed over."""
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        beneath = _Beneath(rights if path.is_dir() else rights & _OF_FILES, parent)
        _call(_ADD, rules, ctypes.c_int(1), ctypes.byref(beneath), ctypes.c_uint32(0))
    finally:
        os.close(parent)


def _call(number: int, *arguments: object) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "the process cannot be confined")
    return result


def _programs() -> list[Path]:
    """Return where this Python, its packages and this project's are."""
    own = [Path(__file__).parent]
    found = importlib.util.find_spec("linkage")
    own += [Path(place) for place in (found.submodule_search_locations or [])] if found is not None else []
    return [*own, *(Path(place) for place in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix))]


def main() -> int:
    """Confine this process, then call ``main`` of the module named."""
    module, scratch, *files = sys.argv[1:]
    sys.path[:] = [str(Path(place).absolute()) for place in sys.path]
    os.chdir(scratch)  # settings that Prefect looks for where it is started are not this process' own
    confined = confine(
        read=[*_programs(), *map(Path, _SYSTEM), *map(Path, files)],
        names=map(Path, sys.path),
        write=[Path.cwd(), Path(os.devnull)],
    )
    if not confined:
        sys.stderr.write(
            "linkage: warning: this system has no Landlock (Linux 5.13): "
            "the process that speaks to the cluster can open what its account can\n"
        )
    code: int = importlib.import_module(module).main()
    return code


if __name__ == "__main__":
    sys.exit(main())
