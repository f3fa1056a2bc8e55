"""How fast worlds are stepped on a GPU: random actions, observations and resets from a pool of maps included.

    python benchmarks/gpu.py [--seconds 3] [--worlds 256 1024 4096 16384]

The arena of 24 agents in growing numbers of worlds, the time of each kernel, and what the CPU does beside it. Before
anything is measured, both devices play the same games and must agree. Without a GPU it says so and does nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from harness import report, spread
from metta.envs import SingleTask, VecEnv
from metta.grid.worlds import arena

WINDOWS = 5
NUM_ACTION_SETS = 64  # ticks whose random actions are drawn before the clock starts
MAP_POOL = 256
STEPS_BETWEEN_LOOKS = 20


def make(num_worlds: int, device: str) -> Any:
    """Return arenas that have begun."""
    env = VecEnv(SingleTask(arena(), seed=1, map_pool=MAP_POOL), num_worlds=num_worlds, stagger=True, device=device)
    env.reset()
    return env


def draw_actions(env: Any) -> torch.Tensor:
    """Return random actions [NUM_ACTION_SETS, N] on the GPU."""
    generator = torch.Generator("cuda").manual_seed(0)
    shape = (NUM_ACTION_SETS, env.num_agents)
    return torch.randint(0, env.num_actions, shape, generator=generator, device="cuda", dtype=torch.int32)


def check_equality(*, num_worlds: int = 8, ticks: int = 200) -> None:
    """Play the same games on both devices; they must agree in every bit."""
    cpu, gpu = make(num_worlds, "cpu"), make(num_worlds, "cuda")
    rng = np.random.default_rng(0)
    for _ in range(ticks):
        actions = rng.integers(0, cpu.num_actions, cpu.num_agents, np.int32)
        cpu.step(actions)
        gpu.step(actions)
    assert cpu.hash() == gpu.hash(), "CPU and GPU play different games: nothing is measured"


def steps_per_second(num_worlds: int, *, seconds: float) -> dict[str, float]:
    """Return the spread of agent-steps a second over `WINDOWS` equal spans."""
    env = make(num_worlds, "cuda")
    actions = draw_actions(env)
    tick = 0
    for _ in range(20):
        env.step(actions[tick % NUM_ACTION_SETS])
        tick += 1
    speeds = []
    for _ in range(WINDOWS):
        torch.cuda.synchronize()
        start, before = time.perf_counter(), tick
        while time.perf_counter() - start < seconds / WINDOWS:
            for _ in range(STEPS_BETWEEN_LOOKS):
                # another row of actions for each world and tick: a fixed cycle would drive every agent into a wall
                env.step(actions[tick % NUM_ACTION_SETS].roll(tick))
                tick += 1
            torch.cuda.synchronize()
        speeds.append((tick - before) * env.num_agents / (time.perf_counter() - start))
    return spread(speeds)


def kernel_microseconds(num_worlds: int, *, steps: int = 50) -> dict[str, float]:
    """Return what each kernel takes of a step, in microseconds, as PyTorch's profiler sees it."""
    from metta.grid.cuda.kernels import ACT, BEGIN, OBSERVE, SETTLE

    env = make(num_worlds, "cuda")
    actions = draw_actions(env)
    for tick in range(100):
        env.step(actions[tick % NUM_ACTION_SETS].roll(tick))
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for tick in range(steps):
            env.step(actions[tick % NUM_ACTION_SETS].roll(tick))
        torch.cuda.synchronize()
    names = tuple(kernel.name for kernel in (ACT, OBSERVE, SETTLE, BEGIN))
    return {event.key: event.device_time_total / steps for event in profile.key_averages() if event.key in names}


def cpu_steps_per_second(*, num_worlds: int = 64, seconds: float) -> float:
    """Return agent-steps a second of one thread of the CPU, for comparison."""
    env = make(num_worlds, "cpu")
    rng = np.random.default_rng(0)
    actions = rng.integers(0, env.num_actions, (NUM_ACTION_SETS, env.num_agents), np.int32)
    env.step(actions[0])
    start, tick = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        env.step(np.roll(actions[tick % NUM_ACTION_SETS], tick))
        tick += 1
    return tick * env.num_agents / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--worlds", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no NVIDIA GPU here: nothing is measured")
        return
    start = time.perf_counter()
    check_equality()
    results: dict[str, Any] = {"first_use_seconds": time.perf_counter() - start}
    for num_worlds in arguments.worlds:
        results[f"arena_{num_worlds}_worlds"] = steps_per_second(num_worlds, seconds=arguments.seconds)
    results["kernel_microseconds"] = kernel_microseconds(arguments.worlds[-1])
    results["cpu_one_thread"] = cpu_steps_per_second(seconds=arguments.seconds)
    best = max(results[f"arena_{num_worlds}_worlds"]["median"] for num_worlds in arguments.worlds)
    report(
        "gpu",
        {
            "unit": "agent-steps per second",
            "gpu": torch.cuda.get_device_name(),
            "gpu_memory_gib": torch.cuda.max_memory_allocated() / 2**30,
            **results,
        },
        f"arena of 24 agents on {torch.cuda.get_device_name()}: {best / 1e6:.1f} M agent-steps/s; "
        f"one thread of the CPU: {results['cpu_one_thread'] / 1e6:.2f} M",
    )


if __name__ == "__main__":
    main()
