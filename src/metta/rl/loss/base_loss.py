"""`BaseLoss`: the moments of training at which a loss may act. Every default does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from metta.config import Config

if TYPE_CHECKING:
    from metta.agent import PolicyAgent, PolicyOutput, SequenceOutput
    from metta.envs import BatchedEnv
    from metta.rl.experience import Experience, Minibatch
    from metta.rl.trainer_state import TrainerState


class LossConfig(Config):
    """When a loss takes part in training, in epochs (finished epochs at the epoch's start)."""

    enabled: bool = True
    begin_epoch: int = Field(0, ge=0, description="the first epoch in which it is active")
    end_epoch: int | None = Field(None, ge=0, description="the first epoch in which it no longer is; none: never ends")
    cycle_length: int = Field(1, ge=1, description="epochs in a cycle")
    active_in_cycle: int = Field(1, ge=1, description="how many epochs, from each cycle's start, it is active in")

    @property
    def is_used(self) -> bool:
        """Whether a run with this configuration has this loss at all."""
        return True


class LossResult(NamedTuple):
    """What `run_train` returns: a scalar that is summed with those of the other losses, and metrics to average.

    Metrics are detached scalars; they reach `losses/<name>` as the mean over the epoch's minibatches.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class LossContext:
    """What a loss may need when it is built, before anything has been played."""

    env: BatchedEnv  # the worlds of training; only to be looked at
    policy: PolicyAgent  # under training; a resume or a warm start puts other weights into it later
    device: torch.device  # where training computes
    total_timesteps: int  # of the run, in agent steps, as `TrainerState.agent_step` counts them
    seed: int  # of the run, the same on every rank
    data_dir: str  # below which runs, and so policies by a run's name, are found


class BaseLoss:
    """A loss and its part in an epoch; override what it needs.

    The order within an epoch: `on_rollout_start`; around every environment step `on_act` before and `run_rollout` after
    it; `on_rollout_end`; then per minibatch `run_train` and `on_mb_end`; then `on_train_phase_end` and `on_epoch_end`.
    A loss that is not active in an epoch (see `LossConfig`) misses `on_act`, `run_rollout` and `run_train` alone.

    Networks of its own go into `networks`, all of them when it is built: they are moved to the device, taught by the
    optimizer, equal on every rank, and part of every checkpoint.
    """

    config_class: ClassVar[type[LossConfig]] = LossConfig

    metric_prefix: str = ""  # of its metrics' names; `<name>/` for a user's own loss

    def __init__(self, config: LossConfig, context: LossContext | None = None) -> None:
        self.config = config
        self.networks = nn.ModuleDict()

    def is_active(self, epoch: int) -> bool:
        """Whether this loss takes part in an epoch, `epoch` being the number of finished ones."""
        config = self.config
        if not config.enabled or epoch < config.begin_epoch:
            return False
        if config.end_epoch is not None and epoch >= config.end_epoch:
            return False
        return (epoch - config.begin_epoch) % config.cycle_length < config.active_in_cycle

    def experience_spec(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return buffers that this loss needs beside the standard ones: name -> (shape of one step, dtype)."""
        return {}

    def on_new_training_run(self, state: TrainerState) -> None:
        """Called once, when training begins or goes on after a resume."""

    def on_rollout_start(self, state: TrainerState) -> None:
        """Called before the first environment step of an epoch."""

    def on_act(self, state: TrainerState, step: int, env: BatchedEnv, actions: Tensor) -> Tensor | None:
        """Called when the policy has chosen the epoch's `step`-th actions and the environment has not played them yet.

        `env.observations` is what the policy saw, `state.experience.resets[step]` says where an episode begins. May
        overwrite rows of `actions`, int64 [N] on the training device, in place; it then returns which, bool [N]. Those
        steps are not the policy's own: PPO leaves them out (`Minibatch.is_own`).
        """
        return None

    def run_rollout(self, state: TrainerState, step: int, output: PolicyOutput, experience: Experience) -> None:
        """Called after each of the epoch's environment steps; may write its own buffers at `step`."""

    def on_rollout_end(self, state: TrainerState) -> None:
        """Called when `state.rollout_stats` is known, before advantages are computed."""

    def run_train(self, state: TrainerState, minibatch: Minibatch, output: SequenceOutput) -> LossResult | None:
        """Return this loss on one minibatch, or None to add nothing.

        `output.logits` [B, T, actions], `output.values` [B, T] and `output.hidden` [B, T, D], the core's output, are
        the policy's with gradients; see `Minibatch`.
        """
        return None

    def on_mb_end(self, state: TrainerState) -> None:
        """Called after the optimizer's step on a minibatch."""

    def on_train_phase_end(self, state: TrainerState) -> None:
        """Called after the last minibatch, before the epoch count grows."""

    def on_epoch_end(self, state: TrainerState) -> None:
        """Called after every hook's `on_epoch_end`, before the checkpoint."""

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        """Called once at the end, also when an exception ends the run."""

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming must restore: the weights of `networks`. Add to it what else is kept over epochs."""
        weights = self.networks.state_dict()
        return {"networks": {name: tensor.cpu().clone() for name, tensor in weights.items()}} if weights else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.networks.load_state_dict(state.get("networks", {}))


def policy_of(state: TrainerState) -> PolicyAgent:
    """Return the policy under training."""
    assert state.policy is not None
    return state.policy
