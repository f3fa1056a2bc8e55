"""What stands where: `cells` and the bits of `occupancy`, always changed together.

Cells are addressed by a flat index with margins (world.py). `occupancy` has one bit for each: bit p of a long row of
bits, cut into words of 32 that overlap by 16, so that any 15 cells side by side lie within one word. Word w + 1 holds
the cells from 16 * w on.
"""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.ruleset import Rules
from metta.grid.world import (
    AGENT_ORIENTATION,
    AGENT_POSITION,
    CELL_EMPTY,
    WORLD_STRIDE,
    State,
)

# north, south, west, east, north-west, north-east, south-west, south-east
DIRECTION_ROWS = np.array([-1, 1, 0, 0, -1, -1, 1, 1], dtype=np.int64)
DIRECTION_COLUMNS = np.array([0, 0, -1, 1, -1, 1, -1, 1], dtype=np.int64)


@rule
def fill_cell(state: State, e: int, position: int, code: int) -> None:
    """Put `code` (an agent, a wall or an object) into a cell."""
    state.cells[e, position] = code
    word = position >> 4
    bit = position & 15
    state.occupancy[e, word + 1] |= np.uint32(1 << bit)
    state.occupancy[e, word] |= np.uint32(65536 << bit)


@rule
def empty_cell(state: State, e: int, position: int) -> None:
    """Leave a cell empty."""
    state.cells[e, position] = CELL_EMPTY
    word = position >> 4
    bit = position & 15
    state.occupancy[e, word + 1] &= np.uint32(0xFFFFFFFF ^ (1 << bit))
    state.occupancy[e, word] &= np.uint32(0xFFFFFFFF ^ (65536 << bit))


@rule
def step_of(state: State, e: int, direction: int) -> int:
    """Return by how much a flat index grows one cell further in a direction."""
    return int(DIRECTION_ROWS[direction]) * int(state.worlds[e, WORLD_STRIDE]) + int(DIRECTION_COLUMNS[direction])


@rule
def cell_in_front(rules: Rules, state: State, e: int, a: int) -> int:
    """Return the flat index of the cell that an agent faces; it may lie off the map, where nothing stands."""
    return int(state.agents[e, a, AGENT_POSITION]) + step_of(state, e, int(state.agents[e, a, AGENT_ORIENTATION]))
