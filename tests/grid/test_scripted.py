"""The yardstick agents play well, by what they can see."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from metta.envs.tasks import FixedTasks, Task
from metta.envs.vec_env import VecEnv
from metta.errors import PolicyMismatchError
from metta.grid import WorldConfig, compile_world
from metta.grid.config import ActionConfig
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.scripted import ArenaScripted, NavigationScripted, chain_of, make_scripted
from metta.grid.world import CELL_FIRST_OBJECT, MARGIN
from metta.grid.worlds import arena, easy_arena, navigation, navigation_on, navigation_suite


def play(config: WorldConfig, seeds: list[int], *, num_worlds: int | None = None) -> list[float]:
    """Return hearts an agent of the scripted agent's episodes, by seed."""
    env = VecEnv(FixedTasks([Task(config, seed) for seed in seeds]), num_worlds=num_worlds or len(seeds))
    env.reset()
    agent = make_scripted(env.compiled, env.num_worlds)
    heart = env.resource_names.index("heart")
    hearts: dict[int, float] = {}
    while env.active.any():
        env.step(agent.act(env))
        for end in env.episode_ends:
            hearts[end.task.seed] = float(end.inventory[:, heart].mean())
    return [hearts[seed] for seed in seeds]


def drawn(text: str, *, max_steps: int = 40, num_agents: int = 1, batteries: int = 1) -> WorldConfig:
    config = (easy_arena if batteries == 1 else arena)(num_agents=1)
    config.num_agents = num_agents
    config.max_steps = max_steps
    config.map = AsciiMapConfig(text=text)
    return config


def test_it_goes_mine_generator_altar() -> None:
    assert play(drawn("#######\n#@..m.#\n#.n.._#\n#######", max_steps=100), [1]) == [1.0]


@pytest.mark.parametrize("batteries", [1, 3])
def test_it_understands_the_price_of_a_heart(batteries: int) -> None:
    (hearts,) = play(drawn("@.m\n..n\n.._", max_steps=400, batteries=batteries), [1])
    most = 400 // 51 // batteries
    assert most - 1 <= hearts <= most


def test_it_does_not_try_to_take_what_is_not_there() -> None:
    config = drawn("@.m\n..n\n.._", max_steps=200)
    env = VecEnv(FixedTasks([Task(config, 1)]), num_worlds=1)
    env.reset()
    agent = make_scripted(env.compiled, 1)
    while not env.episode_ends:
        env.step(agent.act(env))
    failed = env.agent_stat_names.index("action.get_items.failed")
    assert env.episode_ends[0].agent_stats[0, failed] <= 3


def test_it_knows_what_each_good_is_worth() -> None:
    compiled = compile_world(arena())
    chain = chain_of(compiled)
    worth = dict(zip(compiled.resource_names, chain.worth.tolist(), strict=True))
    stage = dict(zip(compiled.resource_names, chain.stage.tolist(), strict=True))
    assert worth["heart"] == 1.0
    assert worth["battery_red"] == worth["ore_red"] == pytest.approx(1 / 3)
    assert worth["laser"] == worth["ore_blue"] == 0.0
    assert (stage["heart"], stage["battery_red"], stage["ore_red"]) == (0, 1, 2)
    assert not chain.inputs[compiled.object_names.index("lasery")].any()


def test_it_is_a_yardstick_in_the_easy_arena() -> None:
    assert np.mean(play(easy_arena(), [1, 2])) > 23


@pytest.mark.slow
def test_it_is_a_yardstick_in_the_arena() -> None:
    assert np.mean(play(arena(), [1, 2, 3, 4])) > 6.5


def test_in_navigation_it_collects_nearly_every_altar() -> None:
    config = navigation()
    seeds = list(range(100, 112))
    altars = [compile_world(config).build_map(seed).counts()["altar"] for seed in seeds]
    assert sum(play(config, seeds)) >= 0.97 * sum(altars)


def test_in_every_evaluation_map_it_collects_nearly_every_altar() -> None:
    found, there = 0.0, 0
    for world in navigation_suite().values():
        found += play(world, [0])[0]
        there += compile_world(world).build_map(0).counts()["altar"]
    assert found >= 0.97 * there


def test_the_kind_of_agent_follows_from_the_world() -> None:
    assert isinstance(make_scripted(compile_world(easy_arena()), 1), ArenaScripted)
    assert isinstance(make_scripted(compile_world(navigation()), 1), NavigationScripted)
    config = easy_arena()
    config.actions.put_items = ActionConfig(enabled=False)
    assert isinstance(make_scripted(compile_world(config), 1), NavigationScripted)


def test_a_world_that_it_cannot_play_is_refused() -> None:
    config = easy_arena()
    config.actions.get_items = ActionConfig(enabled=False)
    with pytest.raises(PolicyMismatchError, match="get_items"):
        make_scripted(compile_world(config), 1)
    config = easy_arena()
    del config.objects["altar"]
    config.map = AsciiMapConfig(text="@")
    config.num_agents = 1
    with pytest.raises(PolicyMismatchError, match="no object"):
        make_scripted(compile_world(config), 1)


def test_what_is_outside_of_the_window_changes_nothing() -> None:
    """Two worlds that differ only beyond what the agent has ever seen: it does the same in both."""
    near = "#####################\n#@...................\n#####################"
    far = near[:40] + "_" + near[41:]
    actions = []
    for text in (near, far):
        env = VecEnv(FixedTasks([Task(navigation_on(AsciiMapConfig(text=text)), 0)]), num_worlds=1)
        env.reset()
        agent = make_scripted_navigation(env)
        played = []
        for _ in range(13):  # it walks east and sees the last column after 13 steps
            played.append(int(agent.act(env)[0]))
            env.step(np.array(played[-1:], np.int32))
        actions.append(played)
    assert actions[0] == actions[1]


def make_scripted_navigation(env: VecEnv) -> NavigationScripted:
    return NavigationScripted(env.compiled, env.num_worlds)


def test_it_remembers_only_cells_that_were_in_its_window() -> None:
    env = VecEnv(FixedTasks([Task(navigation(), 5)]), num_worlds=1)
    env.reset()
    agent = make_scripted_navigation(env)
    H, W = env.state.cells.shape[1:]
    seen = np.zeros((H, W), bool)
    for _ in range(60):
        row, column = divmod(int(env.state.agents[0, 0, 0]), W)
        seen[row - 5 : row + 6, column - 5 : column + 6] = True
        env.step(agent.act(env))
        assert agent._memory is not None
        known = agent._memory.cells[0].reshape(H, W)[1:-1, 1:-1] >= 0
        assert not (known & ~seen[1:-1, 1:-1]).any()
    assert known.any()


def test_a_new_episode_begins_with_an_empty_memory() -> None:
    config = navigation(max_steps=100)
    alone = play(config, [8])
    after_another = play(config, [7, 8], num_worlds=1)
    assert after_another[1] == alone[0]


def test_its_game_does_not_depend_on_its_place_in_the_batch() -> None:
    config = easy_arena()
    config.max_steps = 150
    one_by_one = [play(config, [seed])[0] for seed in (1, 2, 3)]
    assert play(config, [1, 2, 3]) == one_by_one
    assert play(config, [3, 1, 2], num_worlds=2) == [one_by_one[2], one_by_one[0], one_by_one[1]]


def test_agents_that_meet_in_a_corridor_go_on() -> None:
    config = drawn("##########\n#@.......#\n#m.n.._.@#\n##########", max_steps=300, num_agents=2)
    assert play(config, [2])[0] >= 1.5


def test_it_never_walks_into_the_margin_of_a_map_without_walls() -> None:
    config = navigation_on(AsciiMapConfig(text="@........_"))
    env = VecEnv(FixedTasks([Task(config, 0)]), num_worlds=1)
    env.reset()
    agent = make_scripted_navigation(env)
    for _ in range(20):
        env.step(agent.act(env))
    assert env.state.inventory[0, 0].sum() == 1
    assert env.state.cells[0, MARGIN, MARGIN + 9] >= CELL_FIRST_OBJECT


@pytest.mark.parametrize(
    ("config", "digest"),
    [(arena(), "f080587d8d4234dc"), (easy_arena(), "8b884a231bef9190"), (navigation(), "bab8b2e55ce31adb")],
)
def test_it_acts_as_it_always_did(config: WorldConfig, digest: str) -> None:
    """Its scores are compared over years under version 0: an agent that acts otherwise is another version."""
    config.max_steps = 250
    env = VecEnv(FixedTasks([Task(config, seed) for seed in range(4)]), num_worlds=4)
    env.reset()
    agent = make_scripted(env.compiled, 4)
    played = hashlib.sha256()
    for _ in range(250):
        actions = agent.act(env)
        played.update(actions.tobytes())
        env.step(actions)
    assert played.hexdigest()[:16] == digest


PROGRAM = """
from metta.envs.tasks import FixedTasks, Task
from metta.envs.vec_env import VecEnv
from metta.grid.scripted import make_scripted
from metta.grid.worlds import easy_arena, navigation
for config, ticks in ((easy_arena(), 6), (navigation(), 20)):
    env = VecEnv(FixedTasks([Task(config, 0)]), num_worlds=1)
    env.reset()
    agent = make_scripted(env.compiled, 1)
    for _ in range(ticks):
        actions = agent.act(env)
        print(actions.tolist())
        env.step(actions)
"""


def test_compiled_it_acts_as_in_plain_python() -> None:
    played = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "NUMBA_DISABLE_JIT": plain},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for plain in ("0", "1")
    ]
    assert played[0] == played[1] and len(played[0].splitlines()) == 26
