"""`Simulation`: a fixed list of episodes of one world, played by one policy or several in shares, and written down."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pydantic import Field, field_validator, model_validator

from metta.agent import Actor
from metta.config import Config
from metta.envs import FixedTasks, Task, VecEnv
from metta.errors import ConfigError, nearest
from metta.grid import WorldConfig
from metta.grid.own_rules import rules_hash
from metta.sim.episode_rows import EpisodeRecord, SimulationRows
from metta.sim.games import FinishedGame, Games
from metta.sim.lanes import play_lanes
from metta.sim.seeds import evaluation_seeds
from metta.sim.simulation_stats_db import utc_now
from metta.sim.stats_storage import local_path

logger = logging.getLogger(__name__)

MAX_WORLDS = 32  # of a thread, played side by side; fewer leave the network idle, more fall out of the cache
FEWEST_WORLDS = 8  # of a thread; with fewer, threads wait for Python's lock most of the time


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
    npc_policy_uri: str | list[str] | None = Field(
        None, description="who plays the other agents: an address, or several that share them evenly"
    )
    episode_tags: dict[str, str] = Field(default_factory=dict, description="kept with every episode, to filter by")

    @field_validator("npc_policy_uri")
    @classmethod
    def _shorten(cls, uris: str | list[str] | None) -> str | list[str] | None:
        """Write a list of one as a text, and an empty one as none: the same games have the same `env`."""
        return uris if uris is None or isinstance(uris, str) or len(uris) > 1 else next(iter(uris), None)

    @model_validator(mode="after")
    def _check_shares(self) -> SimulationConfig:
        if (self.npc_policy_uri is None) != (self.policy_agents_pct == 1):
            raise ValueError(
                f"policy_agents_pct={self.policy_agents_pct} and npc_policy_uri={self.npc_policy_uri}: "
                "a share below 1 and another policy go together"
            )
        if self.npc_policy_uri is not None and self.world.num_agents < 2:
            raise ValueError(f"npc_policy_uri={self.npc_policy_uri}: a world of one agent cannot be shared")
        return self

    @property
    def npc_policy_uris(self) -> list[str]:
        """Who plays the other agents, as a list."""
        uris = self.npc_policy_uri
        return [] if uris is None else [uris] if isinstance(uris, str) else uris

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
    """Plays the episodes of one `SimulationConfig`, each once, side by side; every thread in a `VecEnv` of its own.

    A game depends on its world, its seed and its players alone: results are the same for every `num_worlds` and
    `threads`. On a CPU that is exact for the built-in architectures, whose kernels give a row the same bits whatever
    stands beside it; for others, and on a GPU, as far as their logits do not depend on the batch.
    """

    def __init__(
        self,
        config: SimulationConfig,
        actor: Actor,
        *,
        policy_key: str,
        policy_version: int,
        npcs: Sequence[Actor] = (),
        threads: int = 1,
        num_worlds: int | None = None,
        replay_dir: str | None = None,
        record_episodes: int = 1,
        only_seeds: Collection[int] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """`npcs` play the agents that `policy_agents_pct` leaves, in the order of the configuration.

        `threads`: cores to use, where there are enough games for them. `num_worlds`: how many games are played at a
        time, in all threads together; None: as many as are fastest. `replay_dir`: a folder or an fsspec address for
        replays of the first `record_episodes` episodes; None: none. `only_seeds`: of all episodes only these are
        played, and each is recorded: the same games again, to be watched. `attributes` are kept with every episode, as
        `episode_tags` are.
        """
        assert len(npcs) == len(config.npc_policy_uris), "an actor for every npc_policy_uri"
        self.config = config
        self._actors = [actor, *npcs]
        self._policies = [(policy_key, policy_version), *((npc.key, npc.version) for npc in npcs)]
        seeds = evaluation_seeds(config.num_episodes, base=config.seed)
        self._seeds = {index: seed for index, seed in enumerate(seeds) if only_seeds is None or seed in only_seeds}
        assert self._seeds, "only_seeds are seeds of the simulation"
        self._num_worlds = min(len(self._seeds), num_worlds or MAX_WORLDS * threads)
        self._num_lanes = min(threads, -(-self._num_worlds // FEWEST_WORLDS))
        folder = None if replay_dir is None else local_path(replay_dir)
        self._replay_dir = replay_dir if folder is None else str(folder)
        recorded = record_episodes if only_seeds is None else config.num_episodes
        self._record_episodes = 0 if replay_dir is None else recorded
        self._attributes = dict(attributes or {})

    def run(self, *, on_progress: Callable[[float], None] | None = None) -> SimulationResult:
        """Play; return the results, also those of a simulation that ran out of time.

        `on_progress` is called every tick with an estimate of the share that has been played, 0 to 1.
        """
        created_at, start = utc_now(), time.monotonic()
        lanes = play_lanes(
            self._starts(),
            max_seconds=self.config.max_seconds,
            on_tick=None if on_progress is None else self._share_played(on_progress),
        )
        rows = self._rows(lanes, created_at)
        missing = len(self._seeds) - len(rows.episodes)
        if missing:
            logger.warning(
                "%s: %d of %d episodes are missing, the time limit of %g s was reached",
                *(self.config.name, missing, len(self._seeds), self.config.max_seconds),
            )
        return SimulationResult(
            rows=rows,
            replay_urls=[episode.replay_url for episode in rows.episodes if episode.replay_url],
            missing_episodes=missing,
            seconds=time.monotonic() - start,
            agent_steps=sum(games.agent_steps for games in lanes),
        )

    def _starts(self) -> list[Callable[[], Games]]:
        """Return what begins each lane's games. All draw from one list of episodes, and remember apart."""
        world = self.config.world.model_copy(deep=True)
        tasks = FixedTasks(self._tasks(world))
        cuts = [self._num_worlds * lane // self._num_lanes for lane in range(self._num_lanes + 1)]
        starts: list[Callable[[], Games]] = []
        for lane in range(self._num_lanes):
            actors = self._actors if lane == 0 else [actor.fresh() for actor in self._actors]
            starts.append(partial(self._start, tasks, world, cuts[lane + 1] - cuts[lane], actors))
        return starts

    def _start(self, tasks: FixedTasks, world: WorldConfig, num_worlds: int, actors: Sequence[Actor]) -> Games:
        env = VecEnv(tasks, num_worlds=num_worlds, layout=world)
        share, record_episodes = self.config.policy_agents_pct, self._record_episodes
        games = Games(env, actors, share=share, record_episodes=record_episodes)
        self._check_score(games.metric_names)
        return games

    def _share_played(self, on_progress: Callable[[float], None]) -> Callable[[int], None]:
        """Turn the first lane's agent-steps into a share of all, if every lane plays as many and to the last tick."""
        world = self.config.world
        steps = len(self._seeds) * world.num_agents * max(1, world.max_steps)
        return lambda played: on_progress(min(1.0, played * self._num_lanes / steps))

    def _check_score(self, metrics: Sequence[str]) -> None:
        score = self.config.score()
        if score not in metrics:
            raise ConfigError(
                f"{self.config.name}: score_metric={score!r} is no metric of its world{nearest(score, metrics)}"
            )

    def _tasks(self, world: WorldConfig) -> list[Task]:
        return [Task(world, seed, self.config.name, index) for index, seed in self._seeds.items()]

    def _rows(self, lanes: Sequence[Games], created_at: datetime) -> SimulationRows:
        finished = sorted((game for games in lanes for game in games.finished), key=lambda game: game.end.task.key)
        return SimulationRows(
            name=self.config.name,
            env=self.config.env(),
            policies=self._policies,
            metric_names=lanes[0].metric_names,
            episodes=[self._record(game) for game in finished],
            created_at=created_at,
            finished_at=utc_now(),
        )

    def _record(self, game: FinishedGame) -> EpisodeRecord:
        end = game.end
        attributes = {
            **{f"world.{name}": _number(value) for name, value in end.world_stats.items()},
            "end": "truncated" if end.truncated else "terminated",
            "score_metric": self.config.score(),
            "rules": rules_hash(end.task.config),  # under other sources it may be another score
            "asked_episodes": str(self.config.num_episodes),  # fewer in the file: the others are missing
            **self._attributes,
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
        name = re.sub(r"[^\w.-]+", "-", f"{key}.v{version}.{self.config.name}.{game.end.task.seed}")
        url = f"{self._replay_dir.rstrip('/')}/{name}.json.z"
        game.replay.save(url)
        return url


def _number(value: float) -> str:
    """A number as text: all of its digits, and no point behind whole ones."""
    return str(int(value)) if value == int(value) else repr(float(value))
