"""The few calls of NVIDIA's driver that load PTX and launch kernels, in the context that is current: torch's."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from metta.errors import ConfigError

LIBRARY = "libcuda.so.1"


@cache
def _driver() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise ConfigError(f"device: cuda needs NVIDIA's driver, and {LIBRARY} cannot be loaded ({error})") from error


def _call(name: str, *arguments: Any) -> None:
    code = getattr(_driver(), name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"{name} failed with {code}: {(text.value or b'unknown').decode()}")


def load_function(ptx: str, name: str) -> ctypes.c_void_p:
    """Return an entry of PTX, assembled by the driver for the current GPU."""
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    _call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ptx.encode()))
    _call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(name.encode()))
    return function


def launch(function: ctypes.c_void_p, *, blocks: int, threads: int, stream: int, arguments: Sequence[int]) -> None:
    """Queue a kernel on a stream; all arguments are int64."""
    values = (ctypes.c_int64 * len(arguments))(*arguments)
    start = ctypes.addressof(values)
    pointers = (ctypes.c_void_p * len(arguments))(*(start + 8 * i for i in range(len(arguments))))
    grid = [ctypes.c_uint(number) for number in (blocks, 1, 1, threads, 1, 1, 0)]
    _call("cuLaunchKernel", function, *grid, ctypes.c_void_p(stream), pointers, None)
