"""Saves a run: the policy, and all else that resuming needs, as the last act of an epoch."""

from __future__ import annotations

import copy
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metta.agent import PolicyAgent
from metta.errors import TrainingError
from metta.rl.config import CheckpointConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.ranks import Ranks
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState

OWN = ("rollout", "random", "loss/")  # what each rank has of its own; all else is the same on every rank


class CheckpointHook(TrainerHook):
    """Saves every `interval` epochs, after an evaluation, and at the end of training.

    Training waits while everything is copied; a thread then writes the copy, one save after the other.
    `state.latest_checkpoint_uri` changes when the files are whole. Raises CheckpointError, an epoch later, when they
    could not be written.
    """

    critical = True
    every_rank = True

    def __init__(self, config: CheckpointConfig, manager: TinyCheckpointManager, ranks: Ranks) -> None:
        self._config, self._manager, self._ranks = config, manager, ranks
        self._saved_epoch = -1
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None

    def on_new_training_run(self, state: TrainerState) -> None:
        self._saved_epoch = state.epoch

    def on_checkpoint(self, state: TrainerState) -> None:
        if self._pending is not None and self._pending.done():
            self.finish(state)
        interval = self._config.interval
        due = state.epoch // interval > self._saved_epoch // interval  # also when several epochs passed at once
        if due or state.stop_rollout or state.eval_scores is not None:
            self.save(state)

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        self.finish(state)
        self._writer.shutdown()

    def save(self, state: TrainerState) -> None:
        """Save as of now; returns when everything is copied."""
        self._saved_epoch = state.epoch
        parts = {name: part.state_dict() for name, part in state.stateful.items()}
        own = {name: value for name, value in parts.items() if name.startswith(OWN)}
        assert state.policy is not None
        every = self._ranks.gather((weights_digest(state.policy) if self._ranks.size > 1 else "", own))
        self._check_agreement([digest for digest, _ in every], state)
        if not self._ranks.is_first:
            return
        self.finish(state)
        trainer_state = {
            "epoch": state.epoch,
            "agent_step": state.agent_step,
            "shrunken_sizes": state.shrunken_sizes,
            "shared": copy.deepcopy({name: value for name, value in parts.items() if name not in own}),
            "ranks": [copy.deepcopy(part) for _, part in every],
        }
        agent, scores = copy.deepcopy(state.policy), self._scores(state)
        self._pending = self._writer.submit(self._write, agent, state.epoch, trainer_state, scores)

    def _write(self, agent: PolicyAgent, epoch: int, trainer_state: dict[str, Any], scores: dict[str, float]) -> Path:
        path = self._manager.save_checkpoint(agent, epoch, trainer_state, metrics=scores)
        self._manager.remove_old(keep=self._config.keep)
        return path

    def finish(self, state: TrainerState) -> None:
        """Wait for the save that is under way, if any; raises what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            state.latest_checkpoint_uri = str(pending.result())

    def _scores(self, state: TrainerState) -> dict[str, float]:
        scores = {}
        if state.eval_scores is not None:
            scores["score"] = state.eval_scores.avg_simulation_score
        for name in ("overview/reward", "overview/hearts"):
            if name in state.metrics:
                scores[name.removeprefix("overview/")] = state.metrics[name]
        return scores

    def _check_agreement(self, digests: list[str], state: TrainerState) -> None:
        """Notice ranks that have drifted apart before their weights are saved as one policy."""
        differing = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if differing:
            raise TrainingError(
                f"in epoch {state.epoch} the weights of ranks {differing} differ from those of rank 0: something "
                "changed them on some ranks only (a hook that steers training needs every_rank = True); the last good "
                f"checkpoint: {state.latest_checkpoint_uri or 'none was saved'}"
            )


def weights_digest(policy: PolicyAgent) -> str:
    """Return a digest of every weight's bytes."""
    digest = hashlib.sha256()
    for tensor in policy.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
