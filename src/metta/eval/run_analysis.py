"""One call from a run's folder to its report: evaluates what has not been evaluated yet, then analyses and draws."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metta.errors import CheckpointError, PolicyMismatchError, RunError
from metta.eval.analysis import AnalysisConfig, PolicyVersion, metric_rows, policy_versions, wasted_actions
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.learning_curve import Curve, Point, read_training
from metta.eval.report import Report
from metta.eval.scores import Versus, compare_policies, policy_score
from metta.eval.statistics import mean_interval
from metta.eval.stored_evaluation import YARDSTICKS, StoredEvaluation
from metta.eval.suites import Suite, named_suite, world_suite
from metta.grid import WorldConfig
from metta.sim import SimulationConfig

logger = logging.getLogger(__name__)

_YARDSTICK_KEYS = tuple(uri.removeprefix("mock://") for uri in YARDSTICKS)


def analyze_run(
    run_dir: str | Path,
    *,
    config: AnalysisConfig | None = None,
    suite: Suite | None = None,
    episodes: int | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> Report:
    """Evaluate a run's latest policy, `config.policies` and the yardsticks where that is missing; write the report.

    `suite`: what is played (else `config.suite`, else the one that the run was evaluated on while it trained, else the
    world that it trained in), with `episodes` of each simulation (None: the suite's own numbers, 64 of a world). What
    is found is kept in `<run>/stats/stats.duckdb` and used again. The page is `<run>/report/index.html`, or in
    `config.output`. One of `config.policies` that cannot be loaded or cannot play is in the report's `failures`, the
    others are evaluated. Raises RunError or CheckpointError if there is no run or no policy in it, SuiteError for an
    unknown suite, StatsError for an unknown metric.
    """
    run_dir, config = Path(run_dir), config or AnalysisConfig()
    evaluation = StoredEvaluation(
        suite=suite or suite_of_run(run_dir, name=config.suite, episodes=episodes),
        stats_uri=str(run_dir / "stats" / "stats.duckdb"),
        replay_dir=str(run_dir / "replays"),
        threads=threads,
        device=device,
        data_dir=str(run_dir.parent),
    )
    policies = [evaluation.evaluate(str(run_dir))]
    failures: dict[str, str] = {}
    for uri in config.policies:
        try:
            policies.append(evaluation.evaluate(uri))
        except (CheckpointError, PolicyMismatchError, RunError) as error:
            logger.error("%s is not evaluated: %s", uri, error)
            failures[uri] = str(error)
    policies += evaluation.evaluate_yardsticks()
    with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
        analysis = _RunAnalysis(database, run_dir, evaluation.suite, list(dict.fromkeys(policies)))
        report = analysis.report(config, failures=failures)
    report.save()
    return report


def suite_of_run(run_dir: Path, *, name: str | None = None, episodes: int | None = None) -> Suite:
    """Return the suite `name`, else that of the run's `config.json`, else the world in it (64 episodes)."""
    if name is not None:
        return named_suite(name, episodes=episodes)
    path = run_dir / "config.json"
    if not path.exists():
        raise RunError(f"there is no run in {run_dir}: {path} is missing; name a suite, or train the run first")
    config = json.loads(path.read_text(encoding="utf-8"))
    trained_on = (config.get("evaluation") or {}).get("suite")
    if trained_on is not None:
        return named_suite(trained_on, episodes=episodes)
    if config.get("world") is None:
        raise RunError(f"{path} names no world to evaluate in; name a suite")
    return world_suite(WorldConfig.model_validate(config["world"]), name="training/world", episodes=episodes or 64)


class _RunAnalysis:
    """What a statistics file and the runs' folders say about policies, the first of which is the one it is about."""

    def __init__(self, database: EvalStatsDB, run_dir: Path, suite: Suite, policies: Sequence[PolicyVersion]) -> None:
        self._database, self._run_dir, self._suite, self._policies = database, run_dir, suite, policies
        self._learned = [policy for policy in policies if policy.key not in _YARDSTICK_KEYS]

    def report(self, config: AnalysisConfig, *, failures: dict[str, str]) -> Report:
        """Return the report, not yet written."""
        database, simulations = self._database, self._suite.simulations
        first, metrics = simulations[0], {simulation.score() for simulation in simulations}
        found = [policy_score(database, policy, simulation) for policy in self._policies for simulation in simulations]
        scores = [score for score in found if score is not None]
        return Report(
            title=f"{self._run_dir.name} · {self._suite.name}",
            metric=metrics.pop() if len(metrics) == 1 else "score",
            folder=Path(config.output) if config.output else self._run_dir / "report",
            scores=scores,
            comparisons=self._comparisons(),
            wasted={policy: wasted_actions(database, policy, simulation=first.name) for policy in self._learned},
            rows=metric_rows(database, metrics=config.metrics, policies=self._learned),
            replay_urls=self._replays(),
            curves=self._curves(first),
            yardsticks={
                score.policy.key: score.summary.mean
                for score in scores
                if score.policy.key in _YARDSTICK_KEYS and score.simulation == first.name
            },
            failures=failures,
        )

    def _comparisons(self) -> list[Versus]:
        policy, *others = self._policies
        found = []
        for other in others:
            for simulation in self._suite.simulations:
                comparison = compare_policies(self._database, policy, other, [simulation])
                if comparison is not None:
                    found.append(Versus(policy=policy, other=other, simulation=simulation.name, comparison=comparison))
        return found

    def _curves(self, simulation: SimulationConfig) -> list[Curve]:
        """The learning curves of all runs beside this one that are shown."""
        keys = dict.fromkeys(policy.key for policy in self._learned)
        curves = [self._curve(key, simulation) for key in keys]
        return [curve for curve in curves if curve.training or curve.evaluations]

    def _curve(self, key: str, simulation: SimulationConfig) -> Curve:
        """What training measured, and every evaluation in the world of `simulation`."""
        metric = simulation.score()
        training = read_training(self._run_dir.parent / key, metric=f"overview/{metric}")
        points = []
        for version in policy_versions(self._database):
            moment = training.at_epoch(version.version) if version.key == key else None
            if moment is None:
                continue
            episodes = self._database.episode_values(metric, *version, filter={"sim_env": simulation.env()})
            values = episodes.drop_duplicates("seed")["value"].to_numpy(np.float64)
            if len(values):
                points.append(Point(*moment, mean_interval([values])))
        return Curve(key, training.binned(), points)

    def _replays(self) -> dict[str, list[str]]:
        """The replays of every policy and simulation; those of a run that was moved are found in its folder."""
        found: dict[str, list[str]] = {}
        for policy in self._policies:
            for simulation in self._suite.simulations:
                urls = self._database.get_replay_urls(f"{policy.key}:v{policy.version}", simulation.name)
                found[f"{policy}, {simulation.name}"] = [self._present(url) for url in urls]
        return found

    def _present(self, url: str) -> str:
        moved = self._run_dir / "replays" / Path(url).name
        return str(moved) if "://" not in url and not Path(url).exists() and moved.exists() else url
