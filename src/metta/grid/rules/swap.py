"""swap: changing places with a swappable object, or with a frozen agent."""

from __future__ import annotations

from metta.grid.jit import rule
from metta.grid.rules.cells import cell_in_front, fill_cell
from metta.grid.ruleset import KIND_SWAPPABLE, RULE_NUM_KINDS, RULE_STAT_SWAPS, Rules
from metta.grid.world import (
    AGENT_FROZEN,
    AGENT_POSITION,
    CELL_FIRST_OBJECT,
    CELL_OUTSIDE,
    OBJECT_KIND,
    OBJECT_POSITION,
    State,
)


@rule
def swap(rules: Rules, state: State, e: int, a: int) -> bool:
    """Change places with what stands in front, if it can be moved; the facing stays."""
    here = int(state.agents[e, a, AGENT_POSITION])
    there = cell_in_front(rules, state, e, a)
    code = int(state.cells[e, there])
    first = int(rules.world[e, RULE_STAT_SWAPS])
    if code >= CELL_FIRST_OBJECT:
        kind = int(state.objects[e, code - CELL_FIRST_OBJECT, OBJECT_KIND])
        if not rules.kinds[e, kind, KIND_SWAPPABLE]:
            return False
        state.objects[e, code - CELL_FIRST_OBJECT, OBJECT_POSITION] = here
        state.stats[e, a, first + kind] += 1
    elif code < 0 and code != CELL_OUTSIDE and state.agents[e, -code - 1, AGENT_FROZEN] > 0:
        state.agents[e, -code - 1, AGENT_POSITION] = here
        state.stats[e, a, first + int(rules.world[e, RULE_NUM_KINDS])] += 1
    else:
        return False
    state.agents[e, a, AGENT_POSITION] = there
    fill_cell(state, e, there, -a - 1)
    fill_cell(state, e, here, code)
    return True
