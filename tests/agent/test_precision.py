"""bfloat16 and torch.compile: how far they are from float32."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from metta.agent import PolicyAgent, make_policy, recurrent
from metta.agent.architectures import policy_config
from metta.envs import SingleTask, VecEnv
from metta.grid.worlds import easy_arena

TICKS = 8
ARCHITECTURES = ("fast", "lstm", "agalite")


def played(architecture: str) -> tuple[PolicyAgent, torch.Tensor, torch.Tensor]:
    """A policy, and what the agents of an arena saw: uint8 [N, T, K, 3], bool [N, T]."""
    env = VecEnv(SingleTask(easy_arena(), seed=1), num_worlds=1)
    agent = make_policy(policy_config(architecture), env.space, seed=1, action_names=env.action_names)
    with torch.no_grad():
        agent.policy_head.weight.mul_(50.0)  # as far from equal probabilities as after training
    env.reset()
    seen, rng = [], np.random.default_rng(0)
    for _ in range(TICKS):
        seen.append(torch.from_numpy(env.observations.copy()))
        env.step(rng.integers(0, env.num_actions, env.num_agents, dtype=np.int32))
    observations = torch.stack(seen, dim=1)
    resets = torch.zeros(observations.shape[:2], dtype=torch.bool)
    resets[:, 3] = True
    return agent, observations, resets


def log_probs(agent: PolicyAgent, observations: torch.Tensor, resets: torch.Tensor) -> torch.Tensor:
    output = agent.sequence(observations, agent.initial_state(len(observations)), resets)
    assert output.logits.dtype == output.values.dtype == torch.float32
    return torch.log_softmax(output.logits, dim=-1)


def gradient(agent: PolicyAgent, observations: torch.Tensor, resets: torch.Tensor) -> torch.Tensor:
    agent.zero_grad()
    log_probs(agent, observations, resets)[..., 0].sum().backward()
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in agent.parameters()])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_changes_log_probabilities_by_at_most_a_twentieth_and_gradients_by_a_tenth(architecture: str) -> None:
    agent, observations, resets = played(architecture)
    exact, slope = log_probs(agent, observations, resets).detach(), gradient(agent, observations, resets)
    agent.precision = torch.bfloat16
    coarse, coarse_slope = log_probs(agent, observations, resets).detach(), gradient(agent, observations, resets)
    assert 1e-5 < float((coarse - exact).abs().max()) < 0.05
    assert float((coarse_slope - slope).norm() / slope.norm()) < 0.1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_acting_in_bfloat16_agrees_with_training_in_it(architecture: str) -> None:
    agent, observations, resets = played(architecture)
    agent.precision = torch.bfloat16
    trained = log_probs(agent, observations, resets)
    state = agent.initial_state(len(observations))
    for tick in range(TICKS):
        output = agent.step(observations[:, tick], state, resets[:, tick])
        state = output.state
        assert all(tensor.dtype == torch.float32 for tensor in state.values())
        torch.testing.assert_close(torch.log_softmax(output.logits, -1), trained[:, tick], atol=0.05, rtol=0)


def test_computing_in_bfloat16_draws_no_random_numbers() -> None:
    agent, observations, resets = played("lstm")
    agent.precision = torch.bfloat16
    before = torch.get_rng_state()
    recurrent._probe(torch.bfloat16)
    log_probs(agent, observations, resets)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPU")
@pytest.mark.parametrize("architecture", ["fast", "agalite"])
def test_a_compiled_training_pass_agrees_within_a_hundred_thousandth(architecture: str) -> None:
    agent, observations, resets = played(architecture)
    exact, slope = log_probs(agent, observations, resets), gradient(agent, observations, resets)
    agent.compiled = True
    torch.testing.assert_close(log_probs(agent, observations, resets), exact, atol=1e-5, rtol=0)
    assert float((gradient(agent, observations, resets) - slope).norm() / slope.norm()) < 1e-4
