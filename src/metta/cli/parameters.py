"""The pages of `-h` and `--list`: parameters and settings with types, defaults and meaning."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from metta.cli.arguments import ALIASES
from metta.cli.reading import Spec, short_type
from metta.cli.variants import discriminator_key, variant_names
from metta.cli.verbs import VERBS

if typing.TYPE_CHECKING:
    from metta.tools import Tool

FOLDED = ("world",)  # hundreds of settings: `-h` names them in one line
_VALUE_WIDTH = 40


class Row(NamedTuple):
    """A line of the page."""

    name: str
    type: str
    default: str
    meaning: str


def print_parameters(recipe: str, function: Callable[..., Any], *, verb: str, is_full: bool) -> None:
    """Print what can be set for a recipe's function; `is_full`: every setting of its tool, nested ones too."""
    name = f"{recipe}.{function.__name__}"
    print(f"{name}: {inspect.getdoc(function) or ''}\n")
    usage = f"metta run {name} [key=value ...]" if verb == "run" else f"metta {verb} {VERBS[verb].usage}"
    print(f"usage: {usage} [--dry-run] [--list] [-v] [--json] [--debug]")
    rows = list(parameter_rows(function))
    _print_table(f"parameters of {name}", rows)
    if any(row.default == "required" for row in rows):
        return
    print_settings(function(), is_full=is_full)


def print_settings(tool: Tool, *, is_full: bool) -> None:
    """Print a tool's own options and its settings; `is_full`: nested ones of the world too."""
    flags = [Row(flag, "", f"= {setting}", "") for flag, setting in tool.flags.items()]
    _print_table("options of its own", flags)
    folded = () if is_full else FOLDED
    _print_table(f"settings of {type(tool).__name__}", list(setting_rows(tool, folded=folded)))
    paths = {row.name for row in setting_rows(tool, folded=())}
    aliases = [f"{alias} = {path}" for alias, path in ALIASES.items() if path in paths]
    if aliases:
        print(f"\nother names: {', '.join(aliases)}")
    if not is_full:
        print("\n--list shows every setting, --dry-run the resolved configuration")


def parameter_rows(function: Callable[..., Any]) -> Iterator[Row]:
    """Give a row for each parameter of a recipe's function."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        default = "required" if parameter.default is parameter.empty else f"= {_short(parameter.default)}"
        yield Row(name, short_type(Spec.of(hints.get(name, Any))), default, "")


def setting_rows(config: BaseModel, *, folded: tuple[str, ...], prefix: str = "") -> Iterator[Row]:
    """Give a row for each setting below `config`; of `folded` top-level fields only one."""
    for name, field in type(config).model_fields.items():
        value, path = getattr(config, name), f"{prefix}{name}"
        meaning = field.description or ""
        if path in folded and isinstance(value, BaseModel):
            kind = type(value).__name__
            yield Row(f"{path}.*", kind, "", (type(value).__doc__ or "").partition("\n")[0])
        else:
            yield from _rows_of(path, Spec.of_field(field), value, meaning, folded)


def _rows_of(path: str, spec: Spec, value: Any, meaning: str, folded: tuple[str, ...]) -> Iterator[Row]:
    if isinstance(value, BaseModel):
        variants = [member for member in spec.members() if member.model()]
        key = discriminator_key(spec, variants) if len(variants) > 1 else None
        for row in setting_rows(value, folded=folded, prefix=f"{path}."):
            is_choice = key is not None and row.name == f"{path}.{key}"
            yield row._replace(type="|".join(variant_names(variants, str(key)))) if is_choice else row
    elif isinstance(value, Mapping) and value and all(isinstance(item, BaseModel) for item in value.values()):
        for key, item in value.items():
            yield from setting_rows(item, folded=folded, prefix=f"{path}.{key}.")
    elif isinstance(value, list) and value and all(isinstance(item, BaseModel) for item in value):
        for index, item in enumerate(value):
            yield from setting_rows(item, folded=folded, prefix=f"{path}.{index}.")
    else:
        yield Row(path, short_type(spec), f"= {_short(value)}", meaning)


def _short(value: Any) -> str:
    """Return a value as it would be typed, cut to a column's width."""
    switch = {None: "none", True: "on", False: "off"}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        text = switch[value] if not isinstance(value, str) else value.replace("\n", "\\n")
    else:
        text = json.dumps(value, default=str)
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 3] + "..."


def _print_table(title: str, rows: list[Row]) -> None:
    if not rows:
        return
    print(f"\n{title}")
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        print(f"  {'  '.join([*cells, row.meaning])}".rstrip())
