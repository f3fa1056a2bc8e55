"""Perfect mazes: between two cells there is exactly one way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metta.errors import MapError
from metta.grid.jit import builder
from metta.grid.maps.config import MazeMapConfig
from metta.grid.maps.grid_map import EMPTY, WALL, GridMap, MapLimits
from metta.grid.maps.placing import furnish, placement_of
from metta.grid.maps.random import STAGE_WALLS, draw_below, map_stream

# A maze is a graph: its cells stand at odd rows and columns of the map, the edges between them are the walls that
# may be opened. Edge 2 * cell leads east, edge 2 * cell + 1 south.


def build_maze(config: MazeMapConfig, seed: int) -> GridMap:
    """Return a maze with objects at dead ends and agents anywhere in it.

    Raises MapError for an even size, and when there are more objects than dead ends.
    """
    for side, cells in (("width", config.width), ("height", config.height)):
        if cells % 2 == 0:
            near = f"as {cells - 1} or {cells + 1}"
            raise MapError(
                f"given {cells}; allowed: odd numbers from 5 to 1023 (cells, and walls between), {near}", path=side
            )
    carve = carve_prim if config.algorithm == "prim" else carve_kruskal

    def draw(walls_seed: int) -> NDArray[np.int16]:
        codes = np.full((config.height, config.width), WALL, np.int16)
        carve(codes, walls_seed)
        return codes

    return furnish(draw, placement_of(config.objects, config.agents), seed, builder="maze")


def maze_limits(config: MazeMapConfig) -> MapLimits:
    """Return the size and the numbers as given."""
    return placement_of(config.objects, config.agents).limits(config.height, config.width)


@builder
def _open_edge(codes: NDArray[np.int16], edge: int, columns: int) -> None:
    cell = edge // 2
    row = 2 * (cell // columns) + 1
    column = 2 * (cell % columns) + 1
    codes[row + edge % 2, column + 1 - edge % 2] = EMPTY


@builder
def _has_edge(edge: int, rows: int, columns: int) -> bool:
    cell = edge // 2
    if edge % 2 == 0:
        return cell % columns < columns - 1
    return cell // columns < rows - 1


@builder
def carve_kruskal(codes: NDArray[np.int16], seed: int) -> None:
    """Open walls in random order, each that joins two parts not joined yet. `codes` int16 [H, W], all walls.

    Kruskal (1956), On the shortest spanning subtree of a graph.
    """
    rows = codes.shape[0] // 2
    columns = codes.shape[1] // 2
    parent = np.arange(rows * columns)
    edges = np.empty(2 * rows * columns, np.int64)
    num_edges = 0
    for edge in range(2 * rows * columns):
        if _has_edge(edge, rows, columns):
            edges[num_edges] = edge
            num_edges += 1
    for cell in range(rows * columns):
        codes[2 * (cell // columns) + 1, 2 * (cell % columns) + 1] = EMPTY
    key = map_stream(seed, STAGE_WALLS)
    for i in range(num_edges):
        j = i + draw_below(key, i, num_edges - i)
        edge = edges[j]
        edges[j] = edges[i]
        a = edge // 2
        b = a + (1 if edge % 2 == 0 else columns)
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a != b:
            parent[a] = b
            _open_edge(codes, edge, columns)


@builder
def carve_prim(codes: NDArray[np.int16], seed: int) -> None:
    """Grow the maze from one cell by a random wall at its rim again and again. `codes` int16 [H, W], all walls.

    Prim (1957), Shortest connection networks and some generalizations, with random weights.
    """
    rows = codes.shape[0] // 2
    columns = codes.shape[1] // 2
    rim = np.empty(4 * rows * columns, np.int64)
    key = map_stream(seed, STAGE_WALLS)
    cell = draw_below(key, 0, rows * columns)
    drawn = 1
    num_rim = 0
    while True:
        row = cell // columns
        column = cell % columns
        codes[2 * row + 1, 2 * column + 1] = EMPTY
        for edge in (2 * cell, 2 * cell + 1):
            if _has_edge(edge, rows, columns):
                rim[num_rim] = edge
                num_rim += 1
        if column > 0:
            rim[num_rim] = 2 * (cell - 1)
            num_rim += 1
        if row > 0:
            rim[num_rim] = 2 * (cell - columns) + 1
            num_rim += 1
        cell = -1
        while cell < 0:
            if num_rim == 0:
                return
            j = draw_below(key, drawn, num_rim)
            drawn += 1
            edge = rim[j]
            num_rim -= 1
            rim[j] = rim[num_rim]
            first = edge // 2
            second = first + (1 if edge % 2 == 0 else columns)
            for end in (first, second):
                if codes[2 * (end // columns) + 1, 2 * (end % columns) + 1] == WALL:
                    cell = end
                    _open_edge(codes, edge, columns)
