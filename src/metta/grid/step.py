"""One tick of one world, in order: read this page to know what happens when."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.observe import observe
from metta.grid.rules.converters import update_converters
from metta.grid.rules.end import end_episode
from metta.grid.rules.loss import lose_resources
from metta.grid.rules.order import draw_order
from metta.grid.rules.own import play_own_rules
from metta.grid.rules.rewards import pay_stat_rewards, share_rewards, sum_episode_rewards
from metta.grid.rules.turn import attack_round, other_round
from metta.grid.rules.visits import count_visits
from metta.grid.ruleset import RULE_OWN_AFTER, RULE_OWN_BEFORE, Buffers, Rules
from metta.grid.world import WORLD_STEP, State


@rule
def step_world(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Play one tick of world `e`: on a GPU these three run one after another for all worlds (cuda/kernels.py)."""
    act(rules, state, buffers, e)
    observe(rules, state, buffers, e)
    settle(rules, state, buffers, e)


@rule
def act(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Play the part of a tick before the observations."""
    start(rules, state, e)
    play_own_rules(rules, state, buffers, e, RULE_OWN_BEFORE)
    take_turns(rules, state, buffers, e)
    play_own_rules(rules, state, buffers, e, RULE_OWN_AFTER)
    count_visits(rules, state, e)


@rule
def start(rules: Rules, state: State, e: int) -> None:
    """Play the part of a tick before the user's own rules of `before_turns`."""
    begin_tick(state, e)
    update_converters(rules, state, e)


@rule
def take_turns(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Play the part of a tick between the user's own rules of `before_turns` and of `after_turns`."""
    draw_order(state, buffers, e)
    attack_round(rules, state, buffers, e)
    other_round(rules, state, buffers, e)
    lose_resources(rules, state, e)


@rule
def settle(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Play the part of a tick after the observations."""
    pay_stat_rewards(rules, state, e)
    share_rewards(rules, state, buffers, e)
    sum_episode_rewards(state, e)
    end_episode(rules, state, buffers, e)


@rule
def begin_tick(state: State, e: int) -> None:
    """Clear the rewards and let the clock go up by one."""
    for a in range(state.agents.shape[1]):
        state.rewards[e, a] = np.float32(0.0)
    state.worlds[e, WORLD_STEP] += 1
