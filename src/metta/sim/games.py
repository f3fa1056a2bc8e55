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
from metta.sim.shares import share_of_agents
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
    """Plays one or two actors in an environment that has not been reset yet, tick by tick."""

    def __init__(self, env: VecEnv, actors: Sequence[Actor], *, share: float = 1.0, record_worlds: int = 0) -> None:
        """The first actor plays `share` of the agents (`share_of_agents`; `Task.key` numbers the episodes).

        The first episodes of the first `record_worlds` worlds are recorded.
        """
        self.finished: list[FinishedGame] = []
        self.agent_steps = 0
        self._env, self._actors, self._share = env, actors, share
        stats = env.agent_stat_names
        self._kept = [index for index, name in enumerate(stats) if name != "reward"]  # the whole reward is a float
        held = ["hearts" if name == "heart" else f"{name}.held" for name in env.resource_names]
        self.metric_names: tuple[str, ...] = (*(stats[index] for index in self._kept), "reward", *held)
        env.reset()
        for actor in actors:
            actor.reset(env)
        self._games = {
            world: self._begin(world, record=world < record_worlds) for world in np.flatnonzero(env.active).tolist()
        }
        self._rows = self._rows_of_actors()

    def tick(self) -> None:
        """Let everyone act once; episodes that end are moved to `finished`, and their worlds begin the next."""
        env = self._env
        self.agent_steps += int(env.active.sum()) * env.agents_per_world
        env.step(self._actions())
        for game in self._games.values():
            if game.recorder is not None:
                game.recorder.record_tick()
        for end in env.episode_ends:
            self._finish(end)
        if env.episode_ends and len(self._actors) > 1:
            self._rows = self._rows_of_actors()

    def _actions(self) -> NDArray[np.int32]:
        if len(self._actors) == 1:
            return self._actors[0].act(self._env)
        actions = np.zeros(self._env.num_agents, np.int32)
        for actor, rows in zip(self._actors, self._rows, strict=True):
            if len(rows):
                actions[rows] = actor.act(self._env, rows)
        return actions

    def _begin(self, world: int, *, record: bool) -> _Game:
        teams = self._env.state.agents[world, :, AGENT_TEAM].copy()
        task = self._env.task(world)
        assert task is not None
        ours = share_of_agents(teams, share=self._share, episode=task.key)
        recorder = None
        if record:
            recorder = Recorder(self._env, world)
            recorder.start()
        return _Game(teams=teams, players=(~ours).astype(np.int32), started_at=utc_now(), recorder=recorder)

    def _finish(self, end: EpisodeEnd) -> None:
        game = self._games.pop(end.world)
        parts = (end.agent_stats[:, self._kept], end.rewards[:, None], end.inventory)
        metrics = np.concatenate([part.astype(np.float64) for part in parts], axis=1)
        replay = None if game.recorder is None else game.recorder.finish()
        self.finished.append(
            FinishedGame(end, metrics, game.teams, game.players, game.started_at, utc_now(), replay=replay)
        )
        if self._env.active[end.world]:
            self._games[end.world] = self._begin(end.world, record=False)

    def _rows_of_actors(self) -> list[NDArray[np.int64]]:
        """The rows that each actor plays, of all worlds where a game goes on."""
        players = np.full((self._env.num_worlds, self._env.agents_per_world), -1, np.int32)
        for world, game in self._games.items():
            players[world] = game.players
        return [np.flatnonzero(players.ravel() == number) for number in range(len(self._actors))]
