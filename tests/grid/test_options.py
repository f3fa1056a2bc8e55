"""Every option of a world changes something: a field without an entry here, and so without an effect, fails."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from metta.errors import MapError
from metta.grid import config as models
from metta.grid.ruleset import VERBS
from metta.grid.world import AGENT_FROZEN, AGENT_TEAM


class Option(NamedTuple):
    """A world with and without a change, what is looked at, and what is seen before and after the change."""

    change: dict[str, Any]
    look: Any  # function of the function that makes the world
    before: Any
    after: Any
    text: str = "@"
    base: dict[str, Any] = {}  # noqa: RUF012  (never changed)


def tokens(name):
    return lambda make: make().shown(name)


def did(*actions, look):
    """Let every agent do `actions[0]`, then `actions[1]` ..., and look."""

    def play(make):
        world = make()
        for action in actions:
            world.do(*(action if isinstance(action, tuple) else (action,)))
        return look(world)

    return play


def held(world):
    return world.held()


def names(start):
    return lambda make: [name for name in make().compiled.action_names if name.startswith(start)]


def refusal(make):
    try:
        make()
    except MapError as error:
        return str(error).split(";")[0]
    return "accepted"


def agent(**fields):
    return {"agent": fields}


def lab(**fields):
    base = {"type": "converter", "type_id": 17, "cooldown": 0, "output_resources": {"heart": 1}}
    return {"objects": {"lab": {**base, **fields}}}


def verb(name, **fields):
    return {"actions": {name: fields}}


def box(**fields):
    return {"objects": {"box": {"type": "box", "type_id": 30, **fields}}}


def paid(make):
    """Let a tick pass; return what the agent got."""
    return did("noop", look=lambda world: float(world.state.rewards[0, 0]))(make)


def own(name, **fields):
    return {"function": f"tests.grid.own.{name}", **fields}


def ticks(number, look):
    return did(*["noop"] * number, look=look)


def inside_lab(world):
    return world.inside("lab").get("heart", 0)


def ended(world):
    return bool(world.buffers.truncations.all()), bool(world.buffers.terminals.all())


RICH = {"initial_inventory": {"ore_red": 4}}
PAID = {**RICH, "rewards": {"inventory": {"ore_red": 1.0}}}
COUNTED = {"rewards": {"stats": {"action.noop.success": 1.0}}}
WINDOW = "....#\n.....\n@...#\n.....\n....."
MINE = {"objects": {"mine_red": {"type": "converter", "type_id": 2, "cooldown": 9, "output_resources": {"ore_red": 1},
                                 "initial_resource_count": 9}}}  # fmt: skip
SEES = {"observation": {"episode_completion_pct": False, "last_action": False, "last_reward": False}}

OPTIONS: dict[str, Option] = {
    "WorldConfig.resources": Option(
        {"resources": ["a", "b"], "standard": False}, lambda make: len(make().compiled.features), 14 + 10, 14 + 2
    ),
    "WorldConfig.num_agents": Option(
        {"num_agents": 2}, refusal, "accepted", "num_agents: given 2, but the map places 1"
    ),
    "WorldConfig.max_steps": Option({"max_steps": 2}, ticks(2, ended), (False, False), (True, False)),
    "WorldConfig.episode_truncates": Option(
        {"episode_truncates": False}, ticks(1, ended), (True, False), (False, True), base={"max_steps": 1}
    ),
    "WorldConfig.observation": Option({"observation": {"num_tokens": 2}}, lambda make: len(make().tokens()), 9, 2),
    "WorldConfig.agent": Option(agent(**RICH), lambda make: make().held(), {}, {"ore_red": 4}),
    "WorldConfig.agents": Option(
        {"agents": [{"team": 0, **RICH}]}, lambda make: make().held(), {}, {"ore_red": 4}
    ),
    "WorldConfig.actions": Option(verb("swap", enabled=False), names("swap"), ["swap"], []),
    "WorldConfig.objects": Option(
        {"objects": {"wall": {"type": "wall", "type_id": 99}}}, tokens("type_id"), [0, 1], [0, 99], text="@#"
    ),
    "WorldConfig.resource_loss_prob": Option(
        {"resource_loss_prob": 1.0}, did("noop", look=held), {"ore_red": 4}, {}, base=agent(**RICH)
    ),
    "WorldConfig.allow_diagonals": Option(
        {"allow_diagonals": True}, lambda make: len(names(("move", "rotate"))(make)), 8, 16
    ),
    "WorldConfig.recipe_details_obs": Option(
        {"recipe_details_obs": True}, tokens("output:heart"), [], [1], text="@L", base=lab()
    ),
    "WorldConfig.map": Option(
        {"text": "@#"}, lambda make: make().drawn(), "@", "@#"
    ),
    "ObservationConfig.height": Option(
        {"observation": {"height": 3}}, tokens("type_id"), [0, 1, 1], [0, 1], text=WINDOW
    ),
    "ObservationConfig.width": Option({"observation": {"width": 7}}, tokens("type_id"), [0, 1, 1], [0], text=WINDOW),
    "ObservationConfig.num_tokens": Option({"observation": {"num_tokens": 3}}, lambda make: len(make().tokens()), 9, 3),
    "ObservationConfig.episode_completion_pct": Option(
        {"observation": {"episode_completion_pct": False}}, tokens("episode_completion_pct"), [0], []
    ),
    "ObservationConfig.last_action": Option({"observation": {"last_action": False}}, tokens("last_action"), [0], []),
    "ObservationConfig.last_reward": Option({"observation": {"last_reward": False}}, tokens("last_reward"), [0], []),
    "ObservationConfig.resource_rewards": Option(
        {"observation": {"resource_rewards": True}}, tokens("resource_rewards"), [], [128], base=agent(**PAID)
    ),
    "ObservationConfig.visitation_counts": Option(
        {"observation": {"visitation_counts": True}}, tokens("agent:visitation_counts"), [], [0] * 5
    ),
    "RewardsConfig.inventory": Option(
        agent(rewards={"inventory": {"ore_red": 0.5}}), did("get_items", look=lambda w: w.reward()), 0.0, 4.5,
        text="m\n@", base=MINE,
    ),
    "RewardsConfig.inventory_max": Option(
        agent(rewards={"inventory": {"ore_red": 1.0}, "inventory_max": {"ore_red": 2.5}}),
        did("get_items", look=lambda w: w.reward()), 9.0, 2.5,
        text="m\n@", base={**MINE, **agent(rewards={"inventory": {"ore_red": 1.0}})},
    ),
    "RewardsConfig.stats": Option(agent(**COUNTED), ticks(1, lambda w: w.reward()), 0.0, 1.0),
    "RewardsConfig.stats_max": Option(
        agent(rewards={**COUNTED["rewards"], "stats_max": {"action.noop.success": 1.5}}),
        ticks(2, lambda w: w.reward()), 1.0, 0.5, base=agent(**COUNTED),
    ),
    "AgentConfig.default_resource_limit": Option(
        agent(default_resource_limit=2), did("get_items", look=held), {"ore_red": 9}, {"ore_red": 2},
        text="m\n@", base=MINE,
    ),
    "AgentConfig.resource_limits": Option(
        agent(resource_limits={"ore_red": 3}), did("get_items", look=held), {"ore_red": 9}, {"ore_red": 3},
        text="m\n@", base=MINE,
    ),
    "AgentConfig.freeze_duration": Option(
        agent(freeze_duration=3), did(("noop", "attack_0"), look=lambda w: w.field(AGENT_FROZEN)), 9, 2, text="@\n@"
    ),
    "AgentConfig.action_failure_penalty": Option(
        agent(action_failure_penalty=0.5), did("move_north", look=lambda w: w.reward()), 0.0, -0.5
    ),
    "AgentConfig.initial_inventory": Option(agent(**RICH), lambda make: make().held(), {}, {"ore_red": 4}),
    "AgentConfig.team": Option(agent(team=3), lambda make: make().field(AGENT_TEAM), 0, 3),
    "AgentConfig.group_reward_pct": Option(
        agent(**COUNTED, group_reward_pct=1.0), did(("noop", "rotate_east"), look=lambda w: w.reward(1)), 0.0, 0.5,
        text="@@", base=agent(**COUNTED),
    ),
    "AgentConfig.rewards": Option(agent(**COUNTED), ticks(1, lambda w: w.reward()), 0.0, 1.0),
    "ActionConfig.enabled": Option(verb("rotate", enabled=False), lambda make: len(names("rotate")(make)), 4, 0),
    "ActionConfig.required_resources": Option(
        verb("noop", required_resources={"ore_red": 5}), did("noop", look=lambda w: w.succeeded()), True, False,
        base=agent(**RICH),
    ),
    "ActionConfig.consumed_resources": Option(
        verb("noop", consumed_resources={"ore_red": 1}), did("noop", look=held), {"ore_red": 4}, {"ore_red": 3},
        base=agent(**RICH),
    ),
    "AttackConfig.defense_resources": Option(
        verb("attack", defense_resources={"ore_red": 1}),
        did(("noop", "attack_0"), look=lambda w: w.field(AGENT_FROZEN)), 9, 0, text="@\n@", base=agent(**RICH),
    ),
    "ChangeGlyphConfig.number_of_glyphs": Option(
        verb("change_glyph", number_of_glyphs=2), lambda make: len(names("change_glyph")(make)), 4, 2
    ),
    "WallConfig.type": Option(
        {"objects": {"block": {"type": "box", "type_id": 14}, "box": {"type": "wall", "type_id": 30}}},
        tokens("agent:group"), [0], [0, 255], text="@s",
    ),
    "WallConfig.type_id": Option(
        {"objects": {"block": {"type": "wall", "type_id": 77, "swappable": True}}}, tokens("type_id"), [0, 14], [0, 77],
        text="@s",
    ),
    "WallConfig.swappable": Option(
        {"objects": {"wall": {"type": "wall", "type_id": 1, "swappable": True}}},
        did("swap", look=lambda w: w.drawn()), "#\n@", "@\n#", text="#\n@",
    ),
    "ConverterConfig.type": Option(
        {"objects": {"lab": {"type": "wall", "type_id": 17}}}, tokens("converting"), [1], [], text="@L"
    ),
    "ConverterConfig.type_id": Option(lab(type_id=88), tokens("type_id"), [0, 17], [0, 88], text="@L", base=lab()),
    "ConverterConfig.input_resources": Option(
        lab(input_resources={"ore_red": 1}), ticks(2, inside_lab), 2, 0, text="@L", base=lab()
    ),
    "ConverterConfig.output_resources": Option(
        lab(output_resources={"heart": 2}), ticks(2, inside_lab), 2, 4, text="@L", base=lab()
    ),
    "ConverterConfig.max_output": Option(lab(max_output=2), ticks(9, inside_lab), 5, 2, text="@L", base=lab()),
    "ConverterConfig.max_conversions": Option(
        lab(max_conversions=3), ticks(9, inside_lab), 5, 3, text="@L", base=lab()
    ),
    "ConverterConfig.conversion_ticks": Option(
        lab(conversion_ticks=4), ticks(5, inside_lab), 5, 1, text="@L", base=lab()
    ),
    "ConverterConfig.cooldown": Option(lab(cooldown=3), ticks(5, inside_lab), 5, 2, text="@L", base=lab()),
    "ConverterConfig.initial_resource_count": Option(
        lab(initial_resource_count=2), ticks(0, inside_lab), 0, 2, text="@L", base=lab()
    ),
    "ConverterConfig.color": Option(lab(color=7), tokens("agent:color"), [0, 0], [0, 7], text="@L", base=lab()),
    "BoxConfig.type": Option(
        {**verb("place_box", enabled=False), "objects": {"box": {"type": "wall", "type_id": 30}}},
        did("get_items", look=lambda w: w.drawn()), ".\n@", "x\n@", text="x\n@",
    ),
    "BoxConfig.type_id": Option(box(type_id=31), tokens("type_id"), [0, 30], [0, 31], text="@x", base=box()),
    "WorldConfig.rules": Option({"rules": [own("pay")]}, paid, 0.0, 0.5),
    "RuleConfig.function": Option({"rules": [own("double")]}, paid, 0.5, 0.0, base={"rules": [own("pay")]}),
    "RuleConfig.moment": Option(
        {"rules": [own("pay"), own("double", moment="before_turns")]}, paid, 1.0, 0.5,
        base={"rules": [own("pay"), own("double")]},
    ),
    "RuleConfig.parameters": Option(
        {"rules": [own("pay", parameters={"amount": 0.25})]}, paid, 0.5, 0.25, base={"rules": [own("pay")]}
    ),
    # Which verbs there are: each is offered if enabled, and has ids of its own.
    **{
        f"ActionsConfig.{name}": Option(
            verb(name, enabled=False), lambda make, name=name: bool(names(name)(make)), True, False
        )
        for name in VERBS
    },
}  # fmt: skip


def option_names() -> list[str]:
    """Return every field of every model in grid/config.py, by the class that declares it."""
    classes = [value for value in vars(models).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    own = [cls for cls in classes if cls.__module__ == models.__name__]
    return [f"{cls.__name__}.{name}" for cls in own for name in cls.__annotations__]


def test_every_option_is_in_the_table():
    assert sorted(option_names()) == sorted(OPTIONS)


def merged(base, change):
    """Return both, the change on top."""
    result = dict(base)
    for name, value in change.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_what_it_says(scene, name):
    option = OPTIONS[name]

    def maker(fields):
        return lambda: scene(**{"text": option.text, **fields})

    assert option.look(maker(option.base)) == option.before
    assert option.look(maker(merged(option.base, option.change))) == option.after


@pytest.mark.parametrize(
    ("name", "default"),
    [("noop", True), ("move", True), ("get_items", True)]
    + [(name, False) for name in VERBS if name not in ("noop", "move", "get_items")],
)
def test_noop_move_and_get_items_are_on_and_the_rest_is_off(name, default):
    assert getattr(models.ActionsConfig(), name).enabled is default


def test_the_defaults_are_those_of_the_page():
    world, agent_ = models.WorldConfig(), models.AgentConfig()
    assert (world.num_agents, world.max_steps, world.episode_truncates) == (24, 1000, True)
    assert (world.observation.height, world.observation.width, world.observation.num_tokens) == (11, 11, 200)
    assert (world.resource_loss_prob, world.allow_diagonals, world.recipe_details_obs) == (0, False, False)
    assert " ".join(world.resources) == (
        "ore_red ore_blue ore_green battery_red battery_blue battery_green heart armor laser blueprint"
    )
    assert (agent_.default_resource_limit, agent_.freeze_duration, agent_.action_failure_penalty) == (255, 10, 0)
    assert (agent_.team, agent_.group_reward_pct, agent_.initial_inventory) == (0, 0, {})
    assert world.actions.change_glyph.number_of_glyphs == 0
    converter = models.ConverterConfig(type_id=2, cooldown=1)
    assert (converter.max_output, converter.max_conversions, converter.conversion_ticks) == (5, -1, 1)
    assert (converter.initial_resource_count, converter.color) == (0, 0)
