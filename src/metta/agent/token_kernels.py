"""The loops of `token_rows` on a CPU: decode tokens, sum rows, scatter gradients. Numba alone, no torch.

Each is a loop over a range of samples that gives up Python's lock, so threads can take a range each. The two inner
loops, over the width of a row, keep 64 columns in registers while they pass over a sample's tokens; written with
indices, numba stores and loads the sums at every token and checks for overlapping arrays: 7.9 against 3.6 ns a token at
H = 64. The plain version is in tests/agent/test_token_encoder.py.

N samples, K tokens a sample, H width of the table, R its rows.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

# Where the row of a token depends on more than its feature and value.
WHERE_GLOBAL = 0  # nowhere: the token describes the whole world or the agent, and always sits at the window's centre
WHERE_PLACE = 1  # on the place
WHERE_ORDER = 2  # on how many tokens of this feature came before (visitation counts: here, up, down, left, right)

ORDER_LIMIT = 5  # tokens of an ordered feature after these are dropped
ALWAYS = 0  # the row that every sample gets once: the bias
AMOUNT_BITS = 9  # of a code, the lowest: they number an entry of AMOUNTS; the row is above them
DROP = -(2**30)  # in a table of codes or places: no row; stays negative whatever is added
EMPTY = 255  # place byte of an empty token; nothing follows it

# What a row is multiplied by: for a byte v, log2(1 + v) at v, and at 256 + v the same for v as a signed byte, with its
# sign. Of a category the amount is 1, which stands at 1.
_SIGNED = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64)
AMOUNTS = np.concatenate([np.log2(1 + np.arange(256.0)), np.sign(_SIGNED) * np.log2(1 + np.abs(_SIGNED))]).astype(
    np.float32
)

_LANES = 16  # floats of a vector; where the machine's are narrower the compiler splits them
_VECTORS = 4  # vectors of a block
AHEAD = 2  # samples: their tokens are asked for while this one's rows are added; where memory is cold, 200 to 140 ns


# "contract" lets a product and a sum become one instruction; nothing is reordered, so results are reproducible.
_kernel: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(
    cache=True, nogil=True, fastmath={"contract"}, error_model="numpy"
)


# ------------------------------------------------------------------------------------------ blocks of 64 columns


class _Block:
    """Emits what both blocks share: the column's vectors in a row, and a sample's tokens one after the other."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        arrays = [
            context.make_array(t)(context, builder, a) for t, a in zip(signature.args[:4], arguments, strict=False)
        ]
        self.builder, (self.matrix, self.codes, self.amounts, self.vectors) = builder, arrays
        self.at, self.count, self.out_row, self.column = arguments[4:]
        self.vector = ir.VectorType(ir.FloatType(), _LANES)

    def pointer(self, matrix: Any, row: Any) -> Any:
        """Return the address of the block's columns in a row of a C-ordered float32 matrix, as vectors."""
        b = self.builder
        offset = b.add(b.mul(row, b.extract_value(matrix.shape, 1)), self.column)
        return b.bitcast(b.gep(matrix.data, [offset]), self.vector.as_pointer())

    def load(self, pointer: Any, i: int) -> Any:
        return self.builder.load(self.builder.gep(pointer, [ir.Constant(ir.IntType(64), i)]), align=4)

    def store(self, value: Any, pointer: Any, i: int) -> None:
        self.builder.store(value, self.builder.gep(pointer, [ir.Constant(ir.IntType(64), i)]), align=4)

    def token(self, k: Any) -> tuple[Any, Any]:
        """Return row (int64) and amount (a vector of it) of the sample's k-th token."""
        b, long = self.builder, ir.IntType(64)
        index = b.add(b.mul(self.at, b.extract_value(self.codes.shape, 1)), k)
        code = b.zext(b.load(b.gep(self.codes.data, [index])), long)
        row = b.lshr(code, ir.Constant(long, AMOUNT_BITS))
        entry = b.and_(code, ir.Constant(long, 2**AMOUNT_BITS - 1))
        undefined = ir.Constant(self.vector, ir.Undefined)
        amount = b.load(b.gep(self.amounts.data, [entry]))
        first = b.insert_element(undefined, amount, ir.Constant(ir.IntType(32), 0))
        return row, b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


@intrinsic
def _sum_block(typing_context, table, codes, amounts, out, at, count, out_row, column):
    """out[out_row, column:column+64] = sum over k < count of amount * table[row, same columns] of codes[at, k]."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _Block(context, builder, signature, arguments)
        zero = ir.Constant(block.vector, None)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(_VECTORS)]  # these become registers
        for total in sums:
            builder.store(zero, total)
        with cgutils.for_range(builder, block.count) as loop:
            row, amount = block.token(loop.index)
            source = block.pointer(block.matrix, row)
            for i, total in enumerate(sums):
                builder.store(block.multiply_add(amount, block.load(source, i), builder.load(total)), total)
        target = block.pointer(block.vectors, block.out_row)
        for i, total in enumerate(sums):
            block.store(builder.load(total), target, i)
        return context.get_dummy_value()

    return types.void(table, codes, amounts, out, types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def _scatter_block(typing_context, grad, codes, amounts, given, at, count, given_row, column):
    """grad[row, column:column+64] += amount * given[given_row, same columns], for codes[at, k], k < count, in order."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _Block(context, builder, signature, arguments)
        source = block.pointer(block.vectors, block.out_row)
        values = [block.load(source, i) for i in range(_VECTORS)]
        with cgutils.for_range(builder, block.count) as loop:
            row, amount = block.token(loop.index)
            target = block.pointer(block.matrix, row)
            for i, value in enumerate(values):
                block.store(block.multiply_add(amount, value, block.load(target, i)), target, i)
        return context.get_dummy_value()

    return types.void(grad, codes, amounts, given, types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def _prefetch(typing_context, matrix, row, column):
    """Ask for the cache line that holds this element of a C-ordered matrix."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        index = builder.add(builder.mul(arguments[1], builder.extract_value(array.shape, 1)), arguments[2])
        word, address = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [address, word, word, word]), "llvm.prefetch.p0"
        )
        read, keep, data = (ir.Constant(word, number) for number in (0, 3, 1))
        builder.call(function, [builder.bitcast(builder.gep(array.data, [index]), address), read, keep, data])
        return context.get_dummy_value()

    return types.void(matrix, types.int64, types.int64), emit


# --------------------------------------------------------------------------------------------- loops over samples


@numba.njit(inline="always")
def _prefetch_sample(codes, counts, samples, n):
    """Ask for the tokens of the n-th sample; samples lie far apart, so the processor does not foresee where."""
    at = samples[n]
    for k in range(0, counts[at], _LANES):
        _prefetch(codes, at, k)


@_kernel
def decode_range(tokens, code_lut, place_lut, where_lut, codes, counts, samples, start, stop):
    """Decode tokens [N, K, 3] from sample `start` up to `stop`; sample n is stored at samples[n]."""
    num_tokens = tokens.shape[1]
    for n in range(start, stop):
        at = np.uint64(samples[n])
        codes[at, 0] = (ALWAYS << AMOUNT_BITS) + 1
        count = np.uint64(1)
        order = 0
        for k in range(num_tokens):
            place, feature, value = tokens[n, k, 0], tokens[n, k, 1], tokens[n, k, 2]
            if place == EMPTY:
                break
            where = where_lut[feature]
            if where == WHERE_ORDER:
                code = code_lut[feature, value] + (order << AMOUNT_BITS) if order < ORDER_LIMIT else DROP
                order += 1
            else:
                code = code_lut[feature, value] + place_lut[where, place]
            codes[at, count] = code  # overwritten by the next if it is dropped: a branch here is often mispredicted
            count += np.uint64(code >= 0)
        counts[at] = count


@_kernel
def sum_range(table, codes, counts, samples, amounts, relu, out, start, stop):
    """Sum rows for samples start..stop into out [N, H]; negative sums become 0 where `relu`."""
    width = table.shape[1]
    blocks = width // (_LANES * _VECTORS) * (_LANES * _VECTORS)
    for n in range(start, stop):
        if n + AHEAD < stop:
            _prefetch_sample(codes, counts, samples, n + AHEAD)
        at, count = samples[n], counts[samples[n]]
        for column in range(0, blocks, _LANES * _VECTORS):
            _sum_block(table, codes, amounts, out, at, count, n, column)
        for h in range(blocks, width):
            out[n, h] = np.float32(0.0)
        if blocks < width:
            for k in range(count):
                row, amount = codes[at, k] >> AMOUNT_BITS, amounts[codes[at, k] & (2**AMOUNT_BITS - 1)]
                for h in range(blocks, width):
                    out[n, h] += amount * table[row, h]
        if relu:
            for h in range(width):
                out[n, h] = max(out[n, h], np.float32(0.0))


@_kernel
def scatter_range(grad_out, out, relu, codes, counts, samples, amounts, grad, start, stop):
    """Add amount times grad_out [N, H] to the rows of grad [R, H], for samples start..stop in order.

    Where `relu`, nothing passes where `out` [N, H], the sums, is 0.
    """
    width = grad.shape[1]
    blocks = width // (_LANES * _VECTORS) * (_LANES * _VECTORS)
    given = np.empty((1, width), np.float32)
    for n in range(start, stop):
        if n + AHEAD < stop:
            _prefetch_sample(codes, counts, samples, n + AHEAD)
        at, count = samples[n], counts[samples[n]]
        for h in range(width):
            given[0, h] = grad_out[n, h] if not relu or out[n, h] > 0 else np.float32(0.0)
        for column in range(0, blocks, _LANES * _VECTORS):
            _scatter_block(grad, codes, amounts, given, at, count, 0, column)
        if blocks < width:
            for k in range(count):
                row, amount = codes[at, k] >> AMOUNT_BITS, amounts[codes[at, k] & (2**AMOUNT_BITS - 1)]
                for h in range(blocks, width):
                    grad[row, h] += amount * given[0, h]
