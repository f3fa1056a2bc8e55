"""Boxes: each agent has one, places it for a price, and gets the price back when another agent opens it."""

from __future__ import annotations

from metta.grid.jit import rule
from metta.grid.rules.cells import cell_in_front, empty_cell, fill_cell
from metta.grid.rules.inventory import receive
from metta.grid.rules.looks import look_of_object
from metta.grid.ruleset import RULE_BOX_KIND, VERB_PLACE_BOX, Rules
from metta.grid.stats import STAT_BOX_CREATED, STAT_BOX_OPENED
from metta.grid.world import (
    AGENT_BOX,
    CELL_EMPTY,
    CELL_FIRST_OBJECT,
    OBJECT_KIND,
    OBJECT_OWNER,
    OBJECT_POSITION,
    WORLD_FIRST_BOX,
    State,
)


@rule
def place_box(rules: Rules, state: State, e: int, a: int) -> bool:
    """Put one's box into the empty cell in front, from wherever it stood."""
    position = cell_in_front(rules, state, e, a)
    if state.cells[e, position] != CELL_EMPTY:
        return False
    o = int(state.worlds[e, WORLD_FIRST_BOX]) + a
    if state.agents[e, a, AGENT_BOX] >= 0:
        empty_cell(state, e, int(state.objects[e, o, OBJECT_POSITION]))
    state.agents[e, a, AGENT_BOX] = o
    state.objects[e, o, OBJECT_KIND] = rules.world[e, RULE_BOX_KIND]
    state.objects[e, o, OBJECT_POSITION] = position
    state.objects[e, o, OBJECT_OWNER] = a
    fill_cell(state, e, position, CELL_FIRST_OBJECT + o)
    look_of_object(rules, state, e, o)
    state.stats[e, a, STAT_BOX_CREATED] += 1
    return True


@rule
def open_box(rules: Rules, state: State, e: int, a: int, o: int) -> bool:
    """Open a box that is not one's own: it leaves the map, and its owner, if any, gets its price back."""
    owner = int(state.objects[e, o, OBJECT_OWNER])
    if owner == a:
        return False
    empty_cell(state, e, int(state.objects[e, o, OBJECT_POSITION]))
    state.objects[e, o, OBJECT_POSITION] = -1
    if owner >= 0:
        state.agents[e, owner, AGENT_BOX] = -1
        receive(rules, state, e, owner, VERB_PLACE_BOX)
    state.stats[e, a, STAT_BOX_OPENED] += 1
    return True
