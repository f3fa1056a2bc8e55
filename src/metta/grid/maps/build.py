"""From a map's configuration and a seed to a map: the one table of builders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from metta.errors import within
from metta.grid.maps.ascii import ascii_limits, build_ascii
from metta.grid.maps.bsp import bsp_limits, build_bsp
from metta.grid.maps.composed import compose_maps, composed_limits, part_seeds
from metta.grid.maps.config import (
    AsciiMapConfig,
    ComposedMapConfig,
    FunctionMapConfig,
    InstancesMapConfig,
    MapConfig,
    MirrorMapConfig,
    PlainMapConfig,
)
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
        with within("instance"):
            parts = [build_map(config.instance, part_seed) for part_seed in instance_seeds(config, seed)]
        return arrange_instances(config, parts, map_limits(config.instance))
    if isinstance(config, MirrorMapConfig):
        with within("part"):
            part = build_map(config.part, seed)
        return mirror_map(config, part)
    if isinstance(config, ComposedMapConfig):
        seeds = part_seeds(config, seed)
        parts = []
        for i, part_seed in enumerate(seeds):
            with within(f"parts.{i}"):
                parts.append(build_map(config.parts[i], part_seed))
        return compose_maps(config, parts, [map_limits(part) for part in config.parts])
    return _BUILDERS[config.type].build(config, seed)


def map_limits(config: MapConfig) -> MapLimits:
    """Return the largest size and numbers that any seed gives."""
    limits = []
    for path, part in parts_of(config):
        with within(path):
            limits.append(map_limits(part))
    if isinstance(config, InstancesMapConfig):
        return instances_limits(config, limits[0])
    if isinstance(config, MirrorMapConfig):
        return mirror_limits(config, limits[0])
    if isinstance(config, ComposedMapConfig):
        return composed_limits(config, limits)
    return _BUILDERS[config.type].limits(config)


def parts_of(config: MapConfig) -> Iterator[tuple[str, PlainMapConfig]]:
    """Yield the maps that a map is made of, each with its path; nothing for one that is made of itself."""
    if isinstance(config, InstancesMapConfig):
        yield "instance", config.instance
    elif isinstance(config, MirrorMapConfig):
        yield "part", config.part
    elif isinstance(config, ComposedMapConfig):
        yield from ((f"parts.{i}", part) for i, part in enumerate(config.parts))


def map_functions(config: MapConfig) -> list[str]:
    """Return the dotted paths of a user's own builders that a map is made with."""
    own = [config.function] if isinstance(config, FunctionMapConfig) else []
    return own + [path for _, part in parts_of(config) for path in map_functions(part)]


def path_of_name(config: MapConfig, name: str) -> str:
    """Return the path at which a map's configuration speaks of a thing; an empty text if nowhere by that name."""
    for path, part in parts_of(config):
        if inner := path_of_name(part, name):
            return f"{path}.{inner}"
    if isinstance(config, AsciiMapConfig):
        symbols = [symbol for symbol, own in config.legend.items() if own == name]
        drawn = name in build_map(config, 0).names
        return f"legend.{symbols[0]}" if symbols else "text" if drawn else ""
    if isinstance(config, FunctionMapConfig):
        return "function"
    return f"objects.{name}" if name in getattr(config, "objects", {}) else ""
