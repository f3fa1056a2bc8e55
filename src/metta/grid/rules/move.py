"""move and rotate."""

from __future__ import annotations

from metta.grid.jit import rule
from metta.grid.rules.cells import empty_cell, fill_cell, step_of
from metta.grid.rules.looks import show_orientation
from metta.grid.ruleset import VERB_ROTATE
from metta.grid.stats import STAT_ROTATIONS, STAT_SEQUENTIAL_ROTATIONS
from metta.grid.world import AGENT_LAST_VERB, AGENT_ORIENTATION, AGENT_POSITION, CELL_EMPTY, State


@rule
def move(state: State, e: int, a: int, direction: int) -> bool:
    """Face a direction, even when blocked, and step there if the cell is empty."""
    state.agents[e, a, AGENT_ORIENTATION] = direction
    show_orientation(state, e, a)
    here = int(state.agents[e, a, AGENT_POSITION])
    there = here + step_of(state, e, direction)
    if state.cells[e, there] != CELL_EMPTY:
        return False
    empty_cell(state, e, here)
    fill_cell(state, e, there, -a - 1)
    state.agents[e, a, AGENT_POSITION] = there
    return True


@rule
def rotate(state: State, e: int, a: int, direction: int) -> bool:
    """Face a direction."""
    state.agents[e, a, AGENT_ORIENTATION] = direction
    show_orientation(state, e, a)
    state.stats[e, a, STAT_ROTATIONS + direction] += 1
    if state.agents[e, a, AGENT_LAST_VERB] == VERB_ROTATE:
        state.stats[e, a, STAT_SEQUENTIAL_ROTATIONS] += 1
    return True
