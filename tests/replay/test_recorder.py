"""A recorded game is the game that was played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metta.envs.tasks import FixedTasks, Task
from metta.envs.vec_env import VecEnv
from metta.grid import WorldConfig
from metta.grid.config import ActionConfig, ActionsConfig, AttackConfig, BoxConfig, ChangeGlyphConfig
from metta.grid.maps.config import AsciiMapConfig, ScatterMapConfig
from metta.grid.worlds import arena, easy_arena, standard_objects
from metta.replay import Recorder, Replay, ReplayFrames, frame_of_world, read_replay, validate

TICKS = 60


def everything() -> WorldConfig:
    """A small world in which every action is allowed."""
    on = ActionConfig(enabled=True)
    config = easy_arena(num_agents=4)
    config.max_steps = TICKS
    config.actions = ActionsConfig(
        rotate=on,
        put_items=on,
        attack=AttackConfig(enabled=True),
        swap=on,
        change_color=on,
        change_glyph=ChangeGlyphConfig(enabled=True, number_of_glyphs=3),
        place_box=on,
    )
    config.objects = standard_objects()
    config.map = ScatterMapConfig(
        width=7, height=6, border=1, agents=4, objects={"wall": 3, "block": 4, "mine_red": 3, "box": 2, "altar": 2}
    )
    assert isinstance(config.objects["box"], BoxConfig)
    return config


def record(config: WorldConfig, *, num_worlds: int = 2, world: int = 1) -> tuple[Replay, VecEnv, list[Any]]:
    """Play the first episode of every world at random; return one world's replay, and its frames as they were."""
    env = VecEnv(FixedTasks([Task(config, seed) for seed in range(num_worlds)]), num_worlds=num_worlds)
    env.reset()
    recorder = Recorder(env, world)
    recorder.start()
    frames = [frame_of_world(env.compiled, env.state, world)]
    env.before_reset.append(lambda ended: frames.append(_frame(env, world)) if ended == world else None)
    random = np.random.default_rng(3)
    for _ in range(config.max_steps):
        env.step(random.integers(0, env.num_actions, env.num_agents).astype(np.int32))
        recorder.record_tick()
        if not env.episode_ends:
            frames.append(_frame(env, world))
    return recorder.finish(), env, frames


def _frame(env: VecEnv, world: int) -> Any:
    A = env.agents_per_world
    return frame_of_world(
        env.compiled, env.state, world, action_success=env.action_success[world * A : (world + 1) * A]
    )


@pytest.fixture(scope="module")
def recorded() -> tuple[Replay, VecEnv, list[Any]]:
    return record(everything())


def test_every_step_of_a_replay_draws_the_world_as_it_was(recorded: tuple[Replay, VecEnv, list[Any]]) -> None:
    replay, _, frames = recorded
    replayed = ReplayFrames(replay)
    assert len(replayed) == len(frames) == TICKS + 1
    for step, live in enumerate(frames):
        drawn = replayed[step]
        assert drawn.text() == live.text(), step
        for mark, was in zip(drawn.agents, live.agents, strict=True):
            assert mark.inventory == was.inventory
            assert (mark.action, mark.orientation, mark.is_frozen) == (was.action, was.orientation, was.is_frozen)
            assert mark.reward == pytest.approx(was.reward, abs=1e-6)
            assert mark.total_reward == pytest.approx(was.total_reward, abs=1e-4)
            if step:
                assert mark.action_success == was.action_success


def test_things_hold_and_do_what_they_did(recorded: tuple[Replay, VecEnv, list[Any]]) -> None:
    replay, _, frames = recorded
    replayed = ReplayFrames(replay)

    def listed(frame: Any) -> list[Any]:
        return sorted((thing.row, thing.column, thing.name, thing.inventory, thing.is_busy) for thing in frame.things)

    assert [listed(replayed[step]) for step in range(TICKS + 1)] == [listed(frame) for frame in frames]


def test_a_replay_follows_the_schema(recorded: tuple[Replay, VecEnv, list[Any]]) -> None:
    validate(recorded[0].data)


def test_a_replay_ends_with_the_rewards_of_the_episode(recorded: tuple[Replay, VecEnv, list[Any]]) -> None:
    replay, env, _ = recorded
    (end,) = [end for end in env.episode_ends if end.world == 1]
    np.testing.assert_allclose(ReplayFrames(replay).total_rewards(), end.rewards, atol=1e-4)
    assert replay.data["max_steps"] == end.length == TICKS


def test_the_names_and_the_world_stand_in_the_file(recorded: tuple[Replay, VecEnv, list[Any]]) -> None:
    data, env = recorded[0].data, recorded[1]
    assert data["action_names"] == list(env.action_names)
    assert data["item_names"] == everything().resources
    assert data["type_names"][0] == "agent"
    assert data["type_names"][8] == "altar"
    assert data["type_names"][20] == ""
    assert data["map_size"] == [9, 8]
    assert WorldConfig(**data["mg_config"]) == everything()


def test_walls_are_constant_objects(recorded: tuple[Replay, VecEnv, list[Any]]) -> None:
    data = recorded[0].data
    walls = [entry for entry in data["objects"] if entry["type_id"] == 1]
    assert len(walls) == 2 * 9 + 2 * 6 + 3
    assert all(len(entry["location"]) == 3 and isinstance(entry["location"][0], int) for entry in walls)


def test_converters_tell_how_long_they_are_busy() -> None:
    config = arena(num_agents=1)
    config.max_steps = 60
    config.map = AsciiMapConfig(text="@m")
    env = VecEnv(FixedTasks([Task(config, 0)]), num_worlds=1)
    env.reset()
    recorder = Recorder(env, 0)
    recorder.start()
    for _ in range(60):
        env.step(np.zeros(1, np.int32))
        recorder.record_tick()
    (mine,) = [entry for entry in recorder.finish().data["objects"] if entry["type_id"] == 2]
    assert mine["is_converting"] == [[0, True], [1, False], [51, True], [52, False]]
    assert mine["conversion_remaining"] == [[0, 1], [1, 0], [51, 1], [52, 0]]
    assert mine["cooldown_remaining"][:3] == [[0, 0], [1, 50], [2, 49]]
    assert mine["inventory"] == [[0, []], [1, [[0, 1]]], [52, [[0, 2]]]]
    assert (mine["output_resources"], mine["input_resources"], mine["output_limit"]) == ([[0, 1]], [], 5)


def test_recording_changes_nothing_in_the_game() -> None:
    config = everything()
    _, env, _ = record(config)
    bare = VecEnv(FixedTasks([Task(config, seed) for seed in range(2)]), num_worlds=2)
    bare.reset()
    random = np.random.default_rng(3)
    for _ in range(config.max_steps):
        bare.step(random.integers(0, bare.num_actions, bare.num_agents).astype(np.int32))
    assert bare.hash() == env.hash()


def test_a_world_with_nothing_but_agents_is_recorded() -> None:
    env = VecEnv(FixedTasks([Task(WorldConfig(num_agents=1, max_steps=3), 0)]), num_worlds=1)
    recorder = Recorder(env, world=0)
    env.reset()
    recorder.start()
    for _ in range(3):
        env.step(np.zeros(1, np.int32))
        recorder.record_tick()
    assert len(ReplayFrames(recorder.finish())) == 4  # the first is the beginning


def test_after_the_end_of_the_episode_nothing_is_recorded() -> None:
    config = everything()
    env = VecEnv(FixedTasks([Task(config, seed) for seed in range(3)]), num_worlds=1)
    env.reset()
    recorder = Recorder(env, 0)
    recorder.start()
    for _ in range(TICKS + 20):
        env.step(np.zeros(4, np.int32))
        recorder.record_tick()
    assert recorder.finish().data["max_steps"] == TICKS
    assert env.before_reset == []


def test_an_endless_world_is_recorded_as_long_as_it_is_played() -> None:
    config = everything()
    config.max_steps = 0
    env = VecEnv(FixedTasks([Task(config, 1)]), num_worlds=1)
    env.reset()
    recorder = Recorder(env, 0)
    recorder.start()
    for _ in range(1100):
        env.step(np.ones(4, np.int32))
        recorder.record_tick()
    replay = recorder.finish()
    validate(replay.data)
    assert replay.data["max_steps"] == 1100


def test_a_game_that_is_recorded_while_the_batch_grows_keeps_its_places() -> None:
    """It grows twice: after 20 ticks and after 40."""
    small, large, larger = everything(), everything(), everything()
    large.map = ScatterMapConfig(width=20, height=12, agents=4, objects={"mine_red": 9})
    larger.map = ScatterMapConfig(width=40, height=12, agents=4, objects={"mine_red": 9})
    expected, _, _ = record(small, num_worlds=1, world=0)
    tasks = {
        (0, 0): Task(small, 0),
        (1, 0): Task(short(small), 0),
        (1, 1): Task(short(large), 0),
        (1, 2): Task(larger, 0),
    }
    env = VecEnv(_Listed(tasks), num_worlds=2, layout=small)
    env.reset()
    recorder = Recorder(env, 0)
    recorder.start()
    random = np.random.default_rng(3)
    widths = set()
    for _ in range(TICKS):
        widths.add(env.state.cells.shape[2])
        actions = random.integers(0, env.num_actions, 4).astype(np.int32)
        env.step(np.concatenate((actions, actions)))
        recorder.record_tick()
    assert len(widths) == 3
    assert recorder.finish().data == expected.data


def short(config: WorldConfig) -> WorldConfig:
    return config.model_copy(deep=True, update={"max_steps": 20})


class _Listed(FixedTasks):
    """Tasks by (world, episode)."""

    def __init__(self, tasks: dict[tuple[int, int], Task]) -> None:
        super().__init__([])
        self.by_place = tasks

    def next_task(self, world: int, episode: int) -> Task | None:
        return self.by_place.get((world, episode))


def test_a_saved_replay_is_read_back_as_it_was(recorded: tuple[Replay, VecEnv, list[Any]], tmp_path: Path) -> None:
    path = recorded[0].save(tmp_path / "new" / "game.json.z")
    assert read_replay(path).data == recorded[0].data
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["game.json.z"]
