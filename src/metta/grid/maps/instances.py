"""Several instances of one map side by side, each from a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metta.grid.maps.config import InstancesMapConfig
from metta.grid.maps.grid_map import WALL, GridMap, MapLimits, all_names, with_names
from metta.grid.maps.random import STAGE_INSTANCE, derive_seed


def instance_seeds(config: InstancesMapConfig, seed: int) -> list[int]:
    """Return the seed of each instance."""
    return [int(derive_seed(seed, STAGE_INSTANCE, i)) for i in range(config.instances)]


def arrange_instances(config: InstancesMapConfig, parts: Sequence[GridMap], one: MapLimits) -> GridMap:
    """Return `parts` in rows of ceil(sqrt(n)), walled in as a whole.

    Each gets the room of the largest that the configuration allows (`one`); what is left over is wall.
    """
    limits = instances_limits(config, one)
    columns = _columns(config)
    names = all_names(parts)
    codes = np.full((limits.height, limits.width), WALL, np.int16)
    for i, part in enumerate(parts):
        row = config.border + i // columns * (one.height + config.between)
        column = config.border + i % columns * (one.width + config.between)
        codes[row : row + part.height, column : column + part.width] = with_names(part, names)
    return GridMap(codes, names)


def instances_limits(config: InstancesMapConfig, one: MapLimits) -> MapLimits:
    """Return the size of the whole and the numbers of all instances, given those of one."""
    columns = _columns(config)
    rows = math.ceil(config.instances / columns)
    height = rows * (one.height + config.between) - config.between + 2 * config.border
    width = columns * (one.width + config.between) - config.between + 2 * config.border
    counts = {name: number * config.instances for name, number in one.counts.items()}
    counts["wall"] = height * width - sum(number for name, number in counts.items() if name != "wall")
    return MapLimits(height, width, counts)


def _columns(config: InstancesMapConfig) -> int:
    return math.ceil(math.sqrt(config.instances))
