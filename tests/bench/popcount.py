"""How fast this processor can AND two filters and count the bits at all: the loop that any comparison has inside."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_WORDS = 16
_BLOCK = 128
"""Right sides at a time: their words, side by side, stay in the first-level cache for the rows that follow."""


@intrinsic
def _popcount(typingctx: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), codegen


@njit
def _all_pairs(left, right, out):  # type: ignore[no-untyped-def]
    """AND and count every row of ``left`` with every column of ``right``; ``out`` keeps the largest of each column."""
    for start in range(0, right.shape[1], _BLOCK):
        end = min(start + _BLOCK, right.shape[1])
        for i in range(left.shape[0]):
            for j in range(start, end):
                total = np.uint64(0)
                for word in range(_WORDS):
                    total += _popcount(left[i, word] & right[word, j])  # type: ignore[call-arg]
                out[j] = max(out[j], total)


def bare_rate(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> dict[str, Any]:
    """Compare all pairs of two sets of filters, shape (records, words); return the pairs per CPU-second.

    ``vpopcntq`` says whether the compiler found the vector instruction.
    """
    turned = np.ascontiguousarray(right.T)
    out = np.zeros(len(right), np.uint64)
    _all_pairs(left[:2], turned, out)
    started = time.process_time()
    _all_pairs(left, turned, out)
    seconds = time.process_time() - started
    vector = any("vpopcntq" in text for text in _all_pairs.inspect_asm().values())
    return {"bare_rate": len(left) * len(right) / seconds, "vpopcntq": vector}
