"""Advantages by generalised advantage estimation, with truncation told apart from termination."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# T steps  N rows (agents of all worlds)


def gae(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    next_values: NDArray[np.float32],
    terminals: NDArray[np.bool_],
    truncations: NDArray[np.bool_],
    *,
    gamma: float,
    gae_lambda: float,
) -> NDArray[np.float32]:
    """Return advantages, float32 [T, N].

    `rewards`, `values`, `terminals`, `truncations` are [T, N]; row t belongs to the observation before action t, and
    the flags say that the episode ended with it. `next_values` [T, N] holds the value of the observation that followed:
    of the episode's final observation where it was truncated, else of the next step. A terminated episode has no
    future; a truncated one bootstraps from its final observation, and in both the sum of later advantages stops.
    """
    # Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", eq. 16:
    # A_t = sum_l (gamma lambda)^l delta_{t+l},  delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
    advantages = np.empty_like(rewards)
    _gae(rewards, values, next_values, terminals, truncations, np.float32(gamma), np.float32(gae_lambda), advantages)
    return advantages


@njit(cache=True, nogil=True)
def _gae(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    next_values: NDArray[np.float32],
    terminals: NDArray[np.bool_],
    truncations: NDArray[np.bool_],
    gamma: np.float32,
    gae_lambda: np.float32,
    advantages: NDArray[np.float32],
) -> None:
    steps, rows = rewards.shape
    decay = gamma * gae_lambda
    for t in range(steps - 1, -1, -1):
        for n in range(rows):
            future = np.float32(0.0) if terminals[t, n] else next_values[t, n]
            delta = rewards[t, n] + gamma * future - values[t, n]
            if t == steps - 1 or terminals[t, n] or truncations[t, n]:
                advantages[t, n] = delta
            else:
                advantages[t, n] = delta + decay * advantages[t + 1, n]
