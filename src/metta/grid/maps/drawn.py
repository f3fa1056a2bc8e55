"""A map from an array of names, or from the pixels of an image: both become a drawing, which holds all that it needs.

So what is trained on stays in the configuration, and a checkpoint needs no picture beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import index
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metta.errors import MapError
from metta.grid.maps.colors import FLOOR, Color, object_color, team_color
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.maps.grid_map import GridMap, agent_name, agent_team, from_names
from metta.grid.maps.symbols import SYMBOL_OF, SYMBOLS
from metta.grid.maps.text import map_text

WHITE: Color = (255, 255, 255)
NUM_TEAM_COLORS = 6  # teams whose colours differ


def map_from_array(names: Sequence[Sequence[str]] | NDArray[np.str_] | GridMap) -> AsciiMapConfig:
    """Return the drawing of a rectangle of names, [H][W]: "empty", "wall", objects, "agent.<team>".

    Names that have no symbol of their own get one in the drawing's legend.
    Raises MapError when rows have different lengths, there are none, or a cell holds no name.
    """
    grid_map = names if isinstance(names, GridMap) else from_names(names)
    free = _free_symbols()
    legend = {next(free): name for name in grid_map.names if name not in SYMBOL_OF}
    return AsciiMapConfig(text=map_text(grid_map, legend=legend), legend=legend)


def map_from_image(
    image: str | PathLike[str] | NDArray[np.uint8],
    *,
    colors: Mapping[str, Sequence[int] | NDArray[np.integer]] | None = None,
    cell: int = 1,
) -> AsciiMapConfig:
    """Return the drawing of an image in which each colour stands for a thing (`palette`), and white for nothing.

    `image`: a file, or uint8 [H * cell, W * cell, 3 or 4]. `colors`: name -> (red, green, blue) of further things, or
    other colours for known ones. `cell`: pixels of a cell's side; its middle one counts. Transparent pixels are empty.
    Raises MapError with row and column of the first cell whose colour is unknown, and the nearest that is not, and
    for two things of one colour.
    """
    if not isinstance(image, str | PathLike | np.ndarray):
        raise MapError(f"image: given {type(image).__name__}; allowed: a file's name, or an array uint8 [H, W, 3 or 4]")
    pixels = image if isinstance(image, np.ndarray) else _read(Path(image))
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8:
        raise MapError(f"image: given {pixels.dtype} of shape {pixels.shape}; allowed: uint8 [H, W, 3 or 4]")
    if cell < 1 or pixels.shape[0] % cell or pixels.shape[1] % cell:
        raise MapError(
            f"image: given cell={cell} for {pixels.shape[0]} x {pixels.shape[1]} pixels; "
            "allowed: a number that divides both"
        )
    pixels = pixels[cell // 2 :: cell, cell // 2 :: cell]
    name_of = _names_by_color(colors or {})
    rows = [
        [_name_of(pixel, name_of, row, column) for column, pixel in enumerate(line, start=1)]
        for row, line in enumerate(pixels.tolist(), start=1)
    ]
    return map_from_array(rows)


def palette() -> dict[str, Color]:
    """Return name -> colour of what an image may show without `colors`: as pictures of maps draw them."""
    names = [name for name in SYMBOL_OF if name != "empty" and agent_team(name) is None]
    agents = {agent_name(team): team_color(team) for team in range(NUM_TEAM_COLORS)}
    return {"empty": FLOOR, **agents, **{name: object_color(name) for name in names}}


def _names_by_color(colors: Mapping[str, Sequence[int] | NDArray[np.integer]]) -> dict[Color, str]:
    """Return what each colour stands for: the palette, but for what `colors` says."""
    name_of = {WHITE: "empty"} | {color: name for name, color in palette().items() if name not in colors}
    for name, values in colors.items():
        color = _color(name, values)
        if name_of.setdefault(color, name) != name:
            raise MapError(
                f"colors.{name}: given {_hex(color)}, which stands for {name_of[color]}; allowed: each colour once"
            )
    return name_of


def _color(name: str, values: Sequence[int] | NDArray[np.integer]) -> Color:
    try:
        red, green, blue = (index(value) for value in values)
    except (TypeError, ValueError):
        red = green = blue = -1
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise MapError(f"colors.{name}: given {values!r}; allowed: three integers 0 to 255, (red, green, blue)")
    return red, green, blue


def _read(path: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGBA"))
    except FileNotFoundError as error:
        raise MapError(f"image: there is no file {path}") from error
    except (UnidentifiedImageError, OSError) as error:
        raise MapError(f"image: {path} cannot be read as an image: {error}") from error


def _name_of(pixel: list[int], name_of: Mapping[Color, str], row: int, column: int) -> str:
    if len(pixel) == 4 and pixel[3] == 0:
        return "empty"
    color = (pixel[0], pixel[1], pixel[2])
    if color in name_of:
        return name_of[color]
    near = min(name_of, key=lambda other: sum((a - b) ** 2 for a, b in zip(other, color, strict=True)))
    raise MapError(
        f"image row {row}, column {column}: given {_hex(color)}; the nearest that is known is {_hex(near)}, "
        f"{name_of[near]}; colors={{name: (red, green, blue)}} adds more"
    )


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _free_symbols() -> Iterator[str]:
    """Give the characters that no standard thing has: ASCII first, then letters of other alphabets."""
    yield from (chr(code) for code in range(33, 127) if chr(code) not in SYMBOLS)
    yield from (chr(code) for code in range(0xC0, 0x10000) if chr(code).isalpha())
