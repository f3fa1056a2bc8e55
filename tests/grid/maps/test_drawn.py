"""Maps from arrays of names and from images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metta.errors import MapError
from metta.grid import WorldConfig, compile_world
from metta.grid.maps import build_map, map_from_array, map_from_image, map_text
from metta.grid.maps.config import ScatterMapConfig
from metta.grid.maps.drawn import palette

NAMES = [["wall", "agent.0", "tower"], ["empty", "agent.12", "altar"]]


def test_an_array_becomes_a_drawing_that_gives_the_same_array_back() -> None:
    for names in (NAMES, np.array(NAMES)):
        drawn = map_from_array(names)
        assert build_map(drawn, 0).to_names().tolist() == NAMES
        assert set(drawn.legend.values()) == {"tower", "agent.12"}


def test_a_map_of_a_builder_becomes_a_drawing() -> None:
    grid_map = build_map(ScatterMapConfig(width=9, height=7, objects={"altar": 3, "crate": 2}), 4)
    drawn = build_map(map_from_array(grid_map), 0)
    np.testing.assert_array_equal(drawn.to_names(), grid_map.to_names())


def test_more_names_than_ascii_has_characters_find_symbols() -> None:
    names = [[f"thing_{row}_{column}" for column in range(20)] for row in range(20)]
    assert build_map(map_from_array(names), 0).to_names().tolist() == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "given rows without cells; allowed: at least one row and one column"),
        ([["wall"], ["wall", "wall"]], "row 2 has 2 cells, row 1 has 1; allowed: rows of one length"),
        (
            ["@..", "..#"],
            'given rows that are text; allowed: rows of names, or a drawing in one text: "\\n".join(rows)',
        ),
        ([["wall", 1]], "row 1, column 2: given 1; allowed: names, as 'empty', 'wall', 'agent.0'"),
        ([["wall"], [None]], "row 2, column 1: given None; allowed: names, as 'empty', 'wall', 'agent.0'"),
        ([[["wall"]]], "row 1, column 1: given ['wall']; allowed: names, as 'empty', 'wall', 'agent.0'"),
        ([1, 2], "row 1: given 1; allowed: a list of names"),
        (np.full((2, 2, 2), "wall"), "given an array of 3 dimensions; allowed: two, [rows, columns]"),
        (np.zeros((2, 2)), "row 1, column 1: given np.float64(0.0); allowed: names, as 'empty', 'wall', 'agent.0'"),
        (7, "given int; allowed: rows of names"),
    ],
)
def test_rows_that_are_no_rectangle_of_names_are_refused(names: Any, message: str) -> None:
    with pytest.raises(MapError) as error:
        map_from_array(names)
    assert str(error.value) == message


def test_all_colours_of_the_palette_differ() -> None:
    assert len({*palette().values(), (255, 255, 255)}) == len(palette()) + 1


def picture(names: list[list[str]], *, cell: int = 1) -> np.ndarray:
    pixels = np.array([[palette()[name] for name in row] for row in names], np.uint8)
    return pixels.repeat(cell, axis=0).repeat(cell, axis=1)


def test_every_thing_of_the_palette_is_read_from_pixels() -> None:
    names = [list(palette())]
    assert build_map(map_from_image(picture(names)), 0).to_names().tolist() == names


def test_a_file_is_read_with_white_and_transparent_pixels_as_empty_cells(tmp_path: Path) -> None:
    pixels = np.zeros((1, 4, 4), np.uint8)
    pixels[0, :, :3] = [palette()["agent.0"], (255, 255, 255), (1, 2, 3), palette()["altar"]]
    pixels[0, :, 3] = [255, 255, 0, 255]
    Image.fromarray(pixels).save(tmp_path / "map.png")
    drawn = map_from_image(tmp_path / "map.png")
    assert drawn.text == "@.._"
    compiled = compile_world(WorldConfig(num_agents=1, objects={"altar": {"type": "box"}}, map=drawn))
    assert map_text(compiled.build_map(0)) == "@.._"


def test_an_image_with_few_colours_is_read_like_any_other(tmp_path: Path) -> None:
    Image.fromarray(picture([["agent.0", "wall"]])).quantize(4).save(tmp_path / "map.gif")
    assert map_from_image(tmp_path / "map.gif").text == "@#"


def test_colors_add_things_and_change_them() -> None:
    pixels = np.array([[(0, 0, 0), (9, 9, 9), palette()["altar"]]], np.uint8)
    drawn = map_from_image(pixels, colors={"wall": (0, 0, 0), "tower": (9, 9, 9)})
    assert build_map(drawn, 0).to_names().tolist() == [["wall", "tower", "altar"]]


@pytest.mark.parametrize("kind", [tuple, list, np.array, lambda color: np.array(color, np.uint8)])
def test_a_colour_is_any_three_integers(kind: Any) -> None:
    drawn = map_from_image(np.array([[(9, 9, 200)]], np.uint8), colors={"tower": kind((9, 9, 200))})
    assert list(drawn.legend.values()) == ["tower"]


@pytest.mark.parametrize(
    ("colors", "message"),
    [
        ({"tower": palette()["wall"]}, "colors.tower: given #544e4a, which stands for wall; allowed: each colour once"),
        ({"a": (1, 2, 3), "b": [1, 2, 3]}, "colors.b: given #010203, which stands for a; allowed: each colour once"),
        (
            {"tower": [255, 255, 255]},
            "colors.tower: given #ffffff, which stands for empty; allowed: each colour once",
        ),
        *(
            (
                {"tower": color},
                f"colors.tower: given {color!r}; allowed: three integers 0 to 255, (red, green, blue)",
            )
            for color in ((1, 2), (1, 2, 3, 4), (0, 0, 256), (-1, 0, 0), (0.5, 1, 2), "#010203", "abc", None, 7)
        ),
    ],
)
def test_colours_that_say_nothing_or_two_things_are_refused(colors: Any, message: str) -> None:
    with pytest.raises(MapError) as error:
        map_from_image(np.full((1, 1, 3), 255, np.uint8), colors=colors)
    assert str(error.value) == message


def test_two_things_may_trade_their_colours() -> None:
    colors = {"wall": palette()["altar"], "altar": palette()["wall"]}
    drawn = map_from_image(picture([["wall", "altar", "agent.0"]]), colors=colors)
    assert build_map(drawn, 0).to_names().tolist() == [["altar", "wall", "agent.0"]]


def test_what_is_neither_a_file_nor_an_array_is_no_image() -> None:
    image: Any = [[1]]
    with pytest.raises(MapError) as error:
        map_from_image(image)
    assert str(error.value) == "image: given list; allowed: a file's name, or an array uint8 [H, W, 3 or 4]"


def test_a_cell_may_be_several_pixels_wide() -> None:
    pixels = picture([["agent.0", "wall"], ["altar", "empty"]], cell=5)
    pixels[0] = pixels[:, 0] = 7  # lines between cells do not matter
    assert map_from_image(pixels, cell=5).text == "@#\n_."


@pytest.mark.parametrize(
    ("pixels", "cell", "message"),
    [
        (
            np.array([[(255, 255, 255), (224, 88, 151)]], np.uint8),
            1,
            "image row 1, column 2: given #e05897; the nearest "
            "that is known is #e05896, altar; colors={name: (red, green, blue)} adds more",
        ),
        (np.zeros((4, 6, 3), np.uint8), 4, "image: given cell=4 for 4 x 6 pixels; allowed: a number that divides both"),
        (np.zeros((4, 6), np.uint8), 1, "image: given uint8 of shape (4, 6); allowed: uint8 [H, W, 3 or 4]"),
        (np.zeros((4, 6, 3)), 1, "image: given float64 of shape (4, 6, 3); allowed: uint8 [H, W, 3 or 4]"),
    ],
)
def test_an_image_that_is_no_map_says_what_was_given(pixels: np.ndarray, cell: int, message: str) -> None:
    with pytest.raises(MapError) as error:
        map_from_image(pixels, cell=cell)
    assert str(error.value) == message


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="image: there is no file"):
        map_from_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(MapError, match=r"text\.png cannot be read as an image"):
        map_from_image(tmp_path / "text.png")
