"""`PolicyAgent`: what every policy is to those who train it and play it.

It takes one array a step and gives logits, a value and a new state. An architecture is a subclass that supplies the
part between encoder and heads: `initial_state`, `core_step`, `core_sequence`.

How a policy is connected to a world (which ids mean what, which action is where) is not part of its weights: it is one
attribute, `connection`, that `connected_to` gives to a light copy. Two simulations of one policy share nothing else.

B segments, T ticks, N agents, D width of the core's output.
"""

from __future__ import annotations

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from metta.agent.dense import dense
from metta.agent.encoders import Observations, make_encoder, orthogonal
from metta.agent.token_encoder import TokenEncoder
from metta.agent.token_rows import DecodedTokens, TokenLuts
from metta.config import Config
from metta.envs import BoxSpace, Space, TokenSpace
from metta.errors import ConfigError, PolicyMismatchError
from metta.grid import Feature

logger = logging.getLogger(__name__)

# What a recurrent policy remembers: every tensor [batch, ...], all zero at an episode's start. {} without memory.
State = dict[str, Tensor]

NEVER = -1e9  # logit of a world's action that the policy lacks: its probability is exactly 0


class PolicyOutput(NamedTuple):
    """What a policy says at one tick."""

    logits: Tensor  # float32 [N, num_actions]
    values: Tensor  # float32 [N]
    state: State


class SequenceOutput(NamedTuple):
    """What a policy says over segments."""

    logits: Tensor  # float32 [B, T, num_actions]
    values: Tensor  # float32 [B, T]
    hidden: Tensor  # float32 [B, T, D], the core's output, from which both heads read


class PolicyConfig(Config):
    """What every architecture's configuration has; its own fields stand in its own file."""

    architecture: str
    width: int = 64  # of the encoder's output

    @property
    def core_width(self) -> int:
        """Width of the core's output, which the heads read."""
        return self.width


@dataclass(frozen=True)
class Connection:
    """How one world's ids and actions map to the policy's own."""

    space: Space
    action_names: tuple[str, ...]  # in the world's order
    luts: TokenLuts | None  # for tokens
    action_index: Tensor | None  # int64 [world's actions]: the policy's own number, -1 lacking; None: the same list

    def to(self, device: torch.device) -> Connection:
        """Return the same connection on `device`."""
        luts = None if self.luts is None else self.luts.to(device)
        return replace(
            self, luts=luts, action_index=None if self.action_index is None else self.action_index.to(device)
        )


class PolicyAgent(nn.Module):
    """A policy for the space and the actions it was built for, connected to a world (at first to that same one)."""

    config_class: ClassVar[type[PolicyConfig]]
    value_scale: Tensor  # float32 []

    def __init__(self, config: PolicyConfig, space: Space, action_names: Sequence[str]) -> None:
        super().__init__()
        if not action_names:
            raise ConfigError("a policy needs at least one action")
        self.config = config
        self.space = space
        self.action_names = tuple(action_names)
        self.encoder = make_encoder(space, config.width)
        self.policy_head = orthogonal(nn.Linear(config.core_width, len(self.action_names)), gain=0.01)
        self.value_head = orthogonal(nn.Linear(config.core_width, 1), gain=1.0)
        # values are the head's output times this, which training keeps at the size of returns
        self.register_buffer("value_scale", torch.ones(()))
        self._told: dict[tuple[str, ...], object] = {}  # what it does not know of worlds, as told to the user
        self.connection = self._connect(space, self.action_names, allow_missing_actions=False)
        # How it computes, not what it is: never saved. Weights, logits, values and states are float32 in any precision.
        self.precision = torch.float32  # bfloat16: of the products between encoder and heads
        self.compiled = False  # by `torch.compile`: what `sequence` does between encoder and heads

    # ------------------------------------------------------------------------------ what an architecture supplies

    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` agents at an episode's start: all zero."""
        return {}

    @abstractmethod
    def core_step(self, encoded: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the core's output [N, D] and the new state for encoded observations [N, width]."""

    @abstractmethod
    def core_sequence(self, encoded: Tensor, state: State, reset: Tensor) -> Tensor:
        """Return the core's output [B, T, D] for [B, T, width]; equals T calls of `core_step` with states reset."""

    # -------------------------------------------------------------------------------------------- acting, training

    def step(self, observations: Observations, state: State, reset: Tensor) -> PolicyOutput:
        """Act for one tick.

        Args:
            observations: [N, ...], of the connected world's space, or what `prepare` made of it.
            state: of the tick before; every tensor [N, ...].
            reset: bool [N], true where this is an episode's first observation: the state is zeroed first.
        """
        with self._precision():
            encoded = self.encoder(observations, self.connection.luts)
            hidden, state = self.core_step(encoded, reset_state(state, reset))
            return PolicyOutput(*self._heads(hidden), {name: tensor.float() for name, tensor in state.items()})

    def sequence(self, observations: Observations, state: State, reset: Tensor) -> SequenceOutput:
        """Replay segments as they were acted; equals T calls of `step`.

        Args:
            observations: [B, T, ...], or what `prepare` made of it.
            state: at the segments' first tick, before its reset; every tensor [B, ...].
            reset: bool [B, T].
        """
        with self._precision():
            encoded = self.encoder(observations, self.connection.luts)
            core = _compiled(type(self).core_sequence) if self.compiled else type(self).core_sequence
            hidden = core(self, encoded, state, reset)
            return SequenceOutput(*self._heads(hidden), hidden.float())

    def _precision(self) -> AbstractContextManager[object]:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def prepare(self, observations: Tensor, *, out: DecodedTokens | None = None) -> Observations:
        """Do once what every `step` and `sequence` over these observations would repeat: tokens are decoded.

        With `out`, room made by `prepared_room`, the result is written there (into the samples that `out` names).
        Observations that are not tokens come back as they are.
        """
        if isinstance(self.encoder, TokenEncoder):
            return self.encoder.prepare(observations, self.connection.luts, out=out)
        return observations

    def prepared_room(self, *shape: int) -> DecodedTokens | None:
        """Return room for prepared observations of leading shape `shape`, or None where preparing does nothing."""
        if not isinstance(self.connection.space, TokenSpace):
            return None
        room = DecodedTokens.empty(torch.Size(shape).numel(), self.connection.space.num_tokens, self.device)
        return room.reshape(*shape)

    def _heads(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        logits, values = (output.float() for output in dense(hidden, self.policy_head, self.value_head))
        index = self.connection.action_index
        if index is not None:
            logits = logits[..., index.clamp(min=0)].masked_fill(index < 0, NEVER)
        return logits, values.squeeze(-1) * self.value_scale

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move the connection along when the weights move (`to`, `cuda`, `cpu` all come through here)."""
        nn.Module._apply(self, fn, recurse)  # not by `super()`, to which mypy grants no exception for untyped torch
        self.connection = self.connection.to(self.device)
        return self

    # ------------------------------------------------------------------------------------------ names and numbers

    @property
    def architecture(self) -> str:
        """The name in the table of architectures, or the dotted path of another class."""
        return self.config.architecture

    @property
    def num_actions(self) -> int:
        """Actions of the connected world: the last axis of the logits."""
        return len(self.connection.action_names)

    @property
    def core_width(self) -> int:
        """D, the width of the core's output."""
        return self.config.core_width

    @property
    def features(self) -> tuple[Feature, ...]:
        """The policy's own feature table; empty where its space has no tokens."""
        return self.space.features if isinstance(self.space, TokenSpace) else ()

    @property
    def object_types(self) -> dict[int, str]:
        """The policy's own type ids and object names; empty where its space has no tokens."""
        return self.space.object_types if isinstance(self.space, TokenSpace) else {}

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.policy_head.weight.device

    # ----------------------------------------------------------------------------------------- playing elsewhere

    def initialize_to_environment(
        self,
        features: Space | Sequence[Feature],
        action_names: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        *,
        allow_missing_actions: bool = False,
    ) -> None:
        """Connect to a world whose feature ids, object ids, window or order of actions may differ from its own.

        Features are matched by name, values of `type_id` by object name, those of `last_action` by action name; places
        by their offset from the window's centre. What the policy does not know is dropped, with one warning that lists
        it. The mapping is made afresh and replaces the one before.

        Args:
            features: the world's space; or its feature table alone, where window and object ids are the policy's own.
            action_names: the world's actions in order; by default those of the space.
            device: where to play; by default where the weights are.
            allow_missing_actions: let the world have actions that the policy lacks; they are never chosen.

        Raises:
            PolicyMismatchError: another kind of observation, or actions that the policy lacks.
        """
        space = self._with_features(features)
        if action_names is None:
            action_names = space.action_names if isinstance(space, TokenSpace) else self.action_names
        if device is not None:
            self.to(device)
        self.connection = self._connect(space, tuple(action_names), allow_missing_actions=allow_missing_actions)

    def connected_to(
        self,
        features: Space | Sequence[Feature],
        action_names: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        *,
        allow_missing_actions: bool = False,
    ) -> Self:
        """Return a light copy, connected to another world: it shares the weights (as they are and will be), no more.

        Arguments and errors are those of `initialize_to_environment`; a `device` other than the weights' own copies
        the weights.
        """
        elsewhere = device is not None and torch.device(device) != self.device
        agent = copy.deepcopy(self) if elsewhere else copy.copy(self)
        agent.initialize_to_environment(features, action_names, device, allow_missing_actions=allow_missing_actions)
        return agent

    def _with_features(self, features: Space | Sequence[Feature]) -> Space:
        if not isinstance(features, Sequence):
            return features
        if not isinstance(self.space, TokenSpace):
            raise PolicyMismatchError(f"this policy sees {_describe(self.space)}: a feature table does not fit it")
        return replace(self.space, features=tuple(Feature(*feature) for feature in features))

    def _connect(self, space: Space, action_names: tuple[str, ...], *, allow_missing_actions: bool) -> Connection:
        luts: TokenLuts | None = None
        if isinstance(self.encoder, TokenEncoder) and isinstance(space, TokenSpace):
            # The list of actions that is played counts, should it differ from the one in the space.
            luts, unknown = self.encoder.layout.luts(replace(space, action_names=action_names))
            luts = luts.to(self.device)
            told = object()
            if unknown and self._told.setdefault(tuple(unknown), told) is told:  # once, also by copies and threads
                logger.warning("the policy does not know, and will not see: %s", ", ".join(unknown))
        elif not _same_kind(self.space, space):
            raise PolicyMismatchError(
                f"this policy sees {_describe(self.space)}, the world shows {_describe(space)}; "
                "choose a policy that was trained on such observations"
            )
        index = self._action_index(action_names, allow_missing=allow_missing_actions)
        return Connection(space, action_names, luts, index)

    def _action_index(self, action_names: tuple[str, ...], *, allow_missing: bool) -> Tensor | None:
        if action_names == self.action_names:
            return None
        own = {name: number for number, name in enumerate(self.action_names)}
        missing = [name for name in action_names if name not in own]
        if missing and not allow_missing:
            raise PolicyMismatchError(
                f"the world has actions that the policy lacks: {', '.join(missing)} "
                f"(the policy knows {', '.join(self.action_names)}); allow missing actions to play without them"
            )
        if len(missing) == len(action_names):
            raise PolicyMismatchError(
                f"the policy knows none of the world's actions: {', '.join(action_names)} "
                f"(it knows {', '.join(self.action_names)})"
            )
        return torch.tensor([own.get(name, -1) for name in action_names], device=self.device)


@cache
def _compiled(core_sequence: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compile once for all policies of an architecture."""
    compiled: Callable[..., Tensor] = torch.compile(core_sequence, dynamic=False)
    return compiled


def reset_state(state: State, reset: Tensor) -> State:
    """Return `state` with zeros where `reset`, bool [N], is true."""
    if not state or not bool(reset.any()):
        return state
    return {name: tensor.masked_fill(reset.reshape(-1, *[1] * (tensor.ndim - 1)), 0) for name, tensor in state.items()}


def _same_kind(own: Space, world: Space) -> bool:
    """Whether arrays of `world` fit a policy built for `own`; bounds do not matter."""
    if isinstance(own, TokenSpace) or isinstance(world, TokenSpace):
        return type(own) is type(world)
    if isinstance(own, BoxSpace) and isinstance(world, BoxSpace):
        return (own.shape, own.dtype == "uint8") == (world.shape, world.dtype == "uint8")
    return own == world


def _describe(space: Space) -> str:
    return "tokens of a grid world" if isinstance(space, TokenSpace) else str(space)
