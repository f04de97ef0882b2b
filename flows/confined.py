"""Run a module that can open programs, files that are named, and a scratch folder, and nothing else of its account's.

::

    python -m flows.confined <module> <scratch folder> [file ...]

Linux' Landlock (since 5.13; ``man 7 landlock``) is told which files may be opened and which folders listed before the
module is imported; that holds for all threads and processes that it starts and cannot be taken back. Processes outside
cannot be looked into either: their memory and environment are closed like the files. What Landlock does not know of, a
seccomp filter refuses (``man 2 seccomp``): modes, owners and attributes of files, sockets of the account, its keyring,
and what would go past such a filter. Where a kernel has not both, that is told. Open stay the network, what ``stat``
tells of a path that is guessed, and the times of a file.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import flows  # both before anything is closed: the folder that they are in is not listed afterwards
import linkage

__all__ = ["close_calls", "confine", "lacking", "landlock_version", "main"]

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

# Beside modes, owners and attributes: truncating by path, which Landlock knows since its version 3 alone; the
# account's keyring; and io_uring, whose work no filter sees.
_REFUSED = """
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr setxattrat
    removexattr lremovexattr fremovexattr removexattrat file_setattr truncate add_key request_key keyctl io_uring_setup
""".split()
_SINCE_2019 = {"io_uring_setup": 425, "fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469}


class _Machine(NamedTuple):
    """How a processor's programs call the kernel (linux/audit.h, asm/unistd.h)."""

    audit: int
    calls: dict[str, int]


_MACHINES = {
    "x86_64": _Machine(0xC000003E, _SINCE_2019 | {
        "socket": 41, "socketpair": 53, "truncate": 76, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93,
        "lchown": 94, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198,
        "fremovexattr": 199, "add_key": 248, "request_key": 249, "keyctl": 250, "fchownat": 260, "fchmodat": 268,
    }),
    "aarch64": _Machine(0xC00000B7, _SINCE_2019 | {
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
        "truncate": 45, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "socket": 198, "socketpair": 199,
        "add_key": 217, "request_key": 218, "keyctl": 219,
    }),
}  # fmt: skip
_X32 = 1 << 30  # from here on calls of x86_64 have other numbers for the same
_FAMILIES = 2, 10, 16  # of sockets: IPv4, IPv6, and netlink, by which programs learn of interfaces
_STREAM, _KIND_OF_SOCKET = 1, 0xF  # of a pair of sockets, one can be sent elsewhere unless they are streams
_SET_FILTER, _GET_FILTER, _MODE_FILTER = 22, 21, 2
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_PASS, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER, _AUDIT, _FIRST, _SECOND = 0, 4, 16, 24  # places of what a filter is shown


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("true", ctypes.c_uint8), ("false", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step)))


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


def lacking() -> list[str]:
    """Return what this system lacks of what confines a process; nothing where it can be confined."""
    found = [] if landlock_version() else ["Landlock (Linux 5.13)"]
    return found if _machine() is not None else [*found, "seccomp on x86_64 or aarch64"]


def _machine() -> _Machine | None:
    """Return how this very program calls the kernel, if that is known and the kernel can filter it."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        return None
    if ctypes.CDLL(None).prctl(_GET_FILTER, *[ctypes.c_ulong(0)] * 4) < 0:
        return None
    return _MACHINES.get(platform.machine())


def close_calls() -> bool:
    """Have the kernel refuse to this thread and what it starts what Landlock knows nothing of; return whether it could.

    Raises
    ------
    OSError
        The kernel has seccomp and refuses.
    """
    machine = _machine()
    if machine is None:
        return False
    steps = [_Step(*step) for step in _filter(machine)]
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    _no_new_privileges()
    none = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_FILTER, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), none, none):
        raise OSError(ctypes.get_errno(), "the process cannot be confined")
    return True


def _filter(machine: _Machine) -> list[tuple[int, int, int, int]]:
    """Return the filter's steps: code, how many to pass over if true, if false, operand."""
    refuse, let = (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _PASS)
    steps = [(_LOAD, 0, 0, _AUDIT), (_EQUAL, 1, 0, machine.audit), refuse, (_LOAD, 0, 0, _NUMBER)]
    steps += [(_AT_LEAST, 0, 1, _X32), refuse]
    for name in _REFUSED:
        if name in machine.calls:
            steps += [(_EQUAL, 0, 1, machine.calls[name]), refuse]
    family = [step for known in _FAMILIES for step in ((_EQUAL, 0, 1, known), let)]
    family = [(_LOAD, 0, 0, _FIRST), *family, refuse]
    kind = [(_LOAD, 0, 0, _SECOND), (_AND, 0, 0, _KIND_OF_SOCKET), (_EQUAL, 0, 1, _STREAM), let, refuse]
    for name, asked in (("socket", family), ("socketpair", kind)):
        steps += [(_EQUAL, 0, len(asked), machine.calls[name]), *asked]
    return [*steps, let]


def _no_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    if libc.prctl(_NO_NEW_PRIVILEGES, one, none, none, none):
        raise OSError(ctypes.get_errno(), "the process cannot be confined")


def confine(*, read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Close all files to this thread and what it starts but those given; return whether the kernel could.

    Parameters
    ----------
    read
        Files, and folders with all that is in them, that may be read and run.
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
    for paths, rights in ((read, _EXECUTE | _READ | _LIST), (write, handled)):
        for path in paths:
            _allow(rules, path, rights & handled)
    _no_new_privileges()
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
    """Return where this Python, its packages and this project's are: not the folder that they are in, nor this one."""
    own = [Path(package.__file__).parent for package in (flows, linkage) if package.__file__ is not None]
    return [*own, *(Path(place) for place in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix))]


def main() -> int:
    """Confine this process, then call ``main`` of the module named."""
    module, scratch, *files = sys.argv[1:]
    sys.path[:] = [str(Path(place).absolute()) for place in sys.path]
    os.chdir(scratch)  # settings that Prefect looks for where it is started are not this process' own
    lacks = lacking()
    confine(read=[*_programs(), *map(Path, _SYSTEM), *map(Path, files)], write=[Path.cwd(), Path(os.devnull)])
    close_calls()
    if lacks:
        sys.stderr.write(
            f"linkage: warning: this system has no {' and no '.join(lacks)}: "
            "the process that speaks to the cluster can reach what its account can\n"
        )
    code: int = importlib.import_module(module).main()
    return code


if __name__ == "__main__":
    sys.exit(main())
