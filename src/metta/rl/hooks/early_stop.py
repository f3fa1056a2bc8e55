"""Ends a run when a metric is good enough, or has stopped getting better."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from metta.config import Config
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.ranks import Ranks
from metta.rl.watched_metric import WatchedMetric, check_metric

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class EarlyStopConfig(Config):
    """When to end a run before its `total_timesteps`."""

    metric: str = Field(description="overview/reward, losses/entropy, eval_<category>/score, ...: see docs/metrics.md")
    better: Literal["higher", "lower"] = "higher"
    value: float | None = Field(None, description="stop when the metric is as good as this")
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after so many measurements in a row without an improvement: evaluations for eval_*, "
        "else epochs; an epoch that does not measure the metric does not count",
    )
    min_improvement: float = Field(0.0, ge=0, description="what counts as one must be better than the best by more")
    episodes: int = Field(100, ge=1, description="how many of the last episodes the metric is averaged over")

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str) -> str:
        return check_metric(metric, evaluation=True)

    @model_validator(mode="after")
    def _check_reason(self) -> EarlyStopConfig:
        if self.value is None and self.patience is None:
            raise ValueError("give a `value` to reach, a `patience`, or both")
        if self.min_improvement and self.patience is None:
            raise ValueError(f"min_improvement={self.min_improvement} has no meaning without `patience`")
        return self


class EarlyStopHook(TrainerHook):
    """Sets `state.stop_rollout`; a run that goes on after a resume remembers its best and stops for the same reason.

    It decides as soon as its metric is known: before the evaluation, which is then the run's last, unless it waits for
    the scores themselves.
    """

    critical = True
    every_rank = True

    def __init__(self, config: EarlyStopConfig, ranks: Ranks) -> None:
        self._config, self._is_quiet = config, not ranks.is_first
        self._metric = WatchedMetric(config.metric, episodes=config.episodes)
        self._best: float | None = None
        self._waited = 0  # measurements since the best

    def on_new_training_run(self, state: TrainerState) -> None:
        if state.stats_tracker is not None:
            self._metric.check(state.stats_tracker.env)

    @property
    def needs_scores(self) -> bool:
        """Whether the metric is one of the evaluation's."""
        return self._config.metric.startswith("eval_")

    def on_evaluation(self, state: TrainerState) -> None:
        is_new, value = self._metric.update(state), self._metric.value
        if not is_new or value is None:
            return
        reason = self._reason(value)
        if reason:
            state.stop_rollout = True
            if not self._is_quiet:
                print(f"stopping: {self._config.metric} {reason}", file=sys.stderr, flush=True)

    def _reason(self, value: float) -> str:
        """Return why to stop now; empty to go on."""
        config = self._config
        sign = 1.0 if config.better == "higher" else -1.0
        if config.value is not None and sign * value >= sign * config.value:
            return f"has reached {value:.4g}, {config.value:.4g} was asked for"
        best = float("-inf") if self._best is None else sign * self._best
        if sign * value > best + config.min_improvement:  # nan is none
            self._best, self._waited = value, 0
            return ""
        self._waited += 1
        if config.patience is not None and self._waited >= config.patience:
            unit = "evaluations" if self.needs_scores else "epochs"
            best_yet = "nothing" if self._best is None else f"{self._best:.4g}"
            return f"has not improved on {best_yet} in {self._waited} {unit}"
        return ""

    def state_dict(self) -> dict[str, Any]:
        metric = self._metric.state_dict()
        return {"metric": metric, "best": self._best, "waited": self._waited} if metric else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and state["metric"]["name"] == self._config.metric:
            self._metric.load_state_dict(state["metric"])
            # runs saved while epochs were counted instead begin to count anew
            self._best, self._waited = state["best"], int(state.get("waited", 0))
