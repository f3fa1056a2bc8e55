"""A loss that lets the policy's hidden state foretell what an action brings: its reward and the next hidden state.

B segments, L steps, D width of the core's output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossContext, LossResult

if TYPE_CHECKING:
    from metta.agent import PolicyOutput, SequenceOutput
    from metta.rl.experience import Experience, Minibatch
    from metta.rl.trainer_state import TrainerState

REWARDS = "dynamics_rewards"


class DynamicsConfig(LossConfig):
    """What is foretold, and by how large a head; off unless `enabled`."""

    enabled: bool = False
    reward_coef: float = Field(0.5, ge=0, description="of the squared error of the step's reward")
    feature_coef: float = Field(0.1, ge=0, description="of the distance to the hidden state of the next step")
    width: int = Field(64, ge=1, le=4096, description="of the head's one hidden layer")

    @property
    def is_used(self) -> bool:
        """Whether it is on."""
        return self.enabled


class DynamicsLoss(BaseLoss):
    """Errors of a small head that reads hidden state and action; its gradient reaches the core and the encoder.

    The target of the next step's features is the core's own output there, held fixed, as in self-predictive
    representations (Schwarzer et al. 2021, https://arxiv.org/abs/2007.05929, eq. 3), one step ahead. A segment's last
    step and an episode's last step have no next one.
    """

    config_class = DynamicsConfig
    config: DynamicsConfig

    def __init__(self, config: DynamicsConfig, context: LossContext) -> None:
        super().__init__(config, context)
        depth = context.policy.core_width
        self.networks["action"] = nn.Embedding(context.env.num_actions, config.width)
        self.networks["hidden"] = nn.Linear(depth, config.width)
        self.networks["out"] = nn.Linear(config.width, 1 + depth)

    def experience_spec(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Each step's reward."""
        return {REWARDS: ((), torch.float32)}

    def run_rollout(self, state: TrainerState, step: int, output: PolicyOutput, experience: Experience) -> None:
        """Keep the rewards that the step has just brought."""
        experience.extra[REWARDS][step] = experience.rewards[step]

    def run_train(self, state: TrainerState, minibatch: Minibatch, output: SequenceOutput) -> LossResult:
        """Return both errors times their coefficients; metrics: dynamics_reward_loss, dynamics_feature_loss."""
        rewards, features = self._foretell(output.hidden, minibatch.actions)
        reward_loss = 0.5 * (rewards - minibatch.extra[REWARDS]).square().mean()
        distance = 1.0 - torch.cosine_similarity(features[:, :-1], output.hidden[:, 1:].detach(), dim=-1)
        has_next = ~minibatch.resets[:, 1:]
        feature_loss = (distance * has_next).sum() / has_next.sum().clamp(min=1)
        loss = self.config.reward_coef * reward_loss + self.config.feature_coef * feature_loss
        metrics = {"dynamics_reward_loss": reward_loss.detach(), "dynamics_feature_loss": feature_loss.detach()}
        return LossResult(loss, metrics)

    def _foretell(self, hidden: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return rewards [B, L] and next hidden states [B, L, D] for hidden [B, L, D] and actions int64 [B, L]."""
        layer = torch.relu(self.networks["hidden"](hidden) + self.networks["action"](actions))
        reward, features = torch.tensor_split(self.networks["out"](layer), [1], dim=-1)
        return reward.squeeze(-1), features
