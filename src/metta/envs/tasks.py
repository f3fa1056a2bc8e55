"""Which world is played next, and what came of it: `Task`, `EpisodeEnd`, and the sources that hand out tasks."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from metta.errors import CheckpointError, ConfigError
from metta.grid.config import WorldConfig
from metta.grid.rng import episode_seed, pool_index, pool_seed


class Task(NamedTuple):
    """One episode to play.

    `config` belongs to whoever made the task and must not be changed once it has been handed out: a `VecEnv` compiles
    each config object once and knows it again by identity. `label` and `key` mean nothing to the environment; they
    come back in the task's `EpisodeEnd`.
    """

    config: WorldConfig
    seed: int  # the episode's seed, 0..2**63-1: map, order, noise, everything drawn at random
    label: str = ""
    key: int = 0
    map_seed: int | None = None  # the seed of the map alone; None: the episode's


class EpisodeEnd(NamedTuple):
    """What is known of an episode at its last tick, before its world was reset. All arrays are the receiver's own."""

    # A agents  S agent stats  R resources
    world: int
    task: Task
    length: int  # ticks played
    truncated: bool  # False: terminated
    staggered: bool  # the shortened first episode of a training world: kept out of every statistic
    agent_stats: NDArray[np.int32]  # [A, S] columns as `CompiledWorld.stat_names`
    rewards: NDArray[np.float32]  # [A] sums over the episode
    inventory: NDArray[np.uint8]  # [A, R] what each agent held
    world_stats: dict[str, float]  # `world_stat_names`, and converters summed by kind (altar.heart.produced)


class TaskSource(Protocol):
    """Hands out tasks and hears how they ended; all that it knows is in its `state_dict`."""

    def next_task(self, world: int, episode: int) -> Task | None:
        """Return what `world` plays as its `episode`-th (from 0), or None: nothing is left, the world stays idle."""

    def on_episode_end(self, end: EpisodeEnd) -> None:
        """Hear how an episode ended, staggered ones too; called before the world's next task is asked for."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers, texts, lists, dictionaries and numpy arrays."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""


class SingleTask:
    """One world for ever, every episode from a seed of its own: (run seed, world, episode).

    Processes that train together count their worlds on from each other: `first_world` is the number of this one's
    first, so the games are those of one process with all the worlds.

    `map_pool`: how many maps there are; each episode plays the one that its seed picks. None: every episode a fresh
    map. The maps are drawn from the run's seed. Raises ConfigError for a pool without maps.
    """

    def __init__(
        self, config: WorldConfig, *, seed: int, first_world: int = 0, label: str = "", map_pool: int | None = None
    ) -> None:
        if map_pool is not None and map_pool < 1:
            raise ConfigError(f"map_pool: given {map_pool}, allowed is at least 1, or None for a fresh map each time")
        self.config = config.model_copy(deep=True)  # a later change by the caller is not seen by half of the worlds
        self.seed = seed
        self.first_world = first_world
        self.label = label
        self.map_pool = map_pool

    def next_task(self, world: int, episode: int) -> Task:
        """Return the same world with the seed of this place and episode."""
        seed = int(episode_seed(self.seed, self.first_world + world, episode))
        map_seed = None if self.map_pool is None else self._map_seed(int(pool_index(seed, self.map_pool)))
        return Task(self.config, seed, self.label, map_seed=map_seed)

    def pool_seeds(self) -> list[int]:
        """Return the seeds of the maps of the pool; none without one."""
        return [self._map_seed(i) for i in range(self.map_pool or 0)]

    def _map_seed(self, index: int) -> int:
        return int(pool_seed(self.seed, index))

    def on_episode_end(self, end: EpisodeEnd) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return what seeds are derived from; the number of each world's episode is kept by the environment."""
        return {"seed": self.seed, "first_world": self.first_world, "map_pool": self.map_pool}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the seeds of the run that was saved."""
        self.seed, self.first_world = int(state["seed"]), int(state["first_world"])
        self.map_pool = state.get("map_pool")  # checkpoints from before there were pools do not say


class FixedTasks:
    """A list of tasks, each played once, handed out in list order to whichever world is free.

    Which world plays a task has no influence on its game, so results are the same for every number of worlds; these
    may also be those of several environments, each in a thread of its own.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = list(tasks)
        self.num_handed_out = 0
        self._lock = Lock()

    def next_task(self, world: int, episode: int) -> Task | None:
        """Return the first task that nobody has played, or None when all are out."""
        with self._lock:
            if self.num_handed_out == len(self.tasks):
                return None
            self.num_handed_out += 1
            return self.tasks[self.num_handed_out - 1]

    def on_episode_end(self, end: EpisodeEnd) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return how many tasks are out; the list itself is the caller's to rebuild."""
        return {"num_handed_out": self.num_handed_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after as many tasks as were out."""
        self.num_handed_out = int(state["num_handed_out"])


def tasks_to_plain(tasks: list[Task | None]) -> dict[str, Any]:
    """Return what each world plays as numbers and texts; a config that several share is written once, as JSON."""
    numbers: dict[int, int] = {}
    configs: list[str] = []
    worlds: list[list[Any] | None] = []
    for task in tasks:
        if task is None:
            worlds.append(None)
            continue
        if id(task.config) not in numbers:
            numbers[id(task.config)] = len(configs)
            configs.append(task.config.model_dump_json())
        worlds.append([numbers[id(task.config)], task.seed, task.label, task.key, task.map_seed])
    return {"configs": configs, "worlds": worlds}


def tasks_from_plain(plain: dict[str, Any]) -> list[Task | None]:
    """Return the tasks of `tasks_to_plain`. Raises CheckpointError for a config that this version cannot read."""
    try:
        configs = [WorldConfig.model_validate_json(text) for text in plain["configs"]]
    except ValidationError as error:
        raise CheckpointError(f"the snapshot holds a world that this version cannot read: {error}") from error
    worlds: list[list[Any] | None] = plain["worlds"]
    return [None if row is None else _task_of(configs[row[0]], *row[1:]) for row in worlds]


def _task_of(config: WorldConfig, seed: int, label: str, key: int, map_seed: int | None = None) -> Task:
    """Return a task; checkpoints from before there were pools of maps hold no `map_seed`."""
    return Task(config, int(seed), label, int(key), map_seed)
