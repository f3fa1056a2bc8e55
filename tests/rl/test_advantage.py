from __future__ import annotations

import numpy as np
import pytest

from metta.rl.advantage import gae, vtrace_weights


def plain_gae(rewards, values, next_values, terminals, truncations, gamma, lam):
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


def plain_vtrace(rewards, values, next_values, terminals, truncations, ratios, gamma, lam, rho_clip, c_clip):
    """Espeholt et al. 2018, eq. 1 less V(s_t), as a sum over the future with a product of weights before each term."""
    steps, rows = rewards.shape
    out = np.zeros((steps, rows))
    for n in range(rows):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                rho = 1.0 if rho_clip is None else min(rho_clip, float(ratios[k, n]))
                c = 1.0 if c_clip is None else min(c_clip, float(ratios[k, n]))
                future = 0.0 if terminals[k, n] else float(next_values[k, n])
                out[t, n] += weight * rho * (float(rewards[k, n]) + gamma * future - float(values[k, n]))
                if terminals[k, n] or truncations[k, n]:
                    break
                weight *= gamma * lam * c
    return out


def random_steps(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, 17, 6)).astype(np.float32)
    terminals = rng.random((17, 6)) < 0.1
    return rewards, values, next_values, terminals, (rng.random((17, 6)) < 0.1) & ~terminals


@pytest.mark.parametrize(("rho_clip", "c_clip"), [(1.0, 1.0), (2.0, 0.7), (None, 1.0), (0.5, None)])
def test_vtrace_equals_the_sum_of_the_definition(rho_clip: float | None, c_clip: float | None) -> None:
    ratios = np.exp(np.random.default_rng(9).normal(size=(17, 6))).astype(np.float32)
    assert ratios.min() < 0.5 and ratios.max() > 2.0
    steps = random_steps(0)
    weights = vtrace_weights(ratios, rho_clip, c_clip)
    fast = gae(*steps, gamma=0.97, gae_lambda=0.9, weights=weights)
    slow = plain_vtrace(*steps, ratios, 0.97, 0.9, rho_clip, c_clip)
    np.testing.assert_allclose(fast, slow, atol=5e-5)
    assert abs(fast - gae(*steps, gamma=0.97, gae_lambda=0.9)).max() > 0.1


def test_vtrace_of_a_policy_that_has_not_moved_is_gae_to_the_bit() -> None:
    steps = random_steps(1)
    weights = vtrace_weights(np.ones((17, 6), np.float32), 1.0, 1.5)
    left = gae(*steps, gamma=0.97, gae_lambda=0.9, weights=weights)
    assert left.tobytes() == gae(*steps, gamma=0.97, gae_lambda=0.9).tobytes()
