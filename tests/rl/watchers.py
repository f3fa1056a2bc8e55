"""Hooks that tests name by their dotted path, so that they are there in every process of a run."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.trainer_state import TrainerState

FOLDER = "METTA_TEST_FOLDER"  # environment variable: where to write


class KeepGradients(TrainerHook):
    """Writes the gradients of the first minibatch."""

    def on_mb_end(self, state: TrainerState) -> None:
        path = Path(os.environ[FOLDER]) / "gradients.pt"
        if not path.exists():
            assert state.policy is not None
            torch.save({name: p.grad for name, p in state.policy.named_parameters()}, path)


class DriftApart(TrainerHook):
    """Changes the weights in the first process alone, which no hook may do."""

    def on_epoch_end(self, state: TrainerState) -> None:
        assert state.policy is not None
        with torch.no_grad():
            state.policy.value_head.bias.add_(1e-3)


class SlowEvaluation(TrainerHook):
    """Lets the first process linger, as an evaluation would."""

    def on_evaluation(self, state: TrainerState) -> None:
        if state.epoch == 2:
            import time

            time.sleep(float(os.environ["METTA_TEST_SECONDS"]))
