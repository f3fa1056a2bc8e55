"""Map builders: functions of (their configuration, a seed) that return a `GridMap`."""

from __future__ import annotations

from metta.grid.maps.build import build_map, map_functions, map_limits, path_of_name
from metta.grid.maps.config import MapConfig
from metta.grid.maps.drawn import map_from_array, map_from_image
from metta.grid.maps.grid_map import GridMap, MapLimits, agent_name, agent_team, from_names
from metta.grid.maps.symbols import SYMBOL_OF, SYMBOLS
from metta.grid.maps.text import map_text

__all__ = [
    "SYMBOLS",
    "SYMBOL_OF",
    "GridMap",
    "MapConfig",
    "MapLimits",
    "agent_name",
    "agent_team",
    "build_map",
    "from_names",
    "map_from_array",
    "map_from_image",
    "map_functions",
    "map_limits",
    "map_text",
    "path_of_name",
]
