"""rl teaches: the trainer, its losses and hooks, and a run's checkpoints."""

from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig, TrainerConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossContext, LossResult
from metta.rl.loss.table import UserLossConfig
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.rl.trainer import Trainer
from metta.rl.trainer_state import TrainerState

__all__ = [
    "BaseLoss",
    "LossConfig",
    "LossContext",
    "LossResult",
    "TinyCheckpointManager",
    "TrainConfig",
    "Trainer",
    "TrainerConfig",
    "TrainerHook",
    "TrainerState",
    "UserLossConfig",
    "build_trainer",
    "train",
]
