"""Several maps on one sheet: beside each other in the terminal, in a picture, or as JSON."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from metta.errors import ConfigError
from metta.grid.maps import SYMBOL_OF, SYMBOLS, GridMap, MapConfig
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.maps.symbols import UNKNOWN_SYMBOL
from metta.replay import frame_of_map
from metta.replay.terminal import draw_lines

if TYPE_CHECKING:
    from PIL import Image

GAP = 2  # columns of the terminal, and cells of a picture, between two maps
PICTURES_IN_A_ROW = 3


def draw_sheet(maps: Sequence[GridMap], *, cell: int) -> Image.Image:
    """Return one RGB picture of all maps, three in a row, `cell` pixels a side for each of their cells."""
    from PIL import Image

    from metta.replay.picture import draw_picture

    pictures = [draw_picture(frame_of_map(grid_map), cell=cell) for grid_map in maps]
    columns = min(PICTURES_IN_A_ROW, len(pictures))
    width = max(picture.width for picture in pictures) + GAP * cell
    height = max(picture.height for picture in pictures) + GAP * cell
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width - GAP * cell, rows * height - GAP * cell), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * width, number // columns * height))
    return sheet


def save_sheet(sheet: Image.Image, name: str) -> Path:
    """Write the picture; return its path. Raises ConfigError unless the name ends in .png."""
    path = Path(name)
    if path.suffix.lower() != ".png":
        raise ConfigError(f"png: given {name!r}, allowed: a file whose name ends in .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
    return path


def sheet_as_json(seeds: Sequence[int], maps: Sequence[GridMap]) -> list[dict[str, object]]:
    """Return size, counts and the name of every cell, map by map."""
    return [
        {"seed": seed, "height": m.height, "width": m.width, "counts": m.counts(), "names": m.to_names().tolist()}
        for seed, m in zip(seeds, maps, strict=True)
    ]


def print_sheet(seeds: Sequence[int], maps: Sequence[GridMap], legend: dict[str, str]) -> None:
    """Print as many maps beside each other as fit, each below its seed, and then what the symbols mean."""
    console = Console(highlight=False)
    width = max(*(m.width for m in maps), *(len(f"seed {seed}") for seed in seeds))
    columns = max((console.width + GAP) // (width + GAP), 1)
    for first in range(0, len(maps), columns):
        blocks = [
            [Text(f"seed {seed}", style="bold"), *draw_lines(frame_of_map(grid_map, legend=legend))]
            for seed, grid_map in zip(seeds[first : first + columns], maps[first : first + columns], strict=True)
        ]
        for row in range(max(map(len, blocks))):
            line = Text()
            for block in blocks:
                part = block[row] if row < len(block) else Text()
                line.append_text(part).append(" " * (width + GAP - len(part)))
            line.rstrip()
            console.print(line, soft_wrap=True)
        console.print()
    _print_counts(console, maps, SYMBOL_OF | {name: symbol for symbol, name in legend.items()})


def _print_counts(console: Console, maps: Sequence[GridMap], symbols: dict[str, str]) -> None:
    """Print what each symbol means, and how many there are on a map."""
    counts: dict[str, list[int]] = {}
    for grid_map in maps:
        for name, count in grid_map.counts().items():
            counts.setdefault(name, []).append(count)
    for name, numbers in counts.items():
        if any(numbers):
            span = f"{min(numbers)}" if len(set(numbers)) == 1 else f"{min(numbers)} to {max(numbers)}"
            console.print(f"{symbols.get(name, UNKNOWN_SYMBOL)} {name}: {span}", markup=False)


def legend_of(config: MapConfig, maps: Sequence[GridMap]) -> dict[str, str]:
    """Return symbol -> name of what has none of the standard ones: a drawing's own, else a letter of the name."""
    legend = dict(config.legend) if isinstance(config, AsciiMapConfig) else {}
    names = dict.fromkeys(name for grid_map in maps for name in grid_map.names)
    for name in names:
        if name not in SYMBOL_OF and name not in legend.values():
            letters = [*name, *name.upper(), *string.ascii_letters]
            free = [letter for letter in letters if letter.isalpha() and letter not in SYMBOLS and letter not in legend]
            if free:
                legend[free[0]] = name
    return legend
