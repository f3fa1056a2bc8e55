# Numba's own compiler parts are not annotated.
# mypy: allow-untyped-calls
"""From a kernel to PTX, the assembly that the driver loads. Needs no GPU, but the packages of `metta[cuda]`."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
from numba.core import types

from metta.errors import ConfigError
from metta.grid import handles
from metta.grid.cache import cache_directory
from metta.grid.cuda.kernels import KERNELS, Kernel

Capability = tuple[int, int]  # of the GPU, as (9, 0)

# No multiplication and addition become one: their results would differ from those of the CPU in the last bit.
NVVM_OPTIONS = ("-opt=3", "-fma=0")

# A compiler marks PTX with its own version, which older drivers refuse; nothing in these kernels is newer than this.
PTX_VERSION = ".version 8.0"
NEWEST: Capability = (9, 0)  # that this version knows; the driver makes code for later GPUs of it


def ptx_of(kernel: Kernel, capability: Capability) -> str:
    """Return the PTX of a kernel, from the compile cache if it is there. Raises ConfigError without `metta[cuda]`.

    The tables that it gets must have been declared (handles.py). Rules of the user's own are compiled in each process:
    the cache knows of edits in `grid/` alone.
    """
    capability = min(capability, NEWEST)
    if kernel not in KERNELS:
        return compile_ptx(kernel, capability)
    major, minor = capability
    file = cache_directory() / f"{kernel.name}-sm_{major}{minor}-numba-{numba.__version__}.ptx"
    if file.exists():
        return file.read_text()
    text = compile_ptx(kernel, capability)
    _write_whole(file, text)
    return text


def compile_ptx(kernel: Kernel, capability: Capability) -> str:
    """Return the PTX of a kernel, whose entry has the kernel's name."""
    library, entry = lower(kernel, capability)
    text = _nvvm_to_ptx(library.llvm_strs, capability).replace(entry, kernel.name)
    return re.sub(r"^\.version .*$", PTX_VERSION, text, count=1, flags=re.MULTILINE)


def lower(kernel: Kernel, capability: Capability) -> tuple[Any, str]:
    """Return Numba's library of LLVM code of a kernel and all that it calls, and the name of its entry."""
    check_packages()
    compiler: Any = import_module("numba.cuda.compiler")
    with _device_of(capability):
        arguments = (types.int64,) * kernel.num_arguments
        result = compiler.compile_cuda(kernel.function, types.void, arguments, cc=capability)
    entry = result.fndesc.llvm_func_name
    compiler.kernel_fixup(result.library.get_function(entry), False)
    return result.library, entry


def _nvvm_to_ptx(modules: list[str], capability: Capability) -> str:
    nvvm: Any = import_module("cuda.bindings.nvvm")
    library = Path(import_module("cuda.pathfinder").find_bitcode_lib("device")).read_bytes()
    options = [f"-arch=compute_{capability[0]}{capability[1]}", *NVVM_OPTIONS]
    program = nvvm.create_program()
    try:
        for module in modules:
            nvvm.add_module_to_program(program, module.encode(), len(module.encode()), "rules")
        nvvm.lazy_add_module_to_program(program, library, len(library), "libdevice")
        nvvm.compile_program(program, len(options), options)
        ptx = bytearray(nvvm.get_compiled_result_size(program))
        nvvm.get_compiled_result(program, ptx)
    finally:
        nvvm.destroy_program(program)
    return ptx.decode().rstrip("\0")


def check_packages() -> None:
    """Raise ConfigError where the packages are missing that make PTX of kernels."""
    missing = "numba-cuda" if _is_missing("numba_cuda") else "NVVM" if _has_no_nvvm() else ""
    if missing:
        hint = "pip install 'metta[cuda]'"
        raise ConfigError(
            f"device: the kernels for a GPU must be compiled first, and there is no {missing}; hint: {hint}"
        )
    models: Any = import_module("numba.cuda.models")
    for typ, model in ((handles.TableType, handles.TableModel), (handles.FieldType, handles.FieldModel)):
        models.register_model(typ)(model)


def _is_missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


def _has_no_nvvm() -> bool:
    try:
        import_module("cuda.pathfinder").load_nvidia_dynamic_lib("nvvm")
    except RuntimeError:  # what all of its errors are
        return True
    return False


@contextmanager
def _device_of(capability: Capability) -> Iterator[None]:
    """Let Numba believe in a GPU: it asks the current one for the capability of every function that a kernel calls."""
    dispatcher: Any = import_module("numba.cuda.dispatcher")
    ask = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = ask


def _write_whole(file: Path, text: str) -> None:
    """Write a file of the cache so that another process sees all of it or nothing."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as part:
        part.write(text)
    Path(part.name).replace(file)
