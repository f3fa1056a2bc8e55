"""`StatsTracker`: episode statistics of the rollouts, gathered by name and averaged once an epoch."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from metta.envs import BatchedEnv, EpisodeEnd

RECENT_EPISODES = 100


class StatsTracker:
    """Collects what ended episodes report; cleared each epoch but for a window of recent episodes for people to read.

    The shortened first episodes of staggered worlds are left out.
    """

    def __init__(self, env: BatchedEnv) -> None:
        self.env = env
        self.rollout_stats: dict[str, list[float]] = {}
        self.recent: dict[str, deque[float]] = {}
        self._heart = env.resource_names.index("heart") if "heart" in env.resource_names else None

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
            self.recent.setdefault(name, deque(maxlen=RECENT_EPISODES)).append(value)
            self.rollout_stats.setdefault(name, []).append(value)
        for name, value in zip(self.env.agent_stat_names, end.agent_stats.mean(axis=0).tolist(), strict=True):
            self.rollout_stats.setdefault(f"env_agent/{name}", []).append(value)
        for name, value in end.world_stats.items():
            self.rollout_stats.setdefault(f"env_world/{name}", []).append(float(value))

    def recent_mean(self, name: str) -> float | None:
        """Return the mean over the last hundred episodes; None before the first has ended."""
        window = self.recent.get(name)
        return float(np.mean(window)) if window else None

    def clear(self) -> None:
        """Forget this epoch's statistics."""
        self.rollout_stats = {}

    def state_dict(self) -> dict[str, Any]:
        return {"recent": {name: list(window) for name, window in self.recent.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.recent = {name: deque(values, maxlen=RECENT_EPISODES) for name, values in state["recent"].items()}
