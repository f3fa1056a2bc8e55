"""The face that a policy, a rollout and a trainer see: many worlds stepped together, results in arrays.

`VecEnv` (grid worlds) and `GymnasiumVecEnv` (anything of that library) have it; neither inherits from it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metta.envs.spaces import Space
from metta.envs.tasks import EpisodeEnd

Array = NDArray[Any]


class BatchedEnv(Protocol):
    """`E` worlds of `A` agents; row `world * A + agent` of every array with a leading `N = E * A` is that agent.

    Same-step reset: when an episode ends, `step` leaves the reward and the terminal or truncation of the last tick
    beside the first observation of the next episode; the last observation is in `final_observation`.
    """

    num_worlds: int
    agents_per_world: int
    num_agents: int  # N
    num_actions: int
    action_names: tuple[str, ...]
    agent_stat_names: tuple[str, ...]  # columns of EpisodeEnd.agent_stats
    resource_names: tuple[str, ...]  # columns of EpisodeEnd.inventory

    observations: Array  # [N, ...] as the space says
    token_counts: NDArray[np.int32]  # [N] tokens of each observation; zeros where observations are no tokens
    rewards: NDArray[np.float32]  # [N]
    terminals: NDArray[np.bool_]  # [N]
    truncations: NDArray[np.bool_]  # [N]
    action_success: NDArray[np.bool_]  # [N] whether the action did anything; True where the library does not say
    final_index: NDArray[np.int64]  # [M] rows whose episode ended in the last step, ascending
    final_observation: Array  # [M, ...] their last observations; both are valid until the next step
    episode_ends: list[EpisodeEnd]  # of the last step, by world
    active: NDArray[np.bool_]  # [E] False: no task is left for this world; its rows mean nothing

    @property
    def space(self) -> Space:
        """The space of one observation."""

    def reset(self) -> None:
        """Begin a new episode in every world."""

    def step(self, actions: NDArray[np.int32]) -> None:
        """Play one tick; `actions` int32 [N]."""

    def action_noise(self, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fill `out` float32 [N] with a uniform number in [0, 1) for each agent's next action, and return it."""

    def set_observation_buffer(self, observations: Array, token_counts: NDArray[np.int32]) -> None:
        """Let the next step or reset write its observations here, and `observations` be this from then on."""

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of everything, as plain numbers, texts, lists, dictionaries and numpy arrays."""

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on where `snapshot` was taken."""

    def hash(self) -> str:
        """Return a digest of the whole state: equal for two environments that will go on alike."""

    def close(self) -> None:
        """Free what is held outside of memory."""
