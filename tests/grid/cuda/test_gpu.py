"""On a GPU: the same games as on the CPU. Runs with `pytest -m gpu` where there is one."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]


def assert_equal_games(device_games: Any, batch: Any, *, ticks: int) -> int:
    """Compare every array after every tick; return how many episodes ended."""
    cpu, gpu = batch.begin("cpu"), batch.begin("cuda")
    ends = 0
    for tick in range(ticks):
        actions = device_games.actions_at(cpu, batch.seed, tick)
        cpu.step(actions)
        gpu.step(torch.from_numpy(actions).cuda())
        expected, found = device_games.results(cpu), device_games.results(gpu)
        for name, value in expected.items():
            if isinstance(value, np.ndarray):
                assert found[name].dtype == value.dtype and np.array_equal(found[name], value), (tick, name)
            else:
                assert found[name] == value, (tick, name)
        ends += len(expected["ends"])
    assert cpu.hash() == gpu.hash()
    return ends


def test_a_thousand_ticks_of_the_arena_equal_the_cpu_bit_for_bit(device_games: Any) -> None:
    assert assert_equal_games(device_games, device_games.arena_batch(num_worlds=16, max_steps=300), ticks=1000) > 40


@pytest.mark.parametrize("seed", range(40))
def test_random_worlds_equal_the_cpu_bit_for_bit(device_games: Any, seed: int) -> None:
    batch = device_games.random_batch(seed, max_steps=17 if seed % 2 else None, num_worlds=7)
    assert_equal_games(device_games, batch, ticks=60)


def test_buffers_are_tensors_that_others_see_without_a_copy(device_games: Any) -> None:
    env = device_games.arena_batch(num_worlds=3, max_steps=50).begin("cuda")
    before = env.observations.data_ptr()
    other = torch.from_dlpack(env.observations)
    assert other.data_ptr() == before == env.observations.__cuda_array_interface__["data"][0]
    env.step(torch.zeros(env.num_agents, dtype=torch.int32, device="cuda"))
    assert env.observations.data_ptr() == before and torch.equal(other, env.observations)
    assert all(tensor.is_cuda for tensor in (env.rewards, env.terminals, env.truncations, *env.state))


def test_memory_of_the_callers_and_a_move_to_the_cpu_and_back_change_nothing(device_games: Any) -> None:
    batches = [*device_games.simulated_batches(20), device_games.arena_batch(num_worlds=4, max_steps=9)]
    for batch in batches:
        assert device_games.play(batch, "cuda", ticks=40) == device_games.play(batch, "cpu", ticks=40)


def test_a_step_does_not_wait_for_the_gpu(device_games: Any) -> None:
    """Prints the speed too; benchmarks/gpu.py measures it with care."""
    env = device_games.arena_batch(num_worlds=4096, max_steps=1000).begin("cuda")
    actions = torch.randint(0, env.num_actions, (env.num_agents,), dtype=torch.int32, device="cuda")
    for _ in range(5):
        env.step(actions)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(50):
        env.step(actions)
    queued = time.perf_counter() - start
    torch.cuda.synchronize()
    total = time.perf_counter() - start
    print(f"{50 * env.num_agents / total / 1e6:.1f} M agent-steps/s on {torch.cuda.get_device_name()}")
    assert queued < total / 2
