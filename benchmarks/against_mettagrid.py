"""How much faster worlds are stepped than by mettagrid, the C++ simulator that this field knows best.

    pip install 'metta[benchmark]'
    python benchmarks/against_mettagrid.py [--seconds 2] [--rounds 5]

Both play on one core, in turn, with actions drawn at random beforehand. mettagrid's core is stepped by itself, without
the Python that its package puts around it, in one world that is never reset (more worlds were not faster). Here the
whole of a step counts: 64 worlds, resets and fresh maps included. Three comparisons:

- arena: the arena that mettagrid's package makes, 24 agents, 13 x 13 window, 500 tokens, and the same here;
- toy: a 40 x 40 map, 20 agents, 50 walls, noop and move, 11 x 11 window, 200 tokens, and the same here;
- ours: the arena of this project, which has mines, generators and altars too, with 500 tokens, against its arena.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from harness import report, spread
from metta.envs import SingleTask, VecEnv
from metta.grid import WorldConfig
from metta.grid.config import ActionConfig, ActionsConfig, ObservationConfig, WallConfig
from metta.grid.maps.config import InstancesMapConfig, ScatterMapConfig
from metta.grid.worlds import arena

NUM_WORLDS = 64
ACTION_SETS = 256
WARM_UP_TICKS = 50

Tick = Callable[[int], None]  # plays one tick with the actions of a number


def their_game(game: Any) -> tuple[Tick, int]:
    """Return mettagrid's core in a game of its own configuration, and the number of its agents."""
    from mettagrid.config import mettagrid_c_config
    from mettagrid.mettagrid_c import MettaGrid

    game.max_steps = 0
    cells = game.map_builder.create().build().grid.tolist()
    core_config, renamed = mettagrid_c_config.convert_to_cpp_game_config(game)
    if renamed:
        cells = mettagrid_c_config.rename_map_agents(cells, renamed)
    core = MettaGrid(core_config, cells, 1)
    num_actions = len(game.actions.actions())
    actions = np.random.default_rng(0).integers(0, num_actions, (ACTION_SETS, game.num_agents), np.int32)
    sent = core.actions()

    def tick(number: int) -> None:
        sent[:] = actions[number % ACTION_SETS]
        core.step()

    return tick, int(game.num_agents)


def our_game(config: WorldConfig) -> tuple[Tick, int]:
    """Return a step of many worlds on one thread, and the number of their agents."""
    env = VecEnv(SingleTask(config, seed=1), num_worlds=NUM_WORLDS, threads=1, stagger=True)
    env.reset()
    actions = np.random.default_rng(0).integers(0, env.num_actions, (ACTION_SETS, env.num_agents), np.int32)

    def tick(number: int) -> None:
        # another row of actions for each world and tick: a fixed cycle would drive every agent into a wall
        env.step(np.roll(actions[number % ACTION_SETS], number))

    return tick, env.num_agents


def their_arena() -> Any:
    """Return the game of mettagrid's arena, as it comes."""
    from mettagrid.builder.envs import make_arena

    return make_arena(24).game


def their_toy() -> Any:
    """Return a game of 20 agents who walk among 50 walls."""
    from mettagrid.builder.envs import make_navigation
    from mettagrid.map_builder.random_map import RandomMapBuilder

    game = make_navigation(20).game
    game.map_builder = RandomMapBuilder.Config(agents=20, width=40, height=40, objects={"wall": 50})
    game.obs.width = game.obs.height = 11
    game.obs.num_tokens = 200
    return game


def our_version_of_their_arena() -> WorldConfig:
    """Return mettagrid's arena here: its five actions, 10 walls on a 25 x 25 map, a border of 6."""
    scattered = ScatterMapConfig(width=25, height=25, agents=24, objects={"wall": 10})
    return WorldConfig(
        num_agents=24,
        objects={"wall": WallConfig(type_id=1)},
        actions=ActionsConfig(get_items=ActionConfig(enabled=False)),
        observation=ObservationConfig(height=13, width=13, num_tokens=500),
        map=InstancesMapConfig(instances=1, border=6, instance=scattered),
    )


def our_version_of_their_toy() -> WorldConfig:
    """Return the toy here."""
    return WorldConfig(
        num_agents=20,
        objects={"wall": WallConfig(type_id=1)},
        actions=ActionsConfig(get_items=ActionConfig(enabled=False)),
        map=ScatterMapConfig(width=40, height=40, agents=20, objects={"wall": 50}),
    )


def our_arena() -> WorldConfig:
    """Return this project's arena with as many tokens as mettagrid gives."""
    config = arena()
    config.observation.num_tokens = 500
    return config


def measure(tick: Tick, num_agents: int, seconds: float, start: int) -> float:
    """Return agent-steps a second of processor time."""
    number, began = start, time.process_time()
    while time.process_time() - began < seconds:
        for _ in range(10):
            tick(number)
            number += 1
    return (number - start) * num_agents / (time.process_time() - began)


def compare(theirs: Any, ours: WorldConfig, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Return both speeds, and the factor between runs that follow one another."""
    games = {"mettagrid": their_game(theirs), "metta": our_game(ours)}
    speeds: dict[str, list[float]] = {name: [] for name in games}
    for tick, _ in games.values():
        for number in range(WARM_UP_TICKS):
            tick(number)
    for played in range(rounds):
        for name, (tick, num_agents) in games.items():
            speeds[name].append(measure(tick, num_agents, seconds, WARM_UP_TICKS + played))
    factors = [ours / theirs for theirs, ours in zip(*speeds.values(), strict=True)]
    return {**{name: spread(values) for name, values in speeds.items()}, "factor": spread(factors)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    try:
        installed = version("mettagrid")
    except PackageNotFoundError:
        print("mettagrid is not installed, nothing is compared; hint: pip install 'metta[benchmark]'", file=sys.stderr)
        return
    games: dict[str, tuple[Any, WorldConfig]] = {
        "arena": (their_arena(), our_version_of_their_arena()),
        "toy": (their_toy(), our_version_of_their_toy()),
        "ours": (their_arena(), our_arena()),
    }
    results = {name: compare(*pair, rounds=arguments.rounds, seconds=arguments.seconds) for name, pair in games.items()}
    factors = ", ".join(f"{name} {result['factor']['median']:.0f} times" for name, result in results.items())
    report(
        "against_mettagrid",
        {"unit": "agent-steps per second of processor time, one core", "mettagrid": installed, **results},
        f"faster than mettagrid {installed}: {factors}",
    )


if __name__ == "__main__":
    main()
