"""Grid worlds as PettingZoo sees them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from metta.envs import pettingzoo_env
from metta.envs.pettingzoo_env import parallel_env
from metta.envs.rendering import PIXELS
from metta.errors import ConfigError
from metta.grid import WorldConfig
from metta.grid.worlds import arena


def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pettingzoo_env, "IS_INSTALLED", False)
    with pytest.raises(ConfigError, match=r"metta\[pettingzoo\]"):
        parallel_env()


def test_the_librarys_checker_finds_nothing() -> None:
    checker = pytest.importorskip("pettingzoo.test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.parallel_api_test(parallel_env(short_arena()), num_cycles=100)


def short_arena() -> WorldConfig:
    config = arena()
    config.max_steps = 30
    return config


def test_the_librarys_test_of_seeds_finds_nothing() -> None:
    checker = pytest.importorskip("pettingzoo.test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.parallel_seed_test(lambda: parallel_env(short_arena()), num_cycles=40)


def test_played_one_after_the_other_the_agents_pass_the_librarys_test() -> None:
    checker = pytest.importorskip("pettingzoo.test")
    from pettingzoo.utils import parallel_to_aec

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.api_test(parallel_to_aec(parallel_env(short_arena())), num_cycles=100)


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_both_ways_of_rendering_draw_the_world(render_mode: str) -> None:
    pytest.importorskip("pettingzoo")
    env = parallel_env(short_arena(), render_mode=render_mode)
    env.reset(seed=1)
    drawn = env.render()
    if render_mode == "ansi":
        assert len(drawn.splitlines()) == 62 and drawn.count("@") == 24
    else:
        assert drawn.dtype == np.uint8 and drawn.shape == (62 * PIXELS, 62 * PIXELS, 3)


def test_the_state_is_what_all_agents_see_in_its_space() -> None:
    pytest.importorskip("pettingzoo")
    env = parallel_env(short_arena())
    observations, _ = env.reset(seed=1)
    assert env.state() in env.state_space
    assert (env.state() == np.stack([observations[agent] for agent in env.agents])).all()


def test_all_24_agents_act_and_end_together() -> None:
    pytest.importorskip("pettingzoo")
    config = arena()
    config.max_steps = 2
    env = parallel_env(config)
    observations, _ = env.reset(seed=1)
    assert len(env.agents) == 24 and observations["agent_23"].shape == (200, 3)
    env.step(dict.fromkeys(env.agents, 0))
    observations, rewards, terminations, truncations, infos = env.step({})
    assert env.agents == [] and all(truncations.values()) and not any(terminations.values())
    assert infos["agent_5"]["stats"]["action.noop.success"] == 2 and set(rewards) == set(env.possible_agents)
    assert env.step({}) == ({}, {}, {}, {}, {})


def test_the_seed_decides_the_game() -> None:
    pytest.importorskip("pettingzoo")
    env = parallel_env(render_mode="ansi")
    drawn = []
    for seed in (5, 5, None):
        env.reset(seed=seed)
        drawn.append(env.render())
    assert drawn[0] == drawn[1] != drawn[2]
    assert np.array_equal(env.state()[3], env.reset(seed=None)[0]["agent_3"]) is False
