"""Small worlds with random settings, and what happens in them, as digests.

Run as a script it prints the digests as JSON: in a process with `NUMBA_DISABLE_JIT=1` they are those of plain Python.
It also prints the conditions in the rules that had one outcome only (reach.py): what these games would not notice.
"""

from __future__ import annotations

import hashlib
import json
import pkgutil
import random
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import isfunction, unwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metta.grid import CompiledWorld, WorldConfig, compile_world, rules
from metta.grid.compile import allocate_rules
from metta.grid.config import RuleConfig
from metta.grid.cpu import reset_world, step_worlds
from metta.grid.reset import AN_AGENT, begin_world
from metta.grid.rules.own import _call_compiled
from metta.grid.ruleset import MAX_OWN_RULES, VERB_GET_ITEMS, VERB_MOVE, VERBS, Buffers, Rules, allocate_buffers
from metta.grid.world import AGENT_FROZEN, AGENT_ORIENTATION, AGENT_POSITION, MARGIN, State, allocate_state

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports test files, not their neighbours

from reach import Reach

RULE_FILES = ("observe", "reset", "step")  # beside those of `rules/`
RESOURCES = ["ore", "gem", "fuel", "laser", "armor"]


class Game(NamedTuple):
    compiled: CompiledWorld
    rules: Rules
    state: State
    buffers: Buffers


def random_config(seed: int) -> WorldConfig:
    """Return a world in which anything may be switched on."""
    draw = random.Random(seed)
    resources = RESOURCES[: draw.randint(3, 5)]
    num_teams = draw.randint(1, 3)
    text = random_map(draw, num_teams)
    return WorldConfig.model_validate(
        {
            "resources": resources,
            "num_agents": sum(symbol in "@12" for symbol in text),
            "max_steps": draw.choice([0, 40, 25]),
            "episode_truncates": draw.random() < 0.5,
            "observation": {
                "height": draw.choice([3, 5, 7, 11, 15]),
                "width": draw.choice([3, 5, 9, 11, 13, 15]),
                "num_tokens": draw.choice([1, 7, 40, 100, 200, 300]),
                **{name: draw.random() < 0.7 for name in ("episode_completion_pct", "last_action", "last_reward")},
                **{name: draw.random() < 0.4 for name in ("resource_rewards", "visitation_counts")},
            },
            "agent": random_agent(draw, resources, 0),
            "agents": [random_agent(draw, resources, team) for team in range(1, num_teams)],
            "actions": random_actions(draw, resources),
            "objects": random_objects(draw, resources),
            "resource_loss_prob": draw.choice([0.0, 0.0, 0.03, 0.3]),
            "allow_diagonals": draw.random() < 0.5,
            "recipe_details_obs": draw.random() < 0.5,
            "map": {"type": "ascii", "text": text, "legend": {"a": "first", "b": "second"}},
        }
    )


def random_map(draw: random.Random, num_teams: int) -> str:
    height, width = draw.randint(3, 12), draw.randint(4, 12)
    cells = [draw.choices(".#sabx", [60, 8, 8, 9, 9, 6])[0] for _ in range(height * width)]
    for i in draw.sample(range(height * width), draw.randint(2, 8)):
        cells[i] = "@12"[draw.randrange(num_teams)]
    return "\n".join("".join(cells[i : i + width]) for i in range(0, height * width, width))


def random_amounts(draw: random.Random, resources: list[str], most: int, share: float = 0.4) -> dict[str, int]:
    return {name: draw.randint(0, most) for name in resources if draw.random() < share}


def random_agent(draw: random.Random, resources: list[str], team: int) -> dict[str, Any]:
    inventory = {name: draw.choice([0.1, 0.5, -0.3, 1.0]) for name in resources if draw.random() < 0.6}
    stats = {"action.move.success": 0.01, "reward": 0.03, "ore.gained": 0.1, "action.invalid": -0.2}
    paid = {name: weight for name, weight in stats.items() if draw.random() < 0.3}
    return {
        "team": team,
        "default_resource_limit": draw.choice([5, 50, 255]),
        "resource_limits": random_amounts(draw, resources, 20),
        "freeze_duration": draw.randint(0, 4),
        "action_failure_penalty": draw.choice([0.0, 0.01, 0.125]),
        "initial_inventory": random_amounts(draw, resources, 30, 0.7),
        "group_reward_pct": draw.choice([0.0, 0.3, 1.0]),
        "rewards": {
            "inventory": inventory,
            "inventory_max": {name: draw.choice([0.7, 3.0]) for name in inventory if draw.random() < 0.5},
            "stats": paid,
            "stats_max": {name: draw.choice([0.05, 1.0]) for name in paid if draw.random() < 0.5},
        },
    }


def random_actions(draw: random.Random, resources: list[str]) -> dict[str, Any]:
    actions: dict[str, Any] = {verb: {"enabled": draw.random() < 0.85} for verb in VERBS}
    actions["noop"]["enabled"] = True
    for action in actions.values():
        if draw.random() < 0.25:
            action["consumed_resources"] = random_amounts(draw, resources, 1)
            if draw.random() < 0.5:
                required = random_amounts(draw, resources, 2)
                for name, amount in action["consumed_resources"].items():
                    required[name] = max(amount, required.get(name, 0))
                action["required_resources"] = required
    actions["attack"]["defense_resources"] = random_amounts(draw, resources, 1)
    actions["change_glyph"]["number_of_glyphs"] = draw.randint(1, 5)
    return actions


def random_objects(draw: random.Random, resources: list[str]) -> dict[str, Any]:
    def converter(type_id: int) -> dict[str, Any]:
        return {
            "type": "converter",
            "type_id": type_id,
            "input_resources": random_amounts(draw, resources, 3, 0.3),
            "output_resources": random_amounts(draw, resources, 3, 0.5),
            "max_output": draw.choice([-1, 0, 3, 5]),
            "max_conversions": draw.choice([-1, -1, 2]),
            "conversion_ticks": draw.randint(1, 3),
            "cooldown": draw.choice([0, 1, 4]),
            "initial_resource_count": draw.choice([0, 2, 250]),
            "color": draw.randint(0, 255),
        }

    return {
        "first": converter(2),
        "wall": {"type": "wall", "type_id": 1},
        "block": {"type": "wall", "type_id": 14, "swappable": True},
        "second": converter(200),
        "box": {"type": "box", "type_id": 30},
    }


def wide_config(seed: int) -> WorldConfig:
    """Return a world of `random_config`, narrower and with what that one never draws.

    The recorded games are those of `random_config`, so it may not draw a number more.
    """
    draw = random.Random(seed + 5000)
    config = random_config(seed)
    width = draw.randint(3, 7)
    text = "".join(draw.choices(".#sabx@12", [70, 4, 8, 8, 8, 4, 12, 8, 4])[0] for _ in range(width * width - 1)) + "@"
    fields = config.model_dump()
    if draw.random() < 0.3:  # a world without boxes
        text = text.replace("x", ".")
        del fields["objects"]["box"]
        fields["actions"]["place_box"]["enabled"] = False
    fields["map"]["text"] = "\n".join(text[i : i + width] for i in range(0, len(text), width))
    fields["num_agents"] = sum(symbol in "@12" for symbol in text)
    price = draw.choice([{}, {config.resources[0]: 1}, dict.fromkeys(config.resources[:2], 2)])
    fields["actions"]["place_box"].update(consumed_resources=price, required_resources=None)
    if draw.random() < 0.3:  # what is put away cannot be paid with
        fields["actions"]["put_items"].update(
            consumed_resources=dict.fromkeys(config.resources, 1), required_resources=None
        )
    for agent in (fields["agent"], *fields["agents"]):
        agent["freeze_duration"] = draw.choice([0, 2, 5])
        agent["action_failure_penalty"] = draw.choice([0.0, 0.25, 3.0, 1e9])
        agent["default_resource_limit"] = draw.choice([1, 3, 255])
        agent["rewards"]["inventory"][config.resources[0]] = draw.choice([1.0, -2.5, 1e-3])
        agent["rewards"]["inventory_max"][config.resources[-1]] = draw.choice([-1.0, 0.0, 5.0])
    fields["observation"].update(num_tokens=draw.choice([4, 8, 30, 200]))
    return WorldConfig.model_validate(fields)


def own_config(seed: int) -> WorldConfig:
    """Return a world of `wide_config` with rules of the user's own; now and then with as many as there may be."""
    config = wide_config(seed)
    warm = {"fire": "first", "warmth": config.resources[-1], "gain": seed % 4}
    own = [
        RuleConfig(function="tests.grid.own.warm", parameters=warm),
        RuleConfig(function="tests.grid.own.slip", moment="before_turns", parameters={"percent": 40}),
        RuleConfig(function="tests.grid.own.pay", parameters={"amount": 0.3}),
        RuleConfig(function="tests.grid.own.double"),
    ]
    config.rules = [own[2]] * MAX_OWN_RULES if seed % 5 == 4 else own[: 1 + seed % 5]
    return config


def begin(config: WorldConfig, *, seed: int, num_worlds: int = 1) -> Game:
    """Return a batch in which every world plays the same seed."""
    compiled = compile_world(config)
    game = Game(
        compiled,
        allocate_rules(compiled.sizes, num_worlds),
        allocate_state(compiled.sizes, num_worlds),
        allocate_buffers(compiled.sizes, num_worlds),
    )
    for e in range(num_worlds):
        reset_world(compiled, game.rules, game.state, game.buffers, e, compiled.build_map(seed), seed=seed)
    return game


def random_actions_of(game: Game, draw: random.Random) -> list[int]:
    """Return an action for each agent; now and then one that does not exist."""
    num_actions = len(game.compiled.action_names)
    return [draw.randint(-1, num_actions) for _ in range(game.compiled.config.num_agents)]


def random_verbs_of(game: Game, draw: random.Random) -> list[int]:
    """Return an action for each agent: first a verb, so that one with many ids is not drawn more often than others."""
    by_verb: dict[int, list[int]] = {}
    for action, (verb, _) in enumerate(game.compiled.rules.actions[0].tolist()):
        by_verb.setdefault(verb, []).append(action)
    choices = [*by_verb.values(), by_verb.get(VERB_MOVE, [0]), by_verb.get(VERB_GET_ITEMS, [0]), [-(2**31), 2**31 - 1]]
    return [draw.choice(draw.choice(choices)) for _ in range(game.compiled.config.num_agents)]


def played(seed: int, ticks: int, *, wide: bool = False, own: bool = False) -> Iterator[Game]:
    """Play a random world; yield the game at its beginning and after each tick."""
    config_of = own_config if own else wide_config if wide else random_config
    game = begin(config_of(seed), seed=seed)
    draw = random.Random(seed + 1000)
    yield game
    for _ in range(ticks):
        game.buffers.actions[0] = random_verbs_of(game, draw) if wide or own else random_actions_of(game, draw)
        step_worlds(game.rules, game.state, game.buffers)
        yield game


def visible(game: Game, e: int = 0) -> bytes:
    """Return what the specification speaks of, in one order that no change of layout touches."""
    state, buffers = game.state, game.buffers
    rows, columns = np.divmod(state.agents[e, :, AGENT_POSITION], state.cells.shape[2])
    parts = [
        rows - MARGIN,
        columns - MARGIN,
        state.agents[e, :, AGENT_ORIENTATION],
        state.agents[e, :, AGENT_FROZEN],
        state.inventory[e],
        state.rewards[e],
        state.episode_rewards[e],
        buffers.observations[e],
        buffers.action_success[e],
        buffers.terminals[e],
        buffers.truncations[e],
    ]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def everything(game: Game) -> bytes:
    """Return every byte of the state and of what a step puts out."""
    return b"".join(array.tobytes() for array in (*game.state, *game.buffers))


def play(seed: int, *, ticks: int = 40, wide: bool = False, own: bool = False) -> dict[str, str]:
    """Play a random world; return digests of all that happened, and of the whole state at the end."""
    digest = hashlib.sha256()
    for game in played(seed, ticks, wide=wide, own=own):
        digest.update(visible(game))
    return {"game": digest.hexdigest()[:24], "state": hashlib.sha256(everything(game)).hexdigest()[:24]}


def play_misfits() -> None:
    """Try to begin worlds on maps that do not fit them: with too many agents, and with more things than there is room.

    The map's own checks are passed by, to reach those of the rules.
    """
    game = begin(wide_config(0), seed=0)
    compiled, before = game.compiled, everything(game)
    shape, stride = compiled.build_map(0).codes.shape, game.state.cells.shape[2]
    for kind, result in ((AN_AGENT, shape[0] * shape[1]), (compiled.object_names.index("first"), -1)):
        codes, meanings = np.zeros(shape, np.int16), np.array([[kind, 0, 0, 0]], np.int32)
        assert begin_world(game.rules, game.state, game.buffers, 0, codes, meanings, stride, 0, 0) == result
    assert everything(game) == before


def play_for_long() -> None:
    """Play a tick where visitation counts have come to their end."""
    config = random_config(0)
    config.observation.visitation_counts = True
    game = begin(config, seed=0)
    game.state.visits[...] = 65535
    step_worlds(game.rules, game.state, game.buffers)
    assert (game.state.visits == 65535).all()


def main() -> None:
    """Print the digests of as many games of each kind as the arguments say, and what the rules never did."""
    num_random, num_wide, num_own = (int(argument) for argument in sys.argv[1:])
    names = [f"metta.grid.rules.{module.name}" for module in pkgutil.iter_modules(rules.__path__)]
    modules = [import_module(name) for name in (*names, *(f"metta.grid.{name}" for name in RULE_FILES))]
    reach = Reach([Path(str(module.__file__)) for module in modules])
    with reach:
        plain = [play(seed) for seed in range(num_random)]
        wide = [play(seed, wide=True) for seed in range(num_wide)]
        own = [play(seed, own=True) for seed in range(num_own)]
        play_misfits()
        play_for_long()
    functions = [unwrap(value) for module in modules for value in vars(module).values() if isfunction(unwrap(value))]
    files = {module.__name__ for module in modules}
    codes = {function.__code__ for function in functions if function.__module__ in files}
    codes.discard(unwrap(_call_compiled).__code__)  # which stands for `_call_plain` where the JIT is on
    missing = reach.missing(sorted(codes, key=repr))
    json.dump({"random": plain, "wide": wide, "own": own, "missing": missing}, sys.stdout)


if __name__ == "__main__":
    main()
