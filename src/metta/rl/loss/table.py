"""Which losses there are: their configuration under `trainer.losses`, and how they are built from it."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, ValidationError, field_validator

from metta.config import Config
from metta.errors import ConfigError, nearest
from metta.rl.kickstarter import Kickstarter, KickstarterConfig
from metta.rl.loss.base_loss import BaseLoss, LossConfig, LossContext
from metta.rl.loss.dynamics import DynamicsConfig, DynamicsLoss
from metta.rl.loss.ema import EmaConfig, EmaLoss
from metta.rl.loss.ppo import PPOConfig, PPOLoss
from metta.rl.user_class import load_user_class

# In the order in which they are called; a user's own come after them.
LOSSES: dict[str, type[BaseLoss]] = {
    "ppo": PPOLoss,
    "kickstarter": Kickstarter,
    "ema": EmaLoss,
    "dynamics": DynamicsLoss,
}


class UserLossConfig(Config):
    """A loss of the user's own, `path` being `package.module.Class`; `config` holds fields of its `config_class`.

    They are checked, and the missing ones filled in, when the run is built.
    """

    path: str = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("config", mode="before")
    @classmethod
    def _as_dictionary(cls, config: Any) -> Any:
        """Take an object of the `config_class` too, as a recipe may give it."""
        return config.model_dump() if isinstance(config, LossConfig) else config


class LossesConfig(Config):
    """The losses of a run, summed; one field a loss, and `user` for those of the user's own, by name."""

    ppo: PPOConfig = Field(default_factory=PPOConfig)
    kickstarter: KickstarterConfig = Field(default_factory=KickstarterConfig)
    ema: EmaConfig = Field(default_factory=EmaConfig)
    dynamics: DynamicsConfig = Field(default_factory=DynamicsConfig)
    user: dict[str, UserLossConfig] = Field(default_factory=dict)


def build_losses(config: LossesConfig, context: LossContext) -> dict[str, BaseLoss]:
    """Build the losses of a run by name, in the order in which they are called.

    The configurations of the user's losses are completed in `config`. Weights of networks depend on the run's seed
    alone; global random state is left as it was. Raises ConfigError for a user's loss that
    cannot be loaded or configured, and what the losses' own constructors raise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        losses = {
            name: loss_class(getattr(config, name), context)
            for name, loss_class in LOSSES.items()
            if getattr(config, name).is_used
        }
        for name, entry in config.user.items():
            losses[f"user.{name}"] = _user_loss(name, entry, context)
    for loss in losses.values():
        loss.networks.to(context.device)
    _check_buffers(losses)
    return losses


def _user_loss(name: str, entry: UserLossConfig, context: LossContext) -> BaseLoss:
    where = f"trainer.losses.user.{name}"
    loss_class = load_user_class(entry.path, BaseLoss, where=f"{where}.path")
    config = _checked_config(loss_class, entry.config, where)
    entry.config = config.model_dump(mode="json")
    try:
        loss = loss_class(config, context)
    except TypeError as error:
        raise ConfigError(
            f"{where}: {entry.path} cannot be built ({error}); it is called with (config, context)"
        ) from error
    if not hasattr(loss, "networks"):
        raise ConfigError(f"{where}: the __init__ of {entry.path} does not call super().__init__(config, context)")
    loss.metric_prefix = f"{name}/"
    return loss


def _checked_config(loss_class: type[BaseLoss], given: Any, where: str) -> LossConfig:
    kind = loss_class.config_class
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(one, kind, f"{where}.config") for one in error.errors())) from error


def _explain(error: Any, kind: type[LossConfig], where: str) -> str:
    path, fields = ".".join([where, *map(str, error["loc"])]), list(kind.model_fields)
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        return f"{path}: {kind.__name__} has no {name!r}{nearest(name, fields)}; it has {', '.join(fields)}"
    return f"{path}: given {error['input']!r}, {error['msg'][:1].lower()}{error['msg'][1:]}"


def _check_buffers(losses: dict[str, BaseLoss]) -> None:
    owner: dict[str, str] = {}
    for name, loss in losses.items():
        for buffer in loss.experience_spec():
            if buffer in owner:
                raise ConfigError(
                    f"trainer.losses: {owner[buffer]} and {name} both keep a buffer {buffer!r} in the experience; "
                    "give one of them another name in its experience_spec"
                )
            owner[buffer] = name
