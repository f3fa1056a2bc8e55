from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from metta.rl.build import build_trainer
from metta.rl.hooks import display
from metta.rl.hooks.display import DisplayHook
from metta.rl.resume import resume
from metta.rl.run import train
from metta.rl.tiny_checkpoint_manager import TinyCheckpointManager

from .small_world import small_config


def test_without_a_terminal_the_first_and_the_last_epoch_have_a_line_and_others_not_more_than_one_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small_config(tmp_path, total=512 * 6)
    made.hooks.display = True
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 1e9)
    train(made)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("run  epoch")]
    assert [line.split("  ")[1] for line in lines] == ["epoch 1", "epoch 6"]
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0.0)
    made.trainer.total_timesteps = 512 * 8
    train(made)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("run  epoch")]
    assert [line.split("  ")[1] for line in lines] == ["epoch 7 (resumed from 6)", "epoch 8"]


def test_a_terminal_shows_a_table_of_speed_scores_losses_and_phases(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 8)
    trainer = build_trainer(made, run="run")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    at = next(i for i, hook in enumerate(trainer.hooks) if hook.name == "HeartbeatHook")
    trainer.hooks.insert(at, DisplayHook("run", total_timesteps=512 * 8, processes=3, console=console))
    trainer.train()
    assert not trainer.failed_hooks
    last = screen.getvalue().rpartition("agent steps")
    shown = last[0][-40:] + last[2]
    for word in ("steps/s", "on average", "processes", "reward", "hearts", "entropy", "explained", "hooks", "0s left"):
        assert word in shown, word


def test_a_run_that_was_resumed_knows_its_rate(tmp_path: Path) -> None:
    made = small_config(tmp_path, total=512 * 4)
    train(made)
    made.trainer.total_timesteps *= 2
    trainer = build_trainer(made, run="run")
    resume(trainer, TinyCheckpointManager("run", tmp_path))
    assert len(trainer.timer.laps()) == 2  # of 4, the first compiled and the last was being saved
    assert trainer.timer.rate() == pytest.approx(1024 / sum(lap.seconds for lap in trainer.timer.laps()))
