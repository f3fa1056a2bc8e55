"""What every map builder promises, whichever it is."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from metta.errors import MapError
from metta.grid import WorldConfig
from metta.grid.maps import GridMap, MapConfig, build_map, from_names, map_limits, map_text
from metta.grid.maps.config import (
    AsciiMapConfig,
    BspMapConfig,
    ComposedMapConfig,
    FunctionMapConfig,
    InstancesMapConfig,
    MazeMapConfig,
    MirrorMapConfig,
    RoomsMapConfig,
    ScatterMapConfig,
    TerrainMapConfig,
)

DRAWN = """
    #########
    #..@.m.1#
    #._..x..#
    #########
"""


def own_map(seed: int, width: int = 6) -> str:
    """A user's builder: a corridor whose agent stands at a place that depends on the seed."""
    row = ["."] * width
    row[seed % width] = "@"
    return "#" * width + "\n" + "".join(row)


THINGS = {"altar": 4, "mine_red": 3}
SCATTER = ScatterMapConfig(width=12, height=9, border=2, agents={0: 2, 3: 1}, objects={"wall": 10, **THINGS})
MAPS: dict[str, MapConfig] = {
    "ascii": AsciiMapConfig(text=DRAWN),
    "scatter": SCATTER,
    "instances": InstancesMapConfig(instances=5, border=3, between=1, instance=SCATTER),
    "maze_prim": MazeMapConfig(width=21, height=15, algorithm="prim", agents=2, objects=THINGS),
    "maze_kruskal": MazeMapConfig(width=15, height=21, algorithm="kruskal", agents=2, objects=THINGS),
    "rooms": RoomsMapConfig(rows=2, columns=3, room_height=5, room_width=6, agents=2, objects=THINGS),
    "bsp": BspMapConfig(width=30, height=20, min_room=3, agents=2, objects=THINGS),
    "terrain": TerrainMapConfig(width=(20, 30), height=(20, 30), agents=2, objects={"altar": (3, 9), "mine_red": 3}),
    "function": FunctionMapConfig(function=f"{__name__}.own_map", parameters={"width": 8}),
    "mirror": MirrorMapConfig(axis="both", swap_teams=True, part=SCATTER),
    "composed": ComposedMapConfig(between=2, parts=[SCATTER, MazeMapConfig(agents=0, objects={"altar": 2})]),
}
REACHABLE = ("maze_prim", "maze_kruskal", "rooms", "bsp", "terrain")
WALL_SHARES = {  # of all cells, outer walls included
    "ascii": (0.6, 0.7),
    "scatter": (0.45, 0.60),
    "instances": (0.55, 0.75),
    "maze_prim": (0.5, 0.6),
    "maze_kruskal": (0.5, 0.6),
    "rooms": (0.2, 0.4),
    "bsp": (0.2, 0.5),
    "terrain": (0.10, 0.45),
    "function": (0.5, 0.5),
    "mirror": (0.45, 0.60),
    "composed": (0.5, 0.8),
}
SMALLEST: dict[str, MapConfig] = {
    "ascii": AsciiMapConfig(text="@"),
    "scatter": ScatterMapConfig(width=1, height=1),
    "instances": InstancesMapConfig(instances=1, border=0, instance=ScatterMapConfig(width=1, height=1)),
    "maze_prim": MazeMapConfig(width=5, height=5, algorithm="prim", objects={"altar": 1}),
    "maze_kruskal": MazeMapConfig(width=5, height=5, algorithm="kruskal", objects={"altar": 1}),
    "rooms": RoomsMapConfig(rows=1, columns=1, room_height=3, room_width=3, objects={"altar": 1}),
    "bsp": BspMapConfig(width=3, height=3, min_room=2, objects={"altar": 1}),
    "terrain": TerrainMapConfig(width=1, height=1, walls=0.0),
    "mirror": MirrorMapConfig(part=ScatterMapConfig(width=1, height=1)),
    "composed": ComposedMapConfig(parts=[ScatterMapConfig(width=1, height=1)]),
}
MANY = {"altar": 100, "mine_red": 100}
LARGE: dict[str, MapConfig] = {  # 256 x 256 cells, or the odd number below
    "scatter": ScatterMapConfig(width=254, height=254, border=1, agents=1000, objects={"wall": 5000, **MANY}),
    "instances": InstancesMapConfig(instances=4, border=0, instance=ScatterMapConfig(width=128, height=128)),
    "maze_prim": MazeMapConfig(width=255, height=255, algorithm="prim", agents=100, objects=MANY),
    "maze_kruskal": MazeMapConfig(width=255, height=255, algorithm="kruskal", agents=100, objects=MANY),
    "rooms": RoomsMapConfig(rows=15, columns=15, room_height=16, room_width=16, agents=100, objects=MANY),
    "bsp": BspMapConfig(width=254, height=254, min_room=4, agents=100, objects=MANY),
    "terrain": TerrainMapConfig(width=254, height=254, agents=100, objects=MANY),
    "mirror": MirrorMapConfig(axis="both", part=ScatterMapConfig(width=128, height=128)),
    "composed": ComposedMapConfig(
        parts=[ScatterMapConfig(width=128, height=256), ScatterMapConfig(width=128, height=1)]
    ),
}
SEEDS = range(6)
GOLDEN = {
    "ascii": "b471ca6ce89b",
    "scatter": "47f962c0bd7f",
    "instances": "076e0cdf4aff",
    "maze_prim": "543499ea1a61",
    "maze_kruskal": "799fee670892",
    "rooms": "e29106d48f87",
    "bsp": "195a01d89783",
    "terrain": "1b933a8fb2d5",
    "function": "d3e087c26fd0",
    "mirror": "a37e5d71c420",
    "composed": "35a41c0f7403",
}


def reachable_cells(grid_map: GridMap) -> NDArray[np.bool_]:
    """Cells an agent can walk to from the first agent's, and the things beside them: a flood, one cell at a time."""
    is_agent = np.array([name.startswith("agent.") for name in grid_map.names])[grid_map.codes]
    is_open = (grid_map.codes == 0) | is_agent
    seen = np.zeros(grid_map.codes.shape, bool)
    queue = deque([tuple(np.argwhere(is_agent)[0])])
    seen[queue[0]] = True
    while queue:
        row, column = queue.popleft()
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < seen.shape[0] and 0 <= c < seen.shape[1] and not seen[r, c]:
                seen[r, c] = True
                if is_open[r, c]:
                    queue.append((r, c))
    return seen


@pytest.mark.parametrize("name", MAPS)
def test_the_same_seed_gives_the_same_map(name: str) -> None:
    for seed in SEEDS:
        first, second = build_map(MAPS[name], seed), build_map(MAPS[name].model_copy(deep=True), seed)
        assert first.names == second.names
        np.testing.assert_array_equal(first.codes, second.codes)


def digests() -> dict[str, str]:
    """A few hex digits for each builder over the names and codes of six maps."""
    result = {}
    for name, config in MAPS.items():
        digest = hashlib.sha256()
        for seed in SEEDS:
            grid_map = build_map(config, seed)
            digest.update(repr((grid_map.names, grid_map.codes.tolist())).encode())
        result[name] = digest.hexdigest()[:12]
    return result


def test_maps_are_the_same_on_every_machine() -> None:
    assert digests() == GOLDEN


@pytest.mark.slow
def test_maps_are_the_same_without_compilation() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_builders as t; print(t.digests())"
    )
    plain = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(plain.stdout) == GOLDEN


@pytest.mark.parametrize("name", [name for name in MAPS if name != "ascii"])
def test_two_seeds_give_two_maps(name: str) -> None:
    texts = {map_text(build_map(MAPS[name], seed)) for seed in SEEDS}
    assert len(texts) == len(SEEDS)


@pytest.mark.parametrize("name", MAPS)
def test_the_share_of_walls_is_bounded(name: str) -> None:
    low, high = WALL_SHARES[name]
    for seed in SEEDS:
        grid_map = build_map(MAPS[name], seed)
        share = grid_map.counts()["wall"] / grid_map.codes.size
        assert low <= share <= high


@pytest.mark.parametrize("name", REACHABLE)
def test_everything_that_is_not_a_wall_can_be_reached(name: str) -> None:
    for seed in range(20):
        grid_map = build_map(MAPS[name], seed)
        assert (reachable_cells(grid_map) | (grid_map.codes == 1)).all(), map_text(grid_map)


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_map_that_is_allowed_is_built(name: str) -> None:
    for seed in SEEDS:
        grid_map = build_map(SMALLEST[name], seed)
        assert sum(count for thing, count in grid_map.counts().items() if thing.startswith("agent.")) >= 1
        assert (grid_map.height, grid_map.width) == map_limits(SMALLEST[name])[:2]
        if name in REACHABLE:
            assert (reachable_cells(grid_map) | (grid_map.codes == 1)).all(), map_text(grid_map)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ScatterMapConfig, {"width": 0}),
        (InstancesMapConfig, {"instances": 0, "instance": SCATTER}),
        (MazeMapConfig, {"width": 3}),
        (RoomsMapConfig, {"room_width": 2}),
        (BspMapConfig, {"height": 2}),
        (BspMapConfig, {"min_room": 1}),
        (TerrainMapConfig, {"height": 0}),
        (TerrainMapConfig, {"walls": 0.7}),
        (ComposedMapConfig, {"parts": []}),
    ],
)
def test_nothing_smaller_is_allowed(kind: type[BaseModel], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"at least|greater|less"):
        kind(**fields)


@pytest.mark.parametrize("name", LARGE)
def test_a_map_of_256_by_256_is_built_and_all_can_be_reached(name: str) -> None:
    grid_map = build_map(LARGE[name], 3)
    assert grid_map.codes.shape in ((256, 256), (255, 255))
    if name in REACHABLE:
        assert (reachable_cells(grid_map) | (grid_map.codes == 1)).all()


@pytest.mark.parametrize("name", MAPS)
def test_a_map_stays_within_its_limits(name: str) -> None:
    limits = map_limits(MAPS[name])
    for seed in SEEDS:
        grid_map = build_map(MAPS[name], seed)
        assert grid_map.height <= limits.height
        assert grid_map.width <= limits.width
        for thing, count in grid_map.counts().items():
            assert thing == "empty" or count <= limits.counts.get(thing, 0)


@pytest.mark.parametrize("name", MAPS)
def test_the_names_do_not_depend_on_the_seed(name: str) -> None:
    assert len({build_map(MAPS[name], seed).names for seed in SEEDS}) == 1
    assert build_map(MAPS[name], 0).names[:2] == ("empty", "wall")


@pytest.mark.parametrize("name", MAPS)
def test_the_caller_may_write_on_a_map(name: str) -> None:
    before = build_map(MAPS[name], 1)
    untouched = before.codes.copy()
    before.codes[:] = 0
    np.testing.assert_array_equal(build_map(MAPS[name], 1).codes, untouched)


@pytest.mark.parametrize("name", ["scatter", "maze_prim", "maze_kruskal", "rooms", "bsp"])
def test_as_many_things_are_placed_as_were_asked_for(name: str) -> None:
    config = MAPS[name]
    assert not isinstance(config, AsciiMapConfig | InstancesMapConfig)
    counts = build_map(config, 3).counts()
    assert (counts["altar"], counts["mine_red"]) == (4, 3)
    assert sum(count for thing, count in counts.items() if thing.startswith("agent.")) == (
        3 if name == "scatter" else 2
    )


@pytest.mark.parametrize("name", MAPS)
def test_a_configuration_survives_being_written_as_json(name: str) -> None:
    world = WorldConfig(map=MAPS[name])
    assert WorldConfig.model_validate_json(world.model_dump_json()) == world
    assert WorldConfig(**world.model_dump(mode="json")) == world


def test_a_map_with_a_seed_of_its_own_ignores_the_episodes() -> None:
    fixed = SCATTER.model_copy(update={"seed": 7})
    assert map_text(build_map(fixed, 1)) == map_text(build_map(fixed, 2)) == map_text(build_map(SCATTER, 7))


def test_every_instance_is_another_map() -> None:
    grid_map = build_map(InstancesMapConfig(instances=4, border=0, instance=ScatterMapConfig(objects={"altar": 9})), 0)
    quarters = [grid_map.codes[r : r + 25, c : c + 25] for r in (0, 25) for c in (0, 25)]
    assert len({quarter.tobytes() for quarter in quarters}) == 4
    assert grid_map.counts()["altar"] == 36


def test_scatter_puts_things_everywhere_alike() -> None:
    config = ScatterMapConfig(width=5, height=4, agents=3, objects={"altar": 2})
    hits = np.zeros((4, 5))
    for seed in range(4000):
        hits += build_map(config, seed).codes > 1
    expected = 4000 * 5 / 20
    assert np.abs(hits - expected).max() < 5 * np.sqrt(expected * 15 / 20)


def test_a_maze_has_exactly_one_way_between_two_cells() -> None:
    for algorithm in ("prim", "kruskal"):
        codes = build_map(MazeMapConfig(width=31, height=21, algorithm=algorithm, agents=0), 5).codes
        cells = int((codes[1::2, 1::2] == 0).sum())
        passages = int((codes == 0).sum()) - cells
        assert cells == 15 * 10
        assert passages == cells - 1


def test_terrain_has_the_share_of_walls_that_was_asked_for() -> None:
    for share in (0.0, 0.1, 0.25, 0.5):
        grid_map = build_map(TerrainMapConfig(width=30, height=20, walls=share, objects={"altar": 5}), 2)
        assert int((grid_map.codes[1:-1, 1:-1] == 1).sum()) == round(share * 600)


def test_terrain_ranges_are_drawn_from_end_to_end() -> None:
    config = TerrainMapConfig(width=(10, 12), height=10, border=0, walls=0.1, objects={"altar": (1, 3)})
    maps = [build_map(config, seed) for seed in range(60)]
    assert {grid_map.width for grid_map in maps} == {10, 11, 12}
    assert {grid_map.counts()["altar"] for grid_map in maps} == {1, 2, 3}


def test_a_mirror_gives_every_team_the_same_map() -> None:
    part = AsciiMapConfig(text="@m\n.#")
    both = build_map(MirrorMapConfig(axis="both", swap_teams=True, part=part), 0)
    assert map_text(both) == "@mm1\n.##.\n.##.\n2mm3"
    side = build_map(MirrorMapConfig(axis="horizontal", part=part), 0)
    assert map_text(side) == "@mm@\n.##."


def test_text_and_map_are_two_forms_of_one_thing() -> None:
    drawn = build_map(AsciiMapConfig(text=DRAWN), 0)
    assert map_text(drawn) == "#########\n#..@.m.1#\n#._..x..#\n#########"
    again = from_names(drawn.to_names())
    assert again.names == drawn.names
    np.testing.assert_array_equal(again.codes, drawn.codes)


def test_a_legend_adds_symbols() -> None:
    grid_map = build_map(AsciiMapConfig(text="@q", legend={"q": "tower"}), 0)
    assert grid_map.counts() == {"empty": 0, "wall": 0, "agent.0": 1, "tower": 1}
    assert map_text(grid_map, legend={"q": "tower"}) == "@q"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (AsciiMapConfig(text="#@.\n#M."), ["line 2, column 2", "'M'", "did you mean m for mine_red"]),
        (AsciiMapConfig(text="\n  ##\n  #~\n"), ["line 3, column 4", "'~'"]),
        (AsciiMapConfig(text="###\n##"), ["line 2 has 2 cells", "line 1 has 3"]),
        (AsciiMapConfig(text=" \n"), ["empty"]),
        (AsciiMapConfig(text="@", legend={"ab": "altar"}), ["one character", "'ab'"]),
        (ScatterMapConfig(width=2, height=2, agents=3, objects={"altar": 2}), ["room for 4", "2 objects", "3 agents"]),
        (MazeMapConfig(width=20), ["width: given 20", "odd", "19 or 21"]),
        (MazeMapConfig(width=5, height=5, objects={"altar": 9}), ["5 x 5", "9 objects"]),
        (MazeMapConfig(width=7, height=7, objects={"altar": 9}), ["9 objects", "only"]),
        (TerrainMapConfig(width=(9, 8)), ["width", "[low, high]", "[9, 8]"]),
        (TerrainMapConfig(walls=(0.3, 0.2)), ["walls", "[0.3, 0.2]"]),
    ],
)
def test_a_map_that_cannot_be_built_says_what_was_given_and_what_is_allowed(
    config: MapConfig, words: list[str]
) -> None:
    with pytest.raises(MapError) as error:
        build_map(config, 0)
    for word in words:
        assert word in str(error.value)
