"""A map beside its mirror images: nobody's side is the better one."""

from __future__ import annotations

import numpy as np

from metta.errors import MapError
from metta.grid.maps.config import MirrorMapConfig
from metta.grid.maps.grid_map import MAX_TEAM, GridMap, MapLimits, agent_name, agent_team, all_names, with_names


def mirror_map(config: MirrorMapConfig, part: GridMap) -> GridMap:
    """Return `part` and its images around the seam that they share."""
    images = [[_image(config, part, row, column) for column in range(_columns(config))] for row in range(_rows(config))]
    names = all_names([image for row in images for image in row])
    return GridMap(np.block([[with_names(image, names) for image in row] for row in images]), names)


def mirror_limits(config: MirrorMapConfig, part: MapLimits) -> MapLimits:
    """Return the limits of the whole, given those of the part."""
    counts: dict[str, int] = {}
    for number in range(_rows(config) * _columns(config)):
        for name, count in part.counts.items():
            name = _renamed(config, name, number)
            counts[name] = counts.get(name, 0) + count
    return MapLimits(part.height * _rows(config), part.width * _columns(config), counts)


def _rows(config: MirrorMapConfig) -> int:
    return 1 if config.axis == "horizontal" else 2


def _columns(config: MirrorMapConfig) -> int:
    return 1 if config.axis == "vertical" else 2


def _image(config: MirrorMapConfig, part: GridMap, row: int, column: int) -> GridMap:
    codes = part.codes[:: -1 if row else 1, :: -1 if column else 1]
    number = row * _columns(config) + column
    return GridMap(codes, tuple(_renamed(config, name, number) for name in part.names))


def _renamed(config: MirrorMapConfig, name: str, number: int) -> str:
    team = agent_team(name)
    if team is None or not config.swap_teams:
        return name
    if team <= MAX_TEAM < team + number:
        raise MapError(
            f"given true, which puts agents of team {team} into team {team + number}; allowed: teams 0 to {MAX_TEAM}",
            path="swap_teams",
        )
    return agent_name(team + number)
