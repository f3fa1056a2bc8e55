"""Which world is played next, and what came of it: `Task`, `EpisodeEnd`, and the sources that hand out tasks."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from metta.errors import CheckpointError
from metta.grid.config import WorldConfig
from metta.grid.rng import episode_seed


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
    """

    def __init__(self, config: WorldConfig, *, seed: int, first_world: int = 0, label: str = "") -> None:
        self.config = config.model_copy(deep=True)  # a later change by the caller is not seen by half of the worlds
        self.seed = seed
        self.first_world = first_world
        self.label = label

    def next_task(self, world: int, episode: int) -> Task:
        """Return the same world with the seed of this place and episode."""
        return Task(self.config, int(episode_seed(self.seed, self.first_world + world, episode)), self.label)

    def on_episode_end(self, end: EpisodeEnd) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return what seeds are derived from; the number of each world's episode is kept by the environment."""
        return {"seed": self.seed, "first_world": self.first_world}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the seeds of the run that was saved."""
        self.seed, self.first_world = int(state["seed"]), int(state["first_world"])


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
        worlds.append([numbers[id(task.config)], task.seed, task.label, task.key])
    return {"configs": configs, "worlds": worlds}


def tasks_from_plain(plain: dict[str, Any]) -> list[Task | None]:
    """Return the tasks of `tasks_to_plain`. Raises CheckpointError for a config that this version cannot read."""
    try:
        configs = [WorldConfig.model_validate_json(text) for text in plain["configs"]]
    except ValidationError as error:
        raise CheckpointError(f"the snapshot holds a world that this version cannot read: {error}") from error
    worlds: list[list[Any] | None] = plain["worlds"]
    return [None if row is None else Task(configs[row[0]], int(row[1]), row[2], int(row[3])) for row in worlds]
