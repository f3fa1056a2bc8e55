"""How functions of the simulator are compiled: the one place that decides.

With the JIT on, a `@rule` is compiled by Numba for the CPU and kept in the compile cache. With `NUMBA_DISABLE_JIT=1`
the very same functions run as plain Python, which is the reference in tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from metta.grid.cache import use_compile_cache

F = TypeVar("F", bound=Callable[..., Any])

JIT_ENABLED: bool = not numba.config.DISABLE_JIT

use_compile_cache()


def rule(function: F) -> F:
    """Compile a scalar function of one world, called by other rules. It allocates nothing (no `np.empty`)."""
    compiled: F = numba.njit(
        nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
    )(function)
    return compiled


def kernel(function: F) -> F:
    """Compile a function that is called from Python and keep it in the compile cache. It allocates nothing."""
    compiled: F = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled


def builder(function: F) -> F:
    """Compile a function that may allocate arrays, as map builders do; it runs on the CPU alone."""
    compiled: F = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


if JIT_ENABLED:
    from numba.cpython.unsafe.numbers import trailing_zeros
else:

    def trailing_zeros(bits: int) -> int:
        """Return the number of the lowest bit that is set; `bits` is not 0."""
        return (bits & -bits).bit_length() - 1
