"""Optimizers by name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from metta.rl.build import build_trainer
from metta.rl.optimizer import OptimizerConfig, apply_settings, build_optimizer, split_parameters
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .same_bits import assert_same
from .small_world import small_config


@pytest.mark.parametrize("architecture", ["fast", "lstm", "agalite"])
def test_muon_gets_the_matrices_of_hidden_layers_and_nothing_else(tmp_path: Path, architecture: str) -> None:
    policy = build_trainer(small_config(tmp_path, architecture=architecture), run="run").policy
    matrices, others = split_parameters(policy)
    names = {parameter: name for name, parameter in policy.named_parameters()}
    assert len(matrices) + len(others) == len(names) and matrices
    assert all(parameter.ndim == 2 for parameter in matrices)
    for name in ("encoder.table", "policy_head.weight", "value_head.weight"):
        assert name in {names[parameter] for parameter in others}


def step_once(config: OptimizerConfig) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    layer = nn.Linear(8, 4)
    before = copy.deepcopy(layer)
    optimizer = build_optimizer(config, layer)
    layer.weight.grad, layer.bias.grad = torch.randn(4, 8), torch.randn(4)
    optimizer.step()
    return before, layer


def test_a_step_of_muon_is_orthogonal_and_as_large_as_one_of_adam() -> None:
    before, after = step_once(OptimizerConfig(type="muon", learning_rate=0.01))
    change = (before.weight - after.weight).detach()
    # Liu et al. 2025: 0.2 sqrt(max(rows, columns)) times an orthogonal matrix, whose rows are of length 1
    expected = 0.01 * 0.2 * 8**0.5
    lengths = torch.linalg.svdvals(change)
    assert lengths.min() > 0.6 * expected and lengths.max() < 1.3 * expected  # Newton-Schulz stops near 1
    adam = step_once(OptimizerConfig(type="adamw", learning_rate=0.01))
    torch.testing.assert_close(before.bias - after.bias, adam[0].bias - adam[1].bias)


@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
def test_settings_reach_every_group(kind: str) -> None:
    config = OptimizerConfig(type=kind)
    optimizer = build_optimizer(config, nn.Linear(3, 3))
    changed = OptimizerConfig(
        type=kind,
        learning_rate=0.5,
        beta1=0.1,
        beta2=0.2,
        eps=0.3,
        momentum=0.4,
        weight_decay=0.6,
    )
    apply_settings(changed, optimizer)
    for group in optimizer.param_groups:
        assert group["lr"] == 0.5 and group["weight_decay"] == 0.6
        assert group.get("momentum", 0.4) == 0.4 and group.get("betas", (0.1, 0.2)) == (0.1, 0.2)
    assert len(optimizer.param_groups) == (2 if kind == "muon" else 1)


def test_a_run_with_muon_that_was_resumed_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    for name, totals in (("whole", (2048,)), ("halved", (1024, 2048))):
        for total in totals:
            config = small_config(tmp_path / name, total=total)
            config.trainer.optimizer.type = "muon"
            config.trainer.schedules = {}
            train(config)
    ends = [TinyCheckpointManager("run", tmp_path / name) for name in ("whole", "halved")]
    assert_same(ends[0].load_agent(4).state_dict(), ends[1].load_agent(4).state_dict())
    left, right = (manager.load_trainer_state(4)["shared"]["optimizer"] for manager in ends)
    assert set(left) == {"muon", "adamw"}
    assert_same(left, right)
