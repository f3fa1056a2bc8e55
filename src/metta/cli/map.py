"""`metta map`: what a builder, a world or a drawing looks like, seed by seed. Needs no torch, but for recipes."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from metta.cli.arguments import Arguments, Setting, sort_arguments, unknown_flag
from metta.cli.lookup import find_recipe, list_recipes, load_function
from metta.cli.overrides import override
from metta.cli.service import with_values
from metta.cli.sheet import draw_sheet, legend_of, print_sheet, save_sheet, sheet_as_json
from metta.config import Config
from metta.errors import ConfigError, nearest
from metta.grid import WorldConfig
from metta.grid.maps import MapConfig, build_map, map_from_image
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.maps.examples import EXAMPLES
from metta.grid.worlds import arena, easy_arena, navigation

WORLDS: dict[str, Callable[[], WorldConfig]] = {"arena": arena, "easy_arena": easy_arena, "navigation": navigation}
DRAWN = (".png", ".gif", ".bmp")  # files that are read as images, pixel by pixel; all others are text


class Sheet(Config):
    """What is shown of a map; all other settings are the map's own."""

    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field([0, 1, 2, 3, 4, 5], min_length=1, max_length=1000)
    png: str | None = Field(None, description="write a picture there instead: --png FILE")
    cell: int = Field(8, ge=4, le=64, description="pixels of a cell's side in the picture")


class ImageFile(Config):
    """How a file is read that is an image."""

    image_cell: int = Field(1, ge=1, description="pixels of a cell's side in the image")


def run_verb(name: str, argv: Sequence[str]) -> int:
    """Show maps; return the exit code. Raises ConfigError for every mistake in the words."""
    arguments = sort_arguments(with_values(argv, {"--png": "png"}))
    if arguments.tool_flags:
        raise unknown_flag(arguments.tool_flags[0], ["--png"])
    if len(arguments.words) > 1:
        raise ConfigError(f"unexpected {arguments.words[1]!r}: settings are key=value, options begin with -")
    word = arguments.first_word()
    if word is None or "help" in arguments.flags:
        print(_page(word))
        return 0
    config, settings = find_map(word, arguments)
    of_sheet = [setting for setting in settings if setting.key in Sheet.model_fields]
    sheet, _ = override(Sheet(), of_sheet)
    config, readings = override(config, [s for s in settings if s not in of_sheet], also=Sheet.model_fields)
    if "verbose" in arguments.flags:
        print("\n".join(f"{r.setting}: setting {r.path} = {r.value!r} ({r.type})" for r in readings), file=sys.stderr)
    if "dry_run" in arguments.flags:
        print(config.model_dump_json(indent=2))
        return 0
    own_seed = 0 if isinstance(config, AsciiMapConfig) else config.seed
    seeds = sheet.seeds if own_seed is None else [own_seed]  # one that never changes is shown once
    maps = [build_map(config, seed) for seed in seeds]
    if sheet.png is not None:
        print(save_sheet(draw_sheet(maps, cell=sheet.cell), sheet.png))
    elif "json" in arguments.flags:
        print(json.dumps({"config": config.model_dump(mode="json"), "maps": sheet_as_json(seeds, maps)}, indent=2))
    else:
        print_sheet(seeds, maps, legend_of(config, maps))
    return 0


def find_map(word: str, arguments: Arguments) -> tuple[MapConfig, list[Setting]]:
    """Return the map that a word stands for, and the settings that are left for it.

    A builder, a standard world, a drawing in a file, or a recipe, which takes those settings that are its parameters.
    Raises ConfigError, with the nearest names, if it is none of them.
    """
    settings = list(arguments.settings)
    if word in EXAMPLES:
        return EXAMPLES[word], settings
    if word in WORLDS:
        return WORLDS[word]().map, settings
    if Path(word).is_file():
        return _of_file(Path(word), settings)
    if find_recipe(word):
        return _of_recipe(word, settings)
    known = dict.fromkeys([*EXAMPLES, *WORLDS, *(recipe.name for recipe in list_recipes())])
    raise ConfigError(
        f"there is no map {word!r}{nearest(word, known)}; builders: {', '.join(EXAMPLES)}; "
        f"worlds: {', '.join(WORLDS)}; or a recipe, or a file"
    )


def _of_file(path: Path, settings: list[Setting]) -> tuple[MapConfig, list[Setting]]:
    """Return what a file draws, and the settings that do not say how it is read.

    Raises MapError if it is neither text nor an image whose colours are known.
    """
    if path.suffix.lower() not in DRAWN:
        try:
            return AsciiMapConfig(text=path.read_text("utf-8")), settings
        except UnicodeDecodeError:
            pass
    of_image = [setting for setting in settings if setting.key in ImageFile.model_fields]
    image, _ = override(ImageFile(), of_image)
    return map_from_image(path, cell=image.image_cell), [s for s in settings if s not in of_image]


def _of_recipe(recipe: str, settings: list[Setting]) -> tuple[MapConfig, list[Setting]]:
    """Return the map on which a recipe trains."""
    from metta.cli.launch import Target, build_tool

    function = load_function(recipe, "train")
    parameters = inspect.signature(function).parameters
    own = tuple(setting for setting in settings if setting.key in parameters)
    tool = build_tool(function, Arguments(settings=own), Target(recipe, "train"))
    world = getattr(tool, "world", None)
    if not isinstance(world, WorldConfig):
        raise ConfigError(f"{recipe}.train has no world whose map could be shown")
    return world.map, [setting for setting in settings if setting not in own]


def _page(word: str | None) -> str:
    """Return the help: of one builder, or of all."""
    from metta.cli.parameters import setting_rows

    lines = ["usage: metta map <builder|world|recipe|file> [key=value ...] [--png FILE] [--json] [--dry-run] [-v]", ""]
    tables = {"settings of the sheet": setting_rows(Sheet(), folded=())}
    if word in EXAMPLES:
        lines.append(inspect.cleandoc(type(EXAMPLES[word]).__doc__ or ""))
        tables = {f"settings of {word}, with what is shown": setting_rows(EXAMPLES[word], folded=()), **tables}
    else:
        lines.append("builders; `metta map <builder> -h` shows its settings")
        lines += [f"  {name:<10} {(type(c).__doc__ or '').partition(chr(10))[0]}" for name, c in EXAMPLES.items()]
        lines += [f"worlds: {', '.join(WORLDS)}", "recipe: the map on which it trains", "file: text, or a .png"]
        tables["settings of a file that is an image"] = setting_rows(ImageFile(), folded=())
    for title, rows in tables.items():
        lines += ["", title]
        lines += [f"  {row.name:<10} {row.default:<24} {row.meaning}".rstrip() for row in rows]
    return "\n".join(lines)
