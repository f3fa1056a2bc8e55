"""Where the recorded games of a policy are."""

from __future__ import annotations

from pathlib import Path

from metta.eval.analysis import PolicyVersion
from metta.eval.eval_stats_db import EvalStatsDB
from metta.sim import SimulationConfig


def replay_urls(
    database: EvalStatsDB, policy: PolicyVersion, simulation: SimulationConfig, *, folder: str | Path | None = None
) -> dict[int, str]:
    """Return the replays of a policy's games in `simulation` that can be opened: seed -> address, by seed.

    What is on this machine and is gone is left out. `folder`: where it is looked for as well, under its name: a run's
    folder may have been moved.
    """
    found = database.query(
        """SELECT e.seed, e.replay_url FROM episodes e JOIN simulations s ON s.id = e.simulation_id
           WHERE s.policy_key = $key AND s.policy_version = $version AND s.name = $name AND s.env = $env
           AND e.replay_url IS NOT NULL ORDER BY e.seed""",
        {"key": policy.key, "version": policy.version, "name": simulation.name, "env": simulation.env()},
    )
    urls = zip(found["seed"].tolist(), found["replay_url"].tolist(), strict=True)
    return {int(seed): there for seed, url in urls if (there := _there(url, folder))}


def _there(url: str, folder: str | Path | None) -> str | None:
    """The address of a replay that can be opened: as it is, or in a folder that was moved."""
    if "://" in url:
        return url
    moved = None if folder is None else Path(folder) / Path(url).name
    if moved is not None and moved.exists():
        return str(moved)
    return url if Path(url).exists() else None
