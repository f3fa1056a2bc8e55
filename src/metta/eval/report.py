"""`Report`: all that an analysis found, as text for a terminal and as a page for a browser (`page.py`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metta.eval.analysis import MetricRow, PolicyVersion, WastedAction, format_table
from metta.eval.learning_curve import Curve
from metta.eval.statistics import Comparison, Interval, Summary, Values


@dataclass(frozen=True, kw_only=True)
class Score:
    """A policy in a simulation."""

    policy: PolicyVersion
    simulation: str
    summary: Summary
    episodes: Values  # float64 [E] score of each


@dataclass(frozen=True, kw_only=True)
class Versus:
    """A policy against another on the same episodes of a simulation."""

    policy: PolicyVersion
    other: PolicyVersion
    simulation: str
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report shows. The first policy is the one that it is about."""

    title: str
    metric: str  # the score
    folder: Path  # of the page
    scores: Sequence[Score]
    comparisons: Sequence[Versus] = ()
    wasted: dict[PolicyVersion, Sequence[WastedAction]] = field(default_factory=dict)
    rows: Sequence[MetricRow] = ()
    replay_urls: dict[str, Sequence[str]] = field(default_factory=dict)  # policy and simulation -> addresses
    curves: Sequence[Curve] = ()
    yardsticks: dict[str, Interval] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the page is, once it is saved."""
        return self.folder / "index.html"

    def table(self) -> str:
        """Return the metrics as text: metric, mean, interval, episodes, agents."""
        several = len({(row.policy, row.simulation) for row in self.rows}) > 1
        lines = []
        for row in self.rows:
            line = [row.metric, row.mean.text(), row.mean.bounds(), str(row.episodes), str(row.agents)]
            lines.append([str(row.policy), row.simulation, *line] if several else line)
        header = ["metric", "mean", "95 % interval", "episodes", "agents"]
        return format_table(lines, header=["policy", "simulation", *header] if several else header)

    def score_table(self) -> str:
        """Return the scores as text."""
        lines = []
        for score in self.scores:
            mean, iqm, episodes = score.summary
            numbers = [mean.text(), mean.bounds(), iqm.text(like=mean), str(episodes)]
            lines.append([str(score.policy), score.simulation, *numbers])
        header = ["policy", "simulation", self.metric, "95 % interval", "interquartile mean", "episodes"]
        return format_table(lines, header=header)

    def wasted_table(self) -> str:
        """Return the most frequent wasted actions as text."""
        lines = [
            [str(policy), action.name, f"{action.share:.1%}", f"{action.per_episode:.1f}"]
            for policy, actions in self.wasted.items()
            for action in actions
        ]
        return format_table(lines, header=["policy", "wasted action", "of all actions", "per agent and episode"])

    def save(self) -> Path:
        """Write the page, whole or not at all, and return its path."""
        from metta.eval.page import render  # draws: matplotlib is slow to import, and training has no use for it

        self.folder.mkdir(parents=True, exist_ok=True)
        work = self.folder / f".index.html.{os.getpid()}.tmp"
        try:
            work.write_text(render(self), encoding="utf-8")
            work.replace(self.path)
        finally:
            work.unlink(missing_ok=True)
        return self.path
