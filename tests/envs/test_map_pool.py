"""Pools of maps: episodes that share maps, on whatever device they are played."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from metta.envs import SingleTask, VecEnv
from metta.errors import ConfigError
from metta.grid import WorldConfig
from metta.grid.maps.config import ScatterMapConfig
from metta.grid.rng import pool_index, pool_seed
from metta.grid.worlds import arena


def small_arena() -> WorldConfig:
    config = arena()
    config.num_agents, config.max_steps = 2, 3
    config.map = ScatterMapConfig(width=8, height=8, agents=2, objects={"wall": 9, "altar": 2, "mine_red": 3})
    return config


def maps_played(*, map_pool: int | None, seed: int = 0, num_worlds: int = 30) -> list[bytes]:
    env = VecEnv(SingleTask(small_arena(), seed=seed, map_pool=map_pool), num_worlds=num_worlds)
    env.reset()
    return [env.state.cells[world].tobytes() for world in range(num_worlds)]


def test_a_pool_limits_how_many_maps_there_are() -> None:
    assert len(set(maps_played(map_pool=None))) == 30
    assert len(set(maps_played(map_pool=4))) == 4
    assert len(set(maps_played(map_pool=1))) == 1


def test_the_maps_of_a_pool_are_the_runs_own() -> None:
    assert not set(maps_played(map_pool=4, seed=0)) & set(maps_played(map_pool=4, seed=1))


def test_an_episode_picks_its_map_by_its_seed_alone() -> None:
    tasks = SingleTask(small_arena(), seed=3, map_pool=5)
    later = SingleTask(small_arena(), seed=3, map_pool=5, first_world=10)
    for world in range(20):
        task = tasks.next_task(world, 2)
        assert task.map_seed == pool_seed(3, pool_index(task.seed, 5)) == tasks.pool_seeds()[pool_index(task.seed, 5)]
        assert task.seed != task.map_seed
        if world >= 10:
            assert later.next_task(world - 10, 2) == task
    assert SingleTask(small_arena(), seed=3).next_task(0, 0).map_seed is None


def test_worlds_on_the_same_map_play_different_games() -> None:
    env = VecEnv(SingleTask(small_arena(), seed=0, map_pool=1), num_worlds=2)
    env.reset()
    noise = env.action_noise(np.empty(4, np.float32))
    assert env.observations[:2].tobytes() == env.observations[2:].tobytes()
    assert noise[:2].tolist() != noise[2:].tolist()


def test_a_pool_survives_a_snapshot(through_a_safe_file: Callable[[Any], Any]) -> None:
    env, other = (VecEnv(SingleTask(small_arena(), seed=s, map_pool=p), num_worlds=5) for s, p in ((0, 3), (1, 7)))
    env.reset()
    env.step(np.zeros(10, np.int32))
    other.restore(through_a_safe_file(env.snapshot()))
    for _ in range(8):
        for each in (env, other):
            each.step(np.full(10, 2, np.int32))
        assert other.hash() == env.hash()


def test_a_pool_without_maps_is_refused() -> None:
    with pytest.raises(ConfigError, match="map_pool: given 0, allowed is at least 1"):
        SingleTask(small_arena(), seed=0, map_pool=0)


def test_a_snapshot_from_before_there_were_pools_goes_on() -> None:
    env, other = (VecEnv(SingleTask(small_arena(), seed=0), num_worlds=2) for _ in range(2))
    env.reset()
    snapshot = env.snapshot()
    del snapshot["task_source"]["map_pool"]
    snapshot["tasks"]["worlds"] = [row[:4] for row in snapshot["tasks"]["worlds"]]
    other.reset()
    other.restore(snapshot)
    for _ in range(4):  # into the next episode
        for one in (env, other):
            one.step(np.ones(4, np.int32))
    assert other.hash() == env.hash()
