"""Moves hyperparameters along their schedules: over the share of training that is done, or along a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metta.config import Config
from metta.errors import ConfigError, nearest
from metta.rl.config import TrainerConfig
from metta.rl.hooks.base_hook import TrainerHook
from metta.rl.loss.base_loss import BaseLoss
from metta.rl.optimizer import apply_settings
from metta.rl.schedule import ScheduleConfig, progress_between, scheduled
from metta.rl.watched_metric import WatchedMetric

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


@dataclass(slots=True)
class _Setting:
    """A number that follows a schedule."""

    path: str
    holder: Config  # the configuration that is read while training
    name: str  # of the field in it
    schedule: ScheduleConfig
    initial: float
    metric: WatchedMetric | None

    @property
    def value(self) -> float:
        value: float = self.holder.__dict__[self.name]
        return value

    def move(self, done: float) -> None:
        """Set the number; `done` is the share of training that is done."""
        progress = done if self.metric is None else progress_between(self.schedule, self.metric.value)
        # past validation on purpose: a schedule may end at 0 where a setting must begin above it
        self.holder.__dict__[self.name] = scheduled(self.schedule, self.initial, progress)


class ScheduleHook(TrainerHook):
    """Sets every number that `trainer.schedules` names, on every rank alike.

    `losses.<name>.<field>` is looked up in the `config` of the loss of that name, a user's own too; all other paths
    begin at `trainer`. Raises ConfigError for a path that does not exist or is not a real number.
    """

    critical = True
    every_rank = True

    def __init__(self, config: TrainerConfig, losses: Mapping[str, BaseLoss]) -> None:
        self._config = config
        self._settings = [_setting(config, losses, path, schedule) for path, schedule in config.schedules.items()]
        self._metrics = {setting.path: setting.metric for setting in self._settings if setting.metric is not None}

    def on_new_training_run(self, state: TrainerState) -> None:
        if state.stats_tracker is not None:
            for metric in self._metrics.values():
                metric.check(state.stats_tracker.env)
        self._move(state)

    def on_epoch_end(self, state: TrainerState) -> None:
        for setting in self._settings:
            state.metrics[f"parameters/{setting.path}"] = setting.value
        for metric in self._metrics.values():
            metric.update(state)
        self._move(state)

    def _move(self, state: TrainerState) -> None:
        done = state.agent_step / self._config.total_timesteps
        for setting in self._settings:
            setting.move(done)
        if state.optimizer is not None:
            apply_settings(self._config.optimizer, state.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return what the metrics that steer have shown; all else follows from `agent_step`."""
        return {path: metric.state_dict() for path, metric in self._metrics.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for path, metric in self._metrics.items():
            metric.load_state_dict(state.get(path, {}))  # a schedule that is new in a resumed run begins with nothing


def _setting(config: TrainerConfig, losses: Mapping[str, BaseLoss], path: str, schedule: ScheduleConfig) -> _Setting:
    holder, name = _find(config, losses, path)
    value = getattr(holder, name)
    if not isinstance(value, float):  # sizes and counts are whole numbers, and most are read once
        raise ConfigError(f"trainer.schedules: {path!r} is {value!r}, not a real number that a schedule could change")
    metric = None if schedule.by is None else WatchedMetric(schedule.by, episodes=schedule.episodes)
    return _Setting(path, holder, name, schedule, value, metric)


def _find(config: TrainerConfig, losses: Mapping[str, BaseLoss], path: str) -> tuple[Config, str]:
    """Return the configuration that holds the number at `path`, and the number's name in it."""
    parts = path.split(".")
    holder, begin = _loss_config(losses, parts, path) if parts[0] == "losses" else (config, 0)
    for depth in range(begin, len(parts)):
        fields = type(holder).model_fields if isinstance(holder, Config) else {}
        if parts[depth] not in fields:
            where = ".".join(["trainer", *parts[:depth]])
            raise ConfigError(
                f"trainer.schedules: {path!r} does not exist: {where} has no {parts[depth]!r}"
                f"{nearest(parts[depth], fields)}"
            )
        if depth < len(parts) - 1:
            holder = getattr(holder, parts[depth])
    return holder, parts[-1]


def _loss_config(losses: Mapping[str, BaseLoss], parts: list[str], path: str) -> tuple[Config, int]:
    """Return the configuration that the loss named by `parts` reads, and how many parts its name takes."""
    for name, loss in losses.items():
        length = 1 + len(name.split("."))
        if ".".join(parts[1:length]) == name and len(parts) > length:
            # a user's loss has its fields below `losses.user.<name>.config`
            is_below = parts[length] == "config" and "config" not in type(loss.config).model_fields
            return loss.config, length + is_below
    given = ".".join(parts[1:-1]) or parts[-1]
    raise ConfigError(
        f"trainer.schedules: {path!r}: this run has no loss {given!r}{nearest(given, losses)}; "
        f"it has {', '.join(losses) or 'none'}"
    )
