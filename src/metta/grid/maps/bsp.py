"""Rooms of many sizes by binary space partition: split a rectangle, split its halves, and join them by doors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metta.grid.maps.config import BspMapConfig
from metta.grid.maps.grid_map import EMPTY, WALL, GridMap, MapLimits
from metta.grid.maps.placing import furnish, placement_of, walled
from metta.grid.maps.random import STAGE_DOORS, STAGE_WALLS, draw_below, map_stream


class _Area(NamedTuple):
    row: int
    column: int
    height: int
    width: int


def build_bsp(config: BspMapConfig, seed: int) -> GridMap:
    """Return the rooms; there is one door in every wall that split a rectangle, so all rooms are joined."""

    def draw(walls_seed: int) -> NDArray[np.int16]:
        return _draw_rooms(config, walls_seed)

    return furnish(draw, placement_of(config.objects, config.agents), seed, builder="bsp")


def bsp_limits(config: BspMapConfig) -> MapLimits:
    """Return the size and the numbers as given."""
    return placement_of(config.objects, config.agents).limits(config.height + 2, config.width + 2)


def _draw_rooms(config: BspMapConfig, seed: int) -> NDArray[np.int16]:
    codes = walled(config.height, config.width, border=1)
    walls: list[_Area] = []
    areas = [_Area(1, 1, config.height, config.width)]
    key = int(map_stream(seed, STAGE_WALLS))
    for number, area in enumerate(areas):  # grows while it is read
        wall = _split(area, config.min_room, key, number)
        if wall is not None:
            walls.append(wall)
            codes[wall.row : wall.row + wall.height, wall.column : wall.column + wall.width] = WALL
            areas += _halves(area, wall)
    key = int(map_stream(seed, STAGE_DOORS))
    for number, wall in enumerate(walls):
        _open_door(codes, wall, key, number)
    return codes


def _split(area: _Area, min_room: int, key: int, number: int) -> _Area | None:
    """Return the wall that splits an area across its longer side, or None if it stays a room."""
    longer = max(area.height, area.width)
    places = longer - 2 * min_room
    if places < 1 or (longer <= 3 * min_room and int(draw_below(key, 2 * number, 4)) == 0):
        return None
    at = min_room + int(draw_below(key, 2 * number + 1, places))
    if area.height == longer:
        return _Area(area.row + at, area.column, 1, area.width)
    return _Area(area.row, area.column + at, area.height, 1)


def _halves(area: _Area, wall: _Area) -> list[_Area]:
    if wall.height == 1:
        above = wall.row - area.row
        return [
            _Area(area.row, area.column, above, area.width),
            _Area(wall.row + 1, area.column, area.height - above - 1, area.width),
        ]
    left = wall.column - area.column
    return [
        _Area(area.row, area.column, area.height, left),
        _Area(area.row, wall.column + 1, area.height, area.width - left - 1),
    ]


def _open_door(codes: NDArray[np.int16], wall: _Area, key: int, number: int) -> None:
    """Open one cell of a wall that has open cells on both sides; its ends always do, rooms being 2 wide or more."""
    if wall.height == 1:
        line = slice(wall.column, wall.column + wall.width)
        beside = (codes[wall.row - 1, line] == EMPTY) & (codes[wall.row + 1, line] == EMPTY)
    else:
        line = slice(wall.row, wall.row + wall.height)
        beside = (codes[line, wall.column - 1] == EMPTY) & (codes[line, wall.column + 1] == EMPTY)
    places = np.flatnonzero(beside)
    place = int(places[int(draw_below(key, number, len(places)))])
    if wall.height == 1:
        codes[wall.row, wall.column + place] = EMPTY
    else:
        codes[wall.row + place, wall.column] = EMPTY
