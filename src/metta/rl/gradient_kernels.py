"""Loops over parameters and gradients on a CPU: the size of a gradient, and Adam's step, for all of them in one call.

A call for each of them would take longer than the work, as between minibatches nothing of it is in the cache; so
kernels get addresses. P parameters, of E elements each; passes go over blocks of B = 64, a row of the default table.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from metta.agent.kernels.jit import inlined, kernel

B = 64


def _array_from(kind: Any) -> Any:
    """Return an intrinsic that takes an address and a size for an array of numbers of `kind`, 4 bytes each."""

    @intrinsic
    def array(typing_context, address, size):
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            made = make_array(signature.return_type)(context, builder)
            four = context.get_constant(types.intp, 4)
            data = builder.inttoptr(arguments[0], made.data.type)
            populate_array(made, data=data, shape=[arguments[1]], strides=[four], itemsize=four, meminfo=None)
            return made._getvalue()

        return types.Array(kind, 1, "C")(types.int64, types.int64), emit

    return array


_floats, _words = _array_from(types.float32), _array_from(types.int32)


@inlined
def _sum_of_squares(values, room):
    """Return the sum of the squares of values [E], added up in float64 by blocks; `room` is float32 [B]."""
    total = 0.0
    whole = len(values) // B * B
    for first in range(0, whole, B * B):
        for j in range(B):
            room[j] = np.float32(0.0)
        for start in range(first, min(first + B * B, whole), B):
            block = values[start : start + B]
            for j in range(B):
                room[j] += block[j] * block[j]
        for j in range(B):
            total += np.float64(room[j])
    for i in range(whole, len(values)):
        total += np.float64(values[i]) * np.float64(values[i])
    return total


@kernel
def clip(addresses, sizes, max_norm, room):
    """Scale P arrays so that together their norm is at most `max_norm`; return the norm that they had.

    `addresses` and `sizes` are int64 [P], `room` is float32 [B].
    """
    total = 0.0
    for p in range(len(sizes)):
        total += _sum_of_squares(_floats(addresses[p], sizes[p]), room)
    norm = math.sqrt(total)
    factor = np.float32(max_norm / (norm + 1e-6))  # as torch does
    if not factor >= np.float32(1.0):  # also where it is no number
        for p in range(len(sizes)):
            values = _floats(addresses[p], sizes[p])
            for i in range(len(values)):
                values[i] *= factor
    return norm


@kernel
def adam_steps(addresses, sizes, rate, beta1, beta2, eps, decay, is_decoupled):
    """Take a step of Adam or, where weight decay `is_decoupled`, of AdamW, with each of P parameters.

    `addresses` int64 [P, 5] are those of weights, gradients, means, squares, and the number of steps so far [1], which
    grows; `sizes` int64 [P]. All of them are float32. A block whose gradient and moments are all zero stays as it is,
    which is what the formula says without weight decay; rows of the table that never occur are most of it.
    """
    for p in range(len(sizes)):
        size = sizes[p]
        steps = _floats(addresses[p, 4], 1)
        steps[0] += np.float32(1.0)
        step = np.float64(steps[0])
        weights, grads = _floats(addresses[p, 0], size), _floats(addresses[p, 1], size)
        means, squares = _floats(addresses[p, 2], size), _floats(addresses[p, 3], size)
        grad_words, mean_words = _words(addresses[p, 1], size), _words(addresses[p, 2], size)
        square_words = _words(addresses[p, 3], size)
        # Kingma and Ba 2015, algorithm 1, and Loshchilov and Hutter 2019, algorithm 2, in the order of torch's
        step_size = np.float32(rate / (1.0 - beta1**step))
        root = np.float32(1.0 / math.sqrt(1.0 - beta2**step))
        shrink = np.float32(1.0 - rate * decay) if is_decoupled else np.float32(1.0)
        added = np.float32(0.0) if is_decoupled else np.float32(decay)
        new_mean, keep, new_square = np.float32(1.0 - beta1), np.float32(beta2), np.float32(1.0 - beta2)
        small = np.float32(eps)
        for first in range(0, size, B):
            # parts of arrays, so that indices begin at 0: numba allows for indices from the end elsewhere, singly
            w, g, m, s = weights[first:], grads[first:], means[first:], squares[first:]
            in_g, in_m, in_s = grad_words[first:], mean_words[first:], square_words[first:]
            stop = min(B, len(w))
            bits = np.int32(0)
            for i in range(stop):
                bits |= in_g[i] | in_m[i] | in_s[i]
            if bits == 0 and decay == 0.0:
                continue
            for i in range(stop):
                weight = w[i] * shrink
                grad = g[i] + added * weight
                m[i] += new_mean * (grad - m[i])
                s[i] = keep * s[i] + new_square * grad * grad
                w[i] = weight - step_size * m[i] / (np.sqrt(s[i]) * root + small)
