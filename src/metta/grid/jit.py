"""How functions of the simulator are compiled: the one place that decides.

With `NUMBA_DISABLE_JIT=1` all of them run as plain Python, which is the reference in tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numba
from numba.core import types

from metta.grid.cache import compile_cache
from metta.grid.handles import flattened, handle_of
from metta.grid.inner_code import QuickCompiler, RuleCompiler

F = TypeVar("F", bound=Callable[..., Any])

njit: Any = numba.njit
settings: Any = numba.config
JIT_ENABLED = not settings.DISABLE_JIT

# Rules see these fields with fewer dimensions: cells by one flat index, an agent's tokens as one row of bytes.
FLAT_FIELDS = {"cells": 2, "observations": 3}


def rule(function: F) -> F:
    """Compile a scalar function of one world, called by other rules. It allocates nothing (no `np.empty`)."""
    without_wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    inner = {"pipeline_class": RuleCompiler, **without_wrappers}
    compiled: F = njit(nogil=True, error_model="numpy", _nrt=False, **inner)(function)
    if JIT_ENABLED:
        _use_plain_integers(compiled)
    return compiled


def kernel(function: F) -> F:
    """Compile a function that Python calls with `Rules`, `State` or `Buffers`, and keep it in the compile cache."""
    with compile_cache():
        compiled = njit(cache=True, nogil=True, error_model="numpy", _nrt=False, pipeline_class=QuickCompiler)(function)

    @wraps(function)
    def launch(*arguments: Any) -> Any:
        return compiled(*[prepare(argument) for argument in arguments])

    return cast(F, launch)


def builder(function: F) -> F:
    """Compile a function that Python and other functions may call and that may allocate, as map builders do."""
    with compile_cache():
        compiled: F = njit(cache=True, nogil=True, error_model="numpy", pipeline_class=QuickCompiler)(function)
    return compiled


def _use_plain_integers(dispatcher: Any) -> None:
    """Let a rule be compiled once, for int64, and not again for every constant or small integer that it is given."""
    find = dispatcher.get_call_template

    def find_plain(arguments: Any, keywords: Any) -> Any:
        return find(tuple(_plain(argument) for argument in arguments), keywords)

    dispatcher.get_call_template = find_plain


def _plain(argument: Any) -> Any:
    argument = getattr(argument, "literal_type", argument)
    return types.int64 if isinstance(argument, types.Integer) else argument


def prepare(argument: Any) -> Any:
    """Return what a kernel gets for an argument: a handle for a tuple of arrays, all else as it is."""
    if not hasattr(argument, "_fields"):
        return argument
    if JIT_ENABLED:
        return handle_of(argument, flat=FLAT_FIELDS)
    return type(argument)(**flattened(argument, flat=FLAT_FIELDS))
