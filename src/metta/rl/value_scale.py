"""`ValueScale`: keeps what the value head learns near 1, whatever the size of returns."""

from __future__ import annotations

import math
from typing import Any

import torch

from metta.agent import PolicyAgent
from metta.rl.ranks import Ranks

DECAY = 0.9  # of what earlier epochs say about the size of returns
LEAST = 1e-3  # of the scale, where returns are all but 0


class ValueScale:
    """Sets the policy's `value_scale` to the root mean square of recent returns.

    The head's weights are divided by what the scale is multiplied by, so that no value changes (the idea of Pop-Art,
    van Hasselt et al. 2016, https://arxiv.org/abs/1602.07714, section 2.2, without its shift). PPO divides the value
    loss by the squared scale: with returns of 100, as in CartPole, it would otherwise take the whole of the clipped
    gradient, and a head that moves by its learning rate would need thousands of steps to get there (LOG.md).
    """

    def __init__(self, policy: PolicyAgent, ranks: Ranks) -> None:
        self._policy, self._ranks = policy, ranks
        self._mean_square: float | None = None

    @torch.no_grad()
    def update(self, returns: torch.Tensor) -> None:
        """Take in an epoch's returns, float32 [T, N] of this rank; all ranks agree on the scale."""
        squares = returns.double().square()
        parts = self._ranks.gather((float(squares.sum()), squares.numel()))
        now = sum(total for total, _ in parts) / sum(count for _, count in parts)
        if not math.isfinite(now):
            return  # the losses of this epoch will say so, and stop the run
        before = self._mean_square
        self._mean_square = now if before is None else DECAY * before + (1.0 - DECAY) * now
        scale = self._policy.value_scale
        new = max(LEAST, math.sqrt(self._mean_square))
        for parameter in self._policy.value_head.parameters():
            parameter.mul_(scale / new)
        scale.fill_(new)

    def state_dict(self) -> dict[str, Any]:
        return {"mean_square": self._mean_square}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._mean_square = state["mean_square"]
