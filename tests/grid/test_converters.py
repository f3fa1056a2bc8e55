"""Converters: when they start, finish and cool down."""

from __future__ import annotations

import pytest

from metta.grid.world import OBJECT_PHASE, PHASE_CONVERTING, PHASE_COOLING, PHASE_IDLE
from metta.grid.worlds import standard_objects


def converter(**fields):
    return {"lab": {"type": "converter", "type_id": 17, "cooldown": 3, "output_resources": {"heart": 1}, **fields}}


def phases(world, ticks):
    result = []
    for _ in range(ticks):
        world.do("noop")
        result.append("-*~"[world.object_field("lab", OBJECT_PHASE)])
    return "".join(result)


def test_it_starts_when_the_world_begins(scene):
    world = scene("L@", objects=converter())
    assert world.object_field("lab", OBJECT_PHASE) == PHASE_CONVERTING
    assert world.object_stat("lab", "conversions.started") == 1


def test_outputs_appear_after_the_conversion_and_then_it_cools_down(scene):
    world = scene("L@", objects=converter(conversion_ticks=2)).do("noop")
    assert world.inside("lab") == {}
    world.do("noop")
    assert world.inside("lab") == {"heart": 1}
    assert world.object_field("lab", OBJECT_PHASE) == PHASE_COOLING
    assert world.object_stat("lab", "heart.produced") == 1
    assert world.object_stat("lab", "cooldown.started") == 1


def test_a_cycle_takes_conversion_and_cooldown(scene):
    assert phases(scene("L@", objects=converter(conversion_ticks=2, cooldown=3)), 10) == "*~~~**~~~*".replace(
        "**", "**"
    )
    assert phases(scene("L@", objects=converter()), 9) == "~~~*~~~*~"


def test_a_mine_gives_one_ore_each_51_ticks(scene):
    world = scene("m@").do("noop", times=1)
    assert world.inside("mine_red") == {"ore_red": 1}
    world.do("noop", times=50)
    assert world.inside("mine_red") == {"ore_red": 1}
    world.do("noop")
    assert world.inside("mine_red") == {"ore_red": 2}


def test_without_cooldown_it_starts_again_right_after_finishing(scene):
    world = scene("L@", objects=converter(cooldown=0)).do("noop", times=4)
    assert world.inside("lab") == {"heart": 4}
    assert world.object_stat("lab", "cooldown.started") == 0


def test_it_stops_at_max_output_and_counts_being_blocked(scene):
    world = scene("L@", objects=converter(cooldown=0, max_output=3)).do("noop", times=10)
    assert world.inside("lab") == {"heart": 3}
    assert world.object_stat("lab", "blocked.output_full") == 1


def test_max_output_counts_all_outputs_together(scene):
    objects = converter(cooldown=0, max_output=3, output_resources={"heart": 1, "laser": 1})
    assert scene("L@", objects=objects).do("noop", times=9).inside("lab") == {"heart": 2, "laser": 2}


def test_no_limit_on_outputs_ends_at_255(scene):
    objects = converter(cooldown=0, max_output=-1, output_resources={"heart": 100})
    world = scene("L@", objects=objects).do("noop", times=9)
    assert world.inside("lab") == {"heart": 255}
    assert world.object_stat("lab", "heart.produced") == 255


@pytest.mark.parametrize("limit", [0, 2])
def test_max_conversions_ends_it_for_good(scene, limit):
    world = scene("L@", objects=converter(cooldown=0, max_conversions=limit)).do("noop", times=9)
    assert world.inside("lab").get("heart", 0) == limit
    assert world.object_field("lab", OBJECT_PHASE) == PHASE_IDLE


def test_initial_resources_are_put_into_every_output(scene):
    objects = converter(initial_resource_count=3, max_conversions=0, output_resources={"heart": 1, "laser": 2})
    assert scene("L@", objects=objects).inside("lab") == {"heart": 3, "laser": 3}


def test_it_waits_for_its_inputs(scene):
    world = scene("_\n@", agent={"initial_inventory": {"battery_red": 4}})
    assert world.object_stat("altar", "blocked.insufficient_input") == 1
    world.do("put_items")
    assert world.inside("altar") == {}
    assert world.object_stat("altar", "battery_red.consumed") == 3
    assert world.object_field("altar", OBJECT_PHASE) == PHASE_CONVERTING
    assert world.do("noop").inside("altar") == {"heart": 1}


def test_an_agent_that_puts_starts_it_after_each_resource(scene):
    objects = converter(input_resources={"ore_red": 1, "ore_blue": 1})
    world = scene("L\n@", objects=objects, agent={"initial_inventory": {"ore_red": 1, "ore_blue": 1}})
    world.do("put_items")
    # at the beginning, and after the ore_red: both times something is missing
    assert world.object_stat("lab", "blocked.insufficient_input") == 2
    assert world.object_stat("lab", "conversions.started") == 1


def test_an_agent_that_takes_makes_room_for_the_next_conversion(scene):
    world = scene("L\n@", objects=converter(cooldown=0, max_output=1)).do("noop", times=3)
    assert world.object_field("lab", OBJECT_PHASE) == PHASE_IDLE
    world.do("get_items")
    assert world.object_field("lab", OBJECT_PHASE) == PHASE_CONVERTING


def test_putting_during_a_conversion_starts_nothing(scene):
    world = scene("L\n@", objects=converter(input_resources={"ore_red": 1}, conversion_ticks=5),
                  agent={"initial_inventory": {"ore_red": 9}})  # fmt: skip
    world.do("put_items").do("put_items")
    assert world.inside("lab") == {"ore_red": 1}
    assert world.object_stat("lab", "conversions.started") == 1


def test_an_output_that_is_also_an_input_does_not_start_it_by_itself(scene):
    objects = converter(
        input_resources={"heart": 1}, output_resources={"heart": 2}, initial_resource_count=1, cooldown=5
    )
    world = scene("L@", objects=objects).do("noop")
    assert world.object_field("lab", OBJECT_PHASE) == PHASE_COOLING
    assert world.object_stat("lab", "conversions.started") == 1


def test_the_colour_of_a_converter_is_seen(scene):
    assert 77 in scene("L@", objects=converter(color=77)).shown("agent:color")


def test_resources_are_put_one_after_the_other_by_id(scene):
    """It holds a blue ore; with the red one it could start, with the blue one alone it could not."""
    objects = converter(input_resources={"ore_blue": 1, "ore_red": 1})
    world = scene("1\nL\n@", objects=objects, agent={"initial_inventory": {"ore_red": 1, "ore_blue": 1}},
                  agents=[{"team": 1, "initial_inventory": {"ore_blue": 1}}])  # fmt: skip
    world.do("rotate_south").do("put_items")
    assert world.inside("lab") == {"ore_blue": 1}
    blocked = world.object_stat("lab", "blocked.insufficient_input")
    world.do("noop", "put_items")
    assert world.object_stat("lab", "conversions.started") == 1
    assert world.object_stat("lab", "blocked.insufficient_input") == blocked
    assert world.inside("lab") == {"ore_blue": 1}


def test_it_tries_to_start_after_each_resource_that_is_taken(scene):
    objects = converter(cooldown=0, max_output=1, initial_resource_count=1, output_resources={"heart": 1, "laser": 1})
    world = scene("L\n@", objects=objects)
    assert world.object_stat("lab", "blocked.output_full") == 1
    world.do("get_items")
    assert world.object_stat("lab", "blocked.output_full") == 2
    assert world.object_stat("lab", "conversions.started") == 1


def test_it_tries_again_when_its_cooldown_ends(scene):
    objects = converter(cooldown=4, max_output=1)
    world = scene("L@", objects=objects).do("noop", times=5)
    assert world.object_stat("lab", "cooldown.completed") == 1
    assert world.object_stat("lab", "blocked.output_full") == 1
    assert world.object_stat("lab", "conversions.completed") == 1


def test_a_limit_of_no_output_keeps_it_from_ever_starting(scene):
    world = scene("L@", objects=converter(max_output=0)).do("noop", times=5)
    assert world.object_stat("lab", "conversions.started") == 0


def test_a_converter_that_used_up_its_conversions_is_not_said_to_be_blocked(scene):
    world = scene("L@", objects=converter(cooldown=0, max_conversions=1, max_output=1)).do("noop", times=5)
    assert world.object_stat("lab", "blocked.output_full") == 0


def test_taking_during_the_cooldown_starts_nothing(scene):
    world = scene("L\n@", objects=converter(cooldown=9)).do("get_items")
    assert world.held() == {"heart": 1}
    assert world.object_stat("lab", "conversions.started") == 1


def test_what_does_not_fit_under_255_is_lost_for_each_output_alone(scene):
    objects = converter(
        cooldown=0,
        max_output=-1,
        max_conversions=1,
        initial_resource_count=250,
        output_resources={"heart": 9, "laser": 2},
    )
    world = scene("L@", objects=objects).do("noop")
    assert world.inside("lab") == {"heart": 255, "laser": 252}
    assert world.object_stat("lab", "heart.produced") == 5


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "cooldown"),
    [
        ("mine_red", {}, {"ore_red": 1}, 50),
        ("mine_blue", {}, {"ore_blue": 1}, 50),
        ("mine_green", {}, {"ore_green": 1}, 50),
        ("generator_red", {"ore_red": 1}, {"battery_red": 1}, 25),
        ("generator_blue", {"ore_blue": 1}, {"battery_blue": 1}, 25),
        ("generator_green", {"ore_green": 1}, {"battery_green": 1}, 25),
        ("altar", {"battery_red": 3}, {"heart": 1}, 10),
        ("lasery", {"battery_red": 1, "ore_red": 2}, {"laser": 1}, 10),
        ("armory", {"ore_red": 3}, {"armor": 1}, 10),
        ("lab", {}, {}, 5),
        ("factory", {}, {}, 5),
        ("temple", {}, {}, 5),
    ],
)
def test_the_standard_recipes(name, inputs, outputs, cooldown):
    thing = standard_objects()[name]
    assert (thing.input_resources, thing.output_resources, thing.cooldown) == (inputs, outputs, cooldown)
    assert (thing.conversion_ticks, thing.max_output, thing.max_conversions) == (1, 5, -1)


def test_the_shortest_cooldown_is_one_tick_of_rest(scene):
    assert phases(scene("L@", objects=converter(cooldown=1, max_output=-1)), 6) == "~*~*~*"


def test_converters_of_different_rhythms_do_not_miss_their_ticks(scene):
    slow = {"factory": {"type": "converter", "type_id": 18, "cooldown": 2, "conversion_ticks": 5, "max_output": -1,
                        "output_resources": {"laser": 1}}}  # fmt: skip
    world = scene("FL@", objects={**slow, **converter(cooldown=2, conversion_ticks=3, max_output=-1)})
    world.do("noop", times=35)
    assert world.inside("factory") == {"laser": 5}
    assert world.inside("lab") == {"heart": 7}


def test_max_output_counts_units_of_whatever_the_recipe_names(scene):
    """Two hearts at a time: it holds two, which is below three, and starts; an output of amount 0 counts as well."""
    world = scene("L@", objects=converter(cooldown=0, max_output=3, output_resources={"heart": 2})).do("noop", times=5)
    assert world.inside("lab") == {"heart": 4}
    outputs = {"heart": 1, "laser": 0}
    world = scene("L@", objects=converter(max_output=3, initial_resource_count=2, output_resources=outputs))
    assert world.object_stat("lab", "blocked.output_full") == 1
    assert world.object_stat("lab", "conversions.started") == 0
