"""From a map's configuration and a seed to a map: the one table of builders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from metta.grid.maps.ascii import ascii_limits, build_ascii
from metta.grid.maps.bsp import bsp_limits, build_bsp
from metta.grid.maps.composed import compose_maps, composed_limits, part_seeds
from metta.grid.maps.config import ComposedMapConfig, InstancesMapConfig, MapConfig, MirrorMapConfig
from metta.grid.maps.function import build_function, function_limits
from metta.grid.maps.grid_map import GridMap, MapLimits
from metta.grid.maps.instances import arrange_instances, instance_seeds, instances_limits
from metta.grid.maps.maze import build_maze, maze_limits
from metta.grid.maps.mirror import mirror_limits, mirror_map
from metta.grid.maps.rooms import build_rooms, rooms_limits
from metta.grid.maps.scatter import build_scatter, scatter_limits
from metta.grid.maps.terrain import build_terrain, terrain_limits


class _Builder(NamedTuple):
    build: Callable[[Any, int], GridMap]
    limits: Callable[[Any], MapLimits]


# Maps that are made of nothing but themselves; those made of other maps are taken apart below.
_BUILDERS = {
    "ascii": _Builder(build_ascii, ascii_limits),
    "bsp": _Builder(build_bsp, bsp_limits),
    "function": _Builder(build_function, function_limits),
    "maze": _Builder(build_maze, maze_limits),
    "rooms": _Builder(build_rooms, rooms_limits),
    "scatter": _Builder(build_scatter, scatter_limits),
    "terrain": _Builder(build_terrain, terrain_limits),
}


def build_map(config: MapConfig, seed: int) -> GridMap:
    """Return the map of `config` for a seed (0..2**63-1): the same on every machine, and the caller's own.

    A configuration with a seed of its own plays that one, whatever `seed` is.
    Raises MapError when things do not fit, or a drawing is wrong.
    """
    if config.type != "ascii" and config.seed is not None:
        seed = config.seed
    if isinstance(config, InstancesMapConfig):
        parts = [build_map(config.instance, part_seed) for part_seed in instance_seeds(config, seed)]
        return arrange_instances(config, parts, map_limits(config.instance))
    if isinstance(config, MirrorMapConfig):
        return mirror_map(config, build_map(config.part, seed))
    if isinstance(config, ComposedMapConfig):
        seeds = part_seeds(config, seed)
        parts = [build_map(part, part_seed) for part, part_seed in zip(config.parts, seeds, strict=True)]
        return compose_maps(config, parts, [map_limits(part) for part in config.parts])
    return _BUILDERS[config.type].build(config, seed)


def map_limits(config: MapConfig) -> MapLimits:
    """Return the largest size and numbers that any seed gives."""
    if isinstance(config, InstancesMapConfig):
        return instances_limits(config, map_limits(config.instance))
    if isinstance(config, MirrorMapConfig):
        return mirror_limits(config, map_limits(config.part))
    if isinstance(config, ComposedMapConfig):
        return composed_limits(config, [map_limits(part) for part in config.parts])
    return _BUILDERS[config.type].limits(config)
