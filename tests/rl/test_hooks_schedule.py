"""Schedules over the run and along a metric, for every number that a loss or the optimizer has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field

from metta.errors import ConfigError
from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig, TrainerConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.schedule import ScheduleHook
from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossResult
from metta.rl.loss.ppo import PPOConfig, PPOLoss
from metta.rl.loss.table import LOSSES
from metta.rl.optimizer import OptimizerConfig
from metta.rl.run import train
from metta.rl.schedule import ScheduleConfig
from metta.rl.trainer_state import TrainerState

from .small_world import small_config

REWARD = {"by": "overview/reward", "low": 1.0, "high": 3.0, "final": 0.5, "episodes": 4}
CLIP = "losses.ppo.clip_coef"


def hook_of(schedules: dict[str, Any]) -> tuple[ScheduleHook, TrainerConfig]:
    config = TrainerConfig.model_validate({"schedules": schedules, "total_timesteps": 1000})
    return ScheduleHook(config, {"ppo": PPOLoss(config.losses.ppo)}), config


def test_a_value_follows_the_mean_reward_of_the_last_episodes_between_two_marks() -> None:
    hook, config = hook_of({CLIP: REWARD})
    state, seen = TrainerState(), []
    hook.on_new_training_run(state)
    rng = np.random.default_rng(0)
    for center in (0.0, 1.5, 2.5, 4.0, 2.0, 0.5):
        for _ in range(3):
            used = config.losses.ppo.clip_coef
            ended = (center + rng.normal(size=rng.integers(0, 4)) / 4).tolist()
            seen += ended
            state.rollout_stats, state.metrics = {"reward": ended}, {}
            hook.on_epoch_end(state)
            assert state.metrics == {f"parameters/{CLIP}": used}
            way = 0.0 if len(seen) < 4 else min(max((sum(seen[-4:]) / 4 - 1.0) / 2.0, 0.0), 1.0)
            assert config.losses.ppo.clip_coef == pytest.approx(0.2 * (1.0 - 0.5 * way))


def test_a_metric_may_fall_from_low_to_high() -> None:
    hook, config = hook_of({CLIP: {"by": "losses/entropy", "low": 2.0, "high": 1.0, "final": 0.0}})
    hook.on_epoch_end(TrainerState(loss_stats={"entropy": 1.25}))
    assert config.losses.ppo.clip_coef == pytest.approx(0.05)


def test_a_resumed_schedule_along_a_metric_goes_on_where_it_was() -> None:
    hook, config = hook_of({CLIP: REWARD})
    hook.on_epoch_end(TrainerState(rollout_stats={"reward": [2.0, 2.0, 2.0, 2.0]}))
    resumed, other = hook_of({CLIP: REWARD, "losses.ppo.gamma": {**REWARD, "by": "overview/hearts"}})
    resumed.load_state_dict(json.loads(json.dumps(hook.state_dict())))
    resumed.on_new_training_run(TrainerState())
    assert config.losses.ppo.clip_coef == other.losses.ppo.clip_coef == pytest.approx(0.15)
    assert other.losses.ppo.gamma == 0.99  # a schedule that is new begins at its beginning
    for each in (hook, resumed):
        each.on_epoch_end(TrainerState(rollout_stats={"reward": [3.0], "hearts": [0.0]}))
    assert config.losses.ppo.clip_coef == other.losses.ppo.clip_coef == pytest.approx(0.1375)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "overview/reward"}, "two different marks, given low=None and high=None"),
        ({"by": "overview/reward", "low": 1.0}, "two different marks"),
        ({"by": "overview/reward", "low": 1.0, "high": 1.0}, "two different marks"),
        ({"low": 1.0, "high": 2.0}, "give `by` too"),
        ({"by": "reward", "low": 1.0, "high": 2.0}, "'reward' is not a metric that can steer"),
        ({"by": "eval_training/score", "low": 1.0, "high": 2.0}, "not a metric that can steer"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("losses.ppo.clip_coff", r"trainer\.losses\.ppo has no 'clip_coff' \(did you mean clip_coef"),
        ("losses.pppo.clip_coef", r"this run has no loss 'pppo' \(did you mean ppo\?\); it has ppo"),
        ("losses.kickstarter.action_loss_coef", r"this run has no loss 'kickstarter'.*it has ppo"),
        ("losses.ppo", "no loss 'ppo'|does not exist"),
        ("losses.ppo.clip_coef.x", r"trainer\.losses\.ppo\.clip_coef has no 'x'"),
        ("optimiser.learning_rate", r"trainer has no 'optimiser' \(did you mean optimizer"),
        ("losses.ppo.value_clip_coef", "is None, not a real number"),
        ("update_epochs", "is 1, not a real number"),
    ],
)
def test_a_path_that_leads_to_no_number_is_refused(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hook_of({path: {"final": 0.5}})


def test_a_metric_that_the_world_lacks_is_refused_when_training_begins(tmp_path: Path) -> None:
    made = tiny(tmp_path, {}, {CLIP: {**REWARD, "by": "env_agent/no.such.thing"}})
    with pytest.raises(ConfigError, match=r"no metric 'env_agent/no\.such\.thing'"):
        train(made)


class WeightedConfig(LossConfig):
    weight: float = Field(4.0, ge=0)


class Weighted(BaseLoss):
    """A user's loss that notes the weight it uses."""

    config_class = WeightedConfig
    config: WeightedConfig
    used: list[float]

    def run_train(self, state, minibatch, output):
        self.used.append(self.config.weight)
        return LossResult(self.config.weight * output.values.square().mean(), {})


def test_a_number_of_a_users_loss_can_be_scheduled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weighted, "used", [], raising=False)
    loss = {"user": {"mine": {"path": f"{__name__}.Weighted", "config": {"weight": 2.0}}}}
    made = tiny(
        tmp_path,
        {"losses": loss, "minibatch_size": BATCH, "update_epochs": 1},
        {"losses.user.mine.config.weight": {"final": 0.0}},
    )
    train(made)
    assert Weighted.used == pytest.approx([2.0, 2.0 * 2 / 3, 2.0 / 3])
    with pytest.raises(ConfigError, match=r"mine has no 'wait'|config has no 'wait'"):
        train(tiny(tmp_path / "other", {"losses": loss}, {"losses.user.mine.config.wait": {"final": 0.0}}))


# ------------------------------------------------------------------------------------------- every number is used

EPOCHS, BATCH = 3, 128
TO_NOTHING = {"type": "linear", "final": 0.0}
TO_ENDLESS = {"type": "linear", "final": 1e12}

# What must be set for a number to have a part in training; for every real number of every loss.
LOSS_NUMBERS: dict[str, dict[str, Any]] = {
    "ppo.clip_coef": {},
    "ppo.value_coef": {},
    "ppo.value_clip_coef": {"ppo": {"value_clip_coef": 0.2}},
    "ppo.entropy_coef": {},
    "ppo.gamma": {},
    "ppo.gae_lambda": {},
    "ppo.vtrace_rho_clip": {"ppo": {"vtrace_rho_clip": 1.0}},
    "ppo.vtrace_c_clip": {"ppo": {"vtrace_c_clip": 1.0}},
    "ppo.target_kl": {"ppo": {"target_kl": 1e-9}},  # leaves out all but one minibatch of an epoch
    "kickstarter.action_loss_coef": {"kickstarter": {"teacher_uri": "mock://scripted"}},
    "kickstarter.value_loss_coef": {"kickstarter": {"teacher_uri": "<teacher>", "value_loss_coef": 1.0}},
    "kickstarter.teacher_acts": {"kickstarter": {"teacher_uri": "mock://scripted", "teacher_acts": 1.0}},
    "kickstarter.anneal_share": {"kickstarter": {"teacher_uri": "mock://scripted", "anneal_share": 1.0}},
    "ema.coef": {"ema": {"enabled": True}},
    "ema.decay": {"ema": {"enabled": True}},
    "dynamics.reward_coef": {"dynamics": {"enabled": True}},
    "dynamics.feature_coef": {"dynamics": {"enabled": True}},
}

# The same for the optimizer.
OPTIMIZER_NUMBERS: dict[str, dict[str, Any]] = {
    "learning_rate": {},
    "beta1": {},
    "beta2": {},
    "eps": {"eps": 1e-3},
    "momentum": {"type": "muon"},
    "weight_decay": {"weight_decay": 0.1},
}


def tiny(folder: Path, trainer: dict[str, Any], schedules: dict[str, Any]) -> TrainConfig:
    settings = {"batch_size": BATCH, "minibatch_size": 64, "num_worlds": 2, "update_epochs": 2, **trainer}
    return small_config(folder, total=EPOCHS * BATCH, schedules=schedules, **settings)


def trained(folder: Path, trainer: dict[str, Any], schedules: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights after a few epochs; nothing but schedules watches, nothing is written."""
    built = build_trainer(tiny(folder, trainer, schedules), run="run")
    built.hooks = built.hooks[:1]
    built.begin()
    for _ in range(EPOCHS):
        built.run_epoch()
    return {name: value.clone() for name, value in built.policy.state_dict().items()}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    train(tiny(folder, {}, {}))
    return str(folder / "run" / "checkpoints" / f"agent_epoch_{EPOCHS}.pt")


@pytest.fixture(scope="module")
def without_schedules(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What settings of the trainer teach without schedules; each is trained once."""
    known: dict[str, dict[str, torch.Tensor]] = {}

    def weights(trainer: dict[str, Any]) -> dict[str, torch.Tensor]:
        key = json.dumps(trainer, sort_keys=True)
        if key not in known:
            known[key] = trained(tmp_path_factory.mktemp("plain"), trainer, {})
        return known[key]

    return weights


def numbers_of(config: type[Any]) -> set[str]:
    return {name for name, field in config.model_fields.items() if field.annotation in (float, float | None)}


def test_every_number_of_every_loss_and_of_the_optimizer_is_in_the_tables_above() -> None:
    assert set(LOSS_NUMBERS) == {f"{name}.{n}" for name, loss in LOSSES.items() for n in numbers_of(loss.config_class)}
    assert set(OPTIMIZER_NUMBERS) == numbers_of(OptimizerConfig)
    assert {"clip_coef", "target_kl"} <= numbers_of(PPOConfig)


@pytest.mark.parametrize("number", LOSS_NUMBERS)
def test_a_schedule_of_a_losss_number_changes_what_is_learned(
    tmp_path: Path, without_schedules: Any, teacher: str, number: str
) -> None:
    needed = json.loads(json.dumps(LOSS_NUMBERS[number]).replace("<teacher>", teacher))
    trainer = {"losses": needed}
    schedule = TO_ENDLESS if number == "ppo.target_kl" else TO_NOTHING
    scheduled = trained(tmp_path, trainer, {f"losses.{number}": schedule})
    assert not equal(scheduled, without_schedules(trainer))


@pytest.mark.parametrize("number", OPTIMIZER_NUMBERS)
def test_a_schedule_of_the_optimizers_number_changes_what_is_learned(
    tmp_path: Path, without_schedules: Any, number: str
) -> None:
    trainer = {"optimizer": OPTIMIZER_NUMBERS[number]}
    scheduled = trained(tmp_path, trainer, {f"optimizer.{number}": TO_NOTHING})
    assert not equal(scheduled, without_schedules(trainer))


def test_a_constant_schedule_changes_nothing(tmp_path: Path, without_schedules: Any) -> None:
    schedules = {"optimizer.learning_rate": {"type": "constant"}, "losses.ppo.gamma": {"type": "constant"}}
    assert equal(trained(tmp_path, {}, schedules), without_schedules({}))


def test_a_run_along_a_metric_that_was_interrupted_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    steps = {**REWARD, "low": 0.0, "high": 20.0, "episodes": 2}
    ends, parameters = [], []
    for name in ("whole", "halved"):
        made = tiny(tmp_path / name, {}, {"optimizer.learning_rate": steps})
        made.trainer.total_timesteps = BATCH * 12
        made.checkpoint.interval = 3
        if name == "halved":
            made.hooks.user = [f"{__name__}.StopAfterSeven"]
            train(made)
            made.hooks.user = []
        train(made)
        lines = [json.loads(line) for line in (tmp_path / name / "run" / "metrics.jsonl").read_text().splitlines()]
        parameters.append([line["parameters/optimizer.learning_rate"] for line in lines])
        ends.append(torch.load(tmp_path / name / "run" / "checkpoints" / "agent_epoch_12.pt")["state_dict"])
    assert len(set(parameters[0])) > 3
    assert parameters[0] == parameters[1]
    assert equal(ends[0], ends[1])


class StopAfterSeven(TrainerHook):
    def on_epoch_end(self, state: TrainerState) -> None:
        state.stop_rollout = state.epoch == 7
