"""Saves a run: the policy, and all else that resuming needs, as the last act of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metta.rl.config import CheckpointConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class CheckpointHook(TrainerHook):
    """Saves every `interval` epochs, after an evaluation, and at the end of training."""

    critical = True

    def __init__(self, config: CheckpointConfig, manager: TinyCheckpointManager) -> None:
        self._config, self._manager = config, manager
        self._saved_epoch = -1

    def on_new_training_run(self, state: TrainerState) -> None:
        self._saved_epoch = state.epoch

    def on_checkpoint(self, state: TrainerState) -> None:
        interval = self._config.interval
        due = state.epoch // interval > self._saved_epoch // interval  # also when several epochs passed at once
        if due or state.stop_rollout or state.eval_scores is not None:
            self.save(state)

    def save(self, state: TrainerState) -> None:
        """Save now."""
        assert state.policy is not None
        scores = {}
        if state.eval_scores is not None:
            scores["score"] = state.eval_scores.avg_simulation_score
        for name in ("overview/reward", "overview/hearts"):
            if name in state.metrics:
                scores[name.removeprefix("overview/")] = state.metrics[name]
        trainer_state = {
            "epoch": state.epoch,
            "agent_step": state.agent_step,
            "shrunken_sizes": state.shrunken_sizes,
            "stateful": {name: part.state_dict() for name, part in state.stateful.items()},
        }
        path = self._manager.save_checkpoint(state.policy, state.epoch, trainer_state, metrics=scores)
        self._manager.remove_old(keep=self._config.keep)
        state.latest_checkpoint_uri = str(path)
        self._saved_epoch = state.epoch
