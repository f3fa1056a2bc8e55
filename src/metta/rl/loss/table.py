"""Which losses there are: their configuration under `trainer.losses`, and how they are built from it."""

from __future__ import annotations

from pydantic import Field

from metta.config import Config
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.loss.ppo import PPOConfig, PPOLoss


class LossesConfig(Config):
    """The losses of a run, summed; one field a loss."""

    ppo: PPOConfig = Field(default_factory=PPOConfig)


def build_losses(config: LossesConfig) -> dict[str, BaseLoss]:
    """Build the losses of a run by name, in the order in which they are called."""
    return {"ppo": PPOLoss(config.ppo)}
