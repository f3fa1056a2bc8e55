"""Navigation: one agent, walls, and altars that hold one heart each (docs/world.md, section 8)."""

from __future__ import annotations

from metta.grid.config import ActionConfig, ActionsConfig, AgentConfig, ConverterConfig, RewardsConfig, WorldConfig
from metta.grid.maps.config import BspMapConfig, MapConfig, MazeMapConfig, RoomsMapConfig, TerrainMapConfig
from metta.grid.worlds.objects import standard_objects

NUM_TERRAINS = 32
_FIRST_EVALUATION_SEED = 4_000_000_000  # of the suite's maps; a seed drawn for training hits one by chance alone


def navigation(
    *,
    sides: tuple[int, int] = (20, 40),
    walls: tuple[float, float] = (0.10, 0.25),
    altars: tuple[int, int] = (5, 15),
    max_steps: int = 1000,
) -> WorldConfig:
    """Return the training world: scattered obstacles, every size and number drawn anew for each episode."""
    terrain = TerrainMapConfig(width=sides, height=sides, walls=walls, objects={"altar": altars})
    return navigation_on(terrain, max_steps=max_steps)


def navigation_on(map_config: MapConfig, *, max_steps: int = 1000) -> WorldConfig:
    """Return navigation on a map of one's own, which places one agent."""
    altar = ConverterConfig(
        type_id=8, output_resources={"heart": 1}, initial_resource_count=1, max_conversions=0, cooldown=10
    )
    return WorldConfig(
        num_agents=1,
        max_steps=max_steps,
        agent=AgentConfig(rewards=RewardsConfig(inventory={"heart": 1.0})),
        actions=ActionsConfig(put_items=ActionConfig(enabled=False)),
        objects={**standard_objects("wall"), "altar": altar},
        map=map_config,
    )


def navigation_suite() -> dict[str, WorldConfig]:
    """Return the evaluation worlds by name: 32 terrains of fixed seeds, and 8 mazes and rooms, one map each."""
    suite: dict[str, WorldConfig] = {}
    for number in range(NUM_TERRAINS):
        world = navigation()
        assert isinstance(world.map, TerrainMapConfig)
        world.map.seed = _FIRST_EVALUATION_SEED + number
        suite[f"terrain_{number + 1:02d}"] = world
    for name, map_config in _mazes_and_rooms().items():
        suite[name] = navigation_on(map_config)
    return suite


def _mazes_and_rooms() -> dict[str, MapConfig]:
    seed = _FIRST_EVALUATION_SEED
    few, some, many = {"altar": 5}, {"altar": 8}, {"altar": 12}
    return {
        "maze_kruskal_small": MazeMapConfig(seed=seed, algorithm="kruskal", width=15, height=15, objects=few),
        "maze_kruskal_large": MazeMapConfig(seed=seed, algorithm="kruskal", width=31, height=31, objects=many),
        "maze_prim_small": MazeMapConfig(seed=seed, algorithm="prim", width=15, height=15, objects=few),
        "maze_prim_large": MazeMapConfig(seed=seed, algorithm="prim", width=31, height=31, objects=many),
        "rooms_four": RoomsMapConfig(seed=seed, rows=2, columns=2, room_height=9, room_width=9, objects=few),
        "rooms_nine": RoomsMapConfig(seed=seed, rows=3, columns=3, room_height=7, room_width=7, objects=some),
        "rooms_narrow": RoomsMapConfig(seed=seed, rows=6, columns=6, room_height=4, room_width=4, objects=many),
        "rooms_bsp": BspMapConfig(seed=seed, width=35, height=35, min_room=4, objects=many),
    }
