"""What agents send through the libraries: nothing stops the world, and nothing is read as another action."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from metta.envs.action_ids import action_ids
from metta.envs.gymnasium_env import MettaGridEnv, MettaGridVectorEnv
from metta.envs.pettingzoo_env import parallel_env
from metta.envs.vec_env import VecEnv
from metta.grid import WorldConfig
from metta.grid.worlds import arena, navigation

OUTSIDE = [2**31, 2**32 + 4, 2**40, 2**63, 2**80, -1, -(2**32), -(2**80), 9999]
NO_INTEGERS = [1.7, 1.0, np.float32(2), "1", None, float("nan")]


def stepped(kind: str, action: Any) -> VecEnv:
    """Return the worlds of one agent behind an interface, after one tick of that action."""
    env: gymnasium.Env[Any, Any] | Any
    if kind == "one":
        env = MettaGridEnv(navigation())
    elif kind == "vector":
        env = MettaGridVectorEnv(navigation(), num_envs=2)
    else:
        pytest.importorskip("pettingzoo")
        env = parallel_env(navigation())
    env.reset(seed=1)
    env.step({"one": action, "vector": [action, action], "parallel": {"agent_0": action}}[kind])
    worlds: VecEnv = env.vec_env
    return worlds


@pytest.mark.parametrize("kind", ["one", "vector", "parallel"])
def test_a_number_of_any_size_that_is_no_action_is_counted_as_invalid(kind: str) -> None:
    for action in OUTSIDE:
        worlds = stepped(kind, action)
        counted = worlds.state.stats[..., worlds.agent_stat_names.index("action.invalid")]
        assert (counted == 1).all() and not worlds.action_success.any(), action


@pytest.mark.parametrize("kind", ["one", "vector", "parallel"])
def test_what_is_no_integer_is_refused_and_not_rounded(kind: str) -> None:
    for action in NO_INTEGERS:
        with pytest.raises(TypeError, match=r"^action: given .*; allowed: integers, 0 to \d+$"):
            stepped(kind, action)


@pytest.mark.parametrize("kind", ["one", "vector", "parallel"])
def test_an_action_means_the_same_in_every_type_of_integer(kind: str) -> None:
    worlds = stepped(kind, 0)
    for action in (np.int64(0), np.uint8(0), np.array(0), np.uint64(0)):
        assert (stepped(kind, action).state.stats == worlds.state.stats).all()
    name = f"action.{worlds.action_names[0]}.success"
    assert worlds.state.stats[..., worlds.agent_stat_names.index(name)].all()


def test_many_actions_are_read_one_by_one() -> None:
    sent = [*range(-3, 12), *OUTSIDE]
    assert action_ids(sent, 7).tolist() == [action if action in range(7) else -1 for action in sent]
    for dtype in (np.int8, np.int64, np.uint64, np.uint8):
        assert action_ids(np.arange(9, dtype=dtype), 7).tolist() == [0, 1, 2, 3, 4, 5, 6, -1, -1]
    with pytest.raises(TypeError):
        action_ids(np.zeros(3), 7)


def test_the_agents_of_a_parallel_world_may_send_in_any_order() -> None:
    pytest.importorskip("pettingzoo")
    config: WorldConfig = arena()
    env = parallel_env(config)
    env.reset(seed=1)
    env.step({"agent_7": 2**40, "agent_3": -1})
    invalid = env.vec_env.state.stats[0, :, env.vec_env.agent_stat_names.index("action.invalid")]
    assert invalid.nonzero()[0].tolist() == [3, 7]
    env.step({})  # nobody acts
    assert invalid.sum() == 2
