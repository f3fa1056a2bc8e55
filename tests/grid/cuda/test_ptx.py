"""Every kernel becomes PTX for sm_90, and that assembles; this needs the compiler's packages but no GPU."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from metta.errors import ConfigError
from metta.grid import compile_world
from metta.grid.compile import allocate_rules
from metta.grid.cuda import ptx as ptx_module
from metta.grid.cuda.episodes import allocate_episodes
from metta.grid.cuda.kernels import ACT, KERNELS, Kernel
from metta.grid.cuda.own import own_kernel
from metta.grid.cuda.ptx import check_packages, compile_ptx
from metta.grid.jit import JIT_ENABLED, prepare
from metta.grid.own_rules import plain_function
from metta.grid.ruleset import allocate_buffers
from metta.grid.world import allocate_state
from metta.grid.worlds import arena

SM_90 = (9, 0)
FAST = ("settle", "draw", "noise")  # the others take seconds


@pytest.fixture(scope="module")
def tables() -> list[Any]:
    """Return one table of each kind, so that their layouts are known."""
    try:
        check_packages()
    except ConfigError as error:
        pytest.skip(f"PTX cannot be made here: {error}")
    if not JIT_ENABLED:
        pytest.skip("PTX cannot be made with the JIT off")
    sizes = compile_world(arena()).sizes
    arrays = [allocate(sizes, 1) for allocate in (allocate_rules, allocate_state, allocate_buffers, allocate_episodes)]
    for array in arrays:
        prepare(array)
    return arrays


@pytest.mark.parametrize(
    "kernel",
    [kernel if kernel.name in FAST else pytest.param(kernel, marks=pytest.mark.slow) for kernel in KERNELS]
    + [pytest.param(own_kernel(plain_function("tests.grid.own.pay"), 0.5))],
    ids=lambda kernel: kernel.name,
)
def test_a_kernel_compiles_for_sm_90_and_needs_nothing_else(kernel: Kernel, tables: list[Any], tmp_path: Path) -> None:
    ptx = compile_ptx(kernel, SM_90)
    assert ".target sm_90" in ptx and f".visible .entry {kernel.name}(" in ptx
    assert ".extern" not in ptx, "a function that nobody links: memory management, or an exception"
    assert ".local" not in ptx, "arrays on the stack"
    assert not re.search(r"\bfma\.|\b(mul|add|sub)\.f(32|64)", ptx), "roundings that differ from the CPU's"
    print(assemble(kernel.name, ptx, tmp_path))


def test_a_kernel_is_compiled_once_and_then_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(ptx_module, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr(
        ptx_module, "compile_ptx", lambda kernel, _: compiled.append(kernel.name) or f"// {kernel.name}"
    )
    for capability in (SM_90, (8, 0), SM_90, (8, 0), (12, 0)):  # a newer GPU takes what is made for sm_90
        assert ptx_module.ptx_of(ACT, capability) == "// act"
    assert compiled == ["act", "act"] and len(list(tmp_path.iterdir())) == 2


def test_a_rule_of_ones_own_is_not_cached_since_nobody_would_notice_its_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ptx_module, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr(ptx_module, "compile_ptx", lambda kernel, _: f"// {kernel.name}")
    assert ptx_module.ptx_of(own_kernel(plain_function("tests.grid.own.pay"), 0.5), SM_90) == "// own_pay"
    assert not list(tmp_path.iterdir())


def assemble(name: str, ptx: str, directory: Path) -> str:
    """Return what the assembler says of a kernel, where there is one: registers, and that nothing is spilled."""
    ptxas = find_ptxas()
    if ptxas is None:
        return f"{name}: no ptxas here, not assembled"
    source = directory / f"{name}.ptx"
    source.write_text(ptx)
    command = [str(ptxas), "-arch=sm_90", "--verbose", "-o", str(directory / "out.cubin"), str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in done.stderr
    found = re.search(r"Used (\d+) registers", done.stderr)
    assert found is not None
    return f"{name}: {found[1]} registers, nothing spilled"


def find_ptxas() -> Path | None:
    import nvidia

    return next((path for root in nvidia.__path__ for path in sorted(Path(root).glob("*/bin/ptxas"))), None)
