"""Changing what agents and converters hold, and what agents are paid for it."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.rules.looks import look_of_agent
from metta.grid.ruleset import PLANE_CAP, PLANE_CONSUMED, PLANE_LIMIT, PLANE_WEIGHT, Rules
from metta.grid.stats import GAINED, LOST, STAT_RESOURCES
from metta.grid.world import AGENT_TEMPLATE, State


@rule
def contribution(rules: Rules, e: int, template: int, r: int, amount: int) -> np.float32:
    """Return what holding `amount` of a resource is worth, float32."""
    worth: np.float32 = min(
        rules.inventory_rewards[e, template, PLANE_WEIGHT, r] * np.float32(amount),
        rules.inventory_rewards[e, template, PLANE_CAP, r],
    )
    return worth


@rule
def room(rules: Rules, state: State, e: int, a: int, r: int) -> int:
    """Return how much more of a resource an agent can carry; 0 if it holds more than its limit."""
    template = int(state.agents[e, a, AGENT_TEMPLATE])
    free = int(rules.template_resources[e, template, PLANE_LIMIT, r]) - int(state.inventory[e, a, r])
    return free if free > 0 else 0


@rule
def change_inventory(rules: Rules, state: State, e: int, a: int, r: int, delta: int) -> None:
    """Add to (delta > 0, at most the room) or take from an agent's inventory, count it and pay for it.

    Nothing is added beyond the limit; what stood above it (an initial inventory) is clamped by the first loss.
    """
    template = int(state.agents[e, a, AGENT_TEMPLATE])
    before = int(state.inventory[e, a, r])
    limit = int(rules.template_resources[e, template, PLANE_LIMIT, r])
    after = min(max(before + delta, 0), limit)
    if delta == 0 or (delta > 0 and after <= before):
        return
    state.inventory[e, a, r] = after
    change = after - before
    if change > 0:
        state.stats[e, a, STAT_RESOURCES + 4 * r + GAINED] += change
    else:
        state.stats[e, a, STAT_RESOURCES + 4 * r + LOST] -= change
    if rules.inventory_rewards[e, template, PLANE_WEIGHT, r] != 0:
        gain = contribution(rules, e, template, r, after) - contribution(rules, e, template, r, before)
        state.rewards[e, a] += gain
    look_of_agent(state, e, a)


@rule
def holds(rules: Rules, state: State, e: int, a: int, verb: int, plane: int) -> bool:
    """Return whether an agent holds all resources of one plane of a verb."""
    for r in range(state.inventory.shape[2]):
        if state.inventory[e, a, r] < rules.verb_resources[e, verb, plane, r]:
            return False
    return True


@rule
def lose(rules: Rules, state: State, e: int, a: int, verb: int, plane: int) -> None:
    """Take all resources of one plane of a verb from an agent, as far as it has them."""
    for r in range(state.inventory.shape[2]):
        amount = int(rules.verb_resources[e, verb, plane, r])
        if amount > 0 and state.inventory[e, a, r] > 0:
            change_inventory(rules, state, e, a, r, -amount)


@rule
def receive(rules: Rules, state: State, e: int, a: int, verb: int) -> None:
    """Give an agent back what a verb consumes, as far as it has room."""
    for r in range(state.inventory.shape[2]):
        change_inventory(rules, state, e, a, r, int(rules.verb_resources[e, verb, PLANE_CONSUMED, r]))
