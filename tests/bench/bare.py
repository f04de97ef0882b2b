"""The bare loop: AND and count bits over tiles, nothing else. It is what the processor allows an all-pairs pass.

tiles = lay(right)                    # once, not timed
bare(left, tiles)                     # compiles
start = time.process_time()
bare(left, tiles)
rate = len(left) * len(right) / (time.process_time() - start)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

TILE, LEFT, LANES = 32, 4, 8


def lay(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Lay rows side by side, word by word: uint64 (rows / 32, width, 32). Last rows that fill no tile are left out."""
    whole = len(words) // TILE
    return np.ascontiguousarray(words[: whole * TILE].reshape(whole, TILE, -1).transpose(0, 2, 1))


@intrinsic
def _count_common(typingctx: Any, left: Any, row: Any, tiles: Any, tile: Any, width: Any, out: Any) -> Any:
    """Count the bits that LEFT rows have in common with each of a tile's, into ``out`` int64 (LEFT, TILE)."""
    vector = ir.VectorType(ir.IntType(64), LANES)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(place: int) -> Any:
            return context.make_array(signature.args[place])(context, builder, arguments[place]).data

        def number(value: int) -> Any:
            return ir.Constant(ir.IntType(64), value)

        def vector_at(base: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(base, [place]), vector.as_pointer())

        ours, theirs, result = pointer(0), pointer(2), pointer(5)
        row, tile, width = arguments[1], arguments[3], arguments[4]
        count = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{LANES}i64"
        )
        zero, none = ir.Constant(vector, None), ir.Constant(vector, ir.Undefined)
        same = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(TILE // LANES)] for _ in range(LEFT)]
        with cgutils.for_range(builder, width) as loop:
            place = builder.mul(builder.add(builder.mul(tile, width), loop.index), number(TILE))
            right = [
                builder.load(vector_at(theirs, builder.add(place, number(v * LANES))), align=8)
                for v in range(TILE // LANES)
            ]
            for k in range(LEFT):
                at = builder.add(builder.mul(builder.add(row, number(k)), width), loop.index)
                word = builder.insert_element(
                    none, builder.load(builder.gep(ours, [at])), ir.Constant(ir.IntType(32), 0)
                )
                word = builder.shuffle_vector(word, none, same)
                for v in range(TILE // LANES):
                    bits = builder.call(count, [builder.and_(word, right[v])])
                    builder.store(builder.add(builder.load(sums[k][v]), bits), sums[k][v])
        for k in range(LEFT):
            for v in range(TILE // LANES):
                builder.store(builder.load(sums[k][v]), vector_at(result, number(k * TILE + v * LANES)), align=8)
        return context.get_dummy_value()

    return types.void(left, types.intp, tiles, types.intp, types.intp, out), codegen


@njit(nogil=True)
def bare(left, tiles):
    """Count the common bits of all pairs, one thread; return the sum of one count in 128, as proof of work.

    Parameters
    ----------
    left : uint64 (rows, width), rows a multiple of 4
    tiles : uint64 (tiles, width, 32), from :func:`lay`
    """
    out = np.zeros((LEFT, TILE), np.int64)
    total = np.int64(0)
    for tile in range(tiles.shape[0]):
        for row in range(0, left.shape[0] - LEFT + 1, LEFT):
            _count_common(left, row, tiles, tile, tiles.shape[1], out)
            total += out[0, 0]
    return total
