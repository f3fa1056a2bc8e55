"""The size of values follows the size of returns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metta.envs.gymnasium_vec import make_gymnasium
from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.ranks import Ranks
from metta.rl.trainer_state import TrainerState
from metta.rl.value_scale import ValueScale

from .small_world import small_config


def test_a_new_scale_changes_no_value_and_is_the_root_mean_square_of_returns(tmp_path: Path) -> None:
    trainer = build_trainer(small_config(tmp_path), run="run")
    policy, env = trainer.policy, trainer.rollout.env
    observations, resets = torch.from_numpy(env.observations), torch.ones(env.num_agents, dtype=torch.bool)
    before = policy.step(observations, {}, resets).values
    scale = ValueScale(policy, Ranks())
    scale.update(torch.tensor([[3.0, -4.0]]))
    assert float(policy.value_scale) == pytest.approx((25 / 2) ** 0.5)
    torch.testing.assert_close(policy.step(observations, {}, resets).values, before)
    scale.update(torch.tensor([[100.0, 100.0]]))
    assert float(policy.value_scale) == pytest.approx((0.9 * 12.5 + 0.1 * 1e4) ** 0.5)
    torch.testing.assert_close(policy.step(observations, {}, resets).values, before)


class Louder(BaseLoss):
    """Makes rewards larger, after the world (which shows them to its agents) has given them."""

    factor = 1.0

    def on_rollout_end(self, state: TrainerState) -> None:
        assert state.experience is not None
        state.experience.rewards.mul_(self.factor)


def test_the_scale_of_rewards_does_not_change_what_the_policy_learns(tmp_path: Path) -> None:
    weights = []
    for factor in (1.0, 128.0):  # a power of two: rounding is the same
        trainer = build_trainer(small_config(tmp_path / str(factor), total=512 * 3), run="run")
        trainer.losses["louder"] = Louder(trainer.losses["ppo"].config)
        trainer.losses["louder"].factor = factor
        with torch.no_grad():
            trainer.policy.value_head.weight.zero_()  # the same first values, relative to returns
        trainer.train()
        weights.append(trainer.policy.policy_head.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["fast", "lstm"])
def test_cartpole_is_solved_with_default_settings_and_stays_solved(tmp_path: Path, architecture: str) -> None:
    config = TrainConfig(run="run", data_dir=str(tmp_path))
    config = TrainConfig.model_validate({**config.model_dump(), "policy": {"architecture": architecture}})
    config.trainer.total_timesteps = 2_500_000
    config.evaluation.interval, config.hooks.display = 0, False
    env = make_gymnasium("CartPole-v1", num_worlds=32, seed=1)
    trainer = build_trainer(config, run="run", env=env)
    trainer.begin()
    rewards = []
    while not trainer.run_epoch():
        rewards.append(trainer.state.metrics.get("overview/reward", 0.0))
    assert min(rewards[-10:]) > 475  # Gymnasium's threshold of "solved"
