"""Observations: against a slow writer that follows the specification word for word, and decoded back."""

from __future__ import annotations

import random

import numpy as np
import pytest

from metta.grid.config import ConverterConfig, WallConfig
from metta.grid.cpu import step_worlds
from metta.grid.world import (
    AGENT_COLOR,
    AGENT_FROZEN,
    AGENT_GLYPH,
    AGENT_LAST_ACTION,
    AGENT_ORIENTATION,
    AGENT_POSITION,
    AGENT_TEAM,
    AGENT_TEMPLATE,
    CELL_FIRST_OBJECT,
    CELL_OUTSIDE,
    MARGIN,
    OBJECT_COLOR,
    OBJECT_KIND,
    OBJECT_OWNER,
    OBJECT_PHASE,
    WORLD_STEP,
)


def slow_tokens(game, reward_before_sharing):
    """Return all tokens of each agent, [(place, feature, value)], with nothing dropped."""
    config, state = game.compiled.config, game.state
    ids = {feature.name: feature.id for feature in game.compiled.features}
    cells = state.cells[0]
    height, width = config.observation.height, config.observation.width
    around = sorted(
        (abs(row) + abs(column), row, column)
        for row in range(-(height // 2), height // 2 + 1)
        for column in range(-(width // 2), width // 2 + 1)
    )
    result = []
    for a in range(config.num_agents):
        here = np.array(divmod(int(state.agents[0, a, AGENT_POSITION]), cells.shape[1]))
        centre = 16 * (height // 2) + width // 2
        tokens = [(centre, ids[name], value) for name, value in slow_globals(game, a, here, reward_before_sharing[a])]
        for _, row, column in around:
            place = 16 * (row + height // 2) + column + width // 2
            i, j = here[0] + row, here[1] + column
            inside = 0 <= i < cells.shape[0] and 0 <= j < cells.shape[1]
            code = int(cells[i, j]) if inside else CELL_OUTSIDE
            tokens += [(place, ids[name], value) for name, value in slow_things(game, code)]
        result.append(tokens)
    return result


def slow_globals(game, a, here, reward):
    config, state = game.compiled.config, game.state
    switches = config.observation
    step, most = int(state.worlds[0, WORLD_STEP]), config.max_steps
    if switches.episode_completion_pct:
        yield "episode_completion_pct", min((510 * step + most) // (2 * most), 255) if most else 0
    if switches.last_action:
        yield "last_action", int(state.agents[0, a, AGENT_LAST_ACTION]) % 256
        yield "last_action_arg", 0
    if switches.last_reward:
        hundredfold = float(np.float32(100) * reward)
        yield "last_reward", int(np.sign(hundredfold) * np.floor(abs(hundredfold) + 0.5)) % 256
    if switches.resource_rewards:
        templates = [*config.agents, config.agent]
        weights = templates[state.agents[0, a, AGENT_TEMPLATE]].rewards.inventory
        bits = ["1" if weights.get(name, 0) > 0 else "0" for name in config.resources[:8]]
        yield "resource_rewards", int("".join(bits).ljust(8, "0"), 2)
    if switches.visitation_counts:
        visits = state.visits[0, a].reshape(state.cells.shape[1:])
        for row, column in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
            yield "agent:visitation_counts", min(int(visits[here[0] + row, here[1] + column]), 255)


def slow_things(game, code):
    config, state, names = game.compiled.config, game.state, game.compiled.object_names
    if code in (0, CELL_OUTSIDE):
        return
    if code < 0:
        agent = state.agents[0, -code - 1]
        yield "type_id", 0
        yield "agent:group", int(agent[AGENT_TEAM])
        yield "agent:frozen", int(agent[AGENT_FROZEN] > 0)
        yield "agent:orientation", int(agent[AGENT_ORIENTATION])
        yield "agent:color", int(agent[AGENT_COLOR])
        if agent[AGENT_GLYPH]:
            yield "agent:glyph", int(agent[AGENT_GLYPH])
        yield from amounts("inv", config, state.inventory[0, -code - 1])
        return
    if code < CELL_FIRST_OBJECT:
        yield "type_id", config.objects[names[code - 1]].type_id
        return
    o = code - CELL_FIRST_OBJECT
    thing = config.objects[names[state.objects[0, o, OBJECT_KIND]]]
    yield "type_id", thing.type_id
    if isinstance(thing, WallConfig):
        if thing.swappable:
            yield "swappable", 1
    elif isinstance(thing, ConverterConfig):
        yield "agent:color", int(state.objects[0, o, OBJECT_COLOR])
        yield "converting", int(state.objects[0, o, OBJECT_PHASE] != 0)
        yield from amounts("inv", config, state.object_inventory[0, o])
        if config.recipe_details_obs:
            yield from amounts("input", config, [thing.input_resources.get(name, 0) for name in config.resources])
            yield from amounts("output", config, [thing.output_resources.get(name, 0) for name in config.resources])
    else:
        yield "agent:group", int(state.objects[0, o, OBJECT_OWNER]) % 256


def amounts(prefix, config, numbers):
    for name, amount in zip(config.resources, numbers, strict=True):
        if amount:
            yield f"{prefix}:{name}", int(amount)


def observed_before_sharing(config):
    """Take away what is paid after observations are written, so that the reward of the state is the one observed."""
    config = config.model_copy(deep=True)
    for agent in (config.agent, *config.agents):
        agent.group_reward_pct = 0.0
        agent.rewards.stats = {}
        agent.rewards.stats_max = {}
    return config


@pytest.mark.parametrize("seed", range(60))
def test_observations_equal_a_slow_writer(games, seed):
    game = games.begin(observed_before_sharing(games.random_config(seed)), seed=seed)
    draw = random.Random(seed)
    limit = game.compiled.config.observation.num_tokens
    written = dropped = 0
    for _ in range(25):
        expected = slow_tokens(game, game.state.rewards[0])
        for a, tokens in enumerate(expected):
            kept = tokens[:limit]
            assert game.buffers.token_counts[0, a] == len(kept)
            assert game.buffers.observations[0, a, : len(kept)].tolist() == [list(token) for token in kept]
            assert (game.buffers.observations[0, a, len(kept) :] == 255).all()
            written += len(kept)
            dropped += len(tokens) - len(kept)
        totals = dict(zip(game.compiled.world_stat_names, game.state.world_stats[0].tolist(), strict=True))
        assert (totals["tokens_written"], totals["tokens_dropped"]) == (written, dropped)
        game.buffers.actions[0] = games.random_actions_of(game, draw)
        step_worlds(game.rules, game.state, game.buffers)


@pytest.mark.parametrize("seed", range(20))
def test_what_an_agent_sees_is_what_is_there(games, seed):
    """Read a window back into cells: type, owner, colour and amounts are those of the state."""
    config = games.random_config(seed)
    config.observation.num_tokens = 2000
    game = games.begin(config, seed=seed)
    draw = random.Random(seed)
    for _ in range(20):
        game.buffers.actions[0] = games.random_actions_of(game, draw)
        step_worlds(game.rules, game.state, game.buffers)
    cells = game.state.cells[0]
    names = {feature.id: feature.name for feature in game.compiled.features}
    half_height, half_width = config.observation.height // 2, config.observation.width // 2
    for a in range(config.num_agents):
        row, column = divmod(int(game.state.agents[0, a, AGENT_POSITION]), cells.shape[1])
        seen: dict[tuple[int, int], dict[str, int]] = {}
        for place, feature, value in game.buffers.observations[0, a].tolist():
            if place != 255 and not names[feature].startswith(("last", "episode", "resource", "agent:visit")):
                seen.setdefault((place // 16 - half_height, place % 16 - half_width), {})[names[feature]] = value
        for i in range(-half_height, half_height + 1):
            for j in range(-half_width, half_width + 1):
                inside = 0 <= row + i < cells.shape[0] and 0 <= column + j < cells.shape[1]
                code = int(cells[row + i, column + j]) if inside else CELL_OUTSIDE
                assert seen.get((i, j), {}) == dict(slow_things(game, code))


def test_cells_come_in_growing_distance_then_by_row_then_by_column(scene):
    world = scene("#####\n#####\n##@##\n#####\n#####", observation={"height": 5, "width": 5})
    places = [(row, column) for row, column, name, _ in world.tokens() if name == "type_id"]
    assert places == sorted(places, key=lambda place: (abs(place[0]) + abs(place[1]), place))
    assert len(places) == 25


def test_a_cell_off_the_map_shows_nothing(scene):
    world = scene("@")
    assert world.shown("type_id") == [0]


def test_what_does_not_fit_is_dropped_in_the_middle_of_an_object(scene):
    observation = {"num_tokens": 3, "last_action": False, "last_reward": False}
    world = scene("@m", observation=observation)
    assert [name for _, _, name, _ in world.tokens()] == ["episode_completion_pct", "type_id", "agent:group"]
    assert world.world_stat("tokens_dropped") == 3 + 3
    assert world.world_stat("tokens_free_space") == 0


@pytest.mark.parametrize(
    ("switch", "names"),
    [
        ("episode_completion_pct", ["episode_completion_pct"]),
        ("last_action", ["last_action", "last_action_arg"]),
        ("last_reward", ["last_reward"]),
        ("resource_rewards", ["resource_rewards"]),
        ("visitation_counts", ["agent:visitation_counts"] * 5),
    ],
)
def test_each_global_token_has_a_switch(scene, switch, names):
    off = dict.fromkeys(("episode_completion_pct", "last_action", "last_reward"), False)
    world = scene("@", observation={**off, switch: True})
    assert [name for row, column, name, _ in world.tokens()][: len(names)] == names
    assert len(world.tokens()) == len(names) + 5
    assert {(row, column) for row, column, _, _ in world.tokens()} == {(0, 0)}


def test_completion_is_rounded_to_255ths(scene):
    world = scene("@", max_steps=1000)
    shown = [world.do("noop").shown("episode_completion_pct")[0] for _ in range(1000)]
    assert shown == [(510 * step + 1000) // 2000 for step in range(1, 1001)]
    assert shown[-1] == 255


def test_visitation_counts_grow_where_an_agent_stands_at_the_end_of_a_tick(scene):
    world = scene("...\n.@.\n...", observation={"visitation_counts": True})
    assert world.shown("agent:visitation_counts") == [0, 0, 0, 0, 0]
    assert world.do("noop", times=2).shown("agent:visitation_counts") == [2, 0, 0, 0, 0]
    assert world.do("move_north").shown("agent:visitation_counts") == [1, 0, 2, 0, 0]
    assert world.do("move_south").do("move_west").shown("agent:visitation_counts") == [1, 0, 0, 0, 3]


def test_visitation_counts_are_shown_up_to_255(scene):
    world = scene("@", max_steps=0, observation={"visitation_counts": True}).do("noop", times=300)
    assert world.shown("agent:visitation_counts")[0] == 255


def test_resource_rewards_has_a_bit_for_each_of_the_first_eight_resources(scene):
    weights = {"ore_red": 1.0, "ore_green": 0.5, "ore_blue": -1.0, "armor": 0.1, "laser": 5.0}
    world = scene("@", observation={"resource_rewards": True}, agent={"rewards": {"inventory": weights}})
    assert world.shown("resource_rewards") == [0b10100001]


def test_recipes_are_shown_if_asked_for(scene):
    assert not any(":" in name and name.startswith(("input", "output")) for _, _, name, _ in scene("@S").tokens())
    tokens = scene("@S", recipe_details_obs=True).tokens()
    recipe = [(name, value) for _, _, name, value in tokens if name.startswith(("input", "output"))]
    assert recipe == [("input:ore_red", 2), ("input:battery_red", 1), ("output:laser", 1)]


def test_a_converter_shows_whether_it_is_busy(scene):
    world = scene("L@", objects={"lab": {"type": "converter", "type_id": 17, "cooldown": 2, "max_conversions": 1}})
    assert [world.shown("converting")[0]] + [world.do("noop").shown("converting")[0] for _ in range(4)] == [
        1,
        1,
        1,
        0,
        0,
    ]


def test_an_agent_shows_that_it_is_frozen_and_when_it_thaws(scene):
    world = scene("@\n@", agent={"freeze_duration": 2}).do("noop", "attack_0")
    assert world.shown("agent:frozen", 1) == [0, 1]
    assert world.do("noop").shown("agent:frozen", 1) == [0, 0]


def test_the_feature_table_follows_the_resources(scene):
    compiled = scene("@", resources=["a", "b"], standard=False, recipe_details_obs=True).compiled
    names = [feature.name for feature in compiled.features]
    assert [feature.id for feature in compiled.features] == list(range(20))
    assert names[14:] == ["inv:a", "inv:b", "input:a", "input:b", "output:a", "output:b"]
    divisors = [feature.divisor for feature in compiled.features]
    assert divisors == [1, 10, 1, 1, 255, 1, 1, 255, 10, 10, 100, 255, 255, 1000, 100, 100, 100, 100, 100, 100]


def test_observing_needs_no_clean_buffer_behind_the_counted_tokens(games):
    """The counts say what must be cleared; everything behind them is left alone."""
    game = games.begin(games.random_config(3), seed=3)
    expected = game.buffers.observations.copy()
    game.buffers.observations[...] = 7
    game.buffers.token_counts[...] = game.buffers.observations.shape[2]
    games.reset_world(game.compiled, game.rules, game.state, game.buffers, 0, game.compiled.build_map(3), seed=3)
    assert (game.buffers.observations == expected).all()


def test_the_margin_is_wide_enough_for_the_widest_window(scene):
    world = scene("@", observation={"height": 15, "width": 15})
    assert world.state.cells.shape[1:] == (1 + 2 * MARGIN, 1 + 2 * MARGIN)
    assert world.shown("type_id") == [0]
