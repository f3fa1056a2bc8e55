"""The clipped policy-gradient loss of PPO, with a value loss and an entropy bonus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from metta.agent.sampling import log_prob_entropy
from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossResult

if TYPE_CHECKING:
    from metta.agent import SequenceOutput
    from metta.rl.experience import Minibatch
    from metta.rl.trainer_state import TrainerState


class PPOConfig(LossConfig):
    """Schulman et al. 2017; LOG.md has the search behind the defaults."""

    clip_coef: float = Field(0.2, gt=0)
    value_coef: float = Field(0.5, ge=0)
    value_clip_coef: float | None = Field(None, gt=0, description="clip of the value's change; none: no clipping")
    entropy_coef: float = Field(0.01, ge=0)
    gamma: float = Field(0.99, ge=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    normalize_advantages: bool = Field(True, description="over the whole batch, before it is cut into minibatches")
    target_kl: float | None = Field(None, gt=0, description="leave the rest of an epoch's minibatches out above this")


class PPOLoss(BaseLoss):
    """PPO on a minibatch of segments; advantages come from the trainer, with this loss's gamma and lambda."""

    config: PPOConfig

    def __init__(self, config: PPOConfig) -> None:
        super().__init__(config)

    def run_train(self, state: TrainerState, minibatch: Minibatch, output: SequenceOutput) -> LossResult:
        """Return PPO's loss; metrics: policy_loss, value_loss, entropy, approx_kl, clipfrac, importance."""
        config = self.config
        log_prob, entropy = log_prob_entropy(output.logits, minibatch.actions)
        log_ratio = log_prob - minibatch.log_probs
        ratio = log_ratio.exp()
        advantages = minibatch.advantages
        # Schulman et al. 2017, "Proximal Policy Optimization Algorithms", eq. 7
        unclipped = advantages * ratio
        clipped = advantages * ratio.clamp(1.0 - config.clip_coef, 1.0 + config.clip_coef)
        policy_loss = -torch.min(unclipped, clipped).mean()
        value_error = (output.values - minibatch.returns).square()
        if config.value_clip_coef is not None:
            change = output.values - minibatch.values
            near = minibatch.values + change.clamp(-config.value_clip_coef, config.value_clip_coef)
            value_error = torch.max(value_error, (near - minibatch.returns).square())
        value_loss = 0.5 * value_error.mean()
        mean_entropy = entropy.mean()
        loss = policy_loss + config.value_coef * value_loss - config.entropy_coef * mean_entropy
        with torch.no_grad():
            metrics = {
                "policy_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "entropy": mean_entropy.detach(),
                # http://joschu.net/blog/kl-approx.html, the estimator k3
                "approx_kl": (ratio.detach() - 1.0 - log_ratio.detach()).mean(),
                "clipfrac": ((ratio.detach() - 1.0).abs() > config.clip_coef).float().mean(),
                "importance": ratio.detach().mean(),
            }
        if config.target_kl is not None and float(metrics["approx_kl"]) > config.target_kl:
            state.stop_update_epoch = True
        return LossResult(loss, metrics)
