"""Records one world of a running environment.

A tick costs one copy of a few small arrays; what changed when is found at the end, all ticks at once.
"""

# T ticks recorded, the reset included  A agents  O objects  R resources

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metta.grid import CompiledWorld
from metta.grid.config import ConverterConfig, ObjectConfig, WallConfig
from metta.grid.world import (
    AGENT_COLOR,
    AGENT_FROZEN,
    AGENT_LAST_ACTION,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    AGENT_TEAM,
    AGENT_TEMPLATE,
    CELL_FIRST_OBJECT,
    MARGIN,
    OBJECT_COLOR,
    OBJECT_KIND,
    OBJECT_PHASE,
    OBJECT_POSITION,
    OBJECT_READY_AT,
    PHASE_CONVERTING,
    PHASE_COOLING,
    WORLD_NUM_OBJECTS,
    WORLD_STEP,
    WORLD_STRIDE,
    State,
    inner_cells,
)
from metta.replay.format import NOWHERE, VERSION, Replay

_NO_LIMIT = 255  # what `output_limit` says of a converter without one; inventories are bytes
_REWARD_DIGITS = 6


class RecordableEnv(Protocol):
    """What the recorder needs of an environment (`VecEnv` has it)."""

    state: State
    action_success: NDArray[np.bool_]  # [N]
    agents_per_world: int
    before_reset: list[Callable[[int], None]]  # each called with a world that ended, its last tick still in `state`

    def compiled_world(self, world: int) -> CompiledWorld:
        """Return what a world plays."""


class Recorder:
    """Records one episode of one world: `start` after the reset, `record_tick` after every step, then `finish`."""

    def __init__(self, env: RecordableEnv, world: int) -> None:
        self.env = env
        self.world = world
        self.num_ticks = -1  # recorded after the reset; -1: not started
        self.is_over = False  # the episode has ended; later ticks belong to the next one

    def start(self) -> None:
        """Record the world as it was reset."""
        env, world = self.env, self.world
        self._compiled = env.compiled_world(world)
        self._first_tick = int(env.state.worlds[world, WORLD_STEP])
        self._num_objects = int(env.state.worlds[world, WORLD_NUM_OBJECTS])
        self._use_state()
        self._cells = inner_cells(env.state, world).copy()
        self._rows: list[bytes] = []
        self._strides = [(0, int(env.state.worlds[world, WORLD_STRIDE]))]  # from which tick on
        self.num_ticks = -1
        self.is_over = False
        env.before_reset.append(self._on_end)
        self._capture()

    def _use_state(self) -> None:
        """Find the arrays of this world, which are others after the environment has made room for a larger one."""
        state, world, A = self.env.state, self.world, self.env.agents_per_world
        self._state = state
        self._sources: list[NDArray[Any]] = [
            state.agents[world],
            state.inventory[world],
            state.objects[world, : self._num_objects],
            state.object_inventory[world, : self._num_objects],
            state.rewards[world],
            self.env.action_success[world * A : (world + 1) * A],
        ]
        self._views = [source.data for source in self._sources]

    def record_tick(self) -> None:
        """Record the tick that was just played; after the episode's end nothing is recorded."""
        if not self.is_over:
            self._capture()

    def finish(self) -> Replay:
        """Stop recording and return the replay of what was recorded."""
        assert self.num_ticks >= 0, "finish() before start()"
        if self._on_end in self.env.before_reset:
            self.env.before_reset.remove(self._on_end)
        with _without_garbage_collection():
            return Replay(_build(self._compiled, self._cells, self._strides[-1][1], self._first_tick, *self._tracks()))

    def _tracks(self) -> list[NDArray[Any]]:
        """Return each source at every tick recorded, [T, ...]."""
        everything = np.frombuffer(b"".join(self._rows), np.uint8).reshape(len(self._rows), -1)
        tracks, first = [], 0
        for source in self._sources:
            part = np.ascontiguousarray(everything[:, first : first + source.nbytes])
            tracks.append(part.view(source.dtype).reshape(len(self._rows), *source.shape))
            first += source.nbytes
        for places in (tracks[0][:, :, AGENT_POSITION], tracks[2][:, :, OBJECT_POSITION]):
            self._use_last_stride(places)
        return tracks

    def _use_last_stride(self, places: NDArray[np.int32]) -> None:
        """Count places [T, n] on a stride that is the same at all ticks."""
        (_, last), starts = self._strides[-1], [start for start, _ in self._strides[1:]]
        for (start, stride), stop in zip(self._strides, starts, strict=False):
            part = places[start:stop]
            part[:] = np.where(part >= 0, part // stride * last + part % stride, part)

    def _on_end(self, world: int) -> None:
        if world == self.world and not self.is_over:
            self._capture()
            self.is_over = True

    def _capture(self) -> None:
        self.num_ticks += 1
        if self.env.state is not self._state:
            self._use_state()
            self._strides.append((self.num_ticks, int(self.env.state.worlds[self.world, WORLD_STRIDE])))
        # one copy of everything: six, each into an array of its own, take three times as long
        self._rows.append(b"".join(self._views))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Let a hundred thousand small lists be made without the collector looking through them again and again.

    An arena of 1,000 ticks: 45 ms instead of 150.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _build(
    compiled: CompiledWorld,
    cells: NDArray[np.int16],  # [H, W]
    stride: int,
    first_tick: int,
    agents: NDArray[np.int32],  # [T, A, fields]
    inventory: NDArray[np.uint8],  # [T, A, R]
    objects: NDArray[np.int32],  # [T, O, fields]
    object_inventory: NDArray[np.uint8],  # [T, O, R]
    rewards: NDArray[np.float32],  # [T, A]
    success: NDArray[np.bool_],  # [T, A]
) -> dict[str, Any]:
    """Return the JSON object of a replay."""
    config = compiled.config
    T, A = rewards.shape
    ticks = np.arange(first_tick, first_tick + T)
    rewards = rewards.copy()
    rewards[0] = 0.0
    entries = [
        _agent_entry(compiled, number, stride, agents[:, number], inventory[:, number])
        | _outcome_keys(rewards[:, number], success[:, number])
        for number in range(A)
    ]
    for row in range(objects.shape[1]):
        track = objects[:, row]
        used = track[:, OBJECT_KIND] >= 0
        if used.any():
            name = compiled.object_names[int(track[used.argmax(), OBJECT_KIND])]
            entries.append(_object_entry(compiled, name, ticks, stride, track, object_inventory[:, row]))
    entries += _wall_entries(compiled, cells)
    for number, entry in enumerate(entries, start=1):
        entry["id"] = number
    type_names = [""] * (max(compiled.object_types) + 1)
    for type_id, name in compiled.object_types.items():
        type_names[type_id] = name
    return {
        "version": VERSION,
        "action_names": list(compiled.action_names),
        "item_names": list(compiled.resource_names),
        "type_names": type_names,
        "map_size": [cells.shape[1], cells.shape[0]],
        "num_agents": A,
        "max_steps": T - 1,
        "mg_config": config.model_dump(mode="json"),
        "objects": entries,
    }


def _agent_entry(
    compiled: CompiledWorld, number: int, stride: int, track: NDArray[np.int32], inventory: NDArray[np.uint8]
) -> dict[str, Any]:
    """Return an agent's keys, but for rewards and success; `track` [T, fields], `inventory` [T, R]."""
    template = [*compiled.config.agents, compiled.config.agent][int(track[0, AGENT_TEMPLATE])]
    sent = track[:, AGENT_LAST_ACTION]
    is_known = (sent >= 0) & (sent < len(compiled.action_names))
    return {
        "id": 0,
        "type_id": 0,
        "location": _locations(track[:, AGENT_POSITION], stride),
        "orientation": _series(track[:, AGENT_ORIENTATION]),
        "inventory": _inventories(inventory),
        "inventory_max": template.default_resource_limit,
        "color": _series(track[:, AGENT_COLOR]),
        "is_swappable": False,
        "is_agent": True,
        "agent_id": number,
        "group_id": int(track[0, AGENT_TEAM]),
        "vision_size": compiled.config.observation.width,
        "action_id": _series(np.where(is_known, sent, 0)),
        "action_param": 0,
        "freeze_remaining": _series(track[:, AGENT_FROZEN]),
        "is_frozen": _series(track[:, AGENT_FROZEN] > 0),
        "freeze_duration": template.freeze_duration,
    }


def _outcome_keys(rewards: NDArray[np.float32], success: NDArray[np.bool_]) -> dict[str, Any]:
    totals = np.cumsum(rewards, dtype=np.float32)
    success = success.copy()
    success[0] = True  # at the reset nothing was tried
    return {
        "action_success": _series(success),
        "current_reward": _series(rewards.astype(np.float64).round(_REWARD_DIGITS)),
        "total_reward": _series(totals.astype(np.float64).round(_REWARD_DIGITS)),
    }


def _object_entry(
    compiled: CompiledWorld,
    name: str,
    ticks: NDArray[np.int64],
    stride: int,
    track: NDArray[np.int32],
    inventory: NDArray[np.uint8],
) -> dict[str, Any]:
    """Return the keys of a converter, box or swappable wall; `track` [T, fields], `inventory` [T, R]."""
    config = _thing_config(compiled, name)
    positions = np.where(track[:, OBJECT_KIND] >= 0, track[:, OBJECT_POSITION], -1)
    entry = {
        "id": 0,
        "type_id": config.type_id,
        "location": _locations(positions, stride),
        "orientation": 0,
        "inventory": _inventories(inventory),
        "inventory_max": 255,
        "color": _series(track[:, OBJECT_COLOR]),
        "is_swappable": isinstance(config, WallConfig) and config.swappable,
    }
    if not isinstance(config, ConverterConfig):
        return entry
    converting = track[:, OBJECT_PHASE] == PHASE_CONVERTING
    cooling = track[:, OBJECT_PHASE] == PHASE_COOLING
    remaining = np.maximum(track[:, OBJECT_READY_AT] - ticks, 0)
    return entry | {
        "input_resources": _amounts(compiled, config.input_resources),
        "output_resources": _amounts(compiled, config.output_resources),
        "output_limit": config.max_output if config.max_output >= 0 else _NO_LIMIT,
        "conversion_remaining": _series(np.where(converting, remaining, 0)),
        "is_converting": _series(converting),
        "conversion_duration": config.conversion_ticks,
        "cooldown_remaining": _series(np.where(cooling, remaining, 0)),
        "is_cooling_down": _series(cooling),
        "cooldown_duration": config.cooldown,
    }


def _wall_entries(compiled: CompiledWorld, cells: NDArray[np.int16]) -> list[dict[str, Any]]:
    """Return the plain walls: they have no row in `objects` and never change."""
    entries = []
    for row, column in np.argwhere((cells > 0) & (cells < CELL_FIRST_OBJECT)).tolist():
        config = _thing_config(compiled, compiled.object_names[int(cells[row, column]) - 1])
        entries.append(
            {
                "id": 0,
                "type_id": config.type_id,
                "location": [column, row, 0],
                "orientation": 0,
                "inventory": [],
                "inventory_max": 0,
                "color": 0,
                "is_swappable": False,
            }
        )
    return entries


def _series(values: NDArray[Any]) -> Any:
    """Return the one value of a track [T], or its `[step, value]` changes."""
    steps = np.flatnonzero(values[1:] != values[:-1]) + 1
    if len(steps) == 0:
        return values[0].item()
    return _changes(np.concatenate(([0], steps)).tolist(), values[np.concatenate(([0], steps))].tolist())


def _changes(steps: list[int], values: Iterable[Any]) -> list[list[Any]]:
    return [[step, value] for step, value in zip(steps, values, strict=True)]


def _locations(positions: NDArray[np.int32], stride: int) -> Any:
    """Return `[x, y, layer]`, constant or in changes; `positions` [T] are flat, on `stride` columns, -1 nowhere."""
    steps = np.concatenate(([0], np.flatnonzero(positions[1:] != positions[:-1]) + 1)).tolist()
    places = [
        [position % stride - MARGIN, position // stride - MARGIN, 0] if position >= 0 else list(NOWHERE)
        for position in positions[steps].tolist()
    ]
    return places[0] if len(steps) == 1 else _changes(steps, places)


def _inventories(amounts: NDArray[np.uint8]) -> Any:
    """Return `[[item, amount], ...]`, constant or in changes, of amounts [T, R]."""
    steps = np.concatenate(([0], np.flatnonzero((amounts[1:] != amounts[:-1]).any(axis=1)) + 1)).tolist()
    held = [[[item, n] for item, n in enumerate(row) if n] for row in amounts[steps].tolist()]
    return held[0] if len(steps) == 1 else _changes(steps, held)


def _amounts(compiled: CompiledWorld, resources: dict[str, int]) -> list[list[int]]:
    return sorted([compiled.resource_names.index(name), amount] for name, amount in resources.items() if amount)


def _thing_config(compiled: CompiledWorld, name: str) -> ObjectConfig:
    """Return what an object is; walls that the configuration does not name are plain ones."""
    return compiled.config.objects.get(name) or WallConfig()
