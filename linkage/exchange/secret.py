"""What every key of the package has in common."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import NoReturn

__all__ = ["Secret", "keep_out_of_dumps"]

_PR_SET_DUMPABLE = 4


class Secret:
    """What holds a secret shows none and is never pickled."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are not pickled: name the key file instead")


def keep_out_of_dumps() -> None:
    """See to it that this process's memory reaches no core file, as far as the system lets a process say so.

    On Linux nobody but root can attach to the process then, either. Swap is the system's: switch it off, or encrypt it.
    """
    if sys.platform == "win32":
        return
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
