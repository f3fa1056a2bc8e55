"""What a turn costs, and what happens to actions that cannot be carried out."""

from __future__ import annotations

import numpy as np
import pytest


def test_noop_always_succeeds(scene):
    world = scene("@").do("noop")
    assert world.succeeded()
    assert world.stat("action.noop.success") == 1


@pytest.mark.parametrize("action", [-1, 10_000, -(2**31), 2**31 - 1])
def test_an_action_that_does_not_exist_is_fined_and_counted_alone(scene, action):
    world = scene("@", agent={"action_failure_penalty": 0.5}).do(action)
    assert world.reward() == -0.5
    assert world.stats() == {"action.invalid": 1}
    assert not world.succeeded()


def test_a_failed_action_is_fined_and_counted(scene):
    world = scene("@", agent={"action_failure_penalty": 0.25}).do("move_north")
    assert world.reward() == -0.25
    assert world.stat("action.failure_penalty") == 1
    assert world.stat("action.move.failed") == 1


def test_without_a_penalty_failures_are_counted_all_the_same(scene):
    world = scene("@").do("move_north")
    assert world.reward() == 0
    assert world.stat("action.failure_penalty") == 1


def test_lacking_what_is_required_one_does_not_even_turn(scene):
    world = scene("@.", actions={"move": {"required_resources": {"ore_red": 1}}}).do("move_east")
    assert world.facing() == "N"
    assert not world.succeeded()


def test_what_is_required_is_not_consumed(scene):
    actions = {"move": {"required_resources": {"ore_red": 2}, "consumed_resources": {"ore_red": 1}}}
    world = scene("@..", actions=actions, agent={"initial_inventory": {"ore_red": 2}}).do("move_east")
    assert world.held() == {"ore_red": 1}
    assert not world.do("move_east").succeeded()


def test_what_is_consumed_is_required_unless_said_otherwise(scene):
    world = scene("@..", actions={"move": {"consumed_resources": {"ore_red": 1}}}).do("move_east")
    assert not world.succeeded()


def test_a_failed_action_consumes_nothing(scene):
    actions = {"move": {"consumed_resources": {"ore_red": 1}}}
    world = scene("@", actions=actions, agent={"initial_inventory": {"ore_red": 2}}).do("move_east")
    assert world.held() == {"ore_red": 2}


def test_consuming_is_a_loss_and_costs_its_reward(scene):
    actions = {"noop": {"consumed_resources": {"ore_red": 1}}}
    agent = {"initial_inventory": {"ore_red": 2}, "rewards": {"inventory": {"ore_red": 3.0}}}
    world = scene("@", actions=actions, agent=agent).do("noop")
    assert world.stat("ore_red.lost") == 1
    assert world.reward() == -3


def test_what_the_action_itself_gave_away_cannot_be_consumed_again(scene):
    actions = {"put_items": {"consumed_resources": {"battery_red": 2}}}
    world = scene("_\n@", actions=actions, agent={"initial_inventory": {"battery_red": 3}}).do("put_items")
    assert world.held() == {}
    assert world.stat("battery_red.lost") == 3
    assert world.stat("battery_red.put") == 3


def test_actions_are_listed_in_the_order_of_the_specification_without_gaps(scene):
    names = scene("@").compiled.action_names
    verbs = list(dict.fromkeys(name.rstrip("0123456789").rstrip("_") for name in names))
    assert verbs == [
        "noop", "move_north", "move_south", "move_west", "move_east",
        "rotate_north", "rotate_south", "rotate_west", "rotate_east",
        "get_items", "put_items", "attack", "swap", "change_color", "change_glyph", "place_box",
    ]  # fmt: skip
    fewer = scene("@", actions={"move": {"enabled": False}}).compiled.action_names
    assert fewer == tuple(name for name in names if not name.startswith("move"))


def test_the_last_action_is_shown_as_it_was_sent(scene):
    world = scene("@")
    assert world.shown("last_action") == [0]
    move = world.action("move_east")
    assert world.do("move_east").shown("last_action") == [move]
    assert world.do(300).shown("last_action") == [300 - 256]
    assert world.do(-1).shown("last_action") == [255]
    assert world.shown("last_action_arg") == [0]


def test_a_frozen_agent_shows_what_it_tried(scene):
    world = scene("@\n@").do("noop", "attack_0").do("rotate_east", "noop")
    assert world.shown("last_action", 0) == [world.action("rotate_east")]


def test_thousands_of_random_actions_leave_every_agent_in_its_cell(scene):
    rng = np.random.default_rng(0)
    text = "#.m.x.s@_.1\n.@.2.n..s.@\n1.L.o.S.x.2"
    agents = [{"team": 1, "initial_inventory": {"laser": 200, "armor": 5}}, {"team": 2, "default_resource_limit": 3}]
    actions = {
        "attack": {"consumed_resources": {"laser": 1}, "defense_resources": {"armor": 1}},
        "place_box": {"consumed_resources": {"ore_red": 1}},
    }
    world = scene(text, agents=agents, actions=actions, max_steps=0, allow_diagonals=True, resource_loss_prob=0.01)
    num_actions, num_agents = len(world.compiled.action_names), world.config.num_agents
    for _ in range(3000):
        world.buffers.actions[0] = rng.integers(-2, num_actions + 2, num_agents)
        world.do(*world.buffers.actions[0].tolist())
    cells = world.state.cells[0]
    assert sorted(-cells[(cells < 0) & (cells > -32768)] - 1) == list(range(num_agents))
    for a in range(num_agents):
        assert cells.ravel()[world.field(0, a)] == -a - 1
