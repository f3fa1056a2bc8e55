"""Any Gymnasium vector environment with the face of `VecEnv`: one agent a world, a list of actions.

It leaves out continuous actions and dictionary observations. A snapshot holds the sub-environments' Python attributes
(gymnasium_state.py); where an environment keeps its state elsewhere, `resume_obstacle` says so.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from metta.envs.gymnasium_state import capture_state, restore_state
from metta.envs.interface import Array
from metta.envs.noise import action_noise
from metta.envs.plain import update_digest
from metta.envs.spaces import BoxSpace, DiscreteSpace
from metta.envs.tasks import EpisodeEnd, Task
from metta.errors import CheckpointError, ConfigError
from metta.grid.config import WorldConfig
from metta.grid.rng import episode_seed
from metta.grid.world import WORLD_FIELDS, WORLD_SEED, WORLD_STEP

_logger = logging.getLogger(__name__)
_NO_WORLD = WorldConfig(num_agents=1)


def make_gymnasium(env_id: str, *, num_worlds: int, seed: int, **parameters: Any) -> GymnasiumVecEnv:
    """Return `num_worlds` copies of a registered environment, e.g. "CartPole-v1"; `parameters` go to its constructor.

    Raises ConfigError when there is no such environment or its spaces are of another kind.
    """
    try:
        vector_env = gymnasium.make_vec(
            env_id,
            num_envs=num_worlds,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP, "copy": False},
            disable_env_checker=True,
            **parameters,
        )
    except gymnasium.error.Error as error:
        raise ConfigError(f"gymnasium: {error}") from error
    return GymnasiumVecEnv(vector_env, seed=seed, label=env_id)


class GymnasiumVecEnv:
    """A `BatchedEnv` over a Gymnasium vector environment (interface.py says what each attribute is).

    `vector_env` must reset in the same step or not at all (`autoreset_mode` SAME_STEP or DISABLED): the library's
    default, NEXT_STEP, would put a step that ignores its action between two episodes.
    """

    # N worlds, one agent in each
    num_worlds: int
    agents_per_world = 1

    def __init__(self, vector_env: VectorEnv[Any, Any, Any], *, seed: int, label: str = "gymnasium") -> None:
        self.vector_env = vector_env
        self.seed = seed
        self.label = label
        self._mode = _checked_autoreset_mode(vector_env)
        self.space, self._observation_start = _observation_space(vector_env.single_observation_space)
        self.num_actions, self._action_start = _action_space(vector_env.single_action_space)
        self.num_worlds = self.num_agents = N = int(vector_env.num_envs)
        self.action_names = tuple(f"action_{i}" for i in range(self.num_actions))
        self.agent_stat_names: tuple[str, ...] = ()
        self.resource_names: tuple[str, ...] = ()

        self.observations: Array = self._empty_observations(N)
        self.token_counts = np.zeros(N, np.int32)
        self.rewards = np.zeros(N, np.float32)
        self.terminals = np.zeros(N, np.bool_)
        self.truncations = np.zeros(N, np.bool_)
        self.action_success = np.ones(N, np.bool_)
        self.active = np.ones(N, np.bool_)
        self.final_index = np.zeros(0, np.int64)
        self.final_observation: Array = self._empty_observations(0)
        self.episode_ends: list[EpisodeEnd] = []
        self._clock = np.zeros((N, WORLD_FIELDS), np.int64)  # step and seed, as grid worlds keep them
        self._episodes = np.zeros(N, np.int64)
        self._returns = np.zeros(N, np.float32)
        self._num_resets = 0

    @property
    def resume_obstacle(self) -> str | None:
        """What keeps a snapshot from being exact, or None. Known only after the first `reset`."""
        obstacles = capture_state(self.vector_env)[1]
        return ", ".join(obstacles) or None

    def reset(self) -> None:
        """Begin a new episode in every world; seeds follow from (seed, number of resets)."""
        seed = int(episode_seed(self.seed, 0, self._num_resets)) % 2**30
        self._num_resets += 1
        observations, _ = self.vector_env.reset(seed=seed)  # world i gets seed + i
        self._write(observations)
        self.rewards[:] = 0.0
        self.terminals[:] = False
        self.truncations[:] = False
        self._clear_finals()
        for world in range(self.num_worlds):
            self._begin_episode(world)

    def step(self, actions: NDArray[np.int32]) -> None:
        """Play one tick; `actions` int [N] in 0..num_actions-1."""
        results = self.vector_env.step(np.asarray(actions, np.int64) + self._action_start)
        observations, rewards, terminals, truncations, infos = results
        self.rewards[:] = rewards
        self.terminals[:] = terminals
        self.truncations[:] = truncations & ~np.asarray(terminals, np.bool_)
        self._clock[:, WORLD_STEP] += 1
        self._returns += self.rewards
        self._clear_finals()
        ended = np.flatnonzero(self.terminals | self.truncations)
        if ended.size:
            observations = self._end_episodes(ended, observations, infos)
        self._write(observations)

    def action_noise(self, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fill `out` float32 [N] with uniform numbers in [0, 1), keyed by (episode seed, tick), and return it."""
        action_noise(self._clock, out)
        return out

    def set_observation_buffer(self, observations: Array, token_counts: NDArray[np.int32]) -> None:
        """Let the next step or reset write to `observations` [N, ...]; `token_counts` [N] is set to zeros."""
        assert observations.shape == self.observations.shape and observations.dtype == self.observations.dtype
        self.observations = observations
        self.token_counts = token_counts
        token_counts[:] = 0

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything as plain data; `obstacles` lists what could not be read."""
        captured, obstacles = capture_state(self.vector_env)
        return {
            "env": captured if not obstacles else None,
            "obstacles": obstacles,
            "arrays": {name: array.copy() for name, array in self._arrays().items()},
            "seed": self.seed,
            "num_resets": self._num_resets,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on where `snapshot` was taken.

        Where that is impossible a warning is logged, and every episode under way is cut: truncated, with its last
        observation in `final_observation`, and new ones begin. Raises CheckpointError for another environment's.
        """
        arrays = snapshot["arrays"]
        if arrays["observations"].shape != self.observations.shape:
            raise CheckpointError(
                f"the snapshot holds observations of shape {arrays['observations'].shape}, "
                f"this environment ({self.label}) has {self.observations.shape}"
            )
        self.seed = int(snapshot["seed"])
        self._num_resets = int(snapshot["num_resets"])
        if snapshot["env"] is None:
            self._restart(snapshot)
            return
        self.vector_env.reset(seed=0)  # some environments make their parts at the first reset
        try:
            restore_state(self.vector_env, snapshot["env"])
        except ValueError as error:
            raise CheckpointError(f"the snapshot is not one of {self.label}: {error}") from error
        self._load_arrays(arrays)

    def hash(self) -> str:
        """Return a digest of what `snapshot` holds."""
        digest = hashlib.sha256()
        update_digest(digest, self.snapshot())
        return digest.hexdigest()

    def close(self) -> None:
        """Close the wrapped environments."""
        self.vector_env.close()

    def _restart(self, snapshot: dict[str, Any]) -> None:
        _logger.warning(
            "%s cannot be resumed exactly, its episodes begin anew; not readable: %s",
            self.label,
            ", ".join(snapshot["obstacles"]),
        )
        self.reset()
        self._episodes[:] = snapshot["arrays"]["episodes"] + 1
        self.rewards[:] = snapshot["arrays"]["rewards"]
        self.truncations[:] = True
        self.final_index = np.arange(self.num_worlds)
        self.final_observation = snapshot["arrays"]["observations"].copy()

    def _arrays(self) -> dict[str, Array]:
        return {
            "observations": self.observations,
            "rewards": self.rewards,
            "terminals": self.terminals,
            "truncations": self.truncations,
            "clock": self._clock,
            "episodes": self._episodes,
            "returns": self._returns,
        }

    def _load_arrays(self, arrays: dict[str, Array]) -> None:
        for name, array in self._arrays().items():
            array[...] = arrays[name]
        self._clear_finals()

    def _clear_finals(self) -> None:
        if self.final_index.size:
            self.final_index = np.zeros(0, np.int64)
            self.final_observation = self._empty_observations(0)
        self.episode_ends = []

    def _begin_episode(self, world: int) -> None:
        seed = episode_seed(self.seed, world, int(self._episodes[world]))
        self._clock[world, WORLD_STEP] = 0
        self._clock[world, WORLD_SEED] = seed
        self._episodes[world] += 1
        self._returns[world] = 0.0

    def _end_episodes(self, ended: NDArray[np.int64], observations: Any, infos: dict[str, Any]) -> Any:
        """Report the episodes that ended; return the observations with the new episodes' first."""
        self.final_index = ended
        self.final_observation = self._empty_observations(ended.size)
        lasts = infos["final_obs"] if self._mode is AutoresetMode.SAME_STEP else observations
        for i, world in enumerate(ended):
            self.final_observation[i] = np.asarray(lasts[world]) - self._observation_start
            self.episode_ends.append(self._episode_end(int(world)))
            self._begin_episode(int(world))
        if self._mode is AutoresetMode.DISABLED:
            mask = self.terminals | self.truncations
            observations, _ = self.vector_env.reset(options={"reset_mask": mask})
        return observations

    def _episode_end(self, world: int) -> EpisodeEnd:
        seed = int(self._clock[world, WORLD_SEED])
        return EpisodeEnd(
            world=world,
            task=Task(_NO_WORLD, seed, self.label),
            length=int(self._clock[world, WORLD_STEP]),
            truncated=bool(self.truncations[world]),
            staggered=False,
            agent_stats=np.zeros((1, 0), np.int32),
            rewards=self._returns[world : world + 1].copy(),
            inventory=np.zeros((1, 0), np.uint8),
            world_stats={},
        )

    def _write(self, observations: Any) -> None:
        if self._observation_start:
            observations = np.asarray(observations) - self._observation_start
        np.copyto(self.observations, observations)

    def _empty_observations(self, rows: int) -> Array:
        if isinstance(self.space, DiscreteSpace):
            return np.zeros(rows, np.int64)
        return np.zeros((rows, *self.space.shape), self.space.dtype)


def _checked_autoreset_mode(vector_env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    mode = vector_env.metadata.get("autoreset_mode")
    if mode is AutoresetMode.SAME_STEP or (
        mode is AutoresetMode.DISABLED and isinstance(vector_env.unwrapped, SyncVectorEnv)
    ):
        return AutoresetMode(mode)
    raise ConfigError(
        f"{vector_env} has autoreset_mode {mode}; allowed is AutoresetMode.SAME_STEP (or DISABLED, of a SyncVectorEnv):"
        " give `autoreset_mode` when it is made, or use make_gymnasium(env_id)"
    )


def _observation_space(space: gymnasium.Space[Any]) -> tuple[BoxSpace | DiscreteSpace, int]:
    """Return the space as plain data, and the number from which a discrete one counts."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return DiscreteSpace(int(space.n)), int(space.start)
    if isinstance(space, gymnasium.spaces.Box):
        assert space.dtype is not None
        return BoxSpace(space.shape, space.dtype.name, float(space.low.min()), float(space.high.max())), 0
    raise ConfigError(f"observations of {space} are not supported; allowed are Box and Discrete")


def _action_space(space: gymnasium.Space[Any]) -> tuple[int, int]:
    """Return the number of actions, and the number from which they count."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n), int(space.start)
    raise ConfigError(f"actions of {space} are not supported; allowed is Discrete")
