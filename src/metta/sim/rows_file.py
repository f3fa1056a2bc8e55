"""A simulation's rows as bytes, and back: what a producer hands in before anything is merged.

Why not a DuckDB file: making one costs more than ten times as much (LOG.md), and these are read once and gone. Nothing
is pickled, so reading them runs no code. A file of which a piece is missing is found out by its checksum.
"""

from __future__ import annotations

import io
import json
import zlib
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metta.errors import StatsError
from metta.sim.episode_rows import EpisodeRecord, SimulationRows

FORMAT = 1

_DAMAGE = (zlib.error, ValueError, KeyError, OSError, EOFError)  # what reading a damaged file can raise


class DamagedRowsError(StatsError):
    """Bytes that are no rows any more, and never will be again."""


def pack(rows: SimulationRows) -> bytes:
    """Return the bytes of `rows`; floats are kept to the last bit."""
    episodes = rows.episodes
    metrics = [np.zeros((0, len(rows.metric_names))), *(episode.metrics for episode in episodes)]
    arrays: dict[str, NDArray[Any]] = {
        "head": np.frombuffer(json.dumps(_head(rows)).encode(), np.uint8),
        "num_agents": np.array([len(episode.groups) for episode in episodes], np.int32),
        # a metric's values stand side by side: they are alike, and compress to half of what rows would
        "metrics": np.asfortranarray(np.concatenate(metrics)),
        "groups": np.concatenate([np.zeros(0, np.int32), *(episode.groups for episode in episodes)]),
        "policies": np.concatenate([np.zeros(0, np.int32), *(episode.policies for episode in episodes)]),
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return zlib.compress(buffer.getvalue(), level=1)


def unpack(data: bytes, *, name: str) -> SimulationRows:
    """Return the rows in `data`; `name` is for messages.

    Raises DamagedRowsError if a piece is missing or wrong, StatsError if it is newer than this program.
    """
    try:
        with np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if head["format"] <= FORMAT:
                return _rows(head, dict(arrays))
    except _DAMAGE as error:
        raise DamagedRowsError(f"{name} is damaged: {error}") from error
    raise StatsError(f"{name} is newer than this program (format {head['format']}, known: {FORMAT}); update metta")


def _head(rows: SimulationRows) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": rows.name,
        "env": rows.env,
        "policies": [list(policy) for policy in rows.policies],
        "metric_names": list(rows.metric_names),
        "created_at": rows.created_at.isoformat(),
        "finished_at": rows.finished_at.isoformat(),
        "episodes": [
            {
                "seed": int(episode.seed),
                "length": int(episode.length),
                "started_at": episode.started_at.isoformat(),
                "completed_at": episode.completed_at.isoformat(),
                "replay_url": episode.replay_url,
                "attributes": episode.attributes,
            }
            for episode in rows.episodes
        ],
    }


def _rows(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> SimulationRows:
    cuts = np.cumsum(arrays["num_agents"])[:-1]
    parts = zip(*(np.split(arrays[key], cuts) for key in ("metrics", "groups", "policies")), strict=True)
    episodes = [
        EpisodeRecord(
            seed=told["seed"],
            length=told["length"],
            started_at=datetime.fromisoformat(told["started_at"]),
            completed_at=datetime.fromisoformat(told["completed_at"]),
            metrics=metrics,
            groups=groups,
            policies=policies,
            replay_url=told["replay_url"],
            attributes=told["attributes"],
        )
        for told, (metrics, groups, policies) in zip(head["episodes"], parts, strict=bool(head["episodes"]))
    ]
    return SimulationRows(
        name=head["name"],
        env=head["env"],
        policies=[(key, version) for key, version in head["policies"]],
        metric_names=head["metric_names"],
        episodes=episodes,
        created_at=datetime.fromisoformat(head["created_at"]),
        finished_at=datetime.fromisoformat(head["finished_at"]),
    )
