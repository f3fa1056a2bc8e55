"""A loss that keeps the policy near an exponential moving average of its own weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossContext, LossResult

if TYPE_CHECKING:
    from metta.agent import PolicyAgent, SequenceOutput
    from metta.rl.experience import Minibatch
    from metta.rl.trainer_state import TrainerState


class EmaConfig(LossConfig):
    """How near, and to how slow an average; off unless `enabled`."""

    enabled: bool = False
    coef: float = Field(0.1, ge=0, description="of the divergence from the averaged policy")
    decay: float = Field(0.9, ge=0, lt=1, description="share of the average that each optimizer step leaves as it is")

    @property
    def is_used(self) -> bool:
        """Whether it is on."""
        return self.enabled


class EmaLoss(BaseLoss):
    """KL divergence of the policy from its average, which follows after every optimizer step.

    As in PPO-EWMA (Hilton, Cobbe, Schulman 2022, "Batch size-invariance for policy optimization",
    https://arxiv.org/abs/2110.00641), here beside PPO's clip rather than in its place. The average begins as the policy
    that training begins with, and follows in epochs too in which the loss is not active. A recurrent average replays
    segments from the states of the policy that acted.
    """

    config_class = EmaConfig
    config: EmaConfig

    def __init__(self, config: EmaConfig, context: LossContext) -> None:
        super().__init__(config, context)
        self._policy = context.policy
        self._average: PolicyAgent | None = None  # made when training begins: weights may be loaded until then

    def on_new_training_run(self, state: TrainerState) -> None:
        """Begin the average, unless a resumed run has one."""
        self._average = self._average or self._copy()

    def run_train(self, state: TrainerState, minibatch: Minibatch, output: SequenceOutput) -> LossResult:
        """Return the divergence KL(average || policy), in nats, times its coefficient; metric: ema_kl."""
        assert self._average is not None
        with torch.no_grad():
            average = self._average.sequence(minibatch.observations, minibatch.state, minibatch.resets)
            wanted = torch.log_softmax(average.logits, dim=-1)
        log_probs = torch.log_softmax(output.logits, dim=-1)
        divergence = (wanted.exp() * (wanted - log_probs)).sum(-1).mean()
        return LossResult(self.config.coef * divergence, {"ema_kl": divergence.detach()})

    @torch.no_grad()
    def on_mb_end(self, state: TrainerState) -> None:
        """Let the average follow: average = decay average + (1 - decay) weights."""
        assert self._average is not None
        for average, weight in zip(self._average.parameters(), self._policy.parameters(), strict=True):
            average.lerp_(weight, 1.0 - self.config.decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights; nothing before training has begun."""
        if self._average is None:
            return {}
        return {"average": {name: tensor.cpu().clone() for name, tensor in self._average.state_dict().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with averaged weights."""
        if "average" in state:
            self._average = self._copy()
            self._average.load_state_dict(state["average"])

    def _copy(self) -> PolicyAgent:
        return copy.deepcopy(self._policy).requires_grad_(False)
