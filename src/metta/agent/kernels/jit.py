"""How kernels are compiled: the one place that decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from metta.grid.cache import compile_cache

Function = Callable[..., Any]

# "contract" lets a product and a sum become one instruction; nothing is reordered, so results are reproducible. Without
# numba's runtime, kernels allocate nothing (the caller gives them room) and count no references to parts of arrays.
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "_nrt": False}


def kernel(function: Function) -> Function:
    """Compile a function that Python or other kernels call, and keep its machine code until a source here changes."""
    with compile_cache(Path(__file__).parent):
        compiled: Function = numba.njit(cache=True, **_OPTIONS)(function)
    return compiled


def inlined(function: Function) -> Function:
    """Let a function become part of the kernels that call it; it is not compiled alone."""
    compiled: Function = numba.njit(forceinline=True, **_OPTIONS)(function)
    return compiled
