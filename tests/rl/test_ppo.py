"""PPO's loss against one written out in NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from metta.agent.policy_agent import SequenceOutput
from metta.rl.experience import Minibatch
from metta.rl.loss.base_loss import BaseLoss, LossConfig
from metta.rl.loss.ppo import PPOConfig, PPOLoss
from metta.rl.trainer_state import TrainerState

SHAPE, ACTIONS = (6, 9), 5


def unscaled_state() -> TrainerState:
    """A state whose policy's values are as large as its head says."""
    return TrainerState(policy=SimpleNamespace(value_scale=torch.ones(())))


def random_inputs(seed: int) -> tuple[Minibatch, SequenceOutput]:
    """Segments whose policy has moved so far that some ratios are clipped, in float64."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape))

    logits = normal(*SHAPE, ACTIONS)
    actions = torch.from_numpy(rng.integers(0, ACTIONS, SHAPE))
    acted = torch.log_softmax(logits + 0.3 * normal(*SHAPE, ACTIONS), -1).gather(-1, actions[..., None])[..., 0]
    minibatch = Minibatch(
        segments=torch.arange(SHAPE[0]),
        observations=torch.zeros(*SHAPE, 1),
        resets=torch.zeros(SHAPE, dtype=torch.bool),
        state={},
        actions=actions,
        log_probs=acted,
        values=normal(*SHAPE),
        advantages=normal(*SHAPE),
        returns=normal(*SHAPE),
        extra={},
    )
    return minibatch, SequenceOutput(logits.requires_grad_(), normal(*SHAPE).requires_grad_(), normal(*SHAPE, 4))


def reference(config: PPOConfig, minibatch: Minibatch, output: SequenceOutput) -> dict[str, float]:
    """The loss and its metrics, one step at a time, from plain numbers."""
    policy, value, entropies, kl, clipped, ratios = [], [], [], [], [], []
    for place in np.ndindex(*SHAPE):
        weights = np.exp(output.logits.detach().numpy()[place])
        probabilities = weights / weights.sum()
        entropies.append(-sum(p * np.log(p) for p in probabilities))
        probability = probabilities[int(minibatch.actions[place])]
        ratio = probability / np.exp(float(minibatch.log_probs[place]))
        advantage = float(minibatch.advantages[place])
        low, high = 1 - config.clip_coef, 1 + config.clip_coef
        policy.append(-min(ratio * advantage, min(max(ratio, low), high) * advantage))
        kl.append(ratio - 1 - np.log(ratio))
        clipped.append(not low <= ratio <= high)
        ratios.append(ratio)
        new, old, wanted = (float(x[place]) for x in (output.values.detach(), minibatch.values, minibatch.returns))
        error = (new - wanted) ** 2
        if config.value_clip_coef is not None:
            near = min(max(new, old - config.value_clip_coef), old + config.value_clip_coef)
            error = max(error, (near - wanted) ** 2)
        value.append(0.5 * error)
    means = {
        "policy_loss": np.mean(policy),
        "value_loss": np.mean(value),
        "entropy": np.mean(entropies),
        "approx_kl": np.mean(kl),
        "clipfrac": np.mean(clipped),
        "importance": np.mean(ratios),
    }
    loss = means["policy_loss"] + config.value_coef * means["value_loss"] - config.entropy_coef * means["entropy"]
    return {"loss": float(loss), **{name: float(mean) for name, mean in means.items()}}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "config",
    [
        PPOConfig(),
        PPOConfig(clip_coef=0.05),
        PPOConfig(value_clip_coef=0.3, value_coef=2.0),
        PPOConfig(value_clip_coef=1.5, entropy_coef=0.7),
    ],
    ids=["default", "clip", "value_clip", "wide_value_clip"],
)
def test_the_loss_and_its_metrics_are_those_written_out_in_numpy(config: PPOConfig, seed: int) -> None:
    minibatch, output = random_inputs(seed)
    result = PPOLoss(config).run_train(unscaled_state(), minibatch, output)
    expected = reference(config, minibatch, output)
    assert 0 < expected["clipfrac"] < 1
    assert result.metrics.keys() == expected.keys() - {"loss"}
    for name, value in {"loss": result.loss.detach(), **result.metrics}.items():
        np.testing.assert_allclose(float(value), expected[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_the_gradients_are_finite_and_reach_logits_and_values() -> None:
    minibatch, output = random_inputs(0)
    PPOLoss(PPOConfig(value_clip_coef=0.3)).run_train(unscaled_state(), minibatch, output).loss.backward()
    for tensor in (output.logits, output.values):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


def test_the_gradient_of_a_clipped_step_is_that_of_its_entropy_and_value_alone() -> None:
    minibatch, output = random_inputs(0)
    minibatch.log_probs -= 5.0  # every ratio far above the clip
    minibatch.advantages = minibatch.advantages.abs()
    PPOLoss(PPOConfig(entropy_coef=0.0)).run_train(unscaled_state(), minibatch, output).loss.backward()
    assert output.logits.grad is not None
    assert output.values.grad is not None
    assert not output.logits.grad.any()
    expected = 0.5 * (output.values.detach() - minibatch.returns) / output.values.numel()
    torch.testing.assert_close(output.values.grad, expected)


def test_metrics_hold_no_gradient() -> None:
    result = PPOLoss(PPOConfig()).run_train(unscaled_state(), *random_inputs(0))
    assert result.loss.requires_grad
    assert not any(metric.requires_grad for metric in result.metrics.values())


def test_a_divergence_above_the_target_ends_the_epochs_updates() -> None:
    minibatch, output = random_inputs(0)
    kl = reference(PPOConfig(), minibatch, output)["approx_kl"]
    for target, stops in ((None, False), (kl * 1.01, False), (kl * 0.99, True)):
        state = unscaled_state()
        PPOLoss(PPOConfig(target_kl=target)).run_train(state, minibatch, output)
        assert state.stop_update_epoch is stops, target


def test_steps_that_a_loss_chose_have_no_part_in_the_loss_nor_in_its_metrics() -> None:
    minibatch, output = random_inputs(0)
    own = torch.zeros(SHAPE, dtype=torch.bool)
    own[:2] = True
    kept = Minibatch(**{name: getattr(minibatch, name) for name in Minibatch.__dataclass_fields__})
    minibatch.is_own = own
    for buffer in (minibatch.log_probs, minibatch.advantages, minibatch.returns):
        buffer[~own] = -2000.0  # the ratio there overflows
    masked = PPOLoss(PPOConfig()).run_train(unscaled_state(), minibatch, output)
    masked.loss.backward()
    for tensor in (output.logits, output.values):
        assert tensor.grad is not None
        assert tensor.grad[own].any() and not tensor.grad[~own].any()
    for name in ("actions", "log_probs", "values", "advantages", "returns"):
        setattr(kept, name, getattr(kept, name)[:2])
    alone = PPOLoss(PPOConfig()).run_train(unscaled_state(), kept, SequenceOutput(*(part[:2] for part in output)))
    for name, value in {"loss": masked.loss, **masked.metrics}.items():
        torch.testing.assert_close(value, {"loss": alone.loss, **alone.metrics}[name], msg=name)


def test_a_minibatch_without_any_step_of_the_policy_teaches_nothing() -> None:
    minibatch, output = random_inputs(0)
    minibatch.is_own = torch.zeros(SHAPE, dtype=torch.bool)
    result = PPOLoss(PPOConfig()).run_train(unscaled_state(), minibatch, output)
    assert float(result.loss.detach()) == 0.0


@pytest.mark.parametrize(
    ("settings", "active"),
    [
        ({}, "111111111111"),
        ({"enabled": False}, "000000000000"),
        ({"begin_epoch": 3}, "000111111111"),
        ({"end_epoch": 5}, "111110000000"),
        ({"begin_epoch": 3, "end_epoch": 5}, "000110000000"),
        ({"begin_epoch": 5, "end_epoch": 5}, "000000000000"),
        ({"cycle_length": 3}, "100100100100"),
        ({"cycle_length": 3, "active_in_cycle": 2}, "110110110110"),
        ({"cycle_length": 4, "active_in_cycle": 2, "begin_epoch": 1, "end_epoch": 10}, "011001100100"),
        ({"cycle_length": 2, "active_in_cycle": 5}, "111111111111"),
    ],
)
def test_a_loss_is_active_in_the_epochs_that_its_settings_say(settings: dict[str, int], active: str) -> None:
    loss = BaseLoss(LossConfig.model_validate(settings))
    assert "".join(str(int(loss.is_active(epoch))) for epoch in range(12)) == active
