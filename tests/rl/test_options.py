"""Every option of training does something."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from metta.errors import ConfigError
from metta.rl.build import build_trainer, train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .small_world import small_config

EPOCHS = 3
Weights = dict[str, torch.Tensor]


def settings(path: str, value: object) -> dict[str, Any]:
    """{"a": {"b": value}} for the path "a.b"."""
    for part in reversed(path.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def merged(options: dict[str, Any]) -> dict[str, Any]:
    """One tree of settings out of dotted paths and their values."""

    def merge(into: dict[str, Any], tree: dict[str, Any]) -> None:
        for name, value in tree.items():
            if isinstance(value, dict) and isinstance(into.get(name), dict):
                merge(into[name], value)
            else:
                into[name] = value

    whole: dict[str, Any] = {}
    for path, value in options.items():
        merge(whole, settings(path, value))
    return whole


@pytest.fixture(scope="module")
def weights_after(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Weights]:
    """The weights after a few epochs below given settings of the trainer; each setting is trained once."""
    known: dict[str, Weights] = {}

    def weights(options: dict[str, Any]) -> Weights:
        key = json.dumps(options, sort_keys=True)
        if key not in known:
            folder = tmp_path_factory.mktemp("options")
            trainer = build_trainer(small_config(folder, total=512 * EPOCHS, **merged(options)), run="run")
            trainer.begin()
            for _ in range(EPOCHS):
                trainer.run_epoch()
            known[key] = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
        return known[key]

    return weights


def equal(left: Weights, right: Weights) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


LOSS, DECAY = "losses.ppo.", {"optimizer.weight_decay": 0.1}
LINEAR = {"type": "linear", "final": 0.1}


@pytest.mark.parametrize(
    ("change", "base"),
    [
        ({LOSS + "clip_coef": 1e-4}, {}),
        ({LOSS + "value_coef": 0.1}, {}),
        ({LOSS + "value_clip_coef": 1e-4}, {}),
        ({LOSS + "entropy_coef": 0.1}, {}),
        ({LOSS + "gamma": 0.5}, {}),
        ({LOSS + "gae_lambda": 0.5}, {}),
        ({LOSS + "normalize_advantages": False}, {}),
        ({LOSS + "target_kl": 1e-9}, {"update_epochs": 2}),
        ({LOSS + "enabled": False}, {}),
        ({LOSS + "begin_epoch": 1}, {}),
        ({LOSS + "end_epoch": 2}, {}),
        ({LOSS + "cycle_length": 2}, {}),
        ({LOSS + "active_in_cycle": 2}, {LOSS + "cycle_length": 3}),
        ({"max_grad_norm": 1e-4}, {}),
        ({"update_epochs": 2}, {}),
        ({"minibatch_size": 128}, {}),
        ({"bptt_horizon": 8}, {"num_worlds": 8}),
        ({"num_worlds": 4}, {}),
        ({"batch_size": 1024}, {}),
        ({"total_timesteps": 512 * EPOCHS * 2}, {}),  # by the schedules
        ({"schedules": {}}, {}),
        ({"schedules": {"max_grad_norm": {"type": "constant", "final": 0.001}}}, {"schedules": {}}),
        ({"schedules": {"max_grad_norm": {"type": "linear", "final": 0.001}}}, {"schedules": {}}),
        ({"schedules": {"losses.ppo.gamma": LINEAR}}, {"schedules": {}}),
        ({"schedules": {"losses.ppo.clip_coef": {"type": "linear", "final": 0.0}}}, {"schedules": {}}),
        ({"schedules": {"optimizer.eps": {"type": "linear", "final": 1e6}}}, {"schedules": {}}),
        ({"schedules": {"optimizer.beta1": LINEAR}}, {"schedules": {}}),
        ({"schedules": {"optimizer.beta2": LINEAR}}, {"schedules": {}}),
        ({"schedules": {"optimizer.weight_decay": LINEAR}}, {"schedules": {}, **DECAY}),
        (
            {"schedules": {"optimizer.learning_rate": {"type": "cosine", "final": 0.1}}},
            {"schedules": {"optimizer.learning_rate": LINEAR}},
        ),
        (
            {"schedules": {"optimizer.learning_rate": {"type": "linear", "final": 0.5}}},
            {"schedules": {"optimizer.learning_rate": LINEAR}},
        ),
        ({"optimizer.type": "adamw"}, DECAY),
        ({"optimizer.learning_rate": 1e-2}, {}),
        ({"optimizer.beta1": 0.5}, {}),
        ({"optimizer.beta2": 0.9}, {}),
        ({"optimizer.eps": 1e-3}, {}),
        (DECAY, {}),
    ],
    ids=str,
)
def test_a_setting_changes_what_is_learned(
    weights_after: Callable[[dict[str, Any]], Weights], change: dict[str, Any], base: dict[str, Any]
) -> None:
    assert not equal(weights_after({**base, **change}), weights_after(base))
