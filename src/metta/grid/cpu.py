"""Launching the rules over many worlds on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from metta.grid.check import wrong_number_of_agents
from metta.grid.compile import CompiledWorld, write_rules_row
from metta.grid.jit import kernel, rule
from metta.grid.maps import GridMap
from metta.grid.reset import begin_world
from metta.grid.ruleset import RULE_WINDOW_HEIGHT, VERB_ATTACK, Buffers, Rules
from metta.grid.stats import STAT_VERBS
from metta.grid.step import step_world
from metta.grid.words import prefetch
from metta.grid.world import AGENT_POSITION, MARGIN, WORLD_NEXT_READY, WORLD_STRIDE, Sizes, State

LINE = 64  # bytes of a cache line


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
        if e + 2 < last:
            fetch_world(rules, state, buffers, e + 2)
        if e + 1 < last:
            fetch_windows(rules, state, e + 1)
        if buffers.active[e]:
            step_world(rules, state, buffers, e)


@rule
def fetch_world(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Ask for what the step of a world begins with, two worlds ahead of its turn.

    Thousands of small worlds do not fit into the caches, and each line of a new world is waited for.
    """
    for i in range(0, rules.world.shape[1], LINE // 8):
        prefetch(rules.world, (e, i))
    prefetch(rules.actions, (e, 0, 0))
    prefetch(rules.verbs, (e, 0, 0))
    prefetch(rules.verbs, (e, VERB_ATTACK, 0))
    prefetch(rules.templates, (e, 0, 0))
    prefetch(rules.template_floats, (e, 0, 0))
    prefetch(state.worlds, (e, 0))
    prefetch(state.worlds, (e, WORLD_NEXT_READY))
    for a in range(state.agents.shape[1]):
        prefetch(state.agents, (e, a, 0))
        prefetch(state.stats, (e, a, 0))
        prefetch(state.stats, (e, a, STAT_VERBS))
        prefetch(state.stats, (e, a, STAT_VERBS + LINE // 4))
        prefetch(buffers.observations, (e, a, 0))
        prefetch(buffers.observations, (e, a, LINE))
        prefetch(state.looks, (e, a, 0))
        prefetch(state.look_sizes, (e, a))


@rule
def fetch_windows(rules: Rules, state: State, e: int) -> None:
    """Ask for what the agents of a world see, one world ahead of its turn."""
    height = int(rules.world[e, RULE_WINDOW_HEIGHT])
    stride = int(state.worlds[e, WORLD_STRIDE])
    for a in range(state.agents.shape[1]):
        corner = int(state.agents[e, a, AGENT_POSITION]) - (height >> 1) * stride - (height >> 1)
        for row in range(height):
            prefetch(state.cells, (e, corner + row * stride))
            prefetch(state.occupancy, (e, (corner + row * stride) >> 4))


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="metta-step")
