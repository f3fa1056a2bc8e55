"""attack: nine cells in front are searched, a victim is frozen and robbed, unless it can defend itself."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.rules.cells import DIRECTION_COLUMNS, DIRECTION_ROWS
from metta.grid.rules.inventory import change_inventory, holds, lose, room
from metta.grid.rules.looks import show_frozen
from metta.grid.ruleset import (
    PLANE_DEFENSE,
    RULE_DIAGONALS,
    RULE_HAS_DEFENSE,
    RULE_NUM_TEAMS,
    RULE_STAT_TEAMS,
    TEMPLATE_FREEZE_DURATION,
    VERB_ATTACK,
    Rules,
)
from metta.grid.world import (
    AGENT_FROZEN,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    AGENT_TEAM_INDEX,
    AGENT_TEMPLATE,
    CELL_OUTSIDE,
    WORLD_STRIDE,
    State,
)

# (forward, right) of the nine cells; the second table with diagonals allowed
REACH = np.array(
    [
        [(1, 0), (1, -1), (1, 1), (2, 0), (2, -1), (2, 1), (3, 0), (3, -1), (3, 1)],
        [(1, 0), (2, -1), (1, 1), (2, 0), (3, -2), (1, 2), (3, -1), (2, 1), (3, 0)],
    ],
    dtype=np.int64,
)


@rule
def attack(rules: Rules, state: State, e: int, a: int, k: int) -> bool:
    """Hit the k-th agent found, or the last one if there are fewer; fails if there is none."""
    target = find_target(rules, state, e, a, k)
    if target < 0:
        return False
    if rules.world[e, RULE_HAS_DEFENSE] and holds(rules, state, e, target, VERB_ATTACK, PLANE_DEFENSE):
        lose(rules, state, e, target, VERB_ATTACK, PLANE_DEFENSE)
        count_blocked(rules, state, e, a, target)
        return True
    was_frozen = state.agents[e, target, AGENT_FROZEN] > 0
    template = int(state.agents[e, target, AGENT_TEMPLATE])
    state.agents[e, target, AGENT_FROZEN] = rules.templates[e, template, TEMPLATE_FREEZE_DURATION]
    show_frozen(state, e, target)
    if was_frozen:
        count_wasted(rules, state, e, a)
    else:
        count_hit(rules, state, e, a, target)
        rob(rules, state, e, a, target)
    return True


@rule
def find_target(rules: Rules, state: State, e: int, a: int, k: int) -> int:
    """Return the k-th agent in reach, the last one if there are fewer, -1 if there is none."""
    facing = int(state.agents[e, a, AGENT_ORIENTATION])
    rows = int(DIRECTION_ROWS[facing])
    columns = int(DIRECTION_COLUMNS[facing])
    stride = int(state.worlds[e, WORLD_STRIDE])
    forward = rows * stride + columns
    right = columns * stride - rows  # the facing turned 90 degrees clockwise
    here = int(state.agents[e, a, AGENT_POSITION])
    table = int(rules.world[e, RULE_DIAGONALS])
    found = 0
    target = -1
    for i in range(9):
        there = here + int(REACH[table, i, 0]) * forward + int(REACH[table, i, 1]) * right
        code = int(state.cells[e, there])
        if code < 0 and code != CELL_OUTSIDE and found <= k:
            target = -code - 1
            found += 1
    return target


@rule
def rob(rules: Rules, state: State, e: int, a: int, target: int) -> None:
    """Take everything that one can carry, resource by resource."""
    num_resources = state.inventory.shape[2]
    num_teams = int(rules.world[e, RULE_NUM_TEAMS])
    first = int(rules.world[e, RULE_STAT_TEAMS]) + 2 * num_teams * (num_teams - 1) + num_teams * (num_teams + 2)
    pair = int(state.agents[e, a, AGENT_TEAM_INDEX]) * num_teams + int(state.agents[e, target, AGENT_TEAM_INDEX])
    for r in range(num_resources):
        amount = min(int(state.inventory[e, target, r]), room(rules, state, e, a, r))
        if amount > 0:
            change_inventory(rules, state, e, target, r, -amount)
            change_inventory(rules, state, e, a, r, amount)
            state.stats[e, a, first + pair * num_resources + r] += amount


@rule
def count_hit(rules: Rules, state: State, e: int, a: int, target: int) -> None:
    """Count a hit with both sides, or friendly fire."""
    num_teams = int(rules.world[e, RULE_NUM_TEAMS])
    first = int(rules.world[e, RULE_STAT_TEAMS])
    own = int(state.agents[e, a, AGENT_TEAM_INDEX])
    other = int(state.agents[e, target, AGENT_TEAM_INDEX])
    num_rivals = num_teams * (num_teams - 1)
    if own == other:
        state.stats[e, a, first + 2 * num_rivals + num_teams * num_teams + own] += 1
    else:
        hit = own * (num_teams - 1) + other - (1 if other > own else 0)
        hit_by = other * (num_teams - 1) + own - (1 if own > other else 0)
        state.stats[e, a, first + hit] += 1
        state.stats[e, target, first + num_rivals + hit_by] += 1


@rule
def count_blocked(rules: Rules, state: State, e: int, a: int, target: int) -> None:
    """Count an attack that the target blocked, with the attacker."""
    num_teams = int(rules.world[e, RULE_NUM_TEAMS])
    first = int(rules.world[e, RULE_STAT_TEAMS]) + 2 * num_teams * (num_teams - 1)
    pair = int(state.agents[e, a, AGENT_TEAM_INDEX]) * num_teams + int(state.agents[e, target, AGENT_TEAM_INDEX])
    state.stats[e, a, first + pair] += 1


@rule
def count_wasted(rules: Rules, state: State, e: int, a: int) -> None:
    """Count an attack on an agent that was frozen already."""
    num_teams = int(rules.world[e, RULE_NUM_TEAMS])
    first = int(rules.world[e, RULE_STAT_TEAMS]) + 2 * num_teams * (num_teams - 1) + num_teams * (num_teams + 1)
    state.stats[e, a, first + int(state.agents[e, a, AGENT_TEAM_INDEX])] += 1
