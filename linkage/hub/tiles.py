"""Steps of the all-pairs passes that are written in LLVM's own vectors.

``TILE`` right-hand records lie word by word side by side, so that a vector register holds the same word of eight of
them, and each register is used for ``LEFT`` left-hand rows at once. The vectors are spelt out, because LLVM's loop
vectoriser neither keeps the sums in registers nor goes beyond 256 bits by itself. A processor with AVX-512 VPOPCNTDQ
gets ``vpopcntq`` on its longest registers; for any other LLVM cuts the vectors and counts bits by what there is.

What these are compiled into is compiled anew when this file changes: see :mod:`linkage.hub.compiled`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "COARSE", "GROUP", "LEFT", "TILE", "fetch", "first_bit", "hopeful", "near_sketches", "popcount", "reach",
    "tile_distances",
]  # fmt: skip

TILE = 32
"""Right-hand records of a tile: four vectors of eight words."""
LEFT = 4
"""Left-hand rows at a time: 4 x 4 sums fill half of the 32 vector registers."""
GROUP = 16
"""Left-hand rows whose bounds are known before the first is looked at: a branch on a sum that is still being reckoned
would be guessed wrong too late."""
COARSE = 8
"""Levels that are counted by the tile; the few pairs that reach the last of them are looked up one by one."""
_LANES = 8

_WORD, _SINGLE, _INDEX = ir.IntType(64), ir.FloatType(), ir.IntType(64)


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """Return the pointer to an array's first element; the intrinsics below count from it in whole rows."""
    return context.make_array(array_type)(context, builder, array).data


def _shape(context: Any, builder: Any, array_type: Any, array: Any) -> list[Any]:
    """Return an array's lengths."""
    shape: list[Any] = cgutils.unpack_tuple(  # type: ignore[no-untyped-call]
        builder, context.make_array(array_type)(context, builder, array).shape
    )
    return shape


def _zeros(builder: Any, vector: Any, number: int) -> list[Any]:
    """Return places for vectors, which LLVM turns into registers, with zeros in them."""
    zero = ir.Constant(vector, None)
    return [cgutils.alloca_once_value(builder, zero) for _ in range(number)]  # type: ignore[no-untyped-call]


def _vector_at(builder: Any, pointer: Any, place: Any, element: Any, length: int) -> Any:
    """Load neighbouring elements as one vector."""
    vector = ir.VectorType(element, length)
    address = builder.bitcast(builder.gep(pointer, [place]), vector.as_pointer())
    return builder.load(address, align=4)


def _repeat(builder: Any, value: Any, length: int) -> Any:
    """Return a vector that holds a value in every lane."""
    none = ir.Constant(ir.VectorType(value.type, length), ir.Undefined)
    first = builder.insert_element(none, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(ir.IntType(32), length), [0] * length))


def _index(value: int) -> Any:
    return ir.Constant(_INDEX, value)


@intrinsic
def popcount(typingctx: Any, word: Any) -> Any:
    """Count the set bits of a word; LLVM makes vector instructions of a loop of these where the processor has them."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def tile_distances(typingctx: Any, words: Any, start: Any, end: Any, packed: Any, number: Any, r: Any, out: Any) -> Any:
    """Compare rows ``start`` to ``start + LEFT`` (or the last before ``end``) with a tile in one filter.

    ``words`` uint64 (records, filters * width), ``packed`` uint64 (filters, width, TILE), ``out`` int32 (filters,
    GROUP, TILE), from place ``r`` of the group on.
    """
    vectors = TILE // _LANES
    vector = ir.VectorType(_WORD, _LANES)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right, result = (_data(context, builder, signature.args[k], arguments[k]) for k in (0, 3, 6))
        start, end, number, r = arguments[1], arguments[2], arguments[4], arguments[5]
        stride = _shape(context, builder, signature.args[0], arguments[0])[1]
        width = _shape(context, builder, signature.args[3], arguments[3])[1]
        name = f"llvm.ctpop.v{_LANES}i64"
        kind = ir.FunctionType(vector, [vector])
        count = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
        skipped = builder.mul(number, width)
        firsts = []
        for k in range(LEFT):
            row, last = builder.add(start, _index(k)), builder.sub(end, _index(1))
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            firsts.append(builder.add(builder.mul(row, stride), skipped))
        sums = [_zeros(builder, vector, vectors) for _ in range(LEFT)]
        with cgutils.for_range(builder, width) as loop:
            place = builder.mul(builder.add(skipped, loop.index), _index(TILE))
            theirs = [
                _vector_at(builder, right, builder.add(place, _index(v * _LANES)), _WORD, _LANES)
                for v in range(vectors)
            ]
            for k in range(LEFT):
                word = builder.load(builder.gep(left, [builder.add(firsts[k], loop.index)]))
                ours = _repeat(builder, word, _LANES)
                for v in range(vectors):
                    bits = builder.call(count, [builder.xor(ours, theirs[v])])
                    builder.store(builder.add(builder.load(sums[k][v]), bits), sums[k][v])
        half, whole = (ir.VectorType(ir.IntType(32), length) for length in (_LANES, 2 * _LANES))
        order = ir.Constant(ir.VectorType(ir.IntType(32), 2 * _LANES), list(range(2 * _LANES)))
        first = builder.mul(builder.add(builder.mul(number, _index(GROUP)), r), _index(TILE))
        for k in range(LEFT):
            for v in range(0, vectors, 2):
                # Written in vectors as long as they are read in: the processor need not wait for its own store.
                low, high = (builder.trunc(builder.load(total), half) for total in sums[k][v : v + 2])
                address = builder.gep(result, [builder.add(first, _index(k * TILE + v * _LANES))])
                distances = builder.shuffle_vector(low, high, order)
                builder.store(distances, builder.bitcast(address, whole.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.intp, packed, types.intp, types.intp, out), codegen


@intrinsic
def hopeful(typingctx: Any, distances: Any, shifts: Any, kinds: Any, lines: Any, floor: Any, r: Any, masks: Any) -> Any:
    """Find the pairs whose bound (:class:`Bound`) is at least ``floor``, of LEFT rows of a group from place ``r`` on.

    ``distances`` int32 (filters, GROUP, TILE); ``shifts`` float32 (filters, classes, TILE); ``kinds`` uint8 (GROUP,
    filters), the rows' classes; ``lines`` float32 (filters, 1 + 2 * lines); ``masks`` uint32 (GROUP,), where each row's
    pairs are set down as bits.
    """
    vector = ir.VectorType(_SINGLE, TILE)

    def larger(builder: Any, one: Any, other: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", one, other), one, other)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = [_data(context, builder, signature.args[k], arguments[k]) for k in (0, 1, 2, 3, 6)]
        distances, shifts, kinds, lines, masks = pointers
        filters, classes = _shape(context, builder, signature.args[1], arguments[1])[:2]
        numbers = _shape(context, builder, signature.args[3], arguments[3])[1]
        totals, best, moved = (_zeros(builder, vector, LEFT) for _ in range(3))
        with cgutils.for_range(builder, filters) as loop:
            number = loop.index
            part = builder.mul(number, numbers)
            flat = _repeat(builder, builder.load(builder.gep(lines, [part])), TILE)
            for k in range(LEFT):
                row = builder.add(arguments[5], _index(k))
                kind = builder.load(builder.gep(kinds, [builder.add(builder.mul(row, filters), number)]))
                kind = builder.add(builder.mul(number, classes), builder.zext(kind, _INDEX))
                shift = _vector_at(builder, shifts, builder.mul(kind, _index(TILE)), _SINGLE, TILE)
                place = builder.mul(builder.add(builder.mul(number, _index(GROUP)), row), _index(TILE))
                counted = _vector_at(builder, distances, place, ir.IntType(32), TILE)
                builder.store(builder.fsub(builder.sitofp(counted, vector), shift), moved[k])
                builder.store(flat, best[k])
            with cgutils.for_range_slice(builder, _index(1), numbers, _index(2), _INDEX) as (line, _):
                at = builder.add(part, line)
                height = _repeat(builder, builder.load(builder.gep(lines, [at])), TILE)
                slope = _repeat(builder, builder.load(builder.gep(lines, [builder.add(at, _index(1))])), TILE)
                for k in range(LEFT):
                    fall = builder.fmul(slope, builder.load(moved[k]), flags=("contract",))
                    value = builder.fsub(height, fall, flags=("contract",))
                    builder.store(larger(builder, value, builder.load(best[k])), best[k])
            for k in range(LEFT):
                builder.store(builder.fadd(builder.load(totals[k]), builder.load(best[k])), totals[k])
        least = _repeat(builder, arguments[4], TILE)
        for k in range(LEFT):
            reached = builder.fcmp_ordered(">=", builder.load(totals[k]), least)
            mask = builder.bitcast(reached, ir.IntType(TILE))
            builder.store(mask, builder.gep(masks, [builder.add(arguments[5], _index(k))]))
        return context.get_dummy_value()

    return types.void(distances, shifts, kinds, lines, types.float32, types.intp, masks), codegen


@intrinsic
def reach(
    typingctx: Any, distances: Any, edges: Any, kinds: Any, r: Any, among: Any, reached: Any, row: Any, near: Any
) -> Any:
    """Count the pairs of the row at place ``r`` of a group that lie within each of ``COARSE`` edges.

    ``distances`` and ``kinds`` as above; ``edges`` int32 (filters, classes, COARSE, TILE): greatest distances;
    ``among`` uint32: the pairs to count, as bits. Adds to ``reached[row]``, int32 (rows, filters, COARSE); sets down in
    ``near``, uint32 (filters,), which pairs lie within the last edge.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = [_data(context, builder, signature.args[k], arguments[k]) for k in (0, 1, 2, 5, 7)]
        distances, edges, kinds, reached, near = pointers
        r, among, row = arguments[3], arguments[4], arguments[6]
        filters, classes = _shape(context, builder, signature.args[1], arguments[1])[:2]
        with cgutils.for_range(builder, filters) as loop:
            number = loop.index
            kind = builder.load(builder.gep(kinds, [builder.add(builder.mul(r, filters), number)]))
            kind = builder.add(builder.mul(number, classes), builder.zext(kind, _INDEX))
            place = builder.mul(builder.add(builder.mul(number, _index(GROUP)), r), _index(TILE))
            counted = _vector_at(builder, distances, place, ir.IntType(32), TILE)
            first = builder.mul(builder.add(builder.mul(row, filters), number), _index(COARSE))
            for k in range(COARSE):
                at = builder.mul(builder.add(builder.mul(kind, _index(COARSE)), _index(k)), _index(TILE))
                within = builder.icmp_signed("<=", counted, _vector_at(builder, edges, at, ir.IntType(32), TILE))
                mask = builder.and_(builder.bitcast(within, ir.IntType(TILE)), among)
                total = builder.gep(reached, [builder.add(first, _index(k))])
                builder.store(builder.add(builder.load(total), builder.ctpop(mask)), total)
            builder.store(mask, builder.gep(near, [number]))
        return context.get_dummy_value()

    return types.void(distances, edges, kinds, types.intp, types.uint32, reached, types.intp, near), codegen


@intrinsic
def first_bit(typingctx: Any, mask: Any) -> Any:
    """Return the place of a mask's lowest set bit."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint32(types.uint32), codegen


@intrinsic
def near_sketches(
    typingctx: Any, one: Any, two: Any, three: Any, p: Any, q: Any, count: Any, bound: Any, masks: Any
) -> Any:
    """Find the pairs of sketches of three words that differ in at most ``bound`` bits.

    ``one``, ``two``, ``three`` uint64: the sketches' words. The ``LEFT`` sketches from ``p`` on are compared with
    ``count`` tiles of ``TILE`` from ``q`` on; ``masks`` uint32 (tiles, LEFT): where each one's near ones are set down
    as bits. Returns all masks' bits together.
    """
    vector, mask_type = ir.VectorType(_WORD, _LANES), ir.IntType(32)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = [_data(context, builder, signature.args[k], arguments[k]) for k in range(3)]
        masks = _data(context, builder, signature.args[7], arguments[7])
        p, q, count = arguments[3:6]
        kind = ir.FunctionType(vector, [vector])
        ones = cgutils.get_or_insert_function(builder.module, kind, f"llvm.ctpop.v{_LANES}i64")  # type: ignore[no-untyped-call]
        least = _repeat(builder, arguments[6], _LANES)
        ours = [
            [_repeat(builder, builder.load(builder.gep(part, [builder.add(p, _index(k))])), _LANES) for part in words]
            for k in range(LEFT)
        ]
        every = cgutils.alloca_once_value(builder, ir.Constant(mask_type, 0))  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, count) as loop:
            first = builder.add(q, builder.mul(loop.index, _index(TILE)))
            found: list[list[Any]] = [[] for _ in range(LEFT)]
            for start in range(0, TILE, _LANES):
                place = builder.add(first, _index(start))
                theirs = [_vector_at(builder, part, place, _WORD, _LANES) for part in words]
                for k in range(LEFT):
                    bits = [builder.call(ones, [builder.xor(a, b)]) for a, b in zip(ours[k], theirs, strict=True)]
                    apart = builder.add(builder.add(bits[0], bits[1]), bits[2])
                    found[k].append(builder.icmp_unsigned("<=", apart, least))
            together = builder.load(every)
            for k in range(LEFT):
                parts, length = found[k], _LANES
                while len(parts) > 1:
                    length *= 2
                    order = ir.Constant(ir.VectorType(ir.IntType(32), length), list(range(length)))
                    parts = [builder.shuffle_vector(a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
                mask = builder.bitcast(parts[0], mask_type)
                at = builder.add(builder.mul(loop.index, _index(LEFT)), _index(k))
                builder.store(mask, builder.gep(masks, [at]))
                together = builder.or_(together, mask)
            builder.store(together, every)
        return builder.load(every)

    return types.uint32(one, two, three, types.intp, types.intp, types.intp, types.uint64, masks), codegen


@intrinsic
def fetch(typingctx: Any, words: Any, row: Any) -> Any:
    """Call for the memory of a row of words that will soon be read."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        octet, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [octet, word, word, word])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        pointer = _data(context, builder, signature.args[0], arguments[0])
        width = _shape(context, builder, signature.args[0], arguments[0])[1]
        first = builder.mul(arguments[1], width)
        how = [ir.Constant(word, value) for value in (0, 3, 1)]  # to read, to keep, data
        with cgutils.for_range_slice(builder, _index(0), width, _index(_LANES), _INDEX) as (place, _):
            address = builder.bitcast(builder.gep(pointer, [builder.add(first, place)]), octet)
            builder.call(call, [address, *how])
        return context.get_dummy_value()

    return types.void(words, types.intp), codegen
