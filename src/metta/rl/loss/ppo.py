"""The clipped policy-gradient loss of PPO, with a value loss and an entropy bonus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

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
    vtrace_rho_clip: float | None = Field(
        None, gt=0, description="V-trace: weigh each step's own error by its importance ratio, at most this; none: by 1"
    )
    vtrace_c_clip: float | None = Field(
        None, gt=0, description="V-trace: weigh what follows a step by its importance ratio, at most this; none: by 1"
    )
    target_kl: float | None = Field(None, gt=0, description="leave the rest of an epoch's minibatches out above this")

    @property
    def has_vtrace(self) -> bool:
        """Whether advantages depend on importance ratios, and so are computed anew before each pass over the batch."""
        return self.vtrace_rho_clip is not None or self.vtrace_c_clip is not None


class PPOLoss(BaseLoss):
    """PPO on a minibatch of segments; advantages come from the trainer, with this loss's gamma and lambda.

    Steps at which a loss chose the action (`Minibatch.is_own`) are left out: neither a ratio nor a return of them says
    anything about the policy.
    """

    config_class = PPOConfig
    config: PPOConfig

    def run_train(self, state: TrainerState, minibatch: Minibatch, output: SequenceOutput) -> LossResult:
        """Return PPO's loss; metrics: policy_loss, value_loss, entropy, approx_kl, clipfrac, importance."""
        config, own = self.config, minibatch.is_own
        log_prob, entropy = log_prob_entropy(output.logits, minibatch.actions)
        log_ratio = log_prob - minibatch.log_probs
        if own is not None:
            log_ratio = log_ratio.masked_fill(~own, 0.0)  # it may be large where the policy did not choose
        ratio = log_ratio.exp()
        if config.has_vtrace and state.experience is not None:
            state.experience.keep_ratios(minibatch.segments, ratio.detach())
        advantages = minibatch.advantages
        # Schulman et al. 2017, "Proximal Policy Optimization Algorithms", eq. 7
        unclipped = advantages * ratio
        clipped = advantages * ratio.clamp(1.0 - config.clip_coef, 1.0 + config.clip_coef)
        policy_loss = -_mean(torch.min(unclipped, clipped), own)
        value_error = (output.values - minibatch.returns).square()
        if config.value_clip_coef is not None:
            change = output.values - minibatch.values
            near = minibatch.values + change.clamp(-config.value_clip_coef, config.value_clip_coef)
            value_error = torch.max(value_error, (near - minibatch.returns).square())
        value_loss = 0.5 * _mean(value_error, own)
        mean_entropy = _mean(entropy, own)
        loss = policy_loss + config.value_coef * value_loss - config.entropy_coef * mean_entropy
        with torch.no_grad():
            metrics = {
                "policy_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "entropy": mean_entropy.detach(),
                # http://joschu.net/blog/kl-approx.html, the estimator k3
                "approx_kl": _mean(ratio.detach() - 1.0 - log_ratio.detach(), own),
                "clipfrac": _mean(((ratio.detach() - 1.0).abs() > config.clip_coef).float(), own),
                "importance": _mean(ratio.detach(), own),
            }
        if config.target_kl is not None and float(metrics["approx_kl"]) > config.target_kl:
            state.stop_update_epoch = True
        return LossResult(loss, metrics)


def _mean(values: Tensor, own: Tensor | None) -> Tensor:
    """Return the mean of `values` [B, L] over the policy's own steps, bool [B, L]; 0 where there are none."""
    if own is None:
        return values.mean()
    return (values * own).sum() / own.sum().clamp(min=1)
