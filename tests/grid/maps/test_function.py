"""A builder of a user's own: one function, found by its name, and every way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metta.errors import MapError
from metta.grid.maps import GridMap, build_map, map_from_array, map_limits, map_text
from metta.grid.maps.config import FunctionMapConfig, InstancesMapConfig

HERE = __name__


def as_text(seed: int) -> str:
    return "@." if seed % 2 else ".@"


def as_rows(seed: int, thing: str = "altar") -> list[list[str]]:
    return [["agent.0", thing], ["empty", "wall"]]


def as_lines(seed: int) -> list[str]:
    return ["@..", "..#"]


def as_array(seed: int) -> Any:
    return np.array(as_rows(seed))


def as_drawing(seed: int) -> Any:
    return map_from_array([["agent.0", "tower"]])


def as_grid_map(seed: int) -> GridMap:
    return GridMap(np.array([[2, 1]], np.int16), ("empty", "wall", "agent.0"))


def grows(seed: int) -> str:
    return "@" + "." * seed


def adds(seed: int) -> str:
    return "@_." if seed == 0 else "@__"


def fails(seed: int) -> str:
    return "@"[seed + 1]


def nothing(seed: int) -> None:
    return None


def ragged(seed: int) -> str:
    return "@.\n@"


def unknown(seed: int) -> str:
    return "@~"


not_a_function = 3


def built(name: str, **parameters: Any) -> GridMap:
    return build_map(FunctionMapConfig(function=f"{HERE}.{name}", parameters=parameters), 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [("as_text", "@."), ("as_rows", "@_\n.#"), ("as_array", "@_\n.#"), ("as_drawing", "@?"), ("as_grid_map", "@#")],
)
def test_a_builder_returns_text_rows_an_array_a_drawing_or_a_map(name: str, text: str) -> None:
    assert map_text(built(name)) == text


def test_parameters_reach_the_function() -> None:
    assert built("as_rows", thing="box").counts()["box"] == 1


def test_the_seed_reaches_the_function_in_every_instance() -> None:
    part = FunctionMapConfig(function=f"{HERE}.as_text")
    texts = {map_text(build_map(InstancesMapConfig(instances=2, border=0, instance=part), seed)) for seed in range(20)}
    assert texts == {"@.@.", "@..@", ".@@.", ".@.@"}


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "grows",
            {},
            "{name}(seed=1) is 1 x 2 cells, but seed 0 is 1 x 1; allowed: maps at most as large as that of seed 0",
        ),
        (
            "adds",
            {},
            "{name}(seed=1) places 2 altar, but seed 0 places 1; allowed: at most as many things as for seed 0",
        ),
        (
            "as_lines",
            {},
            "{name}(seed=1): given rows that are text; allowed: rows of names, or a drawing in one text: "
            '"\\n".join(rows)',
        ),
        ("nothing", {}, "{name}(seed=1): given NoneType; allowed: text, rows of names, a drawing, or a GridMap"),
        (
            "ragged",
            {},
            "{name}(seed=1): text: line 2 has 1 cells, line 1 has 2; allowed: lines of one length (draw empty "
            "cells as '.')",
        ),
        (
            "as_rows",
            {"thng": "box"},
            "{name}(seed=1, thng='box') fails: TypeError: as_rows() got an unexpected keyword argument 'thng'",
        ),
        ("as_txt", {}, "given '{name}'; {here} has no function as_txt (did you mean as_text?)"),
        ("not_a_function", {}, "given '{name}'; {here} has no function not_a_function"),
    ],
)
def test_a_mistake_names_the_function(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(MapError) as error:
        built(name, **parameters)
    text = message.format(name=f"{HERE}.{name}", here=HERE)
    assert str(error.value).partition(" (did you mean")[0] == f"function: {text.partition(' (did you mean')[0]}"


def test_a_function_that_fails_says_where() -> None:
    with pytest.raises(MapError) as error:
        built("fails")
    line = fails.__code__.co_firstlineno + 1
    failure = "IndexError: string index out of range"
    assert str(error.value) == f"function: {HERE}.fails(seed=1) fails: {failure} ({__file__}, line {line})"


def test_an_unknown_symbol_of_a_function_is_shown_with_its_place() -> None:
    with pytest.raises(MapError, match=r"unknown\(seed=1\): text: line 1, column 2: given '~'"):
        built("unknown")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "given 'nowhere'; allowed: a dotted path, package.module.name"),
        (
            "metta.grid.nothing.build",
            "given 'metta.grid.nothing.build'; metta.grid.nothing cannot be imported: "
            "No module named 'metta.grid.nothing'",
        ),
    ],
)
def test_a_function_that_cannot_be_found(path: str, message: str) -> None:
    with pytest.raises(MapError) as error:
        map_limits(FunctionMapConfig(function=path))
    assert str(error.value) == f"function: {message}"


def test_a_module_in_the_working_directory_is_found_and_its_own_mistake_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "maps_of_mine.py").write_text("def build(seed):\n    return '@_'\n")
    assert map_text(build_map(FunctionMapConfig(function="maps_of_mine.build"), 0)) == "@_"
    (tmp_path / "broken_maps.py").write_text("1 / 0\n")
    with pytest.raises(MapError, match="broken_maps cannot be imported: ZeroDivisionError: division by zero"):
        map_limits(FunctionMapConfig(function="broken_maps.build"))
