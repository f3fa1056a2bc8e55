"""A world as it stands now, as text and as an RGB picture: what the adapters' `render` returns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metta.grid import CompiledWorld
from metta.grid.maps.colors import FLOOR, FROZEN, object_color, team_color
from metta.grid.maps.symbols import SYMBOL_OF, UNKNOWN_SYMBOL
from metta.grid.world import (
    AGENT_FROZEN,
    AGENT_ORIENTATION,
    AGENT_TEAM,
    CELL_FIRST_OBJECT,
    OBJECT_KIND,
    State,
    inner_cells,
)

PIXELS = 8  # a cell's side in the picture
_FACINGS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))  # row, column


def render_text(compiled: CompiledWorld, state: State, world: int) -> str:
    """Return the map as lines of symbols (docs/world.md, section 7), each ending in a newline.

    Agents are drawn as `@` (team 0) or the number of their team, things without a symbol as `?`.
    """
    inner = inner_cells(state, world)
    objects = [SYMBOL_OF.get(name, UNKNOWN_SYMBOL) for name in compiled.object_names]
    rows = []
    for row in inner.tolist():
        rows.append("".join(_symbol(code, objects, state, world) for code in row) + "\n")
    return "".join(rows)


def render_rgb(compiled: CompiledWorld, state: State, world: int) -> NDArray[np.uint8]:
    """Return the map as a picture, uint8 [H * PIXELS, W * PIXELS, 3]; a dark edge shows where an agent faces."""
    inner = inner_cells(state, world)
    colors = np.empty((*inner.shape, 3), np.uint8)
    colors[:] = FLOOR
    kinds = np.array([object_color(name) for name in compiled.object_names] or [FLOOR], np.uint8)
    walls = (inner > 0) & (inner < CELL_FIRST_OBJECT)
    colors[walls] = kinds[inner[walls] - 1]
    things = inner >= CELL_FIRST_OBJECT
    colors[things] = kinds[state.objects[world, inner[things] - CELL_FIRST_OBJECT, OBJECT_KIND]]
    picture = colors.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
    for row, column in np.argwhere(inner < 0):
        agent = state.agents[world, -int(inner[row, column]) - 1]
        top, left = row * PIXELS, column * PIXELS
        _draw_agent(picture[top : top + PIXELS, left : left + PIXELS], agent)
    return picture


def _symbol(code: int, objects: list[str], state: State, world: int) -> str:
    if code == 0:
        return "."
    if code < 0:
        team = int(state.agents[world, -code - 1, AGENT_TEAM])
        return SYMBOL_OF.get(f"agent.{team}", UNKNOWN_SYMBOL)
    if code < CELL_FIRST_OBJECT:
        return objects[code - 1]
    return objects[int(state.objects[world, code - CELL_FIRST_OBJECT, OBJECT_KIND])]


def _draw_agent(cell: NDArray[np.uint8], agent: NDArray[np.int32]) -> None:
    cell[1:-1, 1:-1] = FROZEN if agent[AGENT_FROZEN] else team_color(int(agent[AGENT_TEAM]))
    edge = {-1: slice(0, 2), 0: slice(2, PIXELS - 2), 1: slice(PIXELS - 2, PIXELS)}
    row, column = _FACINGS[agent[AGENT_ORIENTATION]]
    cell[edge[row], edge[column]] = (30, 30, 30)
