"""What holds in every world, whatever its settings and whatever its agents do."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metta.grid.cpu import step_worlds
from metta.grid.world import (
    AGENT_BOX,
    AGENT_COLOR,
    AGENT_FROZEN,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    AGENT_TEMPLATE,
    CELL_FIRST_OBJECT,
    CELL_OUTSIDE,
    MARGIN,
    OBJECT_KIND,
    OBJECT_POSITION,
)

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**31)


def played(games, seed, *, ticks=30, change=None):
    """Play a random world; yield the game after each tick."""
    config = games.random_config(seed)
    if change is not None:
        change(config)
    game = games.begin(config, seed=seed)
    draw = random.Random(seed)
    yield game
    for _ in range(ticks):
        game.buffers.actions[0] = games.random_actions_of(game, draw)
        step_worlds(game.rules, game.state, game.buffers)
        yield game


@QUICK
@given(SEEDS)
def test_every_thing_stands_in_one_cell_of_its_own(games, seed):
    for game in played(games, seed):
        state = game.state
        cells = state.cells[0]
        flat = cells.ravel()
        inside = cells[MARGIN : MARGIN + state.worlds[0, 2], MARGIN : MARGIN + state.worlds[0, 3]]
        assert (cells == CELL_OUTSIDE).sum() == cells.size - inside.size
        assert not (inside == CELL_OUTSIDE).any()
        agents = inside[inside < 0]
        assert sorted(-agents - 1) == list(range(game.compiled.config.num_agents))
        assert (flat[state.agents[0, :, AGENT_POSITION]] == -np.arange(len(agents)) - 1).all()
        standing = np.flatnonzero((state.objects[0, :, OBJECT_KIND] >= 0) & (state.objects[0, :, OBJECT_POSITION] >= 0))
        assert sorted(inside[inside >= CELL_FIRST_OBJECT]) == sorted(standing + CELL_FIRST_OBJECT)
        assert (flat[state.objects[0, standing, OBJECT_POSITION]] == standing + CELL_FIRST_OBJECT).all()


@QUICK
@given(SEEDS)
def test_occupancy_says_where_things_stand(games, seed):
    for game in played(games, seed, ticks=10):
        flat = game.state.cells[0].ravel()
        words = game.state.occupancy[0].astype(np.int64)
        bits = [(words[(p >> 4) + 1] >> (p & 15)) & 1 for p in range(len(flat))]
        again = [(words[p >> 4] >> (16 + (p & 15))) & 1 for p in range(len(flat))]
        expected = ((flat != 0) & (flat != CELL_OUTSIDE)).astype(int).tolist()
        assert bits == again == expected


@QUICK
@given(SEEDS)
def test_agents_stay_within_their_ranges(games, seed):
    for game in played(games, seed):
        agents, config = game.state.agents[0], game.compiled.config
        templates = [*config.agents, config.agent]
        for agent in agents:
            assert 0 <= agent[AGENT_FROZEN] <= templates[agent[AGENT_TEMPLATE]].freeze_duration
            assert 0 <= agent[AGENT_ORIENTATION] < (8 if config.allow_diagonals else 4)
            assert 0 <= agent[AGENT_COLOR] <= 255
            assert agent[AGENT_BOX] == -1 or game.state.objects[0, agent[AGENT_BOX], OBJECT_POSITION] >= 0


@QUICK
@given(SEEDS)
def test_resources_are_made_and_lost_by_rules_alone(games, seed):
    """Every change of an inventory is in the books, and what agents and converters exchange is in both."""
    *_, game = played(games, seed)
    first = next(played(games, seed)).state
    state, R = game.state, len(game.compiled.resource_names)
    books = state.stats[0][
        :, [game.compiled.stat_names.index(f"{name}.gained") for name in game.compiled.resource_names]
    ]
    lost = state.stats[0][:, [game.compiled.stat_names.index(f"{name}.lost") for name in game.compiled.resource_names]]
    assert (first.inventory[0].astype(int) + books - lost == state.inventory[0]).all()
    objects = state.object_stats[0, :, : 4 * R].reshape(-1, R, 4)
    added, removed, consumed, produced = (objects[:, :, i] for i in range(4))
    begun = next(played(games, seed)).state.object_stats[0, :, : 4 * R].reshape(-1, R, 4)
    before = first.object_inventory[0].astype(int) + begun[:, :, 2]  # what the first conversions took at the beginning
    assert (before + added - removed - consumed + produced == state.object_inventory[0]).all()
    for what, total in (("get", removed), ("put", added)):
        assert (counted(game, what).sum(0) == total.sum(0)).all()


def counted(game, what):
    """Return the agents' statistic `<resource>.<what>`, [A, R]."""
    columns = [game.compiled.stat_names.index(f"{name}.{what}") for name in game.compiled.resource_names]
    return game.state.stats[0][:, columns]


@QUICK
@given(SEEDS)
def test_limits_hold_for_everything_that_was_gained(games, seed):
    for game in played(games, seed):
        config = game.compiled.config
        templates = [*config.agents, config.agent]
        for a, agent in enumerate(game.state.agents[0]):
            template = templates[agent[AGENT_TEMPLATE]]
            for r, name in enumerate(config.resources):
                limit = template.resource_limits.get(name, template.default_resource_limit)
                assert game.state.inventory[0, a, r] <= max(limit, template.initial_inventory.get(name, 0))


def inventory_rewards_alone(config):
    config.resource_loss_prob = 0.1
    for agent in (config.agent, *config.agents):
        agent.action_failure_penalty = 0.0
        agent.group_reward_pct = 0.0
        agent.rewards.stats, agent.rewards.stats_max = {}, {}


@QUICK
@given(SEEDS)
def test_the_episodes_reward_is_the_difference_of_contributions(games, seed):
    *_, game = played(games, seed, change=inventory_rewards_alone)
    config = game.compiled.config
    templates = [*config.agents, config.agent]
    for a, agent in enumerate(game.state.agents[0]):
        template = templates[agent[AGENT_TEMPLATE]]
        paid = 0.0
        for r, name in enumerate(config.resources):
            weight, cap = template.rewards.inventory.get(name, 0.0), template.rewards.inventory_max.get(name, np.inf)
            held, given_first = int(game.state.inventory[0, a, r]), template.initial_inventory.get(name, 0)
            paid += min(weight * held, cap) - min(weight * given_first, cap)
        assert abs(float(game.state.episode_rewards[0, a]) - paid) < 1e-3


@QUICK
@given(SEEDS)
def test_counted_actions_add_up_to_the_ticks(games, seed):
    *_, game = played(games, seed, ticks=30)
    names = game.compiled.stat_names
    turns = [i for i, name in enumerate(names) if name.startswith("action.") and name.count(".") == 2]
    turns = [i for i in turns if names[i].endswith((".success", ".failed"))]
    others = [names.index("action.invalid"), names.index("status.frozen.ticks")]
    assert (game.state.stats[0][:, turns + others].sum(1) == 30).all()


@QUICK
@given(SEEDS)
def test_rotations_add_up_to_successful_rotates(games, seed):
    *_, game = played(games, seed)
    names = game.compiled.stat_names
    columns = [i for i, name in enumerate(names) if name.startswith("movement.rotation.to_")]
    rotated = game.state.stats[0][:, names.index("action.rotate.success")]
    assert (game.state.stats[0][:, columns].sum(1) == rotated).all()
