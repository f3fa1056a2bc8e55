"""The clipped policy-gradient loss of PPO, with a value loss and an entropy bonus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossResult, policy_of
from metta.rl.loss.ppo_terms import Coefficients, ppo_terms

if TYPE_CHECKING:
    from metta.agent import SequenceOutput
    from metta.rl.experience import Minibatch
    from metta.rl.trainer_state import TrainerState

METRICS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clipfrac", "importance")


class PPOConfig(LossConfig):
    """Schulman et al. 2017; LOG.md has the search behind the defaults."""

    clip_coef: float = Field(0.2, gt=0)
    value_coef: float = Field(0.5, ge=0)
    scale_values: bool = Field(True, description="keep the value head's output, and its loss, near the size 1")
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
        config = self.config
        value_coef = config.value_coef / policy_of(state).value_scale.square()
        coefficients = Coefficients(config.clip_coef, config.value_clip_coef, value_coef, config.entropy_coef)
        terms = ppo_terms(output, minibatch, coefficients)
        if config.has_vtrace and state.experience is not None:
            state.experience.keep_ratios(minibatch.segments, terms.ratios)
        metrics = {name: getattr(terms, name) for name in METRICS}
        if config.target_kl is not None and float(metrics["approx_kl"]) > config.target_kl:
            state.stop_update_epoch = True
        return LossResult(terms.loss, metrics)
