"""Things scattered at random over a rectangle. Nothing is promised to be reachable."""

from __future__ import annotations

from metta.grid.maps.config import ScatterMapConfig
from metta.grid.maps.grid_map import GridMap, MapLimits
from metta.grid.maps.placing import place_all, placement_of, walled


def build_scatter(config: ScatterMapConfig, seed: int) -> GridMap:
    """Return a map with every object and agent on a cell of its own, all arrangements equally likely."""
    codes = walled(config.height, config.width, border=config.border)
    placement = placement_of(config.objects, config.agents)
    place_all(codes, placement, seed, reachable=False, builder="scatter")
    return GridMap(codes, placement.names)


def scatter_limits(config: ScatterMapConfig) -> MapLimits:
    """Return the size, and the numbers as given."""
    border = 2 * config.border
    return placement_of(config.objects, config.agents).limits(config.height + border, config.width + border)
