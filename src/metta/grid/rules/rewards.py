"""Rewards beyond inventories: statistics, and what a team shares. All float32, in the stated order."""

from __future__ import annotations

import numpy as np

from metta.grid.jit import rule
from metta.grid.ruleset import (
    PLANE_CAP,
    PLANE_WEIGHT,
    RULE_NUM_STAT_REWARDS,
    RULE_NUM_TEAMS,
    RULE_SHARES,
    TEMPLATE_GROUP_PCT,
    Buffers,
    Rules,
)
from metta.grid.world import AGENT_TEAM_INDEX, AGENT_TEMPLATE, State


@rule
def stat_contributions(rules: Rules, state: State, e: int, a: int) -> np.float32:
    """Return the sum of min(weight * stat, cap), by name in alphabetical order; `reward` is that of earlier ticks."""
    template = int(state.agents[e, a, AGENT_TEMPLATE])
    total = np.float32(0.0)
    for i in range(rules.world[e, RULE_NUM_STAT_REWARDS]):
        column = int(rules.stat_reward_columns[e, template, i])
        value = state.episode_rewards[e, a] if column < 0 else np.float32(state.stats[e, a, column])
        term = rules.stat_rewards[e, template, PLANE_WEIGHT, i] * value
        total += min(term, rules.stat_rewards[e, template, PLANE_CAP, i])
    return total


@rule
def pay_stat_rewards(rules: Rules, state: State, e: int) -> None:
    """Pay each agent the change in its sum of contributions since the last tick."""
    if rules.world[e, RULE_NUM_STAT_REWARDS] > 0:
        for a in range(state.agents.shape[1]):
            total = stat_contributions(rules, state, e, a)
            state.rewards[e, a] += total - state.stat_rewards[e, a]
            state.stat_rewards[e, a] = total


@rule
def share_rewards(rules: Rules, state: State, buffers: Buffers, e: int) -> None:
    """Let each agent pay its share into the team's pool, then divide the pool evenly over the team."""
    if not rules.world[e, RULE_SHARES]:
        return
    for team in range(rules.world[e, RULE_NUM_TEAMS]):
        buffers.pools[e, team, 0] = 0.0
        buffers.pools[e, team, 1] = 0.0
    for a in range(state.agents.shape[1]):
        team = int(state.agents[e, a, AGENT_TEAM_INDEX])
        share = rules.template_floats[e, int(state.agents[e, a, AGENT_TEMPLATE]), TEMPLATE_GROUP_PCT]
        paid = share * state.rewards[e, a]
        state.rewards[e, a] -= paid
        buffers.pools[e, team, 0] += paid
        buffers.pools[e, team, 1] += np.float32(1.0)
    for a in range(state.agents.shape[1]):
        team = int(state.agents[e, a, AGENT_TEAM_INDEX])
        state.rewards[e, a] += buffers.pools[e, team, 0] / buffers.pools[e, team, 1]


@rule
def sum_episode_rewards(state: State, e: int) -> None:
    """Let the episode's reward grow by what each agent gets this tick."""
    for a in range(state.agents.shape[1]):
        state.episode_rewards[e, a] += state.rewards[e, a]
