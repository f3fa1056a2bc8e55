"""The end of an episode."""

from __future__ import annotations

from metta.grid.jit import rule
from metta.grid.ruleset import RULE_TRUNCATES, Buffers, Rules
from metta.grid.world import WORLD_END_AT, WORLD_STEP, State


@rule
def end_episode(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Tell every agent, when the time is up, that the episode was cut off or is over."""
    is_over = 0 < state.worlds[e, WORLD_END_AT] <= state.worlds[e, WORLD_STEP]
    truncates = rules.world[e, RULE_TRUNCATES] != 0
    for a in range(state.agents.shape[1]):
        buffers.truncations[e, a] = is_over and truncates
        buffers.terminals[e, a] = is_over and not truncates
