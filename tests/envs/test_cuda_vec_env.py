"""`VecEnv(device=...)` where there is no GPU; tests/grid/cuda compares the games."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from metta.envs import SingleTask, VecEnv, cuda_memory
from metta.errors import ConfigError
from metta.grid.cuda import ptx
from metta.grid.cuda.kernels import DRAW
from metta.grid.worlds import arena

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("device", ["tpu", "gpu", "cuda:x", "cpu:0", ""])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"device: given '{device}', allowed: 'cpu', 'cuda'"):
        VecEnv(SingleTask(arena(), seed=0, map_pool=2), num_worlds=1, device=device)


def test_cuda_without_a_gpu_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no NVIDIA GPU; hint: device='cpu' plays the same games"):
        VecEnv(SingleTask(arena(), seed=0, map_pool=2), num_worlds=1, device="cuda")


SIMULATED = """
from metta.envs import FixedTasks, SingleTask, VecEnv
from metta.errors import CheckpointError, ConfigError
from metta.grid.maps.config import ScatterMapConfig
from metta.grid.worlds import arena, easy_arena

small = ScatterMapConfig(width=5, height=5, agents=24)  # rules are plain Python here

class Own(SingleTask):
    pass

def on_a_small_map(world):
    world.map = small
    return world

def refused(function, *arguments, **settings):
    try:
        function(*arguments, **settings)
    except (CheckpointError, ConfigError) as error:
        print(error)

for source in (SingleTask(arena(), seed=0), FixedTasks([]), Own(arena(), seed=0, map_pool=2)):
    refused(VecEnv, source, num_worlds=1, device="cuda")
pool = SingleTask(on_a_small_map(arena()), seed=0, map_pool=1)
refused(VecEnv, pool, num_worlds=0, device="cuda")
env = VecEnv(pool, num_worlds=1, device="cuda")
env.reset()
others = on_a_small_map(easy_arena()), on_a_small_map(arena())
for other in (SingleTask(others[0], seed=0, map_pool=1), SingleTask(others[1], seed=0)):
    on_cpu = VecEnv(other, num_worlds=1)
    on_cpu.reset()
    refused(env.restore, on_cpu.snapshot())
"""


def test_what_a_gpu_cannot_play_is_refused() -> None:
    """In a process of its own, where Numba's simulator stands for a GPU."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", SIMULATED]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    allowed = "without one; allowed: SingleTask(..., map_pool=<number of maps>)"
    assert [line.endswith(allowed) for line in lines[:3]] == [True] * 3
    assert [name in line for name, line in zip(("SingleTask", "FixedTasks", "Own"), lines, strict=False)] == [True] * 3
    assert lines[3] == "num_worlds: given 0, allowed is at least 1"
    assert lines[4:] == ["the snapshot is not of one world with a pool of maps, the one that this GPU plays"] * 2


def test_the_simulator_with_compiled_rules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_memory, "SIMULATED", True)
    with pytest.raises(ConfigError, match="hint: set NUMBA_DISABLE_JIT=1 too"):
        VecEnv(SingleTask(arena(), seed=0, map_pool=2), num_worlds=1, device="cuda")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="device: given 'cuda:2', allowed: up to 'cuda:1'"):
        VecEnv(SingleTask(arena(), seed=0, map_pool=2), num_worlds=1, device="cuda:2")


def test_a_gpu_without_a_compiler_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptx, "_is_missing", lambda module: True)
    with pytest.raises(ConfigError, match="there is no numba-cuda; hint: pip install 'metta\\[cuda\\]'"):
        ptx.compile_ptx(DRAW, (9, 0))
