"""Weights carried from one policy to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metta.agent import FastConfig, PolicyAgent, make_policy
from metta.agent.architectures import policy_config
from metta.agent.warm_start import warm_start
from metta.envs import BoxSpace, SingleTask, TokenSpace, VecEnv
from metta.errors import PolicyMismatchError
from metta.grid import WorldConfig
from metta.grid.worlds import easy_arena, navigation


def env_of(config: WorldConfig) -> VecEnv:
    return VecEnv(SingleTask(config, seed=1), num_worlds=2)


def make(env: VecEnv, seed: int, architecture: str = "fast") -> PolicyAgent:
    return make_policy(policy_config(architecture), env.space, seed=seed, action_names=env.action_names)


def logits(agent: PolicyAgent, env: VecEnv) -> torch.Tensor:
    state = agent.initial_state(env.num_agents)
    return agent.step(torch.from_numpy(env.observations), state, torch.ones(env.num_agents, dtype=torch.bool)).logits


@pytest.mark.parametrize("architecture", ["fast", "lstm", "agalite"])
def test_in_the_same_world_every_weight_is_carried(architecture: str) -> None:
    env = env_of(easy_arena())
    target, source = make(env, 1, architecture), make(env, 2, architecture)
    assert warm_start(target, source) == []
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_where_ids_and_the_order_of_actions_differ_the_new_policy_plays_as_the_old_one_remapped() -> None:
    env = env_of(easy_arena())
    assert isinstance(env.space, TokenSpace)
    source = make(env, 2)
    last = max(feature.id for feature in env.space.features)
    swapped = replace(
        env.space,
        features=tuple(feature._replace(id=last - feature.id) for feature in env.space.features),
        action_names=env.action_names[::-1],
    )
    target = make_policy(FastConfig(), swapped, seed=3, action_names=env.action_names[::-1])
    assert warm_start(target, source) == []
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(20):
        env.step(rng.integers(0, env.num_actions, env.num_agents, dtype=np.int32))
    remapped = target.connected_to(env.space, env.action_names)
    torch.testing.assert_close(logits(remapped, env), logits(source, env), atol=1e-5, rtol=0)


def test_what_only_the_new_world_has_begins_fresh_and_is_named() -> None:
    arena, plain = env_of(easy_arena()), env_of(navigation())
    target, source = make(arena, 1), make(plain, 2)
    before = target.state_dict()["policy_head.weight"].clone()
    fresh = warm_start(target, source)
    missing = [name for name in arena.action_names if name not in plain.action_names]
    assert missing and {f"action {name}" for name in missing} <= set(fresh)
    after = target.state_dict()["policy_head.weight"]
    for number, name in enumerate(arena.action_names):
        if name in missing:
            assert torch.equal(after[number], before[number])
        else:
            assert torch.equal(after[number], source.state_dict()["policy_head.weight"][plain.action_names.index(name)])


def test_a_policy_of_another_kind_is_refused_with_what_to_give() -> None:
    env = env_of(easy_arena())
    with pytest.raises(PolicyMismatchError, match=r"policy.architecture=lstm"):
        warm_start(make(env, 1), make(env, 1, "lstm"))
    wide = make_policy(FastConfig(width=32), env.space, seed=1, action_names=env.action_names)
    with pytest.raises(PolicyMismatchError, match=r"width 32 \(the run: 64\)"):
        warm_start(make(env, 1), wide)
    boxed = make_policy(FastConfig(), BoxSpace((4,), "float32", -1.0, 1.0), seed=1, action_names=env.action_names)
    with pytest.raises(PolicyMismatchError, match="sees"):
        warm_start(make(env, 1), boxed)
