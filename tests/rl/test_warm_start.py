"""A run that begins with another policy's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metta.errors import CheckpointError, PolicyMismatchError
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .small_world import small_config


def weights(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    return TinyCheckpointManager("run", folder).load_agent(epoch).state_dict()


def test_a_run_begins_with_the_weights_of_the_policy_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small_config(tmp_path / "first", total=512))
    second = small_config(tmp_path / "second", total=512)
    second.trainer.initial_policy_uri = str(tmp_path / "first" / "run")  # a run's folder: its latest
    second.trainer.optimizer.learning_rate = 1e-12
    train(second)
    assert "beginning with the weights of" in capsys.readouterr().err
    given, after = weights(tmp_path / "first", 1), weights(tmp_path / "second", 1)
    for weights_of in (given, after):  # values are the head's output times their scale, which follows the returns
        for name in ("value_head.weight", "value_head.bias"):
            weights_of[name] = weights_of[name] * weights_of["value_scale"]
        del weights_of["value_scale"]
    for name, value in given.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)


def test_a_resumed_run_goes_on_with_its_own_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(small_config(tmp_path / "first", total=512))
    for total in (512, 1024):
        second = small_config(tmp_path / "second", total=total)
        second.trainer.initial_policy_uri = str(tmp_path / "first" / "run")
        train(second)
    assert capsys.readouterr().err.count("beginning with the weights") == 1


def test_what_has_no_weights_or_other_ones_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    config.trainer.initial_policy_uri = "mock://scripted"
    with pytest.raises(CheckpointError, match="kickstarter"):
        train(config)
    train(small_config(tmp_path / "lstm", architecture="lstm", total=512))
    config.trainer.initial_policy_uri = str(tmp_path / "lstm" / "run")
    with pytest.raises(PolicyMismatchError, match=r"policy\.architecture=lstm"):
        train(config)
