"""How a batch is cut into worlds and minibatches."""

from __future__ import annotations

import math
import sys

from metta.errors import ConfigError
from metta.rl.config import TrainerConfig


def fit_batch(
    config: TrainerConfig, *, agents_per_world: int, fixed_worlds: int | None = None, processes: int = 1
) -> tuple[TrainerConfig, int]:
    """Return the trainer's configuration with a batch that can be cut, and the number of worlds of all processes.

    A run of fewer steps than a batch gets the smallest batch that works: a world a process (`fixed_worlds` where their
    number is given), one segment an agent, one minibatch. Raises ConfigError, with the nearest sizes that work, when
    the batch does not fit the agents or cannot be shared out evenly.
    """
    horizon = config.bptt_horizon
    least = fixed_worlds or processes
    smallest = least * agents_per_world * horizon
    if config.total_timesteps < config.batch_size and config.batch_size > smallest:
        print(
            f"total_timesteps={config.total_timesteps} is below batch_size={config.batch_size}: "
            f"the batch shrinks to {smallest} ({least} x {agents_per_world} agents, {horizon} steps)",
            file=sys.stderr,
        )
        sizes = {"batch_size": smallest, "minibatch_size": smallest, "num_worlds": least}
        return config.model_copy(update=sizes, deep=True), least
    unit = (fixed_worlds or config.num_worlds or 1) * agents_per_world * horizon
    if config.batch_size % unit:
        step = math.lcm(unit, config.minibatch_size)
        below = config.batch_size // step * step
        nearest = f"{below} and {below + step}" if below else f"{step}"
        raise ConfigError(
            f"trainer.batch_size={config.batch_size} cannot be cut into segments: it must be a multiple of {unit} "
            f"({unit // agents_per_world // horizon} x {agents_per_world} agents x bptt_horizon {horizon}) and of "
            f"minibatch_size={config.minibatch_size}; the nearest that work: {nearest}"
        )
    worlds = fixed_worlds or config.num_worlds or config.batch_size // unit
    for name, size, parts in (
        ("num_worlds", worlds, processes),
        ("minibatch_size", config.minibatch_size, processes * horizon),
    ):
        if size % parts:
            below = size // parts * parts
            raise ConfigError(
                f"{processes} processes cannot share trainer.{name}={size}: it must be a multiple of {parts}; the "
                f"nearest that work: {f'{below} and ' if below else ''}{below + parts} (or another system.processes)"
            )
    return config.model_copy(deep=True), worlds
