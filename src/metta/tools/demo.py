"""`metta demo`: the whole journey in a few minutes: train, evaluate, report, replay."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("demo")

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from metta.config import Folder
from metta.errors import RunError
from metta.rl import TrainerHook
from metta.tools.analyze import AnalyzeTool
from metta.tools.replay import newest_replay
from metta.tools.tool import SystemConfig, Tool
from metta.tools.train import TrainTool

if TYPE_CHECKING:
    from metta.rl import TrainerState

SECONDS = 120.0
TOTAL_TIMESTEPS = 36_000_000  # rates are annealed over it: what one free core plays in less than two minutes


class TwoMinutes(TrainerHook):
    """Ends training at the first epoch end past two minutes, those before an interruption counted."""

    def on_epoch_end(self, state: TrainerState) -> None:
        if state.timer is not None and state.timer.elapsed() >= SECONDS:
            state.stop_rollout = True


def has_played_two_minutes(run_dir: Path) -> bool:
    """Whether the run's last epoch ended past two minutes; it has been saved then."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    try:
        return bool(lines) and json.loads(lines[-1])["metric/total_time"] >= SECONDS
    except ValueError:  # a line that was cut off: the run was killed, and goes on
        return False


class DemoTool(Tool):
    """Trains for two minutes, evaluates beside random and scripted agents, and writes a report and a replay."""

    run: str = Field("demo", description="the run's name; the same again goes on where it stopped")
    data_dir: Folder = Field("./train_dir", description="runs are kept below this folder")
    episodes: int = Field(64, ge=1, description="evaluation episodes of each policy")
    training: TrainTool

    def run_tool(self, *, as_json: bool = False) -> int:
        """Do all of it; a second time only what was interrupted or is missing."""
        training = self.training.model_copy(deep=True)
        training.run, training.data_dir = self.run, self.data_dir
        training.trainer.total_timesteps = min(training.trainer.total_timesteps, TOTAL_TIMESTEPS)
        training.evaluation.interval = 0
        training.hooks.user = [*training.hooks.user, f"{TwoMinutes.__module__}.{TwoMinutes.__qualname__}"]
        if has_played_two_minutes(Path(self.data_dir) / self.run):
            print(f"run {self.run} is finished: it has been trained for two minutes", file=sys.stderr)
        else:
            print(f"training {self.run} for two minutes (Ctrl-C ends it early, and keeps it)", file=sys.stderr)
            code = training.run_tool()
            if code:
                return code
        system = SystemConfig(device=training.system.device, threads=training.system.threads)
        analysis = AnalyzeTool(run=self.run, data_dir=self.data_dir, episodes=self.episodes, system=system)
        report = analysis.report()
        run_dir = Path(self.data_dir) / self.run
        replay = newest_replay(run_dir)
        if replay is None:
            raise RunError(f"{run_dir} has no replay; remove {run_dir / 'stats'} and run the demo again")
        print(f"\n{report.score_table()}\n\n{report.wasted_table()}\n")
        print(f"report   {report.path}\nreplay   {replay}\nopen both with:   {_metta()} open {_run_argument(run_dir)}")
        return 0


def _metta() -> str:
    """Return the command as the user can type it here."""
    command = Path(sys.executable).with_name("metta")
    if not command.exists():
        return f"{sys.executable} -m metta.cli"
    inside = command.is_relative_to(Path.cwd())
    return os.path.relpath(command) if inside else str(command)


def _run_argument(run_dir: Path) -> str:
    return run_dir.name if run_dir.parent == Path("train_dir") else str(run_dir)
