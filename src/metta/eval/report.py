"""`Report`: all that an analysis found, as text for a terminal and as a page for a browser (`page.py`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metta.eval.analysis import MetricRow, PolicyVersion, WastedAction, format_table
from metta.eval.learning_curve import Curve
from metta.eval.scores import Score, Versus
from metta.eval.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report shows. The first policy is the one that it is about."""

    title: str
    metric: str  # the score
    folder: Path  # of the page
    scores: Sequence[Score]
    comparisons: Sequence[Versus] = ()
    wasted: Mapping[PolicyVersion, Sequence[WastedAction]] = field(default_factory=dict)
    rows: Sequence[MetricRow] = ()
    replay_urls: Mapping[str, Sequence[str]] = field(default_factory=dict)  # policy and simulation -> addresses
    curves: Sequence[Curve] = ()
    yardsticks: dict[str, Interval] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)  # a policy that could not be evaluated -> why

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

    def comparison_table(self) -> str:
        """Return the comparisons as text."""
        return format_comparisons(self.comparisons)

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


def format_comparisons(comparisons: Sequence[Versus]) -> str:
    """Return comparisons as text: the difference, the probability of improvement, and how many pairs were won."""
    lines = []
    for versus in comparisons:
        found, names = versus.comparison, [str(versus.policy), str(versus.other), versus.simulation]
        chance = found.probability_of_improvement
        numbers = [found.difference.text(sign="+"), found.difference.bounds(), chance.text(), chance.bounds()]
        lines.append([*names, *numbers, f"{found.share_of_wins:.0%}", str(found.pairs)])
    header = ["policy", "against", "simulation", "difference", "95 % interval", "P(improvement)", "95 % interval"]
    return format_table(lines, header=[*header, "pairs won", "pairs"])
