"""Launching the rules over many worlds on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from metta.grid.check import wrong_number_of_agents
from metta.grid.compile import CompiledWorld, write_rules_row
from metta.grid.jit import kernel
from metta.grid.maps import GridMap
from metta.grid.reset import begin_world
from metta.grid.ruleset import Buffers, Rules
from metta.grid.step import step_world
from metta.grid.world import MARGIN, Sizes, State


def allocate_buffers(sizes: Sizes, num_worlds: int) -> Buffers:
    """Return buffers for a batch: observations empty (255), every world active."""
    E, A = num_worlds, sizes.agents
    return Buffers(
        actions=np.zeros((E, A), np.int32),
        observations=np.full((E, A, sizes.tokens, 3), 255, np.uint8),
        token_counts=np.zeros((E, A), np.int32),
        terminals=np.zeros((E, A), np.bool_),
        truncations=np.zeros((E, A), np.bool_),
        action_success=np.zeros((E, A), np.bool_),
        active=np.ones(E, np.bool_),
        order=np.zeros((E, A), np.int32),
        pools=np.zeros((E, sizes.teams, 2), np.float32),
    )


def step_worlds(rules: Rules, state: State, buffers: Buffers, threads: int = 1) -> None:
    """Play one tick of every active world with `buffers.actions`; all other buffers and the state are written.

    The result does not depend on `threads`. A world that has ended must be reset before its next tick.
    """
    num_worlds = len(buffers.active)
    threads = min(threads, num_worlds)
    if threads <= 1:
        step_range(rules, state, buffers, 0, num_worlds)
        return
    cuts = [num_worlds * i // threads for i in range(threads + 1)]
    pool = _pool(threads - 1)
    parts = [pool.submit(step_range, rules, state, buffers, cuts[i], cuts[i + 1]) for i in range(1, threads)]
    step_range(rules, state, buffers, cuts[0], cuts[1])
    for part in parts:
        part.result()


def reset_world(
    compiled: CompiledWorld,
    rules: Rules,
    state: State,
    buffers: Buffers,
    e: int,
    grid_map: GridMap,
    *,
    seed: int,
    end_at: int | None = None,
) -> None:
    """Begin an episode in world `e`: its rules, its map, its first observations; rewards and flags are cleared.

    `end_at` is the tick at which the episode ends (0: never; None: `max_steps`). The arrays are large enough
    (`compiled.sizes`). Raises MapError when the map does not fit its world.
    """
    write_rules_row(rules, e, compiled)
    end_at = compiled.config.max_steps if end_at is None else end_at
    meanings = compiled.meanings(grid_map.names)
    height, stride = state.cells.shape[1:]
    assert grid_map.height + 2 * MARGIN <= height and grid_map.width + 2 * MARGIN <= stride
    placed = begin_world(rules, state, buffers, e, grid_map.codes, meanings, stride, seed, end_at)
    assert placed >= 0
    if placed != compiled.config.num_agents:
        raise wrong_number_of_agents(compiled.config, placed)


@kernel
def step_range(rules: Rules, state: State, buffers: Buffers, first: int, last: int) -> None:
    """Play one tick of the active worlds among `first` .. `last - 1`."""
    for e in range(first, last):
        if buffers.active[e]:
            step_world(rules, state, buffers, e)


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="metta-step")
