"""An agent's turn: may it act, what does it do, what does that cost."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.rules.appearance import change_color, change_glyph
from metta.grid.rules.attack import attack
from metta.grid.rules.boxes import place_box
from metta.grid.rules.inventory import holds, lose
from metta.grid.rules.items import get_items, put_items
from metta.grid.rules.looks import show_frozen
from metta.grid.rules.move import move, rotate
from metta.grid.rules.swap import swap
from metta.grid.ruleset import (
    ACTION_ARGUMENT,
    ACTION_VERB,
    PLANE_CONSUMED,
    PLANE_REQUIRED,
    TEMPLATE_FAILURE_PENALTY,
    VERB_ATTACK,
    VERB_CHANGE_COLOR,
    VERB_CHANGE_GLYPH,
    VERB_CONSUMES,
    VERB_GET_ITEMS,
    VERB_MOVE,
    VERB_NOOP,
    VERB_PLACE_BOX,
    VERB_PUT_ITEMS,
    VERB_REQUIRES,
    VERB_ROTATE,
    VERB_SWAP,
    Buffers,
    Rules,
)
from metta.grid.stats import STAT_FAILURES, STAT_FROZEN_TICKS, STAT_INVALID, STAT_MAX_STILL, STAT_VERBS
from metta.grid.world import (
    AGENT_FROZEN,
    AGENT_LAST_ACTION,
    AGENT_LAST_VERB,
    AGENT_POSITION,
    AGENT_STILL,
    AGENT_STOOD,
    AGENT_TEMPLATE,
    State,
)


@rule
def attack_round(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Let all agents that attack act, in this tick's order."""
    for i in range(state.agents.shape[1]):
        a = int(buffers.order[e, i])
        if verb_of(rules, int(buffers.actions[e, a]), e) == VERB_ATTACK:
            take_turn(rules, state, buffers, e, a)


@rule
def other_round(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Let all other agents act, in the same order."""
    for i in range(state.agents.shape[1]):
        a = int(buffers.order[e, i])
        if verb_of(rules, int(buffers.actions[e, a]), e) != VERB_ATTACK:
            take_turn(rules, state, buffers, e, a)


@rule
def verb_of(rules: Rules, action: int, e: int) -> int:
    """Return the verb of a flat action, -1 if there is no such action."""
    return int(rules.actions[e, action, ACTION_VERB]) if 0 <= action < rules.actions.shape[1] else -1


@rule
def take_turn(rules: Rules, state: State, buffers: Buffers, e: int, a: int) -> None:
    """Carry out the action of an agent that is not frozen and asks for something that exists."""
    action = int(buffers.actions[e, a])
    state.agents[e, a, AGENT_LAST_ACTION] = action
    buffers.action_success[e, a] = False
    if state.agents[e, a, AGENT_FROZEN] > 0:
        state.agents[e, a, AGENT_FROZEN] -= 1
        show_frozen(state, e, a)
        state.stats[e, a, STAT_FROZEN_TICKS] += 1
        return
    verb = verb_of(rules, action, e)
    if verb < 0:
        state.rewards[e, a] -= failure_penalty(rules, state, e, a)
        state.stats[e, a, STAT_INVALID] += 1
        return
    success = False
    if not rules.verbs[e, verb, VERB_REQUIRES] or holds(rules, state, e, a, verb, PLANE_REQUIRED):
        success = carry_out(rules, state, e, a, verb, int(rules.actions[e, action, ACTION_ARGUMENT]))
    settle(rules, state, e, a, verb, success)
    buffers.action_success[e, a] = success


@rule
def carry_out(rules: Rules, state: State, e: int, a: int, verb: int, argument: int) -> bool:
    """Do what a verb does; return whether it succeeded."""
    success = verb == VERB_NOOP
    if verb == VERB_MOVE:
        success = move(state, e, a, argument)
    elif verb == VERB_GET_ITEMS:
        success = get_items(rules, state, e, a)
    elif verb == VERB_PUT_ITEMS:
        success = put_items(rules, state, e, a)
    elif verb == VERB_ATTACK:
        success = attack(rules, state, e, a, argument)
    elif verb == VERB_ROTATE:
        success = rotate(state, e, a, argument)
    elif verb == VERB_SWAP:
        success = swap(rules, state, e, a)
    elif verb == VERB_CHANGE_COLOR:
        success = change_color(state, e, a, argument)
    elif verb == VERB_CHANGE_GLYPH:
        success = change_glyph(state, e, a, argument)
    elif verb == VERB_PLACE_BOX:
        success = place_box(rules, state, e, a)
    return success


@rule
def settle(rules: Rules, state: State, e: int, a: int, verb: int, success: bool) -> None:
    """Charge for an action that was carried out, or fine one that failed, and count it."""
    if success:
        state.stats[e, a, STAT_VERBS + 2 * verb] += 1
        if rules.verbs[e, verb, VERB_CONSUMES]:
            lose(rules, state, e, a, verb, PLANE_CONSUMED)
    else:
        state.stats[e, a, STAT_VERBS + 2 * verb + 1] += 1
        state.stats[e, a, STAT_FAILURES] += 1
        state.rewards[e, a] -= failure_penalty(rules, state, e, a)
    state.agents[e, a, AGENT_LAST_VERB] = verb
    count_still(state, e, a)


@rule
def count_still(state: State, e: int, a: int) -> None:
    """Count the carried-out actions in a row after which an agent stood where it stood; before the first: its start."""
    if state.agents[e, a, AGENT_POSITION] == state.agents[e, a, AGENT_STOOD]:
        state.agents[e, a, AGENT_STILL] += 1
        if state.agents[e, a, AGENT_STILL] > state.stats[e, a, STAT_MAX_STILL]:
            state.stats[e, a, STAT_MAX_STILL] = state.agents[e, a, AGENT_STILL]
    else:
        state.agents[e, a, AGENT_STOOD] = state.agents[e, a, AGENT_POSITION]
        state.agents[e, a, AGENT_STILL] = 0


@rule
def failure_penalty(rules: Rules, state: State, e: int, a: int) -> np.float32:
    """Return what a failed action costs this agent, float32."""
    penalty: np.float32 = rules.template_floats[e, int(state.agents[e, a, AGENT_TEMPLATE]), TEMPLATE_FAILURE_PENALTY]
    return penalty
