"""Losses, one a file, summed by the trainer."""

from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossResult
from metta.rl.loss.ppo import PPOConfig, PPOLoss

__all__ = ["BaseLoss", "LossConfig", "LossResult", "PPOConfig", "PPOLoss"]
