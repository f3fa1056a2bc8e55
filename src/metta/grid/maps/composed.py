"""Different maps in one row or column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metta.grid.maps.config import ComposedMapConfig
from metta.grid.maps.grid_map import WALL, GridMap, MapLimits, all_names, with_names
from metta.grid.maps.random import STAGE_INSTANCE, derive_seed


def part_seeds(config: ComposedMapConfig, seed: int) -> list[int]:
    """Return the seed of each part."""
    return [int(derive_seed(seed, STAGE_INSTANCE, i)) for i in range(len(config.parts))]


def compose_maps(config: ComposedMapConfig, parts: Sequence[GridMap], limits: Sequence[MapLimits]) -> GridMap:
    """Return `parts` one after another, each in the room that its `limits` need; what is left over is wall."""
    whole = composed_limits(config, limits)
    names = all_names(parts)
    codes = np.full((whole.height, whole.width), WALL, np.int16)
    start = 0
    for part, limit in zip(parts, limits, strict=True):
        row, column = (0, start) if config.direction == "row" else (start, 0)
        codes[row : row + part.height, column : column + part.width] = with_names(part, names)
        start += (limit.width if config.direction == "row" else limit.height) + config.between
    return GridMap(codes, names)


def composed_limits(config: ComposedMapConfig, limits: Sequence[MapLimits]) -> MapLimits:
    """Return the limits of the whole, given those of the parts."""
    walls = config.between * (len(limits) - 1)
    heights, widths = [limit.height for limit in limits], [limit.width for limit in limits]
    is_row = config.direction == "row"
    height = max(heights) if is_row else sum(heights) + walls
    width = sum(widths) + walls if is_row else max(widths)
    counts: dict[str, int] = {}
    for limit in limits:
        for name, count in limit.counts.items():
            counts[name] = counts.get(name, 0) + count
    counts["wall"] = height * width - sum(number for name, number in counts.items() if name != "wall")
    return MapLimits(height, width, counts)
