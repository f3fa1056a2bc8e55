"""`TrainerHook`: the moments of training at which something may watch or steer. Every default does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


# What the trainer calls with its state alone, while it trains; calling only who listens saves 0.1 ms an epoch.
MOMENTS = (
    "on_new_training_run",
    "on_rollout_start",
    "on_rollout_end",
    "on_mb_end",
    "on_train_phase_end",
    "on_evaluation",
    "on_epoch_end",
    "on_checkpoint",
)


class TrainerHook:
    """Something that watches a run. A hook that fails is logged and the run goes on, unless it is `critical`.

    Where several processes train, hooks are called in the first alone, which sees all statistics. A hook that changes
    how training goes on (a rate, say) sets `every_rank`, and must do the same in each; `state.stop_rollout` and
    `state.stop_update_epoch` may be set by any of them, all then stop.

    Hooks run in list order, each seeing what those before it filled into the `TrainerState`. What `state_dict` returns
    is part of every checkpoint.
    """

    critical: bool = False
    every_rank: bool = False  # where several processes train: called in each of them, not in the first alone

    @property
    def name(self) -> str:
        """The hook's name in messages and checkpoints."""
        return type(self).__name__

    def listens_to(self, moment: str) -> bool:
        """Whether this hook does anything at `moment`, one of `MOMENTS`."""
        return moment in vars(self) or getattr(type(self), moment) is not getattr(TrainerHook, moment)

    def on_new_training_run(self, state: TrainerState) -> None:
        """Called once, when training begins or goes on after a resume."""

    def on_rollout_start(self, state: TrainerState) -> None:
        """Called before the first environment step of an epoch."""

    def on_rollout_end(self, state: TrainerState) -> None:
        """Called when `state.rollout_stats` is known, before advantages are computed."""

    def on_mb_end(self, state: TrainerState) -> None:
        """Called after the optimizer's step on a minibatch."""

    def on_train_phase_end(self, state: TrainerState) -> None:
        """Called after the last minibatch, before the epoch count grows."""

    def on_evaluation(self, state: TrainerState) -> None:
        """Called after the epoch count grew and `state.loss_stats` is known, before any `on_epoch_end`."""

    def on_epoch_end(self, state: TrainerState) -> None:
        """Called when the epoch is over."""

    def on_checkpoint(self, state: TrainerState) -> None:
        """The last act of an epoch, after the losses' `on_epoch_end`."""

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        """Called once at the end, also when an exception ends the run."""

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming must restore."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
