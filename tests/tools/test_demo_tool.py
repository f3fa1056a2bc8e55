"""`metta demo`."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta.recipes.arena_basic_easy_shaped import demo
from metta.rl import TrainerState
from metta.rl.stopwatch import Stopwatch
from metta.tools.demo import SECONDS, TwoMinutes, has_played_two_minutes


def test_training_ends_at_the_first_epoch_end_past_two_minutes() -> None:
    now = [0.0]
    state = TrainerState(timer=Stopwatch(clock=lambda: now[0]))
    hook = TwoMinutes()
    for seconds, stops in ((SECONDS - 1, False), (SECONDS, True)):
        now[0] = seconds
        hook.on_epoch_end(state)
        assert bool(state.stop_rollout) is stops


def test_the_demo_trains_evaluates_and_says_where_report_and_replay_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = demo()
    tool.data_dir, tool.episodes = str(tmp_path), 2
    tool.training.world.max_steps = 30
    tool.training.trainer.total_timesteps = 800
    assert tool.run_tool() == 0
    printed = capsys.readouterr().out
    assert f"report   {tmp_path / 'demo' / 'report' / 'index.html'}" in printed
    assert (tmp_path / "demo" / "report" / "index.html").exists()
    assert "open both with:" in printed and "scripted" in printed

    assert tool.run_tool() == 0  # a second time nothing is trained or played again
    assert "run demo is finished" in capsys.readouterr().err


def test_a_run_that_was_ended_by_the_clock_is_not_taken_up_again(tmp_path: Path) -> None:
    assert not has_played_two_minutes(tmp_path)
    for seconds, played in ((SECONDS - 1, False), (SECONDS + 1, True)):
        (tmp_path / "metrics.jsonl").write_text(f'{{"metric/total_time": {seconds}}}\n')
        assert has_played_two_minutes(tmp_path) is played
