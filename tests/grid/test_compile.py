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


def test_unknown_symbols_are_reported_with_line_and_column(scene):
    with pytest.raises(MapError) as error:
        scene("@.\n.?")
    assert "line 2" in str(error.value) and "column 2" in str(error.value)


def test_a_second_box_is_refused(scene):
    with pytest.raises(ConfigError, match=r"objects\.crate"):
        scene("@", objects={"crate": {"type": "box", "type_id": 99}})


@pytest.mark.parametrize("name", ["agent", "empty", "agent.1"])
def test_names_of_cells_cannot_be_objects(scene, name):
    with pytest.raises(ConfigError, match="a name that is taken"):
        scene("@", objects={name: {"type": "wall", "type_id": 99}})


def test_every_change_within_a_mistake_is_found_on_any_template(scene):
    with pytest.raises(ConfigError, match=r"agents\.1\.rewards\.stats\.nothing"):
        scene("@1", agents=[{"team": 1}, {"team": 1, "rewards": {"stats": {"nothing": 1.0}}}])


def test_a_map_with_walls_needs_no_object_wall(scene):
    world = scene("@#", standard=False)
    assert world.compiled.object_types == {0: "agent", 1: "wall"}
    assert world.shown("type_id") == [0, 1]


def test_unless_type_id_1_is_taken(scene):
    with pytest.raises(ConfigError, match="given 1, the type id of walls"):
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
