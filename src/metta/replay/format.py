"""The MettaGrid replay format, version 2: zlib-compressed JSON in a file `*.json.z`.

At the top: `version, action_names, item_names, type_names, map_size [width, height], num_agents, max_steps, mg_config,
objects`. Every key of an object is a constant, or a list of `[step, value]` changes that begins at step 0. Step 0 is
the world as it was reset, step t what it was after t ticks, together with the actions and rewards of tick t; so
`max_steps` ticks give `max_steps + 1` steps. A thing that is not on the map stands at `[-1, -1, 0]`.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from metta.errors import ReplayError

VERSION = 2
SUFFIX = ".json.z"
NOWHERE = [-1, -1, 0]

TOP_KEYS = (
    "version",
    "action_names",
    "item_names",
    "type_names",
    "map_size",
    "num_agents",
    "max_steps",
    "mg_config",
    "objects",
)
COMMON_KEYS = ("id", "type_id", "location", "orientation", "inventory", "inventory_max", "color", "is_swappable")
AGENT_KEYS = (
    "is_agent",
    "agent_id",
    "group_id",
    "vision_size",
    "action_id",
    "action_param",
    "action_success",
    "current_reward",
    "total_reward",
    "freeze_remaining",
    "is_frozen",
    "freeze_duration",
)
CONVERTER_KEYS = (
    "input_resources",
    "output_resources",
    "output_limit",
    "conversion_remaining",
    "is_converting",
    "conversion_duration",
    "cooldown_remaining",
    "is_cooling_down",
    "cooldown_duration",
)

_COMPRESSION = 6
_LISTS_OF_NUMBERS = ("location",)
_LISTS_OF_PAIRS = ("inventory", "input_resources", "output_resources")


@dataclass(frozen=True)
class Replay:
    """A recorded episode: the JSON object of its file."""

    data: dict[str, Any]

    @property
    def num_steps(self) -> int:
        """Steps that can be shown: one more than ticks were played."""
        return int(self.data["max_steps"]) + 1

    def to_bytes(self) -> bytes:
        """Return the content of the replay's file."""
        text = json.dumps(self.data, separators=(",", ":"), allow_nan=False)
        return zlib.compress(text.encode(), _COMPRESSION)

    def save(self, uri: str | Path) -> str:
        """Write the replay to a path or any URI that fsspec knows, whole or not at all; return where it is.

        Raises ReplayError when the name does not end in `.json.z` or nothing can be written there.
        """
        target = str(uri)
        if not target.endswith(SUFFIX):
            raise ReplayError(f"a replay's file name ends in {SUFFIX}; given {target}")
        content = self.to_bytes()
        try:
            if "://" in target and not target.startswith("file://"):
                _write_remote(target, content)
            else:
                _write_local(Path(target.removeprefix("file://")), content)
        except OSError as error:
            raise ReplayError(f"the replay cannot be written to {target}: {error}") from error
        return target


def read_replay(uri: str | Path) -> Replay:
    """Read a replay of this or another program; keys that a file leaves out are filled in.

    Raises ReplayError when it cannot be read, is damaged, or is of another version.
    """
    source = str(uri)
    try:
        if "://" in source and not source.startswith("file://"):
            content = _read_remote(source)
        else:
            is_address = source.startswith("file://")  # where %20 is a space
            content = Path(unquote(source.removeprefix("file://")) if is_address else source).read_bytes()
    except OSError as error:
        raise ReplayError(f"the replay {source} cannot be read: {error}") from error
    return parse_replay(content, source)


def parse_replay(content: bytes, source: str = "replay") -> Replay:
    """Return the replay in the bytes of a file; see `read_replay`."""
    try:
        text = content if content[:1] == b"{" else zlib.decompress(content)
        data = json.loads(text)
    except (zlib.error, ValueError) as error:
        raise ReplayError(f"{source} is not a replay, or is damaged: {error}") from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        version = data.get("version") if isinstance(data, dict) else None
        raise ReplayError(f"{source} is a replay of version {version}; this program reads version {VERSION}")
    for key, kind in (("objects", list), ("map_size", list), ("action_names", list), ("type_names", list)):
        if not isinstance(data.get(key), kind):
            raise ReplayError(f"{source} is damaged: `{key}` is missing or no {kind.__name__}")
    if len(data["map_size"]) != 2 or not all(isinstance(entry, dict) for entry in data["objects"]):
        raise ReplayError(f"{source} is damaged: `map_size` is [width, height], `objects` are JSON objects")
    data.setdefault("item_names", [])
    data.setdefault("mg_config", {})
    data.setdefault("num_agents", sum("agent_id" in entry for entry in data["objects"]))
    if not isinstance(data.get("max_steps"), int):
        data["max_steps"] = _last_step(data["objects"])
    return Replay(data)


def is_series(key: str, value: Any) -> bool:
    """Whether the value of an object's key is a list of `[step, value]` changes rather than a constant."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    if not isinstance(first, list) or len(first) != 2 or not isinstance(first[0], int):
        return False
    return isinstance(first[1], list) if key in _LISTS_OF_NUMBERS + _LISTS_OF_PAIRS else True


def validate(data: dict[str, Any]) -> None:
    """Check a replay against the schema as we write it. Raises ReplayError with the place and what is allowed."""
    _require(data, TOP_KEYS, "replay")
    _check(data["version"] == VERSION, f"version is {VERSION}; given {data['version']!r}")
    for key in ("action_names", "item_names", "type_names"):
        names = data[key]
        _check(isinstance(names, list) and all(isinstance(name, str) for name in names), f"{key} is a list of texts")
    size = data["map_size"]
    _check(isinstance(size, list) and len(size) == 2 and all(_is_int(side, 1) for side in size), "map_size is [w, h]")
    _check(_is_int(data["max_steps"], 0), "max_steps is an integer from 0")
    _check(isinstance(data["mg_config"], dict), "mg_config is a JSON object")
    objects = data["objects"]
    for number, entry in enumerate(objects):
        _validate_object(entry, f"objects[{number}]", data)
    ids = [entry["id"] for entry in objects]
    _check(len(set(ids)) == len(ids), "every object has an id of its own")
    agents = sorted(entry["agent_id"] for entry in objects if "agent_id" in entry)
    _check(agents == list(range(data["num_agents"])), f"agent ids are 0..{data['num_agents'] - 1}; given {agents}")


def _validate_object(entry: dict[str, Any], path: str, data: dict[str, Any]) -> None:
    _require(entry, COMMON_KEYS, path)
    is_agent = "agent_id" in entry
    if is_agent:
        _require(entry, AGENT_KEYS, path)
    elif "input_resources" in entry:
        _require(entry, CONVERTER_KEYS, path)
    _check(_is_int(entry["id"], 1), f"{path}.id is an integer from 1; given {entry['id']!r}")
    for key, value in entry.items():
        for step, item in _changes(key, value, f"{path}.{key}", data["max_steps"]):
            place = f"{path}.{key} at step {step}"
            _check(_is_valid(key, item, data), f"{place}: {item!r} is not allowed")


def _changes(key: str, value: Any, path: str, max_steps: int) -> list[tuple[int, Any]]:
    if not is_series(key, value):
        return [(0, value)]
    steps = [step for step, _ in value]
    _check(steps[0] == 0, f"{path} begins at step 0; given {steps[0]}")
    _check(all(a < b for a, b in pairwise(steps)), f"{path}: steps grow")
    _check(steps[-1] <= max_steps, f"{path}: the last step is at most {max_steps}; given {steps[-1]}")
    return [(step, item) for step, item in value]


def _is_valid(key: str, value: Any, data: dict[str, Any]) -> bool:
    if key in _LISTS_OF_PAIRS:
        num_items = len(data["item_names"])
        return isinstance(value, list) and all(
            isinstance(pair, list) and len(pair) == 2 and _is_int(pair[0], 0, num_items - 1) and _is_int(pair[1], 1)
            for pair in value
        )
    if key == "location":
        width, height = data["map_size"]
        if value == NOWHERE:
            return True
        is_place = isinstance(value, list) and len(value) == 3 and _is_int(value[2], 0)
        return is_place and _is_int(value[0], 0, width - 1) and _is_int(value[1], 0, height - 1)
    if key in ("is_agent", "is_swappable", "action_success", "is_frozen", "is_converting", "is_cooling_down"):
        return isinstance(value, bool)
    if key in ("current_reward", "total_reward"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    highest = {
        "type_id": len(data["type_names"]) - 1,
        "action_id": len(data["action_names"]) - 1,
        "agent_id": data["num_agents"] - 1,
        "orientation": 7,
        "color": 255,
    }
    if key in COMMON_KEYS + AGENT_KEYS + CONVERTER_KEYS:
        return _is_int(value, 0, highest.get(key))
    return True  # other keys are ignored


def _is_int(value: Any, low: int, high: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value and (high is None or value <= high)


def _check(condition: bool, rule: str) -> None:
    if not condition:
        raise ReplayError(f"not a valid replay: {rule}")


def _require(entry: Any, keys: tuple[str, ...], path: str) -> None:
    _check(isinstance(entry, dict), f"{path} is a JSON object")
    missing = [key for key in keys if key not in entry]
    _check(not missing, f"{path} lacks {', '.join(missing)}")


def _last_step(objects: list[dict[str, Any]]) -> int:
    series = [value for entry in objects for key, value in entry.items() if is_series(key, value)]
    return max((value[-1][0] for value in series), default=0)


def _write_local(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_remote(uri: str, content: bytes) -> None:
    import fsspec  # only for files elsewhere: it takes long to import

    filesystem, path = fsspec.core.url_to_fs(uri)
    filesystem.pipe_file(path, content)  # one upload: an object store shows it whole or not at all


def _read_remote(uri: str) -> bytes:
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    content: bytes = filesystem.cat_file(path)
    return content
