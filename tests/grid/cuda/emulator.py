"""The kernels as Numba's GPU target types and lowers them, run on this processor: no GPU and no NVIDIA compiler.

Numba gives LLVM code; here its few calls of the GPU become functions of this page, and LLVM compiles it for the host.
This finds what the simulator cannot, which runs plain Python: other integer widths, other promotions, other constants.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import llvmlite.binding as llvm

from metta.grid.cuda import ptx
from metta.grid.cuda.kernels import Kernel

THREADS = 4  # of a block
REGISTERS = ("tid", "ntid", "ctaid")

GPU = "".join(
    f"""
@value.{name} = global i32 0
define i32 @"sreg.{name}.x"() {{
  %v = load i32, ptr @value.{name}
  ret i32 %v
}}
define i32 @"sreg.{name}.y"() {{
  ret i32 0
}}
define i32 @"sreg.{name}.z"() {{
  ret i32 0
}}
"""
    for name in REGISTERS
)
# numbers as libdevice defines them
GPU += """
declare float @llvm.minnum.f32(float, float)
declare double @llvm.fabs.f64(double)
define float @__nv_fminf(float %a, float %b) {
  %v = call float @llvm.minnum.f32(float %a, float %b)
  ret float %v
}
define double @__nv_fabs(double %a) {
  %v = call double @llvm.fabs.f64(double %a)
  ret double %v
}
"""


def prepare(kernel: Kernel, **_: Any) -> None:
    """Compile a kernel, in the place of `metta.grid.cuda.launch.prepare`."""
    compiled(kernel)


def launch(kernel: Kernel, *arguments: int, items: int, **_: Any) -> None:
    """Run a kernel, thread after thread, in the place of `metta.grid.cuda.launch.launch`."""
    function, registers, _engine = compiled(kernel)
    per_block = 1 if kernel.items == 1 else THREADS
    registers["ntid"].value = THREADS
    for block in range(-(-items // per_block)):
        registers["ctaid"].value = block
        for thread in range(THREADS):
            registers["tid"].value = thread
            function(*arguments)


@cache
def compiled(kernel: Kernel) -> tuple[Callable[..., None], dict[str, Any], Any]:
    """Return a kernel for this processor, the registers that it reads, and what must live as long as it is used."""
    texts, entry = device_code(kernel)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=1)
    modules = [llvm.parse_assembly(for_the_host(text, machine)) for text in [*texts, GPU]]
    whole = modules[0]
    for module in modules[1:]:
        whole.link_in(module)
    whole.verify()
    unknown = [f.name for f in whole.functions if f.is_declaration and not f.name.startswith("llvm.")]
    assert not unknown, f"the kernel calls {unknown}, which this page does not define"
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
    builder.getModulePassManager().run(whole, builder)
    engine = llvm.create_mcjit_compiler(whole, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * kernel.num_arguments)
    values = {name: ctypes.c_int32.from_address(engine.get_global_value_address(f"value.{name}")) for name in REGISTERS}
    return signature(engine.get_function_address(entry)), values, engine


def device_code(kernel: Kernel) -> tuple[list[str], str]:
    """Return the LLVM modules of a kernel as Numba's GPU target makes them, and its entry."""
    library, entry = ptx.lower(kernel, (9, 0))
    return library.llvm_strs, entry


def for_the_host(text: str, machine: Any) -> str:
    """Return a module with this processor's layout of data and memory of one kind, as a CPU has it."""
    lines = [line for line in text.splitlines() if not line.startswith(("target ", "!nvvm", "!nvvmir"))]
    head = f'target triple = "{machine.triple}"\ntarget datalayout = "{machine.target_data}"\n'
    body = "\n".join(lines).replace("llvm.nvvm.read.ptx.sreg.", "sreg.")
    return head + body.replace(" addrspace(4)", "").replace("addrspacecast", "bitcast")


def check() -> None:
    """Raise ConfigError where Numba's GPU target is not installed."""
    ptx.check_packages()
    import_module("numba.cuda.compiler")
