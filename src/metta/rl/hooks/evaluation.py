"""Evaluates the policy while it trains: the weights in memory, under the name that their file will get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from metta.eval import PolicyEvaluator, Suite, named_suite
from metta.rl.config import TrainConfig, TrainerConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.ranks import Ranks
from metta.sim import SimulationConfig, SimulationStatsDB

if TYPE_CHECKING:
    from metta.eval import EvalRewardSummary
    from metta.rl.trainer_state import TrainerState


class EvaluationHook(TrainerHook):
    """Plays the suite every `evaluation.interval` epochs and at the end of training; fills `state.eval_scores`.

    The end is that of `total_timesteps`, or a stop that was decided before, as an early stop is; not that of Ctrl-C.

    Rank 0 plays; the others wait for the scores, however long that takes.

    Episodes, maps and noise depend on the suite's seeds alone: training goes on exactly as if nothing had been played.
    """

    every_rank = True

    def __init__(
        self, config: TrainConfig, trainer_config: TrainerConfig, *, run: str, run_dir: Path, threads: int, ranks: Ranks
    ) -> None:
        self._ranks = ranks
        self._config, self._total, self._run = config.evaluation, trainer_config.total_timesteps, run
        self._stats_uri = str(run_dir / "stats" / "stats.duckdb")
        self._evaluator = PolicyEvaluator(
            evaluation_suite(config),
            device=config.system.device,
            threads=threads,
            replay_dir=str(run_dir / "replays") if config.evaluation.replays else None,
            stats_uri=self._stats_uri,
        )
        self._evaluated_epoch = 0

    def on_new_training_run(self, state: TrainerState) -> None:
        self._evaluated_epoch = state.epoch

    def on_evaluation(self, state: TrainerState) -> None:
        interval = self._config.interval
        due = state.epoch // interval > self._evaluated_epoch // interval
        if self._ranks.any(due or state.stop_rollout or state.agent_step >= self._total):
            self._evaluated_epoch = state.epoch
            state.eval_scores = self._ranks.from_first(self._play(state))

    def on_training_end(self, state: TrainerState, error: BaseException | None) -> None:
        if self._ranks.is_first:
            SimulationStatsDB.settle_or_warn(self._stats_uri)  # for other programs; `from_uri` would do it too

    def _play(self, state: TrainerState) -> EvalRewardSummary | None:
        """Evaluate on rank 0; a failure there is told, and gives no scores anywhere."""
        if not self._ranks.is_first:
            return None
        assert state.policy is not None
        try:
            results = self._evaluator.evaluate(state.policy, run=self._run, epoch=state.epoch)
        except Exception:
            self._ranks.from_first(None)
            raise
        state.eval_replay_urls = results.replay_urls
        return results.scores


def evaluation_suite(config: TrainConfig) -> Suite:
    """The suite that a run is evaluated on: the one it names, or the world that it trains in."""
    if config.evaluation.suite is not None:
        return named_suite(config.evaluation.suite, episodes=config.evaluation.episodes)
    world = SimulationConfig(name="training/world", world=config.world, num_episodes=config.evaluation.episodes)
    return Suite(name="training", simulations=[world])
