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

from metta.rl.format_epoch import format_epoch
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

    def __init__(self, run: str, *, total_timesteps: int, processes: int = 1, console: Console | None = None) -> None:
        self._run, self._total, self._processes = run, total_timesteps, processes
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._shown_at = float("-inf")
        self._resumed_epoch = 0  # told in the first line alone

    def on_new_training_run(self, state: TrainerState) -> None:
        self._resumed_epoch = state.epoch
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def on_epoch_end(self, state: TrainerState) -> None:
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
            self._resumed_epoch = 0

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        if self._live:
            self._live.stop()

    def _recent(self, state: TrainerState) -> dict[str, float]:
        """Reward and hearts of the last hundred episodes, as far as any have ended."""
        assert state.stats_tracker is not None
        means = {name: state.stats_tracker.recent_mean(name) for name in ("reward", "hearts")}
        return {name: mean for name, mean in means.items() if mean is not None}

    def _line(self, state: TrainerState) -> str:
        assert state.timer is not None
        return format_epoch(
            state.metrics,
            run=self._run,
            total_timesteps=self._total,
            recent=self._recent(state),
            steps_per_second=state.timer.rate() or state.metrics["overview/sps"],
            seconds_left=state.timer.remaining(state.agent_step, self._total),
            resumed_epoch=self._resumed_epoch,
            processes=self._processes,
        )

    def _table(self, state: TrainerState) -> Group:
        metrics, timer = state.metrics, state.timer
        assert timer is not None
        done = min(1.0, state.agent_step / self._total)
        left = timer.remaining(state.agent_step, self._total)
        title = Text.assemble(
            (self._run, "bold"),
            f"   {state.agent_step:,} of {self._total:,} agent steps   epoch {state.epoch}   ",
            f"{format_seconds(timer.elapsed())} gone, {'?' if left is None else format_seconds(left)} left",
        )
        table = Table.grid(padding=(0, 4))
        scores = Table.grid(padding=(0, 2))
        scores.add_row(Text("steps/s", style="dim"), f"{timer.rate() or metrics['overview/sps']:,.0f}")
        scores.add_row(Text("on average", style="dim"), f"{timer.average_rate(state.agent_step) or 0.0:,.0f}")
        if self._processes > 1:
            scores.add_row(Text("processes", style="dim"), f"{self._processes}")
        recent = self._recent(state)
        for name, mean in recent.items():
            scores.add_row(Text(name, style="dim"), Text(f"{mean:.2f}", style="bold green"))
        if "reward" not in recent:  # no episode has ended yet
            scores.add_row(Text("reward per step", style="dim"), f"{metrics['experience/reward']:+.5f}")
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
