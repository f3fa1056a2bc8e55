"""`Experience`: one rollout, kept as it was acted, cut into segments for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metta.agent import DecodedTokens, Observations
from metta.errors import ConfigError
from metta.rl.advantage import gae

# T steps of a rollout  N rows (agents of all worlds)  L steps of a segment  B segments of a minibatch


@dataclass(slots=True)
class Minibatch:
    """B segments of L consecutive steps of one agent each; every tensor is [B, L, ...] on the training device."""

    segments: Tensor  # int64 [B], which segments of the rollout these are
    observations: Observations  # [B, L, *observation], or what the policy's `prepare` made of it when acting
    resets: Tensor  # bool [B, L]: this observation is the first of an episode
    state: dict[str, Tensor]  # recurrent state [B, ...] before the segment's first step, as it was when acting
    actions: Tensor  # int64 [B, L]
    log_probs: Tensor  # float32 [B, L], of the action when it was taken
    values: Tensor  # float32 [B, L], estimated when acting
    advantages: Tensor  # float32 [B, L], normalised if the loss asks for it
    returns: Tensor  # float32 [B, L], values + raw advantages
    extra: dict[str, Tensor]  # what losses asked for in `experience_spec`


class Experience:
    """Buffers [T, N] in the memory that the environment writes to; nothing is copied until a minibatch is cut.

    Slot T of `observations` and `resets` holds what follows the rollout; it becomes slot 0 of the next one. Where the
    policy decodes observations while acting (`prepared`), `observations` is one slot for all steps.
    """

    def __init__(
        self,
        *,
        num_rows: int,
        num_steps: int,
        segment_length: int,
        observation_shape: tuple[int, ...],
        observation_dtype: torch.dtype,
        extra: dict[str, tuple[tuple[int, ...], torch.dtype]],
        device: torch.device,
        prepared: DecodedTokens | None = None,
    ) -> None:
        if num_steps % segment_length:
            raise ConfigError(
                f"a rollout of {num_steps} steps cannot be cut into segments of trainer.bptt_horizon={segment_length}"
            )
        self.num_rows, self.num_steps, self.segment_length = num_rows, num_steps, segment_length
        self.blocks = num_steps // segment_length
        self.num_segments = num_rows * self.blocks
        self.device = device
        self.prepared = prepared  # decoded observations of steps 0..T [T+1, N], on the device
        # What is decoded while acting need not be kept raw: one slot is then written again and again, and stays in the
        # processor's cache (LOG.md).
        slots = 1 if prepared is not None else num_steps + 1
        self.observations = torch.zeros((slots, num_rows, *observation_shape), dtype=observation_dtype)
        # tokens in use; at first all are, so that the first writing empties what lies behind its own
        self.token_counts = torch.full((slots, num_rows), observation_shape[0] if observation_shape else 0).int()
        self.resets = torch.zeros((num_steps + 1, num_rows), dtype=torch.bool)
        self.actions = torch.zeros((num_steps, num_rows), dtype=torch.int64)
        self.log_probs = torch.zeros((num_steps, num_rows))
        self.values = torch.zeros((num_steps, num_rows))
        self.next_values = torch.zeros((num_steps, num_rows))
        self.rewards = torch.zeros((num_steps, num_rows))
        self.terminals = torch.zeros((num_steps, num_rows), dtype=torch.bool)
        self.truncations = torch.zeros((num_steps, num_rows), dtype=torch.bool)
        self.advantages = torch.zeros((num_steps, num_rows))
        self.returns = torch.zeros((num_steps, num_rows))
        self.extra = {name: torch.zeros((num_steps, num_rows, *shape), dtype=d) for name, (shape, d) in extra.items()}
        self.states: list[dict[str, Tensor]] = []  # recurrent state [N, ...] before each block of segments

    @property
    def batch_size(self) -> int:
        """Agent steps in a rollout."""
        return self.num_steps * self.num_rows

    def compute_advantages(self, *, gamma: float, gae_lambda: float, normalize: bool) -> None:
        """Fill `advantages` and `returns` from the rollout (see `advantage.gae`); normalise over the whole batch."""
        raw = gae(
            self.rewards.numpy(),
            self.values.numpy(),
            self.next_values.numpy(),
            self.terminals.numpy(),
            self.truncations.numpy(),
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        advantages = torch.from_numpy(raw)
        self.returns = advantages + self.values
        if normalize:
            advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        self.advantages = advantages

    def minibatches(self, order: NDArray[np.int64], *, size: int) -> Iterator[Minibatch]:
        """Yield every segment exactly once, `size` at a time, in `order` (a permutation of the segments)."""
        for start in range(0, len(order), size):
            yield self.minibatch(torch.from_numpy(order[start : start + size]))

    def minibatch(self, segments: Tensor) -> Minibatch:
        """Copy the given segments (int64 [B]) out of the rollout."""
        block, row = segments // self.num_rows, segments % self.num_rows
        steps = block[:, None] * self.segment_length + torch.arange(self.segment_length)
        index = (steps * self.num_rows + row[:, None]).reshape(-1)  # into [T * N]

        def cut(buffer: Tensor) -> Tensor:
            flat = buffer.reshape(-1, *buffer.shape[2:]).index_select(0, index)
            return flat.reshape(len(segments), self.segment_length, *buffer.shape[2:]).to(self.device)

        state = {
            name: torch.stack([s[name] for s in self.states]).reshape(-1, *value.shape[1:]).index_select(0, segments)
            for name, value in (self.states[0] if self.states else {}).items()
        }
        return Minibatch(
            segments=segments,
            observations=self._cut_observations(index, len(segments)) if self.prepared else cut(self.observations),
            resets=cut(self.resets),
            state={name: value.to(self.device) for name, value in state.items()},
            actions=cut(self.actions),
            log_probs=cut(self.log_probs),
            values=cut(self.values),
            advantages=cut(self.advantages),
            returns=cut(self.returns),
            extra={name: cut(buffer) for name, buffer in self.extra.items()},
        )

    def _cut_observations(self, index: Tensor, num_segments: int) -> DecodedTokens:
        """Name the decoded observations at `index` (into [T * N]); none is copied."""
        assert self.prepared is not None
        chosen = self.prepared.reshape(-1)[index.to(self.device)]
        return chosen.reshape(num_segments, self.segment_length)

    def stats(self) -> dict[str, float]:
        """Return the rollout's metrics: reward per step, value, return, explained variance, share of episode ends."""
        residual = self.returns - self.values
        variance = float(self.returns.var(correction=0))
        return {
            "reward": float(self.rewards.mean()),
            "value": float(self.values.mean()),
            "return": float(self.returns.mean()),
            "explained_variance": 1.0 - float(residual.var(correction=0)) / variance if variance > 0 else 0.0,
            "dones": float((self.terminals | self.truncations).float().mean()),
        }
