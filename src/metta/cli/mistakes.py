"""What pydantic found wrong, in lines for people: the path, what was given, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from metta.cli.arguments import Setting


class Reading(NamedTuple):
    """How one setting was understood."""

    setting: Setting
    path: str
    value: Any
    type: str


def explain(error: ValidationError, data: Any = None, readings: Sequence[Reading] = ()) -> str:
    """Return a line for each mistake that pydantic found: the path, what was given, what is allowed.

    `data` is what was validated: its keys tell parts of the path from names of variants. `readings`: what was typed.
    """
    lines = []
    for item in error.errors(include_url=False):
        path = _path_in(data, item["loc"])
        cause = item.get("ctx", {}).get("error")
        typed = next((r for r in readings if path == r.path or path.startswith(f"{r.path}.")), None)
        if item["type"] in ("value_error", "assertion_error") and cause is not None:
            lines.append(f"{path}: {cause}" if path else str(cause))
        elif item["type"] == "missing":
            lines.append(f"{path} is missing")
        elif item["type"] == "extra_forbidden":
            lines.append(f"unknown key {path!r}")
        elif typed is not None:
            lines.append(f"{path}: given {typed.setting.text!r}, allowed: {typed.type}")
        else:
            lines.append(f"{path}: given {item['input']!r}; {item['msg']}")
    return "\n".join(dict.fromkeys(lines))


def _path_in(data: Any, location: tuple[int | str, ...]) -> str:
    """Return the dotted path of pydantic's location, without the names of union members in it."""
    parts = []
    for number, part in enumerate(location):
        if isinstance(data, BaseModel) and part in type(data).model_fields:
            data = getattr(data, str(part))
        elif _has_item(data, part):
            data = data[part]
        elif number < len(location) - 1 or (data is not None and not isinstance(data, Mapping | BaseModel)):
            continue  # a variant's name
        parts.append(str(part))
    return ".".join(parts)


def _has_item(data: Any, part: int | str) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
