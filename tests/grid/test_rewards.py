"""Rewards: inventories, statistics, sharing, and the sum over an episode."""

from __future__ import annotations

import numpy as np
import pytest

MINE = {"mine_red": {"type": "converter", "type_id": 2, "output_resources": {"ore_red": 1}, "cooldown": 0,
                     "initial_resource_count": 4, "max_conversions": 0, "max_output": 9}}  # fmt: skip


def rewards(**fields):
    return {"agent": {"rewards": fields}}


def test_holding_more_of_a_rewarded_resource_is_paid_once(scene):
    world = scene("m\n@", objects=MINE, **rewards(inventory={"ore_red": 0.1})).do("get_items")
    assert np.float32(world.reward()) == np.float32(np.float32(0.1) * np.float32(4))
    assert world.do("noop").reward() == 0


def test_a_contribution_is_capped(scene):
    fields = rewards(inventory={"ore_red": 1.0}, inventory_max={"ore_red": 2.5})
    assert scene("m\n@", objects=MINE, **fields).do("get_items").reward() == 2.5


def test_losing_costs_what_gaining_paid(scene):
    agent = {
        "initial_inventory": {"battery_red": 3},
        "rewards": {"inventory": {"battery_red": 1.0}, "inventory_max": {"battery_red": 2.0}},
    }
    assert scene("_\n@", agent=agent).do("put_items").reward() == -2


def test_a_negative_weight_makes_holding_costly(scene):
    assert scene("m\n@", objects=MINE, **rewards(inventory={"ore_red": -0.5})).do("get_items").reward() == -2


def test_statistics_are_paid_as_they_grow(scene):
    world = scene("@..", **rewards(stats={"action.move.success": 0.5}))
    assert world.do("move_east").reward() == 0.5
    assert world.do("move_north").reward() == 0
    assert world.do("move_east").reward() == 0.5


def test_a_statistics_contribution_is_capped(scene):
    world = scene("@...", **rewards(stats={"action.move.success": 2.0}, stats_max={"action.move.success": 3.0}))
    assert [world.do("move_east").reward() for _ in range(3)] == [2, 1, 0]


def test_a_negative_cap_is_not_paid_at_the_first_tick(scene):
    world = scene("@.", **rewards(stats={"action.noop.success": 1.0}, stats_max={"action.noop.success": -1.0}))
    assert world.do("noop").reward() == 0


def test_several_statistics_are_summed_in_float32_in_alphabetical_order(scene):
    weights = {"action.noop.success": 0.1, "action.invalid": 0.7, "status.max_steps_without_motion": 1e-8}
    world = scene("@", **rewards(stats=weights)).do("noop").do(-1)
    total = np.float32(0)
    for name in sorted(weights):
        total += np.float32(weights[name]) * np.float32(world.stat(name))
    assert world.state.stat_rewards[0, 0] == total


def test_the_episodes_own_reward_can_be_rewarded(scene):
    """`reward` is the sum over earlier ticks."""
    agent = {"rewards": {"stats": {"reward": 1.0}, "inventory": {"ore_red": 1.0}}}
    world = scene("m\n@", objects=MINE, agent=agent)
    assert [world.do("get_items").reward(), world.do("noop").reward(), world.do("noop").reward()] == [4, 4, 4]


def test_the_last_reward_is_observed_before_statistics_and_sharing(scene):
    agent = {"rewards": {"stats": {"action.get_items.success": 1.0}, "inventory": {"ore_red": 0.25}}}
    world = scene("m\n@", objects=MINE, agent=agent).do("get_items")
    assert world.shown("last_reward") == [100]
    assert world.reward() == 2


@pytest.mark.parametrize(
    ("penalty", "shown"), [(0.01, 255), (0.004, 0), (0.005, 255), (0.015, 254), (2.56, 0), (1e30, 0), (3.0, 212)]
)
def test_the_last_reward_is_a_byte_rounded_half_away_from_zero(scene, penalty, shown):
    world = scene("@", agent={"action_failure_penalty": penalty}).do("move_north")
    hundredfold = np.float32(100) * np.float32(-penalty)
    expected = 0 if abs(hundredfold) > 2**31 else int(-np.floor(abs(float(hundredfold)) + 0.5)) % 256
    assert world.shown("last_reward") == [expected]
    assert expected == shown


def test_a_shared_reward_is_divided_evenly_over_the_team(scene):
    fields = rewards(inventory={"ore_red": 1.0})
    fields["agent"]["group_reward_pct"] = 0.5
    world = scene("m..\n@@@", objects=MINE, **fields).do("get_items")
    third = np.float32(2) / np.float32(3)
    assert [np.float32(world.reward(a)) for a in range(3)] == [np.float32(2) + third, third, third]


def test_teams_do_not_share_with_each_other(scene):
    agents = [{"team": 1, "group_reward_pct": 1.0}]
    world = scene("m..\n@11", objects=MINE, agents=agents, **rewards(inventory={"ore_red": 1.0})).do("get_items")
    assert [world.reward(a) for a in range(3)] == [4, 0, 0]


def test_each_agent_pays_its_own_share(scene):
    agents = [{"team": 0, "group_reward_pct": 1.0, "rewards": {"inventory": {"ore_red": 1.0}}}]
    world = scene("m.\n@@", objects=MINE, agents=agents).do("get_items")
    assert [world.reward(a) for a in range(2)] == [2, 2]


def test_penalties_are_shared_as_well(scene):
    agent = {"action_failure_penalty": 1.0, "group_reward_pct": 1.0}
    world = scene("@@", agent=agent).do("move_north")
    assert [world.reward(0), world.reward(1)] == [-0.5, -0.5]


def test_the_episodes_reward_is_the_sum_of_what_was_paid(scene):
    world = scene("@...", **rewards(stats={"action.move.success": 0.1}))
    total = np.float32(0)
    for _ in range(5):
        total += np.float32(world.do("move_east").reward())
    assert world.state.episode_rewards[0, 0] == total


def test_templates_are_chosen_by_team(scene):
    agents = [{"team": 1, "initial_inventory": {"ore_red": 1}}, {"team": 2, "initial_inventory": {"ore_red": 2}}]
    world = scene("@12", agents=agents, agent={"initial_inventory": {"heart": 9}})
    assert [world.held(a) for a in range(3)] == [{"heart": 9}, {"ore_red": 1}, {"ore_red": 2}]
    assert [value for row, column, name, value in world.tokens(0) if name == "agent:group"] == [0, 1, 2]


def test_the_first_template_of_a_team_is_taken(scene):
    agents = [{"initial_inventory": {"ore_red": 1}}, {"initial_inventory": {"ore_red": 2}}]
    assert scene("@", agents=agents).held() == {"ore_red": 1}


def test_without_a_template_for_its_team_an_agent_is_made_after_agent(scene):
    world = scene("@3", agent={"initial_inventory": {"ore_red": 1}})
    assert world.held(1) == {"ore_red": 1}
    assert world.compiled.team_names == ("red", "yellow")


def test_rewards_are_added_in_float32_in_the_order_in_which_they_arise(scene):
    """By resource id: the other way round the small reward would be lost in the large one."""
    objects = {"lab": {"type": "converter", "type_id": 17, "cooldown": 9, "initial_resource_count": 1,
                       "max_conversions": 0, "output_resources": {"laser": 1, "ore_red": 1, "heart": 1}}}  # fmt: skip
    weights = {"ore_red": 1e8, "heart": -1e8, "laser": 3.0}
    world = scene("L\n@", objects=objects, **rewards(inventory=weights)).do("get_items")
    assert world.held() == {"ore_red": 1, "heart": 1, "laser": 1}
    assert world.reward() == 3.0
    assert (np.float32(3.0) + np.float32(-1e8)) + np.float32(1e8) == 0.0


def test_the_episodes_reward_is_what_the_learner_gets_after_sharing(scene):
    agent = {"rewards": {"inventory": {"ore_red": 1.0}}, "group_reward_pct": 1.0}
    world = scene("m.\n@@", objects=MINE, agent=agent).do("get_items").do("noop")
    assert world.state.episode_rewards[0].tolist() == [2.0, 2.0]
    assert world.state.rewards[0].tolist() == [0.0, 0.0]


def test_statistics_are_shared_as_well(scene):
    agent = {"rewards": {"stats": {"action.rotate.success": 1.0}}, "group_reward_pct": 0.5}
    world = scene("@@", agent=agent).do("rotate_east")
    assert [world.reward(0), world.reward(1)] == [0.75, 0.25]


def test_an_agent_keeps_what_it_does_not_share(scene):
    agent = {"rewards": {"stats": {"action.rotate.success": 1.0}}, "group_reward_pct": 0.25}
    world = scene("@1", agents=[{"team": 1}], agent=agent).do("rotate_east")
    assert [world.reward(0), world.reward(1)] == [1.0, 0.0]


def test_agents_of_one_team_and_two_templates_share_one_pool(scene):
    agents = [{"team": 1, "group_reward_pct": 1.0, "rewards": {"stats": {"action.noop.success": 4.0}}}]
    world = scene("1@2", agents=agents, agent={"team": 1}).do("noop")
    assert world.compiled.team_names == ("blue", "green")
    assert [world.reward(a) for a in range(3)] == [2.0, 2.0, 0.0]


def test_a_cap_on_statistics_holds_back_what_comes_later_alone(scene):
    stats = {"action.noop.success": 1.0, "action.rotate.success": 1.0}
    world = scene("@", **rewards(stats=stats, stats_max={"action.noop.success": 1.0}))
    paid = [world.do(action).reward() for action in ("noop", "noop", "rotate_east", "noop")]
    assert paid == [1, 0, 1, 0]


def test_a_statistic_with_a_negative_weight_is_a_cost(scene):
    world = scene("@", **rewards(stats={"action.move.failed": -0.5}))
    assert [world.do("move_north").reward(), world.do("noop").reward()] == [-0.5, 0]
