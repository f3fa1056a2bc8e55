"""Replay files: what is written, what is read, what is refused."""

from __future__ import annotations

import copy
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from metta.errors import ReplayError
from metta.replay import Replay, ReplayFrames, parse_replay, read_replay, validate
from metta.replay.format import is_series


def small() -> dict[str, Any]:
    """A replay of two steps, by hand: an agent that walks east and takes a heart, an altar, a wall."""
    common = {"orientation": 0, "inventory_max": 50, "color": 0, "is_swappable": False}
    agent = {
        "id": 1,
        "type_id": 0,
        "location": [[0, [0, 0, 0]], [1, [1, 0, 0]]],
        "inventory": [[0, []], [2, [[0, 1]]]],
        "is_agent": True,
        "agent_id": 0,
        "group_id": 0,
        "vision_size": 11,
        "action_id": [[0, 0], [1, 1]],
        "action_param": 0,
        "action_success": True,
        "current_reward": [[0, 0.0], [2, 1.0]],
        "total_reward": [[0, 0.0], [2, 1.0]],
        "freeze_remaining": 0,
        "is_frozen": False,
        "freeze_duration": 10,
    }
    altar = {
        "id": 2,
        "type_id": 2,
        "location": [2, 0, 0],
        "inventory": [[0, [[0, 1]]], [2, []]],
        "input_resources": [],
        "output_resources": [[0, 1]],
        "output_limit": 5,
        "conversion_remaining": 0,
        "is_converting": False,
        "conversion_duration": 1,
        "cooldown_remaining": 0,
        "is_cooling_down": False,
        "cooldown_duration": 10,
    }
    wall = {"id": 3, "type_id": 1, "location": [0, 1, 0], "inventory": []}
    return {
        "version": 2,
        "action_names": ["noop", "move_east"],
        "item_names": ["heart"],
        "type_names": ["agent", "wall", "altar"],
        "map_size": [3, 2],
        "num_agents": 1,
        "max_steps": 2,
        "mg_config": {},
        "objects": [common | agent, common | altar, common | wall],
    }


def test_a_small_replay_is_valid_and_drawn() -> None:
    validate(small())
    frames = ReplayFrames(Replay(small()))
    assert [frames[step].text() for step in range(3)] == ["@._\n#..", ".@_\n#..", ".@_\n#.."]
    assert frames[2].agents[0].inventory == {"heart": 1}
    assert frames[1].things[0].inventory == {"heart": 1}
    assert frames[2].things[0].inventory == {}
    with pytest.raises(IndexError, match=r"0\.\.2"):
        frames[3]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["version"], 3, "version is 2"),
        (["map_size"], [3], "map_size"),
        (["max_steps"], -1, "max_steps"),
        (["objects", 0, "id"], 0, "objects[0].id"),
        (["objects", 0, "id"], 2, "id of its own"),
        (["objects", 0, "action_id"], 2, "objects[0].action_id"),
        (["objects", 0, "action_id"], [[0, 0], [1, 9]], "action_id at step 1: 9"),
        (["objects", 0, "action_id"], [[1, 0]], "begins at step 0"),
        (["objects", 0, "action_id"], [[0, 0], [2, 1], [1, 0]], "steps grow"),
        (["objects", 0, "action_id"], [[0, 0], [3, 1]], "at most 2"),
        (["objects", 0, "location"], [3, 0, 0], "location at step 0: [3, 0, 0]"),
        (["objects", 0, "is_frozen"], 0, "is_frozen"),
        (["objects", 0, "agent_id"], 1, "agent_id"),
        (["objects", 0, "total_reward"], "1", "total_reward"),
        (["objects", 1, "inventory"], [[1, 1]], "inventory"),
        (["objects", 1, "type_id"], 3, "type_id"),
        (["num_agents"], 2, "agent ids are 0..1"),
    ],
)
def test_what_breaks_the_schema_is_named(path: list[Any], value: Any, words: str) -> None:
    data = small()
    entry: Any = data
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    with pytest.raises(ReplayError) as error:
        validate(data)
    assert words in str(error.value)


@pytest.mark.parametrize("key", list(small()))
def test_no_key_at_the_top_may_be_missing(key: str) -> None:
    data = small()
    del data[key]
    with pytest.raises(ReplayError, match=key):
        validate(data)


@pytest.mark.parametrize(("number", "key"), [(i, key) for i in range(3) for key in small()["objects"][i]])
def test_no_key_of_an_object_may_be_missing(number: int, key: str) -> None:
    if (number, key) in ((0, "agent_id"), (1, "input_resources")):
        return  # these two say what an object is; without them it is another kind of object
    data = small()
    del data["objects"][number][key]
    with pytest.raises(ReplayError, match=key):
        validate(data)


def test_constants_and_changes_are_told_apart() -> None:
    assert not is_series("location", [1, 2, 0])
    assert is_series("location", [[0, [1, 2, 0]]])
    assert not is_series("inventory", [[0, 3], [1, 4]])
    assert is_series("inventory", [[0, []], [4, [[1, 2]]]])
    assert not is_series("inventory", [])
    assert is_series("color", [[0, 1], [5, 2]])
    assert not is_series("color", 7)


def test_a_file_of_another_program_may_leave_keys_out_and_add_some() -> None:
    data = small()
    for key in ("mg_config", "num_agents", "max_steps"):
        del data[key]
    data["file_name"] = "theirs"
    agent = data["objects"][0]
    for key in ("group_id", "is_frozen", "orientation", "total_reward", "action_success"):
        del agent[key]
    agent["inventory"] = [[0, []], [1, [0, 0]]]  # the older form: item numbers, repeated
    agent["type_name"] = "agent"
    replay = parse_replay(zlib.compress(json.dumps(data).encode()))
    frames = ReplayFrames(replay)
    assert (replay.data["num_agents"], len(frames)) == (1, 3)
    assert frames[2].agents[0].inventory == {"heart": 2}
    assert frames[0].text() == "@._\n#.."


def test_plain_json_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_text(json.dumps(small()))
    assert read_replay(tmp_path / "plain.json").data == small()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a replay"),
        (b"PK\x03\x04 something else", "not a replay"),
        (zlib.compress(b"[1, 2]"), "version None"),
        (zlib.compress(b'{"version": 1}'), "version 1; this program reads version 2"),
        (zlib.compress(b'{"version": 2}'), "`objects` is missing"),
        (zlib.compress(json.dumps(small()).encode())[:-40], "damaged"),
        (zlib.compress(json.dumps(small() | {"map_size": [3]}).encode()), "map_size"),
    ],
)
def test_what_is_no_replay_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "strange.json.z"
    path.write_bytes(content)
    with pytest.raises(ReplayError) as error:
        read_replay(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"nothing\.json\.z cannot be read"):
        read_replay(tmp_path / "nothing.json.z")


def test_a_replay_is_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "game.json.z"
    Replay(small()).save(path)
    before = path.read_bytes()

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(ReplayError, match="No space left"):
        Replay(small() | {"max_steps": 3}).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["game.json.z"]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"ends in \.json\.z"):
        Replay(small()).save(tmp_path / "game.json")


def test_any_address_that_fsspec_knows_will_do() -> None:
    Replay(small()).save("memory://replays/game.json.z")
    assert read_replay("memory://replays/game.json.z").data == small()
    with pytest.raises(ReplayError, match="cannot be read"):
        read_replay("memory://replays/none.json.z")


def test_saving_leaves_the_data_as_it_was(tmp_path: Path) -> None:
    data = small()
    before = copy.deepcopy(data)
    Replay(data).save(tmp_path / "game.json.z")
    assert data == before
