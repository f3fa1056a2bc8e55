"""get_items and put_items: what agents exchange with the converter in front of them."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.rules.boxes import open_box
from metta.grid.rules.cells import cell_in_front
from metta.grid.rules.converters import try_to_start
from metta.grid.rules.inventory import change_inventory, room
from metta.grid.rules.looks import look_of_object
from metta.grid.ruleset import CLASS_BOX, CLASS_CONVERTER, KIND_CLASS, PLANE_INPUT, PLANE_IS_OUTPUT, Rules
from metta.grid.stats import ADDED, GET, PUT, REMOVED, STAT_RESOURCES
from metta.grid.world import CELL_FIRST_OBJECT, OBJECT_KIND, State


@rule
def get_items(rules: Rules, state: State, e: int, a: int) -> bool:
    """Take all outputs of the converter in front, up to one's limits, or open the box there."""
    code = int(state.cells[e, cell_in_front(rules, state, e, a)])
    if code < CELL_FIRST_OBJECT:
        return False
    o = code - CELL_FIRST_OBJECT
    kind = int(state.objects[e, o, OBJECT_KIND])
    if rules.kinds[e, kind, KIND_CLASS] == CLASS_BOX:
        return open_box(rules, state, e, a, o)
    if rules.kinds[e, kind, KIND_CLASS] != CLASS_CONVERTER:
        return False
    took = False
    for r in range(state.inventory.shape[2]):
        if rules.kind_resources[e, kind, PLANE_IS_OUTPUT, r]:
            amount = min(int(state.object_inventory[e, o, r]), room(rules, state, e, a, r))
            if amount > 0:
                took = True
                state.object_inventory[e, o, r] -= np.uint8(amount)
                state.object_stats[e, o, 4 * r + REMOVED] += amount
                change_inventory(rules, state, e, a, r, amount)
                state.stats[e, a, STAT_RESOURCES + 4 * r + GET] += amount
                try_to_start(rules, state, e, o)
    if took:
        look_of_object(rules, state, e, o)
    return took


@rule
def put_items(rules: Rules, state: State, e: int, a: int) -> bool:
    """Put one recipe's worth of inputs, as far as one holds them, into the converter in front."""
    code = int(state.cells[e, cell_in_front(rules, state, e, a)])
    if code < CELL_FIRST_OBJECT:
        return False
    o = code - CELL_FIRST_OBJECT
    kind = int(state.objects[e, o, OBJECT_KIND])
    if rules.kinds[e, kind, KIND_CLASS] != CLASS_CONVERTER:
        return False
    put = False
    for r in range(state.inventory.shape[2]):
        amount = min(int(rules.kind_resources[e, kind, PLANE_INPUT, r]), int(state.inventory[e, a, r]))
        amount = min(amount, 255 - int(state.object_inventory[e, o, r]))
        if amount > 0:
            put = True
            change_inventory(rules, state, e, a, r, -amount)
            state.object_inventory[e, o, r] += np.uint8(amount)
            state.object_stats[e, o, 4 * r + ADDED] += amount
            state.stats[e, a, STAT_RESOURCES + 4 * r + PUT] += amount
            try_to_start(rules, state, e, o)
    if put:
        look_of_object(rules, state, e, o)
    return put
