"""Worlds drawn as text and pictures."""

from __future__ import annotations

import numpy as np

from metta.envs import FixedTasks, Task, VecEnv
from metta.envs.rendering import PIXELS, render_rgb, render_text
from metta.grid import WorldConfig
from metta.grid.config import AgentConfig, ConverterConfig, WallConfig
from metta.grid.maps.colors import object_color
from metta.grid.maps.config import AsciiMapConfig

SCENE = """\
######
#@.2s#
#m..X#
######
"""


def scene() -> VecEnv:
    config = WorldConfig(
        num_agents=2,
        agents=[AgentConfig(team=0), AgentConfig(team=2)],
        objects={
            "wall": WallConfig(),
            "block": WallConfig(type_id=14, swappable=True),
            "mine_red": ConverterConfig(type_id=2, output_resources={"ore_red": 1}, cooldown=5),
            "shrine": ConverterConfig(type_id=77, cooldown=5),
        },
        map=AsciiMapConfig(text=SCENE, legend={"X": "shrine"}),
    )
    env = VecEnv(FixedTasks([Task(config, 1)]), num_worlds=1)
    env.reset()
    return env


def test_text_is_the_map_as_it_was_drawn() -> None:
    env = scene()
    assert render_text(env.compiled, env.state, 0) == SCENE.replace("X", "?")


def test_text_follows_the_agents() -> None:
    env = scene()
    env.step(np.array([env.action_names.index("move_east"), 0], np.int32))
    assert render_text(env.compiled, env.state, 0).splitlines()[1] == "#.@2s#"


def test_a_picture_has_a_square_of_the_things_colour_for_each_cell() -> None:
    env = scene()
    picture = render_rgb(env.compiled, env.state, 0)
    assert picture.shape == (4 * PIXELS, 6 * PIXELS, 3)

    def color(row: int, column: int) -> tuple[int, ...]:
        return tuple(picture[row * PIXELS + PIXELS // 2, column * PIXELS + PIXELS // 2].tolist())

    assert color(0, 0) == object_color("wall") and color(2, 1) == object_color("mine_red")
    assert color(2, 4) == object_color("shrine") and color(1, 4) == object_color("block")
    assert len({color(1, 1), color(1, 3), color(1, 2)}) == 3
    facing_north = picture[PIXELS, PIXELS + PIXELS // 2].tolist()
    assert facing_north == [30, 30, 30]
