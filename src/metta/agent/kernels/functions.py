"""Exponential functions of float32, written so that loops over them become vector instructions.

The compiler has no vectors of the C library's; a loop over that takes 5 to 10 times as long. Errors are below 2e-7 of
the value (tests/agent/test_kernel_functions.py measures them).
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, call-arg, import-untyped, unreachable"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from metta.agent.kernels.jit import inlined

LOWEST, HIGHEST = np.float32(-87.3), np.float32(88.3)  # beyond them exp is 0, or no float32


@intrinsic
def _float_of_bits(typing_context, bits):
    """The float32 that has these 32 bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), emit


@inlined
def exp(x):
    """e^x; exactly 0 below -87.3, the largest finite value's order above 88.3, NaN for NaN."""
    # Cephes expf (S. Moshier, https://www.netlib.org/cephes/): x = n ln 2 + r with |r| <= ln 2 / 2, the polynomial of r
    inside = min(max(x, LOWEST), HIGHEST)
    n = np.floor(inside * np.float32(1.44269504) + np.float32(0.5))
    r = inside - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    r = x if np.isnan(x) else r
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    power: Any = _float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))
    return np.float32(0.0) if x < LOWEST else (p * r * r + r + np.float32(1.0)) * power


@inlined
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return np.float32(1.0) / (np.float32(1.0) + exp(-x))


@inlined
def tanh(x):
    """The hyperbolic tangent."""
    # Cephes tanhf (https://www.netlib.org/cephes/): an odd polynomial near 0, where the quotient would cancel
    z = x * x
    p = np.float32(-5.70498872745e-3)
    p = p * z + np.float32(2.06390887954e-2)
    p = p * z - np.float32(5.37397155531e-2)
    p = p * z + np.float32(1.33314422036e-1)
    p = p * z - np.float32(3.33332819422e-1)
    near = p * z * x + x
    size = abs(x)
    far = np.float32(1.0) - np.float32(2.0) / (exp(size + size) + np.float32(1.0))
    far = -far if x < np.float32(0.0) else far
    return near if size < np.float32(0.625) else far
