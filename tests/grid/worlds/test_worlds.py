"""The standard worlds are those of the design."""

from __future__ import annotations

import numpy as np
import pytest

from metta.errors import ConfigError
from metta.grid import WorldConfig, compile_world
from metta.grid.config import ConverterConfig
from metta.grid.maps import build_map, map_text
from metta.grid.maps.config import TerrainMapConfig
from metta.grid.worlds import arena, easy_arena, navigation, navigation_suite, standard_objects

WORLDS = {"arena": arena(), "peaceful": arena(combat=False), "easy": easy_arena(), "navigation": navigation()}
WORLDS |= navigation_suite()


@pytest.mark.parametrize("name", WORLDS)
def test_every_standard_world_compiles_and_places_its_agents(name: str) -> None:
    compiled = compile_world(WORLDS[name])
    counts = compiled.build_map(1).counts()
    assert sum(count for thing, count in counts.items() if thing.startswith("agent.")) == WORLDS[name].num_agents


def test_the_arena_is_62_by_62_and_holds_what_it_should() -> None:
    grid_map = build_map(arena().map, 3)
    assert grid_map.codes.shape == (62, 62)
    counts = grid_map.counts()
    assert {name: counts[name] for name in ("agent.0", "altar", "mine_red", "generator_red", "lasery", "armory")} == {
        "agent.0": 24,
        "altar": 20,
        "mine_red": 40,
        "generator_red": 20,
        "lasery": 4,
        "armory": 4,
    }
    assert counts["wall"] == 62 * 62 - 50 * 50 + 40
    inside = grid_map.codes[6:56, 6:56]
    border = grid_map.codes.copy()
    border[6:56, 6:56] = 1
    assert (border == 1).all()
    for row in (0, 25):
        for column in (0, 25):
            quarter = inside[row : row + 25, column : column + 25]
            assert np.count_nonzero(quarter) == 6 + 10 + 5 + 10 + 5 + 1 + 1


def test_without_combat_the_actions_are_the_same_but_nobody_can_pay() -> None:
    with_combat, without = compile_world(arena()), compile_world(arena(combat=False))
    assert with_combat.action_names == without.action_names
    price = without.config.actions.attack.consumed_resources["laser"]
    assert price > without.config.agent.default_resource_limit
    assert with_combat.config.actions.attack.consumed_resources == {"laser": 1}


def test_two_arenas_share_nothing() -> None:
    first, second = arena(), arena()
    first.actions.attack.consumed_resources["laser"] = 7
    first.objects["altar"].type_id = 99
    assert second == arena()
    assert easy_arena() != arena()


def test_the_easy_arena_asks_for_one_battery_and_pays_on_the_way() -> None:
    easy = easy_arena()
    altar = easy.objects["altar"]
    assert isinstance(altar, ConverterConfig)
    assert altar.input_resources == {"battery_red": 1}
    assert easy.agent.rewards.inventory == {
        "ore_red": 0.1,
        "battery_red": 0.8,
        "laser": 0.5,
        "armor": 0.5,
        "blueprint": 0.5,
        "heart": 1.0,
    }
    assert easy.agent.rewards.inventory_max["heart"] == 100
    assert easy.actions == arena().actions


@pytest.mark.parametrize("num_agents", [1, 4, 6, 7, 8, 12, 24, 36])
def test_an_arena_takes_any_number_of_agents(num_agents: int) -> None:
    counts = compile_world(arena(num_agents=num_agents)).build_map(0).counts()
    assert counts["agent.0"] == num_agents
    assert num_agents <= 6 * counts["lasery"]


def test_an_arena_without_agents_is_refused() -> None:
    with pytest.raises(ConfigError, match="given 0"):
        arena(num_agents=0)


def test_standard_objects_have_the_type_ids_of_the_table() -> None:
    ids = {name: thing.type_id for name, thing in standard_objects().items()}
    assert ids["wall"] == 1
    assert [ids[f"mine_{color}"] for color in ("red", "blue", "green")] == [2, 3, 4]
    assert [ids[f"generator_{color}"] for color in ("red", "blue", "green")] == [5, 6, 7]
    assert [ids[name] for name in ("altar", "block", "lasery", "armory", "lab", "factory", "temple", "box")] == [
        *(8, 14, 15, 16, 17, 18, 19, 30)
    ]
    assert compile_world(everything()).object_types[8] == "altar"


def everything() -> WorldConfig:
    config = arena()
    config.objects = standard_objects()
    return config


def test_navigation_draws_sizes_walls_and_altars_within_their_ranges() -> None:
    config = navigation()
    for seed in range(30):
        grid_map = build_map(config.map, seed)
        inside = grid_map.codes[1:-1, 1:-1]
        assert 20 <= inside.shape[0] <= 40
        assert 20 <= inside.shape[1] <= 40
        assert 0.10 - 1 / inside.size <= (inside == 1).mean() <= 0.25 + 1 / inside.size
        assert 5 <= grid_map.counts()["altar"] <= 15


def test_the_navigation_suite_is_32_terrains_and_8_mazes_and_rooms() -> None:
    suite = navigation_suite()
    terrains = {name: world for name, world in suite.items() if isinstance(world.map, TerrainMapConfig)}
    assert (len(terrains), len(suite)) == (32, 40)
    maps = {name: map_text(build_map(world.map, 0)) for name, world in suite.items()}
    assert len(set(maps.values())) == 40
    assert maps == {name: map_text(build_map(world.map, 1)) for name, world in navigation_suite().items()}
    assert all(world.num_agents == 1 and world.max_steps == 1000 for world in suite.values())


def test_an_arena_agent_holds_50_of_everything_and_255_hearts_and_is_paid_for_hearts_alone() -> None:
    config = arena()
    assert (config.agent.default_resource_limit, config.agent.resource_limits) == (50, {"heart": 255})
    assert (config.agent.rewards.inventory, config.agent.rewards.inventory_max) == ({"heart": 1.0}, {})
    assert config.actions.attack.consumed_resources == {"laser": 1}
    assert config.actions.attack.defense_resources == {"armor": 1}
    assert (config.num_agents, config.max_steps) == (24, 1000)
    assert easy_arena().agent.rewards.inventory_max == {
        **dict.fromkeys(("ore_red", "battery_red", "laser", "armor", "blueprint"), 1.0),
        "heart": 100.0,
    }


def test_navigation_is_one_agent_that_walks_and_takes_hearts_of_which_each_altar_has_one() -> None:
    config = navigation()
    assert compile_world(config).action_names == (
        *("noop", "move_north", "move_south", "move_west", "move_east"),
        "get_items",
    )
    altar = config.objects["altar"]
    assert isinstance(altar, ConverterConfig)
    assert (altar.initial_resource_count, altar.max_conversions, altar.output_resources) == (1, 0, {"heart": 1})
    assert (config.num_agents, config.max_steps, config.agent.rewards.inventory) == (1, 1000, {"heart": 1.0})


def test_an_arenas_mine_gives_one_ore_each_51_ticks() -> None:
    mine = arena().objects["mine_red"]
    assert isinstance(mine, ConverterConfig)
    assert mine.conversion_ticks + mine.cooldown == 51
