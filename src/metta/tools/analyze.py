"""`metta analyze`: evaluates what is missing of a run, prints its tables, and writes its report."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("analyze")

import json
import sys
from typing import Any, ClassVar

from pydantic import Field

from metta.config import Folder
from metta.eval import AnalysisConfig, Report, analyze_run
from metta.tools.compare import pair_as_json, versus_as_json
from metta.tools.progress import Progress
from metta.tools.runs import find_run
from metta.tools.sim import interval_as_json
from metta.tools.tool import SystemConfig, Tool


class AnalyzeTool(AnalysisConfig, Tool):
    """Tables of a run's latest policy beside random and scripted agents, and `<run>/report/index.html` with plots."""

    subject: ClassVar[str | None] = "run"
    prints_json: ClassVar[bool] = True

    run: str | None = Field(None, description="the run, by name or path")
    data_dir: Folder = Field("./train_dir", description="where runs are looked up")
    episodes: int | None = Field(None, ge=1, description="episodes of each simulation; none: the suite's own, else 64")
    watch: int = Field(0, ge=0, description="record so many games each way that differ most from each other policy's")
    system: SystemConfig = Field(default_factory=SystemConfig)

    def run_tool(self, *, as_json: bool = False) -> int:
        """Analyse; the tables go to stdout. 1 if one of `policies` could not play, which costs it its own row alone."""
        report = self.report()
        if as_json:
            print(json.dumps(_as_json(report), indent=2))
        else:
            tables = [report.score_table(), report.comparison_table(), report.pair_table(), report.wasted_table()]
            print("\n\n".join(table for table in [*tables, report.table()] if table))
            print(f"\nreport: {report.path}", file=sys.stderr)
        for uri, message in report.failures.items():
            print(f"{uri}: {message}", file=sys.stderr)
        return int(bool(report.failures))

    def report(self) -> Report:
        """Evaluate what is missing, write the page, and return what is on it. Raises RunError if there is no run."""
        run_dir = find_run(self.run, self.data_dir)
        print(f"analysing {run_dir}: episodes that were not played yet are played now and kept", file=sys.stderr)
        with Progress(sys.stderr) as progress:
            return analyze_run(
                run_dir,
                config=AnalysisConfig(
                    metrics=self.metrics, policies=self.policies, suite=self.suite, output=self.output
                ),
                episodes=self.episodes,
                threads=self.system.num_threads(),
                device=str(self.system.torch_device()),
                watch=self.watch,
                on_progress=progress,
            )


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "title": report.title,
        "report": str(report.path),
        "metric": report.metric,
        "scores": [
            {
                "policy": str(score.policy),
                "simulation": score.simulation,
                "episodes": score.summary.episodes,
                "seeds": score.summary.seeds,
                "mean": interval_as_json(score.summary.mean),
                "interquartile_mean": interval_as_json(score.summary.iqm),
            }
            for score in report.scores
        ],
        "failures": report.failures,
        "missing": list(report.notes),
        "comparisons": [versus_as_json(versus) for versus in report.comparisons],
        "largest_differences": [pair_as_json(pair) for pair in report.pairs],
        "wasted": {str(policy): [action._asdict() for action in actions] for policy, actions in report.wasted.items()},
        "metrics": [
            {
                "policy": str(row.policy),
                "simulation": row.simulation,
                "metric": row.metric,
                "mean": interval_as_json(row.mean),
                "episodes": row.episodes,
                "agents": row.agents,
            }
            for row in report.rows
        ],
        "replay_urls": report.replay_urls,
    }
