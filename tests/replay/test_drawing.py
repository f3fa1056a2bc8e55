"""Frames in the terminal and as pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from rich.console import Console

from metta.envs.tasks import FixedTasks, Task
from metta.envs.vec_env import VecEnv
from metta.errors import ReplayError
from metta.grid.config import WorldConfig
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.worlds import easy_arena
from metta.replay import Frame, Recorder, ReplayFrames, frame_of_world
from metta.replay.picture import draw_picture, save_gif, save_picture
from metta.replay.terminal import draw_lines, draw_terminal

DRAWN = "#######\n#@.m_1#\n#######"


def world() -> WorldConfig:
    config = easy_arena(num_agents=1)
    config.num_agents = 2
    config.max_steps = 8
    config.map = AsciiMapConfig(text=DRAWN)
    return config


def first_frame(config: WorldConfig) -> Frame:
    env = VecEnv(FixedTasks([Task(config, 0)]), num_worlds=1)
    env.reset()
    return frame_of_world(env.compiled, env.state, 0)


def recorded() -> ReplayFrames:
    env = VecEnv(FixedTasks([Task(world(), 0)]), num_worlds=1)
    env.reset()
    recorder = Recorder(env, 0)
    recorder.start()
    east, get = env.action_names.index("move_east"), env.action_names.index("get_items")
    for action in (east, east, get, 0, 0, 0, 0, 0):
        env.step(np.array([action, 0], np.int32))
        recorder.record_tick()
    return ReplayFrames(recorder.finish())


def printed(frame: Frame, **options: int) -> list[str]:
    console = Console(width=options.get("max_width", 120), file=io.StringIO(), force_terminal=False)
    console.print(draw_terminal(frame, **options))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().splitlines()


def test_a_frame_is_the_map_that_was_drawn() -> None:
    assert first_frame(world()).text() == DRAWN
    assert [line.plain for line in draw_lines(first_frame(world()))] == DRAWN.split("\n")


def test_the_terminal_shows_the_map_and_a_panel_about_the_agents() -> None:
    frame = recorded()[3]
    lines = printed(frame, follow=0, max_width=100, max_height=20)
    text = "\n".join(lines)
    assert "# . @ m _ 1 #" in text
    assert "step 3 of 8" in text
    assert "agent 0 at row 1, column 2" in text
    assert "get_items  reward +0.10, so far 0.10" in text
    assert "holds ore_red 1" in text
    assert all(len(line) <= 100 for line in lines)


def test_a_map_that_is_too_large_is_cut_around_the_agent() -> None:
    frame = first_frame(easy_arena())
    agent = frame.agents[5]
    lines = printed(frame, follow=5, max_width=80, max_height=20)
    assert len(lines) <= 20
    row = min(max(agent.row - 9, 0), 62 - 18)
    assert lines[agent.row - row].count("@") >= 1
    assert all(len(line) <= 80 for line in lines)


def test_a_picture_has_a_square_for_every_cell() -> None:
    frame = first_frame(world())
    picture = np.asarray(draw_picture(frame, cell=10))
    assert picture.shape == (30, 70, 3)
    assert picture[0, 0].sum() < 300 < picture[15, 25].sum()  # a wall is dark, the floor is bright
    assert not np.array_equal(picture[10:20, 10:20], picture[10:20, 20:30])  # the agent is drawn


def test_a_picture_is_written_as_png(tmp_path: Path) -> None:
    path = save_picture(first_frame(world()), tmp_path / "a" / "frame.png", cell=4)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (28, 12))
    with pytest.raises(ReplayError, match=r"\.xyz"):
        save_picture(first_frame(world()), tmp_path / "frame.xyz")


def test_a_gif_shows_every_step_that_was_asked_for(tmp_path: Path) -> None:
    frames = recorded()
    path = save_gif(frames, tmp_path / "game.gif", cell=4, last=3, frames_per_second=10)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("GIF", (28, 12))
        pictures = [(np.asarray(part.convert("RGB")), part.info["duration"]) for part in ImageSequence.Iterator(image)]
    assert sum(duration for _, duration in pictures) == 400  # steps that look alike are one picture, shown longer
    assert len(pictures) >= 2
    np.testing.assert_array_equal(pictures[0][0], np.asarray(draw_picture(frames[0], cell=4)))
    with pytest.raises(ReplayError, match="steps 0 to 8"):
        save_gif(frames, tmp_path / "game.gif", first=9)
    assert [entry.name for entry in tmp_path.iterdir()] == ["game.gif"]
