"""Grid worlds as Gymnasium sees them."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metta.envs.gymnasium_env import MettaGridEnv, MettaGridVectorEnv
from metta.errors import ConfigError
from metta.grid.worlds import arena, navigation


def test_the_librarys_checker_finds_nothing() -> None:
    env = gymnasium.make("metta/Arena-v0", disable_env_checker=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", ["metta/Arena-v0", "metta/Navigation-v0"])
@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_the_checker_accepts_both_ways_of_rendering(name: str, render_mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(name, render_mode=render_mode).unwrapped)


def test_make_finds_an_arena_with_one_agent() -> None:
    env = gymnasium.make("metta/Arena-v0")
    observation, info = env.reset(seed=1)
    assert observation.shape == (200, 3) and observation.dtype == np.uint8 and info == {}
    assert isinstance(env.unwrapped, MettaGridEnv) and env.unwrapped.config.num_agents == 1


def test_parameters_reach_the_world() -> None:
    env = gymnasium.make("metta/Arena-v0", combat=False)
    assert isinstance(env.unwrapped, MettaGridEnv)
    assert env.unwrapped.config.actions.attack.consumed_resources == {"laser": 100}


def test_an_episode_lasts_max_steps_then_is_truncated_with_its_statistics() -> None:
    config = arena(num_agents=1)
    config.max_steps = 7
    env = MettaGridEnv(config)
    env.reset(seed=3)
    for tick in range(7):
        observation, _, terminated, truncated, info = env.step(np.int64(0))
        assert (terminated, truncated) == (False, tick == 6)
    assert info["episode"]["l"] == 7 and info["stats"]["action.noop.success"] == 7
    assert (observation != 255).any()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.int64(0))


def test_the_seed_decides_the_map_and_the_next_reset_draws_another() -> None:
    env = MettaGridEnv(render_mode="ansi")
    drawn = []
    for seed in (5, 5, None, 6):
        env.reset(seed=seed)
        drawn.append(env.render())
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


def test_rendering_shows_the_map_as_text_and_as_a_picture() -> None:
    env = MettaGridEnv(render_mode="ansi")
    env.reset(seed=5)
    text = env.render()
    assert len(text.splitlines()) == env.vec_env.state.worlds[0, 2]
    assert text.count("@") == 1 and text.count("m") == 10
    picture_env = MettaGridEnv(render_mode="rgb_array")
    picture_env.reset(seed=5)
    picture = picture_env.render()
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 4


def test_a_world_of_several_agents_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"24 agents.*make_vec"):
        MettaGridEnv(arena())


def test_an_unknown_render_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="ansi, rgb_array"):
        MettaGridEnv(render_mode="human")


@pytest.mark.parametrize("arguments", [{}, {"num_envs": 24}])
def test_make_vec_gives_one_entry_an_agent(arguments: dict[str, Any]) -> None:
    env = gymnasium.make_vec("metta/Arena-v0", **arguments)
    assert env.num_envs == 24 and env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, _ = env.reset(seed=1)
    assert observations in env.observation_space and observations.shape == (24, 200, 3)
    observations, rewards, terminals, truncations, infos = env.step(env.action_space.sample())
    assert rewards.shape == terminals.shape == truncations.shape == (24,) and infos == {}


def test_two_worlds_have_twice_the_entries_and_other_numbers_are_refused() -> None:
    assert MettaGridVectorEnv(num_envs=48).vec_env.num_worlds == 2
    with pytest.raises(ConfigError, match="multiple of the world's 24"):
        MettaGridVectorEnv(num_envs=25)


def test_vector_episodes_begin_anew_in_the_same_step() -> None:
    config = arena()
    config.max_steps = 3
    env = MettaGridVectorEnv(config, num_envs=48)
    first, _ = env.reset(seed=1)
    for _ in range(3):
        observations, _, _, truncations, infos = env.step(np.zeros(48, np.int64))
    assert truncations.all() and infos["_final_obs"].all()
    assert infos["final_obs"][47].shape == (200, 3) and infos["final_info"]["episode"]["l"].tolist() == [3] * 48
    assert infos["final_info"]["stats"]["action.noop.success"].tolist() == [3] * 48
    assert (observations != np.stack(infos["final_obs"])).any() and (observations != first).any()
    again, _ = env.reset(seed=1)
    assert (again == first).all()


def layout(value: Any) -> Any:
    """Return the keys of nested infos with the shapes of what they hold."""
    if isinstance(value, dict):
        return {key: layout(item) for key, item in value.items()}
    return value.shape


def test_infos_are_laid_out_as_gymnasium_does_it_itself() -> None:
    config = navigation()
    config.max_steps = 2
    own = MettaGridVectorEnv(config, num_envs=3)
    librarys = SyncVectorEnv([lambda: MettaGridEnv(config)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    ends: list[Any] = []
    for env in (own, librarys):
        env.reset(seed=1)
        for _ in range(2):
            observations, *flags, infos = env.step(np.zeros(3, np.int64))
            assert observations in env.observation_space and all(flag.shape == (3,) for flag in flags)
        ends.append(layout(infos))
    assert ends[0] == ends[1]
    assert (own.observation_space, own.action_space) == (librarys.observation_space, librarys.action_space)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasiums_own_vectors_can_hold_worlds_of_one_agent(mode: str) -> None:
    env = gymnasium.make_vec("metta/Arena-v0", num_envs=2, vectorization_mode=mode)
    observations, _ = env.reset(seed=1)
    assert observations.shape == (2, 200, 3) and (observations[0] != observations[1]).any()
    assert env.step(np.zeros(2, np.int64))[0] in env.observation_space
    env.close()


def test_two_environments_of_one_seed_play_one_game_for_several_episodes() -> None:
    """Also where a later reset, or a reset within a step, draws the next seed."""
    config = arena()
    config.max_steps = 5
    games = []
    for _ in range(2):
        env = MettaGridVectorEnv(config, num_envs=48)
        observations, _ = env.reset(seed=8)
        env.action_space.seed(3)
        game = [observations]
        for _ in range(12):
            game += env.step(env.action_space.sample())[:2]
        game.append(env.reset()[0])
        games.append([array.tobytes() for array in game])
    assert games[0] == games[1] and len(set(games[0])) > 12


def test_stepping_and_drawing_need_a_reset_first() -> None:
    for env in (MettaGridVectorEnv(render_mode="ansi"), MettaGridEnv(render_mode="rgb_array")):
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(env.action_space.sample())
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.render()


def test_a_spec_makes_the_same_environment_again() -> None:
    env = gymnasium.make("metta/Arena-v0", combat=False)
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    assert again.unwrapped.config == env.unwrapped.config
