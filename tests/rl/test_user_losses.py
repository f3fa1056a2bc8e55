"""A user's own losses: named by a path, configured by overrides, checked when the run is built."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from metta.cli.arguments import Setting
from metta.cli.overrides import override
from metta.errors import CheckpointError, ConfigError
from metta.rl import BaseLoss, Trainer, build_trainer, train
from metta.rl.loss.ppo import PPOConfig
from metta.rl.loss.table import LossesConfig, UserLossConfig
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager
from metta.tools import TrainTool

from .small_world import small_config

LOSS = """
import torch
from pydantic import Field
from metta.rl import BaseLoss, LossConfig, LossResult

class PullConfig(LossConfig):
    coef: float = Field(0.5, ge=0)
    steps: int = 3

class Pull(BaseLoss):
    config_class = PullConfig

    def __init__(self, config, context):
        super().__init__(config, context)
        self.context = context
        self.networks["head"] = torch.nn.Linear(context.policy.core_width, 1)

    def experience_spec(self):
        return {"step_in_rollout": ((2,), torch.float32)}

    def run_rollout(self, state, step, output, experience):
        experience.extra["step_in_rollout"][step] = step

    def run_train(self, state, minibatch, output):
        error = (self.networks["head"](output.hidden) - minibatch.extra["step_in_rollout"][..., :1]).square().mean()
        return LossResult(self.config.coef * error, {"error": error.detach()})

class Plain(BaseLoss):
    pass

class Mute(BaseLoss):
    def __init__(self, config):
        super().__init__(config)

class Forgetful(BaseLoss):
    def __init__(self, config, context):
        self.config = config

class NoLoss:
    pass

number = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of losses in the working directory, which is not on the path yet."""
    name = "losses_of_a_user"
    (tmp_path / f"{name}.py").write_text(LOSS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    yield name
    sys.modules.pop(name, None)


def with_losses(folder: Path, total: int = 1024, **user: Any) -> Trainer:
    trainer = build_trainer(small_config(folder, total=total, losses={"user": user}), run="run")
    trainer.hooks = []
    trainer.begin()
    return trainer


def test_a_users_loss_is_called_configured_and_taught(tmp_path: Path, module: str) -> None:
    trainer = with_losses(tmp_path, mine={"path": f"{module}.Pull", "config": {"coef": 0.25, "steps": 4}})
    loss = trainer.losses["user.mine"]
    assert (loss.config.coef, loss.config.steps, loss.config.enabled) == (0.25, 4, True)
    before = loss.networks["head"].weight.clone()
    trainer.run_epoch()
    assert not torch.equal(before, loss.networks["head"].weight)
    assert trainer.state.loss_stats is not None
    assert trainer.state.loss_stats["mine/error"] > 0 and trainer.state.loss_stats["entropy"] > 0
    assert trainer.experience.extra["step_in_rollout"][5].eq(5).all()
    context = loss.context
    assert context.env is trainer.rollout.env and context.policy is trainer.policy
    assert (context.total_timesteps, context.seed) == (1024, 1)


def test_its_metrics_parameters_and_state_come_back_after_a_resume(tmp_path: Path, module: str) -> None:
    made = small_config(tmp_path, total=512 * 2, losses={"user": {"mine": {"path": f"{module}.Pull"}}}, schedules={})
    train(made)
    made.trainer.total_timesteps = 512 * 4
    train(made)
    whole = small_config(tmp_path / "whole", total=512 * 4)
    whole.trainer = made.trainer
    train(whole)
    states = [
        TinyCheckpointManager("run", folder).load_trainer_state(4)["ranks"][0]["loss/user.mine"]["networks"]
        for folder in (tmp_path, tmp_path / "whole")
    ]
    assert states[0].keys() == states[1].keys() == {"head.weight", "head.bias"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all("losses/mine/error" in line for line in lines) and len(lines) == 4


def test_a_run_does_not_go_on_with_another_set_of_networks(tmp_path: Path) -> None:
    with_dynamics = small_config(tmp_path, losses={"dynamics": {"enabled": True}})
    train(with_dynamics)
    without = small_config(tmp_path, total=2048)
    with pytest.raises(CheckpointError, match=r"'optimizer' does not fit.*resume with the configuration in .*json"):
        train(without)
    wider = small_config(tmp_path, total=2048, losses={"dynamics": {"enabled": True, "width": 32}})
    with pytest.raises(CheckpointError, match=r"'loss/dynamics' does not fit"):
        train(wider)


def test_one_class_can_be_used_twice_under_two_names(tmp_path: Path, module: str) -> None:
    plain = {"path": f"{module}.Plain"}
    trainer = with_losses(tmp_path, one=plain, two={**plain, "config": {"begin_epoch": 3}})
    assert [loss.config.begin_epoch for loss in trainer.losses.values()] == [0, 0, 3]


def test_two_losses_with_one_buffer_are_a_mistake(tmp_path: Path, module: str) -> None:
    pull = {"path": f"{module}.Pull"}
    with pytest.raises(ConfigError, match=r"user\.one and user\.two both keep a buffer 'step_in_rollout'"):
        with_losses(tmp_path, one=pull, two=pull)


def test_settings_reach_a_users_loss_by_dotted_paths_whatever_the_recipe_gave(module: str) -> None:
    tool = TrainTool()
    tool.trainer.losses.user["theirs"] = UserLossConfig(path=f"{module}.Plain", config=PPOConfig(begin_epoch=2))
    settings = {
        "trainer.losses.user.mine.path": f"{module}.Pull",
        "trainer.losses.user.mine.config.coef": "0.125",
        "trainer.losses.user.theirs.config.end_epoch": "9",
    }
    changed, _ = override(tool, [Setting(*pair) for pair in settings.items()])
    user = changed.trainer.losses.user
    assert user["mine"] == UserLossConfig(path=f"{module}.Pull", config={"coef": 0.125})
    assert (user["theirs"].config["begin_epoch"], user["theirs"].config["end_epoch"]) == (2, 9)
    assert TrainTool.model_validate_json(changed.model_dump_json()) == changed


def test_the_runs_configuration_holds_every_setting_of_a_users_loss(tmp_path: Path, module: str) -> None:
    train(small_config(tmp_path, losses={"user": {"mine": {"path": f"{module}.Pull", "config": {"coef": 0.125}}}}))
    written = json.loads((tmp_path / "run" / "config.json").read_text())["trainer"]["losses"]
    assert written["user"]["mine"]["config"].items() >= {"coef": 0.125, "steps": 3, "enabled": True}.items()
    assert LossesConfig.model_validate(written).user["mine"].path == f"{module}.Pull"


def test_a_schedule_moves_a_number_of_a_users_loss(tmp_path: Path, module: str) -> None:
    schedules = {"losses.user.mine.config.coef": {"type": "linear", "final": 0.0}}
    made = small_config(
        tmp_path, total=512 * 4, losses={"user": {"mine": {"path": f"{module}.Pull"}}}, schedules=schedules
    )
    trainer = build_trainer(made, run="run")
    trainer.hooks = trainer.hooks[:1]
    trainer.begin()
    seen = []
    for _ in range(4):
        seen.append(trainer.losses["user.mine"].config.coef)
        trainer.run_epoch()
    assert seen == pytest.approx([0.5, 0.375, 0.25, 0.125])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("{}.Missing", "cannot be loaded"),
        ("{}", "cannot be loaded"),
        ("Pull", "cannot be loaded"),
        ("no_such_module_at_all.Loss", "No module named 'no_such_module_at_all'"),
        ("{}.NoLoss", "not a class derived from metta.rl.loss.base_loss.BaseLoss"),
        ("{}.number", "not a class derived from"),
        ("{}.Mute", r"is called with \(config, context\)"),
        ("{}.Forgetful", r"does not call super\(\)\.__init__"),
    ],
)
def test_a_path_that_is_no_loss_is_a_mistake_that_is_named(tmp_path: Path, module: str, path: str, words: str) -> None:
    path = path.format(module)
    with pytest.raises(ConfigError, match=rf"trainer\.losses\.user\.mine.*{re.escape(path)}.*{words}"):
        with_losses(tmp_path, mine={"path": path})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"coeff": 1}, r"user\.mine\.config\.coeff: PullConfig has no 'coeff' \(did you mean coef\?\); it has enabled"),
        ({"coef": -1}, r"user\.mine\.config\.coef: given -1, input should be greater than or equal to 0"),
        ({"steps": "many"}, r"user\.mine\.config\.steps: given 'many', input should be a valid integer"),
    ],
)
def test_a_setting_that_the_loss_does_not_have_or_allow_is_named(
    tmp_path: Path, module: str, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        with_losses(tmp_path, mine={"path": f"{module}.Pull", "config": config})


def test_a_loss_without_anything_does_nothing(tmp_path: Path, module: str) -> None:
    ends = []
    for user in ({}, {"mine": {"path": f"{module}.Plain"}}):
        trainer = with_losses(tmp_path, **user)
        trainer.run_epoch()
        ends.append([weight.clone() for weight in trainer.policy.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
    assert BaseLoss(PPOConfig()).state_dict() == {}


def test_a_loss_goes_through_its_moments_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = with_losses(tmp_path)
    calls: list[str] = []

    class Recorder(BaseLoss):
        pass

    for moment in [name for name in vars(BaseLoss) if name.startswith(("on_", "run_"))]:
        monkeypatch.setattr(Recorder, moment, lambda *_, m=moment: calls.append(m), raising=False)
    trainer.losses["recorder"] = Recorder(PPOConfig())
    env = trainer.rollout.env
    step = env.step
    env.step = lambda actions: calls.append("the worlds move") or step(actions)
    trainer.run_epoch()
    assert calls == [
        "on_rollout_start",
        *["on_act", "the worlds move", "run_rollout"] * trainer.experience.num_steps,
        "on_rollout_end",
        *["run_train", "on_mb_end"] * 2,
        "on_train_phase_end",
        "on_epoch_end",
    ]
