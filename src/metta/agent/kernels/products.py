"""Products of small float32 matrices on one core: `add_product`, the inner loop of every dense layer.

A tile of the result (6 rows of 64 columns) stays in registers while it passes over the depth. Written with indices,
numba loads and stores the sums at every step; BLAS libraries take narrower vectors than some machines have: at 64 x 64
weights 225 against 90 GFLOP/s. The plain version is in tests/agent/test_dense.py.

Every element of the result is one chain of multiply-adds in the order of the depth, whatever tile it falls into: a
row's bits do not depend on the rows beside it.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from metta.agent.kernels.jit import kernel

LANES = 16  # floats of a vector; where the machine's are narrower the compiler splits them
PANEL = 64  # columns of a wide tile: four vectors
ROWS = 6  # of a tile: 24 vectors of sums, of the 32 that AVX-512 has
DEPTH = 128  # of a block: 128 rows of a panel take 32 KiB, most of a first-level cache

_byte, _float = ir.IntType(8), ir.FloatType()
_vector = ir.VectorType(_float, LANES)


def _int64(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def _tile(rows: int, vectors: int) -> Any:
    """Return an intrinsic that adds a product to a tile of `rows` rows and `vectors` vectors of columns."""

    @intrinsic
    def tile(typing_context, a, b, out, row, column):
        """out[row+r, column+c] += sum over k of a[row+r, k] * b[k, column+c]; `a` [., K] of any strides, b [K, .]."""

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            left, right, result = (
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
            )
            row, column = arguments[3:]
            emitter = _Emitter(builder)
            targets = [emitter.pointer(result, emitter.plus(row, r), column) for r in range(rows)]
            lefts = [emitter.pointer(left, emitter.plus(row, r), _int64(0)) for r in range(rows)]
            right_start = emitter.pointer(right, _int64(0), column)
            # allocated, loaded and stored at each step in this text; the compiler turns them into registers
            sums = [[cgutils.alloca_once(builder, _vector) for _ in range(vectors)] for _ in range(rows)]
            for r in range(rows):
                for v in range(vectors):
                    builder.store(emitter.load(targets[r], v), sums[r][v])
            with cgutils.for_range(builder, builder.extract_value(right.shape, 0)) as loop:
                along_left = builder.mul(loop.index, builder.extract_value(left.strides, 1))
                along_right = builder.mul(loop.index, builder.extract_value(right.strides, 0))
                columns = [emitter.load(builder.gep(right_start, [along_right]), v) for v in range(vectors)]
                for r in range(rows):
                    factor = emitter.broadcast(builder.gep(lefts[r], [along_left]))
                    for v in range(vectors):
                        builder.store(emitter.multiply_add(factor, columns[v], builder.load(sums[r][v])), sums[r][v])
            for r in range(rows):
                for v in range(vectors):
                    emitter.store(builder.load(sums[r][v]), targets[r], v)
            return context.get_dummy_value()

        return types.void(a, b, out, types.int64, types.int64), emit

    return tile


class _Emitter:
    """Emits loads, stores and arithmetic of vectors; pointers are addresses of bytes."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def plus(self, value: Any, constant: int) -> Any:
        return self.builder.add(value, _int64(constant))

    def pointer(self, array: Any, row: Any, column: Any) -> Any:
        b = self.builder
        offset = b.add(b.mul(row, b.extract_value(array.strides, 0)), b.mul(column, b.extract_value(array.strides, 1)))
        return b.gep(b.bitcast(array.data, _byte.as_pointer()), [offset])

    def load(self, pointer: Any, i: int) -> Any:
        return self.builder.load(self._vector_at(pointer, i), align=4)

    def store(self, value: Any, pointer: Any, i: int) -> None:
        self.builder.store(value, self._vector_at(pointer, i), align=4)

    def _vector_at(self, pointer: Any, i: int) -> Any:
        return self.builder.bitcast(self.builder.gep(pointer, [_int64(i * LANES * 4)]), _vector.as_pointer())

    def broadcast(self, pointer: Any) -> Any:
        b, undefined = self.builder, ir.Constant(_vector, ir.Undefined)
        value = b.load(b.bitcast(pointer, _float.as_pointer()))
        first = b.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


_wide, _wide_two, _wide_one = _tile(ROWS, 4), _tile(2, 4), _tile(1, 4)
_narrow, _narrow_two, _narrow_one = _tile(ROWS, 1), _tile(2, 1), _tile(1, 1)


@kernel
def add_product(a, b, out):
    """Add a [N, K] times b [K, W] to out [N, W]; W a multiple of 16, `a` of any strides, rows of b and out dense."""
    num_rows, width = out.shape
    wide = width // PANEL * PANEL
    tiled = num_rows // ROWS * ROWS  # of the rows that are left, two at once take little longer than one
    paired = tiled + (num_rows - tiled) // 2 * 2
    for start in range(0, b.shape[0], DEPTH):
        left, right = a[:, start : start + DEPTH], b[start : start + DEPTH]
        for column in range(0, wide, PANEL):
            for row in range(0, tiled, ROWS):
                _wide(left, right, out, row, column)
            for row in range(tiled, paired, 2):
                _wide_two(left, right, out, row, column)
            if paired < num_rows:
                _wide_one(left, right, out, paired, column)
        for column in range(wide, width, LANES):
            for row in range(0, tiled, ROWS):
                _narrow(left, right, out, row, column)
            for row in range(tiled, paired, 2):
                _narrow_two(left, right, out, row, column)
            if paired < num_rows:
                _narrow_one(left, right, out, paired, column)
