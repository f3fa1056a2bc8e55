"""`metta cross-play`: every policy of a set shares worlds with every other; a matrix, ratings, partners held out."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("cross-play")

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from metta.config import Folder
from metta.errors import ConfigError
from metta.eval import Interval
from metta.eval.cross_play.play import CrossPlay
from metta.eval.cross_play.report import CrossReport, make_report
from metta.sim import SimulationConfig
from metta.tools.runs import list_runs
from metta.tools.sim import EvaluateTool, interval_as_json
from metta.tools.tool import SystemConfig, Tool

PAGE = "cross_play.html"


class CrossPlayTool(Tool):
    """Who does well with whom: policies meet pairwise; a matrix, ratings with intervals, cycles, partners held out."""

    subject: ClassVar[str | None] = "policy_uri"
    prints_json: ClassVar[bool] = True

    policy_uri: list[str] = Field(
        default_factory=list, description="a run, run:epoch, file or address; give it again for more policies"
    )
    held_out: list[str] = Field(default_factory=list, description="partners that nobody trained with, never rated")
    share: float = Field(0.5, gt=0, lt=1, description="part of the agents that the focal policy plays")
    anchor: str | None = Field(None, description="the policy whose rating is 0; none: the mean of all")
    suite: str | None = Field(None, description="a suite by name, if `simulations` are not given")
    simulations: list[SimulationConfig] = Field(default_factory=list, description="what is played instead of a suite")
    episodes: int | None = Field(None, ge=1, description="seeds of each pair; none: the suite's own numbers")
    output: str | None = Field(None, description="folder of the page; none: cross_play/ of data_dir")
    stats_uri: str | None = Field(None, description="the statistics file; none: stats.duckdb beside the page")
    data_dir: Folder = Field("./train_dir", description="where runs are looked up")
    system: SystemConfig = Field(default_factory=SystemConfig)

    def run_tool(self, *, as_json: bool = False) -> int:
        """Play what is missing, print, and write the page; 1 if a policy could not play."""
        if not self.policy_uri:
            runs = ", ".join(list_runs(self.data_dir)) or "none"
            raise ConfigError(f"say which policies: policy_uri=<run or file> twice; runs in {self.data_dir}: {runs}")
        report = self.report()
        print(json.dumps(_as_json(report), indent=2) if as_json else report.text())
        for who, why in report.results.failures.items():
            print(f"{who}: {why}", file=sys.stderr)
        print(f"page: {self.save(report)}", file=sys.stderr)
        return int(bool(report.results.failures))

    def report(self) -> CrossReport:
        """Play what is missing and return what was found. Raises ConfigError for a set that cannot meet."""
        suite = EvaluateTool(suite=self.suite, simulations=self.simulations, episodes=self.episodes).chosen_suite()
        cross_play = CrossPlay(
            suite=suite,
            stats_uri=self.stats_uri or str(self._folder() / "stats.duckdb"),
            share=self.share,
            threads=self.system.num_threads(),
            device=str(self.system.torch_device()),
            data_dir=self.data_dir,
            on_pair=lambda name, number, total: print(f"{number} of {total}: {name}", file=sys.stderr),
        )
        print(f"cross-play on {suite.name} ({suite.hash}): what was not played yet is played now", file=sys.stderr)
        results = cross_play.play(self.policy_uri, held_out=self.held_out)
        return make_report(results, anchor=self.anchor)

    def save(self, report: CrossReport) -> Path:
        """Write the page and return its path."""
        from metta.eval.pages.cross_page import save  # draws: matplotlib is slow to import

        return save(report, self._folder() / PAGE)

    def _folder(self) -> Path:
        return Path(self.output).expanduser() if self.output is not None else Path(self.data_dir) / "cross_play"


def _as_json(report: CrossReport) -> dict[str, Any]:
    """All numbers; pairs are lists of rows, a row a focal policy, in the order of `policies` and then `held_out`."""
    results, ratings = report.results, report.ratings
    columns = range(len(results.policies) + len(results.held_out))
    found: dict[str, Any] = {
        "suite": results.suite.name,
        "suite_hash": results.suite.hash,
        "share": results.share,
        "anchor": report.anchor,
        "policies": report.names,
        "held_out": [str(policy) for policy in results.held_out],
        "failures": results.failures,
        "simulations": {
            scores.simulation: {
                "metric": scores.metric,
                "focal_agents": scores.focal_agents,
                "agents": scores.agents,
                "seeds": scores.num_seeds(),
                "focal": [[_json(scores.focal_interval(i, j)) for j in columns] for i in range(len(report.names))],
                "partner": [[_json(scores.partner_interval(i, j)) for j in columns] for i in range(len(report.names))],
            }
            for scores in results.scores
        },
        "partners": {
            metric: [{name: _json(interval) for name, interval in vars(one).items()} for one in of_metric]
            for metric, of_metric in report.partners.items()
        },
        "notes": report.notes(),
    }
    if ratings is None:
        return found
    named = [[report.names[member] for member in members] for members in ratings.cycles]
    return found | {
        "ratings": [_json(rating) for rating in ratings.ratings],
        "wins": [[_json(share) for share in row] for row in ratings.wins],
        "beats": ratings.beats,
        "cycles": named,
        "groups": [[report.names[member] for member in group] for group in ratings.groups],
        "tiers": [[[report.names[member] for member in tier] for tier in tiers] for tiers in ratings.tiers],
    }


def _json(interval: Interval | None) -> dict[str, float | None] | None:
    return None if interval is None else interval_as_json(interval)
