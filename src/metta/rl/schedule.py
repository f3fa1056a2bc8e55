"""Schedules: a number as a function of the share of training that is done."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from metta.config import Config


class ScheduleConfig(Config):
    """From a setting's own value down (or up) to `final` times that value over the run."""

    type: Literal["constant", "linear", "cosine"] = "linear"
    final: float = Field(0.1, ge=0, description="the value at the end, as a multiple of the one at the start")


def scheduled(config: ScheduleConfig, initial: float, progress: float) -> float:
    """Return the value after a share `progress` (0..1, clipped) of training, starting from `initial`."""
    progress = min(max(progress, 0.0), 1.0)
    end = initial * config.final
    if config.type == "constant":
        return initial
    if config.type == "linear":
        return initial + (end - initial) * progress
    # Loshchilov and Hutter 2017, "SGDR", eq. 5, without restarts
    return end + (initial - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
