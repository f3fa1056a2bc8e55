"""Advantages by generalised advantage estimation or V-trace, with truncation told apart from termination."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

# T steps  N rows (agents of all worlds)


class VtraceWeights(NamedTuple):
    """How much each step counts in V-trace."""

    rho: NDArray[np.float32]  # [T, N] of the step's own error
    c: NDArray[np.float32]  # [T, N] of what follows it


def gae(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    next_values: NDArray[np.float32],
    terminals: NDArray[np.bool_],
    truncations: NDArray[np.bool_],
    *,
    gamma: float,
    gae_lambda: float,
    weights: VtraceWeights | None = None,
) -> NDArray[np.float32]:
    """Return advantages, float32 [T, N].

    `rewards`, `values`, `terminals`, `truncations` are [T, N]; row t belongs to the observation before action t, and
    the flags say that the episode ended with it. `next_values` [T, N] holds the value of the observation that followed:
    of the episode's final observation where it was truncated, else of the next step. A terminated episode has no
    future; a truncated one bootstraps from its final observation, and in both the sum of later advantages stops.
    With `weights` these are the advantages of a policy that has moved away from the one that acted (V-trace); weights
    of 1 change no bit.
    """
    # Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", eq. 16:
    # A_t = sum_l (gamma lambda)^l delta_{t+l},  delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
    # and with weights Espeholt et al. 2018, eq. 1 and remark 1, written as A_t = v_t - V(s_t):
    # A_t = rho_t delta_t + gamma lambda c_t A_{t+1}
    advantages = np.empty_like(rewards)
    steps = rewards, values, next_values, terminals, truncations
    rho, c = weights or vtrace_weights(np.ones_like(rewards), None, None)
    _advantages(*steps, rho, c, np.float32(gamma), np.float32(gae_lambda), advantages)
    return advantages


def vtrace_weights(ratios: NDArray[np.float32], rho_clip: float | None, c_clip: float | None) -> VtraceWeights:
    """Return V-trace's weights of `ratios` float32 [T, N], new over old probabilities of the actions taken.

    rho is clipped from above by `rho_clip`, c by `c_clip`; without a clip that weight is 1.
    """
    # Espeholt et al. 2018, "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
    # below eq. 1
    ones = np.ones_like(ratios)
    return VtraceWeights(
        rho=ones if rho_clip is None else np.minimum(ratios, np.float32(rho_clip)),
        c=ones if c_clip is None else np.minimum(ratios, np.float32(c_clip)),
    )


@njit(cache=True, nogil=True)
def _advantages(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    next_values: NDArray[np.float32],
    terminals: NDArray[np.bool_],
    truncations: NDArray[np.bool_],
    rho: NDArray[np.float32],
    c: NDArray[np.float32],
    gamma: np.float32,
    gae_lambda: np.float32,
    advantages: NDArray[np.float32],
) -> None:
    steps, rows = rewards.shape
    decay = gamma * gae_lambda
    for t in range(steps - 1, -1, -1):
        for n in range(rows):
            future = np.float32(0.0) if terminals[t, n] else next_values[t, n]
            delta = rho[t, n] * (rewards[t, n] + gamma * future - values[t, n])
            if t == steps - 1 or terminals[t, n] or truncations[t, n]:
                advantages[t, n] = delta
            else:
                advantages[t, n] = delta + decay * c[t, n] * advantages[t + 1, n]
