"""Statistics of the world and their names."""

from __future__ import annotations

import pytest

from metta.grid import WorldConfig, compile_world, stats
from metta.grid.world import OBJECT_KIND
from metta.grid.world_stats import sum_converter_stats
from metta.grid.worlds import arena


def test_names_are_those_that_users_chart(scene):
    names = set(scene("@1").compiled.stat_names)
    for name in (
        "action.move.success",
        "action.attack.failed",
        "action.invalid",
        "action.failure_penalty",
        "status.frozen.ticks",
        "status.max_steps_without_motion",
        "heart.gained",
        "ore_red.lost",
        "battery_red.get",
        "laser.put",
        "action.attack.red.hit.blue",
        "action.attack.blue.hit_by.red",
        "action.attack.red.blocked_by.blue",
        "action.attack.red.friendly_fire",
        "action.attack.blue.wasted_on_frozen",
        "action.attack.red.steals.heart.from.blue",
        "action.attack.red.steals.heart.from.red",
        "action.swap.block",
        "action.swap.agent",
        "box.created",
        "box.opened",
        "movement.rotation.to_N",
        "movement.rotation.to_SW",
        "movement.sequential_rotations",
    ):
        assert name in names
    assert "action.attack.red.hit.red" not in names


def test_objects_are_counted_as_the_map_placed_them(scene):
    world = scene("@.#\n##m\ns..")
    assert world.world_stat("objects.wall") == 3
    assert world.world_stat("objects.mine_red") == 1
    assert world.world_stat("objects.block") == 1
    assert world.world_stat("objects.altar") == 0


def test_tokens_are_counted_from_the_first_observation_on(scene):
    world = scene("@")
    assert world.world_stat("tokens_written") == 9
    assert world.world_stat("tokens_free_space") == 191
    world.do("noop")
    assert world.world_stat("tokens_written") == 18
    assert world.world_stat("tokens_dropped") == 0


def test_every_team_pair_has_columns_of_its_own(scene):
    """Each of three teams attacks each other one, and exactly the named statistics grow."""
    for own, other in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)):
        symbols = "@12"
        world = scene(f"{symbols[other]}.\n{symbols[own]}{symbols[3 - own - other]}", agents=[{"team": 1}, {"team": 2}])
        world.do("noop", "attack_0")
        own_name, other_name = stats.team_name(own), stats.team_name(other)
        assert {name for name in world.stats(1) if "attack" in name} == {
            "action.attack.success",
            f"action.attack.{own_name}.hit.{other_name}",
        }
        assert f"action.attack.{other_name}.hit_by.{own_name}" in world.stats(0)
        assert not any("attack" in name for name in world.stats(2))


def test_stolen_resources_are_counted_by_resource_and_team(scene):
    teams = [{"team": 1, "initial_inventory": {"ore_red": 1, "laser": 2, "blueprint": 3}}]
    world = scene("1\n@", agents=teams).do("noop", "attack_0")
    stolen = {name: n for name, n in world.stats(1).items() if "steals" in name}
    prefix = "action.attack.red.steals"
    assert stolen == {
        f"{prefix}.ore_red.from.blue": 1,
        f"{prefix}.laser.from.blue": 2,
        f"{prefix}.blueprint.from.blue": 3,
    }


def test_swaps_are_counted_by_object(scene):
    world = scene("s\n@").do("swap")
    assert {name for name in world.stats() if name.startswith("action.swap.")} == {
        "action.swap.success",
        "action.swap.block",
    }


def test_the_names_of_columns_are_as_many_as_the_columns():
    compiled = compile_world(arena())
    assert compiled.sizes.stats == len(compiled.stat_names)
    assert len(compiled.object_stat_names) == 4 * 10 + 6
    assert compiled.world_stat_names[:3] == ("tokens_written", "tokens_dropped", "tokens_free_space")


def summed(world):
    return sum_converter_stats(world.compiled.converter_stats, world.state.objects[0], world.state.object_stats[0])


def test_converters_are_summed_by_kind(scene):
    world = scene("mm.\n@_.", agent={"initial_inventory": {"battery_red": 9}}).do("noop", times=51).do("get_items")
    stats = summed(world)
    assert stats["mine_red.ore_red.produced"] == 2 + 2 == stats["mine_red.conversions.completed"]
    assert stats["mine_red.ore_red.removed"] == world.stat("ore_red.get") == 2
    assert stats["mine_red.cooldown.completed"] == 2
    assert stats["altar.blocked.insufficient_input"] == 1
    world.do("rotate_east").do("put_items").do("noop")
    stats = summed(world)
    assert stats["altar.battery_red.added"] == stats["altar.battery_red.consumed"] == 3
    assert stats["altar.conversions.started"] == stats["altar.conversions.completed"] == 1
    assert stats["altar.heart.produced"] == 1


def test_only_what_a_recipe_names_is_summed(scene):
    names = scene("S_#@").compiled.converter_stats.names
    assert [name for name in names if name.startswith("lasery.") and name.count(".") == 2 and "red" in name] == [
        "lasery.ore_red.added", "lasery.ore_red.consumed", "lasery.battery_red.added", "lasery.battery_red.consumed",
    ]  # fmt: skip
    assert "lasery.laser.produced" in names and "lasery.laser.consumed" not in names
    assert not [name for name in names if name.startswith(("wall.", "box.", "block."))]


@pytest.mark.parametrize("resource", ["conversions", "cooldown", "blocked", "a.b", "a.b.added"])
def test_a_resource_of_any_name_keeps_all_statistics(resource):
    """Also where it is called like something else that a converter counts."""
    lab = {"type": "converter", "type_id": 40, "output_resources": {resource: 1}, "cooldown": 3}
    config = WorldConfig(
        resources=["heart", resource], num_agents=1, objects={"lab": lab}, map={"type": "ascii", "text": "@L"}
    )
    own = ["conversions.started", "conversions.completed", "blocked.output_full", "blocked.insufficient_input"]
    assert [*compile_world(config).converter_stats.names] == [
        f"lab.{name}"
        for name in (f"{resource}.removed", f"{resource}.produced", *own, "cooldown.started", "cooldown.completed")
    ]


def test_sums_leave_nothing_out(games):
    """Every number that any converter counts is in one of the sums."""
    for seed in range(20):
        *_, game = games.played(seed, 40)
        named = summed_by_hand(game)
        objects, object_stats = game.state.objects[0], game.state.object_stats[0]
        assert sum_converter_stats(game.compiled.converter_stats, objects, object_stats) == named
        assert sum(named.values()) == game.state.object_stats[0].sum()


def summed_by_hand(game):
    result = dict.fromkeys(game.compiled.converter_stats.names, 0.0)
    for o, kind in enumerate(game.state.objects[0, :, OBJECT_KIND].tolist()):
        for stat, n in zip(game.compiled.object_stat_names, game.state.object_stats[0, o].tolist(), strict=True):
            if n:
                result[f"{game.compiled.object_names[kind]}.{stat}"] += n
    return result


def test_a_world_without_converters_has_no_sums(scene):
    assert summed(scene("@", standard=False)) == {}
