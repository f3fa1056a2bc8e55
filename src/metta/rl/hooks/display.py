"""The live display: one table on a terminal that is kept up to date, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.stopwatch import format_seconds

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState

SECONDS_BETWEEN_LINES = 1.0
SECONDS_BETWEEN_FRAMES = 0.25


class DisplayHook(TrainerHook):
    """Shows speed, reward, hearts, losses, time left and the time of each phase, on stderr.

    Without a terminal it prints a line an epoch, but not more than one a second; the first and the last are always
    there.
    """

    def __init__(self, run: str, *, total_timesteps: int, console: Console | None = None) -> None:
        self._run, self._total = run, total_timesteps
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._shown_at = 0.0
        self._speed: float | None = None

    def on_new_training_run(self, state: TrainerState) -> None:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def on_epoch_end(self, state: TrainerState) -> None:
        speed = state.metrics["overview/sps"]
        self._speed = speed if self._speed is None else 0.95 * self._speed + 0.05 * speed
        last = state.stop_rollout or state.agent_step >= self._total
        pause = SECONDS_BETWEEN_FRAMES if self._live else SECONDS_BETWEEN_LINES
        now = time.monotonic()
        if not last and now - self._shown_at < pause:
            return
        self._shown_at = now
        if self._live:
            self._live.update(self._table(state), refresh=True)
        else:
            print(self._line(state), file=sys.stderr, flush=True)

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        if self._live:
            self._live.stop()

    def _scores(self, state: TrainerState) -> dict[str, str]:
        tracker = state.stats_tracker
        assert tracker is not None
        scores = {}
        for name in ("reward", "hearts"):
            mean = tracker.recent_mean(name)
            if mean is not None:
                scores[name] = f"{mean:.2f}"
        if "reward" not in scores:  # no episode has ended yet
            scores["reward per step"] = f"{state.metrics['experience/reward']:+.5f}"
        return scores

    def _time_left(self, state: TrainerState) -> str:
        left = (self._total - state.agent_step) / self._speed if self._speed else 0.0
        return format_seconds(max(0.0, left))

    def _line(self, state: TrainerState) -> str:
        """One line for a log file."""
        metrics = state.metrics
        scores = "  ".join(f"{name} {value}" for name, value in self._scores(state).items())
        return (
            f"{self._run}  epoch {state.epoch}  {state.agent_step:,}/{self._total:,} steps "
            f"({100 * state.agent_step / self._total:.0f} %)  {self._speed:,.0f} steps/s  {scores}  "
            f"entropy {metrics.get('losses/entropy', float('nan')):.3f}  left {self._time_left(state)}"
        )

    def _table(self, state: TrainerState) -> Group:
        metrics, timer = state.metrics, state.timer
        assert timer is not None
        done = min(1.0, state.agent_step / self._total)
        title = Text.assemble(
            (self._run, "bold"),
            f"   {state.agent_step:,} of {self._total:,} agent steps   epoch {state.epoch}   ",
            f"{format_seconds(timer.elapsed())} gone, {self._time_left(state)} left",
        )
        table = Table.grid(padding=(0, 4))
        scores = Table.grid(padding=(0, 2))
        scores.add_row(Text("steps/s", style="dim"), f"{self._speed:,.0f}")
        for name, value in self._scores(state).items():
            scores.add_row(Text(name, style="dim"), Text(value, style="bold green"))
        if state.eval_scores is not None:
            scores.add_row(Text("evaluation", style="dim"), f"{state.eval_scores.avg_simulation_score:.2f}")
        losses = Table.grid(padding=(0, 2))
        for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "clipfrac"):
            if f"losses/{name}" in metrics:
                losses.add_row(Text(name, style="dim"), f"{metrics[f'losses/{name}']:.4f}")
        losses.add_row(Text("explained var.", style="dim"), f"{metrics['experience/explained_variance']:.2f}")
        phases = Table.grid(padding=(0, 2))
        cumulative = timer.cumulative()
        for name in ("rollout/env", "rollout/inference", "train/forward", "train/backward", "train/optimizer", "hooks"):
            share = cumulative.get(name, 0.0) / max(timer.elapsed(), 1e-9)
            phases.add_row(Text(name.replace("/", " "), style="dim"), f"{100 * share:4.0f} %")
        table.add_row(scores, losses, phases)
        return Group(title, ProgressBar(total=1.0, completed=done, width=min(100, self._console.width)), table)
