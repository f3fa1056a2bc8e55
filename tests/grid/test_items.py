"""get_items and put_items."""

from __future__ import annotations

MINE = {"type": "converter", "type_id": 2, "output_resources": {"ore_red": 1}, "cooldown": 50}


def full_mine(amount=4, **fields):
    return {"mine_red": {**MINE, "initial_resource_count": amount, "max_output": amount, **fields}}


def agent(**fields):
    return {"agent": fields}


def test_getting_takes_all_outputs_at_once(scene):
    world = scene("m\n@", objects=full_mine(4)).do("get_items")
    assert world.held() == {"ore_red": 4}
    assert world.inside("mine_red") == {}
    assert world.stat("ore_red.get") == world.stat("ore_red.gained") == 4
    assert world.object_stat("mine_red", "ore_red.removed") == 4


def test_getting_stops_at_the_agents_limit(scene):
    world = scene("m\n@", objects=full_mine(4), agent={"resource_limits": {"ore_red": 3}}).do("get_items")
    assert world.held() == {"ore_red": 3}
    assert world.inside("mine_red") == {"ore_red": 1}
    assert not world.do("get_items").succeeded()


def test_the_default_limit_holds_for_resources_without_one(scene):
    world = scene("m\n@", objects=full_mine(4), agent={"default_resource_limit": 2}).do("get_items")
    assert world.held() == {"ore_red": 2}


def test_getting_from_an_empty_converter_fails(scene):
    world = scene("m\n@", objects=full_mine(0)).do("get_items")
    assert not world.succeeded()
    assert world.stat("action.get_items.failed") == 1


def test_getting_from_nothing_a_wall_or_an_agent_fails(scene):
    for text in (".\n@", "#\n@", "s\n@", "1\n@", "@"):
        agent = 1 if "1" in text else 0
        world = scene(text)
        world.do(*(["noop"] * agent), "get_items")
        assert not world.succeeded(agent)


def test_getting_reaches_only_the_cell_in_front(scene):
    world = scene("m\n@", objects=full_mine(4)).do("rotate_east").do("get_items")
    assert not world.succeeded()
    assert world.do("rotate_north").do("get_items").succeeded()


def test_inputs_cannot_be_taken_out_again(scene):
    world = scene("_\n@", agent={"initial_inventory": {"battery_red": 2}}).do("put_items")
    assert world.inside("altar") == {"battery_red": 2}
    assert not world.do("get_items").succeeded()


def test_outputs_are_taken_by_resource_id(scene):
    objects = {"lab": {"type": "converter", "type_id": 17, "cooldown": 9, "initial_resource_count": 2,
                       "output_resources": {"laser": 1, "ore_red": 1}, "max_output": 1}}  # fmt: skip
    world = scene("L\n@", objects=objects).do("get_items")
    assert world.held() == {"ore_red": 2, "laser": 2}


def test_putting_gives_one_recipes_worth(scene):
    world = scene("_\n@", agent={"initial_inventory": {"battery_red": 5, "ore_red": 1}}).do("put_items")
    assert world.held() == {"battery_red": 2, "ore_red": 1}
    assert world.stat("battery_red.put") == world.stat("battery_red.lost") == 3
    assert world.object_stat("altar", "battery_red.added") == 3


def test_putting_gives_what_one_has_if_that_is_less(scene):
    world = scene("_\n@", agent={"initial_inventory": {"battery_red": 1}}).do("put_items")
    assert world.held() == {}
    assert world.inside("altar") == {"battery_red": 1}


def test_putting_without_an_input_fails(scene):
    assert not scene("_\n@", agent={"initial_inventory": {"ore_red": 1}}).do("put_items").succeeded()


def test_putting_into_a_mine_fails_as_it_has_no_inputs(scene):
    assert not scene("m\n@", agent={"initial_inventory": {"ore_red": 1}}).do("put_items").succeeded()


def test_putting_stops_at_255(scene):
    objects = {"altar": {"type": "converter", "type_id": 8, "cooldown": 1, "max_conversions": 0,
                         "input_resources": {"battery_red": 200}, "output_resources": {"heart": 1}}}  # fmt: skip
    world = scene("@_1", objects=objects, agent={"initial_inventory": {"battery_red": 255}})
    world.do("rotate_east", "rotate_west").do("put_items", "put_items")
    assert world.inside("altar") == {"battery_red": 255}
    assert sorted([world.held(0)["battery_red"], world.held(1)["battery_red"]]) == [55, 200]
    assert not world.do("put_items").succeeded()


def test_an_initial_inventory_above_the_limit_stays_until_the_first_loss(scene):
    agent = {
        "initial_inventory": {"battery_red": 9},
        "resource_limits": {"battery_red": 5},
        "rewards": {"inventory": {"battery_red": 1.0}},
    }
    world = scene("_\n@", agent=agent)
    assert world.held() == {"battery_red": 9}
    assert world.reward() == 0
    assert world.stat("battery_red.gained") == 0
    world.do("put_items")
    assert world.held() == {"battery_red": 5}
    assert world.stat("battery_red.lost") == 4
    assert world.stat("battery_red.put") == 3
    assert world.reward() == -4


def test_nothing_is_added_to_an_inventory_above_the_limit(scene):
    agent = {"initial_inventory": {"ore_red": 9}, "default_resource_limit": 5}
    world = scene("m\n@", objects=full_mine(4), agent=agent).do("get_items")
    assert not world.succeeded()
    assert world.held() == {"ore_red": 9}
    assert world.stat("ore_red.gained") == 0
