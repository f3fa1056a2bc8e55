"""`VecEnv(device="cuda")`: the same games, with every buffer on the GPU as a tensor of PyTorch's.

`step` queues a few kernels and returns; nothing is copied to the host and nobody waits. What is known of episodes that
ended is fetched when it is asked for. The games are those of `VecEnv` on the CPU, bit for bit (tests/grid/cuda).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from metta.envs.cuda_memory import (
    Table,
    current_place,
    download,
    expand_row,
    find_device,
    put,
    rows_of,
    to_device,
    upload,
)
from metta.envs.plain import update_digest
from metta.envs.snapshots import check_snapshot
from metta.envs.spaces import TokenSpace, token_space
from metta.envs.tasks import EpisodeEnd, SingleTask, Task, TaskSource, tasks_from_plain, tasks_to_plain
from metta.errors import CheckpointError, ConfigError
from metta.grid import CompiledWorld, compile_world
from metta.grid.compile import allocate_rules
from metta.grid.cpu import reset_world
from metta.grid.cuda.episodes import Episodes, allocate_episodes
from metta.grid.cuda.kernels import BEGIN, DRAW, NOISE, OBSERVE, SETTLE, Kernel
from metta.grid.cuda.launch import launch, prepare
from metta.grid.cuda.own import act_kernels, check_own_rules
from metta.grid.ruleset import SHARED_FIELDS, allocate_buffers
from metta.grid.world import State, allocate_state
from metta.grid.world_stats import sum_converter_stats

if TYPE_CHECKING:
    from torch import Tensor

MAX_SLOTS = 4096  # places for observations that are remembered


class CudaVecEnv:
    """The face of `VecEnv`, with tensors on a GPU where that has arrays; E worlds of A agents, N = E * A rows.

    Maps come from a pool on the device, so the source of tasks is a `SingleTask` with `map_pool`. Raises ConfigError
    for another source, and where there is no such GPU or no compiler for its kernels.
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
    compiled: CompiledWorld
    state: Any  # `State` of tensors

    observations: Tensor  # uint8 [N, K, 3]
    token_counts: Tensor  # int32 [N]
    rewards: Tensor  # float32 [N]
    terminals: Tensor  # bool [N]
    truncations: Tensor  # bool [N]
    action_success: Tensor  # bool [N]
    active: Tensor  # bool [E], all True

    # None: not asked for since the last step
    _final_index: Tensor | None
    _final_observation: Tensor | None
    _episode_ends: list[EpisodeEnd] | None

    def __init__(
        self, task_source: TaskSource, *, num_worlds: int, device: str, threads: int = 1, stagger: bool = False
    ) -> None:
        self.device = find_device(device)
        for name, value in (("num_worlds", num_worlds), ("threads", threads)):
            if value < 1:
                raise ConfigError(f"{name}: given {value}, allowed is at least 1")
        # exactly this class: what a derived one hands out would have to be worked out on the device
        if type(task_source) is not SingleTask or task_source.map_pool is None:
            raise ConfigError(
                f"task_source: on a GPU worlds begin anew from a pool of maps, given {type(task_source).__name__} "
                "without one; allowed: SingleTask(..., map_pool=<number of maps>)"
            )
        self.task_source = task_source
        self.num_worlds = num_worlds
        self.stagger = stagger
        self.compiled = compile_world(task_source.config)
        self.agents_per_world = self.compiled.config.num_agents
        self.num_agents = num_worlds * self.agents_per_world
        self.action_names = self.compiled.action_names
        self.num_actions = len(self.action_names)
        self.agent_stat_names = self.compiled.stat_names
        self.resource_names = self.compiled.resource_names
        self.space = token_space(self.compiled)
        self._act = act_kernels(self.compiled)
        self._allocate()

    def _allocate(self) -> None:
        sizes, device = self.compiled.sizes, self.device
        self.sizes = sizes
        self._rules = Table(expand_row(upload(self.compiled.rules, device), self.num_worlds, shared=SHARED_FIELDS))
        self.state = upload(allocate_state(sizes, self.num_worlds), device)
        self._state = Table(self.state)
        self._episode_tensors: Any = upload(allocate_episodes(sizes, self.num_worlds), device)
        self._episodes = Table(self._episode_tensors)
        self._buffers: Any = upload(allocate_buffers(sizes, self.num_worlds), device)
        self._slots: dict[tuple[int, int], tuple[Any, Table]] = {}
        self._slot = Table(self._buffers)
        self.observations = self._buffers.observations.view(self.num_agents, sizes.tokens, 3)
        self.token_counts = self._buffers.token_counts.view(self.num_agents)
        self.terminals = self._buffers.terminals.view(self.num_agents)
        self.truncations = self._buffers.truncations.view(self.num_agents)
        self.action_success = self._buffers.action_success.view(self.num_agents)
        self.rewards = self.state.rewards.view(self.num_agents)
        self.active = self._buffers.active
        check_own_rules(self.compiled, self._prepare)
        self._fill_pool()
        self._forget_finals()

    def _fill_pool(self) -> None:
        """Let a world begin on each map of the pool, as it would on the CPU, and lay them all onto the device."""
        sizes, seeds = self.sizes, self.task_source.pool_seeds()
        rules, state = allocate_rules(sizes, len(seeds)), allocate_state(sizes, len(seeds))
        buffers = allocate_buffers(sizes, len(seeds))
        for p, seed in enumerate(seeds):
            reset_world(self.compiled, rules, state, buffers, p, self.compiled.build_map(seed), seed=0)
        self._pool = Table(upload(state, self.device)), Table(upload(buffers, self.device))

    # Playing

    def reset(self) -> None:
        """Begin a new episode in every world, numbered from 0; episodes under way are dropped without a report."""
        episodes = self._episode_tensors
        episodes.numbers.zero_()
        self._launch(DRAW, self._episodes.argument, *self._draws(), items=self.num_worlds)
        episodes.ended.fill_(True)
        self._begin()
        episodes.ended.fill_(False)
        for tensor in (self.rewards, self.terminals, self.truncations, self.action_success):
            tensor.zero_()
        self._forget_finals()

    def step(self, actions: Tensor | NDArray[Any]) -> None:
        """Play one tick in every world; `actions` integers [N], on any device."""
        put(self._buffers.actions.view(-1), actions)
        tables = (self._rules.argument, self._state.argument, self._slot.argument)
        for kernel in self._act:
            self._launch(kernel, *tables, items=self.num_worlds)
        self._launch(OBSERVE, *tables, self._episodes.argument, items=self.num_agents)
        self._launch(SETTLE, *tables, self._episodes.argument, *self._draws(), items=self.num_worlds)
        self._begin()
        self._forget_finals()

    def _begin(self) -> None:
        pool, views = self._pool
        tables = (self._state, self._slot, pool, views, self._episodes)
        self._launch(BEGIN, *(table.argument for table in tables), items=self.num_worlds)

    def _draws(self) -> tuple[int, ...]:
        """Return what decides which episodes are drawn: the last arguments of kernels that draw."""
        tasks = self.task_source
        num_maps = tasks.map_pool or 0
        return tasks.seed, tasks.first_world, num_maps, self.compiled.config.max_steps, int(self.stagger)

    def _prepare(self, kernel: Kernel) -> None:
        with current_place(self.device) as place:
            prepare(kernel, **place._asdict())

    def _launch(self, kernel: Kernel, *arguments: Any, items: int) -> None:
        with current_place(self.device) as place:
            launch(kernel, *arguments, items=items, **place._asdict())

    def action_noise(self, out: Tensor) -> Tensor:
        """Fill `out` float32 [N] with uniform numbers in [0, 1), keyed by (episode seed, tick, agent); return it."""
        self._launch(NOISE, self._state.argument, self._episodes.argument, items=self.num_agents)
        return out.copy_(self._episode_tensors.noise.view(-1))

    def set_observation_buffer(self, observations: Tensor, token_counts: Tensor) -> None:
        """Let the next step or reset write into these tensors, which become `observations` and `token_counts`.

        `observations` uint8 [N, K, 3], `token_counts` int32 [N], contiguous, on this device. The counts say how much
        of each row is in use: what lies behind must be 255. Memory of unknown content needs counts of K at first.
        """
        for new, old in ((observations, self.observations), (token_counts, self.token_counts)):
            assert new.shape == old.shape and new.dtype == old.dtype and new.is_contiguous()
            assert new.device == old.device
        key = observations.data_ptr(), token_counts.data_ptr()
        if key not in self._slots:
            if len(self._slots) >= MAX_SLOTS:
                self._slots.clear()
            shape = self._buffers.observations.shape
            buffers = self._buffers._replace(
                observations=observations.view(shape), token_counts=token_counts.view(shape[:2])
            )
            self._slots[key] = buffers, Table(buffers)
        self._buffers, self._slot = self._slots[key]
        self.observations, self.token_counts = observations, token_counts

    def compiled_world(self, world: int) -> CompiledWorld:
        """Return the compiled world that all worlds play."""
        return self.compiled

    def task(self, world: int) -> Task:
        """Return what `world` plays."""
        return self.task_source.next_task(world, int(self._episode_tensors.numbers[world]))

    def close(self) -> None:
        """Nothing is held outside of memory."""

    # Episodes that ended in the last step: fetched when they are asked for

    @property
    def final_index(self) -> Tensor:
        """Rows whose episode ended in the last step, int64 [M], ascending; waits for the step to end."""
        if self._final_index is None:
            self._final_index = rows_of(self._episode_tensors.ended.nonzero()[:, 0], self.agents_per_world)
        return self._final_index

    @property
    def final_observation(self) -> Tensor:
        """Their last observations, uint8 [M, K, 3]."""
        if self._final_observation is None:
            last: Tensor = self._episode_tensors.last_observations.view(self.observations.shape)
            self._final_observation = last[self.final_index]
        return self._final_observation

    @property
    def episode_ends(self) -> list[EpisodeEnd]:
        """The episodes that ended in the last step, by world."""
        if self._episode_ends is None:
            self._episode_ends = self._fetch_ends(self.final_index[:: self.agents_per_world] // self.agents_per_world)
        return self._episode_ends

    def _forget_finals(self) -> None:
        self._final_index = self._final_observation = self._episode_ends = None

    def _fetch_ends(self, worlds: Tensor) -> list[EpisodeEnd]:
        names = [name for name in Episodes._fields if name.startswith("last_")]
        last = download({name: getattr(self._episode_tensors, name)[worlds] for name in [*names, "numbers"]})
        return [self._episode_end(world, i, last) for i, world in enumerate(worlds.tolist())]

    def _episode_end(self, world: int, i: int, last: dict[str, Any]) -> EpisodeEnd:
        compiled = self.compiled
        world_stats = zip(compiled.world_stat_names, last["last_world_stats"][i].tolist(), strict=True)
        return EpisodeEnd(
            world=world,
            task=self.task_source.next_task(world, int(last["numbers"][i]) - 1),
            length=int(last["last_lengths"][i]),
            truncated=bool(last["last_truncated"][i]),
            staggered=bool(last["last_staggered"][i]),
            agent_stats=last["last_stats"][i].copy(),
            rewards=last["last_rewards"][i].copy(),
            inventory=last["last_inventory"][i].copy(),
            world_stats={name: float(n) for name, n in world_stats}
            | sum_converter_stats(compiled.converter_stats, last["last_objects"][i], last["last_object_stats"][i]),
        )

    # Saving

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of all that decides how the games go on, on the host: what `VecEnv.snapshot` returns."""
        return {
            "sizes": list(self.sizes),
            "state": download(self.state._asdict()),
            "buffers": download(self._saved_buffers()),
            "final_index": self.final_index.cpu().numpy().copy(),
            "final_observation": self.final_observation.cpu().numpy().copy(),
            "tasks": tasks_to_plain([self.task(world) for world in range(self.num_worlds)]),
            "task_source": self.task_source.state_dict(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on where `snapshot` was taken, on any device, bit for bit. Raises CheckpointError for other worlds."""
        sizes = check_snapshot(snapshot, num_worlds=self.num_worlds, observation_shape=tuple(self.observations.shape))
        self._check_world(snapshot, sizes == self.sizes)
        self.task_source.load_state_dict(snapshot["task_source"])
        self._fill_pool()
        for name, tensor in (*self.state._asdict().items(), *self._saved_buffers().items()):
            part = "state" if name in State._fields else "buffers"
            put(tensor, snapshot[part][name])
        self._final_index = to_device(snapshot["final_index"], self.device)
        self._final_observation = to_device(snapshot["final_observation"], self.device)
        self._episode_ends = []

    def hash(self) -> str:
        """Return a digest of what `snapshot` holds."""
        digest = hashlib.sha256()
        update_digest(digest, self.snapshot())
        return digest.hexdigest()

    def _saved_buffers(self) -> dict[str, Tensor]:
        return {
            "observations": self.observations,
            "token_counts": self.token_counts,
            "terminals": self.terminals,
            "truncations": self.truncations,
            "action_success": self.action_success,
            "active": self.active,
            "episodes": self._episode_tensors.numbers,
            "staggered": self._episode_tensors.staggered,
        }

    def _check_world(self, snapshot: dict[str, Any], has_these_sizes: bool) -> None:
        tasks = tasks_from_plain(snapshot["tasks"])
        worlds = [compile_world(task.config) for task in tasks if task is not None]
        pool = snapshot["task_source"].get("map_pool")
        if pool is None or not has_these_sizes or None in tasks or any(world is not self.compiled for world in worlds):
            raise CheckpointError("the snapshot is not of one world with a pool of maps, the one that this GPU plays")
