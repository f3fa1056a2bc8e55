"""From a configuration to rules: names, tables, and every mistake with its message."""

from __future__ import annotations

import pytest

from metta.errors import ConfigError, MapError
from metta.grid import WorldConfig, compile_world
from metta.grid.compile import check_compatible
from metta.grid.config import AgentConfig
from metta.grid.maps.config import ScatterMapConfig
from metta.grid.worlds import arena, easy_arena


def changed(path: str, value: object) -> WorldConfig:
    """Return the arena with one field changed, as an override would."""
    config = arena()
    target = config
    *parents, last = path.split(".")
    for name in parents:
        if isinstance(target, dict):
            target = target[name]
        elif isinstance(target, list):
            target = target[int(name)]
        else:
            target = getattr(target, name)
    if isinstance(target, dict):
        target[last] = value
    else:
        setattr(target, last, value)
    return config


MISTAKES = {
    "a resource that does not exist": (
        "agent.rewards.inventory.hart", 1.0,
        ["agent.rewards.inventory.hart", "no such resource", "ore_red", "did you mean heart"],
    ),
    "a limit for an unknown resource": (
        "agent.resource_limits.lazer", 3, ["agent.resource_limits.lazer", "did you mean laser"],
    ),
    "a price in an unknown resource": (
        "actions.attack.consumed_resources.lasers", 1, ["actions.attack.consumed_resources.lasers", "laser"],
    ),
    "a defence of an unknown resource": (
        "actions.attack.defense_resources.armour", 1, ["actions.attack.defense_resources.armour", "armor"],
    ),
    "an input that does not exist": (
        "objects.altar.input_resources.batery_red", 1, ["objects.altar.input_resources.batery_red", "battery_red"],
    ),
    "an output that does not exist": (
        "objects.altar.output_resources.hearts", 1, ["objects.altar.output_resources.hearts", "heart"],
    ),
    "a stat that does not exist": (
        "agent.rewards.stats", {"heart.gaind": 1.0},
        ["agent.rewards.stats.heart.gaind", "no such stat", "heart.gained"],
    ),
    "a reward that is no number": (
        "agent.rewards.inventory.heart", float("nan"), ["agent.rewards.inventory.heart", "nan", "finite"],
    ),
    "less required than consumed": (
        "actions.attack.required_resources", {"laser": 0},
        ["actions.attack.required_resources.laser", "given 0", "takes 1", "1 to 255"],
    ),
    "a quantity above 255": (
        "objects.altar.input_resources.battery_red", 256,
        ["objects.altar", "input_resources.battery_red", "256", "255"],
    ),
    "a quantity below 0": (
        "agent.resource_limits.heart", -1, ["agent.resource_limits.heart", "-1", "greater than or equal to 0"],
    ),
    "a box to place without an object box": (
        "actions.place_box.enabled", True, ["actions.place_box", "no box", "allowed"],
    ),
    "a window without a centre": (
        "observation.width", 10, ["observation.width", "given 10", "odd numbers from 3 to 15"],
    ),
    "two objects with one type id": (
        "objects.altar.type_id", 2, ["objects.altar.type_id", "given 2", "objects.mine_red", "1 to 255"],
    ),
    "another number of agents": ("num_agents", 23, ["num_agents", "given 23", "places 24"]),
    "an object that the map alone knows": (
        "map.instance.objects.alter", 1, ["map.alter", "no such object", "did you mean altar"],
    ),
    "no action at all": (
        "actions", {verb: {"enabled": False} for verb in ("noop", "move", "get_items")}, ["actions", "none is enabled"],
    ),
    "two resources of one name": ("resources", ["a", "b", "a"], ["resources.2", "'a'"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_with_its_path_and_what_is_allowed(mistake):
    path, value, words = MISTAKES[mistake]
    with pytest.raises(ConfigError) as error:
        compile_world(changed(path, value))
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("objects.altar.conversion_ticks", 0, ["conversion_ticks", "greater than or equal to 1"]),
        ("observation.height", 17, ["height", "less than or equal to 15"]),
        ("observation.height", 1, ["height", "greater than or equal to 3"]),
        ("agent.freeze_duration", 256, ["freeze_duration", "less than or equal to 255"]),
        ("resource_loss_prob", 1.5, ["resource_loss_prob", "less than or equal to 1"]),
    ],
)
def test_a_value_out_of_range_is_refused_when_it_is_set(path, value, words):
    with pytest.raises(ValueError) as error:
        changed(path, value)
    for word in words:
        assert word in str(error.value)


def test_unknown_symbols_are_reported_with_line_and_column(scene):
    with pytest.raises(MapError) as error:
        scene("@.\n.?")
    assert "line 2" in str(error.value) and "column 2" in str(error.value)


def test_a_second_box_is_refused(scene):
    with pytest.raises(ConfigError, match=r"objects\.crate"):
        scene("@", objects={"crate": {"type": "box", "type_id": 99}})


@pytest.mark.parametrize("name", ["agent", "empty", "agent.1"])
def test_names_of_cells_cannot_be_objects(scene, name):
    with pytest.raises(ConfigError, match="the name is taken"):
        scene("@", objects={name: {"type": "wall", "type_id": 99}})


def test_every_change_within_a_mistake_is_found_on_any_template(scene):
    with pytest.raises(ConfigError, match=r"agents\.1\.rewards\.stats\.nothing"):
        scene("@1", agents=[{"team": 1}, {"team": 1, "rewards": {"stats": {"nothing": 1.0}}}])


def test_a_map_with_walls_needs_no_object_wall(scene):
    world = scene("@#", standard=False)
    assert world.compiled.object_types == {0: "agent", 1: "wall"}
    assert world.shown("type_id") == [0, 1]


def test_unless_type_id_1_is_taken(scene):
    with pytest.raises(ConfigError, match="type id 1 is another"):
        scene("@#", standard=False, objects={"stone": {"type": "wall", "type_id": 1}})


def test_equal_configurations_are_compiled_once():
    assert compile_world(arena()) is compile_world(arena())
    assert compile_world(arena()) is not compile_world(arena(combat=False))


def test_a_compiled_world_does_not_change_with_its_configuration():
    config = arena()
    compiled = compile_world(config)
    config.max_steps = 5
    assert compiled.config.max_steps == 1000
    assert compile_world(config).config.max_steps == 5


def test_compiled_rules_cannot_be_written():
    compiled = compile_world(arena())
    with pytest.raises(ValueError, match="read-only"):
        compiled.rules.world[0, 0] = 1


def test_the_tables_of_the_arena():
    compiled = compile_world(arena())
    assert compiled.object_types == {
        0: "agent", 1: "wall", 2: "mine_red", 5: "generator_red", 8: "altar", 15: "lasery", 16: "armory",
    }  # fmt: skip
    assert compiled.action_names == (
        "noop", "move_north", "move_south", "move_west", "move_east", "get_items", "put_items",
        *(f"attack_{k}" for k in range(9)),
    )  # fmt: skip
    assert compiled.features[14].name == "inv:ore_red"
    assert len(compiled.features) == 24
    assert compiled.team_names == ("red",)
    assert len(set(compiled.stat_names)) == len(compiled.stat_names)


def test_worlds_that_differ_in_rules_can_be_played_side_by_side():
    check_compatible(compile_world(arena()), compile_world(easy_arena()))
    check_compatible(compile_world(arena()), compile_world(arena(combat=False)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("observation.width", 9),
        ("observation.num_tokens", 100),
        ("actions.rotate.enabled", True),
        ("recipe_details_obs", True),
    ],
)
def test_worlds_that_differ_in_what_a_policy_sees_or_does_cannot(path, value):
    with pytest.raises(ConfigError, match="allowed: worlds of one batch have the same"):
        check_compatible(compile_world(arena()), compile_world(changed(path, value)))


def test_the_limits_of_a_map_with_ranges_are_those_of_its_largest():
    config = arena()
    config.map = ScatterMapConfig(width=9, height=7, border=2, agents={0: 1, 3: 2}, objects={"altar": 4})
    config.num_agents = 3
    config.agents = [AgentConfig(team=3)]
    compiled = compile_world(config)
    assert (compiled.sizes.height, compiled.sizes.width, compiled.sizes.objects) == (11, 13, 4)
    assert compiled.team_names == ("red", "yellow")
