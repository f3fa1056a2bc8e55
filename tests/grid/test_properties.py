"""What holds in every world, whatever its settings and whatever its agents do."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metta.envs import FixedTasks, Task, VecEnv
from metta.grid.cpu import step_worlds
from metta.grid.ruleset import VERBS
from metta.grid.world import (
    AGENT_BOX,
    AGENT_COLOR,
    AGENT_FROZEN,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    AGENT_TEAM,
    AGENT_TEMPLATE,
    CELL_FIRST_OBJECT,
    CELL_OUTSIDE,
    MARGIN,
    OBJECT_KIND,
    OBJECT_PHASE,
    OBJECT_POSITION,
    OBJECT_READY_AT,
    PHASE_IDLE,
    WORLD_NEXT_READY,
    WORLD_STEP,
)

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**31)


def played(games, seed, *, ticks=30, change=None):
    """Play a random world, wide or not; yield the game at the beginning and after each tick."""
    wide = seed % 2 == 1
    config = games.wide_config(seed) if wide else games.random_config(seed)
    if change is not None:
        change(config)
    game = games.begin(config, seed=seed)
    draw = random.Random(seed)
    yield game
    for _ in range(ticks):
        game.buffers.actions[0] = games.random_verbs_of(game, draw) if wide else games.random_actions_of(game, draw)
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


@QUICK
@given(SEEDS)
def test_no_converter_misses_the_end_of_its_phase(games, seed):
    for game in played(games, seed):
        step, objects = game.state.worlds[0, WORLD_STEP], game.state.objects[0]
        busy = objects[objects[:, OBJECT_PHASE] != PHASE_IDLE, OBJECT_READY_AT]
        assert (busy > step).all()
        assert (busy >= game.state.worlds[0, WORLD_NEXT_READY]).all()


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


def templates_of(game):
    """Return each agent's template."""
    config = game.compiled.config
    return [[*config.agents, config.agent][number] for number in game.state.agents[0, :, AGENT_TEMPLATE]]


def amounts(game, table):
    """Return amounts by name as an array over resources."""
    return np.array([table.get(name, 0) for name in game.compiled.resource_names])


def no_loss_no_limits(config):
    config.resource_loss_prob = 0.0
    for agent in (config.agent, *config.agents):
        agent.default_resource_limit, agent.resource_limits = 255, {}
    config.actions.put_items.consumed_resources = {}  # what was put away can no longer be taken


@QUICK
@given(SEEDS)
def test_all_that_agents_lose_was_put_stolen_or_paid(games, seed):
    *_, game = played(games, seed, ticks=40, change=no_loss_no_limits)
    names, stats = list(game.compiled.stat_names), game.state.stats[0].sum(0)
    actions = game.compiled.config.actions
    paid = sum(
        stats[names.index(f"action.{verb}.success")] * amounts(game, getattr(actions, verb).consumed_resources)
        for verb in VERBS
    )
    blocked = sum(stats[i] for i, name in enumerate(names) if ".blocked_by." in name)
    defended = blocked * amounts(game, actions.attack.defense_resources)
    given_away = counted(game, "put").sum(0) + stolen(game) + paid + defended
    assert counted(game, "lost").sum(0).tolist() == given_away.tolist()


@QUICK
@given(SEEDS)
def test_all_that_agents_gain_was_taken_stolen_or_refunded(games, seed):
    *_, game = played(games, seed, ticks=40)
    opened = game.state.stats[0][:, game.compiled.stat_names.index("box.opened")].sum()
    most = opened * amounts(game, game.compiled.config.actions.place_box.consumed_resources)
    refunded = counted(game, "gained").sum(0) - counted(game, "get").sum(0) - stolen(game)
    assert (refunded >= 0).all() and (refunded <= most).all()


def stolen(game):
    """Return how much of each resource was stolen, [R]."""
    columns = [
        [i for i, name in enumerate(game.compiled.stat_names) if f".steals.{resource}.from." in name]
        for resource in game.compiled.resource_names
    ]
    return np.array([game.state.stats[0][:, each].sum() for each in columns])


def small_penalties(config):
    for agent in (config.agent, *config.agents):
        agent.action_failure_penalty = min(agent.action_failure_penalty, 3.0)


@QUICK
@given(SEEDS)
def test_every_ticks_reward_is_what_the_rules_pay(games, seed):
    """Inventories, penalties and statistics as differences between two ticks, shared by hand, in float64."""
    before = None
    for game in played(games, seed, ticks=20, change=small_penalties):
        now = [worth(game, a, template) for a, template in enumerate(templates_of(game))]
        if before is not None:
            earned = np.array(now) - before
            expected = shared(game, earned)
            np.testing.assert_allclose(game.state.rewards[0], expected, rtol=1e-3, atol=2e-3)
        before = np.array(now)


def worth(game, a, template):
    """Return what an agent's inventory and counters are worth."""
    rewards, names = template.rewards, list(game.compiled.stat_names)
    held = dict(zip(game.compiled.resource_names, game.state.inventory[0, a].tolist(), strict=True))
    total = sum(min(w * held[name], rewards.inventory_max.get(name, np.inf)) for name, w in rewards.inventory.items())
    failures = game.state.stats[0, a, names.index("action.failure_penalty")]
    total -= template.action_failure_penalty * (failures + game.state.stats[0, a, names.index("action.invalid")])
    for name, weight in rewards.stats.items():
        if name != "reward":
            value = float(game.state.stats[0, a, names.index(name)])
            total += min(weight * value, rewards.stats_max.get(name, np.inf))
    return total + past_rewards(game, a, template)


def past_rewards(game, a, template):
    """Return the contribution of the statistic `reward`, that of earlier ticks."""
    weight, cap = template.rewards.stats.get("reward", 0.0), template.rewards.stats_max.get("reward", np.inf)
    earlier = float(game.state.episode_rewards[0, a]) - float(game.state.rewards[0, a])
    return min(weight * earlier, cap) if weight else 0.0


def shared(game, earned):
    """Return what is left after every agent paid into its team's pool, which is divided evenly."""
    share = np.array([template.group_reward_pct for template in templates_of(game)])
    teams = game.state.agents[0, :, AGENT_TEAM]
    result = earned * (1 - share)
    for team in set(teams.tolist()):
        members = teams == team
        result[members] += (earned * share)[members].sum() / members.sum()
    return result


def vec_env(games, seed, *, seeds, num_worlds, threads=1):
    config = games.wide_config(seed) if seed % 2 else games.random_config(seed)
    config.max_steps = 12
    return VecEnv(FixedTasks([Task(config, s) for s in seeds]), num_worlds=num_worlds, threads=threads)


def step_and_look(env):
    """Play a tick with actions that depend on the game alone; return what was seen and paid, by seed."""
    noise = env.action_noise(np.empty(env.num_agents, np.float32)).copy()
    env.step((noise * (env.num_actions + 2)).astype(np.int32) - 1)
    return [
        (end.task.seed, end.agent_stats.tolist(), end.rewards.tolist(), end.inventory.tolist(), end.world_stats)
        for end in env.episode_ends
    ]


def results(env):
    env.reset()
    ends = {}
    while env.active.any():
        ends |= {seed: rest for seed, *rest in step_and_look(env)}
    return ends


@QUICK
@given(SEEDS)
def test_number_and_order_of_worlds_and_threads_change_no_game(games, seed):
    one_by_one = results(vec_env(games, seed, seeds=range(7), num_worlds=1))
    assert len(one_by_one) == 7
    assert results(vec_env(games, seed, seeds=[3, 6, 0, 5, 1, 2, 4], num_worlds=3, threads=2)) == one_by_one


@QUICK
@given(SEEDS, st.integers(0, 20))
def test_a_restored_world_goes_on_as_the_original(games, seed, ticks):
    env, other = (vec_env(games, seed, seeds=range(6), num_worlds=2) for _ in range(2))
    env.reset()
    for _ in range(ticks):
        step_and_look(env)
    snapshot, digest = env.snapshot(), env.hash()
    other.restore(snapshot)
    assert other.hash() == digest
    for _ in range(15):
        assert step_and_look(other) == step_and_look(env)
        assert other.hash() == env.hash()
        assert (other.observations == env.observations).all() and (other.rewards == env.rewards).all()


@QUICK
@given(SEEDS)
def test_worlds_that_differ_have_another_hash(games, seed):
    env = vec_env(games, seed, seeds=range(2), num_worlds=2)
    env.reset()
    digests = [env.hash()]
    for array in (env.state.inventory, env.state.agents, env.state.worlds, env.observations):
        if array.size:
            array.reshape(-1)[-1] ^= 1
            digests.append(env.hash())
    assert len(set(digests)) == len(digests)
