"""`TinyCheckpointManager`: a run's checkpoints on disk, over torch.save and torch.load.

The trainer's face of `agent/checkpoints.py` (names, which epochs are whole) and `agent/artifact.py` (the policy's
file): it adds the trainer's file. The pair of an epoch carries one `save_id`; an epoch counts only when both files
are whole.
"""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from metta.agent import PolicyAgent
from metta.agent.artifact import load_policy, read_policy_file, read_state, save_policy, write_state, write_whole
from metta.agent.checkpoints import (
    DATA_DIR,
    TRAINER_FORMAT,
    check_pair,
    latest_epoch,
    list_epochs,
    notes_path,
    policy_path,
    run_directory,
    trainer_path,
)
from metta.errors import CheckpointError

log = logging.getLogger(__name__)


class TinyCheckpointManager:
    """The checkpoints of run `run_name` below the folder `run_dir`."""

    def __init__(self, run_name: str, run_dir: str | Path = DATA_DIR) -> None:
        self.run_name = run_name
        self.run_dir = run_directory(run_name, run_dir)
        self._metrics: dict[int, dict[str, float]] = {}
        self._whole: dict[int, bool] = {}  # epochs whose files have been looked at, or written by this object

    def exists(self) -> bool:
        """Whether the run has a whole checkpoint."""
        return self.latest_epoch() is not None

    def list_epochs(self) -> list[int]:
        """Return the epochs of which there is a policy, ascending; read from file names alone."""
        return list_epochs(self.run_dir)

    def latest_epoch(self) -> int | None:
        """Return the highest epoch whose two files are whole; a damaged one is named in a warning and passed over."""
        return latest_epoch(self.run_dir)

    def load_latest_agent(self) -> PolicyAgent | None:
        """Return the policy of the latest whole checkpoint, None if the run has none."""
        epoch = self.latest_epoch()
        return None if epoch is None else self.load_agent(epoch)

    def load_agent(self, epoch: int) -> PolicyAgent:
        """Return the policy of one epoch. Raises CheckpointError."""
        return load_policy(policy_path(self.run_dir, epoch))

    def load_trainer_state(self, epoch: int) -> dict[str, Any]:
        """Return what `save_checkpoint` was given as `trainer_state`. Raises CheckpointError."""
        state: dict[str, Any] = read_state(trainer_path(self.run_dir, epoch), format=TRAINER_FORMAT)["state"]
        return state

    def save_checkpoint(
        self,
        agent: PolicyAgent,
        epoch: int,
        trainer_state: dict[str, Any],
        *,
        metrics: dict[str, float] | None = None,
    ) -> Path:
        """Save the policy and the trainer's state as epoch `epoch`; return the policy's path.

        Files appear whole or not at all. Raises CheckpointError when they cannot be written (a full disk, say); what
        was saved before is still there then.
        """
        agent_step, save_id = int(trainer_state.get("agent_step", 0)), uuid.uuid4().hex
        metrics = dict(metrics or {})
        path = policy_path(self.run_dir, epoch)
        save_policy(
            path, agent, run=self.run_name, epoch=epoch, agent_step=agent_step, metrics=metrics, save_id=save_id
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        summary = {"run": self.run_name, "epoch": epoch, "agent_step": agent_step, "time": now, "scores": metrics}
        text = yaml.safe_dump(summary, sort_keys=False)
        write_whole(notes_path(self.run_dir, epoch), lambda file: file.write(text.encode()))
        contents = {"run": self.run_name, "epoch": epoch, "state": trainer_state}
        write_state(trainer_path(self.run_dir, epoch), contents, format=TRAINER_FORMAT, save_id=save_id)
        self._metrics[epoch], self._whole[epoch] = metrics, True
        return path

    def find_best_checkpoint(self, metric: str = "score") -> Path | None:
        """Return the policy file whose `metric` is highest (the later of equals), None if no checkpoint has it."""
        best = self._best_epoch(metric)
        return None if best is None else policy_path(self.run_dir, best)

    def remove_old(self, *, keep: int) -> None:
        """Remove whole epochs but for the last `keep` and the best by score; 0 keeps all.

        A damaged epoch is neither counted nor touched, so that it never drives out a good one.
        """
        whole = [epoch for epoch in self.list_epochs() if self._is_whole(epoch)]
        if keep == 0 or len(whole) <= keep:
            return
        kept = {*whole[-keep:], self._best_epoch("score"), self._best_epoch("reward")}
        for epoch in whole:
            if epoch not in kept:
                # the trainer's file first: an interruption leaves a policy without its pair, never a pair cut in half
                trainer_path(self.run_dir, epoch).unlink(missing_ok=True)
                notes_path(self.run_dir, epoch).unlink(missing_ok=True)
                policy_path(self.run_dir, epoch).unlink(missing_ok=True)

    def _is_whole(self, epoch: int) -> bool:
        if epoch not in self._whole:
            try:
                check_pair(self.run_dir, epoch)
            except CheckpointError as error:
                log.warning("epoch %d is left as it is: %s", epoch, error)
                self._whole[epoch] = False
            else:
                self._whole[epoch] = True
        return self._whole[epoch]

    def _best_epoch(self, metric: str) -> int | None:
        scored = {}
        for epoch in filter(self._is_whole, self.list_epochs()):
            if epoch not in self._metrics:
                self._metrics[epoch] = read_policy_file(policy_path(self.run_dir, epoch))["metrics"]
            if metric in self._metrics[epoch]:
                scored[epoch] = self._metrics[epoch][metric]
        return max(scored, key=lambda epoch: (scored[epoch], epoch)) if scored else None


def run_exists(run_name: str) -> bool:
    """Whether run `run_name` below ./train_dir has a whole checkpoint."""
    return TinyCheckpointManager(run_name).exists()


def load_latest_agent(run_name: str) -> PolicyAgent | None:
    """Return the policy of the latest whole checkpoint of a run below ./train_dir, None if it has none."""
    return TinyCheckpointManager(run_name).load_latest_agent()


def save_checkpoint(agent: PolicyAgent, run_name: str, epoch: int, trainer_state: dict[str, Any]) -> Path:
    """Save a checkpoint of run `run_name` below ./train_dir; return the policy's path."""
    return TinyCheckpointManager(run_name).save_checkpoint(agent, epoch, trainer_state)
