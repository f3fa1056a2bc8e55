"""The table of architectures, and the one place where policies are made."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from metta.agent.agalite import AgaliteConfig, AgalitePolicy
from metta.agent.fast import FastConfig, FastPolicy
from metta.agent.lstm import LstmConfig, LstmPolicy
from metta.agent.policy_agent import PolicyAgent, PolicyConfig
from metta.envs import Space, TokenSpace
from metta.errors import ConfigError, nearest


class Architecture(NamedTuple):
    """A row of the table."""

    config_class: type[PolicyConfig]
    agent_class: type[PolicyAgent]


ARCHITECTURES: dict[str, Architecture] = {
    "fast": Architecture(FastConfig, FastPolicy),
    "lstm": Architecture(LstmConfig, LstmPolicy),
    "agalite": Architecture(AgaliteConfig, AgalitePolicy),
}


class CustomConfig(PolicyConfig):
    """A policy class of the user's own: `architecture` is its dotted path.

    Its `config_class`, a PolicyConfig whose `architecture` is a plain str, is made of that path and `settings`.
    """

    architecture: str
    settings: dict[str, Any] = Field(default_factory=dict)


def _tag(value: Any) -> str:
    name = value.get("architecture", "fast") if isinstance(value, dict) else getattr(value, "architecture", "fast")
    return "custom" if isinstance(name, str) and "." in name else str(name)


# The type of a tool's `policy` field: which class it is follows from `architecture`.
PolicyChoice = Annotated[
    Annotated[FastConfig, Tag("fast")]
    | Annotated[LstmConfig, Tag("lstm")]
    | Annotated[AgaliteConfig, Tag("agalite")]
    | Annotated[CustomConfig, Tag("custom")],
    Discriminator(_tag),
]
_CHOICE: TypeAdapter[PolicyConfig] = TypeAdapter(PolicyChoice)


def policy_config(choice: str | PolicyConfig | dict[str, Any]) -> PolicyConfig:
    """Return the configuration for a name, a dictionary with `architecture` in it, or a configuration.

    Raises:
        ConfigError: an architecture that is not in the table, or a setting that it does not have.
    """
    if isinstance(choice, PolicyConfig):
        return choice
    values = {"architecture": choice} if isinstance(choice, str) else choice
    name = _tag(values)
    if name != "custom" and name not in ARCHITECTURES:
        raise ConfigError(
            f"no architecture {name!r}{nearest(name, ARCHITECTURES)}; there are {', '.join(ARCHITECTURES)}, "
            "or the dotted path of a PolicyAgent class of your own"
        )
    try:
        return _CHOICE.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        if first["type"] == "extra_forbidden":
            allowed = list((CustomConfig if name == "custom" else ARCHITECTURES[name].config_class).model_fields)
            raise ConfigError(
                f"policy.{where}: {name} has no such setting{nearest(where, allowed)}; it has {', '.join(allowed)}"
            ) from error
        raise ConfigError(f"policy.{where}: {first['msg']} (given {first['input']!r})") from error


def make_policy(
    choice: str | PolicyConfig | dict[str, Any],
    space: Space,
    seed: int = 0,
    *,
    action_names: Sequence[str] | None = None,
) -> PolicyAgent:
    """Make a policy with fresh weights, the same for the same seed; global random state is left as it was.

    Args:
        choice: an architecture's name, its configuration, or a dictionary of it.
        space: what it will see.
        seed: of its weights.
        action_names: what it will choose from; by default the actions of a token space.

    Raises:
        ConfigError: an unknown architecture or setting, or no actions given for a space that names none.
    """
    config = policy_config(choice)
    if action_names is None:
        if not isinstance(space, TokenSpace):
            raise ConfigError(f"action_names must be given: {space} does not name any")
        action_names = space.action_names
    agent_class = policy_class(config.architecture)
    if isinstance(config, CustomConfig):
        config = agent_class.config_class.model_validate({"architecture": config.architecture, **config.settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return agent_class(config, space, action_names)


def policy_class(architecture: str) -> type[PolicyAgent]:
    """Return the class of a name in the table, or at a dotted path that the user has given.

    Raises:
        ConfigError: there is none, or it is not a PolicyAgent.
    """
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture].agent_class
    module_name, _, class_name = architecture.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"no policy class {architecture!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, PolicyAgent)):
        raise ConfigError(f"{architecture!r} is not a PolicyAgent class")
    return found
