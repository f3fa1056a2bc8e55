"""`Report`: all that an analysis found, as text for a terminal; `pages/run_page.py` makes a page of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metta.eval.analysis import MetricRow, PolicyVersion, WastedAction, format_table
from metta.eval.game_pairs import GamePair, format_pairs
from metta.eval.learning_curve import Curve
from metta.eval.scores import OVERALL, Score, Versus
from metta.eval.statistics import FEW, Interval, Summary
from metta.eval.verdict import MOST_LINES, few_note, format_comparisons


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report shows. The first policy is the one that it is about."""

    title: str
    metric: str  # the score
    folder: Path  # of the page
    scores: Sequence[Score]
    overall: Mapping[PolicyVersion, Summary] = field(default_factory=dict)  # over all simulations, where they agree
    comparisons: Sequence[Versus] = ()
    pairs: Sequence[GamePair] = ()  # the games in which the first differs most from each of the others
    wasted: Mapping[PolicyVersion, Sequence[WastedAction]] = field(default_factory=dict)
    rows: Sequence[MetricRow] = ()
    replay_urls: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)  # policy -> simulation -> them
    curves: Sequence[Curve] = ()
    curve_simulation: str = ""  # what the curves' evaluations played
    yardsticks: dict[str, Interval] = field(default_factory=dict)  # what agents without a network score there
    failures: dict[str, str] = field(default_factory=dict)  # a policy that could not be evaluated -> why
    notes: Sequence[str] = ()  # on the scores: episodes that are missing

    @property
    def path(self) -> Path:
        """Where the page is, once `pages.run_page.save` has written it."""
        return self.folder / "index.html"

    def table(self) -> str:
        """Return the metrics as text: metric, mean, interval, episodes, agents."""
        several = len({(row.policy, row.simulation) for row in self.rows}) > 1
        lines = []
        for row in self.rows:
            bounds = f"{row.mean.bounds()}{'*' if row.episodes < FEW else ''}"
            line = [row.metric, row.mean.text(), bounds, str(row.episodes), str(row.agents)]
            lines.append([str(row.policy), row.simulation, *line] if several else line)
        header = ["metric", "mean", "95 % interval", "episodes", "agents"]
        return format_table(lines, header=["policy", "simulation", *header] if several else header)

    def score_table(self) -> str:
        """Return the scores as text; a policy that could not play has a line too."""
        lines, summaries = [], [(str(score.policy), score.simulation, score.summary) for score in self.scores]
        summaries += [(str(policy), OVERALL, summary) for policy, summary in self.overall.items()]
        for policy, simulation, found in summaries:
            star = "*" if found.is_small() else ""
            numbers = [f"{found.mean}{star}", f"{found.iqm}{star}", str(found.episodes), str(found.seeds)]
            lines.append([policy, simulation, *numbers])
        lines += [[policy, "could not play", "", "", "", ""] for policy in self.failures]
        header = ["policy", "simulation", f"{self.metric} per agent", "IQM", "episodes", "seeds"]
        is_small = any(found.is_small() for _, _, found in summaries)
        return "\n".join([format_table(lines, header=header), *([few_note()] if is_small else []), *self.notes])

    def comparison_table(self) -> str:
        """Return the comparisons as text, of very many only those over all simulations; nothing without any."""
        overall = [versus for versus in self.comparisons if versus.simulation == OVERALL]
        if overall and len(self.comparisons) > MOST_LINES:
            return f"{format_comparisons(overall)}\nthose in each simulation are on the page"
        return format_comparisons(self.comparisons) if self.comparisons else ""

    def pair_table(self) -> str:
        """Return the games that differ most as text; nothing without any."""
        return format_pairs(self.pairs) if self.pairs else ""

    def wasted_table(self) -> str:
        """Return the most frequent wasted actions as text; nothing without any."""
        if not any(self.wasted.values()):
            return ""
        lines = [
            [str(policy), action.name, f"{action.share:.1%}", f"{action.per_episode:.1f}"]
            for policy, actions in self.wasted.items()
            for action in actions
        ]
        return format_table(lines, header=["policy", "wasted action", "of all actions", "per agent and episode"])
