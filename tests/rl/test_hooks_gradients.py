from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from metta.rl.build import build_trainer
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.gradients import gradient_stats
from metta.rl.run import train
from metta.rl.trainer_state import TrainerState

from .small_world import small_config


def plain_stats(values: np.ndarray) -> dict[str, float]:
    return {"mean": values.mean(), "std": values.std(), "norm": np.sqrt((values**2).sum())}


def test_statistics_are_those_of_all_elements_together_and_of_each_part() -> None:
    torch.manual_seed(0)
    module = torch.nn.ModuleDict(
        {"first": torch.nn.Linear(5, 7), "second": torch.nn.Sequential(torch.nn.Linear(7, 3), torch.nn.Linear(3, 1))}
    )
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter) + 0.3
    module["second"][1].weight.grad = None
    expected = {}
    for name, part in {"": module, "first/": module["first"], "second/": module["second"]}.items():
        flat = np.concatenate([p.grad.double().numpy().ravel() for p in part.parameters() if p.grad is not None])
        expected |= {f"{name}{key}": value for key, value in plain_stats(flat).items()}
    assert gradient_stats(module) == pytest.approx(expected, rel=1e-9)


def test_a_module_without_gradients_has_no_statistics() -> None:
    assert gradient_stats(torch.nn.Linear(2, 2)) == {}


class Norms(TrainerHook):
    """Keeps the norm of the gradient after every minibatch."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_mb_end(self, state: TrainerState) -> None:
        assert state.policy is not None
        gradients = [p.grad.ravel() for p in state.policy.parameters() if p.grad is not None]
        self.norms.append(float(torch.cat(gradients).norm()))


def test_they_are_of_the_last_minibatch_after_clipping_every_few_epochs(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 7, max_grad_norm=0.01)
    made.hooks.gradient_interval = 3
    trainer = build_trainer(made, run="run")
    norms = Norms()
    trainer.hooks.append(norms)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["metric/epoch"] for line in lines if "grad/norm" in line] == [3, 6]
    minibatches = len(norms.norms) // 7
    for line in lines:
        if "grad/norm" in line:
            assert line["grad/norm"] == pytest.approx(
                norms.norms[int(line["metric/epoch"]) * minibatches - 1], rel=1e-5
            )
            assert line["grad/norm"] < 0.0101 < line["losses/grad_norm"]
            assert {"grad/encoder/mean", "grad/policy_head/std", "grad/value_head/norm"} <= line.keys()


def test_an_interval_of_zero_is_none(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 2)
    made.hooks.gradient_interval = 0
    train(made)
    assert "grad/" not in (tmp_path / "run" / "metrics.jsonl").read_text()
