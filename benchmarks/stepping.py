"""How fast worlds are stepped: random actions, observations and resets with fresh maps included.

    python benchmarks/stepping.py [--seconds 3] [--worlds 64]

The arena of 24 agents on one thread and on two; 1,000 agents on one large map; thousands of worlds of one agent; what
a new episode costs; and how long a process takes to its first step, with an empty compile cache and with a full one.
Rates are by the clock on the wall; `per_cpu_second` counts the processor time of this process alone, for machines that
others work on as well.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from harness import report, spread
from metta.envs import SingleTask, VecEnv
from metta.grid import WorldConfig, compile_world
from metta.grid.maps.config import ScatterMapConfig
from metta.grid.worlds import arena

WINDOWS = 5
FIRST_STEP = """
from metta.envs import SingleTask, VecEnv
from metta.grid.worlds import arena
import numpy as np
env = VecEnv(SingleTask(arena(), seed=1), num_worlds=1)
env.reset()
env.step(np.zeros(24, np.int32))
"""
NUM_ACTION_SETS = 256  # ticks whose random actions are drawn before the clock starts


def steps_per_second(config: WorldConfig, *, num_worlds: int, threads: int, seconds: float) -> dict[str, float]:
    """Return the spread of agent-steps a second over `WINDOWS` equal spans, and those per second of processor time."""
    env = VecEnv(SingleTask(config, seed=1), num_worlds=num_worlds, threads=threads, stagger=True)
    env.reset()
    rng = np.random.default_rng(0)
    actions = rng.integers(0, env.num_actions, (NUM_ACTION_SETS, env.num_agents), np.int32)
    tick = 0
    for _ in range(20):
        env.step(actions[tick % NUM_ACTION_SETS])
        tick += 1
    speeds = []
    first, processor = tick, time.process_time()
    for _ in range(WINDOWS):
        start, before = time.perf_counter(), tick
        while time.perf_counter() - start < seconds / WINDOWS:
            # another row of actions for each world and tick: a fixed cycle would drive every agent into a wall
            env.step(np.roll(actions[tick % NUM_ACTION_SETS], tick))
            tick += 1
        speeds.append((tick - before) * env.num_agents / (time.perf_counter() - start))
    per_cpu_second = (tick - first) * env.num_agents / (time.process_time() - processor)
    return {**spread(speeds), "per_cpu_second": per_cpu_second}


def build_milliseconds(config: WorldConfig, *, times: int = 200) -> dict[str, float]:
    """Return the spread of milliseconds that building one map takes."""
    compiled = compile_world(config)
    compiled.build_map(0)
    durations = []
    processor = time.process_time()
    for seed in range(times):
        start = time.perf_counter()
        compiled.build_map(seed)
        durations.append(1000 * (time.perf_counter() - start))
    return {**spread(durations), "cpu": 1000 * (time.process_time() - processor) / times}


def reset_milliseconds(config: WorldConfig, *, num_worlds: int = 64) -> float:
    """Return the milliseconds a new episode takes: task, map, world and first observations."""
    env = VecEnv(SingleTask(config, seed=1), num_worlds=num_worlds)
    env.reset()
    start = time.perf_counter()
    env.reset()
    return 1000 * (time.perf_counter() - start) / num_worlds


def start_seconds(*, warm_starts: int = 3) -> dict[str, dict[str, float]]:
    """Return what a process takes from its start to its end after one step of an arena: cold, and the quickest warm."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        times = []
        for _ in range(1 + warm_starts):
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", FIRST_STEP], env=environment, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times.append({"seconds": time.perf_counter() - start, "cpu": cpu})
    return {"first_compile": times[0], "warm_start": min(times[1:], key=lambda each: each["seconds"])}


def crowd() -> WorldConfig:
    """Return 1,000 agents on a 256 x 256 map, with the arena's objects at the arena's density."""
    config = arena()
    config.num_agents = 1000
    objects = {"wall": 1000, "altar": 500, "mine_red": 1000, "generator_red": 500, "lasery": 100, "armory": 100}
    config.map = ScatterMapConfig(width=256, height=256, agents=1000, objects=objects)
    return config


def hermits() -> WorldConfig:
    """Return one agent on a 16 x 16 map."""
    config = arena()
    config.num_agents = 1
    config.map = ScatterMapConfig(width=16, height=16, agents=1, objects={"wall": 4, "altar": 2, "mine_red": 4})
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--worlds", type=int, default=64)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for threads in (1, 2):
        results[f"arena_{threads}_thread{'s' * (threads > 1)}"] = steps_per_second(
            arena(), num_worlds=arguments.worlds, threads=threads, seconds=arguments.seconds
        )
    results["1000_agents_256x256"] = steps_per_second(crowd(), num_worlds=2, threads=1, seconds=arguments.seconds)
    results["4096_worlds_1_agent_16x16"] = steps_per_second(
        hermits(), num_worlds=4096, threads=1, seconds=arguments.seconds
    )
    results["build_arena_milliseconds"] = build_milliseconds(arena())
    results["reset_arena_milliseconds"] = reset_milliseconds(arena())
    results.update(start_seconds())
    alone = results["arena_1_thread"]["median"]
    for name in ("1000_agents_256x256", "4096_worlds_1_agent_16x16"):
        results[name]["share_of_the_arenas_rate"] = results[name]["median"] / alone
    one, two = (results[name]["median"] / 1e6 for name in ("arena_1_thread", "arena_2_threads"))
    report(
        "stepping",
        {"unit": "agent-steps per second", "worlds": arguments.worlds, **results},
        f"arena of 24 agents: {one:.2f} M agent-steps/s on one thread, {two:.2f} M on two; "
        f"a new episode {results['reset_arena_milliseconds']:.2f} ms, its map "
        f"{results['build_arena_milliseconds']['median']:.3f} ms; first compile "
        f"{results['first_compile']['seconds']:.1f} s, warm start {results['warm_start']['seconds']:.2f} s",
    )


if __name__ == "__main__":
    main()
