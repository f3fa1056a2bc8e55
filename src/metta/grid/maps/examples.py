"""One configuration a builder, to look at: what `metta map <builder>` shows where no setting says otherwise."""

from __future__ import annotations

from metta.grid.maps.config import (
    AsciiMapConfig,
    BspMapConfig,
    ComposedMapConfig,
    FunctionMapConfig,
    InstancesMapConfig,
    MapConfig,
    MazeMapConfig,
    MirrorMapConfig,
    RoomsMapConfig,
    ScatterMapConfig,
    TerrainMapConfig,
)
from metta.grid.maps.random import STAGE_WALLS, draw_below, map_stream


def river(seed: int, width: int = 20, height: int = 9) -> str:
    """A builder of a user's own: a river that winds from top to bottom, one ford, and an altar on the other bank."""
    key = map_stream(seed, STAGE_WALLS)
    ford = draw_below(key, 0, height)
    place = width // 2
    rows = []
    for row in range(height):
        place = min(max(place + draw_below(key, row + 1, 3) - 1, 2), width - 3)
        cells = ["."] * width
        cells[place] = "." if row == ford else "#"
        cells[place + 1] = "." if row == ford else "#"
        rows.append(cells)
    rows[draw_below(key, height + 1, height)][0] = "@"
    rows[draw_below(key, height + 2, height)][width - 1] = "_"
    return "\n".join("".join(cells) for cells in rows)


_THINGS = {"altar": 2, "mine_red": 3}

_DRAWING = """
    ###############
    #..@..#..m....#
    #.....#....n..#
    #.........#####
    #.....#.......#
    #..1..#.._..S.#
    ###############
"""

EXAMPLES: dict[str, MapConfig] = {
    "ascii": AsciiMapConfig(text=_DRAWING),
    "scatter": ScatterMapConfig(width=20, height=10, border=1, agents=3, objects={"wall": 20, **_THINGS}),
    "maze": MazeMapConfig(width=23, height=13, objects=_THINGS),
    "rooms": RoomsMapConfig(rows=2, columns=3, room_height=5, room_width=6, agents=2, objects=_THINGS),
    "bsp": BspMapConfig(width=24, height=14, min_room=3, agents=2, objects=_THINGS),
    "terrain": TerrainMapConfig(width=(16, 22), height=(10, 14), objects={"altar": (2, 6)}),
    "instances": InstancesMapConfig(
        border=2, between=1, instance=ScatterMapConfig(width=9, height=5, objects={"wall": 5, "altar": 1})
    ),
    "mirror": MirrorMapConfig(
        axis="both", swap_teams=True, part=ScatterMapConfig(width=10, height=6, objects={"wall": 8, **_THINGS})
    ),
    "composed": ComposedMapConfig(
        parts=[
            ScatterMapConfig(width=12, height=12, agents=2, objects={"wall": 50}),
            ScatterMapConfig(width=10, height=12, agents=0, objects=_THINGS),
        ],
    ),
    "function": FunctionMapConfig(function=f"{__name__}.river"),
}
"""By `type`, in the order of docs/maps.md. To be read, not written: copy one to change it."""
