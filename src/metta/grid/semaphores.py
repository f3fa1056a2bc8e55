"""Waiting for each other inside compiled code: POSIX semaphores and a shared counter, in words of an int64 array."""

# Numba's own compiler parts are not annotated.
# mypy: allow-untyped-calls

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, extending, types
from numpy.typing import NDArray

SEMAPHORE_WORDS = 8  # more than any system's `sem_t` takes; a cache line

_word = ir.IntType(64)
intrinsic: Any = extending.intrinsic


def make_semaphore(words: NDArray[np.int64]) -> bool:
    """Make a semaphore, at 0, in these words; return whether the system can."""
    try:
        make: Any = ctypes.CDLL(None).sem_init
    except (OSError, AttributeError, TypeError):
        return False
    return int(make(ctypes.c_void_p(words.ctypes.data), 0, 0)) == 0


def post_from_python(words: NDArray[np.int64]) -> None:
    """Let one thread that waits for the semaphore go on."""
    ctypes.CDLL(None).sem_post(ctypes.c_void_p(words.ctypes.data))


@intrinsic
def post(typing_context: Any, words: Any, at: Any) -> Any:
    """Let one thread that waits for the semaphore at `words[at]` go on."""
    return types.void(words, types.int64), _call("sem_post", until_zero=False)


@intrinsic
def wait(typing_context: Any, words: Any, at: Any) -> Any:
    """Wait for the semaphore at `words[at]`; signals do not end the wait."""
    return types.void(words, types.int64), _call("sem_wait", until_zero=True)


@intrinsic
def add_atomically(typing_context: Any, words: Any, at: Any, amount: Any) -> Any:
    """Add to `words[at]` as one act, and return what stood there before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature, args)
        return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

    return types.int64(words, types.int64, types.int64), generate


def _call(name: str, *, until_zero: bool) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function_type = ir.FunctionType(ir.IntType(32), [_word.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        pointer = _pointer(context, builder, signature, args)
        again = builder.append_basic_block(f"{name}.again")
        done = builder.append_basic_block(f"{name}.done")
        builder.branch(again)
        builder.position_at_end(again)
        result = builder.call(function, [pointer])
        if until_zero:
            builder.cbranch(builder.icmp_signed("==", result, ir.Constant(ir.IntType(32), 0)), done, again)
        else:
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return generate


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])
