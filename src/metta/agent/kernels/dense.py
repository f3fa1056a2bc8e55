"""Dense layers on a CPU, forward and backward, in blocks that stay in the cache.

N rows, I inputs (a multiple of 16), O outputs; P is O rounded up to a multiple of 16. What stands in columns from O on
is undefined in results and zero in weights.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped"

from __future__ import annotations

import numpy as np

from metta.agent.kernels.jit import kernel
from metta.agent.kernels.products import add_product

BLOCK = 96  # rows: a block of 64 columns takes 24 KiB, half of a first-level cache


@kernel
def pack(weight, bias, first, columns):
    """Write weight [O, I] as columns first.. of `columns` [I + 1, P], and bias [O] into the last row of them."""
    outputs, inputs = weight.shape
    for o in range(outputs):
        for i in range(inputs):
            columns[i, first + o] = weight[o, i]
        columns[inputs, first + o] = bias[o]


@kernel
def dense_forward(x, columns, relu, out, start, stop):
    """out [N, P] = x [N, I] times columns [:I, P] plus their last row, for rows start..stop; `relu`: at least 0."""
    inputs, width = x.shape[1], out.shape[1]
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        for n in range(first, last):
            for p in range(width):
                out[n, p] = columns[inputs, p]
        add_product(x[first:last], columns[:inputs], out[first:last])
        if relu:
            for n in range(first, last):
                for p in range(width):
                    out[n, p] = max(out[n, p], np.float32(0.0))


@kernel
def dense_backward(given, out, relu, x, weight, grad_x, grad_weight, grad_bias, passed, start, stop):
    """Turn the gradient `given` [N, O] of a layer's output into those of its input, weight [O, I] and bias [O].

    Rows start..stop: `grad_x` [N, I] is written, the other two are added to. Where `relu`, nothing passes where `out`
    [N, P] is 0. `passed` is room for [BLOCK, O].
    """
    outputs = weight.shape[0]
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        block = passed[: last - first]
        for n in range(first, last):
            for o in range(outputs):
                block[n - first, o] = given[n, o] if not relu or out[n, o] > 0 else np.float32(0.0)
            for o in range(outputs):
                grad_bias[o] += block[n - first, o]
            for i in range(weight.shape[1]):
                grad_x[n, i] = np.float32(0.0)
        add_product(block, weight, grad_x[first:last])
        add_product(block.T, x[first:last], grad_weight)
