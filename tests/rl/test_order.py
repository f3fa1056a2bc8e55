"""The order of an epoch: every moment of every hook and every loss, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metta.rl.build import build_trainer
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.early_stop import EarlyStopConfig
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.ranks import Ranks
from metta.rl.trainer import Trainer
from metta.rl.trainer_state import TrainerState

from .small_world import small_config

HOOKS = [
    "ScheduleHook",
    "GradientHook",
    "MonitorHook",
    "EarlyStopHook",
    "EvaluationHook",
    "MetricsHook",
    "WandbHook",
    "DisplayHook",
    "HeartbeatHook",
    "First",
    "Second",
    "StopHook",
    "CheckpointHook",
    "WandbUploadHook",
]
LOSSES = ["ppo", "dynamics", "user.mine"]
MOMENTS = [name for name in vars(TrainerHook) if name.startswith("on_")]
LOSS_MOMENTS = [name for name in vars(BaseLoss) if name.startswith(("on_", "run_"))]


class First(TrainerHook):
    """The user's."""


class Second(TrainerHook):
    """The user's, after the other."""


class Mine(BaseLoss):
    """The user's loss."""


class WandbHook(TrainerHook):
    """Stands where the real one does; the real one has tests of its own."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        pass


class WandbUploadHook(WandbHook):
    """The same."""


def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ranks: Ranks | None = None) -> Trainer:
    """Two epochs of two steps and two minibatches; each evaluates, and each saves."""
    for stand_in in (WandbHook, WandbUploadHook):
        monkeypatch.setattr(f"metta.rl.hooks.wandb.{stand_in.__name__}", stand_in)
    losses = {"dynamics": {"enabled": True}, "user": {"mine": {"path": f"{__name__}.Mine"}}}
    sizes = {"batch_size": 16, "minibatch_size": 8, "bptt_horizon": 2, "num_worlds": 2}
    made = small_config(tmp_path, total=32, losses=losses, **sizes)
    made.evaluation.interval = made.evaluation.episodes = made.checkpoint.interval = 1
    made.wandb.enabled = made.hooks.display = True
    made.hooks.user = [f"{__name__}.First", f"{__name__}.Second"]
    made.hooks.early_stop = EarlyStopConfig(metric="overview/reward", value=1e9)
    return build_trainer(made, run="run", ranks=ranks)


def record(trainer: Trainer, watch: Callable[[str], None]) -> None:
    """Call `watch` with the name of everything that happens, before it does."""

    def wrap(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **settings: Any) -> Any:
            watch(label)
            return original(*arguments, **settings)

        setattr(owner, name, watched)

    for hook in trainer.hooks:
        for moment in MOMENTS:
            wrap(hook, moment, f"{hook.name} {moment}")
    for name, loss in trainer.losses.items():
        for moment in LOSS_MOMENTS:
            wrap(loss, moment, f"{name} {moment}")
    wrap(trainer.rollout.env, "step", "environment")
    wrap(trainer.tracker, "gather", "statistics")
    wrap(trainer.experience, "compute_advantages", "advantages")
    wrap(trainer.optimizer, "step", "optimizer")


def hooks(moment: str) -> list[str]:
    return [f"{name} {moment}" for name in HOOKS]


def losses(moment: str) -> list[str]:
    return [f"{name} {moment}" for name in LOSSES]


def both(moment: str) -> list[str]:
    return [*hooks(moment), *losses(moment)]


def test_everything_happens_in_the_order_of_the_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = [*losses("on_act"), "environment", "statistics", *losses("run_rollout")]
    minibatch = [*losses("run_train"), "optimizer", *both("on_mb_end")]
    epoch = [
        *both("on_rollout_start"),
        *step * 2,
        *both("on_rollout_end"),
        "advantages",
        *minibatch * 2,
        *both("on_train_phase_end"),
        *hooks("on_evaluation"),
        *both("on_epoch_end"),
        *hooks("on_checkpoint"),
    ]
    calls: list[str] = []
    trainer = build(tmp_path, monkeypatch)
    assert list(trainer.losses) == LOSSES
    record(trainer, calls.append)
    trainer.train()
    assert calls == [*both("on_new_training_run"), *epoch * 2, *both("on_training_end")]
    assert not trainer.failed_hooks


def test_each_moment_knows_what_came_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state as the user's first hook sees it."""
    known: dict[str, list[Any]] = {}
    trainer = build(tmp_path, monkeypatch)
    fields = ("rollout_stats", "loss_stats", "experience_stats", "eval_scores")

    def look(name: str) -> None:
        owner, _, moment = name.partition(" ")
        if owner == "First":
            state = trainer.state
            has = [field for field in fields if getattr(state, field) is not None]
            known.setdefault(moment, []).append((state.epoch, state.agent_step, has))

    record(trainer, look)
    trainer.train()
    learned = ["rollout_stats", "loss_stats", "experience_stats"]
    assert known["on_new_training_run"] == [(0, 0, [])]
    assert known["on_rollout_start"] == [(0, 0, []), (1, 16, [])]
    assert known["on_rollout_end"] == [(0, 16, ["rollout_stats"]), (1, 32, ["rollout_stats"])]
    assert [seen[:2] for seen in known["on_mb_end"]] == [(0, 16)] * 2 + [(1, 32)] * 2
    assert [seen[:2] for seen in known["on_train_phase_end"]] == [(0, 16), (1, 32)]
    assert known["on_evaluation"] == [(1, 16, [*learned, "eval_scores"]), (2, 32, [*learned, "eval_scores"])]
    assert known["on_epoch_end"] == known["on_checkpoint"] == known["on_evaluation"]


def test_a_checkpoint_holds_what_hooks_and_losses_know_after_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(tmp_path, monkeypatch)
    calls: list[str] = []
    record(trainer, calls.append)
    for name, part in (("hook", trainer.hooks[HOOKS.index("First")]), ("loss", trainer.losses["user.mine"])):
        monkeypatch.setattr(part, "state_dict", lambda name=name: calls.append(f"state of the {name}") or {})
    trainer.begin()
    trainer.run_epoch()
    last = len(calls) - 1 - calls[::-1].index("user.mine on_epoch_end")
    assert {"state of the hook", "state of the loss"} <= set(calls[last:])
    assert not {"state of the hook", "state of the loss"} & set(calls[:last])
    trainer.end()


class SecondRank(Ranks):
    rank = 1


def test_other_ranks_have_the_hooks_that_steer_and_save_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [hook.name for hook in build(tmp_path, monkeypatch, ranks=SecondRank()).hooks]
    assert {"ScheduleHook", "EarlyStopHook", "StopHook", "CheckpointHook"} <= set(names)
    assert not {"MetricsHook", "DisplayHook", "HeartbeatHook", "MonitorHook", "First"} & set(names)
    assert names == [name for name in HOOKS if name in names]


def test_every_part_with_a_state_of_its_own_is_among_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(tmp_path, monkeypatch)
    saved = list(map(id, trainer.state.stateful.values()))
    parts = [trainer.optimizer, trainer.timer, trainer.tracker, trainer.rollout]
    parts += [*trainer.hooks, *trainer.losses.values()]
    assert [type(part).__name__ for part in parts if id(part) not in saved] == []
    assert isinstance(trainer.state, TrainerState)
