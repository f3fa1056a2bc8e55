"""Schedules: a number as a function of the share of training that is done, or of how good the policy is."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator, model_validator

from metta.config import Config
from metta.rl.watched_metric import check_metric


class ScheduleConfig(Config):
    """From a setting's own value down (or up) to `final` times that value, over the run or along a metric.

    Along a metric the value goes back when the metric does.
    """

    type: Literal["constant", "linear", "cosine"] = "linear"
    final: float = Field(0.1, ge=0, description="the value at the end, as a multiple of the one at the start")
    by: str | None = Field(
        None, description="a metric, overview/reward say, whose way from `low` to `high` stands in for that of the run"
    )
    low: float | None = Field(None, description="the metric's value at which the schedule begins")
    high: float | None = Field(None, description="the metric's value at which it ends; may be the smaller of the two")
    episodes: int = Field(100, ge=1, description="how many of the last episodes the metric is averaged over")

    @field_validator("by")
    @classmethod
    def _check_metric(cls, by: str | None) -> str | None:
        return by if by is None else check_metric(by, evaluation=False)

    @model_validator(mode="after")
    def _check_marks(self) -> ScheduleConfig:
        marks = (self.low, self.high)
        if self.by is not None and (None in marks or self.low == self.high):
            raise ValueError(f"by={self.by!r} needs two different marks, given low={self.low} and high={self.high}")
        if self.by is None and marks != (None, None):
            raise ValueError(f"low={self.low} and high={self.high} are marks of a metric: give `by` too")
        return self


def scheduled(config: ScheduleConfig, initial: float, progress: float) -> float:
    """Return the value after a share `progress` (0..1, clipped) of the way, starting from `initial`."""
    progress = min(max(progress, 0.0), 1.0)
    end = initial * config.final
    if config.type == "constant":
        return initial
    if config.type == "linear":
        return initial + (end - initial) * progress
    # Loshchilov and Hutter 2017, "SGDR", eq. 5, without restarts
    return end + (initial - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def progress_between(config: ScheduleConfig, value: float | None) -> float:
    """Return how far `value` has come from `low` (0) to `high` (1), not clipped; 0 while it is not known."""
    assert config.low is not None and config.high is not None
    return 0.0 if value is None else (value - config.low) / (config.high - config.low)
