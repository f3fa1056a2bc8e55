"""Resources that are lost by themselves."""

from __future__ import annotations

import numpy as np

from metta.grid.rng import PURPOSE_RESOURCE_LOSS, random_u32

HOLDING = {"initial_inventory": {"ore_red": 100, "heart": 7}}


def test_certain_loss_takes_everything(scene):
    world = scene("@", agent=HOLDING, resource_loss_prob=1.0).do("noop")
    assert world.held() == {}
    assert world.stat("ore_red.lost") == 100


def test_the_whole_part_is_lost_for_certain(scene):
    world = scene("@", agent={"initial_inventory": {"ore_red": 100}}, resource_loss_prob=0.25)
    assert world.do("noop").held() == {"ore_red": 75}
    assert world.do("noop").held()["ore_red"] in (56, 57)


def test_the_fraction_is_a_probability(scene):
    losses = []
    for seed in range(400):
        losses.append(7 - scene("@", agent=HOLDING, resource_loss_prob=0.2, seed=seed).do("noop").held()["heart"])
    assert set(losses) == {1, 2}
    assert abs(np.mean(losses) - 1.4) < 0.08


def test_agents_and_resources_draw_for_themselves(scene):
    agent = {"initial_inventory": {"ore_red": 1, "ore_blue": 1}}
    kept = np.zeros((2, 2), int)
    differ = 0
    for seed in range(100):
        world = scene("@@", agent=agent, resource_loss_prob=0.5, seed=seed).do("noop")
        left = world.state.inventory[0, :, :2].astype(int)
        kept += left
        differ += len(set(left.ravel().tolist())) > 1
    assert (kept > 30).all() and (kept < 70).all()
    assert differ > 60


def test_what_is_lost_follows_from_seed_tick_agent_and_resource(scene):
    agent = {"initial_inventory": {"ore_red": 1, "ore_blue": 1, "ore_green": 1}}
    for seed in range(20):
        world = scene("@@", agent=agent, resource_loss_prob=0.5, seed=seed).do("noop")
        drawn = [[random_u32(seed, 1, PURPOSE_RESOURCE_LOSS, a, r) for r in range(3)] for a in range(2)]
        assert world.state.inventory[0, :, :3].tolist() == [[int(bits >= 2**31) for bits in row] for row in drawn]


def test_converters_lose_nothing(scene):
    world = scene("m@", resource_loss_prob=1.0).do("noop", times=5)
    assert world.inside("mine_red") == {"ore_red": 1}


def test_a_lost_resource_costs_its_reward(scene):
    agent = {**HOLDING, "rewards": {"inventory": {"heart": 1.0}}}
    assert scene("@", agent=agent, resource_loss_prob=1.0).do("noop").reward() == -7


def test_resources_are_lost_after_the_actions_and_before_observations(scene):
    agent = {"initial_inventory": {"battery_red": 5}, "rewards": {"inventory": {"battery_red": 0.01}}}
    world = scene("_\n@", agent=agent, resource_loss_prob=1.0).do("put_items")
    assert world.stat("battery_red.put") == 3
    assert world.shown("inv:battery_red") == []
    assert world.shown("last_reward") == [256 - 5]


def test_a_frozen_agent_loses_as_well(scene):
    world = scene("@\n@", agent={"initial_inventory": {"heart": 1}, "resource_limits": {"heart": 1}},
                  resource_loss_prob=1.0)  # fmt: skip
    assert world.do("noop", "attack_0").held(0) == {}


def test_a_loss_clamps_what_is_held_above_the_limit(scene):
    agent = {"initial_inventory": {"heart": 100}, "default_resource_limit": 20}
    assert scene("@", agent=agent, resource_loss_prob=0.05).do("noop").held() == {"heart": 20}


def test_nothing_is_lost_without_the_option(scene):
    assert scene("@", agent=HOLDING).do("noop", times=50).held() == HOLDING["initial_inventory"]
