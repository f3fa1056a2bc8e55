"""`StatsTracker`: what an epoch's rollout, gradients, losses and hooks have to say, by name, until it is written."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from metta.envs import BatchedEnv, EpisodeEnd

RECENT_EPISODES = 100
WINDOWED = ("reward", "episode_length", "hearts")  # statistics of which the window of recent episodes is kept


class StatsTracker:
    """Collects statistics of three kinds; all are cleared when an epoch begins.

    `rollout_stats` holds a value for each episode that ended, but for the shortened first ones of staggered worlds; a
    window of recent episodes outlives the epoch, for people to read. `gradient_stats` become `grad/<name>`.
    `epoch_stats` are metrics that losses and hooks add under a name of their own (`mine/thing`), averaged over what was
    added: by all ranks up to the last minibatch, by rank 0 after it. They are written if added before `on_epoch_end`.
    """

    def __init__(self, env: BatchedEnv) -> None:
        self.env = env
        self.rollout_stats: dict[str, list[float]] = {}
        self.gradient_stats: dict[str, float] = {}
        self.epoch_stats: dict[str, list[float]] = {}
        self.recent: dict[str, deque[float]] = {}
        self._heart = env.resource_names.index("heart") if "heart" in env.resource_names else None
        self._agent_names = [f"env_agent/{name}" for name in env.agent_stat_names]  # joined once, not in each rollout

    def gather(self) -> None:
        """Take in the episodes that ended with the environment's last step."""
        for end in self.env.episode_ends:
            if not end.staggered:
                self._add(end)

    def _add(self, end: EpisodeEnd) -> None:
        values = {"reward": float(end.rewards.mean()), "episode_length": float(end.length)}
        if self._heart is not None:
            values["hearts"] = float(end.inventory[:, self._heart].mean(dtype=np.float64))
        for name, value in values.items():
            self.rollout_stats.setdefault(name, []).append(value)
        for name, value in zip(self._agent_names, end.agent_stats.mean(axis=0).tolist(), strict=True):
            self.rollout_stats.setdefault(name, []).append(value)
        for name, value in end.world_stats.items():
            self.rollout_stats.setdefault(f"env_world/{name}", []).append(float(value))

    def finish_rollout(self, every: list[dict[str, list[float]]]) -> None:
        """Let `rollout_stats` be those of all ranks, given in their order; the window takes them in."""
        self.rollout_stats = joined(every)
        for name in WINDOWED:
            if name in self.rollout_stats:
                self.recent.setdefault(name, deque(maxlen=RECENT_EPISODES)).extend(self.rollout_stats[name])

    def add_gradient(self, name: str, value: float) -> None:
        """Let `grad/<name>` be `value` in this epoch."""
        self.gradient_stats[name] = value

    def add_epoch(self, name: str, value: float) -> None:
        """Take in a value of the metric `name`, which has a `/` in it; the epoch's is the mean of all."""
        self.epoch_stats.setdefault(name, []).append(value)

    def recent_mean(self, name: str) -> float | None:
        """Return the mean over the last hundred episodes; None before the first has ended."""
        window = self.recent.get(name)
        return float(np.mean(window)) if window else None

    def clear(self) -> None:
        """Forget this epoch's statistics."""
        self.rollout_stats, self.gradient_stats, self.epoch_stats = {}, {}, {}

    def state_dict(self) -> dict[str, Any]:
        return {"recent": {name: list(window) for name, window in self.recent.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.recent = {name: deque(values, maxlen=RECENT_EPISODES) for name, values in state["recent"].items()}


def joined(stats: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Return the statistics of all ranks as one: each name's values, rank after rank."""
    if len(stats) == 1:
        return stats[0]
    names = dict.fromkeys(name for own in stats for name in own)
    return {name: [value for own in stats for value in own.get(name, [])] for name in names}
