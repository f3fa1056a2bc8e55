"""Teachers: whoever a student is shown, opened from a policy URI; a network, or an actor that only chooses.

N agents of all worlds.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from metta.agent import PolicyAgent, load_policy, resolve_policy_uri
from metta.agent.checkpoints import local_policy_file
from metta.agent.mocks import MOCK_ACTORS, MockActor
from metta.envs import BatchedEnv
from metta.errors import PolicyMismatchError

log = logging.getLogger(__name__)


class Opinion(NamedTuple):
    """What a teacher would do at one tick."""

    probs: Tensor  # float32 [N, the world's actions]; all on one action from a teacher that only chooses
    values: Tensor | None  # float32 [N]; None from a teacher that has no estimates


class Teacher(Protocol):
    """Watches every tick of every world, in order."""

    uri: str  # in full: "the latest of a run" is spelled out
    has_values: bool

    def forget(self) -> None:
        """Begin anew with every agent, as at an episode's start."""

    def judge(self, env: BatchedEnv, resets: Tensor) -> Opinion:
        """Return what it would do now; `resets` bool [N] says where an episode has just begun."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what `state_dict` returned."""


class NetworkTeacher:
    """A policy with weights that stay as they are, connected to the student's world, with a memory of its own."""

    has_values = True

    def __init__(self, agent: PolicyAgent, env: BatchedEnv, *, uri: str, device: torch.device) -> None:
        _check_actions(agent.action_names, env.action_names, uri)
        self.uri = uri
        self._agent = agent.connected_to(env.space, env.action_names, device).requires_grad_(False)
        self._num_agents = env.num_agents
        self.forget()

    def forget(self) -> None:
        """Empty its recurrent state."""
        self._state = self._agent.initial_state(self._num_agents)

    @torch.no_grad()
    def judge(self, env: BatchedEnv, resets: Tensor) -> Opinion:
        """Return its probabilities and values for `env.observations`."""
        device = self._agent.device
        output = self._agent.step(torch.from_numpy(env.observations).to(device), self._state, resets.to(device))
        self._state = output.state
        return Opinion(torch.softmax(output.logits, dim=-1), output.values)

    def state_dict(self) -> dict[str, Any]:
        """Return its recurrent state."""
        return {name: tensor.cpu().clone() for name, tensor in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a recurrent state."""
        self._state = {name: tensor.to(self._agent.device) for name, tensor in state.items()}


class ActingTeacher:
    """An actor that is no network (`mock://scripted`): it says one action and no value."""

    has_values = False

    def __init__(self, actor: MockActor, env: BatchedEnv, *, uri: str, device: torch.device) -> None:
        self.uri = uri
        self._actor, self._env, self._device = actor, env, device
        self.forget()

    def forget(self) -> None:
        """Let the actor begin anew."""
        self._actor.reset(self._env)

    def judge(self, env: BatchedEnv, resets: Tensor) -> Opinion:
        """Return certainty for the action it would choose; it sees for itself where episodes begin."""
        actions = torch.from_numpy(self._actor.act(env)).long().to(self._device)
        return Opinion(torch.nn.functional.one_hot(actions, env.num_actions).float(), None)

    def state_dict(self) -> dict[str, Any]:
        """Return what the actor remembers."""
        return self._actor.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the actor go on with it."""
        self._actor.load_state_dict(state)


def open_teacher(uri: str, env: BatchedEnv, *, device: torch.device, data_dir: str) -> Teacher:
    """Open the teacher that any policy URI names.

    Raises CheckpointError when it cannot be opened, PolicyMismatchError when it cannot play in this world.
    """
    policy = resolve_policy_uri(uri, data_dir=data_dir)
    if policy.kind == "mock":
        return ActingTeacher(MOCK_ACTORS[policy.policy_key](), env, uri=policy.uri, device=device)
    with local_policy_file(policy) as path:
        agent = load_policy(path, device=device)
    return NetworkTeacher(agent, env, uri=policy.uri, device=device)


def _check_actions(teacher: tuple[str, ...], world: tuple[str, ...], uri: str) -> None:
    """Raise where the world has actions that the teacher lacks; warn of those that can never be taught."""
    lacking = [name for name in world if name not in teacher]
    untaught = [name for name in teacher if name not in world]
    if lacking:
        also = f"; the world lacks the teacher's {', '.join(untaught)}" if untaught else ""
        raise PolicyMismatchError(
            f"the teacher {uri} has other actions than the world: it lacks {', '.join(lacking)}{also} "
            f"(it knows {', '.join(teacher)}); choose a teacher that was trained with all of the world's actions"
        )
    if untaught:
        log.warning("the teacher %s knows actions that this world lacks: %s", uri, ", ".join(untaught))
