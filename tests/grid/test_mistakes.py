"""Every mistake that a world's configuration can hold, with the whole message: path, given, allowed, nearest name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from metta.cli.main import main
from metta.cli.mistakes import explain
from metta.errors import ConfigError, MapError, within
from metta.grid import WorldConfig, compile_world
from metta.grid.worlds import arena

RESOURCES = "ore_red, ore_blue, ore_green, battery_red, battery_blue, battery_green, heart, armor, laser, blueprint"
OBJECTS = "wall, mine_red, generator_red, altar, lasery, armory"
VERBS = "noop, move, rotate, get_items, put_items, attack, swap, change_color, change_glyph, place_box"
NOTHING_ON = {verb: {"enabled": False} for verb in ("noop", "move", "get_items")}


def changed(path: str, value: object) -> WorldConfig:
    """Return the arena with one field changed behind the model's back, so that `compile_world` sees it first."""
    data: Any = arena().model_dump()
    target = data
    *parents, last = path.split(".")
    for name in parents:
        target = target[int(name) if isinstance(target, list) else name]
    target[last] = value
    return WorldConfig.model_validate(data)


def refused(config: WorldConfig) -> str:
    with pytest.raises(ConfigError) as error:
        compile_world(config)
    return str(error.value)


def no_resource(path: str, hint: str) -> str:
    name = path.rpartition(".")[2]
    return f"{path}: no such resource; given '{name}'; allowed: {RESOURCES} (did you mean {hint}?)"


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("agent.rewards.inventory.hart", "heart"),
        ("agent.rewards.inventory_max.hart", "heart"),
        ("agent.resource_limits.lazer", "laser"),
        ("agent.initial_inventory.armors", "armor"),
        ("actions.attack.consumed_resources.lasers", "laser"),
        ("actions.attack.defense_resources.armour", "armor"),
        ("objects.altar.input_resources.bluprint", "blueprint"),
        ("objects.altar.output_resources.hearts", "heart"),
    ],
)
def test_a_resource_that_does_not_exist(path: str, nearest: str) -> None:
    assert refused(changed(path, 1)) == no_resource(path, nearest)


def test_a_required_resource_that_does_not_exist() -> None:
    message = refused(changed("actions.attack.required_resources", {"laser": 1, "armr": 1}))
    assert message == no_resource("actions.attack.required_resources.armr", "armor")


def test_a_resource_that_a_template_names() -> None:
    message = refused(changed("agents", [{"team": 1}, {"team": 2, "resource_limits": {"lazer": 1}}]))
    assert message == no_resource("agents.1.resource_limits.lazer", "laser")


@pytest.mark.parametrize("table", ["stats", "stats_max"])
def test_a_stat_that_does_not_exist(table: str) -> None:
    message = refused(changed(f"agent.rewards.{table}", {"heart.gaind": 1.0}))
    assert message.startswith(
        f"agent.rewards.{table}.heart.gaind: no such stat; given 'heart.gaind'; allowed: action.invalid, "
    )
    assert message.endswith(" and 72 more (did you mean heart.gained, heart.get, laser.gained?)")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "actions.attack.required_resources",
            {"laser": 0},
            "actions.attack.required_resources.laser: given 0, but consumed_resources takes 1; allowed: 1 to 255",
        ),
        (
            "actions.place_box.enabled",
            True,
            f"actions.place_box.enabled: given objects without a box: {OBJECTS}; "
            'allowed: an object of type "box", as objects.box = {"type": "box"}',
        ),
        ("observation.width", 10, "observation.width: given 10; allowed: odd numbers from 3 to 15"),
        ("observation.height", 4, "observation.height: given 4; allowed: odd numbers from 3 to 15"),
        (
            "objects.altar.type_id",
            2,
            "objects.altar.type_id: given 2, which objects.mine_red has already; "
            "allowed: 1 to 255, each once (the first free one is 3)",
        ),
        ("num_agents", 23, "num_agents: given 23, but the map places 24; allowed: both the same, as num_agents=24"),
        ("actions", NOTHING_ON, f"actions: given none that is enabled; allowed: at least one of {VERBS}"),
        ("resources", ["a", "b", "a"], "resources.2: given 'a' a second time; allowed: each resource once"),
        ("resources", ["a", ""], "resources.1: given an empty name; allowed: at least one character"),
        (
            "objects.agent",
            {"type": "wall", "type_id": 99},
            "objects.agent: given a name that is taken; allowed: any but agent, agent.<team> and empty",
        ),
        (
            "objects",
            {"box": {"type": "box"}, "crate": {"type": "box", "type_id": 31}},
            "objects.crate: given a second box beside objects.box; allowed: one",
        ),
        (
            "objects",
            {"stone": {"type": "wall", "type_id": 1}},
            "objects.stone.type_id: given 1, the type id of walls, which the map has; "
            "allowed: 2 to 255, or an object called wall",
        ),
    ],
)
def test_fields_that_do_not_fit_each_other(path: str, value: object, message: str) -> None:
    assert refused(changed(path, value)) == message


@pytest.mark.parametrize(
    ("table", "name", "value", "allowed"),
    [("input_resources", "battery_red", 256, "up to 255"), ("output_resources", "heart", -1, "at least 0")],
)
def test_a_quantity_out_of_range_that_slipped_into_a_dictionary(
    table: str, name: str, value: int, allowed: str
) -> None:
    config = arena()
    getattr(config.objects["altar"], table)[name] = value
    assert refused(config) == f"objects.altar.{table}.{name}: given {value}; allowed: {allowed}"


NOT_FINITE = [float("inf"), -float("inf"), float("nan")]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("path", ["agent.rewards.stats", "agent.action_failure_penalty", "rules.0.parameters"])
def test_a_number_that_is_not_finite_is_refused_where_it_is_given(path: str, value: float) -> None:
    key = "x" if path.startswith("rules") else "heart.gained"
    given = value if path.endswith("penalty") else {key: value}
    data: Any = arena().model_dump()
    data["rules"] = [{"function": "a.b", "parameters": {}}]
    *parents, last = path.split(".")
    target = data
    for name in parents:
        target = target[int(name) if isinstance(target, list) else name]
    target[last] = given
    with pytest.raises(ValidationError) as error:
        WorldConfig.model_validate(data)
    where = path if given is value else f"{path}.{key}"
    assert explain(error.value, data).splitlines()[0] == f"{where}: given {value}; allowed: a finite number"


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_number_that_is_not_finite_is_refused_when_it_slipped_into_a_dictionary(value: float) -> None:
    config = arena()
    config.agent.rewards.inventory["heart"] = value
    assert refused(config) == f"agent.rewards.inventory.heart: given {value}; allowed: a finite number"


@pytest.mark.parametrize("value", NOT_FINITE)
def test_parameters_of_a_map_are_finite_at_any_depth(value: float) -> None:
    for given, path in ((value, "x"), ([1, value], "x.1"), ({"a": [{"b": value}]}, "x.a.0.b")):
        data = arena().model_dump() | {"map": {"type": "function", "function": "a.b", "parameters": {"x": given}}}
        with pytest.raises(ValidationError) as error:
            WorldConfig.model_validate(data)
        assert explain(error.value, data) == f"map.parameters.{path}: given {value}; allowed: a finite number"


def test_two_objects_whose_statistics_would_have_one_name_are_refused() -> None:
    def converter(number: int, output: str) -> dict[str, Any]:
        return {"type": "converter", "type_id": number, "output_resources": {output: 1}, "cooldown": 1}

    data = arena().model_dump() | {
        "resources": ["c", "b.c"],
        "actions": {},
        "agent": {},
        "objects": {"k": converter(40, "b.c"), "k.b": converter(41, "c")},
        "map": {"type": "ascii", "text": "@"},
        "num_agents": 1,
    }
    assert refused(WorldConfig.model_validate(data)) == (
        "objects.k.b: given a name by which its statistic 'k.b.c.removed' is called as one of objects.k; "
        "allowed: another"
    )


MAP_MISTAKES = {
    "a team that an observation cannot show": (
        {"type": "ascii", "text": "@q", "legend": {"q": "agent.300"}},
        "map.legend.q: given 'agent.300'; allowed: teams 0 to 255",
    ),
    "the same by swapping": (
        {"type": "mirror", "swap_teams": True, "part": {"type": "scatter", "agents": {255: 12}}},
        "map.swap_teams: given true, which puts agents of team 255 into team 256; allowed: teams 0 to 255",
    ),
    "an object that the world does not have": (
        {"type": "scatter", "agents": 24, "objects": {"alter": 1}},
        f"map.objects.alter: no such object; given 'alter'; allowed: {OBJECTS} (did you mean altar, lasery?)",
    ),
    "the same in a part": (
        {
            "type": "composed",
            "parts": [{"type": "scatter"}, {"type": "scatter", "agents": 23, "objects": {"alter": 1}}],
        },
        f"map.parts.1.objects.alter: no such object; given 'alter'; allowed: {OBJECTS} (did you mean altar, lasery?)",
    ),
    "the same in a legend": (
        {"type": "ascii", "text": "@q", "legend": {"q": "alter"}},
        f"map.legend.q: no such object; given 'alter'; allowed: {OBJECTS} (did you mean altar, lasery?)",
    ),
    "a symbol of an object that the world does not have": (
        {"type": "ascii", "text": "@F"},
        f"map.text: no such object; given 'factory'; allowed: {OBJECTS} (did you mean armory, altar?)",
    ),
    "an unknown symbol": (
        {"type": "ascii", "text": "@.\n.M"},
        "map.text: line 2, column 2: given 'M' (did you mean m for mine_red?); allowed: .=empty #=wall @=agent.0 "
        "1=agent.1 2=agent.2 3=agent.3 4=agent.4 5=agent.5 6=agent.6 7=agent.7 8=agent.8 9=agent.9 s=block m=mine_red "
        "b=mine_blue g=mine_green n=generator_red B=generator_blue G=generator_green _=altar o=armory S=lasery L=lab "
        "F=factory T=temple x=box; a legend adds more",
    ),
    "lines of two lengths": (
        {"type": "ascii", "text": "@.\n."},
        "map.text: line 2 has 1 cells, line 1 has 2; allowed: lines of one length (draw empty cells as '.')",
    ),
    "an empty drawing": (
        {"type": "ascii", "text": " "},
        "map.text: given an empty text; allowed: at least one cell, as '@'",
    ),
    "a symbol of two characters": (
        {"type": "ascii", "text": "@", "legend": {"ab": "altar"}},
        "map.legend: given 'ab' for 'altar'; allowed: one character a symbol",
    ),
    "an even maze": (
        {"type": "mirror", "part": {"type": "maze", "width": 20, "agents": 12}},
        "map.part.width: given 20; allowed: odd numbers from 5 to 1023 (cells, and walls between), as 19 or 21",
    ),
    "a range upside down": (
        {"type": "terrain", "height": [9, 8]},
        "map.height: given [9, 8]; allowed: [low, high] with low up to high",
    ),
    "shares upside down": (
        {"type": "terrain", "agents": 24, "walls": [0.3, 0.2]},
        "map.walls: given [0.3, 0.2]; allowed: [low, high] with low up to high",
    ),
    "counts upside down": (
        {"type": "terrain", "objects": {"altar": [3, 2]}},
        "map.objects.altar: given [3, 2]; allowed: [low, high] with low up to high",
    ),
    "no such function": (
        {"type": "function", "function": "metta.grid.maps.text.map_txt"},
        "map.function: given 'metta.grid.maps.text.map_txt'; metta.grid.maps.text has no function map_txt "
        "(did you mean map_text?)",
    ),
}


@pytest.mark.parametrize("mistake", MAP_MISTAKES)
def test_a_mistake_in_a_map_has_the_path_of_its_field(mistake: str) -> None:
    data, message = MAP_MISTAKES[mistake]
    assert refused_map(data) == message


def refused_map(data: object) -> str:
    with pytest.raises(MapError) as error:
        compiled = compile_world(changed("map", data))
        compiled.build_map(0)
    return str(error.value)


def test_things_that_do_not_fit_onto_a_map() -> None:
    data = {"type": "instances", "instances": 4, "instance": {"type": "scatter", "width": 2, "height": 2, "agents": 6}}
    assert refused_map(data) == (
        "map.instance: scatter map of 2 x 2 cells has room for 4 things: given 0 objects and 6 agents; make it larger "
        "or place fewer"
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("objects.altar.conversion_ticks", 0, "objects.altar.conversion_ticks: given 0; allowed: at least 1"),
        ("observation.height", 17, "observation.height: given 17; allowed: up to 15"),
        ("observation.height", 1, "observation.height: given 1; allowed: at least 3"),
        ("agent.freeze_duration", 256, "agent.freeze_duration: given 256; allowed: up to 255"),
        ("agent.resource_limits.heart", -1, "agent.resource_limits.heart: given -1; allowed: at least 0"),
        ("agent.initial_inventory.heart", 256, "agent.initial_inventory.heart: given 256; allowed: up to 255"),
        ("resource_loss_prob", 1.5, "resource_loss_prob: given 1.5; allowed: up to 1"),
        ("agent.group_reward_pct", -0.5, "agent.group_reward_pct: given -0.5; allowed: at least 0"),
        (
            "objects.altar.type",
            "convertr",
            "objects.altar.type: given 'convertr'; allowed: wall, converter, box (did you mean converter?)",
        ),
        ("num_agent", 3, "unknown key 'num_agent' (did you mean num_agents, agent, agents?)"),
        ("agent.reward", {}, "unknown key 'agent.reward' (did you mean rewards, group_reward_pct?)"),
        (
            "agent.rewards.inventary",
            {},
            "unknown key 'agent.rewards.inventary' (did you mean inventory, inventory_max?)",
        ),
        ("objects.altar.cooldwn", 3, "unknown key 'objects.altar.cooldwn' (did you mean cooldown, color?)"),
        ("map.instance.widht", 3, "unknown key 'map.instance.widht' (did you mean width, height?)"),
        (
            "observation.zzz",
            3,
            "unknown key 'observation.zzz'; allowed: height, width, num_tokens, episode_completion_pct, "
            "last_action, last_reward, resource_rewards, visitation_counts",
        ),
    ],
)
def test_a_field_that_is_refused_on_its_own(path: str, value: object, message: str) -> None:
    data: Any = arena().model_dump()
    target = data
    *parents, last = path.split(".")
    for name in parents:
        target = target[name]
    target[last] = value
    with pytest.raises(ValidationError) as error:
        WorldConfig.model_validate(data)
    assert explain(error.value, data) == message


def test_paths_are_completed_on_the_way_up() -> None:
    with pytest.raises(MapError) as error, within("world"), within("map"):
        raise MapError("given 4", path="width")
    assert str(error.value) == "world.map.width: given 4"
    with pytest.raises(ConfigError) as whole, within("map"):
        raise ConfigError("too small")
    assert str(whole.value) == "map: too small"


@pytest.mark.parametrize("verb", ["train system.processes=1", "play", "replay"])
def test_a_tool_names_the_path_as_it_was_typed(
    verb: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main([*verb.split(), "arena", "world.agent.rewards.inventory.hart=1"])
    assert code == 2
    path = "world.agent.rewards.inventory.hart"
    assert capsys.readouterr().err.splitlines()[-1] == f"metta: {no_resource(path, 'heart')}"
