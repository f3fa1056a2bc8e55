"""A map builder of the user's own."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from metta.errors import MapError, nearest
from metta.grid.maps.ascii import build_ascii
from metta.grid.maps.config import AsciiMapConfig, FunctionMapConfig
from metta.grid.maps.grid_map import GridMap, MapLimits, from_names, with_names

_NAMED_SEED = 0  # the map of this seed says which names there are, and how large maps and numbers may be


def build_function(config: FunctionMapConfig, seed: int) -> GridMap:
    """Return what the user's function draws for `seed`.

    Raises MapError when the function cannot be found, fails or returns no map, or when the map is larger, or holds
    more of anything, than that of seed 0, for which room was made.
    """
    drawn = _call(config, seed)
    first = _first_map(config.model_dump_json())
    most = first.counts()
    for name, count in drawn.counts().items():
        if name not in ("empty", "wall") and count > most.get(name, 0):
            raise MapError(
                f"{config.function}(seed={seed}) places {count} {name}, but seed 0 places {most.get(name, 0)}: "
                "a builder places at most as many things as for seed 0"
            )
    if drawn.height > first.height or drawn.width > first.width:
        raise MapError(
            f"{config.function}(seed={seed}) is {drawn.height} x {drawn.width} cells, but seed 0 is {first.height} x "
            f"{first.width}: a builder's maps are at most as large as that of seed 0"
        )
    return GridMap(with_names(drawn, first.names), first.names)


def function_limits(config: FunctionMapConfig) -> MapLimits:
    """Return size and numbers of the map of seed 0."""
    first = _first_map(config.model_dump_json())
    counts = {name: number for name, number in first.counts().items() if name != "empty"}
    counts["wall"] = first.codes.size - sum(number for name, number in counts.items() if name != "wall")
    return MapLimits(first.height, first.width, counts)


@lru_cache(maxsize=256)
def _first_map(config_json: str) -> GridMap:
    return _call(FunctionMapConfig(**json.loads(config_json)), _NAMED_SEED)


def _call(config: FunctionMapConfig, seed: int) -> GridMap:
    function = _find(config.function)
    try:
        result = function(seed=seed, **config.parameters)
    except TypeError as error:
        raise MapError(f"{config.function}(seed={seed}, **{config.parameters}): {error}") from error
    if isinstance(result, GridMap):
        return result
    if isinstance(result, str):
        return build_ascii(AsciiMapConfig(text=result))
    if isinstance(result, list | tuple | np.ndarray):
        return from_names(result)
    raise MapError(
        f"{config.function} returned {type(result).__name__}; a builder returns text, rows of names, or a GridMap"
    )


@lru_cache(maxsize=256)
def _find(path: str) -> Callable[..., Any]:
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise MapError(f"map function: given {path!r}, a dotted path is `package.module.name`")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise MapError(f"map function {path!r}: module {module_name} cannot be imported: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise MapError(f"map function {path!r}: {module_name} has no function {name}{nearest(name, names)}")
    found: Callable[..., Any] = function
    return found
