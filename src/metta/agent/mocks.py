"""Actors that are no networks: `mock://random`, `mock://noop` and `mock://scripted`."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from metta.envs import BatchedEnv
from metta.errors import PolicyMismatchError

Rows = NDArray[np.int64]


class MockActor(Protocol):
    """An actor (see `actors.Actor`) that can also be saved between two ticks."""

    key: str
    version: int

    def fresh(self) -> MockActor:
        """Return another like this one, for another environment."""

    def reset(self, env: BatchedEnv) -> None:
        """Forget everything."""

    def act(self, env: BatchedEnv, rows: Rows | None = None) -> NDArray[np.int32]:
        """Return the actions of the agents in `rows`; of all without it."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers, as plain data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it, after `reset`."""


class Memoryless:
    """For actors that look at the present alone."""

    def fresh(self) -> Self:
        """Return another like this one, for another environment."""
        return type(self)()

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on with."""


class RandomActor(Memoryless):
    """Every action as likely as any other."""

    key = "random"
    version = 0

    def reset(self, env: BatchedEnv) -> None:
        """Make room for the noise."""
        self._noise = np.zeros(env.num_agents, np.float32)

    def act(self, env: BatchedEnv, rows: Rows | None = None) -> NDArray[np.int32]:
        """Choose by the environment's noise."""
        noise = env.action_noise(self._noise).astype(np.float64)  # in float32 the product could round up to num_actions
        actions = (noise * env.num_actions).astype(np.int32)
        return actions if rows is None else actions[rows]


class NoopActor(Memoryless):
    """Does nothing."""

    key = "noop"
    version = 0

    def reset(self, env: BatchedEnv) -> None:
        """Find out which action does nothing."""
        if "noop" not in env.action_names:
            raise PolicyMismatchError(f"this world has no action noop; it has {', '.join(env.action_names)}")
        self._noop = env.action_names.index("noop")

    def act(self, env: BatchedEnv, rows: Rows | None = None) -> NDArray[np.int32]:
        """Nothing, for everyone."""
        return np.full(env.num_agents if rows is None else len(rows), self._noop, np.int32)


class ScriptedActor:
    """The world's yardstick agent: plans from what its agents have seen."""

    key = "scripted"
    version = 0

    def fresh(self) -> ScriptedActor:
        """Return another like this one, for another environment."""
        return ScriptedActor()

    def reset(self, env: BatchedEnv) -> None:
        """Build the scripted agent that fits this world."""
        from metta.grid.scripted import make_scripted  # compiles path finding, which no network needs

        compiled = getattr(env, "compiled", None)
        if compiled is None:
            raise PolicyMismatchError("mock://scripted plays grid worlds only")
        self._scripted: Any = make_scripted(compiled, env.num_worlds)
        self._is_first = True

    def act(self, env: BatchedEnv, rows: Rows | None = None) -> NDArray[np.int32]:
        """Forget the maps of worlds that have just begun, then plan for everyone."""
        ended = (env.terminals | env.truncations).reshape(env.num_worlds, -1).any(axis=1)
        self._scripted.reset(np.arange(env.num_worlds) if self._is_first else np.flatnonzero(ended))
        self._is_first = False
        actions: NDArray[np.int32] = self._scripted.act(env)
        return actions if rows is None else actions[rows]

    def state_dict(self) -> dict[str, Any]:
        """Return the maps that its agents have in mind."""
        return {"is_first": self._is_first, "scripted": self._scripted.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        self._is_first = bool(state["is_first"])
        self._scripted.load_state_dict(state["scripted"])


MOCK_ACTORS: dict[str, type[MockActor]] = {
    "random": RandomActor,
    "noop": NoopActor,
    "scripted": ScriptedActor,
}
