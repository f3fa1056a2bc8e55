"""What Numba's GPU target makes of the kernels, run on this processor (emulator.py), against the CPU's rules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metta.errors import ConfigError
from metta.grid.config import RuleConfig
from metta.grid.jit import JIT_ENABLED

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not JIT_ENABLED, reason="the JIT is off")]


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the device be this processor, with the machine code of the GPU target."""
    emulator = load_emulator()
    try:
        emulator.check()
    except ConfigError as error:
        pytest.skip(f"Numba's GPU target is not here: {error}")
    from metta.envs import cuda_vec_env

    monkeypatch.setattr(cuda_vec_env, "find_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr(cuda_vec_env, "launch", emulator.launch)
    monkeypatch.setattr(cuda_vec_env, "prepare", emulator.prepare)


def load_emulator() -> Any:
    if "device_emulator" not in sys.modules:
        spec = importlib.util.spec_from_file_location("device_emulator", Path(__file__).parent / "emulator.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return sys.modules["device_emulator"]


def assert_equal_games(device_games: Any, batch: Any, *, ticks: int, look_every: int = 1) -> None:
    cpu, device = batch.begin("cpu"), batch.begin("cuda")
    for tick in range(ticks):
        actions = device_games.actions_at(cpu, batch.seed, tick)
        cpu.step(actions)
        device.step(actions)
        if tick % look_every and not cpu.episode_ends:
            continue
        expected, found = device_games.results(cpu), device_games.results(device)
        for name, value in expected.items():
            if isinstance(value, np.ndarray):
                assert found[name].dtype == value.dtype and np.array_equal(found[name], value), (tick, name)
            else:
                assert found[name] == value, (tick, name)
    assert cpu.hash() == device.hash()


def test_the_device_code_of_random_worlds_equals_the_cpu_bit_for_bit(emulated: None, device_games: Any) -> None:
    for seed in range(60):
        batch = device_games.random_batch(seed, max_steps=17 if seed % 2 else None, num_worlds=3)
        assert_equal_games(device_games, batch, ticks=60)


def test_the_device_code_of_rules_of_ones_own_equals_the_cpu(emulated: None, device_games: Any) -> None:
    for seed in range(8):
        assert_equal_games(device_games, device_games.batch_with_own_rules(seed), ticks=40)


def test_a_rule_that_the_gpu_cannot_have_is_refused_with_its_path(emulated: None, device_games: Any) -> None:
    batch = device_games.random_batch(0)
    batch.config.rules = [
        RuleConfig(function="tests.grid.own.pay"),
        RuleConfig(function="tests.grid.own.only_on_a_cpu"),
    ]
    batch.begin("cpu")
    with pytest.raises(ConfigError, match=r"^rules\.1\.function: given 'tests.grid.own.only_on_a_cpu'; it cannot be"):
        batch.begin("cuda")


def test_memory_of_the_callers_and_a_move_to_the_cpu_and_back_change_nothing(emulated: None, device_games: Any) -> None:
    for batch in device_games.simulated_batches(20):
        assert device_games.play(batch, "cuda", ticks=20) == device_games.play(batch, "cpu", ticks=20)


def test_the_device_code_of_a_thousand_ticks_of_the_arena_equals_the_cpu(emulated: None, device_games: Any) -> None:
    batch = device_games.arena_batch(num_worlds=4, max_steps=300)
    assert_equal_games(device_games, batch, ticks=1000, look_every=7)
