from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from metta.errors import TrainingError
from metta.rl.build import build_trainer
from metta.rl.config import TrainConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.hooks.heartbeat import HeartbeatHook
from metta.rl.run import train
from metta.rl.trainer_state import TrainerState

from .small_world import small_config


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def beat(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_file_is_rewritten_when_training_moves_on_and_some_seconds_have_passed(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "run" / "heartbeat.json"
    hook = HeartbeatHook(path, total_timesteps=100, seconds=5.0, clock=clock)
    state = TrainerState()
    hook.on_new_training_run(state)
    assert beat(path)["status"] == "running"
    moments = ["on_rollout_start", "on_rollout_end", "on_mb_end", "on_epoch_end"]
    written = []
    for step, moment in enumerate(moments * 3, start=1):
        clock.now, state.agent_step = 100.0 + 2 * step, step
        getattr(hook, moment)(state)
        written.append(beat(path)["agent_step"] == step)
    assert written == [second % 3 == 0 for second in range(1, 13)]


def test_it_says_when_where_and_how_far(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    before = time.time()
    HeartbeatHook(path, total_timesteps=100, seconds=5.0).on_new_training_run(TrainerState(epoch=3, agent_step=96))
    found = beat(path)
    assert before <= found.pop("time") <= time.time()
    host = socket.gethostname()
    assert found == {"epoch": 3, "agent_step": 96, "pid": os.getpid(), "host": host, "status": "running"}
    assert [file.name for file in tmp_path.iterdir()] == ["heartbeat.json"]


class Spoil(TrainerHook):
    critical = True

    def on_epoch_end(self, state: TrainerState) -> None:
        raise TrainingError("something broke\nin many lines")


class Leave(TrainerHook):
    def on_epoch_end(self, state: TrainerState) -> None:
        state.stop_rollout = True


def made(tmp_path: Path, *hooks: str) -> TrainConfig:
    config = small_config(tmp_path, total=512 * 3)
    config.hooks.user = [f"{__name__}.{name}" for name in hooks]
    return config


@pytest.mark.parametrize(
    ("hook", "epoch", "end"),
    [
        (None, 3, {"status": "finished"}),
        ("Leave", 1, {"status": "stopped"}),
        ("Spoil", 1, {"status": "failed", "error": "TrainingError: something broke"}),
    ],
)
def test_a_run_that_ended_says_how(tmp_path: Path, hook: str | None, epoch: int, end: dict[str, str]) -> None:
    config = made(tmp_path, *([hook] if hook else []))
    if hook == "Spoil":
        with pytest.raises(TrainingError):
            train(config)
    else:
        train(config)
    found = beat(tmp_path / "run" / "heartbeat.json")
    assert {name: found[name] for name in end} == end
    assert found["epoch"] == epoch


def test_a_run_that_goes_on_is_running_again(tmp_path: Path) -> None:
    train(made(tmp_path, "Leave"))
    trainer = build_trainer(made(tmp_path), run="run")
    trainer.begin()
    assert beat(tmp_path / "run" / "heartbeat.json")["status"] == "running"
    trainer.end()


def test_no_seconds_are_no_file(tmp_path: Path) -> None:
    config = made(tmp_path)
    config.hooks.heartbeat_seconds = 0.0
    train(config)
    assert not (tmp_path / "run" / "heartbeat.json").exists()
