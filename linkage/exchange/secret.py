"""What every key of the package has in common."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Secret"]


class Secret:
    """What holds a secret shows none and is never pickled."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are not pickled: name the key file instead")
