"""A grid of equal rooms, with a door between each two neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metta.grid.maps.config import RoomsMapConfig
from metta.grid.maps.grid_map import EMPTY, WALL, GridMap, MapLimits
from metta.grid.maps.placing import furnish, placement_of
from metta.grid.maps.random import STAGE_DOORS, draw_below, map_stream


def build_rooms(config: RoomsMapConfig, seed: int) -> GridMap:
    """Return the rooms, every door at a random place in its wall; no object stands in a door or before it."""

    def draw(walls_seed: int) -> NDArray[np.int16]:
        return _draw_rooms(config, walls_seed)

    return furnish(draw, placement_of(config.objects, config.agents), seed, builder="rooms")


def rooms_limits(config: RoomsMapConfig) -> MapLimits:
    """Return the size and the numbers as given."""
    return placement_of(config.objects, config.agents).limits(*_size(config))


def _size(config: RoomsMapConfig) -> tuple[int, int]:
    return config.rows * (config.room_height + 1) + 1, config.columns * (config.room_width + 1) + 1


def _draw_rooms(config: RoomsMapConfig, seed: int) -> NDArray[np.int16]:
    height, width = config.room_height, config.room_width
    codes = np.full(_size(config), WALL, np.int16)
    key = int(map_stream(seed, STAGE_DOORS))
    for room in range(config.rows * config.columns):
        row = room // config.columns * (height + 1) + 1
        column = room % config.columns * (width + 1) + 1
        codes[row : row + height, column : column + width] = EMPTY
        if room % config.columns < config.columns - 1:
            codes[row + int(draw_below(key, 2 * room, height)), column + width] = EMPTY
        if room // config.columns < config.rows - 1:
            codes[row + height, column + int(draw_below(key, 2 * room + 1, width))] = EMPTY
    return codes
