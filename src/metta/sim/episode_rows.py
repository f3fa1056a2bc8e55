"""What simulations hand in, and the columns of a statistics file's tables that it becomes.

Letters: E episodes  A agents  M metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metta.sim.stats_schema import derived_id

Columns = dict[str, NDArray[Any]]  # column -> its values, all of one length


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One finished episode."""

    seed: int
    length: int  # ticks played
    started_at: datetime  # UTC
    completed_at: datetime
    metrics: NDArray[np.float64]  # [A, M] columns as `SimulationRows.metric_names`
    groups: NDArray[np.int32]  # [A] teams
    policies: NDArray[np.int32]  # [A] the player: index into `SimulationRows.policies`
    replay_url: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SimulationRows:
    """One simulation by one policy: what `SimulationStatsDB.add` takes.

    `policies` holds (key, version) of all players; the first is the policy that the simulation is about. It may stand
    there again, as its own opponent.
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
        return derived_id("simulation", *self.policies[0], self.name, self.env)

    def episode_id(self, seed: int) -> int:
        """Return the id of the episode with this seed: the same whenever it is played."""
        return derived_id("episode", *self.policies[0], self.name, self.env, seed)

    def text_id(self, seed: int) -> str:
        """Return an episode's id for people."""
        key, version = self.policies[0]
        return f"{key}:v{version}/{self.name}/{seed}"


_Key = tuple[tuple[str, int], str]  # a simulation's policy and name
_Played = Sequence[tuple[SimulationRows, EpisodeRecord]]


def latest(simulations: Sequence[SimulationRows]) -> list[SimulationRows]:
    """Return `simulations` without what later ones of them replace.

    A later episode replaces the same one; a simulation in another world (`env`) replaces all earlier ones of its policy
    and name.
    """
    envs: dict[_Key, str] = {}
    replaced: set[_Key] = set()  # simulations of which nothing earlier counts
    played: set[tuple[_Key, int]] = set()
    kept = []
    for rows in reversed(simulations):
        key = (rows.policies[0], rows.name)
        if envs.setdefault(key, rows.env) != rows.env:
            replaced.add(key)
        if key not in replaced:
            episodes = [episode for episode in rows.episodes if (key, episode.seed) not in played]
            played.update((key, episode.seed) for episode in episodes)
            kept.append(replace(rows, episodes=episodes))
    return kept[::-1]


def table_columns(simulations: Sequence[SimulationRows]) -> dict[str, Columns]:
    """Return the columns of every table of `stats_schema.TABLES`, of simulations that went through `latest`."""
    last = list({rows.simulation_id: rows for rows in simulations}.values())
    played = [(rows, episode) for rows in simulations for episode in rows.episodes]
    ids = np.array([rows.episode_id(episode.seed) for rows, episode in played], np.int64)
    counts = [len(episode.groups) for _, episode in played]
    agents = _joined([np.arange(count, dtype=np.int32) for count in counts])
    pairs: Columns = {"episode_id": np.repeat(ids, counts), "agent_id": agents}
    return {
        "simulations": _simulations(last),
        "simulation_metrics": _metric_names(last),
        "episodes": _episodes(played, ids),
        "episode_attributes": _attributes(played, ids),
        "agent_groups": {**pairs, "group_id": _joined([episode.groups for _, episode in played])},
        "agent_policies": {**pairs, **_policies(played)},
        "agent_metrics": _metrics(simulations, pairs),
    }


def _simulations(simulations: Sequence[SimulationRows]) -> Columns:
    return {
        "id": np.array([rows.simulation_id for rows in simulations], np.int64),
        "name": _texts([rows.name for rows in simulations]),
        "env": _texts([rows.env for rows in simulations]),
        "policy_key": _texts([rows.policies[0][0] for rows in simulations]),
        "policy_version": np.array([rows.policies[0][1] for rows in simulations], np.int32),
        "created_at": _times([rows.created_at for rows in simulations]),
        "finished_at": _times([rows.finished_at for rows in simulations]),
    }


def _metric_names(simulations: Sequence[SimulationRows]) -> Columns:
    named = [(rows.simulation_id, metric) for rows in simulations for metric in sorted(rows.metric_names)]
    return {
        "simulation_id": np.array([key for key, _ in named], np.int64),
        "metric": _texts([metric for _, metric in named]),
    }


def _episodes(played: _Played, ids: NDArray[np.int64]) -> Columns:
    return {
        "id": ids,
        "simulation_id": np.array([rows.simulation_id for rows, _ in played], np.int64),
        "step_count": np.array([episode.length for _, episode in played], np.int32),
        "seed": np.array([episode.seed for _, episode in played], np.int64),
        "created_at": _times([episode.started_at for _, episode in played]),
        "completed_at": _times([episode.completed_at for _, episode in played]),
        "replay_url": _texts([episode.replay_url for _, episode in played]),
        "text_id": _texts([rows.text_id(episode.seed) for rows, episode in played]),
    }


def _attributes(played: _Played, ids: NDArray[np.int64]) -> Columns:
    told = [
        (number, name, value)
        for number, (_, episode) in zip(ids.tolist(), played, strict=True)
        for name, value in sorted(episode.attributes.items())
    ]
    return {
        "episode_id": np.array([row[0] for row in told], np.int64),
        "attribute": _texts([row[1] for row in told]),
        "value": _texts([row[2] for row in told]),
    }


def _policies(played: _Played) -> Columns:
    """Who plays each agent: the columns policy_key, policy_version and player, a row a pair."""
    keys = [_texts([key for key, _ in rows.policies])[episode.policies] for rows, episode in played]
    versions = [np.array([v for _, v in rows.policies], np.int32)[episode.policies] for rows, episode in played]
    return {
        "policy_key": np.concatenate([_texts([]), *keys]),
        "policy_version": _joined(versions),
        "player": _joined([episode.policies for _, episode in played]),
    }


def _metrics(simulations: Sequence[SimulationRows], pairs: Columns) -> Columns:
    """Return the metrics that are not 0, and `reward` for every pair; by simulation and metric, which compresses best.

    A pair counts in averages because it recorded something, hence the `reward` that is always there.
    """
    parts, first = [], 0
    for rows in simulations:
        if not rows.episodes:
            continue
        values = np.concatenate([episode.metrics for episode in rows.episodes])
        recorded = values != 0
        recorded[:, list(rows.metric_names).index("reward")] = True
        metric, pair = np.nonzero(recorded.T)
        parts.append((pair + first, _texts(rows.metric_names)[metric], values[pair, metric]))
        first += len(values)
    chosen = np.concatenate([np.zeros(0, np.intp), *(part[0] for part in parts)])
    return {
        **{name: column[chosen] for name, column in pairs.items()},
        "metric": np.concatenate([_texts([]), *(part[1] for part in parts)]),
        "value": np.concatenate([np.zeros(0), *(part[2] for part in parts)]),
    }


def _joined(arrays: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Concatenate, also nothing."""
    return np.concatenate([np.zeros(0, np.int32), *arrays])


def _texts(values: Sequence[str | None]) -> NDArray[np.object_]:
    return np.array(values, object)


def _times(values: Sequence[datetime]) -> NDArray[np.datetime64]:
    return np.array(values, "datetime64[us]")
