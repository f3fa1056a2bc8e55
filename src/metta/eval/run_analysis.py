"""One call from a run's folder to its report: evaluates what has not been evaluated yet, then analyses and draws."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metta.agent import resolve_policy_uri
from metta.errors import PolicyMismatchError, RunError, StatsError
from metta.eval.analysis import AnalysisConfig, PolicyVersion, metric_rows, policy_versions, wasted_actions
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.learning_curve import Curve, Point, read_training
from metta.eval.policy_evaluator import PolicyEvaluator
from metta.eval.report import Report, Score, Versus
from metta.eval.statistics import Comparison, Summary, compare, mean_interval, summarize
from metta.eval.suites import Suite, named_suite, world_suite
from metta.grid import WorldConfig
from metta.sim import SimulationConfig, evaluation_seeds

logger = logging.getLogger(__name__)

YARDSTICKS = ("mock://scripted", "mock://random")
_YARDSTICK_KEYS = tuple(uri.removeprefix("mock://") for uri in YARDSTICKS)


class _Options(NamedTuple):
    """How what is missing is evaluated."""

    stats_uri: str
    threads: int
    device: str
    data_dir: str


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
    `config.output`. Raises RunError or CheckpointError if there is no run or policy, SuiteError for an unknown suite.
    """
    run_dir, config = Path(run_dir), config or AnalysisConfig()
    suite = suite or suite_of_run(run_dir, name=config.suite, episodes=episodes)
    stats_uri = str(run_dir / "stats" / "stats.duckdb")
    options = _Options(stats_uri=stats_uri, threads=threads, device=device, data_dir=str(run_dir.parent))
    replay_dir = str(run_dir / "replays")
    uris = [str(run_dir), *config.policies]
    policies = [_evaluate_missing(uri, suite, options, replay_dir=replay_dir) for uri in uris]
    policies += _play_yardsticks(suite, options)
    with EvalStatsDB.from_uri(stats_uri) as database:
        report = _report(database, run_dir, suite, list(dict.fromkeys(policies)), config)
    report.save()
    return report


def yardsticks(
    suite: Suite, *, stats_uri: str, threads: int = 1, device: str = "cpu", data_dir: str = "./train_dir"
) -> dict[str, dict[str, Summary]]:
    """Return what the scripted and the random agent score: simulation -> {"scripted": summary, "random": summary}.

    They play the suite's own seeds, once: what is in the statistics file is used again. A yardstick that cannot play in
    a world (no scripted agent knows it) is left out.
    """
    options = _Options(stats_uri=stats_uri, threads=threads, device=device, data_dir=data_dir)
    policies = _play_yardsticks(suite, options)
    found: dict[str, dict[str, Summary]] = {}
    with EvalStatsDB.from_uri(stats_uri) as database:
        for simulation in suite.simulations:
            for policy in policies:
                score = policy_score(database, policy, simulation)
                if score is not None:
                    found.setdefault(simulation.name, {})[policy.key] = score.summary
    return found


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


def policy_score(database: EvalStatsDB, policy: PolicyVersion, simulation: SimulationConfig) -> Score | None:
    """Return how `policy` scored in `simulation`; None if no episode of it is there."""
    episodes = database.episode_values(simulation.score(), *policy, filter=_episodes_of(simulation))
    if episodes.empty:
        return None
    values = episodes["value"].to_numpy(np.float64)
    return Score(policy=policy, simulation=simulation.name, summary=summarize([values]), episodes=values)


def compare_policies(
    database: EvalStatsDB, policy: PolicyVersion, other: PolicyVersion, simulations: Sequence[SimulationConfig]
) -> Comparison | None:
    """Compare two policies on the episodes (simulation and seed) that both have played; None if there are none."""
    strata = []
    for simulation in simulations:
        metric, filter = simulation.score(), _episodes_of(simulation)
        ours, theirs = (
            database.episode_values(metric, *who, filter=filter).set_index("seed")["value"] for who in (policy, other)
        )
        both = ours.index.intersection(theirs.index).sort_values()
        if len(both):
            strata.append((ours.loc[both].to_numpy(np.float64), theirs.loc[both].to_numpy(np.float64)))
    return compare([x for x, _ in strata], [y for _, y in strata]) if strata else None


def _report(
    database: EvalStatsDB, run_dir: Path, suite: Suite, policies: Sequence[PolicyVersion], config: AnalysisConfig
) -> Report:
    first, main = suite.simulations[0], policies[0]
    found = [policy_score(database, policy, simulation) for policy in policies for simulation in suite.simulations]
    scores = [score for score in found if score is not None]
    names = {simulation.score() for simulation in suite.simulations}
    learned = [policy for policy in policies if policy.key not in _YARDSTICK_KEYS]
    return Report(
        title=f"{run_dir.name} · {suite.name}",
        metric=names.pop() if len(names) == 1 else "score",
        folder=Path(config.output) if config.output else run_dir / "report",
        scores=scores,
        comparisons=_comparisons(database, main, policies[1:], suite),
        wasted={policy: wasted_actions(database, policy, simulation=first.name) for policy in learned},
        rows=metric_rows(database, metrics=config.metrics, policies=learned),
        replay_urls={
            f"{policy}, {simulation.name}": _replays(database, run_dir, policy, simulation.name)
            for policy in policies
            for simulation in suite.simulations
        },
        curves=[curve for curve in [_curve(database, run_dir, main, first)] if curve.training or curve.evaluations],
        yardsticks={
            score.policy.key: score.summary.mean
            for score in scores
            if score.policy.key in _YARDSTICK_KEYS and score.simulation == first.name
        },
    )


def _comparisons(
    database: EvalStatsDB, policy: PolicyVersion, others: Sequence[PolicyVersion], suite: Suite
) -> list[Versus]:
    versus = []
    for other in others:
        for simulation in suite.simulations:
            comparison = compare_policies(database, policy, other, [simulation])
            if comparison is not None:
                versus.append(Versus(policy=policy, other=other, simulation=simulation.name, comparison=comparison))
    return versus


def _curve(database: EvalStatsDB, run_dir: Path, policy: PolicyVersion, simulation: SimulationConfig) -> Curve:
    """Return a run's curve: what training measured, and every evaluation in the world of `simulation`."""
    metric = simulation.score()
    training = read_training(run_dir, metric=f"overview/{metric}")
    points = []
    for version in policy_versions(database):
        moment = training.at_epoch(version.version) if version.key == policy.key else None
        if moment is None:
            continue
        episodes = database.episode_values(metric, *version, filter={"sim_env": simulation.env()})
        values = episodes.drop_duplicates("seed")["value"].to_numpy(np.float64)
        if len(values):
            points.append(Point(*moment, mean_interval([values])))
    return Curve(policy.key, training.binned(), points)


def _replays(database: EvalStatsDB, run_dir: Path, policy: PolicyVersion, simulation: str) -> list[str]:
    """Return a policy's replays; those of a run that was moved are found in its folder."""
    found = []
    for url in database.get_replay_urls(f"{policy.key}:v{policy.version}", simulation):
        moved = run_dir / "replays" / Path(url).name
        found.append(str(moved) if "://" not in url and not Path(url).exists() and moved.exists() else url)
    return found


def _play_yardsticks(suite: Suite, options: _Options) -> list[PolicyVersion]:
    found = []
    for uri in YARDSTICKS:
        try:
            found.append(_evaluate_missing(uri, suite, options))
        except PolicyMismatchError as error:
            logger.warning("%s is left out: %s", uri, error)
    return found


def _evaluate_missing(uri: str, suite: Suite, options: _Options, *, replay_dir: str | None = None) -> PolicyVersion:
    """Play those simulations of which the statistics file lacks an episode of the policy; return the policy."""
    resolved = resolve_policy_uri(uri, data_dir=options.data_dir)
    policy = PolicyVersion(resolved.policy_key, resolved.policy_version)
    missing = [simulation for simulation in suite.simulations if not _is_evaluated(options, policy, simulation)]
    if missing:
        PolicyEvaluator(missing, replay_dir=replay_dir, **options._asdict()).evaluate(resolved.uri)
    return policy


def _episodes_of(simulation: SimulationConfig) -> dict[str, object]:
    """The filter for exactly the episodes that `simulation` asks for."""
    seeds = evaluation_seeds(simulation.num_episodes, base=simulation.seed)
    return {"sim_name": simulation.name, "sim_env": simulation.env(), "seed": seeds}


def _is_evaluated(options: _Options, policy: PolicyVersion, simulation: SimulationConfig) -> bool:
    """Whether the file holds every episode that `simulation` asks for."""
    try:
        with EvalStatsDB.from_uri(options.stats_uri) as database:
            episodes = database.episode_values("reward", *policy, filter=_episodes_of(simulation))
    except StatsError:
        return False
    return len(episodes) == simulation.num_episodes
