"""A map builder of the user's own."""

from __future__ import annotations

import json
import traceback
from functools import lru_cache

import numpy as np

from metta.errors import ConfigError, MapError
from metta.grid.maps.ascii import build_ascii
from metta.grid.maps.config import AsciiMapConfig, FunctionMapConfig
from metta.grid.maps.grid_map import GridMap, MapLimits, from_names, with_names
from metta.grid.own_function import find_function

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
                f"{config.function}(seed={seed}) places {count} {name}, but seed 0 places {most.get(name, 0)}; "
                "allowed: at most as many things as for seed 0",
                path="function",
            )
    if drawn.height > first.height or drawn.width > first.width:
        raise MapError(
            f"{config.function}(seed={seed}) is {drawn.height} x {drawn.width} cells, but seed 0 is {first.height} x "
            f"{first.width}; allowed: maps at most as large as that of seed 0",
            path="function",
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
    try:
        function = find_function(config.function)
    except ConfigError as error:
        raise MapError(error.args[0], path=error.path) from error
    given = ", ".join([f"seed={seed}", *(f"{name}={value!r}" for name, value in config.parameters.items())])
    call = f"{config.function}({given})"
    try:
        result = function(seed=seed, **config.parameters)
    except MapError as error:
        raise MapError(f"{call}: {error}", path="function") from error
    except Exception as error:  # whatever the user's function does
        raise MapError(f"{call} fails: {type(error).__name__}: {error}{_place(error)}", path="function") from error
    try:
        return _as_map(result)
    except MapError as error:
        raise MapError(f"{call}: {error}", path="function") from error


def _as_map(result: object) -> GridMap:
    if isinstance(result, GridMap):
        return result
    if isinstance(result, str):
        return build_ascii(AsciiMapConfig(text=result))
    if isinstance(result, AsciiMapConfig):
        return build_ascii(result)
    if isinstance(result, list | tuple | np.ndarray):
        return from_names(result)
    raise MapError(f"given {type(result).__name__}; allowed: text, rows of names, a drawing, or a GridMap")


def _place(error: Exception) -> str:
    """Return where a user's function failed."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without our own call
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
