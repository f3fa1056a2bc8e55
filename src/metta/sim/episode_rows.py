"""A simulation's results as columns, ready for the tables of a statistics file.

Letters: E episodes  A agents  M metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metta.sim.stats_schema import derived_id


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One finished episode."""

    seed: int
    length: int  # ticks played
    started_at: datetime  # UTC
    completed_at: datetime
    metrics: NDArray[np.float64]  # [A, M] columns as `SimulationRows.metric_names`
    groups: NDArray[np.int32]  # [A] teams
    policies: NDArray[np.int32]  # [A] index into `SimulationRows.policies`
    replay_url: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SimulationRows:
    """One simulation by one policy: what `SimulationStatsDB.add` takes.

    `policies` holds (key, version) of all who played; the first is the policy that the simulation is about.
    """

    name: str
    env: str
    policies: Sequence[tuple[str, int]]
    metric_names: Sequence[str]
    episodes: Sequence[EpisodeRecord]
    created_at: datetime
    finished_at: datetime

    @property
    def simulation_id(self) -> int:
        """The id, derived from who played what."""
        key, version = self.policies[0]
        return derived_id("simulation", key, version, self.name)

    def episode_id(self, seed: int) -> int:
        """Return the id of the episode with this seed: the same whenever it is played."""
        key, version = self.policies[0]
        return derived_id("episode", key, version, self.name, seed)

    def text_id(self, seed: int) -> str:
        """Return an episode's id for people."""
        key, version = self.policies[0]
        return f"{key}:v{version}/{self.name}/{seed}"

    def frame(self, table: str) -> pd.DataFrame:
        """Return the rows for one of `stats_schema.TABLES`; columns bear the table's names."""
        makers = {
            "simulations": self._simulations,
            "simulation_metrics": self._metric_names,
            "episodes": self._episodes,
            "episode_attributes": self._attributes,
            "agent_groups": self._groups,
            "agent_policies": self._policies,
            "agent_metrics": self._metrics,
        }
        return makers[table]()

    def _simulations(self) -> pd.DataFrame:
        key, version = self.policies[0]
        row = {
            "id": self.simulation_id,
            "name": self.name,
            "env": self.env,
            "policy_key": key,
            "policy_version": version,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }
        return pd.DataFrame([row])

    def _metric_names(self) -> pd.DataFrame:
        return pd.DataFrame({"simulation_id": self.simulation_id, "metric": sorted(self.metric_names)})

    def _episodes(self) -> pd.DataFrame:
        rows = [
            (
                self.episode_id(episode.seed),
                self.simulation_id,
                episode.length,
                episode.seed,
                episode.started_at,
                episode.completed_at,
                episode.replay_url,
                self.text_id(episode.seed),
            )
            for episode in self.episodes
        ]
        columns = ["id", "simulation_id", "step_count", "seed", "created_at", "completed_at", "replay_url", "text_id"]
        return pd.DataFrame(rows, columns=columns).astype({"replay_url": "object"})

    def _attributes(self) -> pd.DataFrame:
        rows = [
            (self.episode_id(episode.seed), name, value)
            for episode in self.episodes
            for name, value in sorted(episode.attributes.items())
        ]
        return pd.DataFrame(rows, columns=["episode_id", "attribute", "value"])

    def _groups(self) -> pd.DataFrame:
        groups = _joined([episode.groups for episode in self.episodes])
        return pd.DataFrame({**self._pairs(), "group_id": groups})

    def _policies(self) -> pd.DataFrame:
        players = _joined([episode.policies for episode in self.episodes])
        keys = np.array([key for key, _ in self.policies], object)[players]
        versions = np.array([version for _, version in self.policies], np.int32)[players]
        return pd.DataFrame({**self._pairs(), "policy_key": keys, "policy_version": versions})

    def _pairs(self) -> dict[str, NDArray[np.int64]]:
        """The ids of all agent-episode pairs, episode by episode."""
        ids = np.array([self.episode_id(episode.seed) for episode in self.episodes], np.int64)
        counts = [len(episode.groups) for episode in self.episodes]
        agents = _joined([np.arange(count, dtype=np.int32) for count in counts])
        return {"episode_id": np.repeat(ids, counts), "agent_id": agents.astype(np.int64)}

    def _metrics(self) -> pd.DataFrame:
        """Return the metrics that are not 0, and `reward` for every pair; sorted by metric, which compresses best.

        A pair counts in averages because it recorded something, hence the `reward` that is always there.
        """
        pairs = self._pairs()
        values = np.concatenate([episode.metrics for episode in self.episodes]) if self.episodes else np.zeros((0, 0))
        recorded = values != 0
        if self.episodes:
            recorded[:, list(self.metric_names).index("reward")] = True
        metric, pair = np.nonzero(recorded.T)
        return pd.DataFrame(
            {
                "episode_id": pairs["episode_id"][pair],
                "agent_id": pairs["agent_id"][pair],
                "metric": pd.Categorical.from_codes(metric, categories=pd.Index(list(self.metric_names))),
                "value": values[pair, metric],
            }
        )


def _joined(arrays: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Concatenate, also nothing."""
    return np.concatenate([np.zeros(0, np.int32), *arrays])
