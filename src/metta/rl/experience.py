"""`Experience`: one rollout, kept as it was acted, cut into segments for training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metta.agent import DecodedTokens, Observations
from metta.errors import ConfigError
from metta.rl.advantage import gae, vtrace_weights
from metta.rl.ranks import Ranks
from metta.rl.segment_sampling import Visits

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
    is_own: Tensor | None = None  # bool [B, L]: the policy chose this action, not a loss; None: it chose all of them


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
        ranks: Ranks | None = None,
    ) -> None:
        if num_steps % segment_length:
            raise ConfigError(
                f"a rollout of {num_steps} steps cannot be cut into segments of trainer.bptt_horizon={segment_length}"
            )
        self.num_rows, self.num_steps, self.segment_length = num_rows, num_steps, segment_length
        self.blocks = num_steps // segment_length
        self.num_segments = num_rows * self.blocks
        self.device = device
        self.ranks = ranks or Ranks()
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
        # new over old probabilities of the actions, as the last pass over the batch saw them
        self.ratios = torch.ones((num_steps, num_rows))
        self.is_own: Tensor | None = None  # bool [T, N]: the policy chose this action; None: it chose all of them

    def begin_rollout(self) -> None:
        """Forget what belongs to the rollout before."""
        self.states.clear()
        self.ratios.fill_(1.0)
        self.is_own = None

    def mark_foreign(self, t: int, rows: Tensor) -> None:
        """Remember that a loss chose the actions of step `t` in `rows`, bool [N]."""
        if self.is_own is None:
            self.is_own = torch.ones((self.num_steps, self.num_rows), dtype=torch.bool)
        self.is_own[t] &= ~rows.cpu()

    def keep_ratios(self, segments: Tensor, ratios: Tensor) -> None:
        """Remember the importance ratios, float32 [B, L], that a minibatch of `segments` int64 [B] showed."""
        block, row = segments // self.num_rows, segments % self.num_rows
        blocks = self.ratios.view(self.blocks, self.segment_length, self.num_rows)
        blocks[block, :, row] = ratios.cpu()

    @property
    def batch_size(self) -> int:
        """Agent steps in a rollout."""
        return self.num_steps * self.num_rows

    def compute_advantages(
        self,
        *,
        gamma: float,
        gae_lambda: float,
        normalize: bool,
        rho_clip: float | None = None,
        c_clip: float | None = None,
    ) -> None:
        """Fill `advantages` and `returns` from the rollout (see `advantage.gae`); normalise over all ranks' batch.

        With a clip (see `advantage.vtrace_weights`) steps are weighted by `ratios`. Steps that are not the policy's own
        have no part in the mean and the deviation by which advantages are normalised.
        """
        has_weights = rho_clip is not None or c_clip is not None
        raw = gae(
            self.rewards.numpy(),
            self.values.numpy(),
            self.next_values.numpy(),
            self.terminals.numpy(),
            self.truncations.numpy(),
            gamma=gamma,
            gae_lambda=gae_lambda,
            weights=vtrace_weights(self.ratios.numpy(), rho_clip, c_clip) if has_weights else None,
        )
        advantages = torch.from_numpy(raw)
        self.returns = advantages + self.values
        if normalize:
            mean, deviation = self._mean_and_deviation(advantages if self.is_own is None else advantages[self.is_own])
            advantages = (advantages - mean) / (deviation + 1e-8)
        self.advantages = advantages

    def _mean_and_deviation(self, values: Tensor) -> tuple[float, float]:
        """Return both over the batch of all ranks, added up in float64."""
        wide = values.double()
        parts = self.ranks.gather((wide.numel(), float(wide.sum()), float(wide.square().sum())))
        count, total, squares = (sum(column) for column in zip(*parts, strict=True))
        mean = total / max(1, count)
        return mean, math.sqrt(max(0.0, squares / max(1, count) - mean * mean))

    def minibatches(self, visits: Visits, *, size: int) -> Iterator[Minibatch]:
        """Yield the segments that are visited, `size` at a time, with their advantages weighted."""
        for start in range(0, len(visits.segments), size):
            minibatch = self.minibatch(torch.from_numpy(visits.segments[start : start + size]))
            if visits.weights is not None:
                weights = torch.from_numpy(visits.weights[start : start + size]).to(self.device)
                minibatch.advantages = minibatch.advantages * weights[:, None]
            yield minibatch

    def segment_advantages(self) -> NDArray[np.float32]:
        """Return the advantages by segment, float32 [S, L]."""
        blocks = self.advantages.view(self.blocks, self.segment_length, self.num_rows)
        advantages: NDArray[np.float32] = blocks.transpose(1, 2).reshape(self.num_segments, -1).numpy()
        return advantages

    def minibatch(self, segments: Tensor) -> Minibatch:
        """Copy the given segments (int64 [B]) out of the rollout."""
        block, row = np.divmod(segments.numpy(), self.num_rows)
        steps = block[:, None] * self.segment_length + np.arange(self.segment_length)
        index = torch.from_numpy((steps * self.num_rows + row[:, None]).reshape(-1))  # into [T * N]

        def cut(buffer: Tensor) -> Tensor:
            flat = buffer.reshape(-1, *buffer.shape[2:]).index_select(0, index)
            return flat.reshape(len(segments), self.segment_length, *buffer.shape[2:]).to(self.device)

        state = {
            name: (torch.cat([s[name] for s in self.states]) if self.blocks > 1 else value).index_select(0, segments)
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
            is_own=None if self.is_own is None else cut(self.is_own),
        )

    def _cut_observations(self, index: Tensor, num_segments: int) -> DecodedTokens:
        """Name the decoded observations at `index` (into [T * N]); none is copied."""
        assert self.prepared is not None
        chosen = self.prepared.reshape(-1)[index.to(self.device)]
        return chosen.reshape(num_segments, self.segment_length)

    def sums(self) -> dict[str, float]:
        """Return what `experience_stats` needs of this rank, added up in float64."""
        residual = self.returns - self.values
        return {
            "count": self.batch_size,
            "reward": _sum(self.rewards),
            "value": _sum(self.values),
            "return": _sum(self.returns),
            "return_squared": _sum(self.returns, squared=True),
            "residual": _sum(residual),
            "residual_squared": _sum(residual, squared=True),
            "dones": int((self.terminals | self.truncations).sum()),
        }


def experience_stats(parts: list[dict[str, float]]) -> dict[str, float]:
    """Return the rollout's metrics over all ranks' `Experience.sums`.

    Means over agent steps of reward, value, return and episode ends; explained variance = 1 - Var(return - value) /
    Var(return), 0 where returns do not vary.
    """
    mean = {name: sum(part[name] for part in parts) / sum(part["count"] for part in parts) for name in parts[0]}
    variance = mean["return_squared"] - mean["return"] ** 2
    unexplained = mean["residual_squared"] - mean["residual"] ** 2
    means = {name: mean[name] for name in ("reward", "value", "return", "dones")}
    return {**means, "explained_variance": 1.0 - unexplained / variance if variance > 0 else 0.0}


def _sum(values: Tensor, *, squared: bool = False) -> float:
    wide = values.double()
    return float(wide.square().sum() if squared else wide.sum())
