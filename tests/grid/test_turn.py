"""What a turn costs, and what happens to actions that cannot be carried out."""

from __future__ import annotations

import numpy as np
import pytest

from metta.grid.ruleset import VERBS
from metta.grid.world import AGENT_COLOR, AGENT_FROZEN, AGENT_GLYPH, AGENT_ORIENTATION


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


def test_an_agent_begins_facing_north_without_colour_and_glyph_and_not_frozen(scene):
    world = scene("@")
    assert [world.field(field) for field in (AGENT_ORIENTATION, AGENT_COLOR, AGENT_GLYPH, AGENT_FROZEN)] == [0, 0, 0, 0]


def test_both_rounds_of_a_tick_follow_one_order(scene):
    """Who would strike first is who would walk first, in every tick."""
    first_to_strike, first_to_walk = [], []
    for seed in range(30):
        duel = scene("@\n@", seed=seed, agent={"freeze_duration": 5}).do("rotate_south").do("attack_0", "attack_0")
        first_to_strike.append(duel.field(AGENT_FROZEN, 1) > 0)
        race = scene("@.\n.@", seed=seed).do("noop").do("move_east", "move_north")
        first_to_walk.append(race.succeeded(0))
    assert first_to_strike == first_to_walk
    assert 5 < sum(first_to_walk) < 25


def test_everybody_acts_once_a_tick_in_the_order_that_was_drawn(scene):
    """Five agents push into one another's places: the outcome is that of a slow walk through the order."""
    for seed in range(20):
        world = scene("@@@@@.", seed=seed).do(*["move_east"] * 5)
        free, walked = 5, []
        for agent in world.buffers.order[0].tolist():
            if agent == free - 1:
                walked.append(agent)
                free = agent
        assert [a for a in range(5) if world.succeeded(a)] == sorted(walked)


def test_a_victim_that_has_had_its_turn_keeps_its_whole_freeze(scene):
    """Both attack; the one who is hit before its turn loses the turn and a tick of the freeze."""
    seen = set()
    for seed in range(12):
        world = scene("1\n@", seed=seed, agents=[{"team": 1, "freeze_duration": 7}], agent={"freeze_duration": 7})
        world.do("rotate_south").do("attack_0", "attack_0")
        seen.add((world.field(AGENT_FROZEN, 0), world.field(AGENT_FROZEN, 1)))
        assert world.stat("action.attack.success", 0) + world.stat("action.attack.success", 1) == 1
    assert seen == {(6, 0), (0, 6)}


def test_a_victim_of_the_first_round_has_not_had_its_turn(scene):
    world = scene("1\n@", agents=[{"team": 1, "freeze_duration": 1}]).do("move_north", "attack_0")
    assert world.field(AGENT_FROZEN, 0) == 0
    assert world.stat("status.frozen.ticks", 0) == 1


def test_a_converter_that_finishes_at_a_tick_can_be_emptied_in_it(scene):
    assert scene("m\n@").do("get_items").held() == {"ore_red": 1}


def test_frozen_turns_neither_count_as_motionless_nor_interrupt(scene):
    world = scene("1\n@", agents=[{"team": 1, "freeze_duration": 3}]).do("noop").do("noop", "attack_0")
    world.do("noop", times=2).do("noop")
    assert world.stat("status.frozen.ticks", 0) == 3
    assert world.stat("status.max_steps_without_motion", 0) == 2


@pytest.mark.parametrize("action", ["move_north", "get_items", "put_items", "attack_3", "swap", "place_box"])
def test_off_the_map_is_a_wall_to_every_action(scene, action):
    world = scene("@", agent={"initial_inventory": {"ore_red": 3}})
    for direction in ("north", "south", "west", "east"):
        world.do(f"rotate_{direction}").do(action.replace("north", direction))
        assert not world.succeeded()
    assert world.drawn() == "@"
    assert world.held() == {"ore_red": 3}


SUCCEEDING = {
    "noop": (".\n@", "noop"),
    "move": (".\n@", "move_north"),
    "rotate": (".\n@", "rotate_south"),
    "get_items": ("x\n@", "get_items"),
    "put_items": ("n\n@", "put_items"),
    "attack": ("@\n@", "attack_0"),
    "swap": ("s\n@", "swap"),
    "change_color": (".\n@", "change_color_2"),
    "change_glyph": (".\n@", "change_glyph_2"),
    "place_box": (".\n@", "place_box"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_costs_what_it_consumes_and_does_nothing_without_what_it_requires(scene, verb):
    text, action = SUCCEEDING[verb]
    actor = text.count("@") - 1
    agent = {"initial_inventory": {"ore_red": 1, "laser": 2}, "action_failure_penalty": 0.5}
    price = {verb: {"consumed_resources": {"laser": 2}}}
    world = scene(text, agent=agent, actions=price).do(*["noop"] * actor, action)
    assert world.succeeded(actor) and world.reward(actor) == 0
    gave_away = verb == "put_items"
    stolen = 1 if verb == "attack" else 0
    assert world.held(actor) == ({} if gave_away else {"ore_red": 1 + stolen} | ({"laser": 2} if stolen else {}))
    dear = {verb: {"required_resources": {"laser": 3}}}
    world = scene(text, agent=agent, actions=dear)
    before = world.drawn(), world.state.agents[0, actor, :6].tolist(), world.state.object_inventory.tolist()
    world.do(*["noop"] * actor, action)
    assert not world.succeeded(actor) and world.reward(actor) == -0.5
    assert world.stat(f"action.{verb}.failed", actor) == world.stat("action.failure_penalty", actor) == 1
    world.state.object_inventory[...] = before[2]
    assert (world.drawn(), world.state.agents[0, actor, :6].tolist()) == before[:2]
    assert world.held(actor) == {"ore_red": 1, "laser": 2}


def test_the_price_is_taken_after_the_effect(scene):
    """A full robber has no room for what it is about to pay with."""
    agent = {"initial_inventory": {"laser": 1}, "resource_limits": {"laser": 1}}
    world = scene("@\n@", agent=agent, actions={"attack": {"consumed_resources": {"laser": 1}}}).do("noop", "attack_0")
    assert (world.held(0), world.held(1)) == ({"laser": 1}, {})


def test_success_is_of_this_tick_and_not_of_one_before(scene):
    world = scene("@\n@", agent={"freeze_duration": 5}).do("noop", "noop")
    assert world.succeeded(0) and world.succeeded(1)
    world.do("noop", "attack_0")
    assert not world.succeeded(0)
    world.do("noop", -1)
    assert not world.succeeded(1)
