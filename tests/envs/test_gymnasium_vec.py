"""Any Gymnasium vector environment with the face of VecEnv."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metta.envs import BatchedEnv, BoxSpace, DiscreteSpace
from metta.envs.gymnasium_vec import GymnasiumVecEnv, make_gymnasium
from metta.errors import CheckpointError, ConfigError


def play(env: BatchedEnv, steps: int) -> list[tuple[Any, ...]]:
    """Return what a fixed policy, driven by the environment's noise, sees and gets."""
    noise = np.zeros(env.num_agents, np.float32)
    history = []
    for _ in range(steps):
        env.step((env.action_noise(noise) * env.num_actions).astype(np.int32))
        ends = [(end.length, float(end.rewards[0])) for end in env.episode_ends]
        history.append((env.observations.tolist(), env.rewards.tolist(), env.terminals.tolist(), ends))
    return history


def test_spaces_and_buffers_of_cartpole() -> None:
    env: BatchedEnv = make_gymnasium("CartPole-v1", num_worlds=3, seed=1)
    env.reset()
    assert isinstance(env.space, BoxSpace) and env.space.shape == (4,) and env.space.dtype == "float32"
    assert (env.num_agents, env.num_actions, env.action_names) == (3, 2, ("action_0", "action_1"))
    assert env.observations.shape == (3, 4) and env.observations.dtype == np.float32
    assert np.abs(env.observations).max() <= 0.05


def test_an_episode_that_ends_leaves_its_last_observation_and_the_next_first() -> None:
    env = make_gymnasium("CartPole-v1", num_worlds=2, seed=1)
    env.reset()
    total = np.zeros(2)
    for length in range(1, 200):
        env.step(np.array([1, length % 2], np.int32))
        total += env.rewards
        if env.terminals[0]:
            break
    assert env.final_index.tolist() == [0]
    assert abs(env.final_observation[0, 2]) > 0.2  # the pole has fallen
    assert np.abs(env.observations[0]).max() <= 0.05  # and stands again
    (end,) = env.episode_ends
    assert (end.world, end.length, end.truncated, end.staggered) == (0, length, False, False)
    assert end.rewards.tolist() == [total[0]]
    env.step(np.zeros(2, np.int32))
    assert env.final_index.size == 0 and not env.episode_ends


def test_a_time_limit_truncates() -> None:
    env = make_gymnasium("CartPole-v1", num_worlds=1, seed=1, max_episode_steps=3)
    env.reset()
    for _ in range(3):
        env.step(np.zeros(1, np.int32))
    assert env.truncations[0] and not env.terminals[0] and env.episode_ends[0].truncated


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "FrozenLake-v1", "Taxi-v4"])
def test_a_restored_environment_goes_on_bit_for_bit(env_id: str) -> None:
    env = make_gymnasium(env_id, num_worlds=3, seed=5)
    env.reset()
    assert env.resume_obstacle is None
    play(env, 30)
    snapshot, digest = env.snapshot(), env.hash()
    expected = play(env, 40)
    other = make_gymnasium(env_id, num_worlds=3, seed=77)
    other.restore(snapshot)
    assert other.hash() == digest
    assert play(other, 40) == expected


def test_a_snapshot_survives_a_safe_file(through_a_safe_file: Callable[[Any], Any]) -> None:
    env, other = (make_gymnasium("CartPole-v1", num_worlds=2, seed=seed) for seed in (5, 6))
    env.reset()
    play(env, 30)
    other.restore(through_a_safe_file(env.snapshot()))
    assert play(other, 20) == play(env, 20)


def test_discrete_observations_are_numbers_from_zero() -> None:
    env = make_gymnasium("FrozenLake-v1", num_worlds=4, seed=2)
    env.reset()
    play(env, 30)
    assert env.space == DiscreteSpace(16)
    assert env.observations.dtype == np.int64 and env.observations.shape == (4,)


def test_seeds_decide_the_game() -> None:
    envs = [make_gymnasium("CartPole-v1", num_worlds=2, seed=seed) for seed in (3, 3, 4)]
    for env in envs:
        env.reset()
    first, same, other = (play(env, 30) for env in envs)
    assert first == same != other


def test_manual_reset_mode_plays_like_same_step_mode() -> None:
    def manual() -> GymnasiumVecEnv:
        makers = [lambda: gymnasium.make("CartPole-v1")] * 2
        return GymnasiumVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED), seed=3)

    envs = [make_gymnasium("CartPole-v1", num_worlds=2, seed=3), manual()]
    for env in envs:
        env.reset()
    assert play(envs[0], 60) == play(envs[1], 60)


def test_the_observation_buffer_can_be_moved() -> None:
    env = make_gymnasium("CartPole-v1", num_worlds=2, seed=3)
    env.reset()
    slots, counts = np.full((2, 2, 4), 9.0, np.float32), np.full((2, 2), 9, np.int32)
    env.set_observation_buffer(slots[1], counts[1])
    env.step(np.zeros(2, np.int32))
    assert np.all(slots[0] == 9.0) and np.all(slots[1] != 9.0) and env.observations is not None
    assert counts[1].tolist() == [0, 0]


class Opaque(gymnasium.Env[Any, Any]):
    """An environment whose state cannot be read."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2, start=5)

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(4))  # stands for what a C library keeps
        self.ticks = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.ticks = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (5, 6)
        self.ticks += 1
        return np.full(1, self.ticks, np.float32), 1.0, False, False, {}


def opaque() -> GymnasiumVecEnv:
    return GymnasiumVecEnv(SyncVectorEnv([Opaque], autoreset_mode="SameStep"), seed=0, label="Opaque")


def test_what_cannot_be_resumed_exactly_says_so_and_cuts_its_episodes(caplog: pytest.LogCaptureFixture) -> None:
    env = opaque()
    env.reset()
    play(env, 3)
    assert env.resume_obstacle is not None and "memory" in env.resume_obstacle
    snapshot = env.snapshot()
    other = opaque()
    with caplog.at_level(logging.WARNING):
        other.restore(snapshot)
    assert "Opaque cannot be resumed exactly" in caplog.text and "memory" in caplog.text
    assert other.truncations.all() and other.final_observation.tolist() == [[3.0]]
    assert other.observations.tolist() == [[0.0]]


def test_the_library_default_reset_mode_is_refused_with_a_hint() -> None:
    vector_env = gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync")
    with pytest.raises(ConfigError, match="make_gymnasium"):
        GymnasiumVecEnv(vector_env, seed=0)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Blackjack-v1", "NoSuchThing-v0"])
def test_unsupported_spaces_and_unknown_names_are_clear_errors(env_id: str) -> None:
    with pytest.raises(ConfigError):
        make_gymnasium(env_id, num_worlds=1, seed=0)


def test_a_snapshot_of_another_environment_is_refused() -> None:
    env = make_gymnasium("CartPole-v1", num_worlds=1, seed=0)
    env.reset()
    other = make_gymnasium("Acrobot-v1", num_worlds=1, seed=0)
    with pytest.raises(CheckpointError):
        other.restore(env.snapshot())
