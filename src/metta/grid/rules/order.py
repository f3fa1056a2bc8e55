"""The random order in which agents act in one tick."""

from __future__ import annotations

from metta.grid.jit import rule
from metta.grid.rng import PURPOSE_ORDER, below, combine32, stream_key
from metta.grid.ruleset import Buffers
from metta.grid.world import WORLD_SEED, WORLD_STEP, State


@rule
def draw_order(state: State, buffers: Buffers, e: int) -> None:
    """Shuffle the agents (Fisher and Yates, from the inside out)."""
    key = stream_key(int(state.worlds[e, WORLD_SEED]), int(state.worlds[e, WORLD_STEP]), PURPOSE_ORDER)
    for i in range(state.agents.shape[1]):
        j = below(combine32(key, i), i + 1)
        buffers.order[e, i] = buffers.order[e, j]
        buffers.order[e, j] = i
