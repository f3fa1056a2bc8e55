"""Grid worlds for Gymnasium: `MettaGridEnv`, a world of one agent, and `MettaGridVectorEnv`, an entry an agent."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from metta.envs.action_ids import action_ids
from metta.envs.rendering import render_rgb, render_text
from metta.envs.spaces import TokenSpace
from metta.envs.tasks import EpisodeEnd, SingleTask, Task
from metta.envs.vec_env import VecEnv
from metta.errors import ConfigError
from metta.grid import WorldConfig
from metta.grid.world import WORLD_HEIGHT
from metta.grid.worlds import arena, navigation

RENDER_MODES = ["ansi", "rgb_array"]
RENDER_FPS = 10

Observation = NDArray[np.uint8]
Info = dict[str, Any]


class OneEpisode:
    """A task source that holds at most one task; without one the world stays as it ended."""

    def __init__(self) -> None:
        self.task: Task | None = None

    def next_task(self, world: int, episode: int) -> Task | None:
        """Hand out the task, once."""
        task, self.task = self.task, None
        return task

    def on_episode_end(self, end: EpisodeEnd) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the task is handed out as soon as it is there."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Accept the empty state."""


class MettaGridEnv(gymnasium.Env[Observation, np.int64]):
    """A world of one agent; observations are its tokens, `uint8 [num_tokens, 3]` (docs/world.md, section 5).

    `info` is empty until the last step of an episode, where `stats` holds the agent's statistics by name and
    `episode` the length. Raises ConfigError for a world of several agents.
    """

    metadata: Info = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}  # noqa: RUF012  (declared so by Gymnasium)

    def __init__(self, config: WorldConfig | None = None, *, render_mode: str | None = None) -> None:
        config = (config or arena(num_agents=1)).model_copy(deep=True)
        if config.num_agents != 1:
            raise ConfigError(
                f"this world has {config.num_agents} agents; MettaGridEnv takes 1 "
                "(make_vec gives one entry an agent, PettingZoo's parallel environment all of them)"
            )
        check_render_mode(render_mode)
        self.config = config
        self.render_mode = render_mode
        self._source = OneEpisode()
        self.vec_env = VecEnv(self._source, num_worlds=1, layout=config)
        self.observation_space = observation_space(self.vec_env.space)
        self.action_space = spaces.Discrete(self.vec_env.num_actions)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """Begin an episode on a map drawn from `seed`, or from where the random numbers of the last seed stand."""
        super().reset(seed=seed)
        self._source.task = Task(self.config, draw_seed(self.np_random))
        self.vec_env.reset()
        return self.vec_env.observations[0].copy(), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, Info]:
        """Play one tick; an action that does not exist fails. Raises TypeError for one that is no integer."""
        env = self.vec_env
        if not env.active[0]:
            raise gymnasium.error.ResetNeeded("the episode has ended, or none has begun: call reset() first")
        env.step(action_ids(action, env.num_actions))
        ended = bool(env.final_index.size)
        observation = env.final_observation[0] if ended else env.observations[0]
        info = episode_info(env, env.episode_ends[0]) if ended else {}
        return observation.copy(), float(env.rewards[0]), bool(env.terminals[0]), bool(env.truncations[0]), info

    def render(self) -> Any:
        """Return the world as text (`ansi`) or as a picture uint8 [height, width, 3] (`rgb_array`)."""
        return render(self.vec_env, 0, self.render_mode)

    def close(self) -> None:
        """Nothing is held outside of memory."""


class MettaGridVectorEnv(VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """Worlds of several agents, one entry an agent: entry `world * agents + agent`.

    `num_envs` counts entries and is a multiple of the number of agents; left at 1 it is one world. Episodes end for
    all agents of a world at once and begin anew in the same step; `final_obs` in the infos holds the last ones.
    """

    def __init__(
        self,
        config: WorldConfig | None = None,
        *,
        num_envs: int = 1,
        render_mode: str | None = None,
        threads: int = 1,
    ) -> None:
        self.config = config or arena()
        agents = self.config.num_agents
        num_envs = agents if num_envs == 1 else num_envs
        if num_envs % agents or num_envs < 1:
            raise ConfigError(f"num_envs={num_envs}: one entry an agent, so a multiple of the world's {agents} agents")
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.num_envs = num_envs
        self.metadata = {
            "render_modes": RENDER_MODES,
            "render_fps": RENDER_FPS,
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self._source = SingleTask(self.config, seed=0)
        self.vec_env = VecEnv(self._source, num_worlds=num_envs // agents, threads=threads, layout=self.config)
        self.single_observation_space = observation_space(self.vec_env.space)
        self.single_action_space = spaces.Discrete(self.vec_env.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """Begin new episodes in every world; maps follow from `seed`, the world and the episode's number."""
        super().reset(seed=seed)
        self._source.seed = draw_seed(self.np_random)
        self.vec_env.reset()
        return self.vec_env.observations.copy(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Play one tick in every world; actions that do not exist fail.

        Raises ResetNeeded before the first `reset`, TypeError for actions that are no integers.
        """
        env = self.vec_env
        if not env.active.all():
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() first")
        env.step(action_ids(actions, env.num_actions))
        results = env.observations.copy(), env.rewards.copy(), env.terminals.copy(), env.truncations.copy()
        return (*results, self._final_infos())

    def render(self) -> Any:
        """Return one text or picture for each world."""
        return tuple(render(self.vec_env, world, self.render_mode) for world in range(self.vec_env.num_worlds))

    def _final_infos(self) -> Info:
        env = self.vec_env
        infos: Info = {}
        ends = [(end, agent) for end in env.episode_ends for agent in range(env.agents_per_world)]
        for row, observation, (end, agent) in zip(env.final_index, env.final_observation, ends, strict=True):
            final = {"final_obs": observation.copy(), "final_info": episode_info(env, end, agent)}
            infos = self._add_info(infos, final, int(row))
        return infos


def observation_space(space: TokenSpace) -> gymnasium.Space[Observation]:
    """Return the Gymnasium space of one agent's tokens."""
    box: gymnasium.Space[Any] = spaces.Box(0, 255, (space.num_tokens, 3), np.uint8)
    return box


def draw_seed(generator: np.random.Generator) -> int:
    """Return a seed of an episode, 0..2**63-1."""
    return int(generator.integers(2**63 - 1, endpoint=True, dtype=np.int64))


def episode_info(env: VecEnv, end: EpisodeEnd, agent: int = 0) -> Info:
    """Return what Gymnasium's `info` says of one agent at the end of an episode."""
    stats = zip(env.agent_stat_names, end.agent_stats[agent].tolist(), strict=True)
    return {"stats": dict(stats), "episode": {"l": end.length, "r": float(end.rewards[agent])}}


def check_render_mode(render_mode: str | None) -> None:
    """Raise ConfigError for a mode that does not exist."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ConfigError(f"render_mode={render_mode!r}; allowed: {', '.join(RENDER_MODES)}")


def render(env: VecEnv, world: int, render_mode: str | None) -> Any:
    """Return a world as its render mode wants it, None without one. Raises ResetNeeded before the first episode."""
    if render_mode is None:
        return None
    if not env.state.worlds[world, WORLD_HEIGHT]:
        raise gymnasium.error.ResetNeeded("there is nothing to draw yet: call reset() first")
    draw = render_text if render_mode == "ansi" else render_rgb
    return draw(env.compiled_world(world), env.state, world)


def make_arena(*, render_mode: str | None = None, **parameters: Any) -> MettaGridEnv:
    """The arena with one agent; `parameters` go to `metta.grid.worlds.arena`."""
    return MettaGridEnv(arena(**{"num_agents": 1, **parameters}), render_mode=render_mode)


def make_arena_vector(
    *, num_envs: int = 1, render_mode: str | None = None, threads: int = 1, **parameters: Any
) -> MettaGridVectorEnv:
    """The arena, one entry for each of its 24 agents; `parameters` go to `metta.grid.worlds.arena`."""
    return MettaGridVectorEnv(arena(**parameters), num_envs=num_envs, render_mode=render_mode, threads=threads)


def make_navigation(*, render_mode: str | None = None, **parameters: Any) -> MettaGridEnv:
    """Navigation, one agent; `parameters` go to `metta.grid.worlds.navigation`."""
    return MettaGridEnv(navigation(**parameters), render_mode=render_mode)


def make_navigation_vector(
    *, num_envs: int = 1, render_mode: str | None = None, threads: int = 1, **parameters: Any
) -> MettaGridVectorEnv:
    """Navigation, one entry a world; `parameters` go to `metta.grid.worlds.navigation`."""
    return MettaGridVectorEnv(navigation(**parameters), num_envs=num_envs, render_mode=render_mode, threads=threads)
