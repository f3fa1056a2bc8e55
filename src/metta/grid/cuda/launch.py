"""Launching kernels, on a GPU or in Numba's simulator."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from metta.grid.cuda import driver
from metta.grid.cuda.kernels import KERNELS, SIMULATED, cuda
from metta.grid.cuda.ptx import ptx_of


def launch(name: str, *arguments: Any, items: int, device: int, capability: tuple[int, int], stream: int) -> None:
    """Queue a kernel for so many worlds or agents (`items`) on a stream of a GPU, whose context is current.

    `arguments`: addresses of tables and integers; in the simulator the tables are the tuples themselves, and the kernel
    is over when this returns.
    """
    kernel = KERNELS[name]
    assert len(arguments) == kernel.num_arguments
    blocks = -(-items // kernel.items)
    if SIMULATED:
        _simulated(name)[blocks, kernel.threads](*arguments)
        return
    function = _loaded(name, device, capability)
    driver.launch(function, blocks=blocks, threads=kernel.threads, stream=stream, arguments=arguments)


@cache
def _loaded(name: str, device: int, capability: tuple[int, int]) -> ctypes.c_void_p:
    return driver.load_function(ptx_of(name, capability), name)


@cache
def _simulated(name: str) -> Any:
    return cuda.jit(KERNELS[name].function)
