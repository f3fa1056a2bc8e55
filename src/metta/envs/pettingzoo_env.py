"""Grid worlds for PettingZoo: `MettaParallelEnv`, a world with all its agents. Needs the extra `metta[pettingzoo]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metta.envs.action_ids import action_ids
from metta.envs.gymnasium_env import (
    RENDER_FPS,
    RENDER_MODES,
    OneEpisode,
    check_render_mode,
    draw_seed,
    episode_info,
    observation_space,
    render,
)
from metta.envs.tasks import Task
from metta.envs.vec_env import VecEnv
from metta.errors import ConfigError
from metta.grid import WorldConfig
from metta.grid.worlds import arena

if TYPE_CHECKING:
    ParallelEnv = object  # an optional dependency, which type checking does not look for
else:
    try:
        from pettingzoo import ParallelEnv
    except ModuleNotFoundError:
        ParallelEnv = object  # the module stays importable; making an environment says what is missing
IS_INSTALLED = ParallelEnv is not object

Observation = NDArray[np.uint8]
Info = dict[str, Any]


def parallel_env(config: WorldConfig | None = None, *, render_mode: str | None = None) -> MettaParallelEnv:
    """Return a world (the arena with 24 agents, if none is given) as PettingZoo's parallel environment."""
    return MettaParallelEnv(config, render_mode=render_mode)


class MettaParallelEnv(ParallelEnv):
    """All agents of a world act at once; they are called `agent_0`, `agent_1`, ... and end together.

    Observations are tokens, `uint8 [num_tokens, 3]` (docs/world.md, section 5). An agent without an action, like one
    whose action does not exist, does nothing. `infos` are empty until the last step, which carries statistics.
    """

    metadata: ClassVar[Info] = {
        "name": "metta_v0",
        "render_modes": RENDER_MODES,
        "render_fps": RENDER_FPS,
        "is_parallelizable": True,
    }

    def __init__(self, config: WorldConfig | None = None, *, render_mode: str | None = None) -> None:
        if not IS_INSTALLED:
            raise ConfigError("the parallel environment needs PettingZoo: pip install 'metta[pettingzoo]'")
        check_render_mode(render_mode)
        self.config = (config or arena()).model_copy(deep=True)
        self.render_mode = render_mode
        self._source = OneEpisode()
        self.vec_env = VecEnv(self._source, num_worlds=1, layout=self.config)
        self.possible_agents = [f"agent_{i}" for i in range(self.vec_env.num_agents)]
        self.agents: list[str] = []
        self._number = {agent: i for i, agent in enumerate(self.possible_agents)}
        self.observation_spaces = {agent: observation_space(self.vec_env.space) for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Discrete(self.vec_env.num_actions) for agent in self.possible_agents}
        self.state_space = spaces.Box(0, 255, (self.vec_env.num_agents, self.vec_env.space.num_tokens, 3), np.uint8)
        self._random: np.random.Generator | None = None

    def observation_space(self, agent: str) -> gymnasium.Space[Observation]:
        """Return the space of one agent's tokens."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return the space of one agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Info | None = None
    ) -> tuple[dict[str, Observation], dict[str, Info]]:
        """Begin an episode on a map drawn from `seed`, or from where the random numbers of the last seed stand."""
        if seed is not None or self._random is None:
            self._random, _ = gymnasium.utils.seeding.np_random(seed)
        self._source.task = Task(self.config, draw_seed(self._random))
        self.vec_env.reset()
        self.agents = list(self.possible_agents)
        return self._by_agent(self.vec_env.observations), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]]:
        """Play one tick with an action for each agent. Raises TypeError for one that is no integer."""
        env, agents = self.vec_env, self.agents
        if not agents:
            return {}, {}, {}, {}, {}
        flat = np.full(env.num_agents, env.action_names.index("noop") if "noop" in env.action_names else -1, np.int32)
        flat[[self._number[agent] for agent in actions]] = action_ids([*actions.values()], env.num_actions)
        env.step(flat)
        ended = bool(env.final_index.size)
        observations = self._by_agent(env.final_observation if ended else env.observations)
        infos: dict[str, Info] = {agent: {} for agent in agents}
        if ended:
            infos = {agent: episode_info(env, env.episode_ends[0], self._number[agent]) for agent in agents}
            self.agents = []
        rewards = dict(zip(agents, env.rewards.tolist(), strict=True))
        terminations = dict(zip(agents, env.terminals.tolist(), strict=True))
        truncations = dict(zip(agents, env.truncations.tolist(), strict=True))
        return observations, rewards, terminations, truncations, infos

    def render(self) -> Any:
        """Return the world as text (`ansi`) or as a picture uint8 [height, width, 3] (`rgb_array`)."""
        return render(self.vec_env, 0, self.render_mode)

    def state(self) -> Observation:
        """Return every agent's observation, uint8 [agents, num_tokens, 3] (`state_space`)."""
        return self.vec_env.observations.copy()

    def close(self) -> None:
        """Nothing is held outside of memory."""

    def _by_agent(self, rows: Observation) -> dict[str, Observation]:
        return {agent: rows[i].copy() for agent, i in self._number.items()}
