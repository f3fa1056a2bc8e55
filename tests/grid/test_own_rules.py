"""Rules of a user's own: outside of the package, named in the configuration, compiled apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metta.errors import ConfigError
from metta.grid import WorldConfig, compile_world
from metta.grid import own_rules as module
from metta.grid.own_rules import own_hash, rules_hash
from metta.grid.worlds import arena

FIRE = {"fire": {"type": "wall", "type_id": 40}}
WARM = {"function": "tests.grid.own.warm", "parameters": {"fire": "fire", "warmth": "warmth"}}


def campfire(**changes: object) -> dict[str, object]:
    """Return the fields of a scene in which agents cool, unless they stand by the fire."""
    return {
        "resources": ["ore", "warmth"],
        "objects": FIRE,
        "standard": False,
        "legend": {"f": "fire"},
        "agent": {"initial_inventory": {"warmth": 5}, "rewards": {"inventory": {"warmth": 1.0}}},
        "rules": [WARM],
        **changes,
    }


def test_an_agent_by_the_fire_warms_up_and_the_others_cool(scene):
    world = scene("@f@\n...\n@..", **campfire()).do()
    assert [world.held(a)["warmth"] for a in range(3)] == [7, 7, 4]
    assert [world.reward(a) for a in range(3)] == [2.0, 2.0, -1.0]
    world.do("move_south")
    assert [world.held(a)["warmth"] for a in range(3)] == [6, 9, 3]


def test_parameters_have_defaults_that_can_be_changed(scene):
    parameters = {**WARM["parameters"], "gain": 10}
    world = scene("@f", **campfire(rules=[{**WARM, "parameters": parameters}])).do()
    assert world.held()["warmth"] == 14


def test_a_name_stands_for_the_number_of_a_resource_or_an_object(scene):
    by_name = scene("@f", **campfire()).do()
    by_number = scene("@f", **campfire(rules=[{**WARM, "parameters": {"fire": 0, "warmth": 1}}])).do()
    assert by_name.held() == by_number.held() == {"warmth": 7}


def test_what_happens_after_the_turns_is_observed_in_the_same_tick(scene):
    assert scene("@f", **campfire()).do().shown("inv:warmth") == [7]


def test_before_the_turns_a_rule_may_change_what_agents_do(scene):
    slip = {"function": "tests.grid.own.slip", "moment": "before_turns", "parameters": {"percent": 100}}
    steady, slippery = scene("@....", seed=3), scene("@....", seed=3, rules=[slip])
    for _ in range(20):
        steady.do("noop")
        slippery.do("noop")
    assert steady.stat("action.noop.success") == 20
    assert slippery.stat("action.noop.success") < 10
    late = scene("@....", seed=3, rules=[{**slip, "moment": "after_turns"}])
    assert late.do("noop").stat("action.noop.success") == 1


def test_rules_of_one_moment_play_in_the_order_in_which_they_are_named(scene):
    pay, double = {"function": "tests.grid.own.pay"}, {"function": "tests.grid.own.double"}
    assert scene("@", rules=[pay, double]).do().reward() == 1.0
    assert scene("@", rules=[double, pay]).do().reward() == 0.5
    assert scene("@", rules=[pay] * 8).do().reward() == 4.0


def test_functions_that_call_each_other_in_a_circle_may_be_part_of_a_rule(scene):
    world = scene("@", rules=[{"function": "tests.grid.own.pay_on_even_ticks"}])
    assert [world.do().reward() for _ in range(4)] == [0.0, 1.0, 0.0, 1.0]


PRINTS = """
from metta.envs import SingleTask, VecEnv
from metta.grid.worlds import arena
world = arena()
world.rules = [{"function": "tests.grid.own.tell"}]
env = VecEnv(SingleTask(world.model_validate(world.model_dump()), seed=1), num_worlds=2)
env.reset()
env.step([0] * 48)
"""


def test_a_rule_that_prints_is_heard():
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["world 0 tick 1", "world 1 tick 1"]


def test_worlds_side_by_side_have_rules_of_their_own():
    from metta.envs import FixedTasks, Task, VecEnv

    paid = [WorldConfig(num_agents=1, rules=rules) for rules in ([], [{"function": "tests.grid.own.pay"}])]
    env = VecEnv(FixedTasks([Task(config, seed=1) for config in paid]), num_worlds=2)
    env.reset()
    env.step(np.zeros(2, np.int32))
    assert env.rewards.tolist() == [0.0, 0.5]


def test_equal_rules_are_compiled_once():
    rules = [{"function": "tests.grid.own.pay", "parameters": {"amount": 0.125}}]
    first = compile_world(WorldConfig(num_agents=1, rules=rules))
    known = dict(module._addresses)
    second = compile_world(WorldConfig(num_agents=1, max_steps=7, rules=rules))
    assert known == module._addresses
    assert first.rules.world[0, -16:].tolist() == second.rules.world[0, -16:].tolist() != [0] * 16


def test_a_whole_number_and_an_equal_float_are_compiled_apart():
    def address(amount: float) -> list[int]:
        rules = [{"function": "tests.grid.own.pay", "parameters": {"amount": amount}}]
        row: list[int] = compile_world(WorldConfig(num_agents=1, rules=rules)).rules.world[0, -16:].tolist()
        return row

    assert address(7) != address(7.0) == address(7.0)


def test_rules_survive_being_written_as_json():
    config = WorldConfig(num_agents=1, rules=[WARM, {"function": "a.b", "parameters": {"x": 1, "y": 1.0}}])
    again = WorldConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert [type(value) for value in again.rules[1].parameters.values()] == [int, float]


def refused(**rule: object) -> str:
    with pytest.raises(ConfigError) as error:
        compile_world(WorldConfig(num_agents=1, resources=["ore", "warmth"], objects=FIRE, rules=[rule]))
    return str(error.value)


OWN = "tests.grid.own"
ALLOWED = "rules, state, buffers, e, then parameters of its own, without * and **"
NAMES = "allowed: a number, or one of ore, warmth, fire"


@pytest.mark.parametrize(
    ("function", "parameters", "message"),
    [
        ("warm", {"fire": "fire"}, f"rules.0.parameters.warmth: not given, and it has no default; {NAMES}"),
        (
            "warm",
            {"fire": "fier", "warmth": 0},
            "rules.0.parameters.fire: given 'fier', which is neither a resource nor an "
            f"object; {NAMES} (did you mean fire?)",
        ),
        (
            "warm",
            {"fire": 0, "warmth": 0, "gian": 1},
            "rules.0.parameters.gian: tests.grid.own.warm has no such parameter; "
            "allowed: fire, warmth, gain (did you mean gain?)",
        ),
        ("double", {"x": 1}, "rules.0.parameters.x: tests.grid.own.double has no such parameter; allowed: none"),
        ("wram", {}, f"rules.0.function: given '{OWN}.wram'; {OWN} has no function wram (did you mean warm?)"),
        (
            "too_few",
            {},
            f"rules.0.function: given {OWN}.too_few(rules, state); allowed: {ALLOWED}",
        ),
        (
            "by_keyword",
            {},
            f"rules.0.function: given {OWN}.by_keyword(rules, state, buffers, e, *, gain=3); allowed: {ALLOWED}",
        ),
        (
            "any_number",
            {"gain": 1},
            f"rules.0.function: given {OWN}.any_number(rules, state, buffers, e, *gain); allowed: {ALLOWED}",
        ),
    ],
)
def test_a_rule_that_cannot_be_called_is_refused(function: str, parameters: dict[str, object], message: str):
    assert refused(function=f"{OWN}.{function}", parameters=parameters) == message


@pytest.mark.parametrize(
    ("function", "given"),
    [
        ("builtins.int", "of type type"),
        ("builtins.print", "of type builtin_function_or_method"),
        (f"{OWN}.a_part", "of type partial"),
        (f"{OWN}.an_object", "of type Pays"),
        (f"{OWN}.generates", "a generator or a coroutine"),
        (f"{OWN}.waits", "a generator or a coroutine"),
        (f"{OWN}.waits_and_generates", "a generator or a coroutine"),
    ],
)
def test_what_is_no_plain_function_is_no_rule(function: str, given: str):
    expected = f"rules.0.function: given {function!r}, which is {given}; allowed: a plain Python function"
    assert refused(function=function) == expected


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("unknown_field", "Unknown attribute 'agnts' of type TableState"),
        ("unknown_name", "NameError: name 'nothing' is not defined"),
        ("allocates", "a rule cannot call zeros(Literal[int](3), class(float32)) (it allocates nothing; "),
    ],
)
def test_a_rule_that_cannot_be_compiled_says_why_in_one_line(function: str, reason: str):
    message = refused(function=f"{OWN}.{function}")
    assert message.startswith(f"rules.0.function: given '{OWN}.{function}'; it cannot be compiled: ")
    assert reason in message and "\n" not in message


def test_the_line_of_the_mistake_is_named():
    from tests.grid import own

    line = own.unknown_field.__code__.co_firstlineno + 1
    assert refused(function=f"{OWN}.unknown_field").endswith(f"({own.__file__}, line {line})")


def test_the_hash_of_a_world_knows_the_sources_of_its_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "hashed_rules.py"
    path.write_text("def rule(rules, state, buffers, e): pass\ndef build(seed): return '@'\n")
    plain = WorldConfig(num_agents=1)
    by_rule = plain.model_copy(update={"rules": WorldConfig(rules=[{"function": "hashed_rules.rule"}]).rules})
    by_map = WorldConfig(num_agents=1, map={"type": "function", "function": "hashed_rules.build"})
    before = [rules_hash(config) for config in (plain, by_rule, by_map)]
    assert len(set(before)) == 3 and rules_hash(arena()) == before[0]
    path.write_text(path.read_text() + "# edited\n")
    del sys.modules["hashed_rules"]  # as another process has it
    after = [rules_hash(config) for config in (plain, by_rule, by_map)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, False]
    assert [own_hash(config) == "" for config in (plain, by_rule, by_map)] == [True, False, False]


GAME = """
import hashlib, json, sys
import numpy as np
from metta.envs import FixedTasks, Task, VecEnv
from metta.grid import WorldConfig
from metta.grid.worlds import arena
config = arena()
config.resources = [*config.resources, "warmth"]
config.agent.initial_inventory = {"warmth": 9}
config.agent.rewards.inventory = {"warmth": 0.5}
config.rules = [
    {"function": "tests.grid.own.slip", "moment": "before_turns", "parameters": {"percent": 30}},
    {"function": "tests.grid.own.warm", "parameters": {"fire": "altar", "warmth": "warmth"}},
    {"function": "tests.grid.own.pay", "parameters": {"amount": 0.25}},
]
config = WorldConfig.model_validate(config.model_dump(warnings=False))
digests = []
for threads in (1, 2):
    env = VecEnv(FixedTasks([Task(config, seed=seed) for seed in range(2)]), num_worlds=2, threads=threads)
    env.reset()
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for _ in range(int(sys.argv[1])):
        env.step(rng.integers(0, env.num_actions, env.num_agents, np.int32))
        for array in (env.observations, env.rewards, *env.state):
            digest.update(np.ascontiguousarray(array).tobytes())
    digests.append(digest.hexdigest())
print(json.dumps(digests))
"""


def play_game(ticks: int, **environment: str) -> list[str]:
    command = [sys.executable, "-c", GAME, str(ticks)]
    root = str(Path(__file__).parents[2])
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path]), **environment}
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    digests: list[str] = json.loads(result.stdout)
    return digests


def test_compiled_rules_play_the_same_game_as_plain_python_on_any_number_of_threads():
    compiled, plain = play_game(8), play_game(8, NUMBA_DISABLE_JIT="1")
    assert compiled[0] == compiled[1] == plain[0] == plain[1]


SPENT = """
import sys
import numpy as np
from metta.envs import SingleTask, VecEnv
from metta.errors import ConfigError
from metta.grid import WorldConfig
rule = {"function": "tests.grid.own." + sys.argv[1], "parameters": {"price": int(sys.argv[2])}}
world = WorldConfig(num_agents=1, resources=["ore"], agent={"initial_inventory": {"ore": 3}}, rules=[rule])
env = VecEnv(SingleTask(world, seed=0), num_worlds=1)
env.reset()
try:
    env.step(np.zeros(1, np.int32))
    print(env.rewards[0])
except ConfigError as error:
    print(error)
"""


def spent(*arguments: str, **environment: str) -> str:
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        **environment,
    }
    command = [sys.executable, "-c", SPENT, *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip()


def test_plain_python_refuses_arithmetic_that_compiled_code_does_with_more_bits():
    from tests.grid import own

    place = f" ({own.__file__}, line {own.spends.__code__.co_firstlineno + 3}); {module.HINT}"
    overflow = "rule tests.grid.own.spends: overflow encountered in scalar subtract"
    assert spent("spends", "5", NUMBA_DISABLE_JIT="1") == overflow + place
    out_of_range = "rule tests.grid.own.spends: Python integer 300 out of bounds for uint8"
    assert spent("spends", "300", NUMBA_DISABLE_JIT="1") == out_of_range + place
    assert spent("spends", "5") == "-1.0"
    assert spent("spends_whole_numbers", "5", NUMBA_DISABLE_JIT="1") == spent("spends_whole_numbers", "5") == "-1.0"


EDITED = """
import numpy as np
from metta.envs import SingleTask, VecEnv
from metta.grid import WorldConfig
env = VecEnv(SingleTask(WorldConfig(num_agents=1, rules=[{"function": "edited.pay"}]), seed=0), num_worlds=1)
env.reset()
env.step(np.zeros(1, np.int32))
print(env.rewards[0])
"""


@pytest.mark.slow
def test_an_edited_rule_is_noticed_even_if_the_clock_says_that_nothing_changed(tmp_path: Path):
    path, paid = tmp_path / "edited.py", []
    for amount in (1.5, 2.5):
        path.write_text(
            f"import numpy as np\ndef pay(rules, state, buffers, e):\n    state.rewards[e, 0] += np.float32({amount})\n"
        )
        os.utime(path, (1_000_000, 1_000_000))
        result = subprocess.run([sys.executable, "-B", "-c", EDITED], cwd=tmp_path, capture_output=True, check=True)
        paid.append(float(result.stdout))
    assert paid == [1.5, 2.5]
