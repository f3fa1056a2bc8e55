"""attack: reach, defence, freezing, robbing."""

from __future__ import annotations

import pytest

from metta.grid.world import AGENT_FROZEN

TEAMS = [{"team": 1, "initial_inventory": {"heart": 3, "ore_red": 2}}]


def attacker_of(text):
    return [symbol for symbol in text if symbol in "@123456789"].index("@")


def strike(scene, text, k=0, **fields):
    """Let the `@` attack northwards; return (world, indices of those frozen)."""
    world = scene(text, agents=fields.pop("agents", TEAMS), **fields)
    actions = ["noop"] * world.config.num_agents
    actions[attacker_of(text)] = f"attack_{k}"
    world.do(*actions)
    # a victim's own turn comes after the attack round, and costs it one tick
    return world, [a for a in range(world.config.num_agents) if world.field(AGENT_FROZEN, a) == 9]


def test_attacking_thin_air_fails(scene):
    world, frozen = strike(scene, ".\n@")
    assert not frozen
    assert not world.succeeded()


@pytest.mark.parametrize(
    ("k", "text"),
    [
        (0, "...\n...\n.1.\n.@."),
        (0, "...\n...\n1..\n.@."),
        (0, "...\n...\n..1\n.@."),
        (0, "...\n.1.\n...\n.@."),
        (0, "1..\n...\n...\n.@."),
        (0, "..1\n...\n...\n.@."),
    ],
)
def test_nine_cells_in_front_are_in_reach(scene, k, text):
    world, frozen = strike(scene, text, k)
    assert len(frozen) == 1
    assert world.succeeded(attacker_of(text))


@pytest.mark.parametrize("text", ["1\n.\n.\n.\n@", "1@", "@1", "@\n1", "1..\n..@", "1...\n...@\n...."])
def test_other_cells_are_not(scene, text):
    _, frozen = strike(scene, text)
    assert not frozen


def test_the_kth_agent_found_is_hit_nearest_row_first_then_straight_left_right(scene):
    text = "111\n111\n111\n.@."
    # numbered in reading order: 0 1 2 / 3 4 5 / 6 7 8; found (1,0) (1,-1) (1,1) (2,0) ...
    found = [7, 6, 8, 4, 3, 5, 1, 0, 2]
    for k, victim in enumerate(found):
        assert strike(scene, text, k)[1] == [victim]


def test_the_last_agent_found_is_hit_if_there_are_fewer(scene):
    assert strike(scene, "1..\n.1.\n.@.", 8)[1] == [0]


def test_left_and_right_follow_the_facing(scene):
    world = scene("1.\n.@\n1.", agents=TEAMS).do("noop", "rotate_west").do("noop", "attack_0", "noop")
    # facing west the left hand is south: agent 2 stands at (1, -1), agent 0 at (1, 1)
    assert (world.field(AGENT_FROZEN, 0), world.field(AGENT_FROZEN, 2)) == (0, 9)


def test_with_diagonals_the_reach_is_another(scene):
    text = "11111\n11111\n11111\n11@11"
    # (1,0)(2,-1)(1,1)(2,0)(3,-2)(1,2)(3,-1)(2,1)(3,0) of a 5 wide block, rows of 5, attacker in the last row
    found = [12, 6, 13, 7, 0, 14, 1, 8, 2]
    for k, victim in enumerate(found):
        assert strike(scene, text, k, allow_diagonals=True)[1] == [victim]


def test_a_diagonal_attack_turns_the_same_cells(scene):
    world = scene("..1\n.@.\n...", agents=TEAMS, allow_diagonals=True)
    world.do("noop", "rotate_northeast").do("noop", "attack_0")
    assert world.field(AGENT_FROZEN, 0) == 9


def test_a_victim_is_frozen_and_robbed(scene):
    world, _ = strike(scene, "1\n@")
    assert world.held(1) == {"heart": 3, "ore_red": 2}
    assert world.held(0) == {}
    assert world.stats(1)["action.attack.red.hit.blue"] == 1
    assert world.stats(0)["action.attack.blue.hit_by.red"] == 1
    assert world.stats(1)["action.attack.red.steals.heart.from.blue"] == 3
    assert world.stats(1)["heart.gained"] == world.stats(0)["heart.lost"] == 3
    assert "heart.get" not in world.stats(1)


def test_what_the_robber_cannot_carry_stays(scene):
    world, _ = strike(scene, "1\n@", agent={"resource_limits": {"heart": 2}})
    assert world.held(1) == {"heart": 2, "ore_red": 2}
    assert world.held(0) == {"heart": 1}


def test_a_frozen_agent_does_nothing_until_it_thaws(scene):
    world = scene("1\n@", agents=[{"team": 1, "freeze_duration": 3}]).do("noop", "attack_0")
    for left in (2, 1, 0):
        assert world.field(AGENT_FROZEN, 0) == left
        world.do("rotate_east")
    assert world.facing(0) == "E"
    assert world.stat("status.frozen.ticks", 0) == 3


def test_a_frozen_agent_pays_no_penalty_and_its_counters_rest(scene):
    teams = [{"team": 1, "freeze_duration": 5, "action_failure_penalty": 1.0}]
    world = scene("1\n@", agents=teams).do("noop", "attack_0")
    world.do("get_items").do(77)
    assert world.reward(0) == 0
    assert world.stat("action.invalid", 0) == 0
    assert not world.succeeded(0)


def test_hitting_a_frozen_agent_freezes_it_again_and_takes_nothing(scene):
    teams = [{"team": 1, "initial_inventory": {"heart": 3}, "freeze_duration": 4}]
    world = scene("1\n@", agents=teams, agent={"resource_limits": {"heart": 1}})
    world.do("noop", "attack_0").do("noop", "noop").do("noop", "attack_0")
    assert world.field(AGENT_FROZEN, 0) == 3
    assert world.held(0) == {"heart": 2}
    assert world.stat("action.attack.red.wasted_on_frozen", 1) == 1
    assert world.stat("action.attack.red.hit.blue", 1) == 1


def test_a_defender_loses_its_armor_and_nothing_else(scene):
    teams = [{"team": 1, "initial_inventory": {"armor": 1, "heart": 3}}]
    world, frozen = strike(scene, "1\n@", agents=teams, actions={"attack": {"defense_resources": {"armor": 1}}})
    assert not frozen
    assert world.held(0) == {"heart": 3}
    assert world.succeeded(1)
    assert world.stat("action.attack.red.blocked_by.blue", 1) == 1
    assert world.stat("action.attack.success", 1) == 1


def test_half_an_armor_does_not_defend(scene):
    teams = [{"team": 1, "initial_inventory": {"armor": 1}}]
    actions = {"attack": {"defense_resources": {"armor": 2}}}
    world, frozen = strike(scene, "1\n@", agents=teams, actions=actions)
    assert frozen == [0]
    assert world.held(1) == {"armor": 1}


def test_a_blocked_attack_is_paid(scene):
    teams = [{"team": 1, "initial_inventory": {"armor": 1}}]
    actions = {"attack": {"defense_resources": {"armor": 1}, "consumed_resources": {"laser": 1}}}
    world, _ = strike(scene, "1\n@", agents=teams, actions=actions, agent={"initial_inventory": {"laser": 2}})
    assert world.held(1) == {"laser": 1}


def test_friends_can_be_hit_and_it_is_counted_as_friendly_fire(scene):
    world = scene("@\n@").do("noop", "attack_0")
    assert world.field(AGENT_FROZEN, 0) == 9
    assert world.stat("action.attack.red.friendly_fire", 1) == 1
    assert not any(".hit" in name for name in world.compiled.stat_names)


def test_attackers_act_before_all_others(scene):
    for seed in range(8):
        world = scene("1\n@", agents=TEAMS, seed=seed).do("move_north", "attack_0")
        assert world.field(AGENT_FROZEN, 0) == 9


def test_two_attackers_act_in_the_ticks_order(scene):
    outcomes = set()
    for seed in range(12):
        world = scene("1\n@", agents=TEAMS, seed=seed).do("rotate_south").do("attack_0", "attack_0")
        outcomes.add((world.field(AGENT_FROZEN, 0) > 0, world.field(AGENT_FROZEN, 1) > 0))
    assert outcomes == {(True, False), (False, True)}


def test_a_resource_that_was_robbed_is_no_longer_rewarded(scene):
    teams = [{"team": 1, "initial_inventory": {"heart": 3}, "rewards": {"inventory": {"heart": 2.0}}}]
    world, _ = strike(scene, "1\n@", agents=teams, agent={"rewards": {"inventory": {"heart": 1.0}}})
    assert world.reward(0) == -6
    assert world.reward(1) == 3


def test_teams_have_names_up_to_orange_and_numbers_after(scene):
    world = scene("@5\n9.", agents=[{"team": 5}, {"team": 9}])
    assert world.compiled.team_names == ("red", "orange", "team_9")
    assert "action.attack.team_9.hit.orange" in world.compiled.stat_names


def test_a_frozen_agent_defends_itself_all_the_same(scene):
    teams = [{"team": 1, "initial_inventory": {"armor": 1}, "freeze_duration": 5}]
    actions = {"attack": {"defense_resources": {"armor": 1}}}
    world = scene("1.\n@@", agents=teams, actions=actions)
    world.state.agents[0, 0, AGENT_FROZEN] = 3
    world.do("noop", "attack_0")
    assert world.held(0) == {}
    assert world.field(AGENT_FROZEN, 0) == 2
    assert world.stat("action.attack.red.blocked_by.blue", 1) == 1
    assert world.stat("action.attack.red.wasted_on_frozen", 1) == 0


def test_a_defence_of_several_resources_needs_them_all_and_costs_them_all(scene):
    actions = {"attack": {"defense_resources": {"armor": 2, "blueprint": 1}}}
    full, lacking = {"armor": 3, "blueprint": 1}, {"armor": 3}
    world, frozen = strike(scene, "1\n@", agents=[{"team": 1, "initial_inventory": full}], actions=actions)
    assert (frozen, world.held(0)) == ([], {"armor": 1})
    world, frozen = strike(scene, "1\n@", agents=[{"team": 1, "initial_inventory": lacking}], actions=actions)
    assert (frozen, world.held(0), world.held(1)) == ([0], {}, {"armor": 3})


def test_what_a_victim_holds_above_its_limit_is_clamped_when_some_of_it_is_stolen(scene):
    teams = [{"team": 1, "initial_inventory": {"heart": 9, "laser": 9}, "default_resource_limit": 4}]
    world, _ = strike(scene, "1\n@", agents=teams, agent={"resource_limits": {"heart": 2, "laser": 0}})
    assert world.held(1) == {"heart": 2}
    assert world.held(0) == {"heart": 4, "laser": 9}
    assert world.stat("heart.lost", 0) == 5
    assert world.stats(1)["action.attack.red.steals.heart.from.blue"] == 2


def test_walls_and_objects_do_not_cover_anyone(scene):
    assert strike(scene, "1\n#\nm\n@")[1] == [0]


def test_a_victim_that_cannot_be_frozen_is_robbed_each_time(scene):
    teams = [{"team": 1, "initial_inventory": {"heart": 4}, "freeze_duration": 0}]
    world = scene("1\n@", agents=teams, agent={"resource_limits": {"heart": 1}}).do("noop", "attack_0")
    assert world.stat("action.attack.red.wasted_on_frozen", 1) == 0
    assert world.stats(0)["action.attack.blue.hit_by.red"] == 1
    assert world.do("noop", "attack_0").stats(0)["action.attack.blue.hit_by.red"] == 2


def test_stealing_within_a_team_is_counted_too(scene):
    world = scene("@\n@", agent={"initial_inventory": {"heart": 1}}).do("noop", "attack_0")
    assert world.stats(1)["action.attack.red.steals.heart.from.red"] == 1
