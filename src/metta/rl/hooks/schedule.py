"""Moves hyperparameters along their schedules, as functions of the share of training that is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metta.config import Config
from metta.errors import ConfigError, nearest
from metta.rl.config import TrainerConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.optimizer import apply_settings
from metta.rl.schedule import scheduled

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class ScheduleHook(TrainerHook):
    """Sets every number that `trainer.schedules` names. The losses read theirs from `config`, which is the run's own.

    A value depends on `agent_step` alone, so a resumed run needs no state to go on. Raises ConfigError for a path that
    does not exist or is not a number.
    """

    critical = True

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        self._initial = {path: _read(config, path) for path in config.schedules}

    def on_new_training_run(self, state: TrainerState) -> None:
        self._apply(state)

    def on_epoch_end(self, state: TrainerState) -> None:
        for path in self._initial:
            state.metrics[f"parameters/{path}"] = _read(self._config, path)
        self._apply(state)

    def _apply(self, state: TrainerState) -> None:
        progress = state.agent_step / self._config.total_timesteps
        for path, initial in self._initial.items():
            holder, name = _holder(self._config, path)
            # past validation on purpose: a schedule may end at 0 where a setting must begin above it
            holder.__dict__[name] = scheduled(self._config.schedules[path], initial, progress)
        if state.optimizer is not None:
            apply_settings(self._config.optimizer, state.optimizer)


def _holder(config: TrainerConfig, path: str) -> tuple[Config, str]:
    *parents, name = path.split(".")
    holder: Config = config
    for depth, part in enumerate([*parents, name]):
        if part not in type(holder).model_fields:
            where = ".".join(["trainer", *parents[:depth]])
            raise ConfigError(
                f"trainer.schedules: {path!r} does not exist: {where} has no {part!r}"
                f"{nearest(part, type(holder).model_fields)}"
            )
        if depth < len(parents):
            holder = getattr(holder, part)
    return holder, name


def _read(config: TrainerConfig, path: str) -> float:
    holder, name = _holder(config, path)
    value = getattr(holder, name)
    if not isinstance(value, float):  # sizes and counts are whole numbers, and most are read once
        raise ConfigError(f"trainer.schedules: {path!r} is {value!r}, not a real number that a schedule could change")
    return value
