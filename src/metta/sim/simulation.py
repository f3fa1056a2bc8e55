"""`Simulation`: a fixed list of episodes of one world, played by one policy or by two in shares, and written down."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field, model_validator

from metta.agent import Actor
from metta.config import Config
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import ConfigError, nearest
from metta.grid import WorldConfig
from metta.sim.episode_rows import EpisodeRecord, SimulationRows
from metta.sim.games import FinishedGame, Games
from metta.sim.seeds import evaluation_seeds
from metta.sim.simulation_stats_db import utc_now

logger = logging.getLogger(__name__)

MAX_WORLDS = 32  # played side by side; fewer leave the network idle, more fall out of the cache


class SimulationConfig(Config):
    """What is played: which world, how often, on which seeds, and by whom."""

    name: str = Field(
        pattern=r"^[\w.-]+(/[\w.:-]+)*$", description="category/name; the category is what is before the /"
    )
    world: WorldConfig
    num_episodes: int = Field(64, ge=1)
    seed: int = Field(0, ge=0, description="which list of evaluation seeds; scores compare only on the same one")
    max_seconds: float | None = Field(None, gt=0, description="give up then; what is unfinished is reported missing")
    score_metric: str | None = Field(None, description="the score; none: hearts where there are any, else reward")
    policy_agents_pct: float = Field(1.0, gt=0, le=1, description="share of the agents that the policy plays")
    npc_policy_uri: str | None = Field(None, description="who plays the other agents")
    episode_tags: dict[str, str] = Field(default_factory=dict, description="kept with every episode, to filter by")

    @model_validator(mode="after")
    def _check_shares(self) -> SimulationConfig:
        if (self.npc_policy_uri is None) != (self.policy_agents_pct == 1):
            raise ValueError(
                f"policy_agents_pct={self.policy_agents_pct} and npc_policy_uri={self.npc_policy_uri}: "
                "a share below 1 and another policy go together"
            )
        return self

    def score(self) -> str:
        """Return the metric that is this simulation's score."""
        return self.score_metric or ("hearts" if "heart" in self.world.resources else "reward")

    def env(self) -> str:
        """Return a hash of the world and of who else plays in it: games with another `env` are other games."""
        content = self.model_dump_json(include={"world", "policy_agents_pct", "npc_policy_uri"})
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class SimulationResult:
    """What came of a simulation."""

    rows: SimulationRows
    replay_urls: list[str]
    missing_episodes: int  # asked for, and not finished when the time was up
    seconds: float
    agent_steps: int


class Simulation:
    """Plays the episodes of one `SimulationConfig`, each once, side by side in one `VecEnv`.

    A game depends on its world, its seed and its players alone: results are the same for every `num_worlds` and
    `threads` (as far as a network gives the same logits in every batch size).
    """

    def __init__(
        self,
        config: SimulationConfig,
        actor: Actor,
        *,
        policy_key: str,
        policy_version: int,
        npc: Actor | None = None,
        threads: int = 1,
        num_worlds: int | None = None,
        replay_dir: str | None = None,
        record_episodes: int = 1,
    ) -> None:
        """`npc` plays the agents that `policy_agents_pct` leaves; `replay_dir` is a folder or an fsspec address."""
        assert (npc is None) == (config.policy_agents_pct == 1), "a share below 1 needs an npc"
        self.config = config
        self._actors = [actor] if npc is None else [actor, npc]
        self._policies = [(policy_key, policy_version)] + ([] if npc is None else [(npc.key, npc.version)])
        self._threads = threads
        self._num_worlds = min(config.num_episodes, num_worlds or MAX_WORLDS)
        self._replay_dir = replay_dir
        self._record_worlds = 0 if replay_dir is None else min(record_episodes, self._num_worlds)

    def run(self) -> SimulationResult:
        """Play; return the results, also those of a simulation that ran out of time."""
        created_at, start = utc_now(), time.monotonic()
        env = VecEnv(FixedTasks(self._tasks()), num_worlds=self._num_worlds, threads=self._threads)
        try:
            share, record_worlds = self.config.policy_agents_pct, self._record_worlds
            games = Games(env, self._actors, share=share, record_worlds=record_worlds)
            self._check_score(games.metric_names)
            deadline = time.monotonic() + (self.config.max_seconds or float("inf"))
            while env.active.any() and time.monotonic() < deadline:
                games.tick()
        finally:
            env.close()
        rows = self._rows(games, created_at)
        missing = self.config.num_episodes - len(rows.episodes)
        if missing:
            logger.warning(
                "%s: %d of %d episodes are missing, the time limit of %g s was reached",
                *(self.config.name, missing, self.config.num_episodes, self.config.max_seconds),
            )
        return SimulationResult(
            rows=rows,
            replay_urls=[episode.replay_url for episode in rows.episodes if episode.replay_url],
            missing_episodes=missing,
            seconds=time.monotonic() - start,
            agent_steps=games.agent_steps,
        )

    def _check_score(self, metrics: Sequence[str]) -> None:
        score = self.config.score()
        if score not in metrics:
            raise ConfigError(
                f"{self.config.name}: score_metric={score!r} is no metric of its world{nearest(score, metrics)}"
            )

    def _tasks(self) -> list[Task]:
        world = self.config.world.model_copy(deep=True)
        seeds = evaluation_seeds(self.config.num_episodes, base=self.config.seed)
        return [Task(world, seed, self.config.name, index) for index, seed in enumerate(seeds)]

    def _rows(self, games: Games, created_at: datetime) -> SimulationRows:
        finished = sorted(games.finished, key=lambda game: game.end.task.key)
        return SimulationRows(
            name=self.config.name,
            env=self.config.env(),
            policies=self._policies,
            metric_names=games.metric_names,
            episodes=[self._record(game) for game in finished],
            created_at=created_at,
            finished_at=utc_now(),
        )

    def _record(self, game: FinishedGame) -> EpisodeRecord:
        end = game.end
        attributes = {
            **{f"world.{name}": f"{value:g}" for name, value in end.world_stats.items()},
            "end": "truncated" if end.truncated else "terminated",
            "score_metric": self.config.score(),
            **self.config.episode_tags,
        }
        return EpisodeRecord(
            seed=end.task.seed,
            length=end.length,
            started_at=game.started_at,
            completed_at=game.completed_at,
            metrics=game.metrics,
            groups=game.teams,
            policies=game.players,
            replay_url=self._save(game),
            attributes=attributes,
        )

    def _save(self, game: FinishedGame) -> str | None:
        """Write the game's replay, if it was recorded, and return its address."""
        if game.replay is None or self._replay_dir is None:
            return None
        key, version = self._policies[0]
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{key}.v{version}.{self.config.name}.{game.end.task.seed}")
        url = f"{self._replay_dir.rstrip('/')}/{name}.json.z"
        game.replay.save(url)
        return url
