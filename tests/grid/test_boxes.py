"""Boxes: placed for a price, opened by others."""

from __future__ import annotations

from metta.grid.world import AGENT_FROZEN

PRICE = {"place_box": {"consumed_resources": {"ore_red": 2}}}
RICH = {"initial_inventory": {"ore_red": 5}}


def test_a_box_is_placed_in_front_for_its_price(scene):
    world = scene("..\n@.", actions=PRICE, agent=RICH).do("place_box")
    assert world.drawn() == "x.\n@."
    assert world.held() == {"ore_red": 3}
    assert world.stat("box.created") == 1


def test_without_the_price_there_is_no_box(scene):
    world = scene(".\n@", actions=PRICE).do("place_box")
    assert world.drawn() == ".\n@"
    assert not world.succeeded()


def test_a_box_needs_an_empty_cell(scene):
    for thing in ("#", "m", "s"):
        world = scene(f"{thing}\n@", actions=PRICE, agent=RICH).do("place_box")
        assert not world.succeeded()
        assert world.held() == {"ore_red": 5}
    assert not scene("@", actions=PRICE, agent=RICH).do("place_box").succeeded()


def test_placing_again_moves_the_one_box_and_pays_again(scene):
    world = scene("..\n@.", actions=PRICE, agent=RICH).do("place_box").do("rotate_east").do("place_box")
    assert world.drawn() == "..\n@x"
    assert world.held() == {"ore_red": 1}
    assert world.stat("box.created") == 2


def test_ones_own_box_cannot_be_opened(scene):
    world = scene(".\n@", actions=PRICE, agent=RICH).do("place_box").do("get_items")
    assert not world.succeeded()
    assert world.drawn() == "x\n@"


def test_another_agent_opens_it_and_the_owner_gets_the_price_back(scene):
    world = scene("@.@", actions=PRICE, agent=RICH).do("rotate_east", "rotate_west").do("place_box")
    assert world.held(0) == {"ore_red": 3}
    world.do("noop", "get_items")
    assert world.succeeded(1)
    assert world.drawn() == "0.1"
    assert world.held(0) == world.held(1) == {"ore_red": 5}
    assert world.stat("box.opened", 1) == 1
    assert world.stat("ore_red.gained", 0) == 2
    assert world.stat("ore_red.get", 0) == world.stat("ore_red.get", 1) == 0


def test_the_refund_stops_at_the_owners_limit(scene):
    agent = {**RICH, "resource_limits": {"ore_red": 4}}
    world = scene("@.@", actions=PRICE, agent=agent).do("rotate_east", "rotate_west").do("place_box")
    # the first loss clamped 5 to the limit: paying 2 left 3
    assert world.held(0) == {"ore_red": 3}
    assert world.do("noop", "get_items").held(0) == {"ore_red": 4}
    assert world.stat("ore_red.gained", 0) == 1


def test_after_it_was_opened_a_box_can_be_placed_anew(scene):
    world = scene("@.@", actions=PRICE, agent=RICH).do("rotate_east", "rotate_west").do("place_box")
    world.do("noop", "get_items").do("place_box")
    assert world.drawn() == "0x1"


def test_a_box_of_the_map_pays_nobody(scene):
    world = scene("x\n@", actions=PRICE, agent=RICH).do("get_items")
    assert world.succeeded()
    assert world.drawn() == ".\n@"
    assert world.held() == {"ore_red": 5}


def test_a_box_shows_its_owner(scene):
    world = scene("x@.@", actions=PRICE, agent=RICH).do("noop", "rotate_west").do("noop", "place_box")
    boxes = [token for token in world.tokens(0) if token[2] == "agent:group" and token[1] != 0 and abs(token[1]) == 1]
    assert boxes == [(0, -1, "agent:group", 255), (0, 1, "agent:group", 1)]


def test_boxes_cannot_be_filled(scene):
    assert not scene("x\n@", agent=RICH).do("put_items").succeeded()


def test_a_box_blocks_the_way(scene):
    assert not scene("x\n@").do("move_north").succeeded()


def test_ones_own_box_in_front_is_in_the_way_of_placing_it_again(scene):
    world = scene(".\n@", actions=PRICE, agent=RICH).do("place_box").do("place_box")
    assert not world.succeeded()
    assert world.held() == {"ore_red": 3}


def test_an_agent_in_front_is_in_the_way_of_a_box(scene):
    assert not scene("@\n@", actions=PRICE, agent=RICH).do("noop", "place_box").succeeded(1)


def test_a_refund_leaves_alone_what_is_above_a_limit(scene):
    agent = {"initial_inventory": {"ore_red": 9, "heart": 1}, "resource_limits": {"ore_red": 4}}
    actions = {"place_box": {"consumed_resources": {"heart": 1}}}
    world = scene("@.@", actions=actions, agent=agent).do("rotate_east", "rotate_west").do("place_box")
    assert world.held(0) == {"ore_red": 9}
    assert world.do("noop", "get_items").held(0) == {"ore_red": 9, "heart": 1}


def test_a_frozen_owner_gets_its_price_back_too(scene):
    world = scene("@.@", actions=PRICE, agent={**RICH, "freeze_duration": 9}).do("rotate_east", "rotate_west")
    world.do("place_box")
    world.state.agents[0, 0, AGENT_FROZEN] = 5
    assert world.do("noop", "get_items").held(0) == {"ore_red": 5}


def test_a_box_that_was_opened_leaves_the_cell_to_others(scene):
    world = scene("x\n@").do("get_items").do("move_north")
    assert world.drawn() == "@\n."
