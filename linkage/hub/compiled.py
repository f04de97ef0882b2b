"""What keeps numba's cache right where compiled code lies in several files.

numba throws a cached function away when the file that holds it changes, and does not know of functions of other files
that were compiled into it. But the values that a function closes over are part of what it is found by (numba's
``Cache._index_key``). So a cached function that takes in others closes over the digest of their files::

    def _with(code: int) -> Any:
        @njit(cache=True)
        def search(words):
            _ = code
            return _search(words)

        return search

    search = _with(digest(tiles, locality))
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

__all__ = ["digest"]


def digest(*modules: ModuleType) -> int:
    """Return a number that is another one as soon as the file of any of the modules is."""
    state = hashlib.sha256()
    for file in sorted(Path(str(module.__file__)) for module in modules):
        state.update(hashlib.sha256(file.read_bytes()).digest())
    return int.from_bytes(state.digest()[:7], "big")
