"""The games of a simulation while they are played: who acts for whom, what is recorded, what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.agent import Actor
from metta.envs import EpisodeEnd, VecEnv
from metta.grid.world import AGENT_TEAM
from metta.replay import Recorder, Replay
from metta.sim.shares import players_of
from metta.sim.simulation_stats_db import utc_now


class FinishedGame(NamedTuple):
    """What came of one episode."""

    end: EpisodeEnd
    metrics: NDArray[np.float64]  # [A, M] columns as `Games.metric_names`
    teams: NDArray[np.int32]  # [A]
    players: NDArray[np.int32]  # [A] index of the actor
    started_at: datetime
    completed_at: datetime
    replay: Replay | None


@dataclass(kw_only=True)
class _Game:
    """An episode being played."""

    teams: NDArray[np.int32]  # [A]
    players: NDArray[np.int32]  # [A]
    started_at: datetime
    recorder: Recorder | None


class Games:
    """Plays one or several actors in an environment that has not been reset yet, tick by tick."""

    def __init__(self, env: VecEnv, actors: Sequence[Actor], *, share: float = 1.0, record_episodes: int = 0) -> None:
        """The first actor plays `share` of the agents, the others the rest (`players_of`).

        `Task.key` numbers the episodes; the first `record_episodes` of them are recorded.
        """
        self.finished: list[FinishedGame] = []
        self.agent_steps = 0
        self._env, self._actors, self._share, self._record_episodes = env, actors, share, record_episodes
        stats = env.agent_stat_names
        self._kept = [index for index, name in enumerate(stats) if name != "reward"]  # the whole reward is a float
        held = ["hearts" if name == "heart" else f"{name}.held" for name in env.resource_names]
        self.metric_names: tuple[str, ...] = (*(stats[index] for index in self._kept), "reward", *held)
        env.reset()
        for actor in actors:
            actor.reset(env)
        self._games = {world: self._begin(world) for world in np.flatnonzero(env.active).tolist()}
        self._recorders: list[Recorder] = []
        self._rows: list[NDArray[np.int64]] = []
        self._steps_per_tick = 0
        self._look_again()

    @property
    def is_on(self) -> bool:
        """Whether there is a game that has not ended."""
        return bool(self._games)

    def tick(self) -> None:
        """Let everyone act once; episodes that end are moved to `finished`, and their worlds begin the next."""
        env = self._env
        self.agent_steps += self._steps_per_tick
        env.step(self._actions())
        for recorder in self._recorders:
            recorder.record_tick()
        if env.episode_ends:
            for end in env.episode_ends:
                self._finish(end)
            self._look_again()

    def _actions(self) -> NDArray[np.int32]:
        if len(self._actors) == 1:
            return self._actors[0].act(self._env)
        actions = np.zeros(self._env.num_agents, np.int32)
        for actor, rows in zip(self._actors, self._rows, strict=True):
            if len(rows):
                actions[rows] = actor.act(self._env, rows)
        return actions

    def _begin(self, world: int) -> _Game:
        teams = self._env.state.agents[world, :, AGENT_TEAM].copy()
        task = self._env.task(world)
        assert task is not None
        players = players_of(teams, share=self._share, num_others=len(self._actors) - 1, episode=task.key)
        recorder = None
        if task.key < self._record_episodes:
            recorder = Recorder(self._env, world)
            recorder.start()
        return _Game(teams=teams, players=players, started_at=utc_now(), recorder=recorder)

    def _finish(self, end: EpisodeEnd) -> None:
        game = self._games.pop(end.world)
        parts = (end.agent_stats[:, self._kept], end.rewards[:, None], end.inventory)
        metrics = np.concatenate([part.astype(np.float64) for part in parts], axis=1)
        replay = None if game.recorder is None else game.recorder.finish()
        self.finished.append(
            FinishedGame(end, metrics, game.teams, game.players, game.started_at, utc_now(), replay=replay)
        )
        if self._env.active[end.world]:
            self._games[end.world] = self._begin(end.world)

    def _look_again(self) -> None:
        """Find out what changes only when episodes end: who is recorded, how many play, which rows each actor plays."""
        env = self._env
        self._recorders = [game.recorder for game in self._games.values() if game.recorder is not None]
        self._steps_per_tick = len(self._games) * env.agents_per_world
        players = np.full((env.num_worlds, env.agents_per_world), -1, np.int32)
        for world, game in self._games.items():
            players[world] = game.players
        self._rows = [np.flatnonzero(players.ravel() == number) for number in range(len(self._actors))]
