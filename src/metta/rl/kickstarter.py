"""The kickstarter: a student learns from a teacher beside its rewards, less and less as training goes on.

After Schmitt et al. 2018, "Kickstarting Deep Reinforcement Learning", https://arxiv.org/abs/1803.03835: the cross
entropy of the student's actions to the teacher's is added to the loss, with a coefficient that falls to 0. The teacher
may also act for a share of the agents, so that the student sees where a good policy gets to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from metta.agent.sampling import sample_actions
from metta.errors import ConfigError
from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossContext, LossResult
from metta.rl.teacher import Teacher, open_teacher

if TYPE_CHECKING:
    from metta.agent import SequenceOutput
    from metta.envs import BatchedEnv
    from metta.rl.experience import Minibatch
    from metta.rl.trainer_state import TrainerState


class KickstarterConfig(LossConfig):
    """A teacher, what of it is learned, and for how long; on as soon as a teacher is named."""

    teacher_uri: str | None = Field(None, description="any policy URI, mock://scripted too; none: no teacher")
    action_loss_coef: float = Field(1.0, ge=0, description="of the cross entropy to the teacher's actions")
    value_loss_coef: float = Field(0.0, ge=0, description="of the distance to the teacher's values; networks only")
    teacher_acts: float = Field(0.0, ge=0, le=1, description="share of the agents for which the teacher acts at first")
    anneal_share: float | None = Field(
        0.5, gt=0, le=1, description="share of training over which the three above fall to 0, linearly; none: they stay"
    )

    @property
    def is_used(self) -> bool:
        """Whether there is a teacher."""
        return self.enabled and self.teacher_uri is not None


class Kickstarter(BaseLoss):
    """Cross entropy (and value distance) to a teacher that is asked at every tick until its part has fallen to 0.

    The agents for which the teacher acts are drawn anew for each rollout; PPO leaves their steps out, this loss learns
    from all. After an epoch without the teacher it begins with an empty memory.
    """

    config_class = KickstarterConfig
    config: KickstarterConfig

    def __init__(self, config: KickstarterConfig, context: LossContext) -> None:
        super().__init__(config, context)
        assert config.teacher_uri is not None
        self._context = context
        self._teacher = self._open(config.teacher_uri)
        if config.value_loss_coef and not self._teacher.has_values:
            raise ConfigError(
                f"trainer.losses.kickstarter.value_loss_coef: given {config.value_loss_coef}, but {config.teacher_uri} "
                "estimates no values; allowed: 0, or a network as teacher"
            )
        self._remaining = 0.0  # of the coefficients, in this epoch
        self._is_watching = False  # the teacher has seen every tick since it last forgot everything
        self._acts: Tensor | None = None  # bool [N]: the teacher acts in this rollout

    def experience_spec(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """The teacher's probabilities and, if it is a network, its values."""
        spec: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "teacher_probs": ((self._context.env.num_actions,), torch.float32)
        }
        if self._teacher.has_values:
            spec["teacher_values"] = ((), torch.float32)
        return spec

    def on_rollout_start(self, state: TrainerState) -> None:
        """Settle how much of the teacher is left, and for whom it acts."""
        config = self.config
        self._remaining = remaining_share(state.agent_step / self._context.total_timesteps, config.anneal_share)
        has_part = config.action_loss_coef > 0 or config.value_loss_coef > 0 or config.teacher_acts > 0
        wanted = has_part and self._remaining > 0 and self.is_active(state.epoch)
        if wanted and not self._is_watching:
            self._teacher.forget()
        self._is_watching = wanted
        draws = np.random.default_rng([self._context.seed, state.epoch]).random(self._context.env.num_agents)
        acts = torch.from_numpy(draws < config.teacher_acts * self._remaining)
        self._acts = acts.to(self._context.device) if wanted and bool(acts.any()) else None

    def on_act(self, state: TrainerState, step: int, env: BatchedEnv, actions: Tensor) -> Tensor | None:
        """Ask the teacher; let it act for its agents."""
        if not self._is_watching:
            return None
        assert state.experience is not None
        opinion = self._teacher.judge(env, state.experience.resets[step])
        state.experience.extra["teacher_probs"][step] = opinion.probs
        if opinion.values is not None:
            state.experience.extra["teacher_values"][step] = opinion.values
        if self._acts is not None:
            noise = torch.from_numpy(env.action_noise(np.empty(env.num_agents, np.float32))).to(actions.device)
            chosen, _ = sample_actions(opinion.probs.log(), noise)
            actions[self._acts] = chosen[self._acts]
        return self._acts

    def run_train(self, state: TrainerState, minibatch: Minibatch, output: SequenceOutput) -> LossResult | None:
        """Return what is left of the teacher's part.

        Metrics: kickstarter_action_loss, kickstarter_agreement, kickstarter_share; of networks kickstarter_value_loss.
        """
        if not self._is_watching:
            return None
        config, probs = self.config, minibatch.extra["teacher_probs"]
        # Schmitt et al. 2018, eq. 3: H(teacher || student) = -sum_a pi_T(a) log pi_S(a)
        action_loss = -(probs * torch.log_softmax(output.logits, dim=-1)).sum(-1).mean()
        loss = config.action_loss_coef * action_loss
        agreement = (output.logits.detach().argmax(-1) == probs.argmax(-1)).float().mean()
        metrics = {
            "kickstarter_action_loss": action_loss.detach(),
            "kickstarter_agreement": agreement,
            "kickstarter_share": torch.tensor(self._remaining),
        }
        if self._teacher.has_values:
            value_loss = 0.5 * (output.values - minibatch.extra["teacher_values"]).square().mean()
            loss = loss + config.value_loss_coef * value_loss
            metrics["kickstarter_value_loss"] = value_loss.detach()
        return LossResult(self._remaining * loss, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return who the teacher is and what it remembers."""
        return {
            "asked_for": self.config.teacher_uri,
            "teacher": self._teacher.uri,
            "is_watching": self._is_watching,
            "num_agents": self._context.env.num_agents,
            "memory": self._teacher.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the teacher that the run had, even where "the latest of a run" has become another one."""
        if state["asked_for"] != self.config.teacher_uri:
            return  # the user has given the run another teacher, which begins anew
        if state["teacher"] != self._teacher.uri:
            self._teacher = self._open(state["teacher"])
        if state["num_agents"] == self._context.env.num_agents:  # else the worlds are others, and begin anew too
            self._teacher.load_state_dict(state["memory"])
            self._is_watching = bool(state["is_watching"])

    def _open(self, uri: str) -> Teacher:
        context = self._context
        return open_teacher(uri, context.env, device=context.device, data_dir=context.data_dir)


def remaining_share(progress: float, anneal_share: float | None) -> float:
    """Return what is left, 1 to 0, after `progress` (0..1) of training of something that ends after `anneal_share`."""
    if anneal_share is None:
        return 1.0
    return 1.0 - progress / anneal_share if progress < anneal_share else 0.0
