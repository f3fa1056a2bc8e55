"""The learning curve of a run: what training measured, from `metrics.jsonl`, and what evaluations found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.errors import RunError
from metta.eval.analysis import policy_versions
from metta.eval.eval_stats_db import EvalStatsDB
from metta.eval.resampling import Values
from metta.eval.statistics import Interval, mean_interval
from metta.sim import SimulationConfig

_BINS = 60  # points of a drawn curve


class Point(NamedTuple):
    """A mean with its interval, at a moment of training."""

    agent_steps: float
    minutes: float
    interval: Interval


@dataclass(frozen=True)
class Curve:
    """A run as it is drawn."""

    run: str
    training: Sequence[Point]
    evaluations: Sequence[Point] = ()
    is_elsewhere: bool = False  # trained in another world than the run that the report is about

    @property
    def label(self) -> str:
        """What stands beside the line."""
        return f"{self.run} (in another world)" if self.is_elsewhere else self.run

    def last(self) -> Point | None:
        """Return the latest point; None of an empty curve."""
        return max((*self.training, *self.evaluations), key=lambda point: point.agent_steps, default=None)


@dataclass(frozen=True)
class Training:
    """A run's epochs: arrays float64 [epochs], ascending; `values` is NaN where no episode ended in the epoch."""

    epochs: NDArray[np.int64]
    agent_steps: Values
    minutes: Values  # of the whole run, evaluations included
    values: Values  # mean over the agents of the episodes that ended in the epoch

    def at_epoch(self, epoch: int) -> tuple[float, float] | None:
        """Return (agent steps, minutes) at the end of an epoch; None if the file does not know it."""
        index = int(np.searchsorted(self.epochs, epoch))
        if index == len(self.epochs) or self.epochs[index] != epoch:
            return None
        return float(self.agent_steps[index]), float(self.minutes[index])

    def binned(self) -> list[Point]:
        """Return at most 60 points: the mean over neighbouring epochs, with its bootstrap interval."""
        known = np.flatnonzero(~np.isnan(self.values))
        points = []
        for part in np.array_split(known, min(_BINS, len(known)) or 1):
            if len(part):
                interval = mean_interval([self.values[part]])
                points.append(Point(self.agent_steps[part].mean(), self.minutes[part].mean(), interval))
        return points


def read_curve(run_dir: Path, simulation: SimulationConfig) -> Curve:
    """Return what training measured, and every evaluation of the run's own in the world of `simulation`."""
    metric = simulation.score()
    training = read_training(run_dir, metric=f"overview/{metric}")
    folder, points = run_dir / "stats", []
    if not folder.is_dir() or not any(folder.iterdir()):
        return Curve(run_dir.name, training.binned())
    with EvalStatsDB.from_uri(folder / "stats.duckdb") as database:
        for policy in policy_versions(database):
            moment = training.at_epoch(policy.version) if policy.key == run_dir.name else None
            if moment is None:
                continue
            episodes = database.episode_values(metric, *policy, filter={"sim_env": simulation.env()})
            values = episodes.drop_duplicates("seed")["value"].to_numpy(np.float64)
            if len(values):
                points.append(Point(*moment, mean_interval([values])))
    return Curve(run_dir.name, training.binned(), points)


def read_training(run_dir: Path, *, metric: str) -> Training:
    """Return a run's epochs from its `metrics.jsonl`; empty if there is none. A last line that was cut off is left out.

    `metric` is a name of metrics.jsonl, such as `overview/hearts`. Raises RunError if a whole line is no epoch.
    """
    rows: list[tuple[float, float, float, float]] = []
    path = run_dir / "metrics.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):
                    break
                rows.append(_epoch(line, metric, where=f"{path}, line {len(rows) + 1}"))
    table = np.array(rows, np.float64).reshape(-1, 4)
    return Training(table[:, 0].astype(np.int64), *table[:, 1:].T)


def _epoch(line: str, metric: str, *, where: str) -> tuple[float, float, float, float]:
    """Return epoch, agent steps, minutes and the metric, NaN if the epoch does not have it."""
    try:
        found = json.loads(line)
        minutes, value = found["metric/total_time"] / 60, found.get(metric, float("nan"))
        return found["metric/epoch"], found["metric/agent_step"], minutes, value
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{where} is no epoch of a run: {line.strip()[:60]!r}") from error
