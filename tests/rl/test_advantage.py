from __future__ import annotations

import numpy as np
import pytest

from metta.rl.advantage import gae


def plain_gae(rewards, values, next_values, terminals, truncations, gamma, lam):  # type: ignore[no-untyped-def]
    """The definition as a sum over the future, one agent and one step at a time."""
    steps, rows = rewards.shape
    out = np.zeros((steps, rows))
    for n in range(rows):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                future = 0.0 if terminals[k, n] else float(next_values[k, n])
                out[t, n] += weight * (float(rewards[k, n]) + gamma * future - float(values[k, n]))
                if terminals[k, n] or truncations[k, n]:
                    break
                weight *= gamma * lam
    return out


@pytest.mark.parametrize("seed", range(5))
def test_the_kernel_equals_the_sum_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, 17, 6)).astype(np.float32)
    terminals = rng.random((17, 6)) < 0.1
    truncations = (rng.random((17, 6)) < 0.1) & ~terminals
    fast = gae(rewards, values, next_values, terminals, truncations, gamma=0.97, gae_lambda=0.9)
    slow = plain_gae(rewards, values, next_values, terminals, truncations, 0.97, 0.9)
    np.testing.assert_allclose(fast, slow, atol=2e-5)


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not() -> None:
    rewards = np.zeros((2, 2), np.float32)
    values = np.zeros((2, 2), np.float32)
    next_values = np.full((2, 2), 10.0, np.float32)
    ended = np.array([[True, False], [False, False]])
    cut = np.array([[False, True], [False, False]])
    advantages = gae(rewards, values, next_values, ended, cut, gamma=0.5, gae_lambda=1.0)
    assert advantages[0].tolist() == [0.0, 5.0]


def test_the_last_step_of_a_segment_has_an_advantage() -> None:
    one = np.ones((1, 1), np.float32)
    no = np.zeros((1, 1), bool)
    assert gae(one, one, one, no, no, gamma=1.0, gae_lambda=1.0)[0, 0] == 1.0
