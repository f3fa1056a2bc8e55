"""How each thing looks: its tokens, ready-made but for the place byte, so that observing is copying.

Row of `State.looks`: agents first, then a row for each kind (plain walls), then the objects. Token t of a row takes
bytes 3t (0, for the place), 3t + 1 (feature), 3t + 2 (value). Rules that change what can be seen call these functions.
"""

from __future__ import annotations

from metta.grid.jit import rule
from metta.grid.ruleset import (
    CLASS_BOX,
    CLASS_CONVERTER,
    KIND_CLASS,
    KIND_SWAPPABLE,
    KIND_TYPE_ID,
    PLANE_INPUT,
    PLANE_OUTPUT,
    RULE_SHOW_RECIPES,
    Rules,
)
from metta.grid.world import (
    AGENT_COLOR,
    AGENT_FROZEN,
    AGENT_GLYPH,
    AGENT_ORIENTATION,
    AGENT_TEAM,
    OBJECT_COLOR,
    OBJECT_KIND,
    OBJECT_OWNER,
    OBJECT_PHASE,
    PHASE_IDLE,
    State,
)

# Feature ids (docs/world.md, section 5)
FEATURE_TYPE_ID = 0
FEATURE_GROUP = 1
FEATURE_FROZEN = 2
FEATURE_ORIENTATION = 3
FEATURE_COLOR = 4
FEATURE_CONVERTING = 5
FEATURE_SWAPPABLE = 6
FEATURE_COMPLETION = 7
FEATURE_LAST_ACTION = 8
FEATURE_LAST_ACTION_ARG = 9
FEATURE_LAST_REWARD = 10
FEATURE_GLYPH = 11
FEATURE_RESOURCE_REWARDS = 12
FEATURE_VISITS = 13
FEATURE_INVENTORY = 14

# Where these tokens stand among an agent's
TOKEN_FROZEN = 2
TOKEN_ORIENTATION = 3
TOKEN_COLOR = 4


@rule
def add_token(state: State, e: int, row: int, n: int, feature: int, value: int) -> int:
    """Append a token; return the new number."""
    state.looks[e, row, 3 * n + 1] = feature
    state.looks[e, row, 3 * n + 2] = value
    return n + 1


@rule
def look_of_kind(rules: Rules, state: State, e: int, kind: int, row: int) -> int:
    """Write what a wall of this kind shows; return the number of tokens."""
    n = add_token(state, e, row, 0, FEATURE_TYPE_ID, int(rules.kinds[e, kind, KIND_TYPE_ID]))
    if rules.kinds[e, kind, KIND_SWAPPABLE]:
        n = add_token(state, e, row, n, FEATURE_SWAPPABLE, 1)
    state.look_sizes[e, row] = n
    return n


@rule
def look_of_object(rules: Rules, state: State, e: int, o: int) -> None:
    """Write what a converter, box or swappable wall shows, after anything about it changed."""
    row = state.agents.shape[1] + rules.kinds.shape[1] + o
    kind = int(state.objects[e, o, OBJECT_KIND])
    n = look_of_kind(rules, state, e, kind, row)
    if rules.kinds[e, kind, KIND_CLASS] == CLASS_BOX:
        n = add_token(state, e, row, n, FEATURE_GROUP, int(state.objects[e, o, OBJECT_OWNER]) & 255)
    elif rules.kinds[e, kind, KIND_CLASS] == CLASS_CONVERTER:
        num_resources = state.inventory.shape[2]
        n = add_token(state, e, row, n, FEATURE_COLOR, int(state.objects[e, o, OBJECT_COLOR]))
        busy = 0 if state.objects[e, o, OBJECT_PHASE] == PHASE_IDLE else 1
        n = add_token(state, e, row, n, FEATURE_CONVERTING, busy)
        for r in range(num_resources):
            if state.object_inventory[e, o, r] != 0:
                n = add_token(state, e, row, n, FEATURE_INVENTORY + r, int(state.object_inventory[e, o, r]))
        if rules.world[e, RULE_SHOW_RECIPES]:
            n = add_recipe(rules, state, e, row, kind, n)
    state.look_sizes[e, row] = n


@rule
def add_recipe(rules: Rules, state: State, e: int, row: int, kind: int, n: int) -> int:
    """Append a converter's inputs, then its outputs."""
    num_resources = state.inventory.shape[2]
    for r in range(num_resources):
        if rules.kind_resources[e, kind, PLANE_INPUT, r] != 0:
            amount = int(rules.kind_resources[e, kind, PLANE_INPUT, r])
            n = add_token(state, e, row, n, FEATURE_INVENTORY + num_resources + r, amount)
    for r in range(num_resources):
        if rules.kind_resources[e, kind, PLANE_OUTPUT, r] != 0:
            amount = int(rules.kind_resources[e, kind, PLANE_OUTPUT, r])
            n = add_token(state, e, row, n, FEATURE_INVENTORY + 2 * num_resources + r, amount)
    return n


@rule
def look_of_agent(state: State, e: int, a: int) -> None:
    """Write what an agent shows, after its inventory or glyph changed."""
    frozen = 1 if state.agents[e, a, AGENT_FROZEN] > 0 else 0
    n = add_token(state, e, a, 0, FEATURE_TYPE_ID, 0)
    n = add_token(state, e, a, n, FEATURE_GROUP, int(state.agents[e, a, AGENT_TEAM]))
    n = add_token(state, e, a, n, FEATURE_FROZEN, frozen)
    n = add_token(state, e, a, n, FEATURE_ORIENTATION, int(state.agents[e, a, AGENT_ORIENTATION]))
    n = add_token(state, e, a, n, FEATURE_COLOR, int(state.agents[e, a, AGENT_COLOR]))
    if state.agents[e, a, AGENT_GLYPH] != 0:
        n = add_token(state, e, a, n, FEATURE_GLYPH, int(state.agents[e, a, AGENT_GLYPH]))
    for r in range(state.inventory.shape[2]):
        if state.inventory[e, a, r] != 0:
            n = add_token(state, e, a, n, FEATURE_INVENTORY + r, int(state.inventory[e, a, r]))
    state.look_sizes[e, a] = n


@rule
def show_orientation(state: State, e: int, a: int) -> None:
    """Show where an agent faces, after it turned."""
    state.looks[e, a, 3 * TOKEN_ORIENTATION + 2] = state.agents[e, a, AGENT_ORIENTATION]


@rule
def show_frozen(state: State, e: int, a: int) -> None:
    """Show whether an agent is frozen, after its counter changed."""
    state.looks[e, a, 3 * TOKEN_FROZEN + 2] = 1 if state.agents[e, a, AGENT_FROZEN] > 0 else 0


@rule
def show_color(state: State, e: int, a: int) -> None:
    """Show an agent's colour, after it changed."""
    state.looks[e, a, 3 * TOKEN_COLOR + 2] = state.agents[e, a, AGENT_COLOR]
