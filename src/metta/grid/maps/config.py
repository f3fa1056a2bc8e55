"""The configuration of every map builder, one model a builder, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from metta.config import Config

Count = Annotated[int, Field(ge=0, le=2**24)]
Team = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=4096)]
Share = Annotated[float, Field(ge=0.0, le=0.6)]
Agents = Count | dict[Team, Count]
FixedSeed = Annotated[int | None, Field(ge=0, lt=2**63, description="given: every episode plays this one map")]


class AsciiMapConfig(Config):
    """A map drawn as text; symbols as in docs/world.md, section 7, plus the user's own `legend`."""

    type: Literal["ascii"] = "ascii"
    text: str
    legend: dict[str, str] = Field(default_factory=dict, description="symbol -> object name, beside the standard ones")


class ScatterMapConfig(Config):
    """Agents and objects scattered at random over a rectangle with a wall border outside of it."""

    type: Literal["scatter"] = "scatter"
    seed: FixedSeed = None
    width: int = Field(25, ge=1, le=4096, description="columns inside the border")
    height: int = Field(25, ge=1, le=4096, description="rows inside the border")
    border: int = Field(0, ge=0, le=64, description="thickness of the wall border around")
    agents: Agents = Field(1, description="number of agents (team 0), or team -> number")
    objects: dict[str, Count] = Field(default_factory=dict, description="object name -> how many")


class MazeMapConfig(Config):
    """A perfect maze (Prim or Kruskal) of corridors one cell wide, its outer walls included in the size.

    Objects stand at dead ends, so that everything can be reached.
    """

    type: Literal["maze"] = "maze"
    seed: FixedSeed = None
    width: int = Field(21, ge=5, le=1023, description="columns, odd")
    height: int = Field(21, ge=5, le=1023, description="rows, odd")
    algorithm: Literal["prim", "kruskal"] = "kruskal"
    agents: Agents = 1
    objects: dict[str, Count] = Field(default_factory=dict)


class RoomsMapConfig(Config):
    """A grid of rooms, one cell of wall between them, with a door between each two neighbours."""

    type: Literal["rooms"] = "rooms"
    seed: FixedSeed = None
    rows: int = Field(3, ge=1, le=64)
    columns: int = Field(3, ge=1, le=64)
    room_height: int = Field(7, ge=3, le=64, description="rows inside a room")
    room_width: int = Field(7, ge=3, le=64, description="columns inside a room")
    agents: Agents = 1
    objects: dict[str, Count] = Field(default_factory=dict)


class BspMapConfig(Config):
    """Rooms of many sizes: a rectangle split at random again and again, with a door in every split."""

    type: Literal["bsp"] = "bsp"
    seed: FixedSeed = None
    width: int = Field(31, ge=3, le=1023, description="columns inside the outer walls")
    height: int = Field(31, ge=3, le=1023, description="rows inside the outer walls")
    min_room: int = Field(5, ge=2, le=64, description="rows and columns that a room has at least")
    agents: Agents = 1
    objects: dict[str, Count] = Field(default_factory=dict)


class TerrainMapConfig(Config):
    """Obstacles scattered in clusters; every object can be reached by every agent.

    `width`, `height`, `walls` and the counts in `objects` may be ranges `[low, high]`, drawn from the map's seed.
    """

    type: Literal["terrain"] = "terrain"
    seed: FixedSeed = None
    width: Side | tuple[Side, Side] = Field(30, description="columns inside the border")
    height: Side | tuple[Side, Side] = Field(30, description="rows inside the border")
    walls: Share | tuple[Share, Share] = Field((0.10, 0.25), description="share of the cells inside that are walls")
    border: int = Field(1, ge=0, le=64)
    agents: Agents = 1
    objects: dict[str, Count | tuple[Count, Count]] = Field(default_factory=dict)


class FunctionMapConfig(Config):
    """A map builder of one's own: a function `build(seed, **parameters)`.

    It returns a map drawn as text, rows of names, or a `GridMap`; its size and what stands on it are the same for
    every seed.
    """

    type: Literal["function"] = "function"
    seed: FixedSeed = None
    function: str = Field(description="dotted path, `package.module.name`")
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


PlainMapConfig = Annotated[
    AsciiMapConfig
    | ScatterMapConfig
    | MazeMapConfig
    | RoomsMapConfig
    | BspMapConfig
    | TerrainMapConfig
    | FunctionMapConfig,
    Field(discriminator="type"),
]


class InstancesMapConfig(Config):
    """Several instances of one map in a near-square arrangement, each from a seed of its own."""

    type: Literal["instances"] = "instances"
    seed: FixedSeed = None
    instances: int = Field(4, ge=1, le=4096)
    border: int = Field(6, ge=0, le=64, description="wall border around the whole")
    between: int = Field(0, ge=0, le=64, description="thickness of the walls between instances")
    instance: PlainMapConfig


class MirrorMapConfig(Config):
    """One map and its mirror image beside it, below it, or both: fair to several teams.

    With `swap_teams` the agents of team t in the image belong to team t + 1 (in the fourth quarter of "both": t + 3).
    """

    type: Literal["mirror"] = "mirror"
    seed: FixedSeed = None
    axis: Literal["horizontal", "vertical", "both"] = Field(
        "horizontal", description="horizontal: images side by side; vertical: one above the other; both: four of them"
    )
    swap_teams: bool = False
    part: PlainMapConfig


class ComposedMapConfig(Config):
    """Different maps in one row or one column, each from a seed of its own."""

    type: Literal["composed"] = "composed"
    seed: FixedSeed = None
    direction: Literal["row", "column"] = "row"
    between: int = Field(0, ge=0, le=64, description="thickness of the walls between parts")
    parts: list[PlainMapConfig] = Field(min_length=1, max_length=64)


MapConfig = Annotated[
    AsciiMapConfig
    | ScatterMapConfig
    | MazeMapConfig
    | RoomsMapConfig
    | BspMapConfig
    | TerrainMapConfig
    | FunctionMapConfig
    | InstancesMapConfig
    | MirrorMapConfig
    | ComposedMapConfig,
    Field(discriminator="type"),
]
