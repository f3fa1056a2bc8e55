"""Small simulations to fill statistics files with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from metta.sim import EpisodeRecord, SimulationRows

NOON = datetime(2026, 1, 1, 12)
METRICS = ("reward", "hearts", "ore_red.get")


def simulation(
    values: Sequence[Sequence[Sequence[float]]],
    *,
    name: str = "arena/basic",
    policy: tuple[str, int] = ("run", 1),
    env: str = "w0",
    seeds: Sequence[int] | None = None,
    attributes: dict[str, str] | None = None,
    npc: tuple[str, int] | None = None,
    replay_url: str | None = None,
) -> SimulationRows:
    """Return a simulation; `values[episode][agent]` are the METRICS. With `npc` it plays the odd agents."""
    episodes = [
        EpisodeRecord(
            seed=seed,
            length=1000,
            started_at=NOON,
            completed_at=NOON,
            metrics=np.array(agents, np.float64),
            groups=np.zeros(len(agents), np.int32),
            policies=(np.arange(len(agents)) % 2 * (npc is not None)).astype(np.int32),
            replay_url=replay_url,
            attributes=attributes or {},
        )
        for seed, agents in zip(seeds or range(100, 100 + len(values)), values, strict=True)
    ]
    return SimulationRows(
        name=name,
        env=env,
        policies=[policy] if npc is None else [policy, npc],
        metric_names=METRICS,
        episodes=episodes,
        created_at=NOON,
        finished_at=NOON,
    )


def hearts(*per_episode: float, **kwargs: object) -> SimulationRows:
    """Return a simulation of one agent that held these hearts."""
    return simulation([[[value, value, 0.0]] for value in per_episode], **kwargs)
