"""Launching kernels, on a GPU or in Numba's simulator."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from metta.grid.cuda import driver
from metta.grid.cuda.kernels import SIMULATED, Kernel, cuda
from metta.grid.cuda.ptx import ptx_of


def launch(kernel: Kernel, *arguments: Any, items: int, device: int, capability: tuple[int, int], stream: int) -> None:
    """Queue a kernel for so many worlds or agents (`items`) on a stream of a GPU, whose context is current.

    `arguments`: addresses of tables and integers; in the simulator the tables are the tuples themselves, and the kernel
    is over when this returns.
    """
    assert len(arguments) == kernel.num_arguments
    blocks = -(-items // kernel.items)
    if SIMULATED:
        _simulated(kernel)[blocks, kernel.threads](*arguments)
        return
    function = _loaded(kernel, device, capability)
    driver.launch(function, blocks=blocks, threads=kernel.threads, stream=stream, arguments=arguments)


def prepare(kernel: Kernel, *, device: int, capability: tuple[int, int], stream: int) -> None:
    """Compile a kernel and load it, so that its mistakes are told before the first launch."""
    if not SIMULATED:
        _loaded(kernel, device, capability)


@cache
def _loaded(kernel: Kernel, device: int, capability: tuple[int, int]) -> ctypes.c_void_p:
    return driver.load_function(ptx_of(kernel, capability), kernel.name)


@cache
def _simulated(kernel: Kernel) -> Any:
    return cuda.jit(kernel.function)
