"""The state of a foreign Python object as plain data, so that it can be saved safely and put back exactly.

`capture_state` walks an object's attributes and the Python objects that they lead to (wrappers, sub-environments,
running means). What it finds is written as `[kind, payload]`; nothing is pickled. What cannot be read (memory of a C
library, a process, an open window) is reported, and then the object cannot be resumed exactly.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

_NUMERIC_KINDS = "biuf"
_CONSTANTS = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type, enum.Enum),
    *(gymnasium.Space, EnvSpec),
)
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
# A Python object is a header, its dictionary and its weak references. More than that is memory of a C type.
_PLAIN_OBJECT_SIZE = object.__basicsize__ + 2 * np.dtype(np.intp).itemsize


def capture_state(root: object) -> tuple[list[Any], list[str]]:
    """Return the state of `root` as plain data, and the paths of what could not be read (empty: it is exact)."""
    obstacles: list[str] = []
    return _capture(root, type(root).__name__, obstacles, set()), obstacles


def restore_state(root: object, captured: list[Any]) -> None:
    """Put captured state back into `root`, an object of the same making; its parts are changed in place.

    Raises ValueError when `root` lacks a part that was captured.
    """
    _restore(captured, root, type(root).__name__)


def _capture(value: Any, path: str, obstacles: list[str], seen: set[int]) -> list[Any]:
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, np.generic | enum.Enum)):
        return ["value", value]
    if isinstance(value, np.generic | np.ndarray):
        return _capture_array(value, path, obstacles)
    if isinstance(value, np.random.Generator):
        return ["generator", _plain_generator_state(value.bit_generator.state)]
    if isinstance(value, _CONSTANTS):
        return ["constant", None]
    if type(value) is tuple:
        return ["tuple", [_capture(item, f"{path}[{i}]", obstacles, seen) for i, item in enumerate(value)]]
    if id(value) in seen:  # a cycle, or one object reached twice: it is captured where it was met first
        return ["constant", None]
    seen.add(id(value))
    if type(value) is list:
        return ["list", [_capture(item, f"{path}[{i}]", obstacles, seen) for i, item in enumerate(value)]]
    if type(value) is dict and all(isinstance(key, str | int) for key in value):
        return ["dict", [[key, _capture(item, f"{path}[{key!r}]", obstacles, seen)] for key, item in value.items()]]
    if hasattr(value, "__dict__") and type(value).__basicsize__ <= _PLAIN_OBJECT_SIZE:
        attributes = vars(value).items()
        return ["object", [[name, _capture(item, f"{path}.{name}", obstacles, seen)] for name, item in attributes]]
    obstacles.append(f"{path} ({type(value).__module__}.{type(value).__qualname__})")
    return ["constant", None]


def _capture_array(value: Any, path: str, obstacles: list[str]) -> list[Any]:
    array = np.array(value, copy=True, order="C")
    if array.dtype.kind in _NUMERIC_KINDS:
        return ["scalar" if isinstance(value, np.generic) else "array", array]
    if array.dtype.kind in "SU" and array.size:
        return ["text", [array.dtype.str, list(array.shape), np.frombuffer(array.tobytes(), np.uint8).copy()]]
    obstacles.append(f"{path} (array of {array.dtype})")
    return ["constant", None]


def _restore(captured: list[Any], current: Any, path: str) -> Any:
    """Return the captured value; `current` is what stands there now and is kept where it is an object."""
    kind, payload = captured
    if kind == "value":
        return payload
    if kind == "constant":
        return current
    if kind == "array":
        return payload.copy()
    if kind == "scalar":
        return payload[()]
    if kind == "text":
        dtype, shape, characters = payload
        return np.frombuffer(characters.tobytes(), np.dtype(dtype)).reshape(shape).copy()
    if kind == "generator":
        return _restore_generator(payload, current, path)
    if kind in ("list", "tuple"):
        old = current if isinstance(current, list | tuple) else ()
        items = [_restore(item, old[i] if i < len(old) else None, f"{path}[{i}]") for i, item in enumerate(payload)]
        return tuple(items) if kind == "tuple" else _replace_content(current, items)
    if kind == "dict":
        olds = current if isinstance(current, dict) else {}
        new = {key: _restore(item, olds.get(key), f"{path}[{key!r}]") for key, item in payload}
        return _replace_content(current, new)
    assert kind == "object", kind
    if current is None:
        raise ValueError(f"{path} was captured, but this object has no such part")
    for name, item in payload:
        if item[0] != "constant":
            setattr(current, name, _restore(item, vars(current).get(name), f"{path}.{name}"))
    return current


def _replace_content(current: Any, new: Any) -> Any:
    """Change a list or dictionary in place, for others may hold it too; without one there, the new one is taken."""
    if type(current) is not type(new):
        return new
    current.clear()
    if isinstance(current, dict):
        current.update(new)
    else:
        current.extend(new)
    return current


def _restore_generator(state: dict[str, Any], current: Any, path: str) -> np.random.Generator:
    """Keep the generator that stands there, for others may hold it too; only its position changes."""
    name = state["bit_generator"]
    if name not in _BIT_GENERATORS:
        raise ValueError(f"{path}: unknown random generator {name!r}")
    generator = current
    if not isinstance(generator, np.random.Generator) or generator.bit_generator.state["bit_generator"] != name:
        generator = np.random.Generator(getattr(np.random, name)())
    generator.bit_generator.state = state
    return generator


def _plain_generator_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a bit generator's state with numpy's integers as Python's."""
    plain: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, Mapping):
            plain[key] = _plain_generator_state(value)
        elif isinstance(value, np.ndarray):
            plain[key] = value.copy()
        else:
            plain[key] = value.item() if isinstance(value, np.generic) else value
    return plain
