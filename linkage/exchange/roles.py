"""One process, one holding: whoever holds two of linkage key, encodings and facts can put names to what others sent.

A process takes up what it holds before it first reads it: :class:`linkage.exchange.keys.LinkageKey` however it is
made, :func:`linkage.exchange.batch.open_encodings` and :func:`linkage.exchange.batch.open_facts` say so themselves.
From then on the other two are refused until the process ends, and nothing in the package takes that back: Python
cannot wipe memory, so what was read is there until then. A process that is forked off has the memory of the one that
forked it, and is bound like it; one that is begun anew is not, which is how :mod:`flows.monthly` runs hub and analysis.

An agency's own names, encodings and facts are not meant: they are never opened from a batch, and who seals them has
the linkage key and nobody else's data.

What this does not do: it keeps a mistake, a script or a flow from bringing two holdings together, not the owner of an
account who means to. That is what keys and accounts are for.
"""

from __future__ import annotations

import threading
from enum import Enum

from linkage.errors import NotPermittedError

__all__ = ["Holding", "take_up"]


class Holding(Enum):
    """What a process may hold one of."""

    LINKAGE_KEY = "the linkage key"
    ENCODINGS = "encodings"
    FACTS = "facts"


_lock = threading.Lock()
_taken: set[Holding] = set()


def take_up(holding: Holding) -> None:
    """Say that this process is about to hold something; call it before anything of it is read.

    Raises
    ------
    NotPermittedError
        ``two-roles`` if the process holds another thing already.
    """
    with _lock:
        held = _conflicting(holding)
        if held is not None:
            raise NotPermittedError(
                f"this process holds {held.value} and so must not hold {holding.value}",
                reason="two-roles",
                hint="run each role in a process of its own, under a key and at best an account and a host of its own",
            )
        _taken.add(holding)


def _conflicting(holding: Holding) -> Holding | None:
    return next((held for held in _taken if held is not holding), None)
