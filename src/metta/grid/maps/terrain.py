"""Obstacles scattered in clusters over a rectangle, everything within reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metta.errors import MapError
from metta.grid.jit import builder
from metta.grid.maps.config import TerrainMapConfig
from metta.grid.maps.grid_map import WALL, GridMap, MapLimits
from metta.grid.maps.placing import furnish, may_fill, placement_of, walled
from metta.grid.maps.random import STAGE_SIZE, STAGE_WALLS, draw_below, draw_between, map_stream

_SHARE_STEPS = 1 << 16  # shares of walls are drawn in steps of this fraction of their range

# Numbers of the stage of sizes; objects follow.
_HEIGHT, _WIDTH, _SHARE, _FIRST_OBJECT = 0, 1, 2, 3


def build_terrain(config: TerrainMapConfig, seed: int) -> GridMap:
    """Return a map whose size, share of walls and numbers of objects are drawn from `seed`.

    Walls grow by random walks, and only where the open cells stay one connected region; so every object that the
    region touches can be reached by every agent.
    """
    key = int(map_stream(seed, STAGE_SIZE))
    height = _draw(key, _HEIGHT, config.height, "height")
    width = _draw(key, _WIDTH, config.width, "width")
    low, high = _share_range(config)
    share = low + (high - low) * int(draw_below(key, _SHARE, _SHARE_STEPS + 1)) / _SHARE_STEPS
    objects = {
        name: _draw(key, _FIRST_OBJECT + i, number, f"objects.{name}")
        for i, (name, number) in enumerate(config.objects.items())
    }

    def draw(walls_seed: int) -> NDArray[np.int16]:
        codes = walled(height, width, border=config.border)
        grow_walls(codes, config.border, round(share * height * width), walls_seed)
        return codes

    return furnish(draw, placement_of(objects, config.agents), seed, builder="terrain")


def terrain_limits(config: TerrainMapConfig) -> MapLimits:
    """Return the upper ends of all ranges."""
    objects = {name: _range(number, f"objects.{name}")[1] for name, number in config.objects.items()}
    height = _range(config.height, "height")[1] + 2 * config.border
    width = _range(config.width, "width")[1] + 2 * config.border
    return placement_of(objects, config.agents).limits(height, width)


@builder
def grow_walls(codes: NDArray[np.int16], border: int, target: int, seed: int) -> int:
    """Put up to `target` walls in clusters on `codes` int16 [H, W]; return how many stand.

    A cluster is the trace of a random walk of 4 to 15 steps. Where the walks find no more room, cells are tried one
    by one; the number falls short only if no cell is left that may be filled.
    """
    H = codes.shape[0] - 2 * border
    W = codes.shape[1] - 2 * border
    key = map_stream(seed, STAGE_WALLS)
    drawn = 0
    placed = 0
    for _ in range(H * W):
        if placed >= target:
            return placed
        cell = draw_below(key, drawn, H * W)
        length = draw_between(key, drawn + 1, 4, 15)
        drawn += 2
        row, column = cell // W, cell % W
        for _ in range(length):
            if placed < target and may_fill(codes, row + border, column + border):
                codes[row + border, column + border] = WALL
                placed += 1
            step = draw_below(key, drawn, 4)
            drawn += 1
            row = min(max(row + (step == 1) - (step == 0), 0), H - 1)
            column = min(max(column + (step == 3) - (step == 2), 0), W - 1)
    start = draw_below(key, drawn, H * W)
    for i in range(H * W):
        cell = (start + i) % (H * W)
        if placed < target and may_fill(codes, cell // W + border, cell % W + border):
            codes[cell // W + border, cell % W + border] = WALL
            placed += 1
    return placed


def _draw(key: int, index: int, value: int | tuple[int, int], field: str) -> int:
    low, high = _range(value, field)
    return int(draw_between(key, index, low, high))


def _range(value: int | tuple[int, int], field: str) -> tuple[int, int]:
    low, high = (value, value) if isinstance(value, int) else value
    if low > high:
        raise MapError(f"given [{low}, {high}]; allowed: [low, high] with low up to high", path=field)
    return low, high


def _share_range(config: TerrainMapConfig) -> tuple[float, float]:
    low, high = (config.walls, config.walls) if isinstance(config.walls, float | int) else config.walls
    if low > high:
        raise MapError(f"given [{low}, {high}]; allowed: [low, high] with low up to high", path="walls")
    return low, high
