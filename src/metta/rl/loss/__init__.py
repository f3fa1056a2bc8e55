"""Losses, one a file, summed by the trainer."""

from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossContext, LossResult
from metta.rl.loss.ppo import PPOConfig, PPOLoss

__all__ = ["BaseLoss", "LossConfig", "LossContext", "LossResult", "PPOConfig", "PPOLoss"]
