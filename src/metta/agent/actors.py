"""Actors: whoever plays, and how one is opened from a URI. Those that are no networks are in `mocks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metta.agent.artifact import checksum, load_policy
from metta.agent.checkpoints import DATA_DIR, ResolvedPolicy, local_policy_file, resolve_policy_uri
from metta.agent.encoders import Observations
from metta.agent.mocks import MOCK_ACTORS, Rows
from metta.agent.policy_agent import PolicyAgent, State
from metta.agent.sampling import greedy, sample_actions
from metta.agent.token_rows import DecodedTokens
from metta.envs import BatchedEnv

# A network is shown at least so many rows, some of them again: torch multiplies one to three rows in another way, and a
# game's bits would depend on how many others are played beside it.
FEWEST_ROWS = 16


class Actor(Protocol):
    """Plays some or all agents of an environment: `reset` once, then `act` at every tick."""

    key: str  # who it is, and which version: policy_key and policy_version in statistics files
    version: int

    def fresh(self) -> Actor:
        """Return another who plays alike and remembers nothing, for another environment; another thread may use it."""

    def reset(self, env: BatchedEnv) -> None:
        """Forget everything; `env` has just been reset. Raises PolicyMismatchError if this is no world for it."""

    def act(self, env: BatchedEnv, rows: Rows | None = None) -> NDArray[np.int32]:
        """Return the actions, int32 [n], of the agents in `rows` int64 [n]; of all N without it.

        An agent whose episode ended in the last step is at the first observation of its next one.
        """


class PolicyActor:
    """A network with its recurrent state, connected to one environment by a light copy of its own."""

    def __init__(
        self,
        agent: PolicyAgent,
        *,
        key: str = "policy",
        version: int = 0,
        device: torch.device | str = "cpu",
        sample: bool = True,
        allow_missing_actions: bool = False,
    ) -> None:
        self.key = key
        self.version = version
        self.sample = sample
        self._agent = agent
        self._device = torch.device(device)
        self._allow_missing_actions = allow_missing_actions
        self._state: State = {}
        self._room: DecodedTokens | None = None

    @property
    def weights(self) -> str:
        """A hash of the weights: a run that was trained again has the same name and epochs, but not this."""
        return checksum(self._agent.state_dict())[:16]

    def fresh(self) -> PolicyActor:
        """Return an actor of the same weights with no memory."""
        return PolicyActor(
            self._agent,
            key=self.key,
            version=self.version,
            device=self._device,
            sample=self.sample,
            allow_missing_actions=self._allow_missing_actions,
        )

    def reset(self, env: BatchedEnv) -> None:
        """Connect to `env`, with memory empty."""
        self._agent = self._agent.connected_to(
            env.space, env.action_names, self._device, allow_missing_actions=self._allow_missing_actions
        )
        self._agent.precision = torch.float32  # of the copy: a game is the same in training and from the policy's file
        self._state = {
            name: tensor.to(self._device) for name, tensor in self._agent.initial_state(env.num_agents).items()
        }
        self._noise = np.zeros(env.num_agents, np.float32)
        self._is_first = True
        self._room = None

    @torch.inference_mode()
    def act(self, env: BatchedEnv, rows: Rows | None = None) -> NDArray[np.int32]:
        """Sample with the environment's own noise: the same game wherever in the batch its world stands."""
        count = env.num_agents if rows is None else len(rows)
        shown = rows if count >= FEWEST_ROWS else np.resize(np.arange(count) if rows is None else rows, FEWEST_ROWS)
        pick = slice(None) if shown is None else shown
        chosen = None if shown is None else torch.from_numpy(shown)
        ended = env.terminals[pick] | env.truncations[pick]
        reset = torch.from_numpy(np.ones_like(ended) if self._is_first else ended).to(self._device)
        self._is_first = False
        output = self._agent.step(self._observe(env.observations[pick]), self._state_of(chosen), reset)
        self._keep({name: tensor[:count] for name, tensor in output.state.items()}, rows)
        logits = output.logits[:count]
        if not self.sample:
            return greedy(logits).cpu().numpy().astype(np.int32)
        noise = torch.from_numpy(env.action_noise(self._noise)[slice(None) if rows is None else rows])
        return sample_actions(logits, noise.to(self._device))[0].cpu().numpy().astype(np.int32)

    def _observe(self, observations: NDArray[Any]) -> Observations:
        """Decode what is seen, each time into the same room: making room takes a tenth of the time of acting."""
        if self._room is None or len(self._room.samples) != len(observations):
            self._room = self._agent.prepared_room(len(observations))
        return self._agent.prepare(torch.from_numpy(observations).to(self._device), out=self._room)

    def _state_of(self, rows: Tensor | None) -> State:
        if rows is None:
            return self._state
        return {name: tensor[rows] for name, tensor in self._state.items()}

    def _keep(self, state: State, rows: Rows | None) -> None:
        if rows is None:
            self._state = state
            return
        for name, tensor in state.items():
            self._state[name][torch.from_numpy(rows)] = tensor


def load_policy_from_uri(
    uri: str | ResolvedPolicy,
    *,
    data_dir: Path | str = DATA_DIR,
    device: torch.device | str = "cpu",
    allow_class: str | None = None,
    sample: bool = True,
) -> Actor:
    """Open the policy that a URI names, ready to play.

    Raises:
        CheckpointError: nothing is there, or it cannot be read, is damaged or refused. A mock never takes its place.
    """
    policy = resolve_policy_uri(uri, data_dir=data_dir) if isinstance(uri, str) else uri
    if policy.kind == "mock":
        return MOCK_ACTORS[policy.policy_key]()
    with local_policy_file(policy) as path:
        agent = load_policy(path, allow_class=allow_class, device=device)
    return PolicyActor(agent, key=policy.policy_key, version=policy.policy_version, device=device, sample=sample)
