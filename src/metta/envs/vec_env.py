"""`VecEnv`: thousands of grid worlds stepped together, in fixed buffers, with same-step reset.

A step is one compiled call for all worlds; Python looks only at worlds whose episode ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metta.envs.capacity import grow_state
from metta.envs.noise import action_noise
from metta.envs.plain import update_digest
from metta.envs.snapshots import check_snapshot
from metta.envs.spaces import TokenSpace, token_space
from metta.envs.tasks import EpisodeEnd, Task, TaskSource, tasks_from_plain, tasks_to_plain
from metta.errors import ConfigError
from metta.grid import CompiledWorld, WorldConfig, compile_world
from metta.grid.compile import allocate_rules, check_compatible, one_row_for_all, write_rules_row
from metta.grid.cpu import reset_world, step_worlds
from metta.grid.rng import staggered_length
from metta.grid.ruleset import Buffers, allocate_buffers
from metta.grid.world import WORLD_STEP, Sizes, State, allocate_state, largest
from metta.grid.world_stats import sum_converter_stats

MAX_KNOWN_CONFIGS = 1024  # config objects whose compiled world is remembered by identity
STEP_RESULTS = ("terminals", "truncations", "action_success", "rewards")  # of each agent, beside its observation
MAX_SLOTS = 4096  # places for observations that are remembered


class VecEnv:
    """A `BatchedEnv` of grid worlds (interface.py says what each attribute is).

    E worlds of A agents, N = E * A rows; row `world * A + agent`. `layout` is a world whose resources, features,
    actions, number of agents and window all others share; without it, the first task's world. `stagger` shortens
    each world's first episode to a length drawn from its seed, so that training worlds do not end all at once.
    `threads` changes the speed alone.

    `device`: `cpu`, or `cuda` (`cuda:<n>`) for the same games on a GPU, where every array of this page is a tensor of
    PyTorch's on that device and maps come from a pool (cuda_vec_env.py, docs/gpu.md).

    The buffers are written in place by `reset` and `step`: copy what must last. Raises ConfigError for worlds that
    do not compile or cannot be played side by side.
    """

    # E worlds  A agents  N = E * A  K tokens  M rows that ended
    num_worlds: int
    agents_per_world: int
    num_agents: int
    num_actions: int
    action_names: tuple[str, ...]
    agent_stat_names: tuple[str, ...]
    resource_names: tuple[str, ...]
    space: TokenSpace
    compiled: CompiledWorld  # of the layout
    state: State

    observations: NDArray[np.uint8]  # [N, K, 3]
    token_counts: NDArray[np.int32]  # [N]
    rewards: NDArray[np.float32]  # [N]
    terminals: NDArray[np.bool_]  # [N]
    truncations: NDArray[np.bool_]  # [N]
    action_success: NDArray[np.bool_]  # [N]
    active: NDArray[np.bool_]  # [E]
    final_index: NDArray[np.int64]  # [M]
    final_observation: NDArray[np.uint8]  # [M, K, 3]
    episode_ends: list[EpisodeEnd]
    before_reset: list[Callable[[int], None]]  # called with each world that ended, its last tick still in `state`

    def __new__(cls, *arguments: Any, device: str = "cpu", **settings: Any) -> Any:
        if device == "cpu":
            return super().__new__(cls)
        from metta.envs.cuda_vec_env import CudaVecEnv  # loads torch

        return CudaVecEnv(*arguments, device=device, **settings)

    def __init__(
        self,
        task_source: TaskSource,
        *,
        num_worlds: int,
        threads: int = 1,
        stagger: bool = False,
        layout: WorldConfig | None = None,
        device: str = "cpu",
    ) -> None:
        assert device == "cpu"  # see __new__
        for name, value in (("num_worlds", num_worlds), ("threads", threads)):
            if value < 1:
                raise ConfigError(f"{name}: given {value}, allowed is at least 1")
        self.task_source = task_source
        self.num_worlds = num_worlds
        self.threads = threads
        self.stagger = stagger
        self.before_reset = []
        self._first_tasks: list[Task | None] | None = None
        if layout is None:
            self._first_tasks = self._next_first_tasks()
            layout = next((task.config for task in self._first_tasks if task is not None), None)
            if layout is None:
                raise ConfigError(
                    "the task source has no task to begin with; give `layout`, a world like those to play"
                )
        self.compiled = compile_world(layout)
        self.agents_per_world = layout.num_agents
        self.num_agents = num_worlds * layout.num_agents
        self.action_names = self.compiled.action_names
        self.num_actions = len(self.action_names)
        self.agent_stat_names = self.compiled.stat_names
        self.resource_names = self.compiled.resource_names
        self.space = token_space(self.compiled)
        self._known: dict[int, tuple[WorldConfig, CompiledWorld]] = {}
        self._compiled = [self.compiled] * num_worlds
        self._tasks: list[Task | None] = [None] * num_worlds
        self._episodes = np.zeros(num_worlds, np.int64)
        self._staggered = np.zeros(num_worlds, np.bool_)
        self._allocate(self.compiled.sizes)

    def _allocate(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._lay_out_rules()
        self._use_state(allocate_state(sizes, self.num_worlds))
        buffers = allocate_buffers(sizes, self.num_worlds)
        self._buffers = buffers
        self._slots: dict[tuple[int, int], Buffers] = {}
        self._actions = buffers.actions
        self.observations = buffers.observations.reshape(self.num_agents, sizes.tokens, 3)
        self.token_counts = buffers.token_counts.reshape(self.num_agents)
        self.terminals = buffers.terminals.reshape(self.num_agents)
        self.truncations = buffers.truncations.reshape(self.num_agents)
        self.action_success = buffers.action_success.reshape(self.num_agents)
        self.active = buffers.active
        self.active[:] = False
        self._has_idle = True
        self._clear_finals()

    def _use_state(self, state: State) -> None:
        self.state = state
        self.rewards = state.rewards.reshape(self.num_agents)

    # Playing

    def reset(self) -> None:
        """Begin a new episode in every world, numbered from 0; episodes under way are dropped without a report."""
        tasks = self._first_tasks or self._next_first_tasks()
        self._first_tasks = None
        self._clear_finals()
        self._episodes[:] = 0
        for world, task in enumerate(tasks):
            self._begin(world, task)
        if not self._has_one_row:
            self._lay_out_rules()  # all may play the same again
        self._clear_idle_rows()

    def step(self, actions: NDArray[np.int32]) -> None:
        """Play one tick in every active world; `actions` int [N], any number (those that do not exist fail)."""
        if len(self.final_index):
            self._clear_finals()
        if self._has_idle:
            self._clear_idle_rows()
        buffers = self._buffers
        self._actions.reshape(-1)[:] = actions
        step_worlds(self.rules, self.state, buffers, self.threads)
        ended = (buffers.terminals[:, 0] | buffers.truncations[:, 0]).nonzero()[0]
        if len(ended):
            self._end_episodes(ended)

    def action_noise(self, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fill `out` float32 [N] with uniform numbers in [0, 1), keyed by (episode seed, tick, agent); return it."""
        action_noise(self.state.worlds, out)
        return out

    def set_observation_buffer(self, observations: NDArray[np.uint8], token_counts: NDArray[np.int32]) -> None:
        """Let the next step or reset write into these arrays, which become `observations` and `token_counts`.

        `observations` uint8 [N, K, 3], `token_counts` int32 [N], contiguous. The counts say how much of each row is
        in use: what lies behind must be 255. Memory of unknown content needs counts of K at first.
        """
        for new, old in ((observations, self.observations), (token_counts, self.token_counts)):
            assert new.shape == old.shape and new.dtype == old.dtype and new.flags.c_contiguous
        key = observations.ctypes.data, token_counts.ctypes.data
        self._buffers = self._slots.get(key) or self._add_slot(key, observations, token_counts)
        self.observations = observations
        self.token_counts = token_counts

    def _add_slot(
        self, key: tuple[int, int], observations: NDArray[np.uint8], token_counts: NDArray[np.int32]
    ) -> Buffers:
        """Remember the buffers that write to this place: telling the rules where things lie costs 40 us each time."""
        if len(self._slots) >= MAX_SLOTS:
            self._slots.clear()
        shape = self._buffers.observations.shape
        self._slots[key] = self._buffers._replace(
            actions=self._actions.view(),  # an array object of its own, by which the rules know these buffers again
            observations=observations.reshape(shape),
            token_counts=token_counts.reshape(shape[:2]),
        )
        return self._slots[key]

    def compiled_world(self, world: int) -> CompiledWorld:
        """Return the compiled world that `world` plays or played last."""
        return self._compiled[world]

    def task(self, world: int) -> Task | None:
        """Return what `world` plays; None when it is idle."""
        return self._tasks[world]

    def close(self) -> None:
        """Nothing is held outside of memory."""

    # Saving

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of all that decides how the games go on; the last step's `episode_ends` are not kept."""
        return {
            "sizes": list(self.sizes),
            "state": {name: array.copy() for name, array in self.state._asdict().items()},
            "buffers": {name: array.copy() for name, array in self._saved_buffers().items()},
            "final_index": self.final_index.copy(),
            "final_observation": self.final_observation.copy(),
            "tasks": tasks_to_plain(self._tasks),
            "task_source": self.task_source.state_dict(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on where `snapshot` was taken, bit for bit. Raises CheckpointError when it was taken of other worlds."""
        sizes = check_snapshot(snapshot, num_worlds=self.num_worlds, observation_shape=self.observations.shape)
        tasks = tasks_from_plain(snapshot["tasks"])
        self.task_source.load_state_dict(snapshot["task_source"])
        self._first_tasks = None
        self._tasks = tasks
        self._compiled = [self.compiled if task is None else self._compile(task.config) for task in tasks]
        self._grow_rules(sizes)
        self._use_state(State(**{name: array.copy() for name, array in snapshot["state"].items()}))
        for name, array in self._saved_buffers().items():
            array[...] = snapshot["buffers"][name]
        self._has_idle = not self.active.all()
        self.episode_ends = []
        self.final_index = snapshot["final_index"].copy()
        self.final_observation = snapshot["final_observation"].copy()

    def hash(self) -> str:
        """Return a digest of what `snapshot` holds."""
        digest = hashlib.sha256()
        update_digest(digest, self.snapshot())
        return digest.hexdigest()

    def _saved_buffers(self) -> dict[str, NDArray[Any]]:
        return {
            "observations": self.observations,
            "token_counts": self.token_counts,
            "terminals": self.terminals,
            "truncations": self.truncations,
            "action_success": self.action_success,
            "active": self.active,
            "episodes": self._episodes,
            "staggered": self._staggered,
        }

    # Episodes

    def _next_first_tasks(self) -> list[Task | None]:
        return [self.task_source.next_task(world, 0) for world in range(self.num_worlds)]

    def _begin(self, world: int, task: Task | None) -> None:
        """Begin a world's next episode, or let it rest. Its flags and reward are cleared, its observations written."""
        self._tasks[world] = task
        self.active[world] = task is not None
        self._staggered[world] = False
        if task is None:
            self._has_idle = True
            return
        compiled = self._compile(task.config)
        if compiled is not self._compiled[world]:
            self._make_room(compiled.sizes)
            self._compiled[world] = compiled
            if self._has_one_row:
                self._lay_out_rules()
        end_at = task.config.max_steps
        if self.stagger and self._episodes[world] == 0 and end_at > 0:
            end_at = int(staggered_length(task.seed, end_at))
            self._staggered[world] = end_at < task.config.max_steps
        grid_map = compiled.build_map(task.seed if task.map_seed is None else task.map_seed)
        reset_world(compiled, self.rules, self.state, self._buffers, world, grid_map, seed=task.seed, end_at=end_at)

    def _end_episodes(self, ended: NDArray[np.int64]) -> None:
        """Report the episodes of the worlds that ended, keep their last observations, then begin the next ones."""
        A = self.agents_per_world
        rows = self.final_index = (ended[:, None] * A + np.arange(A)).ravel()
        self.final_observation = self.observations[rows]
        shortened = rows[np.repeat(self._staggered[ended], A)]
        self.truncations[shortened] = True
        self.terminals[shortened] = False
        tasks: dict[int, Task | None] = {}
        for world in ended.tolist():
            end = self._episode_end(world)
            self.episode_ends.append(end)
            self.task_source.on_episode_end(end)
            for look in tuple(self.before_reset):  # they may take themselves off the list
                look(world)
            self._episodes[world] += 1
            tasks[world] = self.task_source.next_task(world, int(self._episodes[world]))
        kept = {name: getattr(self, name)[rows] for name in STEP_RESULTS}
        try:
            for world, task in tasks.items():
                self._begin(world, task)
                if task is None:
                    self.observations[world * A : (world + 1) * A] = 255
                    self.token_counts[world * A : (world + 1) * A] = 0
        finally:  # the step's results stay beside the new episodes' first observations
            for name, values in kept.items():
                getattr(self, name)[rows] = values  # by name: a larger world may have moved the rewards

    def _episode_end(self, world: int) -> EpisodeEnd:
        task, state, compiled = self._tasks[world], self.state, self._compiled[world]
        assert task is not None
        world_stats = state.world_stats[world, : len(compiled.world_stat_names)].tolist()
        return EpisodeEnd(
            world=world,
            task=task,
            length=int(state.worlds[world, WORLD_STEP]),
            truncated=bool(self.truncations[world * self.agents_per_world]),
            staggered=bool(self._staggered[world]),
            agent_stats=self._agent_stats(world),
            rewards=state.episode_rewards[world].copy(),
            inventory=state.inventory[world].copy(),
            world_stats={name: float(n) for name, n in zip(compiled.world_stat_names, world_stats, strict=True)}
            | sum_converter_stats(compiled.converter_stats, state.objects[world], state.object_stats[world]),
        )

    def _agent_stats(self, world: int) -> NDArray[np.int32]:
        """Return a world's statistics [A, S] in the columns of `agent_stat_names`; what it does not count is 0."""
        names = self._compiled[world].stat_names
        stats: NDArray[np.int32] = self.state.stats[world]
        result: NDArray[np.int32] = stats[:, : len(names)].copy()
        if names == self.agent_stat_names:
            return result
        column = {name: i for i, name in enumerate(names)}
        result = np.zeros((self.agents_per_world, len(self.agent_stat_names)), np.int32)
        for i, name in enumerate(self.agent_stat_names):
            if name in column:
                result[:, i] = stats[:, column[name]]
        return result

    def _compile(self, config: WorldConfig) -> CompiledWorld:
        """Return the compiled world of a config object, checked against the layout; the object is known by identity."""
        known = self._known.get(id(config))
        if known is not None:
            return known[1]
        compiled = compile_world(config)
        if compiled is not self.compiled:
            check_compatible(self.compiled, compiled)
        if len(self._known) >= MAX_KNOWN_CONFIGS:
            self._known.clear()
        self._known[id(config)] = config, compiled  # holding the object keeps its identity its own
        return compiled

    def _make_room(self, sizes: Sizes) -> None:
        sizes = largest(self.sizes, sizes)
        if sizes != self.sizes:
            self._grow_rules(sizes)
            self._use_state(grow_state(self.state, self.rules, sizes))

    def _lay_out_rules(self) -> None:
        """Write the rules of every world: once for all, as long as all play the same, else a row for each."""
        first = self._compiled[0]
        self._has_one_row = all(compiled is first for compiled in self._compiled)
        if self._has_one_row:
            self.rules = one_row_for_all(first, self.sizes, self.num_worlds)
            return
        self.rules = allocate_rules(self.sizes, self.num_worlds)
        for world, compiled in enumerate(self._compiled):
            write_rules_row(self.rules, world, compiled)

    def _grow_rules(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._lay_out_rules()
        self._buffers = self._buffers._replace(pools=allocate_buffers(sizes, self.num_worlds).pools)
        self._slots.clear()

    def _clear_finals(self) -> None:
        self.episode_ends = []
        self.final_index = np.zeros(0, np.int64)
        self.final_observation = np.zeros((0, self.sizes.tokens, 3), np.uint8)

    def _clear_idle_rows(self) -> None:
        """Let the rows of worlds without a task say nothing."""
        self._has_idle = not self.active.all()
        if self._has_idle:
            idle = np.repeat(~self.active, self.agents_per_world)
            self.observations[idle] = 255
            for array in (self.token_counts, self.rewards, self.terminals, self.truncations, self.action_success):
                array[idle] = 0
