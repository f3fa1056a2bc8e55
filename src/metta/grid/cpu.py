"""Launching the rules over many worlds on the CPU."""

from __future__ import annotations

from typing import Any

from metta.grid.check import wrong_number_of_agents
from metta.grid.compile import CompiledWorld, write_rules_row
from metta.grid.jit import JIT_ENABLED, prepare
from metta.grid.maps import GridMap
from metta.grid.reset import begin_world
from metta.grid.ruleset import WINDOW_OFFSET, Buffers, Rules
from metta.grid.threads import step_batch, step_some
from metta.grid.world import MARGIN, State


def step_worlds(rules: Rules, state: State, buffers: Buffers, threads: int = 1) -> None:
    """Play one tick of every active world with `buffers.actions`; all other buffers and the state are written.

    The result does not depend on `threads`. A world that has ended must be reset before its next tick.
    """
    num_worlds = len(buffers.active)
    tables: list[Any] = [prepare(rules), prepare(state), prepare(buffers)]
    if JIT_ENABLED:
        addresses = [handle.address for handle in tables]
        step_batch(*addresses, num_worlds=num_worlds, threads=max(1, min(threads, num_worlds)))
    else:
        step_some(tables[0], tables[1], tables[2], 0, num_worlds)


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
    window = compiled.config.observation
    assert rules.window_cells[0, WINDOW_OFFSET] == window.height // 2 * stride + window.width // 2  # the centre
    placed = begin_world(rules, state, buffers, e, grid_map.codes, meanings, stride, seed, end_at)
    assert placed >= 0
    if placed != compiled.config.num_agents:
        raise wrong_number_of_agents(compiled.config, placed)
