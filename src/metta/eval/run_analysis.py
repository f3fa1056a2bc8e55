"""One call from a run's folder to its report: evaluates what has not been evaluated yet, then analyses and draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metta.errors import CheckpointError, PolicyMismatchError, RunError
from metta.eval.analysis import AnalysisConfig, PolicyVersion, metric_rows, wasted_actions
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.game_pairs import MOST_OTHERS, SHOWN, GamePair, suite_pairs
from metta.eval.learning_curve import Curve, read_curve
from metta.eval.recording import record_games, unrecorded
from metta.eval.report import Report
from metta.eval.run_suite import suite_of_run, training_simulation
from metta.eval.scores import Versus, adjusted, compare_all, episodes_of, policy_score, read_player
from metta.eval.statistics import Summary
from metta.eval.stored_evaluation import YARDSTICKS, StoredEvaluation
from metta.eval.suites import Suite
from metta.sim import SimulationConfig

_YARDSTICK_KEYS = tuple(uri.removeprefix("mock://") for uri in YARDSTICKS)


def analyze_run(
    run_dir: str | Path,
    *,
    config: AnalysisConfig | None = None,
    suite: Suite | None = None,
    episodes: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    watch: int = 0,
    on_progress: Callable[[str, float], None] | None = None,
) -> Report:
    """Evaluate a run's latest policy, `config.policies` and the yardsticks where that is missing; write the report.

    `suite`: what is played (else `config.suite`, else the one that the run was evaluated on while it trained, else the
    world that it trained in), with `episodes` of each simulation (None: the suite's own numbers, 64 of a world). What
    is found is kept in `<run>/stats/stats.duckdb` and used again. The page is `<run>/report/index.html`, or in
    `config.output`. One of `config.policies` that cannot be loaded or cannot play is in the report's `failures`, the
    others are evaluated. `watch`: so many games each way, in which the run's policy differs most from each of the
    others, are recorded (`game_pairs.py`). `on_progress` is told what is played and the share of it that has been, 0 to
    1. Raises RunError or CheckpointError if there is no run or no policy in it, SuiteError for an unknown suite,
    StatsError for an unknown metric.
    """
    run_dir, config = Path(run_dir), config or AnalysisConfig()
    evaluation = StoredEvaluation(
        suite=suite or suite_of_run(run_dir, name=config.suite, episodes=episodes),
        stats_uri=str(run_dir / "stats" / "stats.duckdb"),
        replay_dir=str(run_dir / "replays"),
        threads=threads,
        device=device,
        data_dir=str(run_dir.parent),
        on_progress=on_progress,
    )
    policies = [evaluation.evaluate(str(run_dir))]
    failures: dict[str, str] = {}
    for uri in config.policies:
        try:
            policies.append(evaluation.evaluate(uri))
        except (CheckpointError, PolicyMismatchError, RunError) as error:
            failures[uri] = str(error)
    policies = list(dict.fromkeys([*policies, *evaluation.evaluate_yardsticks()]))
    if watch:
        _record(evaluation, run_dir, policies, count=watch)
    with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
        analysis = _RunAnalysis(database, run_dir, evaluation.suite, policies)
        report = analysis.report(config, failures=failures, pairs=watch or SHOWN)
    from metta.eval.pages.run_page import save  # draws: matplotlib is slow to import, and training has no use for it

    evaluation.tell(f"the page of {run_dir.name}", 0.0)
    save(report)
    return report


def _record(evaluation: StoredEvaluation, run_dir: Path, policies: Sequence[PolicyVersion], *, count: int) -> None:
    """Play the games again in which the first policy differs most from the others, where they have no replay."""
    with EvalStatsDB.from_uri(evaluation.stats_uri) as database:
        pairs = _RunAnalysis(database, run_dir, evaluation.suite, policies).pairs(count)
    for policy in policies:
        record_games(evaluation, policy, unrecorded(pairs, str(policy)))


def _curves(run_dir: Path, policies: Sequence[PolicyVersion], suite: Suite) -> tuple[list[Curve], SimulationConfig]:
    """The learning curves of the policies' runs, evaluated in the world that the first trains in, where it is known."""
    own = training_simulation(run_dir)
    simulation, curves = own or suite.simulations[0], []
    for key in dict.fromkeys(policy.key for policy in policies):
        folder = run_dir.parent / key
        curve, world = read_curve(folder, simulation), training_simulation(folder)
        if own is not None and world is not None and world.env() != own.env():
            curve = replace(curve, is_elsewhere=True)
        if curve.training or curve.evaluations:
            curves.append(curve)
    return curves, simulation


class _RunAnalysis:
    """What a statistics file says about policies, the first of which is the one that the report is about."""

    def __init__(
        self,
        database: EvalStatsDB,
        run_dir: Path,
        suite: Suite,
        policies: Sequence[PolicyVersion],
    ) -> None:
        self._database, self._run_dir, self._suite = database, run_dir, suite
        self._policies = policies
        self._learned = [policy for policy in policies if policy.key not in _YARDSTICK_KEYS]
        self._names = [simulation.name for simulation in suite.simulations]
        folder = run_dir / "replays"
        self._players = [read_player(database, policy, suite.simulations, replay_dir=folder) for policy in policies]

    def report(self, config: AnalysisConfig, *, failures: dict[str, str], pairs: int) -> Report:
        """Return the report, not yet written, with so many `pairs` of games each way."""
        database, simulations = self._database, self._suite.simulations
        curves, curve_world = _curves(self._run_dir, self._learned, self._suite)
        filters = [episodes_of(simulation) for simulation in simulations]
        metrics = {simulation.score() for simulation in simulations}
        found = [policy_score(database, policy, simulation) for simulation in simulations for policy in self._policies]
        scores = [score for score in found if score is not None]
        shared = [simulation.name for simulation in simulations if simulation.env() == curve_world.env()]
        return Report(
            title=f"{self._run_dir.name} · {self._suite.name} ({self._suite.hash})",
            metric=metrics.pop() if len(metrics) == 1 else "score",
            folder=Path(config.output) if config.output else self._run_dir / "report",
            scores=scores,
            overall=self._overall(),
            comparisons=self._comparisons(),
            pairs=self.pairs(pairs),
            wasted={policy: wasted_actions(database, policy, filter=_together(filters)) for policy in self._learned},
            rows=metric_rows(database, metrics=config.metrics, policies=self._learned, filters=filters),
            replay_urls={
                player.name: {name: list(player.replays.get(name, {}).values()) for name in self._names}
                for player in self._players
            },
            curves=curves,
            curve_simulation=shared[0] if shared else curve_world.name,
            yardsticks={
                score.policy.key: score.summary.mean
                for score in scores
                if score.policy.key in _YARDSTICK_KEYS and score.simulation in shared[:1]
            },
            failures=failures,
            notes=[note for player in self._players for note in player.missing(simulations)],
        )

    def _overall(self) -> dict[PolicyVersion, Summary]:
        """The mean over several simulations of one metric, for those who have played in all of them."""
        if len(self._names) == 1 or not self._suite.has_one_score:
            return {}
        complete = [player for player in self._players if len(player.episodes) == len(self._names)]
        return {player.runs[0]: player.summary(self._names) for player in complete}

    def _comparisons(self) -> list[Versus]:
        """The first policy against each of the others; p-values are corrected for all lines together."""
        first, *others = self._players
        one = self._suite.has_one_score
        lines = [line for other in others for line in compare_all([first], other, self._names, have_mean=one)]
        return adjusted(lines)

    def pairs(self, count: int) -> list[GamePair]:
        """The games in which the first policy differs most from each other one, `count` each way."""
        first, *others = self._players
        return [pair for other in others[:MOST_OTHERS] for pair in suite_pairs(first, other, self._suite, count=count)]


def _together(filters: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return a filter for what any of `filters` lets through; each names a simulation, its world and its seeds."""
    seeds = dict.fromkeys(seed for filter in filters for seed in filter["seed"])
    return {"seed": list(seeds)} | {name: [filter[name] for filter in filters] for name in ("sim_name", "sim_env")}
