"""`metta evaluate` (also `sim`): plays a suite with one or several policies and prints their scores."""

from __future__ import annotations

if __name__ == "__main__":
    from metta.tools.command import become_command

    become_command("evaluate")

import json
import re
import sys
from typing import Any, ClassVar

import torch
from pydantic import Field

from metta.config import Folder
from metta.errors import ConfigError, MettaError
from metta.eval import EvalResults, Interval, PolicyEvaluator, SimulationScore, Suite, named_suite
from metta.eval.analysis import format_table
from metta.eval.suites import shared_suite
from metta.sim import SimulationConfig, SimulationStatsDB
from metta.tools.progress import Progress
from metta.tools.runs import folder_of_policy, list_runs
from metta.tools.tool import SystemConfig, Tool

_HEADER = (
    *("policy", "simulation", "score", "mean", "95 % interval", "interquartile mean", "episodes", "seeds", "missing"),
)


class EvaluateTool(Tool):
    """Scores policies, each in every simulation; episodes and replays are kept with the policy's run."""

    subject: ClassVar[str | None] = "policy_uri"
    prints_json: ClassVar[bool] = True

    policy_uri: list[str] = Field(
        default_factory=list, description="a run, run:epoch, file or address; give it again for more policies"
    )
    suite: str | None = Field(None, description="a suite by name, if `simulations` are not given")
    simulations: list[SimulationConfig] = Field(default_factory=list, description="what is played instead of a suite")
    episodes: int | None = Field(None, ge=1, description="episodes of each simulation; none: the suite's own numbers")
    npc_policy_uri: list[str] = Field(
        default_factory=list, description="let others play a part of the agents: an address, or several that share it"
    )
    policy_agents_pct: float | None = Field(
        None, gt=0, lt=1, description="share of the agents that the policy plays beside others; none: half of them"
    )
    replays: bool = Field(True, description="save a replay of each simulation's first episode")
    replay_dir: str | None = Field(None, description="folder or address for replays; none: replays/ of the run")
    stats_uri: str | None = Field(None, description="the statistics file; none: stats/stats.duckdb of the run")
    data_dir: Folder = Field("./train_dir", description="where runs are looked up")
    system: SystemConfig = Field(default_factory=SystemConfig)

    def run_tool(self, *, as_json: bool = False) -> int:
        """Evaluate every policy; 1 if one of them could not play, which costs it its own row alone.

        Also 1 if a policy finished no episode of some simulation: then there is no score.
        """
        if not self.policy_uri:
            runs = ", ".join(list_runs(self.data_dir)) or "none"
            raise ConfigError(f"say which policy: policy_uri=<run or file or address>; runs in {self.data_dir}: {runs}")
        suite, device = self.chosen_suite(), self.system.torch_device()
        found: dict[str, EvalResults | MettaError] = {}
        for uri in self.policy_uri:
            print(f"evaluating {uri} on {suite.name} ({suite.hash})", file=sys.stderr)
            try:
                with Progress(sys.stderr) as progress:
                    found[uri] = self._evaluate(uri, suite, device, progress)
            except MettaError as error:
                found[uri] = error
        print(json.dumps(_as_json(found, suite), indent=2) if as_json else _as_table(found))
        failures = [f"{uri}: {why}" for uri, result in found.items() for why in _failures(result)]
        print("\n".join(failures), end="\n" if failures else "", file=sys.stderr)
        return int(bool(failures))

    def chosen_suite(self) -> Suite:
        """Return what is played. Raises ConfigError when nothing is named, SuiteError for an unknown suite."""
        if not self.simulations:
            if self.suite is None:
                raise ConfigError("say what to play: suite=<name>, or a recipe with simulations")
            suite = named_suite(self.suite, episodes=self.episodes)
        else:
            suite = Suite(name=self.suite or "simulations", simulations=self.simulations)
            for simulation in suite.simulations if self.episodes else []:
                simulation.num_episodes = self.episodes or simulation.num_episodes
        if self.npc_policy_uri:
            share = self.policy_agents_pct or 0.5
            return shared_suite(suite, self.npc_policy_uri, policy_agents_pct=share, data_dir=self.data_dir)
        if self.policy_agents_pct is not None:
            raise ConfigError(
                f"policy_agents_pct={self.policy_agents_pct} says nothing of who plays the other agents: "
                "npc_policy_uri=<run or file or address>"
            )
        return suite

    def _evaluate(self, uri: str, suite: Suite, device: torch.device, progress: Progress) -> EvalResults:
        folder = folder_of_policy(uri, self.data_dir)
        stats_uri = self.stats_uri or str(folder / "stats" / "stats.duckdb")
        evaluator = PolicyEvaluator(
            suite,
            device=device,
            replay_dir=(self.replay_dir or str(folder / "replays")) if self.replays else None,
            stats_uri=stats_uri,
            threads=self.system.num_threads(),
            data_dir=self.data_dir,
            on_progress=progress,
        )
        try:
            return evaluator.evaluate(uri)
        finally:
            SimulationStatsDB.settle_or_warn(stats_uri)


def _failures(result: EvalResults | MettaError) -> list[str]:
    """Return why a policy has no score, or none in some simulations."""
    if isinstance(result, MettaError):
        return [str(result)]
    empty = [score for score in result.simulations.values() if not score.episodes]
    return [f"no score in {score.name}: none of its {score.missing_episodes} episodes was finished" for score in empty]


def _as_table(found: dict[str, EvalResults | MettaError]) -> str:
    lines = []
    for uri, result in found.items():
        if isinstance(result, MettaError):
            lines.append([uri, "could not play", *[""] * (len(_HEADER) - 2)])
            continue
        epoch = f" (epoch {result.policy_version})" if result.policy_version and not re.search("[:/]", uri) else ""
        lines += [[uri + epoch, *_cells(score)] for score in result.simulations.values()]
    return format_table(lines, header=_HEADER)


def _cells(score: SimulationScore) -> list[str]:
    mean = score.mean
    counts = [str(score.episodes), str(score.seeds), str(score.missing_episodes)]
    if not score.episodes:
        return [score.name, score.metric, "", "", "", *counts]
    return [score.name, score.metric, mean.text(), mean.bounds(), score.iqm.text(like=mean), *counts]


def _as_json(found: dict[str, EvalResults | MettaError], suite: Suite) -> dict[str, Any]:
    policies: list[dict[str, Any]] = []
    for uri, result in found.items():
        if isinstance(result, MettaError):
            policies.append({"policy_uri": uri, "error": str(result)})
            continue
        policies.append(
            {
                "policy_uri": uri,
                "policy_key": result.policy_key,
                "policy_version": result.policy_version,
                "simulations": {name: _score_as_json(score) for name, score in result.simulations.items()},
                "category_scores": result.scores.category_scores,
                "missing_episodes": result.missing_episodes,
                "replay_urls": result.replay_urls,
            }
        )
    return {"suite": suite.name, "suite_hash": suite.hash, "policies": policies}


def _score_as_json(score: SimulationScore) -> dict[str, Any]:
    return {
        "metric": score.metric,
        "mean": interval_as_json(score.mean),
        "interquartile_mean": interval_as_json(score.iqm),
        "episodes": score.episodes,
        "seeds": score.seeds,
        "missing_episodes": score.missing_episodes,
    }


def interval_as_json(interval: Interval) -> dict[str, float | None]:
    """Return value, low and high; none for what is not known (JSON has no NaN)."""
    return {key: None if value != value else value for key, value in interval._asdict().items()}
