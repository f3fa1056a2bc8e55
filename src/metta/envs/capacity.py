"""Making room: the arrays of a running batch grow when a world comes that does not fit into them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metta.grid.jit import kernel
from metta.grid.rules.cells import fill_cell
from metta.grid.rules.looks import look_of_agent, look_of_kind, look_of_object
from metta.grid.ruleset import RULE_NUM_KINDS, Rules
from metta.grid.world import (
    AGENT_POSITION,
    AGENT_STOOD,
    CELL_OUTSIDE,
    MARGIN,
    OBJECT_KIND,
    OBJECT_POSITION,
    WORLD_HEIGHT,
    WORLD_STRIDE,
    WORLD_WIDTH,
    Sizes,
    State,
    allocate_state,
)

# Arrays that are addressed by cells, and those that repeat what other arrays say.
_BY_CELL = ("cells", "visits")
_DERIVED = ("occupancy", "looks", "look_sizes")


def grow_state(old: State, rules: Rules, sizes: Sizes) -> State:
    """Return the same worlds in arrays of `sizes`, none of them smaller than before; `rules` have grown already.

    Cells are addressed by a flat index whose row length grows with the maps, so every position is written anew.
    """
    new = allocate_state(sizes, len(old.worlds))
    sources, targets = old._asdict(), new._asdict()
    for name in sources.keys() - {*_BY_CELL, *_DERIVED}:
        targets[name][tuple(slice(size) for size in sources[name].shape)] = sources[name]
    old_stride, stride = old.cells.shape[2], new.cells.shape[2]
    new.cells[...] = CELL_OUTSIDE
    new.cells[:, : old.cells.shape[1], :old_stride] = old.cells
    if sizes.visits and old.visits.shape[2]:
        _as_rectangles(new.visits, new)[:, :, : old.cells.shape[1], :old_stride] = _as_rectangles(old.visits, old)
    agents, objects = new.agents, new.objects
    for positions in (agents[:, :, AGENT_POSITION], agents[:, :, AGENT_STOOD], objects[:, :, OBJECT_POSITION]):
        positions[...] = np.where(positions < 0, positions, positions // old_stride * stride + positions % old_stride)
    new.worlds[:, WORLD_STRIDE] = np.where(new.worlds[:, WORLD_STRIDE] > 0, stride, 0)
    for world in np.flatnonzero(new.worlds[:, WORLD_STRIDE]).tolist():
        derive(rules, new, world)
    return new


@kernel
def derive(rules: Rules, state: State, e: int) -> None:
    """Write anew what repeats the rest of a world's state: which cells are filled, and how each thing looks."""
    stride = state.worlds[e, WORLD_STRIDE]
    for i in range(state.worlds[e, WORLD_HEIGHT]):
        for j in range(state.worlds[e, WORLD_WIDTH]):
            position = (i + MARGIN) * stride + j + MARGIN
            if state.cells[e, position] != 0:
                fill_cell(state, e, position, state.cells[e, position])
    for a in range(state.agents.shape[1]):
        look_of_agent(state, e, a)
    for kind in range(rules.world[e, RULE_NUM_KINDS]):
        look_of_kind(rules, state, e, kind, state.agents.shape[1] + kind)
    for o in range(state.objects.shape[1]):
        if state.objects[e, o, OBJECT_KIND] >= 0:
            look_of_object(rules, state, e, o)


def _as_rectangles(visits: NDArray[np.uint16], state: State) -> NDArray[np.uint16]:
    """View counts by flat cell [E, A, cells] as counts by row and column [E, A, H+2M, W+2M]."""
    return visits.reshape(*visits.shape[:2], *state.cells.shape[1:])
